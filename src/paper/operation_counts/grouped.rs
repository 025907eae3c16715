//! Large numbers with a comma every three digits.

/// `104905335` as `104,905,335`.
pub fn grouped(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::grouped;

    #[test]
    fn commas_stand_every_three_digits() {
        let shown: Vec<_> = [0, 999, 1_000, 104_905_335, u64::MAX].map(grouped).into();
        assert_eq!(shown, ["0", "999", "1,000", "104,905,335", "18,446,744,073,709,551,615"]);
    }
}
