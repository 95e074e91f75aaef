//! The engine: partitions stream through the steps of a plan; answers are journaled, parts sealed, runs resumed.

pub mod barrier;
pub mod budget;
pub mod calls;
pub mod counts;
mod dispatcher;
pub mod estimate;
pub mod events;
pub mod executor;
pub mod listing;
pub mod metrics;
mod parts;
pub mod prices;
pub mod prompts;
pub mod provenance;
pub mod rounds;
pub mod run_file;
pub mod spending;
pub mod stop;
pub mod tables;
pub mod trace;

pub use dispatcher::{Engine, Outcome, active_partitions, partition_rows};
