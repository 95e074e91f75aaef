//! The request log: one JSON line per request, in the file as soon as the request is answered or its client is gone.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use serde::Serialize;

use crate::error::{Error, Result};
use crate::frame::key::Key;

/// Status of a request whose client went away before it was answered.
const CLIENT_GONE: u16 = 499;

/// Where requests are logged, if anywhere.
pub(super) struct Log {
    file: Option<Mutex<File>>,
    started: Instant,
}

/// One request.
#[derive(Debug, Serialize)]
pub(super) struct Entry {
    /// Since the server started, ms.
    pub at_ms: u64,
    /// The batch it came in, if it did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub batch: Option<String>,
    /// Journal key of the (first) sample asked for; `None` where the body is no chat request.
    pub key: Option<Key>,
    /// The model asked.
    pub model: String,
    /// Samples asked for.
    pub n: u32,
    /// HTTP status; 200 with a fault for an answer that was spoilt on its way; 499 when the client went away.
    pub status: u16,
    /// The injected fault.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fault: Option<&'static str>,
}

/// An entry that is written when it is dropped: whatever becomes of the request, there is a line of it.
pub(super) struct Logged<'a> {
    log: &'a Log,
    pub entry: Entry,
}

impl Log {
    /// Appends to the file at `path`.
    ///
    /// # Errors
    /// It cannot be opened.
    pub fn open(path: Option<&Path>) -> Result<Self> {
        let open = |path: &Path| {
            let opened = OpenOptions::new().append(true).create(true).open(path);
            opened.map(Mutex::new).map_err(|error| Error::io("write", path, error))
        };
        Ok(Self { file: path.map(open).transpose()?, started: Instant::now() })
    }

    /// A request that has just come, in batch `batch` if it did.
    pub fn request(&self, batch: Option<String>) -> Logged<'_> {
        let at_ms = self.started.elapsed().as_millis() as u64;
        let (model, fault) = (String::new(), None);
        Logged {
            log: self,
            entry: Entry { at_ms, batch, key: None, model, n: 1, status: CLIENT_GONE, fault },
        }
    }
}

impl Drop for Logged<'_> {
    fn drop(&mut self) {
        let Some(file) = &self.log.file else { return };
        let Ok(mut line) = serde_json::to_vec(&self.entry) else { return };
        line.push(b'\n');
        let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(error) = file.write_all(&line) {
            tracing::error!("cannot write the request log: {error}");
        }
    }
}
