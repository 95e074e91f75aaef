//! Which requests are taken on, and how many bytes of them are held at once.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Bytes are counted in these.
const UNIT: usize = 1024;

/// Bodies of this many bytes are held at once, all together, and never fewer than four of the largest.
const HELD_BYTES: usize = 256 << 20;

/// Bounds on the requests being worked on or waiting.
pub(super) struct Admission {
    places: Arc<Semaphore>,
    capacity: usize,
    held: Arc<Semaphore>,
}

impl Admission {
    /// `seats` requests being worked on and `queue` waiting, of at most `max_request_bytes` each.
    pub fn new(seats: usize, queue: usize, max_request_bytes: usize) -> Self {
        let capacity = seats.saturating_add(queue).min(Semaphore::MAX_PERMITS);
        let held = HELD_BYTES.max(max_request_bytes.saturating_mul(4)) / UNIT;
        Self {
            places: Arc::new(Semaphore::new(capacity)),
            capacity,
            held: Arc::new(Semaphore::new(held.min(u32::MAX as usize))),
        }
    }

    /// A place, unless all are taken.
    pub fn place(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.places).try_acquire_owned().ok()
    }

    /// Room for a body that is to come.
    pub fn room(&self) -> Room {
        Room { held: Arc::clone(&self.held), units: 0 }
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

/// A body's share of the memory for bodies, until dropped.
pub(super) struct Room {
    held: Arc<Semaphore>,
    units: u32,
}

impl Room {
    /// Makes it large enough for `bytes`, unless too much is held already.
    pub fn grow(&mut self, bytes: usize) -> bool {
        let wanted = u32::try_from(bytes.div_ceil(UNIT)).unwrap_or(u32::MAX).max(self.units);
        let granted = self.held.try_acquire_many(wanted - self.units);
        match granted {
            Ok(permit) => {
                permit.forget();
                self.units = wanted;
                true
            }
            Err(_) => false,
        }
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.held.add_permits(self.units as usize);
    }
}
