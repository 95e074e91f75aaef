//! Frames on disk: schema, ingest, parts, journal.

pub mod ingest;
pub mod key;
pub mod recorded;
pub mod records;
pub mod schema;
