//! An endpoint's own limits as the user states them: requests and tokens a minute, spread evenly.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use governor::clock::Clock;
use governor::middleware::NoOpMiddleware;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};
use tokio::time::Instant;

/// What may go out at once after a rest, as a part of what may in a minute. Endpoints count in windows of their own: a whole
/// minute's worth at the end of one of them would be refused.
const BURST: u32 = 60;

/// Shows the time it was told, ns.
#[derive(Clone, Debug, Default)]
struct ToldClock(Arc<AtomicU64>);

impl Clock for ToldClock {
    type Instant = Duration;

    fn now(&self) -> Duration {
        Duration::from_nanos(self.0.load(Ordering::Relaxed))
    }
}

/// A limit of so many a minute.
pub(super) struct Bucket {
    limiter: RateLimiter<NotKeyed, InMemoryState, ToldClock, NoOpMiddleware<Duration>>,
    clock: ToldClock,
    start: Instant,
    burst: NonZeroU32,
}

impl Bucket {
    /// `per_minute` requests or tokens a minute from `start` on.
    pub(super) fn new(per_minute: NonZeroU32, start: Instant) -> Self {
        let burst = NonZeroU32::new(per_minute.get() / BURST).unwrap_or(NonZeroU32::MIN);
        let clock = ToldClock::default();
        let limiter =
            RateLimiter::direct_with_clock(Quota::per_minute(per_minute).allow_burst(burst), clock.clone());
        Self { limiter, clock, start, burst }
    }

    /// Takes `cells` out, in parts where they are more than can ever go out at once: what could not be taken is
    /// left in `cells`.
    ///
    /// # Errors
    /// There are not so many in it: when there will be more.
    pub(super) fn take(&self, cells: &mut u32, now: Instant) -> Result<(), Instant> {
        let elapsed = now.saturating_duration_since(self.start);
        self.clock.0.fetch_max(u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
        while let Some(wanted) = NonZeroU32::new(*cells) {
            let part = wanted.min(self.burst);
            // No part is more than the burst, which is the only other reason for a refusal.
            if let Ok(Err(not_until)) = self.limiter.check_n(part) {
                return Err(now + not_until.wait_time_from(self.clock.now()));
            }
            *cells -= part.get();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(n: u32) -> NonZeroU32 {
        NonZeroU32::new(n).unwrap()
    }

    #[test]
    fn a_minute_lets_through_what_was_stated_and_not_all_of_it_at_once() {
        let start = Instant::now();
        let bucket = Bucket::new(number(600), start);
        let (mut now, mut taken, mut at_once) = (start, 0, 0);
        while now < start + Duration::from_secs(60) {
            match bucket.take(&mut 1, now) {
                Ok(()) => taken += 1,
                Err(until) => {
                    if at_once == 0 {
                        at_once = taken;
                    }
                    assert!(until > now);
                    now = until;
                }
            }
        }
        assert_eq!(at_once, 10);
        assert!((600..=611).contains(&taken), "{taken}");
    }

    #[test]
    fn a_request_larger_than_the_bucket_takes_its_time_and_is_not_stuck() {
        let start = Instant::now();
        let bucket = Bucket::new(number(6000), start);
        let mut now = start;
        for request in 1..=3 {
            let mut cells = 1000;
            while let Err(until) = bucket.take(&mut cells, now) {
                now = until;
            }
            // 100 a second, and 100 were in it at first.
            let expected = f64::from(request) * 10.0 - 1.0;
            let took = (now - start).as_secs_f64();
            assert!((took - expected).abs() < 0.2, "request {request}: {took}");
        }
    }
}
