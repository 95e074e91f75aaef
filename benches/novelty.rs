//! Rows of about 1 KB of code and 0.4 KB of question through `novelty`: rows per second, peak memory, and how many of the
//! planted near-duplicates leave, by how alike they really are.
//!
//! One row in ten repeats an earlier one, near or far: its code with other layout, with tokens, lines or a name changed,
//! or its question with words changed. How alike the two really are is computed when they are made, and comes along as a
//! column. Every run is a process of its own, for a peak memory of its own.
//! `cargo bench --bench novelty [-- ROWS]`; `TMPDIR` says where it writes: 1,000,000 rows need about 5 GB.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod common;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use arrow_array::{Array, Float64Array};
use autocodegen::frame::dataset;
use autocodegen::frame::part::Scan;
use autocodegen::frame::schema::strings;
use autocodegen::llm::constant::ConstantModel;
use autocodegen::plan::pipeline::Pipeline;
use autocodegen::text::shingles::{jaccard, shingles};
use common::ConstantSandbox;
use fastrand::Rng;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

const CHILD: &str = "AUTOCODEGEN_BENCH_NOVELTY";
const THRESHOLD: f64 = 0.7;
/// One row in so many repeats another.
const REPEATS: u64 = 10;
const LANGUAGES: [&str; 6] = ["python", "java", "cpp", "javascript", "go", "shell"];
const LIMIT_BYTES: u64 = 4 << 30;

const PIPELINE: &str = r#"
name = "new"
[[stage]]
name = "new"
op = "novelty"
columns = ["canonical_solution", "question"]
"#;

#[derive(Serialize, Deserialize)]
struct Measured {
    ingest_s: f64,
    stage_s: f64,
    tables_s: f64,
    ingest_peak: u64,
    peak: u64,
}

fn main() {
    if let Some(dir) = std::env::var_os(CHILD) {
        return println!("{}", serde_json::to_string(&measure(Path::new(&dir))).unwrap());
    }
    let rows = std::env::args().find_map(|argument| argument.parse().ok()).unwrap_or(1_000_000);
    let dir = tempfile::tempdir().unwrap();
    let bytes = write_rows(&dir.path().join("seeds.jsonl"), rows);
    println!("{rows} rows, {} bytes of code and question a row, one in {REPEATS} planted", bytes / rows);
    let child = Command::new(std::env::current_exe().unwrap()).env(CHILD, dir.path()).output().unwrap();
    assert!(child.status.success(), "{}", String::from_utf8_lossy(&child.stderr));
    let m: Measured = serde_json::from_slice(&child.stdout).unwrap();
    println!(
        "novelty {:.1} s, {:.0} rows/s (sealed parts included); ingest {:.1} s, tables {:.1} s",
        m.stage_s,
        rows as f64 / m.stage_s,
        m.ingest_s,
        m.tables_s
    );
    println!(
        "peak memory {} MiB (of ingest {} MiB); 4 GiB is {}",
        m.peak >> 20,
        m.ingest_peak >> 20,
        if m.peak <= LIMIT_BYTES { "kept" } else { "EXCEEDED" }
    );
    report(&dir.path().join("run"));
}

/// What became of the planted rows, by how alike they are to what they repeat.
fn report(run: &Path) {
    // By similarity in twentieths; rows that repeat nothing are at -1.
    let mut left: BTreeMap<i32, (u64, u64)> = BTreeMap::new();
    let mut count = |planted: f64, gone: bool| {
        let (all, of_them) = left.entry((planted * 20.0 + 1e-9).floor() as i32).or_default();
        *all += 1;
        *of_them += u64::from(gone);
    };
    for batch in Scan::new(dataset::files(&run.join("dataset")).unwrap(), None) {
        let batch = batch.unwrap();
        let planted = batch.column_by_name("planted").unwrap();
        let planted = planted.as_any().downcast_ref::<Float64Array>().unwrap();
        planted.values().iter().for_each(|planted| count(*planted, false));
    }
    for batch in Scan::new(dataset::files(&run.join("rejected")).unwrap(), None) {
        let batch = batch.unwrap();
        let records = strings(&batch, "record").unwrap();
        for record in records.iter().flatten() {
            let record: Value = serde_json::from_str(record).unwrap();
            count(record["planted"].as_f64().unwrap(), true);
        }
    }
    println!("similarity      planted   rejected   share");
    let (mut alike, mut found) = (0, 0);
    for (at, (all, gone)) in &left {
        let from = f64::from(*at) / 20.0;
        if from >= THRESHOLD - 1e-9 {
            (alike, found) = (alike + all, found + gone);
        }
        let name = if *at < 0 {
            "none      ".to_owned()
        } else {
            format!("{from:.2} - {:.2}", (from + 0.05).min(1.0))
        };
        println!("{name} {all:12} {gone:10} {:6.2} %", 100.0 * *gone as f64 / *all as f64);
    }
    let wrong: u64 = left
        .iter()
        .filter(|(at, _)| (**at as f64) < THRESHOLD * 20.0 - 1e-6)
        .map(|(_, (_, gone))| gone)
        .sum();
    println!(
        "recall at {THRESHOLD}: {found} of {alike}, {:.2} %; rejected without being that alike to what they were made of: {wrong}",
        100.0 * found as f64 / alike as f64
    );
}

fn measure(dir: &Path) -> Measured {
    let file = dir.join("new.toml");
    std::fs::write(&file, PIPELINE).unwrap();
    let pipeline = Pipeline::load(file.to_str().unwrap()).unwrap();
    let model = Arc::new(ConstantModel::new(Default::default(), None));
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let (seeds, out): (PathBuf, PathBuf) = (dir.join("seeds.jsonl"), dir.join("run"));
    let sandbox = Arc::new(ConstantSandbox::default());
    let phases = runtime.block_on(common::run_pipeline(&pipeline, &seeds, &out, model, sandbox, 64));
    Measured {
        ingest_s: phases.ingest.as_secs_f64(),
        stage_s: phases.plan.as_secs_f64(),
        tables_s: phases.tables.as_secs_f64(),
        ingest_peak: phases.ingest_peak,
        peak: common::peak_bytes(),
    }
}

/// Writes the rows; the bytes of their code and questions.
fn write_rows(path: &Path, rows: u64) -> u64 {
    const CHUNK: u64 = 10_000;
    let mut file = BufWriter::new(File::create(path).unwrap());
    let mut bytes = 0;
    for start in (0..rows).step_by(CHUNK as usize) {
        let rows: Vec<(String, usize)> =
            (start..(start + CHUNK).min(rows)).into_par_iter().map(row).collect();
        for (line, size) in rows {
            file.write_all(line.as_bytes()).unwrap();
            bytes += size as u64;
        }
    }
    file.flush().unwrap();
    bytes
}

/// The line of row `n`, and the bytes of its code and question.
fn row(n: u64) -> (String, usize) {
    let mut rng = Rng::with_seed(n ^ 0x5eed);
    // The first row of ten repeats one of those before it that repeat none.
    let repeats = n > 0 && n.is_multiple_of(REPEATS);
    let source = if repeats { 1 + rng.u64(..n / REPEATS) * REPEATS + rng.u64(..REPEATS - 1) } else { n };
    let (language, mut code, mut question) = original(source);
    let mut planted = -1.0;
    if repeats {
        let fresh = original(n);
        if rng.u8(..4) == 0 {
            let changed = change_words(&question, &mut rng);
            planted = similarity(&question, &changed);
            (code, question) = (fresh.1, changed);
        } else {
            let changed = change_code(&code, &mut rng);
            planted = similarity(&code, &changed);
            (code, question) = (changed, fresh.2);
        }
    }
    let size = code.len() + question.len();
    let line = json!({
        "text": format!("row {n}"), "language": language, "planted": planted, "question": question,
        "canonical_solution": code,
    });
    (format!("{line}\n"), size)
}

fn similarity(a: &str, b: &str) -> f64 {
    jaccard(&shingles(a, 5), &shingles(b, 5))
}

/// Language, code and question of a row that repeats none.
fn original(n: u64) -> (&'static str, String, String) {
    let mut rng = Rng::with_seed(n);
    let language = LANGUAGES[rng.usize(..LANGUAGES.len())];
    // What many programs of a language begin with.
    let mut code = format!("import {language}.util\nimport {language}.collections\n\nclass Main:\n");
    let names: Vec<String> = (0..10).map(|_| name(&mut rng)).collect();
    while code.len() < 1000 {
        code += &statement(&names, &mut rng);
    }
    let mut question = format!("Write a {language} function `{}` that", names[0]);
    while question.len() < 400 {
        question += &format!(" {} the {} {}", word(&mut rng), word(&mut rng), word(&mut rng));
    }
    (language, code, question + ".")
}

fn word(rng: &mut Rng) -> String {
    const STEMS: [&str; 24] = [
        "count", "list", "sort", "merge", "value", "index", "tree", "node", "sum", "path", "token", "line",
        "cache", "queue", "graph", "word", "item", "batch", "score", "state", "limit", "table", "window",
        "range",
    ];
    const ENDS: [&str; 12] = ["", "s", "ed", "ing", "er", "able", "less", "ful", "ness", "ly", "ize", "ment"];
    format!("{}{}", STEMS[rng.usize(..STEMS.len())], ENDS[rng.usize(..ENDS.len())])
}

/// Half the names are the ones everybody uses.
fn name(rng: &mut Rng) -> String {
    const USUAL: [&str; 10] = ["i", "j", "n", "x", "result", "items", "left", "right", "total", "data"];
    if rng.bool() {
        USUAL[rng.usize(..USUAL.len())].to_owned()
    } else {
        format!("{}_{}", word(rng), word(rng))
    }
}

fn statement(names: &[String], rng: &mut Rng) -> String {
    let mut of = || names[rng.usize(..names.len())].as_str();
    let (a, b, c) = (of(), of(), of());
    let n = if rng.bool() { rng.u32(..3) } else { rng.u32(..1000) };
    match rng.u8(..10) {
        0 => format!("    for {a} in range({n}):\n"),
        1 => format!("        if {a}[{b}] > {n}:\n            return {c}\n"),
        2 => format!("        {a} = {b} + {c} * {n}\n"),
        3 => format!("    def {a}({b}, {c}):\n"),
        4 => format!("        {a}.append({b}[{n}])\n"),
        5 => format!("        while {a} < len({b}):\n            {a} += {n}\n"),
        6 => format!("        {a}[{b}] = {c}.get({b}, {n})\n"),
        7 => format!("        {a} = [{b} for {b} in {c} if {b} % {n} == 0]\n"),
        8 => format!("        raise ValueError(\"{a} of {b} is {n}\")\n"),
        _ => format!("    return {a}({b}, {c})\n"),
    }
}

/// The code as somebody, or a model, would write it again: from the same but for its layout to hardly alike.
fn change_code(code: &str, rng: &mut Rng) -> String {
    let mut lines: Vec<String> = code.lines().map(str::to_owned).collect();
    match rng.u8(..4) {
        0 => return code.replace("    ", "\t").replace(" = ", "="),
        1 => {
            for _ in 0..rng.usize(1..12) {
                let at = rng.usize(4..lines.len());
                lines[at] =
                    lines[at].replacen(|c: char| c.is_ascii_digit(), "7", 1).replacen("return", "yield", 1);
            }
        }
        2 => {
            for _ in 0..rng.usize(1..6) {
                lines.remove(rng.usize(4..lines.len()));
                let names = [name(rng), name(rng)];
                lines.insert(rng.usize(4..lines.len()), statement(&names, rng).trim_end().to_owned());
            }
        }
        _ => {
            let old = word_of(code, rng);
            return code.replace(&old, &name(rng));
        }
    }
    lines.join("\n")
}

/// A word of the code, longer than the usual names.
fn word_of(code: &str, rng: &mut Rng) -> String {
    let words: Vec<&str> =
        code.split(|c: char| !c.is_alphanumeric() && c != '_').filter(|word| word.contains('_')).collect();
    if words.is_empty() { "result".to_owned() } else { words[rng.usize(..words.len())].to_owned() }
}

fn change_words(text: &str, rng: &mut Rng) -> String {
    let mut words: Vec<String> = text.split(' ').map(str::to_owned).collect();
    for _ in 0..rng.usize(1..5) {
        let at = rng.usize(4..words.len());
        words[at] = word(rng);
    }
    words.join(" ")
}
