//! Statistics of samples that pass or fail: pass@k, intervals, and the comparison of two runs. Pure functions.
//!
//! All intervals are of 95 %.

use fastrand::Rng;

/// Quantile of the standard normal distribution that leaves 2.5 % above it.
const Z: f64 = 1.959_963_984_540_054;

/// Resamples of a bootstrap: the ends of an interval are then good to about two digits.
const RESAMPLES: usize = 2000;

/// An interval, both ends included.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Interval {
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

/// Wilson's score interval of a rate, of `successes` among `trials`. From 0 to 1 where nothing was tried.
///
/// Successes beyond the trials count as trials.
pub fn wilson(successes: u64, trials: u64) -> Interval {
    if trials == 0 {
        return Interval { low: 0.0, high: 1.0 };
    }
    let n = trials as f64;
    let rate = successes.min(trials) as f64 / n;
    let scale = 1.0 + Z * Z / n;
    let centre = (rate + Z * Z / (2.0 * n)) / scale;
    let half = Z / scale * (rate * (1.0 - rate) / n + Z * Z / (4.0 * n * n)).sqrt();
    // Rounding must not move the ends past the rate itself, which they touch at 0 and 1.
    Interval { low: (centre - half).clamp(0.0, rate), high: (centre + half).clamp(rate, 1.0) }
}

/// The unbiased estimate of pass@k from `samples` of one problem, of which `passed` did: 1 - C(n - c, k) / C(n, k), the chance that k of
/// them, drawn without repetition, hold one that passed. `None` where there are fewer than k samples.
pub fn pass_at_k(samples: u64, passed: u64, k: u64) -> Option<f64> {
    if k == 0 || samples < k || passed > samples {
        return None;
    }
    let failed = samples - passed;
    if failed < k {
        return Some(1.0);
    }
    // The quotient of the binomials, factor by factor, so that nothing overflows.
    let all_fail: f64 = (failed + 1..=samples).map(|i| 1.0 - k as f64 / i as f64).product();
    Some(1.0 - all_fail)
}

/// The mean of `values`; `None` of none.
pub fn mean(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

/// The percentile bootstrap interval of the mean of `values`, one per problem: problems are drawn with repetition, so that
/// samples of one problem stay together. The same `values` and `seed` give the same interval. `None` of no values.
pub fn bootstrap_mean(values: &[f64], seed: u64) -> Option<Interval> {
    mean(values)?;
    let mut rng = Rng::with_seed(seed);
    let mut means: Vec<f64> = (0..RESAMPLES)
        .map(|_| {
            (0..values.len()).map(|_| values[rng.usize(..values.len())]).sum::<f64>() / values.len() as f64
        })
        .collect();
    means.sort_by(f64::total_cmp);
    let cut = RESAMPLES / 40;
    Some(Interval { low: means[cut], high: means[RESAMPLES - 1 - cut] })
}

/// The two-sided p-value of McNemar's exact test: `only_first` problems were solved by the first of two models alone, `only_second` by the
/// second alone. Were both equally good, each of these would be either's by the toss of a coin.
pub fn mcnemar(only_first: u64, only_second: u64) -> f64 {
    let discordant = only_first + only_second;
    let fewer = only_first.min(only_second);
    // ln of C(n, i) / 2^n, term by term: 2^-n itself is 0 in floating point from n = 1075 on.
    let mut term = -(discordant as f64) * std::f64::consts::LN_2;
    let mut tail = term.exp();
    for i in 1..=fewer {
        term += ((discordant - i + 1) as f64 / i as f64).ln();
        tail += term.exp();
    }
    (2.0 * tail).min(1.0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn near(left: f64, right: f64) -> bool {
        (left - right).abs() < 1e-4
    }

    /// C(n, k), exact for what the tests ask.
    fn choose(n: u64, k: u64) -> f64 {
        (0..k).map(|i| (n - i) as f64 / (k - i) as f64).product()
    }

    #[test]
    fn wilson_is_that_of_the_textbooks() {
        let of = |successes, trials| {
            let Interval { low, high } = wilson(successes, trials);
            (low, high)
        };
        let (low, high) = of(7, 9);
        assert!(near(low, 0.4526) && near(high, 0.9368), "{low} {high}");
        let (low, high) = of(0, 10);
        assert!(low == 0.0 && near(high, 0.2775), "{low} {high}");
        let (low, high) = of(10, 10);
        assert!(near(low, 0.7225) && high == 1.0, "{low} {high}");
        assert_eq!(of(0, 0), (0.0, 1.0));
    }

    #[test]
    fn pass_at_k_by_hand() {
        // C(2, 2) / C(5, 2) = 1/10; C(4, 3) / C(6, 3) = 4/20; C(7, 1) / C(10, 1) = 7/10.
        assert!(near(pass_at_k(5, 3, 2).unwrap(), 0.9));
        assert!(near(pass_at_k(6, 2, 3).unwrap(), 0.8));
        assert!(near(pass_at_k(10, 3, 1).unwrap(), 0.3));
        assert_eq!(pass_at_k(5, 0, 5), Some(0.0));
        assert_eq!(pass_at_k(5, 1, 5), Some(1.0));
        assert_eq!(pass_at_k(4, 1, 5), None);
        assert_eq!(pass_at_k(4, 1, 0), None);
    }

    #[test]
    fn mcnemar_by_hand() {
        // 2 (1 + 9) / 2^9 for 1 against 8; 2 / 2^6 for 0 against 6.
        assert!(near(mcnemar(1, 8), 0.0390625));
        assert!(near(mcnemar(6, 0), 0.03125));
        assert_eq!(mcnemar(0, 0), 1.0);
        assert_eq!(mcnemar(4, 4), 1.0);
        assert!(mcnemar(3000, 3300) < 0.001 && mcnemar(3000, 3300) > 0.0);
    }

    #[test]
    fn a_bootstrap_is_near_the_normal_interval_of_many_values() {
        let values: Vec<f64> = (0..1000).map(|n| f64::from(n % 10 < 3)).collect();
        let Interval { low, high } = bootstrap_mean(&values, 1).unwrap();
        let half = Z * (0.3_f64 * 0.7 / 1000.0).sqrt();
        assert!((low - (0.3 - half)).abs() < 0.006 && (high - (0.3 + half)).abs() < 0.006, "{low} {high}");
        assert_eq!(bootstrap_mean(&values, 1), bootstrap_mean(&values, 1));
        assert_eq!(bootstrap_mean(&[], 1), None);
        assert_eq!(bootstrap_mean(&[1.0; 5], 1), Some(Interval { low: 1.0, high: 1.0 }));
    }

    proptest! {
        #[test]
        fn wilson_holds_the_rate_and_stays_a_rate(trials in 1u64..5000, share in 0.0..=1.0_f64) {
            let successes = (trials as f64 * share) as u64;
            let Interval { low, high } = wilson(successes, trials);
            let rate = successes as f64 / trials as f64;
            prop_assert!(0.0 <= low && low <= rate && rate <= high && high <= 1.0);
            prop_assert!(low < high);
        }

        #[test]
        fn pass_at_k_is_the_quotient_of_binomials(n in 1u64..60, c in 0u64..60, k in 1u64..60) {
            let (c, k) = (c.min(n), k.min(n));
            let estimate = pass_at_k(n, c, k).unwrap();
            let expected = if n - c < k { 1.0 } else { 1.0 - choose(n - c, k) / choose(n, k) };
            prop_assert!((estimate - expected).abs() < 1e-9, "{} {}", estimate, expected);
            prop_assert!(k == 1 || estimate >= pass_at_k(n, c, k - 1).unwrap() - 1e-12);
        }

        #[test]
        fn a_bootstrap_stays_within_the_values(values in prop::collection::vec(0.0..=1.0_f64, 1..40), seed: u64) {
            let Interval { low, high } = bootstrap_mean(&values, seed).unwrap();
            let least = values.iter().copied().fold(1.0, f64::min);
            let most = values.iter().copied().fold(0.0, f64::max);
            prop_assert!(least - 1e-9 <= low && low <= high && high <= most + 1e-9);
        }

        #[test]
        fn mcnemar_is_a_symmetric_probability(first in 0u64..2000, second in 0u64..2000) {
            let p = mcnemar(first, second);
            prop_assert!((0.0..=1.0).contains(&p));
            prop_assert_eq!(p, mcnemar(second, first));
        }
    }
}
