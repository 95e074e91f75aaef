//! Printed numbers, compared by value.

/// Digits from which on a number is taken for the whole of a double, whose last digits depend on the language's rounding.
const DIGITS_OF_A_DOUBLE: usize = 15;

/// How far apart two such numbers may be, relative to the larger one.
const RELATIVE: f64 = 1e-9;

/// How far from zero one may be where the other is zero.
const ABSOLUTE: f64 = 1e-12;

/// A decimal number as it was printed.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Number {
    negative: bool,
    /// Significant digits, without zeros at either end; empty for zero.
    digits: String,
    /// Power of ten that the digits, read as an integer, are multiplied by.
    exponent: i64,
    /// Digits that were printed, zeros in front left out.
    printed: usize,
    /// Whether it has a point or an exponent.
    float: bool,
}

impl Number {
    /// `word` as a number: `-12`, `0.5`, `.5`, `1e-9`. Not `007`, `+5` or `5.`, which are written so on purpose.
    pub(super) fn parse(word: &str) -> Option<Self> {
        let (negative, rest) = word.strip_prefix('-').map_or((false, word), |rest| (true, rest));
        let (mantissa, exponent) = match rest.split_once(['e', 'E']) {
            Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().ok()?),
            None => (rest, 0),
        };
        let (whole, fraction) = match mantissa.split_once('.') {
            Some((_, "")) => return None,
            Some((whole, fraction)) => (whole, fraction),
            None => (mantissa, ""),
        };
        let all_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        let leading_zero = whole.len() > 1 && whole.starts_with('0');
        if whole.len() + fraction.len() == 0 || leading_zero || !all_digits(whole) || !all_digits(fraction) {
            return None;
        }
        let all = format!("{whole}{fraction}");
        let significant = all.trim_start_matches('0');
        let digits = significant.trim_end_matches('0');
        let zeros = (significant.len() - digits.len()) as i64;
        Some(Self {
            negative: negative && !digits.is_empty(),
            exponent: if digits.is_empty() { 0 } else { i64::from(exponent) - fraction.len() as i64 + zeros },
            printed: significant.len(),
            float: mantissa.contains('.') || rest.len() > mantissa.len(),
            digits: digits.to_owned(),
        })
    }

    /// Whether both are the same number. `1` and `1.0` are. Where one is printed with all digits of a double, the last ones
    /// do not count; otherwise every digit does.
    pub(super) fn equals(&self, other: &Self) -> bool {
        let exact = |one: &Self| (one.negative, one.exponent, one.digits.clone());
        if exact(self) == exact(other) {
            return true;
        }
        let long_float = |one: &Self| one.float && one.printed >= DIGITS_OF_A_DOUBLE;
        let long_integer = |one: &Self| !one.float && one.printed >= DIGITS_OF_A_DOUBLE;
        if !(long_float(self) || long_float(other)) || long_integer(self) || long_integer(other) {
            return false;
        }
        let (one, other) = (self.value(), other.value());
        let largest = one.abs().max(other.abs());
        let apart = (one - other).abs();
        apart <= RELATIVE * largest || (one * other == 0.0 && apart <= ABSOLUTE)
    }

    fn value(&self) -> f64 {
        let sign = if self.negative { "-" } else { "" };
        format!("{sign}0{}e{}", self.digits, self.exponent).parse().unwrap_or(f64::NAN)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn equal(one: &str, other: &str) -> bool {
        Number::parse(one).unwrap().equals(&Number::parse(other).unwrap())
    }

    #[test]
    fn numbers_are_compared_by_value() {
        for (one, other) in [
            ("1", "1.0"),
            ("-0", "0.0"),
            ("1e3", "1000"),
            ("0.5", ".50"),
            ("1.5e-7", "0.00000015"),
            ("0.30000000000000004", "0.3"),
            ("2.9999999999999996", "3"),
            ("5.551115123125783e-17", "0.0"),
            ("123456789012345678901234567890", "123456789012345678901234567890"),
        ] {
            assert!(equal(one, other) && equal(other, one), "{one} {other}");
        }
    }

    #[test]
    fn every_digit_of_a_short_number_counts() {
        for (one, other) in [
            ("1", "2"),
            ("1", "-1"),
            ("3.14", "3.141592653589793"),
            ("0.1", "0.10000001"),
            ("1234567890.12", "1234567890.13"),
            ("1234567890123456", "1234567890123457"),
            ("12345678901234567", "1.2345678901234568e16"),
            ("0.001", "0"),
        ] {
            assert!(!equal(one, other) && !equal(other, one), "{one} {other}");
        }
    }

    #[test]
    fn what_is_written_so_on_purpose_is_no_number() {
        for word in
            ["", "-", ".", "5.", "007", "+5", "1_000", "0x1f", "1e", "1e99999999999", "1.2.3", "٣", "--1"]
        {
            assert_eq!(Number::parse(word), None, "{word}");
        }
    }
}
