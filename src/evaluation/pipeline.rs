//! The pipeline of an evaluation: ask, extract, run, score; as often as there are rounds.

use super::answers::Kind;
use crate::error::Result;
use crate::plan::pipeline::Pipeline;

/// Name of the pipeline.
pub const NAME: &str = "evaluate";
/// Column with a model's answer.
pub const OUTPUT: &str = "output";
/// Column with the program that was run.
pub const PROGRAM: &str = "program";
/// Templates of the prompt for base models.
pub const COMPLETION: &str = "completion";
/// CPU time of a program, ms: what the reference allows.
const CPU_MS: u64 = 30_000;

/// How the model is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asking {
    /// Step of the prompt's templates: `answer`, or [`COMPLETION`].
    pub template: &'static str,
    /// Answers to each problem.
    pub samples: u32,
    /// Times that a problem is asked, at most: from the second on with what was wrong with the last answer.
    pub rounds: u32,
}

/// What an evaluation does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape<'a> {
    /// How the model is asked, where it is.
    pub asking: Option<Asking>,
    /// Column with the answers.
    pub answer: &'a str,
    /// What the answers are.
    pub kind: Kind,
    /// Whether there are public tests apart.
    pub demo: bool,
    /// Whether problems are beginnings of programs.
    pub continues: bool,
    /// Whether a pass must be earned.
    pub strict: bool,
}

impl Shape<'_> {
    /// The pipeline.
    ///
    /// # Errors
    /// None for the shapes there are; a defect otherwise.
    pub fn pipeline(&self) -> Result<Pipeline> {
        Pipeline::parse("the pipeline of the evaluation", &self.text())
    }

    /// The pipeline as the file that it could come from.
    fn text(&self) -> String {
        let samples = self.asking.map_or(1, |asking| asking.samples);
        // One answer is the likeliest; several have to differ.
        let temperature = if samples > 1 { 0.7 } else { 0.0 };
        let mut text = format!(
            "# Made by `autocodegen evaluate`: answers in, scores out.\nname = \"{NAME}\"\n\
             description = \"problem -> answer -> program -> what its tests came to\"\n\n\
             [model]\ntemperature = {temperature:?}\nmax_tokens = 4096\n"
        );
        let rounds = self.asking.map_or(1, |asking| asking.rounds);
        for round in 1..=rounds {
            if let Some(asking) = self.asking {
                text += &ask(asking, round);
            }
            text += &self.check(round);
        }
        let mut drop = vec!["question", "canonical_solution", "retry", "full_test_func"];
        drop.extend(self.demo.then_some("demo_test_func"));
        drop.extend(self.continues.then_some(["prompt", "entry_point"]).into_iter().flatten());
        drop.extend((rounds > 1).then_some("turns"));
        drop.extend(self.asking.filter(|asking| asking.template == COMPLETION).map(|_| "shots"));
        let first = ["id", "problem_id", "sample", "language", "passed"];
        text += &stage("scores", "select", &format!("first = {first:?}\ndrop = {drop:?}"));
        text
    }

    /// Extract, run, score.
    fn check(&self, round: u32) -> String {
        let tests =
            if self.demo { "[\"demo_test_func\", \"full_test_func\"]" } else { "[\"full_test_func\"]" };
        let again = if round > 1 { "\nwhere = \"retry\"" } else { "" };
        stage(
            &named("extract", round),
            "extract_answer",
            &format!(
                "from = {:?}\ninto = \"{PROGRAM}\"\nas = \"{}\"\ncontinues = {}",
                self.answer,
                self.kind.name(),
                self.continues
            ),
        ) + &stage(
            &named("check", round),
            "run",
            &format!(
                "solution = \"{PROGRAM}\"\ntests = {tests}\nstrict = {}\nlimits = {{ cpu_ms = {CPU_MS} }}{again}",
                self.strict
            ),
        ) + &stage(&named("score", round), "score", &format!("tests = {tests}\nround = {round}"))
    }
}

/// Prompt and model.
fn ask(asking: Asking, round: u32) -> String {
    let mut text =
        stage(&named("answer.prompt", round), "prompt", &format!("template = \"{}\"", asking.template));
    let mut keys = "on_length = \"keep\"\non_content_filter = \"keep\"\non_refusal = \"keep\"".to_owned();
    if round > 1 {
        let first = round == 2;
        text += &stage(
            &named("answer.turns", round),
            "converse",
            &format!("template = \"feedback\"\nfirst = {first}"),
        );
        keys += "\nwhere = \"retry\"";
    } else {
        keys += &format!("\nsamples = {}", asking.samples);
    }
    text + &stage(&named("answer", round), "model", &keys)
}

/// `answer` in the first round, `round2.answer` in the second.
fn named(name: &str, round: u32) -> String {
    if round == 1 { name.to_owned() } else { format!("round{round}.{name}") }
}

fn stage(name: &str, op: &str, keys: &str) -> String {
    format!("\n[[stage]]\nname = \"{name}\"\nop = \"{op}\"\n{keys}\n")
}
