//! What JSON cannot hold: numbers that are not finite, and paths that are not UTF-8. Nothing that a run
//! has learned is lost for want of a way to write it down.
//!
//! Losses are what is stored and read back. A perplexity beside one is for readers of the file: where it
//! is null, it is computed from the loss.

use std::path::Path;

/// A path as JSON holds it: what is not UTF-8 in it becomes U+FFFD.
pub fn path(path: impl AsRef<Path>) -> String {
    path.as_ref().to_string_lossy().into_owned()
}

/// A field with a number, `#[serde(with = "json::number")]`: null where it is not finite. Null is read as
/// infinity, which is what a loss grows to.
pub(crate) mod number {
    use serde::{Deserialize, Deserializer, Serializer};

    pub fn serialize<S: Serializer>(number: &f64, json: S) -> Result<S::Ok, S::Error> {
        match number.is_finite() {
            true => json.serialize_f64(*number),
            false => json.serialize_none(),
        }
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(json: D) -> Result<f64, D::Error> {
        Ok(Option::deserialize(json)?.unwrap_or(f64::INFINITY))
    }
}

/// The default of a number that an older file lacks.
pub(crate) fn unknown() -> f64 {
    f64::INFINITY
}

/// A field with a path that may be absent, `#[serde(serialize_with = "json::optional_path")]`.
pub(crate) fn optional_path<S: serde::Serializer>(
    path: &Option<impl AsRef<Path>>,
    json: S,
) -> Result<S::Ok, S::Error> {
    match path {
        Some(path) => json.serialize_some(&self::path(path)),
        None => json.serialize_none(),
    }
}

/// The perplexity that a file tells, or where it tells none, that of the loss.
pub(crate) fn perplexity(told: f64, loss: f64) -> f64 {
    if told.is_finite() { told } else { loss.exp() }
}

/// Serde for a type whose derived form is `#[serde(remote = "Self")]`: what was read is completed by the
/// type's method `complete`.
macro_rules! completed {
    ($type:ty) => {
        impl serde::Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, json: S) -> Result<S::Ok, S::Error> {
                <$type>::serialize(self, json)
            }
        }

        impl<'de> serde::Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
                let mut value = <$type>::deserialize(json)?;
                value.complete();
                Ok(value)
            }
        }
    };
}
pub(crate) use completed;

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt as _;

    use serde::{Deserialize, Serialize};

    use super::*;

    #[derive(Serialize, Deserialize)]
    struct Number(#[serde(with = "number")] f64);

    #[test]
    fn a_number_that_is_not_finite_is_null_and_null_is_infinity() {
        for (number, text) in [(1.5, "1.5"), (f64::INFINITY, "null"), (f64::NAN, "null")] {
            assert_eq!(serde_json::to_string(&Number(number)).unwrap(), text);
            let read: Number = serde_json::from_str(text).unwrap();
            assert_eq!(read.0, if number.is_finite() { number } else { f64::INFINITY });
        }
        assert!(serde_json::from_str::<Number>("\"much\"").is_err());
    }

    #[test]
    fn a_path_that_is_not_utf_8_is_written_as_well_as_can_be() {
        assert_eq!(path(OsStr::from_bytes(b"caf\xe9/run")), "caf\u{fffd}/run");
    }
}
