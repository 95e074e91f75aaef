//! Frames on disk: schema, ingest, parts, journal.

pub mod atomic;
pub mod dataset;
pub mod journal;
pub mod key;
pub mod part;
pub mod recorded;
pub mod rejects;
pub mod run_dir;
pub mod schema;
mod table_file;
