//! Ingest over real files: formats, columns, repeats, rejected rows, damaged inputs.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod columns;
mod formats;
mod props;
mod rejects;

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_array::{
    Array, ArrayRef, BooleanArray, Float64Array, Int32Array, Int64Array, LargeStringArray, ListArray,
    RecordBatch, StringArray, types::Int32Type,
};
use arrow_schema::{DataType, Schema};
use autocodegen::error::Kind;
use autocodegen::frame::ingest::{Ingested, Languages, SeedOptions, SeedStore, ingest, manifest};
use autocodegen::frame::records::{json_lines, read_records};
use autocodegen::frame::{key, schema};
use parquet::arrow::ArrowWriter;
use proptest::prelude::*;
use serde_json::{Value, json};
use tempfile::TempDir;

struct Few;

impl Languages for Few {
    fn resolve(&self, name: &str) -> Option<String> {
        Some(
            match name.to_lowercase().as_str() {
                "python" | "py" | "python3" => "python",
                "cpp" | "c++" => "cpp",
                "go" => "go",
                _ => return None,
            }
            .to_owned(),
        )
    }

    fn of_extension(&self, extension: &str) -> Option<String> {
        Some(
            match extension {
                "py" => "python",
                "cpp" | "cc" => "cpp",
                "go" => "go",
                _ => return None,
            }
            .to_owned(),
        )
    }
}

struct Bench {
    folder: TempDir,
}

impl Bench {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, content: impl AsRef<[u8]>) -> String {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        path.to_string_lossy().into_owned()
    }

    fn options(&self, paths: &[&str]) -> SeedOptions {
        let paths = paths.iter().map(|path| self.path(path).to_string_lossy().into_owned()).collect();
        SeedOptions { paths, ..SeedOptions::default() }
    }

    fn ingest(&self, options: &SeedOptions) -> autocodegen::error::Result<Ingested> {
        ingest(
            options,
            &Few,
            &self.path("run/seeds"),
            &self.path("run/rejected/seed.parquet"),
            &mut |_, _| {},
        )
    }

    fn seeds(&self) -> RecordBatch {
        let store = SeedStore::open(&self.path("run/seeds")).unwrap();
        let all = store.read(0, usize::MAX).unwrap();
        assert_eq!(all.num_rows() as u64, store.rows());
        assert_eq!(all.schema(), store.schema());
        all
    }

    fn seed_values(&self) -> Vec<Value> {
        values(&self.seeds())
    }

    /// (source relative to the folder, reason) of the rejected rows.
    fn rejected(&self) -> Vec<(String, String)> {
        let frame = self.rejected_frame();
        let source = schema::strings(&frame, "source").unwrap();
        let reason = schema::strings(&frame, "reason").unwrap();
        let root = format!("{}/", self.folder.path().display());
        (0..frame.num_rows())
            .map(|row| (source.value(row).replace(&root, ""), reason.value(row).to_owned()))
            .collect()
    }

    fn rejected_frame(&self) -> RecordBatch {
        let mut batches = read_records(&self.path("run/rejected/seed.parquet"), 100_000).unwrap();
        let frame = batches.next().unwrap().unwrap();
        assert!(batches.next().is_none());
        assert_eq!(frame.schema().fields(), schema::rejected_schema().fields());
        frame
    }
}

fn values(batch: &RecordBatch) -> Vec<Value> {
    let lines = json_lines(batch).unwrap();
    lines
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
        .map(|line| serde_json::from_slice(line).unwrap())
        .collect()
}

fn strings(batch: &RecordBatch, name: &str) -> Vec<String> {
    schema::strings(batch, name).unwrap().iter().map(|value| value.unwrap().to_owned()).collect()
}

fn lines(records: &[Value]) -> String {
    records.iter().map(|record| format!("{record}\n")).collect()
}

fn parquet(path: &Path, columns: Vec<(&str, ArrayRef)>) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    let mut writer = ArrowWriter::try_new(File::create(path).unwrap(), batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut writer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    writer.write_all(bytes).unwrap();
    writer.finish().unwrap()
}

/// JSON equality where 1 and 1.0 are the same number.
fn same(one: &Value, two: &Value) -> bool {
    match (one, two) {
        (Value::Number(one), Value::Number(two)) => one == two || one.as_f64() == two.as_f64(),
        _ => one == two,
    }
}

/// The files under a folder.
fn walk(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    entries
        .map(|entry| entry.unwrap().path())
        .flat_map(|path| if path.is_dir() { walk(&path) } else { vec![path] })
        .collect()
}
