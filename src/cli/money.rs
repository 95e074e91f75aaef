//! Arguments about money: what tokens cost, and how much a run may spend.

use std::path::PathBuf;

use clap::Args;

use super::asking::Asking;
use super::printable;
use crate::engine::budget::Caps;
use crate::engine::spending::Prices;
use crate::error::{Error, Result, Tokens};
use crate::llm::pricing::{Price, Pricing};

/// What tokens cost, and how much may be spent.
#[derive(Args, Clone, Default)]
#[command(next_help_heading = "Money")]
pub struct MoneyArgs {
    /// Stop before the run directory has spent more than this, USD, earlier invocations included (exit code 4). Run again with
    /// more to go on.
    #[arg(long, value_name = "USD", value_parser = amount)]
    pub max_usd: Option<f64>,
    /// Stop before the run directory has spent more tokens than this, prompts and replies together (exit code 4). The limit of
    /// a single reply is --max-tokens.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub max_total_tokens: Option<u64>,
    /// Prices by model, in the form of data/pricing.toml, which is asked for models that the file lacks.
    #[arg(long, value_name = "FILE", conflicts_with = "price_input")]
    pub pricing: Option<PathBuf>,
    /// Price of prompts, USD per million tokens.
    #[arg(long, value_name = "USD", value_parser = amount, requires = "price_output")]
    pub price_input: Option<f64>,
    /// Price of the part of prompts that the endpoint had cached. Default: that of prompts.
    #[arg(long, value_name = "USD", value_parser = amount, requires = "price_input")]
    pub price_cached_input: Option<f64>,
    /// Price of replies, USD per million tokens.
    #[arg(long, value_name = "USD", value_parser = amount, requires = "price_input")]
    pub price_output: Option<f64>,
}

fn amount(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(usd) if usd.is_finite() && usd >= 0.0 => Ok(usd),
        _ => Err("an amount is a number such as 12.50".to_owned()),
    }
}

impl MoneyArgs {
    /// The prices of the stages of `asking`, without those whose price is not known. Prices given in numbers are those of
    /// `model`. A stage that asks several models has one price if they have.
    ///
    /// # Errors
    /// The file of prices cannot be read.
    pub fn prices(&self, asking: &Asking, model: &str) -> Result<Prices> {
        let pricing = self.pricing.as_deref().map_or_else(Pricing::bundled, Pricing::load)?;
        let price = |of: &String| match (self.price_input, self.price_output) {
            (Some(input), Some(output)) if of == model => {
                let cached_input = self.price_cached_input.unwrap_or(input);
                Some(Price { input, cached_input, output, source: "--price-input and --price-output".into() })
            }
            _ => pricing.price(of).cloned(),
        };
        let of_stage = |models: &[String]| {
            let mut prices = models.iter().map(price);
            let first = prices.next()??;
            let amounts = |price: &Price| (price.input, price.cached_input, price.output);
            prices.all(|other| other.is_some_and(|other| amounts(&other) == amounts(&first))).then_some(first)
        };
        Ok(asking.iter().filter_map(|(stage, models)| Some((stage.to_string(), of_stage(models)?))).collect())
    }

    /// What may be spent.
    ///
    /// # Errors
    /// A cap on USD when the price of a model is not known.
    pub fn caps(&self, asking: &Asking, prices: &Prices) -> Result<Caps> {
        let unknown = asking.iter().find(|(stage, _)| !prices.contains_key(&**stage));
        if let (Some(_), Some((_, models))) = (self.max_usd, unknown) {
            let models = models.join("`, `");
            return Err(Error::usage(format!("--max-usd: the price of the model `{models}` is not known")).hint(
                "give --price-input and --price-output in USD per million tokens, or a file with --pricing; \
                 or cap the tokens with --max-total-tokens",
            ));
        }
        Ok(Caps { usd: self.max_usd, tokens: self.max_total_tokens })
    }
}

/// An amount of USD for people; what is not known is called so.
pub fn usd(amount: Option<f64>) -> String {
    match amount {
        None => "unknown".to_owned(),
        Some(usd) if usd < 1.0 => format!("{usd:.4} USD"),
        Some(usd) => format!("{usd:.2} USD"),
    }
}

/// What was spent, in a line: tokens, USD and by which price.
pub fn spent(tokens: Tokens, amount: Option<f64>, prices: &Prices) -> String {
    let price = match prices.values().next() {
        Some(price) => format!("at the price of {}", printable(&price.source)),
        None => "no price is known for the model: see --price-input, --pricing".to_owned(),
    };
    format!("{} for {} tokens ({price})", usd(amount), tokens.total())
}
