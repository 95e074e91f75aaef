//! The plan as a table of texts, for people.

use super::Plan;
use crate::stages::{Resource, Work};

/// One stage of a plan, described.
pub struct Row {
    /// Stage name.
    pub stage: String,
    /// Operator.
    pub op: &'static str,
    /// Folder its rows are sealed in: the step it belongs to.
    pub step: String,
    /// `pure`, `derived`, `effect` or `global`.
    pub kind: &'static str,
    /// Columns it reads.
    pub needs: Vec<String>,
    /// Columns it adds.
    pub adds: Vec<String>,
    /// Columns it takes away.
    pub drops: Vec<String>,
    /// Requests per row and, where it explodes rows, rows made of one: `2 sandbox`, `4 model, 4 rows`. Of a global stage:
    /// `barrier`, rows wait there for one another.
    pub requests: String,
    /// Fingerprint of the stage's step over `languages`, toolchains left out.
    pub fingerprint: String,
}

/// Describes every stage of `plan`; fingerprints are those for rows of `languages`.
pub fn explain(plan: &Plan, languages: &[String]) -> Vec<Row> {
    let fingerprints = plan.fingerprints("", languages, &[]);
    let steps = plan.steps.iter().zip(fingerprints);
    let rows = steps.flat_map(|(step, fingerprint)| {
        plan.stages[step.stages.clone()].iter().map(move |stage| Row {
            stage: stage.name.to_string(),
            op: stage.op,
            step: step.name.clone(),
            kind: match stage.work {
                Work::Pure(_) => "pure",
                Work::Derived(_) => "derived",
                Work::Effect(_) => "effect",
                Work::Global(_) => "global",
            },
            needs: stage.needs.clone(),
            adds: stage.adds.clone(),
            drops: stage.drops.clone(),
            requests: match stage.requests {
                None if matches!(stage.work, Work::Global(_)) => "barrier".to_owned(),
                None => String::new(),
                Some((Resource::Model, n)) => format!("{n} model"),
                Some((Resource::Sandbox, n)) => format!("{n} sandbox"),
            } + &rows_made(stage.fan_out),
            fingerprint: fingerprint.to_string()[..12].to_owned(),
        })
    });
    rows.collect()
}

fn rows_made(fan_out: usize) -> String {
    if fan_out > 1 { format!(", {fan_out} rows") } else { String::new() }
}
