//! `difficulty`: how hard a problem is, by how many sampled answers of a model passed its tests.
//!
//! Of ten, none is `hard`, one to five are `medium`, six to nine `easy`. With another number it is the share that counts: up
//! to a half is `medium`. A problem that every answer passed is rejected as `too_easy`.

use std::sync::Arc;

use arrow_array::{Array, ArrayRef, Float64Array, RecordBatch, StringArray, UInt32Array};
use serde::Deserialize;

use super::registry::{Context, Spec};
use super::run_samples::Ran;
use super::{Change, Pure, Rejection, Stage, Work, depends_on};
use crate::error::Result;
use crate::frame::schema::strings;
use crate::stats::wilson;

/// The columns it adds.
const COLUMNS: [&str; 5] = ["pass_count", "pass_rate", "pass_rate_low", "pass_rate_high", "difficulty"];

/// Keys of the operator.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    /// Column with what became of the answers: see `run_samples`.
    #[serde(default = "samples")]
    samples: String,
}

fn samples() -> String {
    "samples".to_owned()
}

pub(super) fn build(spec: &Spec, _context: &Context<'_>) -> Result<Stage> {
    let config: Config = spec.config()?;
    Ok(Stage {
        name: spec.name.as_str().into(),
        op: "difficulty",
        needs: vec![config.samples.clone()],
        adds: COLUMNS.map(str::to_owned).to_vec(),
        drops: vec![],
        requests: None,
        fan_out: 1,
        depends: depends_on(config.samples.clone()),
        work: Work::Pure(Box::new(Difficulty { samples: config.samples })),
    })
}

struct Difficulty {
    samples: String,
}

/// The difficulty of a problem that `passed` of `all` answers solve; `None` when all do.
fn difficulty(passed: usize, all: usize) -> Option<&'static str> {
    match passed {
        0 => Some("hard"),
        _ if passed == all => None,
        _ if passed * 2 <= all => Some("medium"),
        _ => Some("easy"),
    }
}

impl Pure for Difficulty {
    fn apply(&self, batch: &RecordBatch) -> Result<Change> {
        let column = strings(batch, &self.samples)?;
        let mut rejected = Vec::new();
        let (mut counts, mut rates, mut lows, mut highs, mut names) =
            (vec![], vec![], vec![], vec![], vec![]);
        for row in 0..batch.num_rows() {
            let text = if column.is_valid(row) { column.value(row) } else { "" };
            let ran: Vec<Ran> = serde_json::from_str(text).unwrap_or_default();
            let (passed, all) = (ran.iter().filter(|ran| ran.passed).count(), ran.len());
            let name = difficulty(passed, all);
            if all == 0 {
                let detail = format!("`{}` holds no answers", self.samples);
                rejected.push(Rejection { row, reason: "bad_samples".into(), detail });
            } else if name.is_none() {
                let detail = format!("all {all} answers passed the tests");
                rejected.push(Rejection { row, reason: "too_easy".into(), detail });
            }
            let interval = wilson(passed as u64, all as u64);
            counts.push(passed as u32);
            rates.push(passed as f64 / all.max(1) as f64);
            lows.push(interval.low);
            highs.push(interval.high);
            names.push(name.unwrap_or("too_easy"));
        }
        let columns: [ArrayRef; 5] = [
            Arc::new(UInt32Array::from(counts)),
            Arc::new(Float64Array::from(rates)),
            Arc::new(Float64Array::from(lows)),
            Arc::new(Float64Array::from(highs)),
            Arc::new(StringArray::from(names)),
        ];
        Ok(Change {
            add: COLUMNS.iter().map(|name| (*name).to_owned()).zip(columns).collect(),
            rejected,
            ..Change::default()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_ten_and_of_any_other_number() {
        let of_ten: Vec<_> = (0..=10).map(|passed| difficulty(passed, 10)).collect();
        assert_eq!(of_ten[0], Some("hard"));
        assert!(of_ten[1..=5].iter().all(|name| *name == Some("medium")));
        assert!(of_ten[6..=9].iter().all(|name| *name == Some("easy")));
        assert_eq!(of_ten[10], None);
        let of = |all| (0..=all).map(|passed| difficulty(passed, all)).collect::<Vec<_>>();
        assert_eq!(of(1), [Some("hard"), None]);
        assert_eq!(of(3), [Some("hard"), Some("medium"), Some("easy"), None]);
        assert_eq!(of(4), [Some("hard"), Some("medium"), Some("medium"), Some("easy"), None]);
    }

    #[test]
    fn rows_get_their_rate_and_those_that_all_pass_leave() {
        let row = |passed: usize, all: usize| {
            let one = |n: usize| format!(r#"{{"code":"c","passed":{},"outcome":"o"}}"#, n < passed);
            format!("[{}]", (0..all).map(one).collect::<Vec<_>>().join(","))
        };
        let texts = [row(0, 10), row(5, 10), row(10, 10), row(2, 3), "[]".into(), "nonsense".into()];
        let column: ArrayRef = Arc::new(StringArray::from(texts.to_vec()));
        let batch = RecordBatch::try_from_iter([("samples", column)]).unwrap();
        let change = Difficulty { samples: "samples".into() }.apply(&batch).unwrap();
        let reasons: Vec<_> = change.rejected.iter().map(|r| (r.row, r.reason.as_str())).collect();
        assert_eq!(reasons, [(2, "too_easy"), (4, "bad_samples"), (5, "bad_samples")]);
        let changed = change.apply(&batch, &[]).unwrap();
        let names: Vec<_> = strings(&changed, "difficulty").unwrap().iter().flatten().collect();
        assert_eq!(names, ["hard", "medium", "easy"]);
        let numbers = |name: &str| {
            let column =
                changed.column_by_name(name).unwrap().as_any().downcast_ref::<Float64Array>().unwrap();
            column.values().to_vec()
        };
        assert_eq!(numbers("pass_rate"), [0.0, 0.5, 2.0 / 3.0]);
        // Wilson's interval of 5 of 10, from tables: 0.2366 to 0.7634.
        assert!((numbers("pass_rate_low")[1] - 0.2366).abs() < 1e-4);
        assert!((numbers("pass_rate_high")[1] - 0.7634).abs() < 1e-4);
        assert_eq!(numbers("pass_rate_low")[0], 0.0);
        assert!((numbers("pass_rate_high")[0] - 0.2775).abs() < 1e-4);
    }
}
