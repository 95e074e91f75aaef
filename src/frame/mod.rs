//! Frames on disk: schema, ingest, parts, journal.

pub mod key;
pub mod recorded;
pub mod schema;
