//! autocodegen turns code snippets into verified programming problems.
//!
//! Data flows one way. Imports go down this list, never up; `tests/layers.rs` checks it:
//!
//! - [`cli`]: one file per command; the only place that prints
//! - [`evaluation`]: benchmarks and answers in, scores out
//! - [`engine`]: partitions through steps; journal, retries, resume
//! - [`plan`]: a pipeline file becomes a checked plan
//! - [`stages`]: the operators pipelines are made of
//! - [`text`], [`llm`], [`sandbox`]: prompts and replies; the model; the jail
//! - [`frame`]: Arrow frames on disk: seeds, parts, journal, tables
//! - [`retry`], [`error`]: when a fault is tried again; errors that end a command
//! - [`stats`]: what samples that pass or fail say; imports nothing
//!
//! [`analytics`] stands beside them: it answers questions about sealed frames and imports nothing but `frame` and `error`.

pub mod analytics;
pub mod cli;
pub mod engine;
pub mod error;
pub mod evaluation;
pub mod frame;
pub mod llm;
pub mod plan;
pub mod retry;
pub mod sandbox;
pub mod stages;
pub mod stats;
pub mod text;
