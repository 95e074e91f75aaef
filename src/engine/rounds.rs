//! A run whose model answers in batches: passes over the rows, until nothing is left to be asked.
//!
//! A pass takes every row as far as the journal's answers go and gathers the requests that come next; rows wait for
//! nothing and are not held. When answers have come back, the next pass finds them in the journal.

use std::pin::pin;
use std::sync::Arc;

use super::{Engine, Outcome};
use crate::error::Result;
use crate::llm::batch::{Driver, Gatherer, News};

/// Runs `engine`, whose model is `gatherer`, until `driver` has brought all answers that are to be had.
///
/// # Errors
/// Those of [`Engine::run`]; the batch service cannot be used. What is at the service goes on there.
pub async fn run(engine: &Arc<Engine>, gatherer: &Gatherer, driver: &mut Driver) -> Result<Outcome> {
    let journal = |stage: &str| engine.calls.journal(stage);
    loop {
        engine.calls.observer().restart();
        gatherer.begin_pass();
        let (mut changed, mut failed) = (false, false);
        let outcome = {
            let mut pass = pin!(engine.run());
            loop {
                tokio::select! {
                    outcome = &mut pass => break outcome?,
                    news = driver.news(&journal), if !failed => match news {
                        Ok(_) => changed = true,
                        Err(error) => {
                            engine.calls.stop.fail(error);
                            failed = true;
                        }
                    },
                }
            }
        };
        gatherer.end_pass()?;
        if outcome.stopped.is_some() {
            return Ok(outcome);
        }
        if changed {
            continue;
        }
        let stop = &engine.calls.stop;
        let news = tokio::select! {
            news = driver.news(&journal) => news,
            () = stop.wait() => return Ok(Outcome { stopped: stop.take_cause(), ..outcome }),
        };
        match news {
            Ok(News::Changed) => {}
            Ok(News::Idle) => return Ok(outcome),
            Err(error) => return Ok(Outcome { stopped: Some(error), ..outcome }),
        }
    }
}
