//! `autocodegen cache`: what is in the cache of replies, and making room in it.

use std::time::{Duration, SystemTime};

use super::reuse::CacheArgs;
use super::summary::table;
use super::{printable, write_stdout};
use crate::error::{Error, Result};
use crate::frame::cache::{Pruned, groups, prune};

/// What to do with the cache.
#[derive(clap::Subcommand)]
pub enum Command {
    /// List the models whose replies are cached, the latest used first.
    #[command(after_help = "Example: autocodegen cache ls")]
    Ls(CacheArgs),
    /// Delete replies that were not used for the longest time.
    #[command(after_help = "Examples:
  autocodegen cache prune --older-than 30         # not used for 30 days
  autocodegen cache prune --max-bytes 1000000000  # at most 1 GB
  autocodegen cache prune --max-bytes 0           # everything that no process is writing")]
    Prune(PruneArgs),
}

/// Arguments of `cache prune`.
#[derive(clap::Args)]
pub struct PruneArgs {
    /// Bytes that may stay. Default: the cap of the cache, or all when --older-than is given.
    #[arg(long, value_name = "BYTES")]
    max_bytes: Option<u64>,
    /// Delete what was last used more than so many days ago.
    #[arg(long, value_name = "DAYS")]
    older_than: Option<u32>,
    #[command(flatten)]
    cache: CacheArgs,
}

/// Runs the command.
pub fn run(command: &Command) -> Result<u8> {
    let args = match command {
        Command::Ls(args) => args,
        Command::Prune(args) => &args.cache,
    };
    let root = args.root().ok_or_else(|| {
        Error::usage("the cache is off").hint("name its folder with --cache DIR or in AUTOCODEGEN_CACHE")
    })?;
    match command {
        Command::Ls(args) => {
            let groups = groups(&root)?;
            let mut rows = table(&["model", "endpoint", "replies", "bytes", "used", "oldest"], 2..4);
            let now = SystemTime::now();
            for group in &groups {
                rows.add_row([
                    printable(&group.about.model),
                    printable(&group.about.endpoint),
                    group.replies.to_string(),
                    group.bytes.to_string(),
                    ago(now, group.newest),
                    ago(now, group.oldest),
                ]);
            }
            let bytes: u64 = groups.iter().map(|group| group.bytes).sum();
            if !groups.is_empty() {
                write_stdout(&format!("{}\n\n", rows.trim_fmt()))?;
            }
            let root = printable(&root.to_string_lossy());
            write_stdout(&format!("{root}: {bytes} of at most {} bytes\n", args.cache_max_bytes))?;
        }
        Command::Prune(args) => {
            let days = args.older_than.map(|days| Duration::from_secs(u64::from(days) * 86_400));
            let cap = if days.is_some() { u64::MAX } else { args.cache.cache_max_bytes };
            let Pruned { freed, left } = prune(&root, args.max_bytes.unwrap_or(cap), days)?;
            write_stdout(&format!("deleted {freed} bytes, {left} are left\n"))?;
        }
    }
    Ok(0)
}

/// How long ago `then` was, in the largest unit that counts.
fn ago(now: SystemTime, then: SystemTime) -> String {
    let seconds = now.duration_since(then).unwrap_or_default().as_secs();
    match seconds {
        0..120 => "now".to_owned(),
        120..7200 => format!("{} min ago", seconds / 60),
        7200..172_800 => format!("{} h ago", seconds / 3600),
        _ => format!("{} days ago", seconds / 86_400),
    }
}
