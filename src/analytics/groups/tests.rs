//! Counted answers are those that polars gives, over tables with nulls, odd texts, and several files.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use arrow_array::{ArrayRef, Float64Array, Int32Array, Int64Array, RecordBatch, StringArray, UInt64Array};
use polars::prelude::{DataFrame, IntoLazy, ScanArgsParquet};
use polars::sql::SQLContext;

use super::counted;
use crate::analytics::output::{Format, render};
use crate::analytics::{collect, scan};
use crate::frame::dataset::{self, DatasetWriter};

struct Tables {
    _root: tempfile::TempDir,
    files: BTreeMap<&'static str, Vec<PathBuf>>,
    context: SQLContext,
}

fn tables(rows: usize) -> Tables {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("runs");
    let mut writer = None;
    for start in (0..rows).step_by(1_000) {
        let numbers = || start..rows.min(start + 1_000);
        let text = |of: &dyn Fn(usize) -> Option<&'static str>| -> ArrayRef {
            Arc::new(numbers().map(of).collect::<StringArray>())
        };
        let mixed = |n: usize| n.wrapping_mul(0x9e37_79b9) >> 7;
        let batch = RecordBatch::try_from_iter([
            ("language", text(&|n| [Some("go"), Some("it's"), None, Some("")][mixed(n) % 4])),
            ("outcome", text(&|n| [Some("PASSED"), Some("WRONG"), Some("PASSED")][mixed(n) / 4 % 3])),
            ("id", Arc::new(StringArray::from_iter_values(numbers().map(|n| n.to_string()))) as ArrayRef),
            ("wall", Arc::new(UInt64Array::from_iter_values(numbers().map(|n| (mixed(n) % 90_000) as u64)))),
            (
                "cpu",
                Arc::new(
                    numbers()
                        .map(|n| (n % 5 > 0).then_some(mixed(n) as i64 % 700 - 350))
                        .collect::<Int64Array>(),
                ),
            ),
            ("small", Arc::new(Int32Array::from_iter_values(numbers().map(|n| n as i32 % 7)))),
            ("part", Arc::new(Float64Array::from_iter_values(numbers().map(|n| n as f64 / 3.0)))),
        ])
        .unwrap();
        let writer = writer.get_or_insert_with(|| {
            DatasetWriter::create(&dir, &batch.schema(), &BTreeMap::new()).unwrap().rows_per_file(4_000)
        });
        writer.write(&batch).unwrap();
    }
    writer.unwrap().finish().unwrap();
    let files = dataset::files(&dir).unwrap();
    let context = SQLContext::new();
    context.register("runs", scan(&files, ScanArgsParquet::default()).unwrap());
    Tables { _root: root, files: BTreeMap::from([("runs", files)]), context }
}

fn text(mut frame: DataFrame) -> String {
    let types: Vec<String> = frame.dtypes().iter().map(|of| format!("{of:?}")).collect();
    format!("{types:?}\n{}", String::from_utf8(render(&mut frame, Format::Table).unwrap()).unwrap())
}

/// The answers of polars, and of polars after counting.
fn both(tables: &mut Tables, sql: &str) -> (String, Option<String>) {
    let plain = text(tables.context.execute(sql).and_then(collect).unwrap());
    let counted = counted(sql, &tables.files).map(|counted| {
        for (name, groups) in counted.tables {
            tables.context.register(&name, groups.lazy());
        }
        text(tables.context.execute(&counted.sql).and_then(collect).unwrap())
    });
    (plain, counted)
}

#[test]
fn groups_are_counted_as_polars_counts_them() {
    let mut tables = tables(9_500);
    for sql in [
        "SELECT language, COUNT(*) AS n FROM runs GROUP BY language ORDER BY language",
        "SELECT language, outcome, COUNT(*) AS n, SUM(wall) AS w, MIN(cpu) AS a, MAX(cpu) AS b
           FROM runs GROUP BY language, outcome ORDER BY language, outcome",
        "SELECT outcome, AVG(cpu) AS m, MEDIAN(wall) AS w, QUANTILE_CONT(cpu, 0.9) AS q, COUNT(cpu) AS c, SUM(cpu) AS s
           FROM runs GROUP BY outcome ORDER BY outcome",
        "SELECT language, ROUND(100.0 * AVG(CASE WHEN outcome = 'PASSED' THEN 1.0 ELSE 0.0 END), 1) AS rate,
           SUM(CASE WHEN outcome = 'PASSED' THEN 1 ELSE 0 END) AS passed, COUNT(language) AS known,
           1.0 * SUM(wall) / COUNT(*) AS mean FROM runs GROUP BY language ORDER BY language",
        "SELECT language AS l, 'x' AS x, COUNT(*) AS n, MEDIAN(cpu) AS m FROM runs
           WHERE wall > 40000 AND outcome <> 'WRONG' AND cpu <= 10 GROUP BY language ORDER BY l",
        "SELECT outcome, COUNT(*) AS n FROM runs WHERE language IS NULL OR language = 'it''s' GROUP BY outcome ORDER BY outcome",
        "SELECT outcome, COUNT(*) AS n, SUM(small) AS s FROM runs WHERE wall < 0 GROUP BY outcome",
        "SELECT language, SUM(LENGTH(outcome)) AS s, MIN(LENGTH(language)) AS k FROM runs GROUP BY language ORDER BY s",
        "SELECT 'a' AS part, language, COUNT(*) AS n FROM runs GROUP BY language
           UNION ALL SELECT 'b' AS part, outcome AS language, MAX(wall) AS n FROM runs GROUP BY outcome ORDER BY part, language",
        "WITH groups AS (SELECT language, COUNT(*) AS n FROM runs GROUP BY language)
           SELECT SUM(n) AS n FROM groups WHERE language IS NOT NULL",
    ] {
        let (plain, counted) = both(&mut tables, sql);
        assert_eq!(counted.as_deref(), Some(plain.as_str()), "{sql}");
    }
}

#[test]
fn other_questions_are_left_to_polars() {
    let mut tables = tables(9_500);
    for sql in [
        "SELECT COUNT(*) AS n FROM runs",
        "SELECT id, COUNT(*) AS n FROM runs GROUP BY id ORDER BY id LIMIT 3",
        "SELECT wall, COUNT(*) AS n FROM runs GROUP BY wall ORDER BY wall LIMIT 3",
        "SELECT language, COUNT(DISTINCT outcome) AS n FROM runs GROUP BY language ORDER BY language",
        "SELECT language, COUNT(*) AS n FROM runs GROUP BY language HAVING COUNT(*) > 5 ORDER BY language",
        "SELECT language, COUNT(*) FROM runs GROUP BY language ORDER BY language",
        "SELECT language, SUM(wall + cpu) AS n FROM runs GROUP BY language ORDER BY language",
        "SELECT language, SUM(part) AS n FROM runs GROUP BY language ORDER BY language",
        "SELECT language, STDDEV(wall) AS n FROM runs GROUP BY language ORDER BY language",
        "SELECT language, MIN(outcome) AS n FROM runs GROUP BY language ORDER BY language",
        "SELECT language, MAX(wall) AS n FROM runs WHERE wall < cpu GROUP BY language ORDER BY language",
        "SELECT UPPER(language) AS u, COUNT(*) AS n FROM runs GROUP BY UPPER(language) ORDER BY u",
        "SELECT r.language, COUNT(*) AS n FROM runs AS r GROUP BY r.language ORDER BY n",
        "SELECT a.language AS language, COUNT(*) AS n FROM runs AS a JOIN runs AS b ON a.id = b.id GROUP BY a.language ORDER BY n",
        "WITH runs AS (SELECT 'x' AS language) SELECT language, COUNT(*) AS n FROM runs GROUP BY language",
    ] {
        let (_, counted) = both(&mut tables, sql);
        assert_eq!(counted, None, "{sql}");
    }
    assert!(super::counted("SELECT", &tables.files).is_none());
    let files = BTreeMap::from([("runs", vec![PathBuf::from("/nowhere.parquet")])]);
    assert!(super::counted("SELECT a, COUNT(*) AS n FROM runs GROUP BY a", &files).is_none());
}
