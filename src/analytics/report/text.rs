//! Text and numbers as the page shows them.

use crate::analytics::output::{escape_where, hides};

/// `text` with characters escaped that would not be seen, or would reorder others; line breaks and tabs stay.
pub fn visible(text: &str) -> String {
    escape_where(text, hides)
}

/// The first `limit` characters of `text`, and how many it has where that is not all of it.
pub fn cut(text: &str, limit: usize) -> (&str, Option<usize>) {
    match text.char_indices().nth(limit) {
        None => (text, None),
        Some((end, _)) => (&text[..end], Some(limit + text[end..].chars().count())),
    }
}

/// `text` on one line, `limit` characters of it at most.
pub fn short(text: &str, limit: usize) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match cut(&line, limit) {
        (all, None) => all.to_owned(),
        (begin, Some(_)) => format!("{begin}…"),
    }
}

/// 1234567 as `1,234,567`.
pub fn whole(number: f64) -> String {
    let digits = format!("{:.0}", number.abs());
    let mut text = String::from(if number < 0.0 && digits != "0" { "-" } else { "" });
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A number between 0 and 100 as `12.5 %`.
pub fn percent(number: f64) -> String {
    format!("{number:.1} %")
}

/// A sum of money, USD: two digits that mean something also where it is small.
pub fn usd(number: f64) -> String {
    let cents = (number * 100.0).round();
    match number.abs() {
        0.0 => "0 USD".to_owned(),
        1.0.. => format!("{}.{:02.0} USD", whole((cents / 100.0).trunc()), (cents % 100.0).abs()),
        0.01.. => format!("{number:.3} USD"),
        _ => format!("{number:.6} USD"),
    }
}

/// A time given in ms.
pub fn duration(ms: f64) -> String {
    let seconds = ms / 1000.0;
    match seconds {
        ..1.0 => format!("{ms:.0} ms"),
        ..120.0 => format!("{seconds:.1} s"),
        ..7200.0 => format!("{:.0} min", seconds / 60.0),
        _ => format!("{:.1} h", seconds / 3600.0),
    }
}

/// A number of bytes.
pub fn bytes(number: u64) -> String {
    match number {
        ..10_000 => format!("{} bytes", whole(number as f64)),
        10_000..10_000_000 => format!("{} KB", number / 1000),
        _ => format!("{} MB", whole((number / 1_000_000) as f64)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_not_be_seen_is_escaped() {
        assert_eq!(
            visible("a\u{0}\u{1b}[2J\r\n\t\u{202e}b\u{ad}"),
            "a\\u{0}\\u{1b}[2J\\r\n\t\\u{202e}b\\u{ad}"
        );
        assert_eq!(visible("naïve 日本 🙂"), "naïve 日本 🙂");
    }

    #[test]
    fn text_is_cut_between_characters() {
        assert_eq!(cut("ééé", 3), ("ééé", None));
        assert_eq!(cut("éééé", 3), ("ééé", Some(4)));
        assert_eq!(short("a\n  b\tcd", 5), "a b c…");
    }

    #[test]
    fn numbers_are_readable() {
        assert_eq!(
            [0.0, 999.0, 1000.0, 1_234_567.0, -0.2].map(whole),
            ["0", "999", "1,000", "1,234,567", "0"]
        );
        assert_eq!(
            [0.0, 0.000_12, 0.0456, 1234.5, 1.999].map(usd),
            ["0 USD", "0.000120 USD", "0.046 USD", "1,234.50 USD", "2.00 USD"]
        );
        assert_eq!(
            [12.0, 3216.0, 180_000.0, 36_000_000.0].map(duration),
            ["12 ms", "3.2 s", "3 min", "10.0 h"]
        );
    }
}
