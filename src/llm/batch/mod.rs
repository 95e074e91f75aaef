//! Requests in files instead of over connections: for batch services, and for clusters without network.
//!
//! A run that gathers ([`Gatherer`]) writes down what it would ask instead of asking it, and leaves those rows pending.
//! Answers come back as result files ([`Import`]) into the journal; the next pass over the same rows finds them
//! there and gathers what follows. [`Driver`] takes the files to a batch service and back.
//!
//! In a run directory, `batches/` holds:
//!
//! ```text
//! asked.jsonl                who asked each request that was ever written to a file
//! requests-00001.jsonl       what is or will be at the service, until its answers are in the journal
//! batch-00001.json           how far it is: see `Job`
//! ```

mod asked;
mod driver;
mod gather;
mod import;
mod job;
mod request_files;
mod results;
mod service;

pub use asked::{Asked, AskedIndex};
pub use driver::{Driver, News, Options as DriverOptions};
pub use gather::{Gatherer, NothingAsked};
pub use import::{Import, JournalOf, Report};
pub use job::outstanding;
pub use request_files::{Limits, RequestFiles, Written};
pub use service::BatchService;

/// The address of a request within a file, as services and `vllm run-batch` want it.
pub const CHAT_URL: &str = "/v1/chat/completions";

/// Cause of the fault that leaves a row pending whose request is in a batch.
pub const IN_BATCH: &str = "in_batch";
