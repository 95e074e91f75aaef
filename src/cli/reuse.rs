//! Arguments that say where answers to equal requests are looked for before anything is asked.

use std::path::{Path, PathBuf};

use clap::Args;

use crate::engine::calls::Reuse;
use crate::error::{Error, Result};
use crate::frame::cache::{Cache, DEFAULT_MAX_BYTES};
use crate::frame::run_dir::RunDir;

/// The cache that all runs of a user share.
#[derive(Args, Clone)]
pub struct CacheArgs {
    /// Folder of the cache of model replies that all runs share, or `off`. Default: autocodegen in $XDG_CACHE_HOME or
    /// ~/.cache; endpoints on this machine are cached only in a folder given here.
    #[arg(long, value_name = "DIR|off", env = "AUTOCODEGEN_CACHE")]
    pub cache: Option<PathBuf>,
    /// Size of the cache, bytes; what was not used for the longest time goes first.
    #[arg(long, value_name = "BYTES", env = "AUTOCODEGEN_CACHE_MAX_BYTES", default_value_t = DEFAULT_MAX_BYTES)]
    pub cache_max_bytes: u64,
}

/// Where answers to equal requests are looked for.
#[derive(Args, Clone)]
#[command(next_help_heading = "Answers that are there already")]
pub struct ReuseArgs {
    /// Runs, finished or under way, whose answers to equal requests are taken over instead of asking again.
    #[arg(long, num_args = 1.., value_name = "RUN")]
    pub reuse: Vec<PathBuf>,
    #[command(flatten)]
    pub cache: CacheArgs,
}

/// The endpoint whose replies may come from the cache.
pub struct Cached<'a> {
    /// Its base URL, or those of all where there are several.
    pub endpoint: String,
    /// Name of the model.
    pub model: &'a str,
    /// Whether it is on this machine.
    pub local: bool,
}

impl CacheArgs {
    /// The folder of the cache; `None` when it is off or there is no home to have it in.
    pub fn root(&self) -> Option<PathBuf> {
        match &self.cache {
            Some(off) if off == Path::new("off") => None,
            Some(dir) if dir != Path::new("") => Some(dir.clone()),
            _ => default_root(),
        }
    }

    /// Whether a folder is named.
    fn is_explicit(&self) -> bool {
        self.cache.as_ref().is_some_and(|dir| dir != Path::new(""))
    }

    /// The replies of an endpoint's model. A cache that cannot be used is told and done without.
    fn open(&self, of: &Cached<'_>) -> Option<Cache> {
        // What a server on this machine calls a model is often not what it was last week, and costs nothing to ask.
        if of.local && !self.is_explicit() {
            return None;
        }
        let root = self.root()?;
        match Cache::open(&root, &of.endpoint, of.model, self.cache_max_bytes) {
            Ok(cache) => Some(cache),
            Err(error) => {
                tracing::warn!("the cache of replies is not used: {error}");
                None
            }
        }
    }
}

fn default_root() -> Option<PathBuf> {
    let absolute = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|dir| dir.is_absolute());
    let cache = absolute("XDG_CACHE_HOME").or_else(|| Some(absolute("HOME")?.join(".cache")))?;
    Some(cache.join("autocodegen"))
}

impl ReuseArgs {
    /// The runs named, other than `own`.
    ///
    /// # Errors
    /// One of them is no run, or the run itself.
    pub fn runs(&self, own: Option<&Path>) -> Result<Vec<RunDir>> {
        let own = own.and_then(|own| own.canonicalize().ok());
        let runs = self.reuse.iter().map(|path| {
            let run = RunDir::open_read_only(path)?;
            if own.is_some() && path.canonicalize().ok() == own {
                return Err(Error::usage(format!("--reuse {} is the run itself", path.display()))
                    .hint("leave it out: a run finds its own answers without it"));
            }
            Ok(run)
        });
        runs.collect()
    }

    /// Opens the journals of `runs`, and the cache for `cached`.
    ///
    /// # Errors
    /// A journal cannot be read.
    pub fn open(&self, runs: &[RunDir], cached: Option<&Cached<'_>>) -> Result<Reuse> {
        Reuse::new(runs, cached.and_then(|of| self.cache.open(of)))
    }
}
