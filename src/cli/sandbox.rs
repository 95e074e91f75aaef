//! `autocodegen sandbox exec`: one program, one verdict; `sandbox serve` is in its own file.

use std::io::Read;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use crate::cli::options::SandboxArgs;
use crate::cli::{runtime, serve, write_stdout};
use crate::error::{Error, Fault, Result};
use crate::sandbox::job::{Job, LimitOverrides, Outcome, Usage, Verdict};
use crate::sandbox::language::{Language, Languages};
use crate::sandbox::local::Isolation;
use crate::sandbox::repeat::{Repeated, run_repeated};
use crate::sandbox::toolchain;

/// Commands about single programs.
#[derive(clap::Subcommand)]
pub enum Command {
    /// Run one program, or a solution with its tests, and print the verdict as JSON.
    Exec(ExecArgs),
    /// Run programs for others, over HTTP.
    Serve(serve::ServeArgs),
}

/// Arguments of `sandbox exec`.
#[derive(clap::Args)]
#[command(
    after_help = "Exit code 0 whatever the verdict; 3 when the toolchain is missing or the sandbox fails.

Examples:
  autocodegen sandbox exec program.py
  autocodegen sandbox exec --language cpp --tests tests.cpp --timeout 10 solution.cpp
  echo 'print(42)' | autocodegen sandbox exec --language python -
  autocodegen sandbox exec --repeat 5 program.rb
  autocodegen sandbox exec --sandbox http://localhost:8080 program.go"
)]
pub struct ExecArgs {
    /// The program, or the solution when there are tests; `-` reads it from stdin.
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Its language, by name or alias. Default: what the extension of FILE says.
    #[arg(long, value_name = "NAME")]
    pub language: Option<String>,
    /// Tests to splice after the solution.
    #[arg(long, value_name = "FILE")]
    pub tests: Option<PathBuf>,
    /// With tests: pass a program that ends with exit code 0 before its tests have run to their end, as the reference
    /// does.
    #[arg(long, requires = "tests")]
    pub lenient: bool,
    /// Run it this many times, with other hash seeds, host name, work path and time zone, and say whether outcome and
    /// output stay the same.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1000), conflicts_with = "sandbox")]
    pub repeat: u32,
    /// CPU seconds it may use; the language's own extra time is added. Default: 5.
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub timeout: Option<f64>,
    /// Memory it may use, MiB. Default: the language's limit.
    #[arg(long, value_name = "MIB", value_parser = clap::value_parser!(u64).range(1..=1 << 20), conflicts_with = "sandbox")]
    pub memory_mb: Option<u64>,
    /// Base URL of a sandbox service with the reference's `POST /submit`; may be given several times.
    /// Default: a local jail.
    #[arg(long, value_name = "URL")]
    pub sandbox: Vec<String>,
    /// Weakest isolation of a local jail to accept.
    #[arg(long, value_enum, default_value = "auto", conflicts_with = "sandbox")]
    pub isolation: Isolation,
}

fn seconds(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(seconds) if (0.001..=86_400.0).contains(&seconds) => Ok(seconds),
        _ => Err("not a number of seconds between 0.001 and 86400".to_owned()),
    }
}

/// Runs the command.
///
/// # Errors
/// Unreadable file, unknown language, no sandbox, a fault of the sandbox, an address that cannot be listened on.
pub fn run(command: &Command) -> Result<u8> {
    match command {
        Command::Exec(args) => exec(args),
        Command::Serve(args) => serve::run(args),
    }
}

fn exec(args: &ExecArgs) -> Result<u8> {
    let languages = Languages::embedded()?;
    let language = language(&languages, args)?;
    let job = Job {
        language: language.name.clone(),
        source: read(&args.file)?,
        tests: args.tests.as_deref().map(read).transpose()?,
        limits: LimitOverrides {
            cpu_ms: args.timeout.map(|seconds| (seconds * 1000.0) as u64),
            memory_bytes: args.memory_mb.map(|mib| mib << 20),
            ..LimitOverrides::default()
        },
        strict: !args.lenient,
        stdin: String::new(),
        variation: 0,
    };
    let sandbox =
        SandboxArgs { sandbox: args.sandbox.clone(), isolation: args.isolation, sandbox_jobs: Some(1) };
    let answer = runtime()?.block_on(async {
        let sandbox = sandbox.choose()?;
        Ok::<_, Error>(run_repeated(sandbox.as_ref(), &job, args.repeat).await)
    })?;
    match answer {
        Ok(repeated) => {
            let mut object = verdict_json(&repeated.verdicts[0]);
            if args.repeat > 1 {
                object.insert("repeat".to_owned(), repeat_json(&repeated));
            }
            write_stdout(&format!("{:#}\n", Value::Object(object)))?;
            Ok(0)
        }
        Err(fault) if fault.cause == "toolchain_missing" => {
            let answer = toolchain_missing_json(language, &fault, args.sandbox.is_empty());
            write_stdout(&format!("{answer:#}\n"))?;
            Ok(3)
        }
        Err(fault) => Err(fault.into()),
    }
}

fn language<'a>(languages: &'a Languages, args: &ExecArgs) -> Result<&'a Language> {
    if let Some(name) = &args.language {
        return languages.require(name);
    }
    let extension = args.file.extension().and_then(|extension| extension.to_str());
    extension.and_then(|extension| languages.by_extension(extension)).ok_or_else(|| {
        Error::usage(format!("the name {} does not tell the language", args.file.display()))
            .hint("say it with --language NAME")
    })
}

/// The text of a file, or of stdin for `-`.
fn read(path: &Path) -> Result<String> {
    let mut bytes = Vec::new();
    let outcome = if path == Path::new("-") {
        std::io::stdin().lock().read_to_end(&mut bytes)
    } else {
        std::fs::File::open(path).and_then(|mut file| file.read_to_end(&mut bytes))
    };
    outcome.map_err(|error| Error::io("read", path, error))?;
    String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        Error::usage(format!("{} is not UTF-8 text: byte {at} is invalid", path.display()))
    })
}

fn repeat_json(repeated: &Repeated) -> Value {
    let outcomes: Vec<_> = repeated.verdicts.iter().map(|verdict| verdict.outcome).collect();
    json!({
        "runs": outcomes.len(),
        "flaky": repeated.difference.is_some(),
        "difference": repeated.difference,
        "outcomes": outcomes,
    })
}

fn verdict_json(verdict: &Verdict) -> Map<String, Value> {
    let mut fields = Map::new();
    let mut put = |name: &str, value: Value| fields.insert(name.to_owned(), value);
    put("outcome", json!(verdict.outcome));
    put("reason", json!(verdict.reason));
    put("stdout", json!(verdict.stdout));
    put("stderr", json!(verdict.stderr));
    put("exit_code", json!(verdict.exit_code));
    put("signal", json!(verdict.signal));
    put("wall_ms", json!(verdict.usage.wall_ms));
    put("cpu_ms", json!(verdict.usage.cpu_ms));
    put("peak_rss_bytes", json!(verdict.usage.peak_rss_bytes));
    put("truncated", json!(verdict.truncated));
    put("invalid_utf8", json!(verdict.invalid_utf8));
    put("compile_message", json!(verdict.compile_message));
    if let Some(Usage { wall_ms, cpu_ms, peak_rss_bytes }) = verdict.compile_usage {
        put("compile", json!({ "wall_ms": wall_ms, "cpu_ms": cpu_ms, "peak_rss_bytes": peak_rss_bytes }));
    }
    if verdict.compile_reused {
        put("compile_reused", json!(true));
    }
    put("limits", json!(verdict.limits));
    put("toolchain", json!(verdict.toolchain));
    put("isolation", json!(verdict.isolation));
    fields
}

/// What stands in for a verdict when there is nothing to run the program with. `local`: on this machine, which
/// can be asked what would install it.
fn toolchain_missing_json(language: &Language, fault: &Fault, local: bool) -> Value {
    let missing = if local { toolchain::find(language).err() } else { None };
    json!({
        "outcome": Outcome::ToolchainMissing,
        "reason": fault.message,
        "missing": missing.as_ref().map(|missing| &missing.programs),
        "install": missing.as_ref().map(|missing| &missing.install),
    })
}
