//! Request files: JSON lines as batch services take them, split where one would be too large. Services run a file with one
//! model, so each file asks one.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Serialize;

use crate::error::{Error, Fault, Recovery, Result};
use crate::frame::atomic::NewFile;
use crate::frame::key::Key;
use crate::llm::chat::ChatRequest;
use crate::llm::client::{Body, HttpModel};
use crate::llm::key::sampling_fields;

/// What one file may hold.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Most requests.
    pub requests: u64,
    /// Most bytes.
    pub bytes: u64,
}

/// A complete request file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// Its number.
    pub number: u32,
    /// Where it is.
    pub path: PathBuf,
    /// Requests in it.
    pub requests: u64,
    /// Its size, bytes.
    pub bytes: u64,
}

/// Writes `requests-00001.jsonl` and so on. A file has its name once it is complete and on disk.
pub struct RequestFiles {
    dir: PathBuf,
    limits: Limits,
    url: String,
    endpoint: Option<Arc<HttpModel>>,
    next: u32,
    /// The file that requests to each model are being appended to.
    open: BTreeMap<String, Open>,
}

struct Open {
    number: u32,
    new: NewFile,
    file: BufWriter<File>,
    requests: u64,
    bytes: u64,
}

/// One line of a request file.
#[derive(Serialize)]
struct Line<'a> {
    custom_id: Key,
    method: &'static str,
    url: &'a str,
    body: Body<'a>,
}

impl RequestFiles {
    /// Files in the folder `dir`, numbered from `first` on, whose requests name the address `url`.
    pub fn new(dir: &Path, limits: Limits, url: &str, first: u32) -> Self {
        Self {
            dir: dir.to_owned(),
            limits,
            url: url.to_owned(),
            endpoint: None,
            next: first,
            open: BTreeMap::new(),
        }
    }

    /// The same for this endpoint, with bodies as it takes them.
    pub fn of(self, endpoint: Arc<HttpModel>) -> Self {
        Self { endpoint: Some(endpoint), ..self }
    }

    /// Where file `number` of the folder `dir` is.
    pub fn path(dir: &Path, number: u32) -> PathBuf {
        dir.join(format!("requests-{number:05}.jsonl"))
    }

    /// The line for `request`.
    ///
    /// # Errors
    /// It alone is larger than a file may be.
    pub fn line(&self, request: &ChatRequest) -> Result<Vec<u8>, Fault> {
        let fields = match &self.endpoint {
            Some(endpoint) => endpoint.fields(&request.sampling).0,
            None => sampling_fields(&request.sampling),
        };
        let body = Body { fields, messages: &request.messages };
        let line = Line { custom_id: request.key, method: "POST", url: &self.url, body };
        let unfit = |what: String| Fault::new(Recovery::Pend, "request_too_large", what);
        let mut line = serde_json::to_vec(&line).map_err(|error| unfit(error.to_string()))?;
        line.push(b'\n');
        if line.len() as u64 > self.limits.bytes {
            return Err(unfit(format!(
                "the request has {} bytes, a file may have {}",
                line.len(),
                self.limits.bytes
            )));
        }
        Ok(line)
    }

    /// Appends a line that asks `model`. The file before, where that is full now.
    ///
    /// # Errors
    /// The disk.
    pub fn push(&mut self, model: &str, line: &[u8]) -> Result<Option<Written>> {
        let Limits { requests, bytes } = self.limits;
        let size = line.len() as u64;
        let is_full = |open: &Open| open.requests >= requests.max(1) || open.bytes + size > bytes;
        let full = match self.open.get(model).is_some_and(is_full) {
            true => self.open.remove(model).map(Open::finish).transpose()?,
            false => None,
        };
        let open = match self.open.entry(model.to_owned()) {
            Entry::Occupied(open) => open.into_mut(),
            Entry::Vacant(place) => {
                let number = self.next;
                let (new, file) = NewFile::create(&Self::path(&self.dir, number))?;
                self.next += 1;
                place.insert(Open { number, new, file: BufWriter::new(file), requests: 0, bytes: 0 })
            }
        };
        let written = open.file.write_all(line);
        written.map_err(|error| Error::io("write", open.new.path(), error))?;
        open.requests += 1;
        open.bytes += size;
        Ok(full)
    }

    /// Completes the files that lines are being appended to.
    ///
    /// # Errors
    /// The disk.
    pub fn finish(&mut self) -> Result<Vec<Written>> {
        std::mem::take(&mut self.open).into_values().map(Open::finish).collect()
    }
}

impl Open {
    fn finish(self) -> Result<Written> {
        let Self { number, new, mut file, requests, bytes } = self;
        let path = new.path().to_owned();
        file.flush().map_err(|error| Error::io("write", &path, error))?;
        new.place()?;
        Ok(Written { number, path, requests, bytes })
    }
}
