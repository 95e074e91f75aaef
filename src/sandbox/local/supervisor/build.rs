//! From a job to a program that is ready to run: reused, made by a compiler that stays, or by the plain command.

use std::sync::Arc;

use super::super::judge;
use super::super::pack::Pack;
use super::super::protocol::Surroundings;
use super::compiler::Compiled;
use super::reuse::{Key, Made, Refusal, Turn};
use super::work::{Command, Work};
use super::{LocalSandbox, Prepared, compile_message, environment, fault, is_elsewhere, usage};
use crate::error::Fault;
use crate::sandbox::job::{Outcome, Usage};

/// What compiling came to.
pub(super) struct Built {
    /// Where the program is, or what its compiler said against it.
    pub result: Result<Work, Refusal>,
    /// What compiling took, where the language compiles.
    pub usage: Option<Usage>,
    /// Whether that was done for an earlier job.
    pub reused: bool,
}

impl Prepared<'_> {
    pub(super) fn command(&self, command: &[String]) -> Command {
        Command {
            argv: self.toolchain.expand(command, &self.program.file_name),
            env: environment(self.language, self.toolchain, self.variation),
            limits: self.limits,
            stdin: String::new(),
            asked_to_complete: false,
            served: None,
        }
    }

    /// The command that runs the program.
    pub(super) fn run_command(&self) -> Command {
        let mut command = self.command(&self.program.run);
        if self.variation > 0 {
            let more = self.toolchain.expand(&self.language.vary_arguments, &self.program.file_name);
            command.argv.splice(1..1, more);
        }
        command
    }

    /// The files of the work folder, by name.
    fn files(&self) -> Vec<(String, Vec<u8>)> {
        let program = &self.program;
        let mut files: Vec<_> =
            program.files.iter().map(|(name, text)| (name.clone(), text.clone().into_bytes())).collect();
        files.push((program.file_name.clone(), program.source.clone().into_bytes()));
        files
    }

    fn surroundings(&self) -> Surroundings {
        Surroundings {
            view: self.view.clone(),
            file_bytes: self.limits.file_bytes,
            elsewhere: is_elsewhere(self.variation),
            interpreter: None,
        }
    }
}

impl LocalSandbox {
    /// The job's place among those whose compile steps are the same. Repeated runs have none: they are to show whether
    /// compiling is flaky, too.
    pub(super) async fn turn(&self, job: &Prepared<'_>) -> Turn<'_> {
        match (job.variation, self.compile_key(job)) {
            (0, Some(key)) => self.store.turn(key).await,
            _ => Turn::alone(),
        }
    }

    /// A hash of everything a compile step is given.
    fn compile_key(&self, job: &Prepared<'_>) -> Option<Key> {
        let command = job.command(job.program.compile.as_ref()?);
        let facts = (
            (&job.language.name, &job.toolchain.version, &self.isolation, job.strict),
            (command.argv, command.env, job.limits, &job.view),
            (&job.program.files, &job.program.file_name, &job.program.source),
        );
        Some(*blake3::hash(&serde_json::to_vec(&facts).ok()?).as_bytes())
    }

    pub(super) async fn build(&self, job: &Prepared<'_>, turn: &mut Turn<'_>) -> Result<Built, Fault> {
        let Some(compile) = &job.program.compile else {
            let interpreter = job.interpreter(&job.run_command());
            let surroundings = Surroundings { interpreter, ..job.surroundings() };
            let work = Work::open(self.connection()?, surroundings, job.files(), 1)?;
            return Ok(Built { result: Ok(work), usage: None, reused: false });
        };
        if let Some(made) = turn.found.clone() {
            return self.open(job, &made, true);
        }
        let mut files = job.files();
        if let Some(compiled) = self.compile_in_server(job, &files).await {
            let made = Arc::new(made(compiled, &mut files));
            turn.publish(&made);
            return self.open(job, &made, false);
        }
        let work = Work::open(self.connection()?, job.surroundings(), files, 2)?;
        let run = work.run(job.command(compile)).await?;
        let usage = usage(&run);
        let result = match judge::compiling(&run) {
            Some((outcome, reason)) => Err(Refusal {
                outcome,
                reason,
                message: compile_message(&run),
                exit_code: run.report.exit_code,
                signal: run.report.signal,
                truncated: run.stdout.truncated || run.stderr.truncated,
            }),
            None => Ok(work),
        };
        match &result {
            // An end by a limit or a signal may be the machine's doing.
            Err(refusal) => {
                if refusal.outcome == Outcome::CompilationError && refusal.exit_code.is_some() {
                    turn.publish(&Arc::new(Made { usage, result: Err(refusal.clone()) }));
                }
            }
            // Before the program runs, which may change all of it.
            Ok(_) => {
                if let (Some(folder), Some(most)) = (run.left, turn.most_bytes()) {
                    let collected = tokio::task::spawn_blocking(move || Pack::collect(&folder, most)).await;
                    match collected.map_err(|error| fault("pack", &error))? {
                        Ok(Some(pack)) => turn.publish(&Arc::new(Made { usage, result: Ok(pack) })),
                        Ok(None) => {}
                        Err(error) => tracing::debug!("a compiled program is not kept: {error}"),
                    }
                }
            }
        }
        Ok(Built { result, usage: Some(usage), reused: false })
    }

    fn open(&self, job: &Prepared<'_>, made: &Made, reused: bool) -> Result<Built, Fault> {
        let result = match &made.result {
            Ok(pack) => Ok(Work::open_packed(self.connection()?, job.surroundings(), pack)?),
            // A program that is refused needs no jail.
            Err(refusal) => Err(refusal.clone()),
        };
        Ok(Built { result, usage: Some(made.usage), reused })
    }
}

/// What a compiler that stays has made of `files`.
fn made(compiled: Compiled, files: &mut Vec<(String, Vec<u8>)>) -> Made {
    let result = match compiled.refused {
        None => {
            files.extend(compiled.files);
            Ok(Pack::of(files))
        }
        Some(reason) => Err(Refusal {
            outcome: Outcome::CompilationError,
            reason,
            message: compiled.message,
            exit_code: Some(compiled.exit_code),
            signal: None,
            truncated: false,
        }),
    };
    Made { usage: compiled.usage, result }
}
