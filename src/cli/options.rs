//! Arguments that several commands share, and the objects made of them.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use serde_json::{Map, Value};

use super::bundled;
use super::connect::{EndpointArgs, LimitArgs};
use super::reuse::Cached;
use crate::error::{Error, Result};
use crate::frame::ingest::SeedOptions;
use crate::llm::Model;
use crate::llm::chat::Sampling;
use crate::llm::recording::{Recording, ReplayModel};
use crate::llm::router::Router;
use crate::plan::pipeline::{Input, ModelDefaults, Pipeline};
use crate::retry::RetryPolicy;
use crate::sandbox::Sandbox;
use crate::sandbox::language::Languages;
use crate::sandbox::local::{Isolation, LocalSandbox, Options as LocalOptions};
use crate::sandbox::remote::RemoteSandbox;
use crate::sandbox::token::Token;

/// Name of the model whose replies are bundled.
pub const QUICKSTART: &str = "quickstart";

/// Where seeds come from.
#[derive(Args)]
#[command(next_help_heading = "Seeds")]
pub struct SeedArgs {
    /// JSONL (plain, .gz, .zst) or Parquet files, folders of source files, globs. Default: the bundled seeds.
    #[arg(long, num_args = 1.., value_name = "PATH")]
    pub seeds: Vec<String>,
    /// Column with the snippet. Default: `text`, `content` or `code`.
    #[arg(long, value_name = "NAME")]
    pub text_column: Option<String>,
    /// Column with the language. Default: `language` or `lang`.
    #[arg(long, value_name = "NAME")]
    pub language_column: Option<String>,
    /// Language of rows that name none.
    #[arg(long, value_name = "NAME")]
    pub language: Option<String>,
    /// Longer snippets are rejected, bytes.
    #[arg(long, value_name = "BYTES", default_value_t = 65_536)]
    pub max_seed_bytes: usize,
    /// Stop after this many seeds.
    #[arg(long, value_name = "N")]
    pub limit: Option<u64>,
}

impl SeedArgs {
    /// The options of an ingest of these seeds, which `input` describes; where none are named, of the bundled ones, written
    /// into `dir`/bundled.
    ///
    /// # Errors
    /// The bundled seeds cannot be written.
    pub fn options(&self, dir: &Path, input: &Input, reserved: Vec<String>) -> Result<SeedOptions> {
        let paths = match self.seeds.as_slice() {
            [] => bundled::write_seeds(&input.bundled, &dir.join("bundled"))?
                .into_iter()
                .map(|path| path.to_string_lossy().into_owned())
                .collect(),
            paths => paths.to_vec(),
        };
        Ok(SeedOptions {
            paths,
            text_column: self.text_column.clone().or_else(|| input.text.clone()),
            language_column: self.language_column.clone(),
            language: self.language.clone(),
            max_seed_bytes: self.max_seed_bytes,
            limit: self.limit,
            reserved,
        })
    }
}

/// Which model is asked, and how.
#[derive(Args)]
#[command(next_help_heading = "Model")]
pub struct ModelArgs {
    /// Model name as the endpoint knows it. Default: the bundled replies (for the bundled seeds only).
    #[arg(long, value_name = "NAME")]
    pub model: Option<String>,
    /// Models that stages ask instead, e.g. a weaker one that rates difficulty; of several names, one for each sample.
    #[arg(long, value_name = "STAGE=NAME[,NAME]", value_parser = stage_model)]
    pub stage_model: Vec<(String, Vec<String>)>,
    #[command(flatten)]
    pub endpoints: EndpointArgs,
    /// Answer from recordings that `--record` made, instead of an endpoint.
    #[arg(long, num_args = 1.., value_name = "FILE")]
    pub replay: Vec<PathBuf>,
    /// Append every reply as it comes in to this file, which `--replay` reads. Replies already in the journal are not asked
    /// for, and so not recorded.
    #[arg(long, value_name = "FILE")]
    pub record: Option<PathBuf>,
    /// Sampling temperature.
    #[arg(long)]
    pub temperature: Option<f64>,
    /// Most tokens of a reply.
    #[arg(long, value_name = "N")]
    pub max_tokens: Option<u32>,
    /// Nucleus sampling.
    #[arg(long)]
    pub top_p: Option<f64>,
    /// Sampling seed, for endpoints that honour it.
    #[arg(long, value_name = "N", allow_hyphen_values = true)]
    pub seed: Option<i64>,
    /// JSON object whose fields are put into every request body.
    #[arg(long, value_name = "JSON")]
    pub extra_body: Option<String>,
    #[command(flatten)]
    pub limits: LimitArgs,
    /// Tries per call that faults before its row is left pending. Refusals (429, 503 with Retry-After) do not count.
    #[arg(long, value_name = "N", default_value_t = 8)]
    pub tries: u32,
}

/// What answers the model calls of a run.
pub struct ModelChoice {
    /// The model.
    pub model: Arc<dyn Model>,
    /// The endpoints behind it, when there are any.
    pub endpoint: Option<Arc<Router>>,
    /// What it is, for people.
    pub label: String,
    /// Whether the bundled replies answer.
    pub bundled: bool,
}

impl ModelChoice {
    /// Calls in flight at once: those of all endpoints together, or `limit` where there are none.
    pub fn in_flight(&self, limit: u32) -> usize {
        self.endpoint.as_ref().map_or(limit as usize, |endpoints| endpoints.in_flight())
    }
}

/// `STAGE=NAME,NAME`.
fn stage_model(text: &str) -> Result<(String, Vec<String>), String> {
    let (stage, models) = text.split_once('=').unwrap_or_default();
    let models: Vec<String> = models.split(',').map(|model| model.trim().to_owned()).collect();
    match stage.is_empty() || models.iter().any(String::is_empty) {
        true => Err("it looks like difficulty.reply=NAME".to_owned()),
        false => Ok((stage.to_owned(), models)),
    }
}

impl ModelArgs {
    /// The pipeline called `name`, with the models that these arguments give its stages.
    ///
    /// # Errors
    /// Those of [`Pipeline::load`]; a stage that asks no model is given one.
    pub fn pipeline(&self, name: &str) -> Result<Pipeline> {
        let mut pipeline = Pipeline::load(name)?;
        for (stage, models) in &self.stage_model {
            pipeline.set_models(stage, models)?;
        }
        Ok(pipeline)
    }

    /// Model and sampling: flags over the pipeline's defaults.
    ///
    /// # Errors
    /// `--extra-body` is not a JSON object.
    pub fn sampling(&self, defaults: &ModelDefaults) -> Result<Sampling> {
        let extra = match &self.extra_body {
            None => Map::new(),
            Some(text) => match serde_json::from_str(text) {
                Ok(Value::Object(fields)) => fields,
                _ => {
                    return Err(Error::usage(format!("--extra-body is not a JSON object: {text}"))
                        .hint(r#"for example --extra-body '{"enable_thinking": false}'"#));
                }
            },
        };
        Ok(Sampling {
            model: self.model.clone().unwrap_or_else(|| QUICKSTART.to_owned()),
            temperature: self.temperature.or(defaults.temperature),
            max_tokens: self.max_tokens.or(defaults.max_tokens),
            top_p: self.top_p.or(defaults.top_p),
            seed: self.seed,
            extra,
        })
    }

    /// The model these arguments choose, which has to answer for all of `models`. `bundled` is the text of the bundled
    /// recordings, when they may answer.
    ///
    /// # Errors
    /// Nothing is chosen, a recording does not read, or the endpoint's key is missing.
    pub fn choose(&self, models: &[String], bundled: Option<&str>) -> Result<ModelChoice> {
        if !self.replay.is_empty() {
            let recording = Recording::load(&self.replay)?;
            let label = format!("{} recorded replies", recording.len());
            return Ok(ModelChoice {
                model: Arc::new(ReplayModel::new(recording)),
                endpoint: None,
                label,
                bundled: false,
            });
        }
        if let Some(name) = &self.model {
            let places = self.endpoints.connect(&self.limits, false)?;
            let first = places.first().map_or("", |first| first.endpoint.base_url());
            let others = models.iter().filter(|model| *model != name).map(|model| format!(", {model}"));
            let mut label = format!("{name}{} at {first}", others.collect::<String>());
            if places.len() > 1 {
                label += &format!(" and {} other endpoints", places.len() - 1);
            }
            let endpoint = Arc::new(Router::new(places, models, Duration::from_secs(self.limits.patience))?);
            return Ok(ModelChoice {
                model: endpoint.clone(),
                endpoint: Some(endpoint),
                label,
                bundled: false,
            });
        }
        let Some(lines) = bundled else {
            return Err(Error::usage("no model to ask").hint(
                "give --model NAME (and --base-url URL, with the key in OPENAI_API_KEY), or --replay FILE",
            ));
        };
        let recording = Recording::from_lines("data/quickstart", lines)?;
        let label = "bundled replies, written for the quickstart".to_owned();
        let model = Arc::new(ReplayModel::new(recording));
        Ok(ModelChoice { model, endpoint: None, label, bundled: true })
    }

    /// The endpoints of `choice`, whose replies may be in the user's cache. Recordings and bundled replies have none.
    pub fn cached<'a>(&self, choice: Option<&ModelChoice>, sampling: &'a Sampling) -> Option<Cached<'a>> {
        let endpoints = choice?.endpoint.as_ref()?;
        Some(Cached { endpoint: endpoints.address(), model: &sampling.model, local: endpoints.is_local() })
    }

    /// When calls are tried again.
    pub fn retry(&self) -> RetryPolicy {
        RetryPolicy { tries: self.tries.max(1), ..RetryPolicy::default() }
    }
}

/// Where programs run.
#[derive(Args, Clone)]
#[command(next_help_heading = "Sandbox")]
pub struct SandboxArgs {
    /// Base URLs of sandbox services with the reference's `POST /submit`. Default: local jails. AUTOCODEGEN_SANDBOX_TOKEN,
    /// when set, is sent to them.
    #[arg(long, num_args = 1.., value_name = "URL")]
    pub sandbox: Vec<String>,
    /// Weakest isolation of local jails to accept.
    #[arg(long, value_enum, default_value = "auto")]
    pub isolation: Isolation,
    /// Programs run at once. Default: the number of cores, or what the services take.
    #[arg(long, value_name = "N")]
    pub sandbox_jobs: Option<usize>,
}

impl SandboxArgs {
    /// The sandbox these arguments choose. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// No isolation is to be had, or a URL is malformed.
    pub fn choose(&self) -> Result<Arc<dyn Sandbox>> {
        if !self.sandbox.is_empty() {
            let services = RemoteSandbox::new(&self.sandbox, self.sandbox_jobs)?;
            return Ok(Arc::new(services.with_token(Token::from_env()?)));
        }
        let options =
            LocalOptions { isolation: self.isolation, jobs: self.sandbox_jobs, ..LocalOptions::default() };
        Ok(Arc::new(LocalSandbox::start(options)?))
    }
}

impl crate::frame::ingest::Languages for Languages {
    fn resolve(&self, name: &str) -> Option<String> {
        self.get(name).map(|language| language.name.clone())
    }

    fn of_extension(&self, extension: &str) -> Option<String> {
        self.by_extension(extension).map(|language| language.name.clone())
    }
}
