//! MinHash: how alike two sets are, told from a few numbers of each; and banding, which finds sets that may be alike
//! without comparing all pairs.

use super::shingles::mix;

/// Numbers of a signature.
pub const HASHES: usize = 128;
/// How surely a pair right at the threshold has to share a band.
const SURE: f64 = 0.98;

/// The smallest value of each hash function over a set: the share of equal values of two sets estimates their Jaccard
/// similarity, with a standard error of at most 0.045.
pub type Signature = [u32; HASHES];

/// The signature of a set of hashes; `None` of an empty one.
pub fn signature(set: &[u32]) -> Option<Signature> {
    if set.is_empty() {
        return None;
    }
    // Multiply-shift: pairwise independent over 32-bit keys.
    Some(std::array::from_fn(|n| {
        let (factor, offset) = (mix(2 * n as u64 + 1) | 1, mix(2 * n as u64 + 2));
        let hash = |x: &u32| (u64::from(*x).wrapping_mul(factor).wrapping_add(offset) >> 32) as u32;
        set.iter().map(hash).min().unwrap_or_default()
    }))
}

/// The last byte of each number: enough to estimate from, in a quarter of the memory.
pub fn compact(signature: &Signature) -> [u8; HASHES] {
    signature.map(|value| value as u8)
}

/// The Jaccard similarity that two compact signatures tell: from slightly less than 0 to 1.
pub fn estimate(a: &[u8; HASHES], b: &[u8; HASHES]) -> f64 {
    let equal = a.iter().zip(b).map(|(a, b)| u8::from(a == b)).fold(0_u32, |sum, one| sum + u32::from(one));
    // Of 256 unequal numbers, one has the same last byte.
    let chance = 1.0 / 256.0;
    (f64::from(equal) / HASHES as f64 - chance) / (1.0 - chance)
}

/// How a signature is cut into bands. Two sets of similarity s share the whole of at least one band with probability
/// 1 - (1 - s^rows)^bands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Banding {
    /// Numbers of a band.
    pub rows: usize,
    /// Number of bands.
    pub bands: usize,
}

impl Banding {
    /// The longest bands, and so the fewest pairs to look at in vain, that find 98 % of the pairs right at `threshold`.
    pub fn of(threshold: f64) -> Self {
        let with = |rows: usize| Self { rows, bands: HASHES / rows };
        let longest = (1..=HASHES / 4).rev().map(with).find(|banding| banding.finds(threshold) >= SURE);
        longest.unwrap_or(with(1))
    }

    /// The share of the pairs of similarity `similarity` that share a band.
    pub fn finds(&self, similarity: f64) -> f64 {
        1.0 - (1.0 - similarity.powi(self.rows as i32)).powi(self.bands as i32)
    }

    /// One number per band: sets that share one may be alike. `group` keeps sets of different groups apart.
    pub fn keys(&self, signature: &Signature, group: u64) -> impl Iterator<Item = u32> {
        let bands = signature.chunks_exact(self.rows).take(self.bands);
        bands.map(move |band| {
            let key = band.iter().fold(group, |key, value| mix(key ^ u64::from(*value)));
            (key >> 32) as u32
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;
    use crate::text::shingles::jaccard;

    /// Sets of `size` numbers of which about `similarity` are shared.
    fn pair(seed: u64, size: usize, similarity: f64) -> (Vec<u32>, Vec<u32>) {
        let shared = (2.0 * size as f64 * similarity / (1.0 + similarity)) as usize;
        let set = |own: u64| {
            let number =
                |n: usize| (mix(seed ^ mix(if n < shared { 7 } else { own }) ^ n as u64) >> 32) as u32;
            (0..size).map(number).collect::<BTreeSet<_>>().into_iter().collect::<Vec<_>>()
        };
        (set(1), set(2))
    }

    proptest! {
        #[test]
        fn the_estimate_is_close_to_the_similarity(
            seed: u64, size in 1_usize..400, similarity in 0.0..1.0_f64,
        ) {
            let (a, b) = pair(seed, size, similarity);
            let (one, two) = (signature(&a).unwrap(), signature(&b).unwrap());
            // Five standard errors.
            let difference = estimate(&compact(&one), &compact(&two)) - jaccard(&a, &b);
            prop_assert!(difference.abs() < 0.225, "{difference}");
            prop_assert_eq!(estimate(&compact(&one), &compact(&one)), 1.0);
        }
    }

    #[test]
    fn on_average_the_estimate_is_the_similarity() {
        for wanted in [0.1, 0.5, 0.7, 0.9] {
            let (mut estimated, mut real) = (0.0, 0.0);
            for seed in 0..200 {
                let (a, b) = pair(mix(seed), 200, wanted);
                let of = |set: &[u32]| compact(&signature(set).unwrap());
                estimated += estimate(&of(&a), &of(&b)) / 200.0;
                real += jaccard(&a, &b) / 200.0;
            }
            assert!((estimated - real).abs() < 0.012, "{wanted}: {estimated} for {real}");
        }
    }

    #[test]
    fn bands_find_pairs_as_often_as_they_say() {
        let banding = Banding::of(0.7);
        assert_eq!(banding, Banding { rows: 5, bands: 25 });
        for similarity in [0.3, 0.5, 0.7] {
            let found = (0..400).filter(|seed| {
                let (a, b) = pair(mix(*seed), 300, similarity);
                let keys = |set: &[u32]| banding.keys(&signature(set).unwrap(), 0).collect::<Vec<_>>();
                keys(&a).iter().zip(keys(&b)).any(|(a, b)| *a == b)
            });
            let share = found.count() as f64 / 400.0;
            assert!((share - banding.finds(similarity)).abs() < 0.08, "{similarity}: {share}");
        }
    }

    #[test]
    fn every_threshold_has_bands() {
        for threshold in [0.01, 0.3, 0.5, 0.8, 0.9, 0.99, 1.0] {
            let banding = Banding::of(threshold);
            assert!(banding.rows * banding.bands <= HASHES && banding.bands > 0);
            assert!(banding.finds(threshold) >= SURE || banding.rows == 1, "{threshold}: {banding:?}");
        }
        assert_eq!(signature(&[]), None);
    }
}
