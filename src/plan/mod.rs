//! From a pipeline file to a checked plan: stages that fit together, cut into steps, with fingerprints.

pub mod explain;
pub mod pipeline;

use std::collections::BTreeSet;
use std::ops::Range;

use crate::error::{Error, Result};
use crate::frame::key::Key;
use crate::frame::schema::{ID, LANGUAGE, TEXT};
use crate::stages::registry::{self, Context};
use crate::stages::{Resource, Stage, Work};
use pipeline::Pipeline;

/// Raised whenever stages of the same configuration would give other results than before.
const VERSION: &str = "1";

/// Columns that every seed has.
pub const SEED_COLUMNS: [&str; 3] = [ID, LANGUAGE, TEXT];

/// A checked pipeline.
pub struct Plan {
    /// Name of the pipeline.
    pub pipeline: String,
    /// Its stages, in order.
    pub stages: Vec<Stage>,
    /// Its steps, in order: what is executed and sealed as one.
    pub steps: Vec<Step>,
}

/// Consecutive stages executed together: at most one effect, the prompts before it, the pure stages after it; or a global
/// stage and the pure stages after it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// Name of its effect, or of its first stage: the folder its parts are sealed in.
    pub name: String,
    /// Its stages, as indices into [`Plan::stages`].
    pub stages: Range<usize>,
}

impl Plan {
    /// Builds the stages of `pipeline` and cuts them into steps.
    ///
    /// # Errors
    /// An unknown operator or key.
    pub fn build(pipeline: &Pipeline, context: &Context<'_>) -> Result<Self> {
        let stages =
            pipeline.stages.iter().map(|spec| registry::build(spec, context)).collect::<Result<Vec<_>>>()?;
        let steps = cut(&stages);
        Ok(Self { pipeline: pipeline.name.clone(), stages, steps })
    }

    /// Columns the pipeline adds: a user's column of such a name has to be renamed, unless the pipeline reads it from the
    /// input.
    pub fn reserved_columns(&self) -> Vec<String> {
        let mut added: BTreeSet<&String> = BTreeSet::new();
        let mut read: BTreeSet<&String> = BTreeSet::new();
        for stage in &self.stages {
            read.extend(stage.needs.iter().filter(|name| !added.contains(name)));
            added.extend(&stage.adds);
        }
        added.difference(&read).map(|name| (*name).clone()).collect()
    }

    /// Languages that programs are run in, for seeds of `languages`.
    pub fn languages_run(&self, languages: &[String]) -> Vec<String> {
        let mut languages = languages.to_vec();
        let mut run = BTreeSet::new();
        for stage in &self.stages {
            if matches!(stage.requests, Some((Resource::Sandbox, _))) {
                run.extend(languages.iter().cloned());
            }
            languages = stage.languages_after(&languages);
        }
        run.into_iter().collect()
    }

    /// The first stage after which rows have the language that they end in: the one that translates them, or none.
    pub fn translates(&self) -> Option<usize> {
        let translates =
            |stage: &Stage| matches!(&stage.work, Work::Pure(pure) if pure.languages("").is_some());
        self.stages.iter().rposition(translates)
    }

    /// Checks that rows with `columns` can go through all stages.
    ///
    /// # Errors
    /// A stage needs a column that nothing before it provides; the message names both.
    pub fn check(&self, columns: &[String]) -> Result<()> {
        check_columns(&self.stages, columns)
    }

    /// The stage called `name`.
    ///
    /// # Errors
    /// There is none.
    pub fn stage(&self, name: &str) -> Result<&Stage> {
        self.stages.iter().find(|stage| &*stage.name == name).ok_or_else(|| {
            let names: Vec<&str> = self.stages.iter().map(|stage| &*stage.name).collect();
            Error::usage(format!("pipeline `{}` has no stage `{name}`", self.pipeline))
                .hint(format!("its stages are {}", names.join(", ")))
        })
    }

    /// The global stage that `step` begins with, if it does.
    pub fn global(&self, step: usize) -> Option<&Stage> {
        let first = &self.stages[self.steps.get(step)?.stages.start];
        matches!(first.work, Work::Global(_)).then_some(first)
    }

    /// The steps cut at global stages: partitions stream through the steps of a section, and wait for one another before the
    /// next.
    pub fn sections(&self) -> Vec<Range<usize>> {
        let mut starts: Vec<usize> = (0..self.steps.len()).filter(|at| self.global(*at).is_some()).collect();
        if starts.first() != Some(&0) {
            starts.insert(0, 0);
        }
        let ends = starts.iter().skip(1).copied().chain([self.steps.len()]);
        starts.iter().zip(ends).map(|(start, end)| *start..end).collect()
    }

    /// Fingerprint of every step for a partition that holds rows of `languages`.
    ///
    /// A step's fingerprint covers `seeds` (what the rows are), everything its stages depend on for these
    /// languages, and the fingerprint of the step before: change one prompt, and only what depends on it changes. Those of a
    /// global stage's step and of what follows also cover all rows that came to it, of other partitions too: `inputs` names
    /// these, global stage by global stage. Fingerprints from the first one on whose input is not known yet are those of no
    /// rows.
    pub fn fingerprints(&self, seeds: &str, languages: &[String], inputs: &[Key]) -> Vec<Key> {
        let mut parent = Key::of(&["seeds", VERSION, seeds]);
        let mut languages = languages.to_vec();
        let mut inputs = inputs.iter();
        (0..self.steps.len())
            .map(|at| {
                if self.global(at).is_some() {
                    let input = inputs.next().map(Key::to_string).unwrap_or_default();
                    parent = Key::of(&[parent.to_string(), input]);
                }
                let step = &self.steps[at];
                for stage in &self.stages[step.stages.clone()] {
                    parent = fingerprint(parent, stage, &languages);
                    languages = stage.languages_after(&languages);
                }
                parent
            })
            .collect()
    }
}

/// Fingerprint of `stage` after a stage with fingerprint `parent`, for rows of `languages`.
fn fingerprint(parent: Key, stage: &Stage, languages: &[String]) -> Key {
    let mut parts = vec![parent.to_string(), stage.name.to_string(), stage.op.to_owned()];
    for language in languages {
        parts.push(language.clone());
        parts.extend((stage.depends)(language));
    }
    Key::of(&parts)
}

fn check_columns(stages: &[Stage], columns: &[String]) -> Result<()> {
    let mut present: Vec<&str> = columns.iter().map(String::as_str).collect();
    for stage in stages {
        if let Some(missing) = stage.needs.iter().find(|needed| !present.contains(&needed.as_str())) {
            return Err(Error::usage(format!(
                "stage `{}` ({}) needs the column `{missing}`, which no stage before it provides",
                stage.name, stage.op
            ))
            .hint(format!("columns at that point: {}", present.join(", "))));
        }
        present.retain(|name| !stage.drops.iter().any(|dropped| dropped == name));
        present.extend(stage.adds.iter().map(String::as_str));
    }
    Ok(())
}

/// A new step begins at every global stage, and at every effect or the prompts directly before it.
fn cut(stages: &[Stage]) -> Vec<Step> {
    let mut starts = vec![0];
    // Whether the step under way has an effect, or begins with a global stage.
    let mut full = false;
    for (at, stage) in stages.iter().enumerate() {
        let (start, full_before) = match stage.work {
            Work::Global(_) => (at, true),
            Work::Effect(_) => {
                let before = stages[..at].iter().rev();
                (at - before.take_while(|stage| matches!(stage.work, Work::Derived(_))).count(), full)
            }
            Work::Pure(_) | Work::Derived(_) => continue,
        };
        if full_before && start > 0 {
            starts.push(start);
        }
        full = true;
    }
    let ends = starts.iter().skip(1).copied().chain([stages.len()]);
    starts
        .iter()
        .zip(ends)
        .map(|(&start, end)| {
            let effect = stages[start..end].iter().find(|stage| matches!(stage.work, Work::Effect(_)));
            let name = effect.unwrap_or(&stages[start]).name.to_string();
            Step { name, stages: start..end }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::llm::chat::Sampling;
    use crate::text::template::Templates;
    use std::sync::Arc;

    fn compile(pipeline: &Pipeline, columns: &[&str]) -> Result<Plan> {
        let templates = Arc::new(Templates::load(None)?);
        let sampling = Sampling { model: "m".into(), ..Sampling::default() };
        let context = Context {
            templates: &templates,
            sampling: &sampling,
            sandbox: None,
            max_output_bytes: 16384,
            decontaminate: None,
        };
        let plan = Plan::build(pipeline, &context)?;
        plan.check(&columns.iter().map(|c| (*c).to_owned()).collect::<Vec<_>>())?;
        Ok(plan)
    }

    #[test]
    fn synthesize_is_cut_at_its_effects() {
        let plan = compile(&Pipeline::load("synthesize").unwrap(), &SEED_COLUMNS).unwrap();
        let steps: Vec<&str> = plan.steps.iter().map(|step| step.name.as_str()).collect();
        assert_eq!(steps, ["solution.reply", "probe", "tests.reply", "verify", "question.reply"]);
        assert_eq!(plan.steps[0].stages, 0..3);
        assert_eq!(plan.steps.last().unwrap().stages.end, plan.stages.len());
    }

    #[test]
    fn a_missing_column_is_refused_by_name() {
        let mut pipeline = Pipeline::load("synthesize").unwrap();
        pipeline.stages.remove(2);
        let Err(error) = compile(&pipeline, &SEED_COLUMNS) else { panic!("compiled") };
        assert!(error.to_string().contains("stage `probe`"), "{error}");
        assert!(error.to_string().contains("`canonical_solution`"), "{error}");
    }

    #[test]
    fn what_a_step_runs_is_part_of_its_fingerprint() {
        let mut pipeline = Pipeline::load("synthesize").unwrap();
        let languages = ["python".to_owned()];
        let before = compile(&pipeline, &SEED_COLUMNS).unwrap().fingerprints("s", &languages, &[]);
        let verify = pipeline.stages.iter_mut().find(|stage| stage.name == "verify").unwrap();
        let swapped = ["demo_test_func", "full_test_func"].map(|name| toml::Value::String(name.into()));
        verify.keys.insert("tests".into(), toml::Value::Array(swapped.into()));
        let after = compile(&pipeline, &SEED_COLUMNS).unwrap().fingerprints("s", &languages, &[]);
        assert_eq!(before[..3], after[..3]);
        assert_ne!(before[3], after[3]);
    }

    #[test]
    fn fingerprints_chain() {
        let mut pipeline = Pipeline::load("synthesize").unwrap();
        let languages = ["python".to_owned()];
        let before = compile(&pipeline, &SEED_COLUMNS).unwrap().fingerprints("s", &languages, &[]);
        let extract = pipeline.stages.iter_mut().find(|stage| stage.name == "tests.extract").unwrap();
        extract.keys.insert("fenced".into(), toml::Value::Array(vec!["demo_test_func".into()]));
        let after = compile(&pipeline, &SEED_COLUMNS).unwrap().fingerprints("s", &languages, &[]);
        assert_eq!(before[..2], after[..2]);
        assert!(before[2..].iter().zip(&after[2..]).all(|(before, after)| before != after));
    }
}
