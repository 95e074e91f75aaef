//! What the headers of a response tell about an endpoint's limits: `x-ratelimit-remaining-requests`,
//! `x-ratelimit-reset-requests`, and the same of tokens.

use std::time::Duration;

use reqwest::header::HeaderMap;
use tokio::time::Instant;

/// Longest wait for a limit that no call was refused for yet: headers may be wrong.
const LONGEST_RESET: Duration = Duration::from_secs(60);

/// What is left of an endpoint's limits, as far as it tells.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Told {
    /// Of the requests it takes.
    pub requests: Option<Remaining>,
    /// Of the tokens it takes.
    pub tokens: Option<Remaining>,
}

/// What is left of one limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Remaining {
    /// Requests or tokens left.
    pub left: u64,
    /// How long until the limit is whole again.
    pub reset: Duration,
}

impl Told {
    /// Reads the headers of a response, a refusal's as well.
    pub(super) fn read(headers: &HeaderMap) -> Self {
        let text = |name: &str| headers.get(name)?.to_str().ok();
        let remaining = |left: &str, reset: &str| {
            Some(Remaining { left: text(left)?.trim().parse().ok()?, reset: duration(text(reset)?)? })
        };
        Self {
            requests: remaining("x-ratelimit-remaining-requests", "x-ratelimit-reset-requests"),
            tokens: remaining("x-ratelimit-remaining-tokens", "x-ratelimit-reset-tokens"),
        }
    }
}

/// What is left of one limit as far as is known.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Left(Option<Heard>);

#[derive(Debug, Clone, Copy)]
struct Heard {
    left: u64,
    /// When the limit is whole again.
    reset: Instant,
    /// When this was told.
    at: Instant,
}

impl Left {
    /// Takes in what the response to a call that was begun at `begun` tells `now`.
    ///
    /// Responses overtake each other. A call that was under way when the last word came may have been counted before it or
    /// after: the lower of both counts. So does what a newer call says, and the lower word holds for one round trip at most.
    pub(super) fn hear(&mut self, told: Option<Remaining>, begun: Instant, now: Instant) {
        let told = told.map(|Remaining { left, reset }| Heard {
            left,
            reset: now + reset.min(LONGEST_RESET),
            at: now,
        });
        match (self.0, told) {
            (Some(last), Some(told)) if begun < last.at && told.left >= last.left && now < last.reset => {}
            (Some(last), None) if begun < last.at => {}
            _ => self.0 = told,
        }
    }

    /// When the limit is whole again, if it takes no more than `spoken_for` until then.
    pub(super) fn used_up(&self, spoken_for: u64, now: Instant) -> Option<Instant> {
        self.0.filter(|heard| now < heard.reset && spoken_for >= heard.left).map(|heard| heard.reset)
    }
}

/// A time in one of the forms endpoints use: `6m0s`, `1h2m3.5s`, `20ms`, or a number of seconds.
fn duration(text: &str) -> Option<Duration> {
    let mut rest = text.trim();
    if let Ok(seconds) = rest.parse::<f64>() {
        return Duration::try_from_secs_f64(seconds).ok();
    }
    let mut sum = Duration::ZERO;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, after) = rest.split_at(digits);
        let letters = after.find(|c: char| !c.is_alphabetic()).unwrap_or(after.len());
        let (unit, after) = after.split_at(letters);
        let seconds = match unit {
            "d" => 86_400.0,
            "h" => 3600.0,
            "m" => 60.0,
            "s" => 1.0,
            "ms" => 1e-3,
            "us" | "µs" => 1e-6,
            "ns" => 1e-9,
            _ => return None,
        };
        sum = sum.checked_add(Duration::try_from_secs_f64(number.parse::<f64>().ok()? * seconds).ok()?)?;
        rest = after;
    }
    (!text.trim().is_empty()).then_some(sum)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn times_in_every_form() {
        let ms = |text: &str| duration(text).map(|time| time.as_millis());
        for (text, expected) in [
            ("6m0s", 360_000),
            ("1h2m3.5s", 3_723_500),
            ("20ms", 20),
            ("1s", 1000),
            (" 7.66s ", 7660),
            ("12", 12_000),
            ("0.5", 500),
            ("1d", 86_400_000),
        ] {
            assert_eq!(ms(text), Some(expected), "{text}");
        }
        for odd in ["", " ", "soon", "-1", "1x", "s", "1m s", "NaN", "1e300s", "..s", "99999999999999999999d"]
        {
            assert_eq!(ms(odd), None, "{odd}");
        }
    }

    #[test]
    fn only_whole_pairs_count() {
        let headers = |pairs: &[(&'static str, &'static str)]| {
            Told::read(
                &pairs.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect(),
            )
        };
        let told = headers(&[
            ("x-ratelimit-remaining-requests", "7"),
            ("x-ratelimit-reset-requests", "2s"),
            ("x-ratelimit-remaining-tokens", "100"),
        ]);
        let requests = Remaining { left: 7, reset: Duration::from_secs(2) };
        assert_eq!(told, Told { requests: Some(requests), tokens: None });
        assert_eq!(headers(&[("x-ratelimit-remaining-requests", "-3")]), Told::default());
    }

    proptest! {
        #[test]
        fn no_text_panics(text in ".{0,20}", time in "([0-9.]{0,20}(ms|m|s|h|d|µs)?){0,4}") {
            duration(&text);
            duration(&time);
        }
    }
}
