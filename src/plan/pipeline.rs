//! Pipeline files: TOML, embedded in the binary or the user's own.

use std::path::Path;

use rust_embed::RustEmbed;
use serde::Deserialize;

use crate::error::{Error, Result};
use crate::frame::run_dir::check_stage_name;
use crate::stages::registry::Spec;

#[derive(RustEmbed)]
#[folder = "data/pipelines"]
#[include = "*.toml"]
struct Embedded;

/// A pipeline as its file describes it.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pipeline {
    /// Name; becomes the default output folder and is checked when a run is resumed.
    pub name: String,
    /// What it does, in one line.
    #[serde(default)]
    pub description: String,
    /// What its input looks like.
    #[serde(default)]
    pub input: Input,
    /// Sampling settings of its model stages.
    #[serde(default)]
    pub model: ModelDefaults,
    /// Its stages, in order.
    #[serde(rename = "stage")]
    pub stages: Vec<Spec>,
    /// The text of its file.
    #[serde(skip)]
    pub source: String,
}

/// What the input of a pipeline looks like.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Input {
    /// Column that rows are named by and that becomes `text`; `--text-column` overrides it. Default: `text`, `content` or `code`.
    pub text: Option<String>,
    /// Folders of the bundled rows that the pipeline takes where none are given. Default: the seeds.
    #[serde(default = "seeds")]
    pub bundled: Vec<String>,
}

fn seeds() -> Vec<String> {
    vec!["seeds".into()]
}

impl Default for Input {
    fn default() -> Self {
        Self { text: None, bundled: seeds() }
    }
}

/// Sampling settings a pipeline starts from.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelDefaults {
    /// Sampling temperature.
    pub temperature: Option<f64>,
    /// Most tokens of a reply.
    pub max_tokens: Option<u32>,
    /// Nucleus sampling.
    pub top_p: Option<f64>,
}

impl Pipeline {
    /// The pipeline called `name`, or the one in the file `name` when that ends in `.toml`.
    ///
    /// # Errors
    /// No such pipeline; a file that cannot be read; TOML that does not parse or has unknown keys.
    pub fn load(name: &str) -> Result<Self> {
        if name.ends_with(".toml") {
            let path = Path::new(name);
            let text = std::fs::read_to_string(path).map_err(|error| Error::io("read", path, error))?;
            return Self::parse(name, &text);
        }
        match Embedded::get(&format!("{name}.toml")) {
            Some(file) => {
                Self::parse(&format!("data/pipelines/{name}.toml"), &String::from_utf8_lossy(&file.data))
            }
            None => Err(Error::usage(format!("there is no pipeline called `{name}`")).hint(format!(
                "pipelines are {}; one of your own is given as a path ending in .toml",
                Self::names().join(", ")
            ))),
        }
    }

    /// Has the stage `stage` ask `models` instead of the run's.
    ///
    /// # Errors
    /// There is no such stage, or it asks no model.
    pub fn set_models(&mut self, stage: &str, models: &[String]) -> Result<()> {
        let asks = |spec: &&mut Spec| spec.op == "model";
        if let Some(spec) = self.stages.iter_mut().filter(asks).find(|spec| spec.name == stage) {
            spec.set_models(models);
            return Ok(());
        }
        let names: Vec<&str> =
            self.stages.iter().filter(|spec| spec.op == "model").map(|spec| spec.name.as_str()).collect();
        Err(Error::usage(format!("pipeline `{}` has no stage `{stage}` that asks a model", self.name))
            .hint(format!("its stages that do are {}", names.join(", "))))
    }

    /// The models that `stage` asks: those it names, or else `default`.
    ///
    /// # Errors
    /// Those of [`Spec::models`].
    pub fn models(&self, stage: &str, default: &str) -> Result<Vec<String>> {
        let spec = self.stages.iter().find(|spec| spec.name == stage);
        let named = spec.map(Spec::models).transpose()?.unwrap_or_default();
        Ok(if named.is_empty() { vec![default.to_owned()] } else { named })
    }

    /// Names of the embedded pipelines, sorted.
    pub fn names() -> Vec<String> {
        let mut names: Vec<String> =
            Embedded::iter().map(|file| file.trim_end_matches(".toml").to_owned()).collect();
        names.sort();
        names
    }

    /// The pipeline that `text`, found at `origin`, describes.
    ///
    /// # Errors
    /// TOML that does not parse or has unknown keys; stages without a name of their own.
    pub fn parse(origin: &str, text: &str) -> Result<Self> {
        let mut pipeline: Self = toml::from_str(text).map_err(|error| {
            Error::usage(format!("{origin}: {error}"))
                .hint("data/pipelines/synthesize.toml shows every key a pipeline has")
        })?;
        pipeline.source = text.to_owned();
        if pipeline.stages.is_empty() {
            return Err(Error::usage(format!("{origin}: the pipeline has no stage"))
                .hint("a stage is a table [[stage]] with `name`, `op` and the operator's keys"));
        }
        let mut seen = std::collections::HashSet::new();
        for stage in &pipeline.stages {
            check_stage_name(&stage.name).map_err(|error| error.context(origin))?;
            if !seen.insert(stage.name.as_str()) {
                return Err(Error::usage(format!("{origin}: two stages are called `{}`", stage.name))
                    .hint("journals and parts are kept by stage name: give one of them another name"));
            }
        }
        Ok(pipeline)
    }
}
