//! What the panes of a row say: prompt, reply, program, output and verdict of a stage.

use std::time::Duration;

use super::text;
use crate::analytics::rows::Record;
use crate::engine::trace::{Answered, Asked, Call, Visit};
use crate::sandbox::job::{Outcome, Usage, Verdict};
use crate::stages::{Answer, Resource};

/// Said where the journal has no answer to a request.
const NOT_IN_RUN: &str = "not in this run: this request has no answer here, or was made with other settings";
/// Said where a row left before a stage.
const NEVER_GOT_HERE: &str = "the row did not get here";

/// One pane.
#[derive(Debug, Default)]
pub struct Pane {
    /// What it shows.
    pub title: String,
    /// First line shown.
    pub scroll: usize,
    /// Whether it shows that a program passed or did not.
    pub passed: Option<bool>,
    text: String,
    /// The text in lines, for a width.
    wrapped: (usize, Vec<String>),
}

impl Pane {
    /// A pane that says `text`, which may be hostile.
    pub fn new(title: impl AsRef<str>, text: &str) -> Self {
        Self { title: text::line(title.as_ref()), text: text::shown(text), ..Self::default() }
    }

    /// The lines in sight of a pane of this size; the place is moved into the text where it is beyond its end.
    pub fn lines(&mut self, width: usize, height: usize) -> &[String] {
        if self.wrapped.0 != width {
            self.wrapped = (width, text::wrap(&self.text, width));
        }
        let lines = &self.wrapped.1;
        self.scroll = self.scroll.min(lines.len().saturating_sub(height));
        &lines[self.scroll..(self.scroll + height).min(lines.len())]
    }

    /// How many lines there are, at the width they were last shown with.
    pub fn len(&self) -> usize {
        self.wrapped.1.len()
    }
}

/// The pane with all columns of a row.
pub fn of_record(record: &Record) -> Pane {
    let mut said = String::new();
    for (name, value) in &record.columns {
        match value.contains('\n') {
            true => said += &format!("{}\n{value}\n\n", heading(name)),
            false => said += &format!("{name}: {value}\n"),
        }
    }
    Pane::new("row", said.trim_end())
}

/// The panes of the stage that `visits[at]` asked for; `chosen` says which call of each stage is shown. A stage that asks a
/// model is shown with the programs that its reply became, or else those that were run before, and one that runs programs with
/// the reply they come from.
pub fn of_stage(visits: &[Visit], at: usize, chosen: &[usize]) -> Vec<Pane> {
    let is = |at: &usize, resource| visits.get(*at).is_some_and(|visit| visit.resource == resource);
    let before = |resource| (0..at).rev().find(|before| is(before, resource));
    let (model, sandbox) = match is(&at, Resource::Model) {
        true if is(&(at + 1), Resource::Sandbox) => (Some(at), Some(at + 1)),
        true => (Some(at), before(Resource::Sandbox)),
        false => (before(Resource::Model), Some(at)),
    };
    let call = |at: usize| visits[at].calls.get(chosen.get(at).copied().unwrap_or(0));
    let title = |name: &str, at: Option<usize>| match at {
        Some(at) => format!("{name} · {}{}", visits[at].stage, place(&visits[at], chosen.get(at).copied())),
        None => name.to_owned(),
    };
    let asked = |at: Option<usize>, none: &str| match at {
        None => none.to_owned(),
        Some(at) => call(at).map_or_else(|| NEVER_GOT_HERE.to_owned(), asked),
    };
    let answer = |at: Option<usize>| match at.and_then(call) {
        None => Ok(""),
        Some(Call { answered: None, .. }) => Ok(NOT_IN_RUN),
        Some(Call { answered: Some(answered), .. }) => Err(answered),
    };
    let told = |at, tell: &dyn Fn(&Answered) -> String| match answer(at) {
        Ok(none) => none.to_owned(),
        Err(answered) => tell(answered),
    };
    let verdict = |at| match answer(at) {
        Err(Answered { answer: Answer::Sandbox(verdict), .. }) => Some(verdict),
        _ => None,
    };
    let mut panes = vec![
        Pane::new(title("prompt", model), &asked(model, "no model is asked before")),
        Pane::new(title("reply", model), &told(model, &reply)),
        Pane::new(title("program", sandbox), &asked(sandbox, "no program is run by then")),
        Pane::new("output", &verdict(sandbox).map(output).unwrap_or_default()),
        Pane::new("verdict", &told(sandbox, &verdict_lines)),
    ];
    panes[4].passed = verdict(sandbox).map(|verdict| verdict.outcome == Outcome::Passed);
    panes
}

/// ` 2/3` for the second of three calls.
fn place(visit: &Visit, chosen: Option<usize>) -> String {
    match visit.calls.len() {
        0 | 1 => String::new(),
        calls => format!(" {}/{calls}", chosen.unwrap_or(0) + 1),
    }
}

fn heading(name: &str) -> String {
    format!("── {name} ──")
}

/// `text` under a heading; nothing where there is no text.
fn section(name: &str, text: &str) -> Option<String> {
    (!text.trim().is_empty()).then(|| format!("{}\n{}\n", heading(name), text.trim_end_matches('\n')))
}

fn asked(call: &Call) -> String {
    match &call.asked {
        Asked::Prompt(messages) => {
            let said = messages.iter().filter_map(|message| section(&message.role, &message.content));
            said.collect::<Vec<_>>().join("\n")
        }
        Asked::Program(job) => {
            let tests = job.tests.as_deref().and_then(|tests| section("tests", tests));
            let rest = [tests, section("stdin", &job.stdin)].into_iter().flatten();
            let source = format!("{}\n", job.source.trim_end_matches('\n'));
            std::iter::once(source).chain(rest).collect::<Vec<_>>().join("\n")
        }
    }
}

fn reply(answered: &Answered) -> String {
    let Answer::Model(reply) = &answered.answer else { return String::new() };
    let facts = format!(
        "{} · {} · {} + {} tokens · {}{}\n",
        reply.model,
        reply.finish_reason,
        reply.prompt_tokens,
        reply.completion_tokens,
        seconds(reply.latency_ms),
        effort(answered),
    );
    let reasoning = section("reasoning", &reply.reasoning);
    let said = section("reply", &reply.output);
    [Some(facts), reasoning, said].into_iter().flatten().collect::<Vec<_>>().join("\n")
}

fn output(verdict: &Verdict) -> String {
    let stdout = verdict.stdout.trim_end_matches('\n');
    let stdout = (!stdout.is_empty()).then(|| format!("{stdout}\n"));
    let compiler = section("compiler", &verdict.compile_message);
    let all = [stdout, section("stderr", &verdict.stderr), compiler].into_iter().flatten();
    let said = all.collect::<Vec<_>>().join("\n");
    if said.is_empty() { "nothing was printed".to_owned() } else { said }
}

fn verdict_lines(answered: &Answered) -> String {
    let Answer::Sandbox(verdict) = &answered.answer else { return String::new() };
    let mut lines = vec![verdict.outcome.name().to_owned()];
    lines.extend(Some(verdict.reason.clone()).filter(|reason| !reason.is_empty()));
    let ended = match (verdict.exit_code, verdict.signal) {
        (_, Some(signal)) => Some(format!("ended by signal {signal}")),
        (Some(code), None) => Some(format!("exit code {code}")),
        (None, None) => None,
    };
    lines.extend(ended);
    lines.push(format!("run      {}", usage(&verdict.usage)));
    if let Some(compiling) = &verdict.compile_usage {
        let reused = if verdict.compile_reused { ", of an earlier job" } else { "" };
        lines.push(format!("compile  {}{reused}", usage(compiling)));
    }
    if verdict.truncated {
        lines.push("output is cut at the limit".to_owned());
    }
    if verdict.invalid_utf8 {
        lines.push("output is not UTF-8".to_owned());
    }
    lines.push(verdict.toolchain.clone());
    lines.push(format!("{}{}", verdict.isolation, effort(answered)));
    lines.join("\n")
}

fn usage(usage: &Usage) -> String {
    let mib = usage.peak_rss_bytes as f64 / f64::from(1 << 20);
    format!("{} CPU, {} wall, {mib:.1} MiB", seconds(usage.cpu_ms), seconds(usage.wall_ms))
}

fn seconds(ms: u64) -> String {
    format!("{:.2} s", Duration::from_millis(ms).as_secs_f64())
}

/// What an answer took besides time.
fn effort(answered: &Answered) -> String {
    let attempts = (answered.attempts > 1).then(|| format!(" · {} attempts", answered.attempts));
    let reused = answered.reused.then(|| " · reused".to_owned());
    attempts.into_iter().chain(reused).collect()
}
