//! `autocodegen query`: questions about a run in SQL.

use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use crate::analytics::output::{Format, render};
use crate::analytics::queries;
use crate::analytics::tables::Tables;
use crate::error::{Error, Result};
use crate::frame::atomic;
use crate::frame::run_dir::RunDir;

/// Arguments of `query`.
#[derive(clap::Args)]
#[command(
    after_help = "Tables: dataset, rejected, stages, replies, verdicts; a name that is not there is answered with the names that are.

Examples:
  autocodegen query --list
  autocodegen query pass_rate_by_language --run runs/mine
  autocodegen query --sql \"SELECT language, COUNT(*) AS n FROM dataset GROUP BY language\" --format json"
)]
pub struct Args {
    /// Name of a built-in query, or path of a file ending in .sql with one SELECT statement.
    #[arg(value_name = "NAME|FILE.sql", conflicts_with = "sql", required_unless_present_any = ["sql", "list"])]
    query: Option<String>,
    /// The query itself: one SELECT statement.
    #[arg(long)]
    sql: Option<String>,
    /// Run directory.
    #[arg(long, value_name = "DIR", default_value = "runs/synthesize")]
    run: PathBuf,
    /// How the answer is written.
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
    /// Write the answer to this file (replaced if it is there) instead of stdout.
    #[arg(long, value_name = "FILE", required_if_eq("format", "parquet"))]
    out: Option<PathBuf>,
    /// List the built-in queries.
    #[arg(long, conflicts_with_all = ["query", "sql"])]
    list: bool,
}

/// Runs the command.
pub fn run(args: &Args) -> Result<u8> {
    if args.list {
        let queries = queries::all();
        let width = queries.iter().map(|query| query.name.len()).max().unwrap_or(0);
        let lines = queries.iter().map(|query| format!("{:width$}  {}\n", query.name, query.about));
        return print(lines.collect::<String>().as_bytes());
    }
    let sql = question(args)?;
    let mut answer = Tables::open(&RunDir::open_read_only(&args.run)?)?.ask(&sql)?;
    let bytes = render(&mut answer, args.format)?;
    match &args.out {
        None => print(&bytes),
        Some(out) => {
            atomic::write_file(out, |file| {
                file.write_all(&bytes).map_err(|error| Error::io("write", out, error))
            })?;
            Ok(0)
        }
    }
}

fn question(args: &Args) -> Result<String> {
    match (&args.sql, args.query.as_deref()) {
        (Some(sql), _) => Ok(sql.clone()),
        (None, Some(path)) if path.ends_with(".sql") => {
            let path = Path::new(path);
            std::fs::read_to_string(path).map_err(|error| Error::io("read", path, error))
        }
        (None, name) => queries::find(name.unwrap_or_default()).map(|query| query.sql),
    }
}

/// Prints data to stdout. A reader that has seen enough (`| head`) is no error.
fn print(bytes: &[u8]) -> Result<u8> {
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(bytes).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(Error::io("write", Path::new("stdout"), error))
        }
        _ => Ok(0),
    }
}
