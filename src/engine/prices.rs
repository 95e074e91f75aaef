//! The table `prices`: what the model stages' tokens cost, so that SQL can reckon.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use arrow_array::{ArrayRef, Float64Array, RecordBatch, StringArray};

use super::spending::Prices;
use crate::error::Result;
use crate::frame::part;
use crate::frame::schema::{batch_of, column};
use crate::llm::pricing::Price;

/// Writes one row per stage of `stages`, each with the names of the models it asks: stage, model, input_usd, cached_input_usd and output_usd (per million tokens;
/// null where they are not known), and the source of the price.
///
/// # Errors
/// The disk.
pub fn write(path: &Path, stages: &[(Arc<str>, Vec<String>)], prices: &Prices) -> Result<()> {
    let batch = batch(stages, prices)?;
    part::seal(path, &batch.schema(), std::slice::from_ref(&batch), &BTreeMap::new())
}

fn batch(stages: &[(Arc<str>, Vec<String>)], prices: &Prices) -> Result<RecordBatch> {
    let price = |stage: &(Arc<str>, Vec<String>)| prices.get(&*stage.0);
    let usd = |of: fn(&Price) -> f64| -> ArrayRef {
        Arc::new(stages.iter().map(|stage| price(stage).map(of)).collect::<Float64Array>())
    };
    let text = |values: StringArray| Arc::new(values) as ArrayRef;
    let sources = stages.iter().map(|stage| price(stage).map(|price| price.source.clone()));
    let columns = vec![
        column("stage", text(StringArray::from_iter_values(stages.iter().map(|(stage, _)| stage)))),
        column(
            "model",
            text(StringArray::from_iter_values(stages.iter().map(|(_, models)| models.join(", ")))),
        ),
        column("input_usd", usd(|price| price.input)),
        column("cached_input_usd", usd(|price| price.cached_input)),
        column("output_usd", usd(|price| price.output)),
        column("source", text(sources.collect())),
    ];
    batch_of(stages.len(), columns)
}
