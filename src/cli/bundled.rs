//! The seeds and replies that come with the program.

use std::path::{Path, PathBuf};

use rust_embed::RustEmbed;

use crate::error::{Error, Result};

#[derive(RustEmbed)]
#[folder = "data/seeds"]
#[include = "*.jsonl"]
struct Seeds;

#[derive(RustEmbed)]
#[folder = "data/weak"]
#[include = "*.jsonl"]
struct Weak;

#[derive(RustEmbed)]
#[folder = "data/problems"]
#[include = "*.jsonl"]
struct Problems;

#[derive(RustEmbed)]
#[folder = "data/quickstart"]
#[include = "*.jsonl"]
struct Replies;

/// Writes the bundled rows of `folders` into `dir`, where they can be read and edited like any others: `seeds`, seeds from which
/// the bundled replies make `weak` problems, `problems`.
///
/// Files that are there already with the same content keep their modification time, so a resumed run sees the same seeds.
///
/// # Errors
/// There is no such folder; the disk.
pub fn write_seeds(folders: &[String], dir: &Path) -> Result<Vec<PathBuf>> {
    let mut files: Vec<(String, Vec<u8>)> = Vec::new();
    for folder in folders {
        files.extend(match folder.as_str() {
            "seeds" => contents::<Seeds>(),
            "weak" => contents::<Weak>(),
            "problems" => contents::<Problems>(),
            _ => {
                return Err(Error::usage(format!("no rows called `{folder}` are bundled"))
                    .hint("`bundled` in the pipeline names some of \"seeds\", \"weak\", \"problems\""));
            }
        });
    }
    std::fs::create_dir_all(dir).map_err(|error| Error::io("create", dir, error))?;
    let mut paths = Vec::new();
    for (name, data) in files {
        let path = dir.join(name);
        if std::fs::read(&path).ok().as_deref() != Some(&*data) {
            std::fs::write(&path, &data).map_err(|error| Error::io("write", &path, error))?;
        }
        paths.push(path);
    }
    paths.sort();
    Ok(paths)
}

fn contents<Files: RustEmbed>() -> Vec<(String, Vec<u8>)> {
    let files = Files::iter().filter_map(|name| Some((name.to_string(), Files::get(&name)?)));
    files.map(|(name, file)| (name, file.data.into_owned())).collect()
}

/// The bundled replies, one recorded answer a line.
pub fn replies() -> String {
    let files = Replies::iter().filter_map(|name| Replies::get(&name));
    files.map(|file| String::from_utf8_lossy(&file.data).into_owned()).collect()
}
