//! Serde helpers for values that JSON cannot represent: non-finite numbers and non-UTF-8 paths.
//!
//! Losses are stored and read back. A stored perplexity is for readers of the file; if it is null, it is
//! computed from the loss.

use std::path::Path;

use serde_json::error::Category;

/// Converts a path to a string, with U+FFFD in place of bytes that are not UTF-8.
pub fn path(path: impl AsRef<Path>) -> String {
    path.as_ref().to_string_lossy().into_owned()
}

/// Describes an error in a file or line of JSON, without the position that serde_json adds to it.
pub(crate) fn problem(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let end = text.rfind(" at line ").unwrap_or(text.len());
    match error.classify() {
        Category::Data => text[..end].to_owned(),
        Category::Syntax | Category::Eof | Category::Io => "this is not valid JSON".to_owned(),
    }
}

/// `#[serde(with = "json::number")]`: writes a non-finite number as null and reads null as infinity, the
/// value of a diverged loss.
pub(crate) mod number {
    use serde::{Deserialize, Deserializer, Serializer};

    pub fn serialize<S: Serializer>(number: &f64, json: S) -> Result<S::Ok, S::Error> {
        if number.is_finite() { json.serialize_f64(*number) } else { json.serialize_none() }
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(json: D) -> Result<f64, D::Error> {
        Ok(Option::deserialize(json)?.unwrap_or(f64::INFINITY))
    }
}

/// The default of a number that is missing from older files.
pub(crate) fn unknown() -> f64 {
    f64::INFINITY
}

/// `#[serde(serialize_with = "json::optional_path")]` for an optional path.
pub(crate) fn optional_path<S: serde::Serializer>(
    path: &Option<impl AsRef<Path>>,
    json: S,
) -> Result<S::Ok, S::Error> {
    match path {
        Some(path) => json.serialize_some(&self::path(path)),
        None => json.serialize_none(),
    }
}

/// The perplexity stored in a file, or exp(loss) if the stored one is not finite.
pub(crate) fn perplexity(stored: f64, loss: f64) -> f64 {
    if stored.is_finite() { stored } else { loss.exp() }
}

/// Implements serde's traits for a type derived with `#[serde(remote = "Self")]`, and calls the type's
/// `complete` method after deserialization.
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
    fn non_finite_numbers_are_null_and_null_is_infinity() {
        for (number, text) in [(1.5, "1.5"), (f64::INFINITY, "null"), (f64::NAN, "null")] {
            assert_eq!(serde_json::to_string(&Number(number)).unwrap(), text);
            let read: Number = serde_json::from_str(text).unwrap();
            assert_eq!(read.0, if number.is_finite() { number } else { f64::INFINITY });
        }
        assert!(serde_json::from_str::<Number>("\"much\"").is_err());
    }

    #[test]
    fn a_path_that_is_not_utf_8_is_written_with_replacement_characters() {
        assert_eq!(path(OsStr::from_bytes(b"caf\xe9/run")), "caf\u{fffd}/run");
    }
}
