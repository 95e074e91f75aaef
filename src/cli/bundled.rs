//! The seeds and replies that come with the program.

use std::path::{Path, PathBuf};

use rust_embed::RustEmbed;

use crate::error::{Error, Result};

#[derive(RustEmbed)]
#[folder = "data/seeds"]
#[include = "*.jsonl"]
struct Seeds;

#[derive(RustEmbed)]
#[folder = "data/quickstart"]
#[include = "*.jsonl"]
struct Replies;

/// Writes the bundled seeds into `dir`, where they can be read and edited like any others.
///
/// Files that are there already with the same content keep their modification time, so a resumed run sees the same seeds.
///
/// # Errors
/// The disk.
pub fn write_seeds(dir: &Path) -> Result<Vec<PathBuf>> {
    std::fs::create_dir_all(dir).map_err(|error| Error::io("create", dir, error))?;
    let mut paths = Vec::new();
    for name in Seeds::iter() {
        let Some(file) = Seeds::get(&name) else { continue };
        let path = dir.join(name.as_ref());
        if std::fs::read(&path).ok().as_deref() != Some(&*file.data) {
            std::fs::write(&path, &file.data).map_err(|error| Error::io("write", &path, error))?;
        }
        paths.push(path);
    }
    paths.sort();
    Ok(paths)
}

/// The bundled replies, one recorded answer a line.
pub fn replies() -> String {
    let files = Replies::iter().filter_map(|name| Replies::get(&name));
    files.map(|file| String::from_utf8_lossy(&file.data).into_owned()).collect()
}
