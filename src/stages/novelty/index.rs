//! The rows kept so far, found again by what they are like.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::path::Path;

use crate::error::Result;
use crate::frame::spill::Spill;
use crate::text::minhash::{Banding, HASHES, Signature, compact, estimate};
use crate::text::shingles::jaccard;

/// Rows of a band that are looked at, the latest first: where thousands of rows share a band (boilerplate) without being
/// alike, time must not grow with their square. What is alike shares several bands.
const LOOKED_AT: usize = 64;
/// How far an estimate may be below the threshold for the sets themselves to be compared: more than three standard errors.
const MARGIN: f64 = 0.15;
/// No earlier row of a band.
const NONE: u32 = u32::MAX;

/// Signatures in memory, about 0.6 KB a row; sets on disk.
pub(super) struct Index {
    threshold: f64,
    banding: Banding,
    /// By band and its number: the latest row that has it.
    bands: Vec<HashMap<u32, u32, BuildHasherDefault<Spread>>>,
    /// By row and band: the row before it that has the same number there.
    before: Vec<u32>,
    signatures: Vec<[u8; HASHES]>,
    ids: Vec<Box<str>>,
    sets: Spill,
}

impl Index {
    /// No rows. Sets will be in a temporary file in `dir`.
    pub fn create(threshold: f64, dir: &Path) -> Result<Self> {
        let banding = Banding::of(threshold);
        Ok(Self {
            threshold,
            banding,
            bands: vec![HashMap::default(); banding.bands],
            before: Vec::new(),
            signatures: Vec::new(),
            ids: Vec::new(),
            sets: Spill::create(dir)?,
        })
    }

    /// Adds a row.
    pub fn insert(&mut self, id: &str, group: u64, set: &[u32], signature: &Signature) -> Result<()> {
        let row = self.ids.len() as u32;
        for (band, key) in self.bands.iter_mut().zip(self.banding.keys(signature, group)) {
            self.before.push(band.insert(key, row).unwrap_or(NONE));
        }
        self.signatures.push(compact(signature));
        self.ids.push(id.into());
        self.sets.push(set)
    }

    /// The first row that is like this one, and how much.
    pub fn find(&self, group: u64, set: &[u32], signature: &Signature) -> Result<Option<(&str, f64)>> {
        let mut candidates = Vec::new();
        for (n, (band, key)) in self.bands.iter().zip(self.banding.keys(signature, group)).enumerate() {
            let mut row = band.get(&key).copied().unwrap_or(NONE);
            for _ in 0..LOOKED_AT {
                if row == NONE {
                    break;
                }
                candidates.push(row);
                row = self.before[row as usize * self.banding.bands + n];
            }
        }
        candidates.sort_unstable();
        candidates.dedup();
        let signature = compact(signature);
        for row in candidates.into_iter().map(|row| row as usize) {
            if estimate(&signature, &self.signatures[row]) >= self.threshold - MARGIN {
                let similarity = jaccard(set, &self.sets.get(row)?);
                if similarity >= self.threshold {
                    return Ok(Some((&self.ids[row], similarity)));
                }
            }
        }
        Ok(None)
    }
}

/// Spreads keys that are hashes already over the 64 bits that the map looks at.
#[derive(Default)]
struct Spread(u64);

impl Hasher for Spread {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.write_u32(u32::from(*byte)));
    }

    fn write_u32(&mut self, key: u32) {
        self.0 = (self.0 ^ u64::from(key)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
}
