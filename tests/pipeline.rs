//! The quickstart end to end, with real toolchains: the golden result, the counts, and that it is the same every time.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

use arrow_array::cast::AsArray;
use arrow_array::types::Float64Type;
use arrow_array::{Array, RecordBatch};
use autocodegen::frame::journal::Journal;
use autocodegen::frame::part;
use autocodegen::frame::schema::strings;
use autocodegen::sandbox::language::Languages;
use autocodegen::sandbox::local::{LocalSandbox, Options};
use autocodegen::sandbox::toolchain;
use serde_json::Value;

const LANGUAGES: [&str; 6] = ["cpp", "go", "java", "javascript", "python", "shell"];
const EFFECTS: [&str; 5] = ["solution.reply", "probe", "tests.reply", "verify", "question.reply"];
const GOLDEN: &str = "tests/golden/quickstart.txt";
const GOLDEN_FULL: &str = "tests/golden/full.txt";

/// Two runs at once would starve each other of cores, which leaves rows pending.
static ALONE: Mutex<()> = Mutex::new(());

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Those of `languages` whose toolchains are there; none where no jail can be made. Says so for the others.
fn runnable<'a>(test: &str, languages: &[&'a str]) -> Vec<&'a str> {
    let options = Options { launcher: Some(env!("CARGO_BIN_EXE_autocodegen").into()), ..Options::default() };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    if let Err(error) = runtime.block_on(async { LocalSandbox::start(options).map(drop) }) {
        common::skip(test, &error.to_string());
        return Vec::new();
    }
    let known = Languages::embedded().unwrap();
    let there = |name: &&str| match toolchain::find(known.get(name).unwrap()) {
        Ok(_) => true,
        Err(missing) => {
            common::skip(test, &format!("{name}: {missing:?}"));
            false
        }
    };
    languages.iter().copied().filter(there).collect()
}

/// `--seeds` and `--replay` with the bundled files of `languages`, and with those of the seeds that are for `full` alone.
fn bundled(languages: &[&str], full: bool) -> Vec<OsString> {
    let file = |folder: &str, name: &str| root().join(folder).join(format!("{name}.jsonl")).into_os_string();
    let files = |folder| languages.iter().map(move |name| file(folder, name));
    let weak = full && languages.contains(&"python");
    let mut arguments = vec!["--seeds".into()];
    arguments.extend(files("data/seeds"));
    arguments.extend(weak.then(|| file("data/weak", "weak")));
    arguments.push("--replay".into());
    arguments.extend(files("data/quickstart"));
    arguments.extend(weak.then(|| file("data/quickstart", "weak")));
    arguments
}

/// Runs to the end, in two attempts if need be; false where other work keeps the cores busy: a program that would use up
/// its CPU time, as one of the quickstart's does, is then left for another time.
fn run(test: &str, out: &Path, arguments: &[OsString]) -> bool {
    let mut said = String::new();
    for _ in 0..2 {
        let mut command = Command::new(env!("CARGO_BIN_EXE_autocodegen"));
        command.args(["run", "--quiet", "--tries", "2", "--out"]).arg(out).args(arguments);
        let output = command.env_remove("OPENAI_API_KEY").env("AUTOCODEGEN_CACHE", "off").output().unwrap();
        said = String::from_utf8_lossy(&output.stderr).into_owned();
        match output.status.code() {
            Some(0) => return true,
            Some(1) if said.contains("(starved)") => {}
            code => panic!("exit code {code:?}: {said}"),
        }
    }
    common::skip(test, &format!("this machine is busy: {said}"));
    false
}

fn table(run: &Path, name: &str) -> Vec<RecordBatch> {
    let mut files: Vec<PathBuf> =
        fs::read_dir(run.join(name)).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files.iter().flat_map(|path| part::read(path).unwrap().0).collect()
}

/// The values of the string columns `names` of a table, row by row; null is empty.
fn rows(batches: &[RecordBatch], names: &[&str]) -> Vec<Vec<String>> {
    let mut rows = Vec::new();
    for batch in batches {
        let columns: Vec<_> = names.iter().map(|name| strings(batch, name).unwrap()).collect();
        for row in 0..batch.num_rows() {
            let value = |column: &&arrow_array::StringArray| match column.is_valid(row) {
                true => column.value(row).to_owned(),
                false => String::new(),
            };
            rows.push(columns.iter().map(value).collect());
        }
    }
    rows
}

fn bytes(run: &Path, name: &str) -> BTreeMap<OsString, Vec<u8>> {
    let files = fs::read_dir(run.join(name)).unwrap().map(Result::unwrap);
    files.map(|entry| (entry.file_name(), fs::read(entry.path()).unwrap())).collect()
}

/// Where every seed ended: `language id dataset`, or `language id stage reason`.
fn fates(run: &Path) -> BTreeSet<String> {
    let kept = rows(&table(run, "dataset"), &["language", "id"]).into_iter();
    let rejected = rows(&table(run, "rejected"), &["language", "id", "stage", "reason"]).into_iter();
    kept.map(|row| row.join(" ") + " dataset").chain(rejected.map(|row| row.join(" "))).collect()
}

fn golden(file: &str, languages: &[&str]) -> BTreeSet<String> {
    let text = fs::read_to_string(root().join(file)).unwrap();
    let wanted = |line: &&str| languages.contains(&line.split(' ').next().unwrap());
    text.lines().filter(wanted).map(str::to_owned).collect()
}

fn assert_golden(run: &Path, file: &str, languages: &[&str]) {
    let (found, expected) = (fates(run), golden(file, languages));
    let lines = |set: Vec<&String>| set.into_iter().map(|line| format!("{line}\n")).collect::<String>();
    let (new, gone) =
        (lines(found.difference(&expected).collect()), lines(expected.difference(&found).collect()));
    assert!(new.is_empty() && gone.is_empty(), "not as in {file}\nnew:\n{new}gone:\n{gone}");
}

fn run_json(run: &Path) -> Value {
    serde_json::from_slice(&fs::read(run.join("run.json")).unwrap()).unwrap()
}

/// What goes into a stage comes out of it, and what it keeps goes into the next.
fn assert_counts(run: &Path, pipeline: &str) {
    let file = run_json(run);
    let number = |tally: &Value, name: &str| tally[name].as_u64().unwrap();
    let seeded = file["seeds"]["by_language"].as_object().unwrap();
    let mut arriving: BTreeMap<&str, u64> =
        seeded.iter().map(|(language, rows)| (language.as_str(), rows.as_u64().unwrap())).collect();
    assert_eq!(arriving.values().sum::<u64>(), number(&file["seeds"], "rows"));
    let pipeline = fs::read_to_string(root().join(format!("data/pipelines/{pipeline}.toml"))).unwrap();
    let pipeline: toml::Table = toml::from_str(&pipeline).unwrap();
    for stage in pipeline["stage"].as_array().unwrap() {
        let stage = stage["name"].as_str().unwrap();
        for (language, arriving) in &mut arriving {
            let tally = &file["counts"][stage][*language];
            let reasons = tally["rejected"].as_object().unwrap().values();
            let rejected: u64 = reasons.map(|rows| rows.as_u64().unwrap()).sum();
            assert_eq!(number(tally, "rows_in"), *arriving, "{stage} {language}");
            assert_eq!(number(tally, "pending"), 0, "{stage} {language}");
            assert_eq!(number(tally, "kept") + rejected, *arriving, "{stage} {language}");
            *arriving = number(tally, "kept");
        }
    }
    let dataset: u64 = table(run, "dataset").iter().map(|batch| batch.num_rows() as u64).sum();
    assert_eq!(arriving.values().sum::<u64>(), dataset);
}

/// The columns people know, the user's own after them, each row with what its seed brought along.
fn assert_columns(run: &Path, languages: &[&str]) {
    let dataset = table(run, "dataset");
    let schema = dataset[0].schema();
    let names: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
    let expected = [
        "id",
        "language",
        "question",
        "canonical_solution",
        "demo_test_func",
        "full_test_func",
        "full_test_input",
        "full_test_output",
        "seed",
        "topic",
    ];
    assert_eq!(names, expected);
    let mut topics = BTreeMap::new();
    for language in languages {
        let seeds = fs::read_to_string(root().join(format!("data/seeds/{language}.jsonl"))).unwrap();
        for line in seeds.lines() {
            let seed: Value = serde_json::from_str(line).unwrap();
            let text = |name: &str| seed[name].as_str().unwrap().to_owned();
            topics.insert((text("language"), text("text")), text("topic"));
        }
    }
    for row in rows(&dataset, &["language", "seed", "topic", "question", "canonical_solution"]) {
        assert_eq!(topics[&(row[0].clone(), row[1].clone())], row[2]);
        assert!(!row[3].trim().is_empty() && row[4].starts_with("```"), "{row:?}");
    }
}

fn journal_records(run: &Path) -> Vec<u64> {
    let records = |stage| Journal::open_read_only(&run.join("journal").join(stage)).unwrap().len();
    EFFECTS.into_iter().map(records).collect()
}

/// The bundled replies name the conversations they answer, by which `replay serve` finds them.
fn assert_conversations(recording: &Path, languages: &[&str]) {
    let conversations = |path: &Path| -> BTreeSet<String> {
        let text = fs::read_to_string(path).unwrap();
        let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        lines
            .map(|line| ["stage", "row", "conversation"].map(|name| line[name].to_string()).join(" "))
            .collect()
    };
    let asked = conversations(recording);
    let names = languages.iter().chain(&["weak"]);
    let files = names.map(|name| root().join(format!("data/quickstart/{name}.jsonl")));
    let bundled: BTreeSet<String> = files.flat_map(|path| conversations(&path)).collect();
    let missing: Vec<&String> = asked.difference(&bundled).collect();
    assert!(
        missing.is_empty(),
        "prompts have changed: put these conversations into data/quickstart (run with --record): {missing:#?}"
    );
}

#[test]
fn the_quickstart_ends_in_the_golden_dataset() {
    let _alone = ALONE.lock();
    let test = "quickstart";
    let languages = runnable(test, &LANGUAGES);
    if languages.is_empty() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    // With every toolchain, the very command of the documentation.
    let all = languages == LANGUAGES;
    let mut arguments = if all { Vec::new() } else { bundled(&languages, false) };
    let recording = folder.path().join("recording.jsonl");
    arguments.extend(["--record".into(), recording.clone().into_os_string()]);
    if !run(test, &out, &arguments) {
        return;
    }
    assert_golden(&out, GOLDEN, &languages);
    assert_conversations(&recording, &languages);
    assert_counts(&out, "synthesize");
    assert_columns(&out, &languages);
    if all {
        assert_eq!(run_json(&out)["seeds"]["duplicates"], 1);
        let fates = fates(&out);
        let gates = [
            "solution.reply finish_reason_length",
            "solution.extract block_count",
            "probe.capture COMPILATION_ERROR",
            "probe.capture RUNTIME_ERROR",
            "probe.capture TIME_LIMIT_EXCEEDED",
            "probe.capture output_too_long",
            "tests.extract block_count",
            "verify.keep WRONG_ANSWER",
            "question.extract section_missing",
        ];
        for gate in gates {
            assert!(fates.iter().any(|fate| fate.ends_with(gate)), "no row left at {gate}");
        }
    }

    // Again: nothing is asked, nothing changes.
    let (records, dataset, rejected) =
        (journal_records(&out), bytes(&out, "dataset"), bytes(&out, "rejected"));
    assert!(run(test, &out, &arguments));
    assert_eq!(journal_records(&out), records);
    assert!(bytes(&out, "dataset") == dataset && bytes(&out, "rejected") == rejected);

    // Without the sealed parts everything is made anew from the journal.
    fs::remove_dir_all(out.join("stages")).unwrap();
    assert!(run(test, &out, &arguments));
    assert_eq!(journal_records(&out), records);
    assert!(bytes(&out, "dataset") == dataset);
    assert_counts(&out, "synthesize");

    // The same seeds through all stages: what was answered here is not asked again.
    let arguments = if all { Vec::new() } else { bundled(&languages, true) };
    full(&folder.path().join("full"), &out, &languages, arguments);
}

/// Takes the seeds through the pipeline `full`, with the answers of `earlier`.
fn full(out: &Path, earlier: &Path, languages: &[&str], mut arguments: Vec<OsString>) {
    arguments.insert(0, "full".into());
    let recording = out.with_extension("jsonl");
    arguments.extend(["--record".into(), recording.clone().into_os_string()]);
    arguments.extend(["--reuse".into(), earlier.as_os_str().to_owned()]);
    if !run("full", out, &arguments) {
        return;
    }
    assert_golden(out, GOLDEN_FULL, languages);
    assert_conversations(&recording, languages);
    assert_counts(out, "full");
    let rated = table(out, "dataset");
    let (texts, names) = (["difficulty", "category", "samples", "critic"], ["hard", "medium", "easy"]);
    for row in rows(&rated, &texts) {
        assert!(names.contains(&row[0].as_str()) && !row[1].is_empty(), "{row:?}");
        let [samples, findings] = [&row[2], &row[3]].map(|text| serde_json::from_str::<Value>(text).unwrap());
        let passed = samples.as_array().unwrap().iter().filter(|sample| sample["passed"] == true).count();
        assert_eq!(samples.as_array().unwrap().len(), 10);
        assert_eq!(row[0], names[usize::from(passed > 0) + usize::from(passed > 5)], "{samples}");
        assert!(findings.is_array());
    }
    // Rows whose tests notice less have left.
    for batch in &rated {
        let adequacy = batch.column_by_name("adequacy").unwrap().as_primitive::<Float64Type>();
        assert!(adequacy.iter().flatten().all(|share| (0.5..=1.0).contains(&share)), "{adequacy:?}");
        assert_eq!(adequacy.null_count(), 0);
    }
    if languages == LANGUAGES {
        let fates = fates(out);
        let gates = [
            "probe flaky",
            "adequacy vacuous_tests",
            "adequacy weak_tests",
            "novelty duplicate",
            "critic.judge critic:unstated_requirements",
            "critic.judge critic:floating_point",
            "difficulty.rate too_easy",
            "tag.reply json_invalid",
        ];
        for gate in gates {
            assert!(fates.iter().any(|fate| fate.ends_with(gate)), "no row left at {gate}");
        }
        let levels: BTreeSet<String> = rows(&rated, &["difficulty"]).concat().into_iter().collect();
        assert_eq!(levels.len(), 3, "{levels:?}");
    }

    // What comes out can be translated: a request for each row and target.
    let mut command = Command::new(env!("CARGO_BIN_EXE_autocodegen"));
    command.args(["run", "translate", "--model", "any", "--dry-run=0", "--seeds"]).arg(out.join("dataset"));
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success() && said.contains("translate.reply"), "{output:?}");
}

#[test]
fn the_dataset_does_not_depend_on_how_much_runs_at_once() {
    let _alone = ALONE.lock();
    let test = "concurrency";
    let languages = runnable(test, &["python", "shell"]);
    if languages.is_empty() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let settings = [("1", "1", "3"), ("64", "2", "8")];
    let outs = settings.map(|(in_flight, jobs, rows)| {
        let out = folder.path().join(in_flight);
        let mut arguments = bundled(&languages, false);
        let more = ["--in-flight", in_flight, "--sandbox-jobs", jobs, "--partition-size", rows];
        arguments.extend(more.map(OsString::from));
        assert!(run(test, &out, &arguments));
        assert_golden(&out, GOLDEN, &languages);
        out
    });
    assert!(bytes(&outs[0], "dataset") == bytes(&outs[1], "dataset"));
}
