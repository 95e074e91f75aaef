//! Frames on disk: schema, ingest, parts, journal.

mod columns;
pub mod ingest;
mod json_object;
pub mod key;
mod lines;
mod partial;
pub mod recorded;
pub mod records;
pub mod schema;
