//! `critic`: counts the votes of a reviewing model on eight rules, and rejects rows that break one.
//!
//! Reads the column that `model` writes with `samples_into`. Each vote is `{"rules": [{rule, defect, evidence, reason}]}`; `defect` is
//! true where the problem breaks the rule, and nothing else means anything. A finding counts when its evidence is really
//! quoted from the row; one that is not stays in the row as unsupported. A vote that cannot be read is none.

mod ballot;

use std::sync::Arc;

use arrow_array::{Array, RecordBatch, StringArray};
use rayon::prelude::*;
use serde::Deserialize;

use self::ballot::{Ballot, Vote};
use super::registry::{Context, Spec};
use super::sampled::{self, Sampled};
use super::{Change, Pure, Rejection, Stage, Work, depends_on};
use crate::error::{Error, Result};
use crate::frame::schema::strings;
use crate::text::quote::Quotable;

/// Keys of the operator.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    /// Column with the votes, which is dropped.
    votes: String,
    /// Columns that evidence is quoted from.
    evidence: Vec<String>,
    /// Votes that it takes to reject a row for a rule. Default: more than half of those that can be read.
    min_votes: Option<usize>,
    /// Column for what the votes found.
    #[serde(default = "critic")]
    into: String,
    /// Columns that are not needed any more.
    #[serde(default)]
    drop: Vec<String>,
}

fn critic() -> String {
    "critic".to_owned()
}

pub(super) fn build(spec: &Spec, _context: &Context<'_>) -> Result<Stage> {
    let config: Config = spec.config()?;
    let refused = |what: &str, hint: &str| Error::usage(format!("stage `{}`: {what}", spec.name)).hint(hint);
    if config.evidence.is_empty() {
        return Err(refused("`evidence` names no column", "name the columns that evidence is quoted from"));
    }
    if config.min_votes == Some(0) {
        return Err(refused(
            "`min_votes` is 0",
            "leave it out for a majority, or say how many votes it takes",
        ));
    }
    Ok(Stage {
        name: spec.name.as_str().into(),
        op: "critic",
        needs: [std::slice::from_ref(&config.votes), &config.evidence].concat(),
        adds: vec![config.into.clone()],
        drops: [std::slice::from_ref(&config.votes), &config.drop].concat(),
        requests: None,
        fan_out: 1,
        depends: depends_on(format!("{config:?}")),
        work: Work::Pure(Box::new(Critic { config })),
    })
}

struct Critic {
    config: Config,
}

impl Critic {
    /// What the votes on one row found; `texts` are what it may be quoted from.
    fn count(&self, votes: &[Sampled], texts: &[&str]) -> Ballot {
        let texts: Vec<Quotable> = texts.iter().map(|text| Quotable::new(text)).collect();
        let mut ballot = Ballot::default();
        for vote in votes.iter().filter(|vote| vote.problem.is_none()) {
            if let Ok(vote) = serde_json::from_str::<Vote>(&vote.output) {
                ballot.add(&vote, |quote| texts.iter().any(|text| text.says(quote)));
            }
        }
        ballot
    }

    fn rejection(&self, row: usize, ballot: &Ballot, asked: usize) -> Option<Rejection> {
        if ballot.votes == 0 {
            let detail = format!("none of {asked} votes can be read");
            return Some(Rejection { row, reason: "no_vote".into(), detail });
        }
        let needed = self.config.min_votes.unwrap_or(ballot.votes / 2 + 1);
        let (reason, detail) = ballot.broken(needed)?;
        Some(Rejection { row, reason, detail })
    }
}

impl Pure for Critic {
    fn apply(&self, batch: &RecordBatch) -> Result<Change> {
        let votes = sampled::read(batch, &self.config.votes)?;
        let columns =
            self.config.evidence.iter().map(|name| strings(batch, name)).collect::<Result<Vec<_>>>()?;
        let counted: Vec<(Result<String>, Option<Rejection>)> = votes
            .into_par_iter()
            .enumerate()
            .map(|(row, votes)| {
                let texts: Vec<&str> =
                    columns.iter().filter(|text| text.is_valid(row)).map(|text| text.value(row)).collect();
                let votes = votes.unwrap_or_default();
                let ballot = self.count(&votes, &texts);
                (sampled::text(&ballot.findings), self.rejection(row, &ballot, votes.len()))
            })
            .collect();
        let (texts, rejections): (Vec<_>, Vec<_>) = counted.into_iter().unzip();
        let texts: StringArray = texts.into_iter().collect::<Result<Vec<_>>>()?.into();
        Ok(Change {
            add: vec![(self.config.into.clone(), Arc::new(texts))],
            rejected: rejections.into_iter().flatten().collect(),
            ..Change::default()
        })
    }
}
