//! `hf`: a folder that can be pushed to a hub of datasets as it is: Parquet shards and a card.

use std::path::{Path, PathBuf};

use super::card::CARD;
use super::{Container, Format, plain};
use crate::error::{Error, Result};

pub(super) static FORMAT: Format = Format {
    name: "hf",
    about: "A folder to push to the Hugging Face hub: data/SPLIT-00000-of-00001.parquet and a card, README.md",
    container: Container::Folder,
    ..plain::PARQUET
};

/// Where the shards are.
const DATA: &str = "data";

/// The shards of the split `name` in the folder `dir`, named as the hub names them: also one alone has its number.
pub fn hub_paths(dir: &Path, name: &str, shards: usize) -> Vec<PathBuf> {
    let file = |n| dir.join(DATA).join(format!("{name}-{n:05}-of-{shards:05}.parquet"));
    (0..shards).map(file).collect()
}

/// Refuses to replace a folder that holds anything but a card and shards.
///
/// # Errors
/// There is something else in `dir`, or it does not read.
pub fn check_replaceable(dir: &Path) -> Result<()> {
    let is_shard = |name: &str| name.ends_with(".parquet") && name.contains("-of-");
    check_entries(dir, &|name| name == CARD || name == DATA)?;
    match dir.join(DATA) {
        data if data.exists() => check_entries(&data, &is_shard),
        _ => Ok(()),
    }
}

fn check_entries(dir: &Path, ours: &dyn Fn(&str) -> bool) -> Result<()> {
    let failed = |error| Error::io("read", dir, error);
    for entry in std::fs::read_dir(dir).map_err(failed)? {
        let name = entry.map_err(failed)?.file_name();
        let name = name.to_string_lossy();
        if !ours(&name) {
            let message =
                format!("{} holds {name}, which no export wrote: it is not replaced", dir.display());
            return Err(Error::usage(message).hint("give another --out, or remove it yourself"));
        }
    }
    Ok(())
}
