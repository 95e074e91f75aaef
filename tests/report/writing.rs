//! Where the page is written.

use super::fixture::whole;
use super::{page, report};

#[test]
fn the_usual_place_is_rewritten_and_another_file_is_not() {
    let run = whole();
    std::fs::write(run.dir.join("report.html"), "an earlier one").unwrap();
    let first = page(&run.dir);
    let told = report(&run.dir, "");
    assert_eq!(
        told.stdout,
        format!("wrote {}: {} bytes\n", run.dir.join("report.html").display(), first.len())
    );

    let other = run.dir.parent().unwrap().join("folder/other.html");
    let to = format!("--out {}", other.display());
    assert_eq!(report(&run.dir, &to).code, 0, "folders are made");
    assert_eq!(std::fs::read_to_string(&other).unwrap(), first);
    std::fs::write(&other, "mine").unwrap();
    report(&run.dir, &to).says(2, &["is there already", "--overwrite"]);
    assert_eq!(std::fs::read_to_string(&other).unwrap(), "mine");
    assert_eq!(report(&run.dir, &format!("{to} --overwrite")).code, 0);
    assert_eq!(std::fs::read_to_string(&other).unwrap(), first);
    let left: Vec<_> = std::fs::read_dir(other.parent().unwrap()).unwrap().collect();
    assert_eq!(left.len(), 1, "{left:?}");
}

#[test]
fn what_cannot_be_written_or_read_is_told() {
    let run = whole();
    report(&run.dir, &format!("--out {}", run.dir.display())).says(2, &["is a directory"]);
    let nothing = tempfile::tempdir().unwrap();
    report(&nothing.path().join("none"), "").says(2, &["is not a run directory"]);
    let table = run.dir.join("stages.parquet");
    std::fs::write(&table, "no Parquet").unwrap();
    report(&run.dir, "").says(2, &["stages.parquet"]);
    assert!(!run.dir.join("report.html").exists());
}

#[test]
fn quiet_is_quiet_and_help_needs_no_run() {
    let run = whole();
    let quiet = report(&run.dir, "--quiet");
    assert_eq!((quiet.code, quiet.stderr.as_str()), (0, ""));
}
