//! What a trace finds of a row: what was sent and what was answered, or that it is not there.

use autocodegen::engine::trace::{Asked, Trace, Visit};
use autocodegen::frame::run_dir::RunDir;
use autocodegen::sandbox::job::Outcome;
use autocodegen::stages::Answer;
use serde_json::Value;

use crate::common;
use crate::run::{RUN, copy, dir, id, snippet};

fn trace(run: &std::path::Path, row: &str) -> Vec<Visit> {
    Trace::open(RunDir::open_read_only(run).unwrap()).unwrap().row(row).unwrap()
}

/// Prompt, reply and verdict of a row's stages, as far as it has them.
fn told(visit: &Visit, call: usize) -> (String, String) {
    let call = &visit.calls[call];
    let asked = match &call.asked {
        Asked::Prompt(messages) => serde_json::to_string(&**messages).unwrap(),
        Asked::Program(job) => format!("{}|{}", job.source, job.tests.as_deref().unwrap_or_default()),
    };
    let answer = match call.answered.as_ref().map(|answered| &answered.answer) {
        None => "none".to_owned(),
        Some(Answer::Model(reply)) => reply.output.clone(),
        Some(Answer::Sandbox(verdict)) => format!("{} {}", verdict.outcome.name(), verdict.stdout),
    };
    (asked, answer)
}

#[test]
fn prompts_are_those_that_were_exported_and_answers_those_that_were_given() {
    let (Some(root), Some(run)) = (RUN.as_ref(), dir()) else { return };
    let out = root.path().join("prompts.jsonl");
    let arguments =
        format!("export --run run --format jsonl --with-prompts --overwrite --out {}", out.display());
    common::ended(common::command(root.path(), &arguments).output().unwrap()).says(0, &[]);
    let rows = common::records(&out);
    assert!(rows.len() > 10);
    let opened = Trace::open(RunDir::open_read_only(&run).unwrap()).unwrap();
    for row in rows {
        let id = row["id"].as_str().unwrap();
        let sample: usize = id.rsplit('.').next().unwrap().parse().unwrap();
        let visits = opened.row(id).unwrap();
        let stages: Vec<&str> = visits.iter().map(|visit| &*visit.stage).collect();
        assert_eq!(stages, ["solution.reply", "verify", "question.reply"]);
        assert_eq!((visits[0].calls.len(), visits[0].own), (2, sample));
        let prompt = |asked: &str| serde_json::from_str::<Value>(asked).unwrap();
        let (asked, reply) = told(&visits[0], sample);
        assert_eq!(prompt(&asked), row["solution_messages"]);
        assert!(reply.starts_with(&format!("Sample {sample}.")), "{reply}");
        let (program, verdict) = told(&visits[1], 0);
        let parts = [&row["canonical_solution"], &row["full_test_func"]].map(|part| part.as_str().unwrap());
        assert!(parts.iter().all(|part| program.contains(part.trim_end())), "{program}");
        assert!(verdict.starts_with("PASSED right"), "{verdict}");
        let (asked, reply) = told(&visits[2], 0);
        assert_eq!(
            (prompt(&asked), reply.as_str()),
            (row["question_messages"].clone(), row["question"].as_str().unwrap())
        );
    }
}

#[test]
fn a_rejected_row_has_what_it_had_so_far() {
    let Some(run) = dir() else { return };
    let no_program = trace(&run, &format!("{}.1", id(4)));
    assert_eq!(no_program.iter().map(|visit| visit.calls.len()).collect::<Vec<_>>(), [2, 0, 0]);
    assert!(
        told(&no_program[0], 1).0.contains("snippet-4") && told(&no_program[0], 1).1.starts_with("sorry")
    );
    let wrong = trace(&run, &format!("{}.1", id(3)));
    assert_eq!(wrong.iter().map(|visit| visit.calls.len()).collect::<Vec<_>>(), [2, 1, 0]);
    let Answer::Sandbox(verdict) = &wrong[1].calls[0].answered.as_ref().unwrap().answer else { panic!() };
    assert_eq!((verdict.outcome, verdict.exit_code), (Outcome::RuntimeError, Some(1)));
    assert!(verdict.stdout.starts_with("wrong 3.1") && verdict.stderr.starts_with("wrong 3.1"));
    let unknown = Trace::open(RunDir::open_read_only(&run).unwrap()).unwrap().row("nobody").unwrap_err();
    assert!(unknown.to_string().contains("nobody"), "{unknown}");
}

#[test]
fn an_answer_that_is_not_there_is_none() {
    let Some(copied) = copy() else { return };
    let run = copied.path().join("run");
    std::fs::remove_dir_all(run.join("verdicts")).unwrap();
    std::fs::remove_dir_all(run.join("journal")).unwrap();
    let visits = trace(&run, &format!("{}.0", id(0)));
    assert!(visits.iter().flat_map(|visit| &visit.calls).all(|call| call.answered.is_none()));
    let (asked, answer) = told(&visits[0], 0);
    assert_eq!(answer, "none");
    assert!(asked.contains(&serde_json::to_string(&snippet(0)).unwrap().trim_matches('"').to_owned()));
}
