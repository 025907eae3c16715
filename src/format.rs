//! Number formatting for tables, reports and progress lines.

/// Printed in place of a missing number.
pub const NOTHING: &str = "–";

/// Formats `104905335` as `104,905,335`.
pub fn thousands(n: u64) -> String {
    indicatif::HumanCount(n).to_string()
}

/// Formats bytes as `12.3 MB`, `12.3 kB` below 1 MB, or `12 B` below 1 kB.
pub fn megabytes(bytes: u64) -> String {
    match bytes {
        0..1000 => format!("{bytes} B"),
        1000..1_000_000 => format!("{:.1} kB", bytes as f64 / 1e3),
        _ => format!("{:.1} MB", bytes as f64 / 1e6),
    }
}

/// Formats a perplexity: `32.58`, `1,234`, `2.0e9`, `inf`; NaN as [`NOTHING`].
pub fn perplexity(value: f64) -> String {
    if value.is_nan() {
        NOTHING.into()
    } else if value.is_infinite() {
        "inf".into()
    } else if value >= 1e6 {
        format!("{value:.1e}")
    } else if value >= 1000.0 {
        thousands(value.round() as u64)
    } else {
        format!("{value:.2}")
    }
}

/// Formats exp(`loss`), with `loss` in nats per token, for a table cell. Also handles losses above 709,
/// whose exponential overflows f64.
pub fn perplexity_of(loss: f64) -> String {
    let value = loss.exp();
    if value.is_finite() || !loss.is_finite() {
        return perplexity(value);
    }
    let digits = loss / std::f64::consts::LN_10;
    // From 9.95 on, the mantissa is rounded to 10.
    let exponent = (digits + 1.0 - 9.95f64.log10()).floor();
    format!("{:.1}e{exponent}", 10f64.powf(digits - exponent))
}

/// As [`perplexity_of`], without thousands separators.
pub fn perplexity_in_text(loss: f64) -> String {
    let value = loss.exp();
    if value < 1e6 { format!("{value:.2}") } else { perplexity_of(loss) }
}

/// Formats a MicroNet score: `0.8232`, or `0.000820` for a small model.
pub fn score(value: f64) -> String {
    if value < 0.01 { format!("{value:.6}") } else { format!("{value:.4}") }
}

/// Formats a fraction as `12.3 %`.
pub fn percent(fraction: f64) -> String {
    format!("{:.1} %", 100.0 * fraction)
}

/// Formats seconds, with one decimal below 10.
pub fn seconds(value: f64) -> String {
    match value {
        v if !v.is_finite() => NOTHING.into(),
        v if v < 10.0 => format!("{v:.1}"),
        v => thousands(v.max(0.0).round() as u64),
    }
}

/// Formats seconds as `48 s`, `2 min 5 s` or `3 h 20 min`.
pub fn duration(value: f64) -> String {
    let whole = if value.is_finite() { value.max(0.0).round() as u64 } else { 0 };
    match whole {
        0..=9 => format!("{} s", seconds(value)),
        10..=119 => format!("{whole} s"),
        120..=7199 => format!("{} min {} s", whole / 60, whole % 60),
        _ => format!("{} h {} min", whole / 3600, whole / 60 % 60),
    }
}

/// Aligns rows of cells, the first column to the left and the others to the right. Each line ends with a
/// newline.
pub fn aligned(rows: &[Vec<String>]) -> String {
    let mut widths = vec![0; rows.iter().map(Vec::len).max().unwrap_or(0)];
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.chars().count().max(*width);
        }
    }
    let line = |row: &Vec<String>| {
        let mut cells = row.iter().zip(&widths);
        let first = cells.next().map(|(cell, &width)| format!("{cell:<width$}"));
        let others = cells.map(|(cell, &width)| format!("  {cell:>width$}"));
        first.into_iter().chain(others).chain(["\n".into()]).collect::<String>()
    };
    rows.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_any_size_are_formatted() {
        let shown = [32.579, 1234.4, 2e9, f64::NAN, f64::INFINITY].map(perplexity);
        assert_eq!(shown, ["32.58", "1,234", "2.0e9", "–", "inf"]);
        let shown = [f64::ln(1234.4), 550.0, 5000.0, f64::INFINITY, f64::NAN].map(perplexity_of);
        assert_eq!(shown, ["1,234", "7.3e238", "3.0e2171", "inf", "–"]);
        let shown = [f64::ln(1234.4), 5000.0, f64::NAN].map(perplexity_in_text);
        assert_eq!(shown, ["1234.40", "3.0e2171", "–"]);
        // Just below a power of ten.
        assert_eq!(perplexity_of(1000.0 * std::f64::consts::LN_10 - 1e-4), "1.0e1000");
        let shown = [3.12, 119.6, 125.0, 12_000.0].map(duration);
        assert_eq!(shown, ["3.1 s", "2 min 0 s", "2 min 5 s", "3 h 20 min"]);
        assert_eq!(seconds(1234.0), "1,234");
        assert_eq!([0.82318, 0.01, 0.00082].map(score), ["0.8232", "0.0100", "0.000820"]);
        let shown = [0, 999, 1000, 1_500_000].map(megabytes);
        assert_eq!(shown, ["0 B", "999 B", "1.0 kB", "1.5 MB"]);
    }

    #[test]
    fn thousands_are_separated_by_commas() {
        let shown: Vec<_> = [0, 999, 1_000, 104_905_335, u64::MAX].map(thousands).into();
        assert_eq!(shown, ["0", "999", "1,000", "104,905,335", "18,446,744,073,709,551,615"]);
    }

    #[test]
    fn columns_are_aligned() {
        let rows = [["op", "÷"], ["embedding", "1.5"]].map(|row| row.map(String::from).to_vec());
        assert_eq!(aligned(&rows), "op           ÷\nembedding  1.5\n");
        assert_eq!(aligned(&[]), "");
    }
}
