//! What the program logs, where, and in which form.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::path::PathBuf;
use std::sync::Mutex;

use clap::{Args, ValueEnum};
use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::fmt::writer::BoxMakeWriter;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use crate::error::{Error, Result};

/// Form of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// A line of text per event; warnings and errors.
    Text,
    /// A JSON object per event, with the time; also what calls come to, every 10 seconds and at the end.
    Json,
}

/// What is logged is told by AUTOCODEGEN_LOG or RUST_LOG, in the syntax of the latter.
#[derive(Args)]
#[command(next_help_heading = "Log")]
pub struct LogArgs {
    /// Form of the log.
    #[arg(long, global = true, value_enum, value_name = "FORMAT", default_value = "text")]
    log_format: Format,
    /// Append the log to this file instead of writing it to stderr.
    #[arg(long, global = true, value_name = "FILE")]
    log_file: Option<PathBuf>,
}

/// Starts logging.
///
/// # Errors
/// The file cannot be written.
pub fn init(args: &LogArgs, quiet: bool) -> Result<()> {
    let default = match (args.log_format, quiet) {
        (Format::Json, _) => "info",
        (Format::Text, true) => "error",
        (Format::Text, false) => "warn",
    };
    let filter = EnvFilter::try_from_env("AUTOCODEGEN_LOG")
        .or_else(|_| EnvFilter::try_from_default_env())
        .unwrap_or_else(|_| EnvFilter::new(default));
    let writer = match &args.log_file {
        None => BoxMakeWriter::new(std::io::stderr),
        Some(path) => {
            let opened: std::io::Result<File> = OpenOptions::new().append(true).create(true).open(path);
            BoxMakeWriter::new(Mutex::new(opened.map_err(|error| Error::io("write", path, error))?))
        }
    };
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(writer).with_ansi(false);
    match args.log_format {
        Format::Text => log.without_time().with_target(false).init(),
        Format::Json => log.event_format(Json).init(),
    }
    Ok(())
}

/// An event as a JSON object in a line: `timestamp`, `level`, `target`, then its fields, `message` among them.
///
/// Made here: the `json` feature of tracing-subscriber changes the features of tracing-core, and with it all of polars is
/// built anew.
struct Json;

impl<S, N> FormatEvent<S, N> for Json
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut to: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let mut timestamp = String::new();
        SystemTime.format_time(&mut Writer::new(&mut timestamp))?;
        let mut fields = Fields(Map::new());
        for (name, value) in [
            ("timestamp", timestamp.as_str()),
            ("level", event.metadata().level().as_str()),
            ("target", event.metadata().target()),
        ] {
            fields.0.insert(name.to_owned(), value.into());
        }
        event.record(&mut fields);
        writeln!(to, "{}", Value::Object(fields.0))
    }
}

struct Fields(Map<String, Value>);

impl Fields {
    fn put(&mut self, field: &Field, value: impl Into<Value>) {
        self.0.insert(field.name().to_owned(), value.into());
    }
}

impl Visit for Fields {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, value);
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field, format!("{value:?}"));
    }
}
