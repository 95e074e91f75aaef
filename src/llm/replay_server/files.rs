//! `/v1/files`: what clients upload, and the results of batches. Kept on disk for as long as the server runs.

use std::collections::HashMap;
use std::io::Write;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use axum::Json;
use axum::body::Body;
use axum::extract::multipart::{Multipart, MultipartError};
use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures::stream;
use serde_json::{Value, json};
use tempfile::{NamedTempFile, TempPath};
use tokio::io::AsyncReadExt;

use super::{Service, refusal};
use crate::error::{Error, Result};

/// Bytes sent at a time.
const CHUNK: usize = 64 << 10;

/// All files there are.
pub(super) struct Files {
    dir: tempfile::TempDir,
    files: Mutex<HashMap<String, Stored>>,
}

/// One file.
struct Stored {
    path: TempPath,
    name: String,
    purpose: String,
    bytes: u64,
    created_at: u64,
}

impl Files {
    /// No files yet.
    ///
    /// # Errors
    /// There is no room for temporary files.
    pub fn create() -> Result<Self> {
        let dir = tempfile::tempdir();
        let dir = dir.map_err(|error| Error::io("create a folder in", &std::env::temp_dir(), error))?;
        Ok(Self { dir, files: Mutex::default() })
    }

    /// A file to be filled and given to [`Files::keep`].
    pub fn new_file(&self) -> std::io::Result<NamedTempFile> {
        NamedTempFile::new_in(self.dir.path())
    }

    /// Keeps `file` under a new id.
    pub fn keep(&self, file: NamedTempFile, name: &str, purpose: &str) -> std::io::Result<String> {
        let bytes = file.as_file().metadata()?.len();
        let (name, purpose) = (name.to_owned(), purpose.to_owned());
        let stored = Stored { path: file.into_temp_path(), name, purpose, bytes, created_at: now() };
        let mut files = self.lock();
        let id = format!("file-{}", files.len() + 1);
        files.insert(id.clone(), stored);
        Ok(id)
    }

    /// Where the file `id` lies, if there is one of this purpose.
    pub fn path(&self, id: &str, purpose: Option<&str>) -> Option<PathBuf> {
        let files = self.lock();
        let stored = files.get(id).filter(|stored| purpose.is_none_or(|wanted| wanted == stored.purpose));
        stored.map(|stored| stored.path.to_path_buf())
    }

    fn describe(&self, id: &str) -> Option<Value> {
        let files = self.lock();
        let Stored { name, purpose, bytes, created_at, .. } = files.get(id)?;
        Some(json!({
            "id": id, "object": "file", "bytes": bytes, "created_at": created_at, "filename": name,
            "purpose": purpose, "status": "processed",
        }))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, Stored>> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Seconds since 1970.
pub(super) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

pub(super) fn missing(id: &str) -> Response {
    refusal(StatusCode::NOT_FOUND, "not_found", format!("there is no `{id}`"))
}

pub(super) async fn upload(State(service): State<Arc<Service>>, form: Multipart) -> Response {
    match store(&service.files, form).await {
        Ok(id) => Json(service.files.describe(&id)).into_response(),
        Err(message) => refusal(StatusCode::BAD_REQUEST, "invalid_request", message),
    }
}

async fn store(files: &Files, mut form: Multipart) -> Result<String, String> {
    let broken = |error: MultipartError| format!("the form does not read: {error}");
    let failed = |error: std::io::Error| format!("the file cannot be kept: {error}");
    let (mut purpose, mut uploaded) = (None, None);
    while let Some(mut field) = form.next_field().await.map_err(broken)? {
        match field.name() {
            Some("purpose") => purpose = Some(field.text().await.map_err(broken)?),
            Some("file") => {
                let name = field.file_name().unwrap_or("file.jsonl").to_owned();
                let mut file = files.new_file().map_err(failed)?;
                while let Some(chunk) = field.chunk().await.map_err(broken)? {
                    file.write_all(&chunk).map_err(failed)?;
                }
                uploaded = Some((file, name));
            }
            _ => {}
        }
    }
    let purpose = purpose.ok_or("the form has no `purpose`")?;
    let (file, name) = uploaded.ok_or("the form has no `file`")?;
    files.keep(file, &name, &purpose).map_err(failed)
}

pub(super) async fn describe(State(service): State<Arc<Service>>, Path(id): Path<String>) -> Response {
    service.files.describe(&id).map_or_else(|| missing(&id), |file| Json(file).into_response())
}

pub(super) async fn content(State(service): State<Arc<Service>>, Path(id): Path<String>) -> Response {
    let Some(path) = service.files.path(&id, None) else { return missing(&id) };
    let file = match tokio::fs::File::open(path).await {
        Ok(file) => file,
        Err(error) => return refusal(StatusCode::INTERNAL_SERVER_ERROR, "io", error.to_string()),
    };
    let chunks = stream::try_unfold(file, async |mut file| {
        let mut chunk = vec![0; CHUNK];
        let read = file.read(&mut chunk).await?;
        chunk.truncate(read);
        Ok::<_, std::io::Error>((read > 0).then_some((chunk, file)))
    });
    ([(header::CONTENT_TYPE, "application/octet-stream")], Body::from_stream(chunks)).into_response()
}
