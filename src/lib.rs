//! autocodegen turns code snippets into verified programming problems.
//!
//! Data flows one way; imports go down this list, never up (`tests/layers.rs` checks it):
//!
//! - [`error`]: errors that end a command, faults that are retried
//! - [`retry`]: trying again after a fault
//! - [`frame`]: Arrow frames on disk: schema, ingest, parts, journal
//! - [`text`], [`llm`], [`sandbox`]: prompts and replies; the model; the jail
//! - stages, plan, engine, cli

pub mod error;
pub mod frame;
pub mod llm;
pub mod retry;
pub mod sandbox;
pub mod text;
