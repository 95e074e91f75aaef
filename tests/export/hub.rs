//! The folder for a hub: shards, card, provenance, and that no other folder is replaced.

use std::collections::BTreeSet;
use std::path::Path;

use arrow_array::{RecordBatch, StringArray};
use autocodegen::frame::part;
use std::sync::Arc;

use crate::problems::write;
use crate::small::{RUN, autocodegen, kept, small_run};

fn export(run: &Path, out: &Path, args: &[&str]) -> (Option<i32>, String) {
    let fixed = ["export", "--run", run.to_str().unwrap(), "--format", "hf", "--out", out.to_str().unwrap()];
    let output = autocodegen(&[&fixed[..], args].concat());
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

fn names(dir: &Path) -> BTreeSet<String> {
    std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[test]
fn a_folder_has_shards_and_a_card_that_tells_where_they_come_from() {
    let root = small_run();
    let run = root.path().join("run");
    let text = |value: &str| Arc::new(StringArray::from(vec![value])) as _;
    let verdicts =
        RecordBatch::try_from_iter([("language", text("go")), ("toolchain", text("go <b>1.27</b> | x"))]);
    write(&run.join("verdicts"), &verdicts.unwrap());
    let out = root.path().join("hub/my set");
    let (code, said) = export(
        &run,
        &out,
        &["--split", "train=0.8,test=0.2", "--shards", "3", "--with-prompts", "--where", "n >= 0"],
    );
    assert_eq!(code, Some(0), "{said}");
    assert!(
        said.contains("my set/data/test-00002-of-00003.parquet")
            && said.contains(&format!("6 files: {} rows", kept().len())),
        "{said}"
    );
    assert_eq!(names(&out), ["README.md", "data"].map(str::to_owned).into());
    let shards: BTreeSet<String> = ["train", "test"]
        .iter()
        .flat_map(|split| (0..3).map(move |n| format!("{split}-{n:05}-of-00003.parquet")))
        .collect();
    assert_eq!(names(&out.join("data")), shards);
    let rows: u64 = shards.iter().map(|name| part::num_rows(&out.join("data").join(name)).unwrap()).sum();
    assert_eq!(rows, kept().len() as u64);

    let card = std::fs::read_to_string(out.join("README.md")).unwrap();
    let header = card.strip_prefix("---\n").unwrap().split("\n---\n").next().unwrap();
    for line in [
        "pretty_name: \"my set\"",
        "- \"n<1K\"",
        "configs:",
        "- config_name: default",
        "  - split: \"train\"\n    path: \"data/train-*.parquet\"",
        "  - split: \"test\"\n    path: \"data/test-*.parquet\"",
    ] {
        assert!(header.contains(line), "{line}: {header}");
    }
    let templates = names(&run.join("templates"));
    for said in [
        "n &gt;= 0",
        "| train | 80 % |",
        "| solution\\_messages | Utf8 |",
        "| pipeline | small |",
        "| seeds | 60 |",
        "| solution.extract | 60 | 48 | 12 | block\\_count 12 |",
        "| solution.reply |",
        "| go | go &lt;b&gt;1.27&lt;/b&gt; \\| x | 1 |",
        "| ask/python.txt |",
        "| state/python.txt |",
        templates.first().unwrap(),
    ] {
        assert!(card.contains(said), "no {said:?} in {card}");
    }
    assert_eq!(names(out.parent().unwrap()), ["my set".to_owned()].into(), "nothing is left beside it");
}

#[test]
fn only_a_folder_that_an_export_wrote_is_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let (run, out) = (RUN.path().join("run"), dir.path().join("set"));
    assert_eq!(export(&run, &out, &[]).0, Some(0));
    assert_eq!(names(&out.join("data")), ["train-00000-of-00001.parquet".to_owned()].into());
    let (code, said) = export(&run, &out, &[]);
    assert!(code == Some(2) && said.contains("--overwrite"), "{said}");
    let (code, said) = export(&run, &out, &["--overwrite", "--split", "a=0.5,b=0.5"]);
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(names(&out.join("data")).len(), 2, "nothing of the old one is left");
    std::fs::write(out.join("mine.txt"), "keep").unwrap();
    let (code, said) = export(&run, &out, &["--overwrite"]);
    assert!(code == Some(2) && said.contains("mine.txt"), "{said}");
    assert!(out.join("mine.txt").exists() && names(&out.join("data")).len() == 2);
    std::fs::rename(out.join("mine.txt"), out.join("data/mine.txt")).unwrap();
    let (code, said) = export(&run, &out, &["--overwrite"]);
    assert!(code == Some(2) && said.contains("mine.txt"), "{said}");
    let (code, said) = export(&run, dir.path(), &["--overwrite"]);
    assert!(code == Some(2) && said.contains("it is not replaced"), "{said}");
    let file = dir.path().join("file");
    std::fs::write(&file, "x").unwrap();
    assert_eq!(export(&run, &file, &["--overwrite"]).0, Some(2));
}

#[test]
fn an_export_that_fails_leaves_nothing() {
    let root = small_run();
    let run = root.path().join("run");
    let file = run.join("dataset/part-00000.parquet");
    let mut bytes = std::fs::read(&file).unwrap();
    let middle = bytes.len() / 3;
    bytes[middle..middle + 200].fill(0xff);
    std::fs::write(&file, bytes).unwrap();
    let out = root.path().join("out/set");
    let (code, said) = export(&run, &out, &[]);
    assert!(code != Some(0) && said.contains("part-00000.parquet"), "{said}");
    assert_eq!(names(out.parent().unwrap()), BTreeSet::new());
}
