//! Evaluating models on benchmarks: problems and answers in, an evaluation pipeline, scores with intervals out.
//!
//! An evaluation is a run of the engine: its seed frame holds one row per answer to score (or per problem to ask the model),
//! its stages extract the program, run it and put what it came to into columns. What is here makes that frame and reads the
//! result.

pub mod answers;
pub mod benchmark;
pub mod compare;
pub mod frame;
pub mod pipeline;
pub mod report;
pub mod results;
pub mod shots;
