//! Trying again after a fault: how often, how long to wait, and when to give up.
//!
//! Used for everything that can fault, the model and the sandbox alike.

use std::future::Future;
use std::pin::pin;
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use futures::future::{Either, select};

use crate::error::{Fault, Recovery};

/// How often and after what waits a request is tried again. Never part of a fingerprint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Attempts in all, the first included; 0 counts as 1.
    pub tries: u32,
    /// Longest wait before the second attempt; each further one may be twice as long. How long it is is drawn anew
    /// every time, from nothing to the longest, so that requests that failed together do not come back together.
    pub min_wait: Duration,
    /// Where the doubling ends.
    pub max_wait: Duration,
    /// Longest wait that the other side's `Retry-After` can bring about.
    pub max_retry_after: Duration,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            tries: 6,
            min_wait: Duration::from_secs(1),
            max_wait: Duration::from_secs(60),
            max_retry_after: Duration::from_secs(300),
        }
    }
}

impl RetryPolicy {
    /// The waits between attempts: `tries - 1` of them.
    fn waits(&self) -> impl Iterator<Item = Duration> + use<> {
        Backoff::new(self.min_wait, self.max_wait).take(self.tries.saturating_sub(1) as usize)
    }
}

/// Waits that grow, each drawn from nothing to twice the longest the one before could be ("full jitter"). Never ends.
#[derive(Debug)]
pub struct Backoff(ExponentialBackoff);

impl Backoff {
    /// The first wait is at most `min`, none is longer than `max`.
    pub fn new(min: Duration, max: Duration) -> Self {
        let longest = ExponentialBuilder::new().with_min_delay(min).with_max_delay(max);
        Self(longest.without_max_times().build())
    }
}

impl Iterator for Backoff {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        self.0.next().map(|longest| longest.mul_f64(fastrand::f64()))
    }
}

/// What came of a request after all its attempts.
#[derive(Debug)]
pub struct Tried<T> {
    /// The answer, or the last fault.
    pub result: Result<T, Fault>,
    /// Attempts made, at least 1.
    pub attempts: u32,
}

/// Calls `attempt(1)`, `attempt(2)`, ... until one answers, faults with something other than
/// [`Recovery::Retry`], or the policy's tries are used up.
///
/// A `Retry-After` longer than the backoff replaces it, up to the policy's maximum. `on_retry` is told of each
/// fault that is followed by a wait. When `cancel` completes, a wait ends at once and the last fault is returned;
/// an attempt in flight is left to finish, as it may be paid for already. To abandon that too, drop the future.
pub async fn with_retries<T, Fut>(
    policy: &RetryPolicy,
    cancel: impl Future<Output = ()>,
    mut attempt: impl FnMut(u32) -> Fut,
    mut on_retry: impl FnMut(&Fault, Duration),
) -> Tried<T>
where
    Fut: Future<Output = Result<T, Fault>>,
{
    let mut cancel = pin!(cancel);
    let mut waits = policy.waits();
    let mut attempts = 0;
    loop {
        attempts += 1;
        let fault = match attempt(attempts).await {
            Err(fault) if fault.recovery == Recovery::Retry => fault,
            result => return Tried { result, attempts },
        };
        let Some(backoff) = waits.next() else { return Tried { result: Err(fault), attempts } };
        let asked = fault.retry_after.unwrap_or_default().min(policy.max_retry_after);
        let wait = backoff.max(asked);
        on_retry(&fault, wait);
        let sleep = pin!(tokio::time::sleep(wait));
        if let Either::Left(_) = select(cancel.as_mut(), sleep).await {
            return Tried { result: Err(fault), attempts };
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};
    use std::time::Instant;

    use super::*;

    const FAST: RetryPolicy = RetryPolicy {
        tries: 4,
        min_wait: Duration::from_millis(10),
        max_wait: Duration::from_millis(20),
        max_retry_after: Duration::from_millis(150),
    };

    fn busy(retry_after_ms: Option<u64>) -> Fault {
        Fault::new(Recovery::Retry, "rate_limited", "busy")
            .retry_after(retry_after_ms.map(Duration::from_millis))
    }

    #[tokio::test]
    async fn answers_after_faults_and_counts_attempts() {
        let mut waits = Vec::new();
        let tried = with_retries(
            &FAST,
            pending(),
            |n| ready(if n < 3 { Err(busy(None)) } else { Ok(n) }),
            |fault, wait| waits.push((fault.cause, wait)),
        )
        .await;
        assert_eq!((tried.result.unwrap(), tried.attempts), (3, 3));
        assert_eq!(waits.len(), 2);
        assert!(
            waits[0].1 < Duration::from_millis(10) && waits[1].1 < Duration::from_millis(20),
            "{waits:?}"
        );
    }

    #[tokio::test]
    async fn gives_up_after_the_last_try_and_at_once_when_retrying_is_pointless() {
        let tried: Tried<()> = with_retries(&FAST, pending(), |_| ready(Err(busy(None))), |_, _| ()).await;
        assert_eq!((tried.result.unwrap_err().cause, tried.attempts), ("rate_limited", 4));

        for recovery in [Recovery::Pend, Recovery::Stop] {
            let fault = Fault::new(recovery, "unauthorized", "no");
            let tried: Tried<()> =
                with_retries(&FAST, pending(), |_| ready(Err(fault.clone())), |_, _| panic!("no retry"))
                    .await;
            assert_eq!(tried.attempts, 1);
        }

        let none = RetryPolicy { tries: 0, ..FAST };
        let tried: Tried<()> = with_retries(&none, pending(), |_| ready(Err(busy(None))), |_, _| ()).await;
        assert_eq!(tried.attempts, 1);
    }

    #[tokio::test]
    async fn retry_after_replaces_a_shorter_backoff_up_to_the_maximum() {
        for (asked, least, most) in [(100, 100, 101), (60_000, 150, 151), (1, 1, 10)] {
            let mut waits = Vec::new();
            let started = Instant::now();
            let tried = with_retries(
                &FAST,
                pending(),
                |n| ready(if n == 1 { Err(busy(Some(asked))) } else { Ok(()) }),
                |_, wait| waits.push(wait),
            )
            .await;
            assert_eq!(tried.attempts, 2);
            assert!(
                waits[0] >= Duration::from_millis(least) && waits[0] < Duration::from_millis(most),
                "{waits:?}"
            );
            assert!(started.elapsed() >= waits[0]);
        }
    }

    #[test]
    fn waits_spread_from_nothing_to_the_longest_which_doubles() {
        let ms = |wait: Duration| wait.as_secs_f64() * 1000.0;
        let mut sums = [0.0; 4];
        for _ in 0..2000 {
            for (n, wait) in Backoff::new(FAST.min_wait, Duration::from_millis(40)).take(4).enumerate() {
                assert!(ms(wait) <= [10.0, 20.0, 40.0, 40.0][n], "wait {n}: {wait:?}");
                sums[n] += ms(wait) / 2000.0;
            }
        }
        for (mean, expected) in sums.iter().zip([5.0, 10.0, 20.0, 20.0]) {
            assert!((mean - expected).abs() < expected * 0.1, "{sums:?}");
        }
    }

    #[tokio::test]
    async fn cancelling_ends_a_wait_but_not_an_attempt() {
        let slow = RetryPolicy { min_wait: Duration::from_secs(60), ..FAST };
        let slow = RetryPolicy { max_wait: Duration::from_secs(60), ..slow };
        let started = Instant::now();
        let cancel = tokio::time::sleep(Duration::from_millis(20));
        let tried: Tried<()> = with_retries(&slow, cancel, |_| ready(Err(busy(None))), |_, _| ()).await;
        assert_eq!((tried.result.unwrap_err().cause, tried.attempts), ("rate_limited", 1));
        assert!(started.elapsed() < Duration::from_secs(5));

        let answer = || async {
            tokio::time::sleep(Duration::from_millis(50)).await;
            Ok("paid for")
        };
        let tried = with_retries(&slow, ready(()), |_| answer(), |_, _| ()).await;
        assert_eq!(tried.result.unwrap(), "paid for");
    }
}
