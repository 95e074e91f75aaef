//! The table of operators: the only place that knows them all.

use std::sync::Arc;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use toml::Table;

use super::Stage;
use crate::error::{Error, Result};
use crate::llm::chat::Sampling;
use crate::sandbox::Sandbox;
use crate::text::template::Templates;

/// What operators are built from besides their own configuration.
pub struct Context<'a> {
    /// Prompt templates.
    pub templates: &'a Arc<Templates>,
    /// Model and sampling that stages start from.
    pub sampling: &'a Sampling,
    /// The sandbox whose identity verdicts depend on. `None` when nothing will run (`explain`).
    pub sandbox: Option<Arc<dyn Sandbox>>,
    /// Longest captured output of a program that may go into a prompt, bytes.
    pub max_output_bytes: usize,
}

/// One `[[stage]]` of a pipeline file: its name, its operator, and the operator's own keys.
#[derive(Debug, Clone, Deserialize)]
pub struct Spec {
    /// Unique within the pipeline; becomes a folder name.
    pub name: String,
    /// Operator.
    pub op: String,
    /// Keys of the operator.
    #[serde(flatten)]
    pub keys: Table,
}

impl Spec {
    /// The operator's keys as its configuration type.
    ///
    /// # Errors
    /// An unknown key or a wrong type; the message names the stage.
    pub fn config<T: DeserializeOwned>(&self) -> Result<T> {
        self.keys.clone().try_into().map_err(|error: toml::de::Error| {
            Error::usage(format!("stage `{}`: {}", self.name, error.message().trim()))
                .hint(format!("see the operator's file src/stages/{}.rs for its keys", self.op))
        })
    }
}

type Build = fn(&Spec, &Context<'_>) -> Result<Stage>;

/// Operators by name.
const OPERATORS: &[(&str, Build)] = &[
    ("prompt", super::prompt::build),
    ("model", super::model::build),
    ("extract_blocks", super::extract::build_blocks),
    ("extract_section", super::extract::build_section),
    ("extract_sections", super::extract_sections::build),
    ("extract_json", super::extract_json::build),
    ("run", super::run::build),
    ("capture", super::capture::build),
    ("keep", super::keep::build),
    ("equivalent", super::equivalent::build),
    ("translate_to", super::translate_to::build),
    ("select", super::select::build),
];

/// Builds the stage that `spec` describes.
///
/// # Errors
/// Unknown operator, or keys that do not fit it.
pub fn build(spec: &Spec, context: &Context<'_>) -> Result<Stage> {
    let build = OPERATORS.iter().find(|(name, _)| *name == spec.op).map(|(_, build)| build);
    match build {
        Some(build) => build(spec, context),
        None => {
            let known: Vec<&str> = OPERATORS.iter().map(|(name, _)| *name).collect();
            Err(Error::usage(format!("stage `{}`: unknown operator `{}`", spec.name, spec.op))
                .hint(format!("operators are {}", known.join(", "))))
        }
    }
}
