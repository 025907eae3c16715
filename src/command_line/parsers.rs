//! Value parsers of flags, whose error messages give the allowed range or names.

use std::ops::RangeInclusive;
use std::str::FromStr;

use crate::Error;

/// The largest size of a model dimension, a batch or a sequence.
pub const LARGEST: u64 = i32::MAX as u64;

/// Parses a size from 1 to [`LARGEST`].
pub fn size(text: &str) -> Result<usize, String> {
    in_range(1..=LARGEST)(text)
}

/// Parses a number of layers, at least 1; bounded, since every layer is allocated.
pub fn layers(text: &str) -> Result<usize, String> {
    in_range(1..=crate::model::MAX_LAYERS as u64)(text)
}

/// Parses a count from 1 to [`LARGEST`].
pub fn positive<T: TryFrom<u64>>(text: &str) -> Result<T, String> {
    in_range(1..=LARGEST)(text)
}

/// Parses a number of steps, at least 1.
pub fn steps(text: &str) -> Result<u64, String> {
    in_range(1..=u64::MAX)(text)
}

/// Parses an integer of at least 0.
pub fn non_negative<T: TryFrom<u64>>(text: &str) -> Result<T, String> {
    in_range(0..=u64::MAX)(text)
}

/// Parses an epoch, or -1 for none.
pub fn epoch(text: &str) -> Result<i64, String> {
    text.parse().map_err(|_| "give an epoch, counted from 1, or only -1 for never".to_owned())
}

/// Parses a real number.
pub fn decimal(text: &str) -> Result<f64, String> {
    text.parse().map_err(|_| "give a number such as 0.25 or 1e-3".to_owned())
}

/// Parses a name. clap's message names the flag and the value, so that the remedy completes the sentence.
pub fn named<T: FromStr<Err = Error>>(text: &str) -> Result<T, String> {
    text.parse().map_err(|error| match error {
        Error::Config { remedy, .. } => remedy,
        other => other.to_string(),
    })
}

/// Returns a parser of integers within a range.
pub fn in_range<T: TryFrom<u64>>(
    range: RangeInclusive<u64>,
) -> impl Fn(&str) -> Result<T, String> + Clone + Send + Sync + 'static {
    move |text| {
        let number = text.parse().ok().filter(|number| range.contains(number));
        number.and_then(|number| T::try_from(number).ok()).ok_or_else(|| {
            let (least, most) = (range.start(), range.end());
            match *most {
                u64::MAX => format!("give an integer of at least {least}"),
                most => format!("give an integer from {least} to {most}"),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rejects_numbers_outside_the_range_and_names_it() {
        for text in ["0", "-1", "2147483648", "1.5", "many", ""] {
            let message = size(text).unwrap_err();
            assert_eq!(message, "give an integer from 1 to 2147483647", "{text}");
        }
        assert_eq!(size("2147483647"), Ok(i32::MAX as usize));
        assert_eq!(non_negative::<u64>("18446744073709551615"), Ok(u64::MAX));
        assert_eq!(non_negative::<u64>("-1").unwrap_err(), "give an integer of at least 0");
        assert_eq!(positive::<u32>("7"), Ok(7));
        assert_eq!(decimal("1e-3"), Ok(1e-3));
        assert_eq!(decimal("1,5").unwrap_err(), "give a number such as 0.25 or 1e-3");
    }
}
