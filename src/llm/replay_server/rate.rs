//! Admission: so many requests a second, with room for a second's worth at once.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Admits `per_second` requests a second on average.
pub(super) struct RateLimit {
    interval: Duration,
    /// When all that was admitted so far is worked off at this rate.
    worked_off: Mutex<Instant>,
}

impl RateLimit {
    pub fn new(per_second: f64) -> Self {
        let interval = Duration::try_from_secs_f64(1.0 / per_second).unwrap_or(Duration::MAX);
        Self { interval, worked_off: Mutex::new(Instant::now()) }
    }

    /// Admits a request.
    ///
    /// # Errors
    /// Too many were admitted: how long until one can be.
    pub fn admit(&self) -> Result<(), Duration> {
        let now = Instant::now();
        let mut worked_off = self.worked_off.lock().unwrap_or_else(PoisonError::into_inner);
        let backlog = worked_off.saturating_duration_since(now);
        let room = Duration::from_secs(1).max(self.interval);
        let Some(after) = backlog.checked_add(self.interval) else { return Err(Duration::MAX) };
        if after > room {
            return Err(after - room);
        }
        *worked_off = now + after;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seconds_worth_at_once_then_at_the_rate() {
        let rate = RateLimit::new(50.0);
        let admitted = (0..200).filter(|_| rate.admit().is_ok()).count();
        assert!((50..=52).contains(&admitted), "{admitted}");
        let wait = rate.admit().unwrap_err();
        assert!(wait <= Duration::from_millis(20), "{wait:?}");
        std::thread::sleep(wait);
        rate.admit().unwrap();
    }

    #[test]
    fn a_rate_below_one_a_second_admits_the_first() {
        let rate = RateLimit::new(0.5);
        rate.admit().unwrap();
        assert!(rate.admit().unwrap_err() > Duration::from_secs(1));
    }
}
