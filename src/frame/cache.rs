//! The user's cache: replies that runs have paid for, for other runs that ask the same.
//!
//! ```text
//! <root>/replies/<hash>/about.json     the endpoint and the model whose replies these are
//! <root>/replies/<hash>/0/ 1/ ...      journals; `lock` is held by the one process that appends to it
//! ```
//!
//! Processes share it without waiting for each other: each appends to a journal of its own (one that nobody holds is
//! taken up again) and reads the others'. When the cache is larger than its cap, the segments that were used the
//! longest ago are deleted, whoever wrote them; those that a process appends to stay. A segment's time of
//! modification says when it was last used.
//!
//! The cache never stands in a run's way: what cannot be read is not there, what cannot be written is not kept.

mod store;

use std::collections::HashMap;
use std::fs::{DirBuilder, File, FileTimes};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use serde::{Deserialize, Serialize};

pub use self::store::{Group, Pruned, groups, prune};
use crate::error::{Error, Result};
use crate::frame::journal::{Journal, SegmentLimits};
use crate::frame::key::Key;
use crate::frame::lock::Lock;

/// Size cap unless another is asked for, bytes.
pub const DEFAULT_MAX_BYTES: u64 = 10 << 30;

/// A segment's use is written down at most this often.
const TOUCH_EVERY: Duration = Duration::from_secs(60);

/// Whose replies a directory has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct About {
    /// Base URL of the endpoint, without query.
    pub endpoint: String,
    /// The model as the endpoint knows it.
    pub model: String,
}

/// The replies of one model at one endpoint.
pub struct Cache {
    root: PathBuf,
    max_bytes: u64,
    own: Journal,
    _lock: Lock,
    others: Vec<Journal>,
    /// Bytes appended since the size was last looked at.
    unchecked: AtomicU64,
    touched: Mutex<HashMap<PathBuf, Instant>>,
    failed: AtomicBool,
}

impl Cache {
    /// Opens the part of the cache in `root` that has the replies of `model` at `endpoint` (a base URL), and makes
    /// room if the cache has more than `max_bytes`.
    ///
    /// # Errors
    /// The directory cannot be written.
    pub fn open(root: &Path, endpoint: &str, model: &str, max_bytes: u64) -> Result<Self> {
        let group = root.join("replies").join(Key::of(&[endpoint, model]).to_string());
        // What others said to a model is nobody else's business.
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&group)
            .map_err(|error| Error::io("create", &group, error))?;
        let address = endpoint.split(['?', '#']).next().unwrap_or_default();
        let about = About { endpoint: address.to_owned(), model: model.to_owned() };
        store::write_about(&group, &about)?;
        prune(root, max_bytes, None)?;
        // Many small segments rather than few large ones where the cap is small: a segment goes as a whole.
        let limits = SegmentLimits { bytes: (max_bytes / 64).min(64 << 20), ..SegmentLimits::default() };
        let (mut own, mut others) = (None, Vec::new());
        for dir in store::journals(&group)? {
            if own.is_none()
                && let Some(lock) = store::try_lock(&dir)?
            {
                match Journal::open_with(&dir, limits) {
                    Ok(journal) => own = Some((journal, lock)),
                    Err(error) => tracing::warn!("a part of the cache is left out: {error}"),
                }
                continue;
            }
            match Journal::open_read_only(&dir) {
                Ok(journal) => others.push(journal),
                Err(error) => tracing::warn!("a part of the cache is left out: {error}"),
            }
        }
        let (own, lock) = match own {
            Some(own) => own,
            None => {
                let (dir, lock) = store::new_journal(&group)?;
                (Journal::open_with(&dir, limits)?, lock)
            }
        };
        Ok(Self {
            root: root.to_owned(),
            max_bytes,
            own,
            _lock: lock,
            others,
            unchecked: AtomicU64::new(0),
            touched: Mutex::default(),
            failed: AtomicBool::new(false),
        })
    }

    /// The record of `key`. A segment that was deleted or damaged has none.
    pub fn find(&self, key: &Key) -> Option<Vec<u8>> {
        for journal in std::iter::once(&self.own).chain(&self.others) {
            match journal.locate(key) {
                Ok(Some((payload, path))) => {
                    self.touch(path);
                    return Some(payload);
                }
                Ok(None) => {}
                Err(error) => tracing::debug!("not in the cache any more: {error}"),
            }
        }
        None
    }

    /// Keeps a record. After the first failure, which is told, nothing more is kept.
    pub fn keep(&self, key: Key, payload: &[u8]) {
        // A record that is a good part of the cache would drive out everything else.
        if self.failed.load(Ordering::Relaxed) || payload.len() as u64 > self.max_bytes / 64 {
            return;
        }
        let kept = self.own.append(key, payload).and_then(|()| self.keep_cap(payload.len() as u64));
        if let Err(error) = kept
            && !self.failed.swap(true, Ordering::Relaxed)
        {
            tracing::warn!("replies are no longer kept in the cache: {error}");
        }
    }

    /// Looks at the size now and then, and makes some room ahead where it is near the cap: several processes append.
    fn keep_cap(&self, appended: u64) -> Result<()> {
        let every = self.max_bytes / 64;
        if self.unchecked.fetch_add(appended, Ordering::Relaxed) + appended < every {
            return Ok(());
        }
        self.unchecked.store(0, Ordering::Relaxed);
        prune(&self.root, self.max_bytes - self.max_bytes / 8, None).map(drop)
    }

    fn touch(&self, path: PathBuf) {
        let mut touched = self.touched.lock().unwrap_or_else(PoisonError::into_inner);
        if touched.get(&path).is_some_and(|at| at.elapsed() < TOUCH_EVERY) {
            return;
        }
        let now = FileTimes::new().set_modified(SystemTime::now());
        if let Err(error) = File::open(&path).and_then(|file| file.set_times(now)) {
            tracing::debug!("the use of {} cannot be written down: {error}", path.display());
        }
        touched.insert(path, Instant::now());
    }
}
