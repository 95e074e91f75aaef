//! `autocodegen explain`: the plan of a pipeline.

use std::path::PathBuf;
use std::sync::Arc;

use super::options::ModelArgs;
use super::{summary, write_stdout};
use crate::error::Result;
use crate::plan::explain::explain;
use crate::plan::{Plan, SEED_COLUMNS};
use crate::sandbox::language::Languages;
use crate::stages::registry::Context;
use crate::text::template::Templates;

/// Arguments of `explain`.
#[derive(clap::Args)]
#[command(after_help = "Example: autocodegen explain synthesize")]
pub struct Args {
    /// Name of a pipeline, or path of one of your own ending in .toml.
    #[arg(default_value = "synthesize")]
    pipeline: String,
    /// Columns the seeds have besides id, language and text.
    #[arg(long, num_args = 1.., value_name = "NAME")]
    columns: Vec<String>,
    /// Prompt templates that replace the built-in ones, file by file.
    #[arg(long, value_name = "DIR")]
    templates: Option<PathBuf>,
    #[command(flatten)]
    model: ModelArgs,
}

/// Runs the command.
pub fn run(args: &Args) -> Result<u8> {
    let pipeline = args.model.pipeline(&args.pipeline)?;
    let templates = Arc::new(Templates::load(args.templates.as_deref())?);
    let sampling = args.model.sampling(&pipeline.model)?;
    let context = Context {
        templates: &templates,
        sampling: &sampling,
        sandbox: None,
        max_output_bytes: 16_384,
        decontaminate: None,
    };
    let plan = Plan::build(&pipeline, &context)?;
    let columns: Vec<String> =
        SEED_COLUMNS.iter().map(|name| (*name).to_owned()).chain(args.columns.clone()).collect();
    plan.check(&columns)?;
    let languages: Vec<String> =
        Languages::embedded()?.iter().map(|language| language.name.clone()).collect();
    let mut table = summary::table(
        &["stage", "operator", "kind", "needs", "adds", "drops", "per row", "fingerprint"],
        0..0,
    );
    for row in explain(&plan, &languages) {
        table.add_row([
            row.stage,
            row.op.to_owned(),
            row.kind.to_owned(),
            row.needs.join("\n"),
            row.adds.join("\n"),
            row.drops.join("\n"),
            row.requests,
            row.fingerprint,
        ]);
    }
    write_stdout(&format!(
        "{}: {}\n{}\nStages of equal fingerprint are executed and sealed together. Toolchain versions, known only when \
         a run starts, also count.\n",
        pipeline.name,
        pipeline.description,
        table.trim_fmt()
    ))?;
    Ok(0)
}
