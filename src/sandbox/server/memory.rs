//! Memory for what clients send and for what they have yet to take, counted.

use std::sync::Arc;

use axum::body::Body;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use serde::Serialize;
use tokio::sync::Semaphore;

use super::refusal::Refusal;

/// Bytes are counted in these.
const UNIT: u64 = 1024;

/// An amount of memory that shares are taken of.
pub(super) struct Memory {
    free: Arc<Semaphore>,
    units: u32,
}

impl Memory {
    pub fn new(bytes: u64) -> Self {
        let units = units(bytes).min(u32::try_from(Semaphore::MAX_PERMITS).unwrap_or(u32::MAX));
        Self { free: Arc::new(Semaphore::new(units as usize)), units }
    }

    /// A share, empty as yet.
    pub fn share(&self) -> Share {
        Share { free: Arc::clone(&self.free), most: self.units, units: 0 }
    }
}

/// A share of the memory, until dropped.
pub(super) struct Share {
    free: Arc<Semaphore>,
    most: u32,
    units: u32,
}

impl Share {
    /// Makes it large enough for `bytes`, unless too little is free.
    pub fn grow(&mut self, bytes: u64) -> bool {
        let wanted = units(bytes).max(self.units);
        match self.free.try_acquire_many(wanted - self.units) {
            Ok(more) => {
                more.forget();
                self.units = wanted;
                true
            }
            Err(_) => false,
        }
    }

    /// Makes it large enough for `bytes`, or all there is, as soon as that is free.
    pub async fn wait_for(&mut self, bytes: u64) {
        let wanted = units(bytes).min(self.most).max(self.units);
        // Nobody closes the semaphore, so this cannot fail.
        if let Ok(more) = self.free.acquire_many(wanted - self.units).await {
            more.forget();
            self.units = wanted;
        }
    }

    /// Gives back what `bytes` do not need.
    fn shrink(&mut self, bytes: u64) {
        let kept = units(bytes).min(self.units);
        self.free.add_permits((self.units - kept) as usize);
        self.units = kept;
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.free.add_permits(self.units as usize);
    }
}

fn units(bytes: u64) -> u32 {
    u32::try_from(bytes.div_ceil(UNIT)).unwrap_or(u32::MAX)
}

/// A JSON answer that holds its share until the connection has taken it.
pub(super) fn json_held(answer: &impl Serialize, mut share: Share) -> Result<Response, Refusal> {
    let text = serde_json::to_vec(answer).map_err(|error| Refusal::internal(error.to_string()))?;
    share.shrink(text.len() as u64);
    let body = Body::from(Bytes::from_owner(Held { text, _share: share }));
    Ok(([(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))], body).into_response())
}

struct Held {
    text: Vec<u8>,
    _share: Share,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.text
    }
}
