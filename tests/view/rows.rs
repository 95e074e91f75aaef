//! Where rows are listed, in runs that are done, killed, or have rows pending; and which of them a filter leaves.

use std::collections::BTreeSet;
use std::path::Path;

use arrow_select::concat::concat_batches;
use autocodegen::analytics::rows::{Filter, Listed, Listing};
use autocodegen::engine::listing::listing;
use autocodegen::frame::part;
use autocodegen::frame::run_dir::RunDir;

use crate::run::{SEEDS, copy, dir, id, set_state};

fn list(run: &Path) -> Listing {
    listing(&RunDir::open_read_only(run).unwrap()).unwrap().rows
}

fn all(rows: &Listing) -> Vec<Listed> {
    rows.read(&(0..rows.len()).collect::<Vec<_>>()).unwrap()
}

fn find(rows: &Listing, filter: &Filter) -> Vec<u64> {
    let (mut found, mut scanned) = (Vec::new(), 0);
    rows.find(filter, &mut |progress| {
        assert!(progress.scanned >= scanned);
        scanned = progress.scanned;
        found.extend_from_slice(progress.found);
        true
    })
    .unwrap();
    assert_eq!(scanned, rows.len());
    found
}

fn wanted(change: impl Fn(&mut Filter)) -> Filter {
    let mut filter = Filter::default();
    change(&mut filter);
    filter
}

/// What is in a place, without saying in which order.
fn kinds(rows: &[Listed]) -> BTreeSet<(String, String, String)> {
    rows.iter().map(|row| (row.id.clone(), row.stage.clone(), row.reason.clone())).collect()
}

#[test]
fn every_row_is_listed_where_it_ended() {
    let Some(run) = dir() else { return };
    let rows = all(&list(&run));
    let mut expected = BTreeSet::new();
    for n in 0..SEEDS {
        for sample in 0..2 {
            let (stage, reason) = match n {
                n if n % 5 == 4 => ("solution.extract", "block_count"),
                n if n % 4 == 3 && sample == 1 => ("verify.keep", "RUNTIME_ERROR"),
                _ => ("dataset", ""),
            };
            expected.insert((format!("{}.{sample}", id(n)), stage.to_owned(), reason.to_owned()));
        }
    }
    expected.insert((String::new(), "seed".to_owned(), "language_unknown".to_owned()));
    assert_eq!(kinds(&rows), expected);
    assert!(rows.iter().all(|row| !row.about.is_empty() && row.about.chars().count() <= 200), "{rows:#?}");
    let counted = list(&run).kinds().unwrap();
    assert_eq!(counted.values().sum::<u64>(), rows.len() as u64);
    assert_eq!(counted[&["shell", "solution.extract", "block_count"].map(str::to_owned)], 4);
}

#[test]
fn rows_are_read_by_number_wherever_they_lie() {
    let Some(run) = dir() else { return };
    let rows = list(&run);
    let listed = all(&rows);
    for numbers in [vec![0], vec![rows.len() - 1], vec![1, 5, 17, 18, rows.len() - 1], vec![]] {
        let read = rows.read(&numbers).unwrap();
        let expected: Vec<_> = numbers.iter().map(|at| listed[*at as usize].clone()).collect();
        assert_eq!(read, expected);
    }
    assert!(rows.read(&[rows.len()]).is_err());
    let record = rows.record(0).unwrap();
    let names: Vec<&str> = record.columns.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names[..5], ["id", "language", "question", "canonical_solution", "full_test_func"]);
    let rejected = find(&rows, &wanted(|filter| filter.reason = Some("RUNTIME_ERROR".into())));
    let record = rows.record(rejected[0]).unwrap();
    let names: Vec<&str> = record.columns.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names[..3], ["stage", "reason", "detail"]);
    assert!(names.contains(&"canonical_solution") && names.contains(&"origin"), "{names:?}");
}

#[test]
fn filters_leave_what_they_say() {
    let Some(run) = dir() else { return };
    let rows = list(&run);
    let listed = all(&rows);
    let count = |filter: &Filter| find(&rows, filter).len();
    assert_eq!(count(&Filter::default()), listed.len());
    for stage in ["dataset", "solution.extract", "verify.keep", "seed", "nowhere"] {
        let found = find(&rows, &wanted(|filter| filter.stage = Some(stage.into())));
        let expected: Vec<u64> = (0..rows.len()).filter(|at| listed[*at as usize].stage == stage).collect();
        assert_eq!(found, expected, "{stage}");
    }
    assert_eq!(count(&wanted(|filter| filter.language = Some("python".into()))), 0);
    let searched = |text: &str| count(&wanted(|filter| filter.text = Some(text.into())));
    // Both samples, in the snippet, also where the row was rejected; and whatever the case.
    assert_eq!((searched("snippet-3"), searched("SNIPPET-4 #"), searched(&id(9)[..20])), (2, 2, 2));
    // Programs and questions, with characters that JSON escapes.
    assert_eq!((searched("'wrong 7.1"), searched("Say 0.1 \u{1b}"), searched("say\nsay >&2")), (1, 1, 20));
    // Not the names of columns, nor the columns that are neither.
    assert_eq!((searched("canonical_solution"), searched("no such text")), (0, 0));
    let both = wanted(|filter| {
        filter.stage = Some("verify.keep".into());
        filter.text = Some("snippet-7".into());
    });
    assert_eq!(count(&both), 1);
}

#[test]
fn a_search_stops_when_it_is_told_to() {
    let Some(run) = dir() else { return };
    let mut told = 0;
    list(&run)
        .find(&Filter::default(), &mut |_| {
            told += 1;
            false
        })
        .unwrap();
    assert_eq!(told, 1);
}

#[test]
fn a_run_that_was_killed_has_the_same_rows_in_its_parts() {
    let (Some(run), Some(copied)) = (dir(), copy()) else { return };
    let killed = copied.path().join("run");
    set_state(&killed, "running");
    for table in ["dataset", "rejected"] {
        std::fs::remove_dir_all(killed.join(table)).unwrap();
    }
    assert_eq!(kinds(&all(&list(&killed))), kinds(&all(&list(&run))));
    // The second partition has not got past the sandbox, and nothing is known of the first.
    let remove = |part: &str| std::fs::remove_file(killed.join("stages").join(part)).unwrap();
    remove("question.reply/part-00001.parquet");
    for stage in ["solution.reply", "verify", "question.reply"] {
        remove(&format!("{stage}/part-00000.parquet"));
    }
    let rows = all(&list(&killed));
    let waiting: Vec<(&str, &str)> = rows
        .iter()
        .filter(|row| row.reason == "pending")
        .map(|row| (row.id.as_str(), row.stage.as_str()))
        .collect();
    let seeds: Vec<String> = (0..8).map(id).collect();
    let mut expected: Vec<(String, &str)> = seeds.into_iter().map(|id| (id, "solution.reply")).collect();
    for (n, sample) in [(8, 0), (8, 1), (10, 0), (10, 1), (11, 0)] {
        expected.push((format!("{}.{sample}", id(n)), "question.reply"));
    }
    let expected: Vec<(&str, &str)> = expected.iter().map(|(id, stage)| (id.as_str(), *stage)).collect();
    assert_eq!(waiting, expected);
}

#[test]
fn rows_that_wait_for_an_answer_are_listed_where_they_wait() {
    let Some(copied) = copy() else { return };
    let run = copied.path().join("run");
    set_state(&run, "pending");
    // As the engine leaves it: a part that is not whole, without the rows that have no answer.
    for (stage, kept) in [("verify", 2..7), ("question.reply", 2..5)] {
        let sealed = run.join("stages").join(stage).join("part-00000.parquet");
        let (batches, metadata) = part::read(&sealed).unwrap();
        let rows = concat_batches(&batches[0].schema(), &batches).unwrap().slice(kept.start, kept.len());
        let aside = sealed.with_extension("unsealed.parquet");
        part::seal(&aside, &rows.schema(), &[rows], &metadata).unwrap();
        std::fs::remove_file(&sealed).unwrap();
    }
    let rows = all(&list(&run));
    let waiting: Vec<(String, String)> = rows
        .iter()
        .filter(|row| row.reason == "pending")
        .map(|row| (row.id.clone(), row.stage.clone()))
        .collect();
    let at = |n: usize, sample: usize, stage: &str| (format!("{}.{sample}", id(n)), stage.to_owned());
    // Rows 2 to 6 of the first partition came through `verify`, and of these the first three further.
    assert_eq!(
        waiting,
        [
            at(0, 0, "verify"),
            at(0, 1, "verify"),
            at(5, 0, "verify"),
            at(5, 1, "verify"),
            at(6, 0, "verify"),
            at(6, 1, "verify"),
            at(7, 0, "verify"),
            at(2, 1, "question.reply"),
            at(3, 0, "question.reply"),
        ]
    );
}
