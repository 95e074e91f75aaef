//! Arguments of `run` about batches, and the objects made of them.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::Args;

use super::options::{ModelArgs, ModelChoice};
use super::{printable, write_stdout};
use crate::engine::{Engine, Outcome, rounds};
use crate::error::{Error, Fault, Recovery, Result};
use crate::frame::atomic;
use crate::frame::run_dir::RunDir;
use crate::llm::batch::{
    AskedIndex, BatchService, CHAT_URL, Driver, DriverOptions, Gatherer, IN_BATCH, Limits, NothingAsked,
    RequestFiles, outstanding,
};
use crate::llm::client::HttpModel;

/// Cause of rows that are pending because their request was exported.
pub const EXPORTED: &str = "exported";

/// How the model is asked other than over connections.
#[derive(Args)]
#[command(next_help_heading = "Batches")]
pub struct BatchArgs {
    /// Ask through the endpoint's batch service (/files and /batches beside /chat/completions) instead of call by call.
    /// Batches go on when the run is stopped; the same command picks them up.
    #[arg(long, conflicts_with_all = ["replay", "record"])]
    pub batch: bool,
    /// Ask nothing: rows without an answer in the journal stay pending. For answers that `requests import` has brought.
    #[arg(long, conflicts_with = "batch")]
    pub no_ask: bool,
    /// Most requests of a batch.
    #[arg(long, value_name = "N", default_value_t = 50_000, value_parser = clap::value_parser!(u64).range(1..))]
    pub batch_requests: u64,
    /// Most bytes of a batch's file; k, M and G are thousands, millions and milliards.
    #[arg(long, value_name = "BYTES", default_value = "200MB", value_parser = size)]
    pub batch_bytes: u64,
    /// Most batches at the service at once; others wait here.
    #[arg(long, value_name = "N", default_value_t = 10)]
    pub batch_active: usize,
    /// Seconds between looks at a batch; up to ten times as long while nothing changes.
    #[arg(long, value_name = "SECONDS", default_value_t = 30.0, value_parser = seconds)]
    pub batch_poll: f64,
    /// Where `requests export` wants the requests, instead of having them asked.
    #[arg(skip)]
    pub export: Option<Export>,
}

/// What `requests export` adds to the arguments of `run`.
#[derive(Debug, Clone)]
pub struct Export {
    /// The folder for request files.
    pub folder: PathBuf,
    /// The address that requests name.
    pub url: String,
}

/// Requests on their way to files, and from there to a service.
pub struct Batching {
    gatherer: Arc<Gatherer>,
    driver: Option<Driver>,
}

impl BatchArgs {
    /// What `model` chooses to answer for `models`, or none at all where nothing is to be asked now.
    ///
    /// # Errors
    /// Those of [`ModelArgs::choose`].
    pub fn choose(&self, model: &ModelArgs, models: &[String], bundled: Option<&str>) -> Result<ModelChoice> {
        if self.no_ask || self.export.is_some() {
            if model.model.is_none() && bundled.is_none() {
                return Err(Error::usage("no model is named, so that answers cannot be told apart")
                    .hint("give --model NAME: the model that has answered or is to answer the requests"));
            }
            let label = "nobody: answers come from the journal".to_owned();
            return Ok(ModelChoice { model: Arc::new(NothingAsked), endpoint: None, label, bundled: false });
        }
        if self.batch && model.model.is_none() {
            return Err(Error::usage("--batch asks an endpoint").hint("give --model NAME and --base-url URL"));
        }
        model.choose(models, bundled)
    }

    /// Has requests gathered where that is asked for; `choice` then answers none. With `quiet`, batches are not told of.
    ///
    /// # Errors
    /// The disk; the folder to export into holds requests already.
    pub fn gather(
        &self,
        choice: Option<&mut ModelChoice>,
        model: &ModelArgs,
        run: &RunDir,
        quiet: bool,
    ) -> Result<Option<Batching>> {
        let dir = run.batches();
        let Some(choice) = choice else { return Ok(None) };
        let batching = match (&self.export, &choice.endpoint) {
            (Some(export), _) => self.export(export, &dir)?,
            (None, Some(endpoints)) if self.batch => {
                let endpoint = endpoints.only().ok_or_else(|| {
                    Error::usage("--batch asks one endpoint").hint("name one with --base-url or --provider")
                })?;
                if endpoint.completes() {
                    return Err(Error::usage("--batch asks chat endpoints")
                        .hint("leave out --batch, or /completions at the end of --base-url"));
                }
                self.drive(&endpoint, model, &dir, quiet)?
            }
            _ => {
                let waiting = outstanding(&dir)?.len();
                if waiting > 0 {
                    eprintln!(
                        "note: {waiting} requests of this run are in batches; --batch takes their answers, without it \
                         they are asked or left again"
                    );
                }
                return Ok(None);
            }
        };
        choice.model = batching.gatherer.clone();
        Ok(Some(batching))
    }

    fn limits(&self) -> Limits {
        Limits { requests: self.batch_requests, bytes: self.batch_bytes }
    }

    fn export(&self, export: &Export, dir: &Path) -> Result<Batching> {
        let Export { folder, url } = export;
        refuse_request_files(folder)?;
        let asked = AskedIndex::open(dir)?;
        let files = RequestFiles::new(folder, self.limits(), url, 1);
        let waiting = Fault::new(Recovery::Pend, EXPORTED, "the request is in a file for others to answer");
        let gatherer = Gatherer::new(asked, files, waiting);
        let held = outstanding(dir)?;
        if !held.is_empty() {
            eprintln!("note: {} requests are left out: they are in batches of `run --batch`", held.len());
        }
        gatherer.hold(held);
        Ok(Batching { gatherer: Arc::new(gatherer), driver: None })
    }

    fn drive(
        &self,
        endpoint: &Arc<HttpModel>,
        model: &ModelArgs,
        dir: &Path,
        quiet: bool,
    ) -> Result<Batching> {
        let asked = AskedIndex::open(dir)?;
        atomic::remove_leftovers(dir)?;
        let files =
            RequestFiles::new(dir, self.limits(), CHAT_URL, Driver::next_number(dir)?).of(endpoint.clone());
        let waiting =
            Fault::new(Recovery::Pend, IN_BATCH, "the request is in a batch that has not come back");
        let gatherer = Arc::new(Gatherer::new(asked, files, waiting));
        let options = DriverOptions {
            active: self.batch_active,
            poll: Duration::from_secs_f64(self.batch_poll),
            retry: model.retry(),
        };
        let tell = Box::new(move |text: &str| {
            if !quiet {
                eprintln!("{text}");
            }
        });
        let driver = Driver::open(dir, BatchService::new(endpoint.clone()), gatherer.clone(), options, tell)?;
        Ok(Batching { gatherer, driver: Some(driver) })
    }
}

impl Batching {
    /// Runs `engine`, in as many passes as there are batches to wait for.
    ///
    /// # Errors
    /// Those of the engine.
    pub async fn run(&mut self, engine: &Arc<Engine>) -> Result<Outcome> {
        let Some(driver) = &mut self.driver else {
            let outcome = engine.run().await?;
            self.gatherer.end_pass()?;
            return Ok(outcome);
        };
        let outcome = rounds::run(engine, &self.gatherer, driver).await?;
        let left = driver.at_the_service();
        if !left.is_empty() {
            eprintln!(
                "{} batches go on at the service; the same command takes their answers. To cancel:",
                left.len()
            );
            for (_, command) in left {
                eprintln!("  {}", printable(&command));
            }
        }
        Ok(outcome)
    }

    /// Lists the exported files on stdout; how many requests they hold.
    ///
    /// # Errors
    /// stdout cannot be written.
    pub fn print_exported(&self) -> Result<u64> {
        let (written, _) = self.gatherer.take_written();
        let mut text = String::new();
        for file in &written {
            let path = printable(&file.path.to_string_lossy());
            text += &format!("{path}: {} requests, {} bytes\n", file.requests, file.bytes);
        }
        write_stdout(&text)?;
        Ok(written.iter().map(|file| file.requests).sum())
    }
}

/// Request files of two exports would be taken for one.
fn refuse_request_files(folder: &Path) -> Result<()> {
    let first = RequestFiles::path(folder, 1);
    if !first.exists() {
        return Ok(());
    }
    Err(Error::usage(format!("{} exists", first.display()))
        .hint("give --out another folder, or remove the request files that are done with"))
}

/// `200MB`, `50M`, `64k` or bytes.
pub(super) fn size(text: &str) -> Result<u64, String> {
    let number = text.trim_end_matches(['B', 'b']);
    let (number, unit) = match number.as_bytes().last() {
        Some(b'k' | b'K') => (&number[..number.len() - 1], 1_000),
        Some(b'M') => (&number[..number.len() - 1], 1_000_000),
        Some(b'G') => (&number[..number.len() - 1], 1_000_000_000),
        _ => (number, 1),
    };
    let number: u64 = number.parse().map_err(|_| "it looks like 200MB")?;
    number.checked_mul(unit).filter(|size| *size > 0).ok_or_else(|| "it is out of range".to_owned())
}

fn seconds(text: &str) -> Result<f64, String> {
    let seconds: f64 = text.parse().map_err(|_| "it is no number")?;
    if (0.01..=86_400.0).contains(&seconds) {
        Ok(seconds)
    } else {
        Err("it is from 0.01 to 86400".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        let good = [("200MB", 200_000_000), ("5k", 5000), ("1G", 1_000_000_000), ("77", 77), ("77B", 77)];
        for (text, bytes) in good {
            assert_eq!(size(text), Ok(bytes));
        }
        for bad in ["", "MB", "-1", "1.5M", "0", "99999999999G"] {
            assert!(size(bad).is_err(), "{bad}");
        }
    }
}
