//! `autocodegen models`: what an endpoint serves.

use serde_json::json;

use super::connect::{EndpointArgs, LimitArgs};
use super::{printable, runtime, summary, write_stdout};
use crate::error::{Error, Result};
use crate::llm::router::Place;

/// Arguments of `models`.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  autocodegen models --base-url http://localhost:8000/v1
  DEEPSEEK_API_KEY=... autocodegen models --provider deepseek --format json")]
pub struct Args {
    #[command(flatten)]
    endpoints: EndpointArgs,
    /// How the list is written.
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
    /// Seconds to wait for the list.
    #[arg(long, value_name = "SECONDS", default_value_t = 15)]
    timeout: u64,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Format {
    /// Aligned columns for people.
    Table,
    /// A JSON array of objects.
    Json,
}

/// Lists the models of all endpoints; an endpoint that does not answer fails the command after the others were listed.
pub fn run(args: &Args) -> Result<u8> {
    let limits = LimitArgs { timeout: args.timeout, ..LimitArgs::default() };
    let endpoints = args.endpoints.connect(&limits, false)?;
    let lists = runtime()?.block_on(async {
        let lists = endpoints
            .iter()
            .map(|Place { endpoint, .. }| async { (endpoint.name(), endpoint.models().await) });
        futures::future::join_all(lists).await
    });
    let mut table = summary::table(&["endpoint", "model", "owner", "context"], 3..4);
    let mut listed = Vec::new();
    let mut failed: Option<Error> = None;
    for (name, models) in lists {
        let models = match models {
            Ok(models) => models,
            Err(error) => {
                failed.get_or_insert(error);
                continue;
            }
        };
        for model in models {
            table.add_row([
                name.clone(),
                printable(&model.id),
                printable(model.owner.as_deref().unwrap_or_default()),
                model.context.map(|tokens| tokens.to_string()).unwrap_or_default(),
            ]);
            listed.push(json!({
                "endpoint": name, "model": model.id, "owner": model.owner, "context": model.context,
            }));
        }
    }
    if failed.is_none() || !listed.is_empty() {
        write_stdout(&match args.format {
            Format::Table => format!("{}\n", table.trim_fmt()),
            Format::Json => format!("{:#}\n", serde_json::Value::from(listed)),
        })?;
    }
    failed.map_or(Ok(0), Err)
}
