//! Value parsers of numeric flags: a number that cannot be meant is refused before any work, by its flag
//! and the range that there is.

use std::ops::RangeInclusive;

/// The largest size of a model, a batch or a window.
pub const LARGEST: u64 = i32::MAX as u64;

/// A size: at least 1.
pub fn size(text: &str) -> Result<usize, String> {
    whole(1..=LARGEST)(text)
}

/// A number of layers, which are made one by one.
pub fn layers(text: &str) -> Result<usize, String> {
    whole(1..=crate::model::MAX_LAYERS as u64)(text)
}

/// A number of things to do: at least 1.
pub fn times<T: TryFrom<u64>>(text: &str) -> Result<T, String> {
    whole(1..=LARGEST)(text)
}

/// A number of steps: at least 1.
pub fn steps(text: &str) -> Result<u64, String> {
    whole(1..=u64::MAX)(text)
}

/// A number of which there may be none.
pub fn any<T: TryFrom<u64>>(text: &str) -> Result<T, String> {
    whole(0..=u64::MAX)(text)
}

/// A whole number within a range.
pub fn whole<T: TryFrom<u64>>(
    range: RangeInclusive<u64>,
) -> impl Fn(&str) -> Result<T, String> + Clone + Send + Sync + 'static {
    move |text| {
        let number = text.parse().ok().filter(|number| range.contains(number));
        number.and_then(|number| T::try_from(number).ok()).ok_or_else(|| {
            let (least, most) = (range.start(), range.end());
            match *most {
                u64::MAX => format!("give a whole number of at least {least}"),
                most => format!("give a whole number from {least} to {most}"),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_outside_their_range_are_refused_with_it() {
        for text in ["0", "-1", "2147483648", "1.5", "many", ""] {
            let said = size(text).unwrap_err();
            assert_eq!(said, "give a whole number from 1 to 2147483647", "{text}");
        }
        assert_eq!(size("2147483647"), Ok(i32::MAX as usize));
        assert_eq!(any::<u64>("18446744073709551615"), Ok(u64::MAX));
        assert_eq!(any::<u64>("-1").unwrap_err(), "give a whole number of at least 0");
        assert_eq!(times::<u32>("7"), Ok(7));
    }
}
