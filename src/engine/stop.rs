//! How a run is told to stop: by the user, or by the first error that concerns every row.

use std::sync::{Mutex, PoisonError};

use tokio::sync::watch;

use crate::error::{Error, Kind};

/// Set once; from then on no call is begun, those in flight are drained.
pub struct Stop {
    flag: watch::Sender<bool>,
    cause: Mutex<Option<Error>>,
    /// What is to be done at once when the run is told to stop.
    then: Mutex<Vec<Box<dyn FnOnce() + Send>>>,
}

impl Default for Stop {
    fn default() -> Self {
        Self { flag: watch::Sender::new(false), cause: Mutex::new(None), then: Mutex::default() }
    }
}

impl Stop {
    /// Stops the run because of `error`. Only the first cause is kept.
    pub fn fail(&self, error: Error) {
        let mut cause = self.cause.lock().unwrap_or_else(PoisonError::into_inner);
        cause.get_or_insert(error);
        drop(cause);
        self.flag.send_replace(true);
        let then = std::mem::take(&mut *self.then.lock().unwrap_or_else(PoisonError::into_inner));
        then.into_iter().for_each(|then| then());
    }

    /// Has `then` done as soon as the run is told to stop.
    pub fn then(&self, then: impl FnOnce() + Send + 'static) {
        self.then.lock().unwrap_or_else(PoisonError::into_inner).push(Box::new(then));
    }

    /// Stops the run because the user asked.
    pub fn interrupt(&self) {
        self.fail(
            Error::new(Kind::Interrupted, "interrupted; everything answered so far is kept")
                .hint("run the same command again to resume"),
        );
    }

    /// Whether the run is to stop.
    pub fn is_set(&self) -> bool {
        *self.flag.borrow()
    }

    /// Resolves once the run is to stop.
    pub async fn wait(&self) {
        // The sender lives in `self`, so waiting cannot fail while `self` is borrowed.
        let _ = self.flag.subscribe().wait_for(|stop| *stop).await;
    }

    /// Why the run stopped, if it did.
    pub fn take_cause(&self) -> Option<Error> {
        self.cause.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}
