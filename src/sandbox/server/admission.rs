//! Which requests are taken on.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// A bound on the requests being worked on or waiting.
pub(super) struct Admission {
    places: Arc<Semaphore>,
    capacity: usize,
}

impl Admission {
    /// `seats` requests being worked on and `queue` waiting.
    pub fn new(seats: usize, queue: usize) -> Self {
        let capacity = seats.saturating_add(queue).min(Semaphore::MAX_PERMITS);
        Self { places: Arc::new(Semaphore::new(capacity)), capacity }
    }

    /// A place, unless all are taken.
    pub fn place(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.places).try_acquire_owned().ok()
    }

    /// Requests that have a place.
    pub fn admitted(&self) -> usize {
        self.capacity - self.places.available_permits()
    }

    /// Requests that can have a place at once.
    pub fn capacity(&self) -> usize {
        self.capacity
    }
}
