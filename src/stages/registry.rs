//! The table of operators: the only place that knows them all.

use std::path::PathBuf;
use std::sync::Arc;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use toml::{Table, Value};

use super::Stage;
use super::only_where::{self, WHERE};
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
    /// Benchmark files that rows are held against besides those a pipeline names. `None` when nothing will run (`explain`):
    /// no benchmark is read then.
    pub decontaminate: Option<&'a [PathBuf]>,
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

/// The key that names the model, or the models, that a stage asks instead of the run's.
const MODEL: &str = "model";

impl Spec {
    /// The models that the stage names instead of the run's, in the order its samples go round them.
    ///
    /// # Errors
    /// `model` is neither a name nor a list of names.
    pub fn models(&self) -> Result<Vec<String>> {
        let named = match self.keys.get(MODEL) {
            None => return Ok(Vec::new()),
            Some(Value::String(name)) => vec![Some(name.clone())],
            Some(Value::Array(names)) => names.iter().map(|name| name.as_str().map(str::to_owned)).collect(),
            Some(_) => Vec::new(),
        };
        let names: Option<Vec<String>> = named.into_iter().collect();
        names
            .filter(|names| !names.is_empty() && names.iter().all(|name| !name.trim().is_empty()))
            .ok_or_else(|| {
                Error::usage(format!("stage `{}`: `model` names no model", self.name))
                    .hint("it is a name, or a list of names that the samples go round")
            })
    }

    /// Has the stage ask `models`.
    pub fn set_models(&mut self, models: &[String]) {
        let names = models.iter().map(|name| Value::String(name.clone())).collect();
        self.keys.insert(MODEL.to_owned(), Value::Array(names));
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
    ("extract_answer", super::extract_answer::build),
    ("run", super::run::build),
    ("run_samples", super::run_samples::build),
    ("difficulty", super::difficulty::build),
    ("critic", super::critic::build),
    ("capture", super::capture::build),
    ("keep", super::keep::build),
    ("equivalent", super::equivalent::build),
    ("translate_to", super::translate_to::build),
    ("score", super::score::build),
    ("converse", super::converse::build),
    ("select", super::select::build),
    ("decontaminate", super::decontaminate::build),
    ("novelty", super::novelty::build),
    ("balance", super::balance::build),
    ("adequacy", super::adequacy::build),
];

/// Builds the stage that `spec` describes.
///
/// # Errors
/// Unknown operator, or keys that do not fit it.
pub fn build(spec: &Spec, context: &Context<'_>) -> Result<Stage> {
    let build = OPERATORS.iter().find(|(name, _)| *name == spec.op).map(|(_, build)| build);
    match build {
        Some(build) => match spec.keys.get(WHERE) {
            None => build(spec, context),
            Some(condition) => {
                let mut rest = spec.clone();
                rest.keys.remove(WHERE);
                only_where::build(build(&rest, context)?, spec, condition)
            }
        },
        None => {
            let known: Vec<&str> = OPERATORS.iter().map(|(name, _)| *name).collect();
            Err(Error::usage(format!("stage `{}`: unknown operator `{}`", spec.name, spec.op))
                .hint(format!("operators are {}", known.join(", "))))
        }
    }
}
