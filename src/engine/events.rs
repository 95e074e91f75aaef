//! What the engine tells while it works. The command line draws progress from it; the engine never prints.

use std::sync::Arc;
use std::time::Duration;

use super::counts::Tally;
use crate::error::{Fault, Tokens};
use crate::stages::Resource;

/// Something that happened.
#[derive(Debug)]
pub enum Event<'a> {
    /// A partition went through a stage; also told for parts found sealed, with `fresh` false.
    Stage {
        /// Stage name.
        stage: &'a str,
        /// What became of the partition's rows, all languages together.
        tally: &'a Tally,
        /// Whether the work was done now.
        fresh: bool,
    },
    /// A global stage reads rows to decide about them.
    Deciding {
        /// Stage name.
        stage: &'a str,
        /// Rows it has read now.
        rows: u64,
    },
    /// A call to the model or the sandbox begins.
    Asking {
        /// Stage that asks.
        stage: &'a str,
        /// Whom.
        resource: Resource,
    },
    /// The call ended, well or not.
    Asked {
        /// Stage that asked.
        stage: &'a str,
        /// Language of the row it asked for.
        language: &'a str,
        /// Whom.
        resource: Resource,
        /// From its beginning to its end.
        took: Duration,
        /// What it is charged: by the model only.
        tokens: Tokens,
        /// Why there is no answer.
        fault: Option<&'a Fault>,
    },
    /// An answer was found in the journal.
    Found(Resource),
    /// An answer was found in another run or the user's cache, and is in the journal now.
    Reused(Resource),
    /// A call failed and will be tried again.
    Retry {
        /// Stage that asks.
        stage: &'a str,
        /// What went wrong.
        fault: &'a Fault,
        /// How long until the next try.
        wait: Duration,
    },
    /// A row stays pending.
    Pending {
        /// Stage it waits at.
        stage: &'a str,
        /// Its id.
        row: &'a str,
        /// What it waits for.
        fault: &'a Fault,
    },
}

/// Whoever listens to events. Called from many threads; must be quick.
pub trait Observer: Send + Sync {
    /// Something happened.
    fn event(&self, event: &Event<'_>);

    /// Another pass over the same rows begins: what was told of rows is told again.
    fn restart(&self) {}
}

/// Listens to nothing.
pub struct Silent;

impl Observer for Silent {
    fn event(&self, _event: &Event<'_>) {}
}

/// Passes every event on to several listeners, in order.
pub struct All(pub Vec<Arc<dyn Observer>>);

impl Observer for All {
    fn event(&self, event: &Event<'_>) {
        self.0.iter().for_each(|observer| observer.event(event));
    }
}
