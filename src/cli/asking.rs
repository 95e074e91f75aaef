//! Which stages of a plan ask which models.

use std::sync::Arc;

use crate::error::Result;
use crate::plan::Plan;
use crate::plan::pipeline::Pipeline;
use crate::stages::{Resource, Stage};

/// Stages that ask models, each with those it asks.
pub type Asking = Vec<(Arc<str>, Vec<String>)>;

/// The stages of `plan` that ask models: those that `pipeline` names, or `default`.
///
/// # Errors
/// A stage names no model where it should.
pub fn asking(plan: &Plan, pipeline: &Pipeline, default: &str) -> Result<Asking> {
    let asks = |stage: &&Stage| stage.requests.is_some_and(|(asked, _)| asked == Resource::Model);
    let asked = |stage: &Stage| Ok((stage.name.clone(), pipeline.models(&stage.name, default)?));
    plan.stages.iter().filter(asks).map(asked).collect()
}

/// The names of the stages.
pub fn names(asking: &Asking) -> Vec<Arc<str>> {
    asking.iter().map(|(stage, _)| stage.clone()).collect()
}

/// Every model that is asked, once.
pub fn models(asking: &Asking) -> Vec<String> {
    let mut models: Vec<String> = Vec::new();
    for model in asking.iter().flat_map(|(_, models)| models) {
        if !models.contains(model) {
            models.push(model.clone());
        }
    }
    models
}
