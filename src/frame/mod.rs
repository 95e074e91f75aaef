//! Frames on disk: schema, ingest, records, parts, journal, tables.

pub mod atomic;
pub mod cache;
pub mod chunks;
pub mod columns;
pub(crate) mod contained;
pub mod dataset;
pub mod export;
pub mod ingest;
pub mod journal;
pub mod json_object;
pub mod key;
pub(crate) mod lines;
mod lock;
pub mod part;
pub mod recorded;
pub mod records;
pub mod rejects;
pub mod run_dir;
pub mod schema;
pub mod spill;
mod table_file;
