//! What tokens cost: `data/pricing.toml`, a file of the user's own, or prices given for one run.

use std::collections::HashMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result, Tokens};

const BUNDLED: &str = include_str!("../../data/pricing.toml");
const MILLION: f64 = 1e6;

/// USD per million tokens of one model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Price {
    /// Of prompts.
    pub input: f64,
    /// Of the part of prompts that the endpoint had cached.
    pub cached_input: f64,
    /// Of replies.
    pub output: f64,
    /// Where the price is from and, for those of a list, of which day: for people.
    pub source: String,
}

impl Price {
    /// What `tokens` cost, USD.
    pub fn of(&self, tokens: Tokens) -> f64 {
        // An endpoint that reports more cached tokens than there are gets no negative price.
        let cached = tokens.cached.min(tokens.prompt);
        let fresh = tokens.prompt - cached;
        (fresh as f64 * self.input
            + cached as f64 * self.cached_input
            + tokens.completion as f64 * self.output)
            / MILLION
    }
}

/// A file of prices.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    model: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    names: Vec<String>,
    input: f64,
    cached_input: Option<f64>,
    output: f64,
    as_of: Option<String>,
}

/// A list of prices by model name.
#[derive(Debug, Clone, Default)]
pub struct Pricing {
    by_name: HashMap<String, Price>,
}

impl Pricing {
    /// The bundled list.
    ///
    /// # Errors
    /// It does not parse: a defect of the program.
    pub fn bundled() -> Result<Self> {
        Self::default().with("data/pricing.toml", BUNDLED)
    }

    /// The list in `path`, and for models that it lacks the bundled one.
    ///
    /// # Errors
    /// The file cannot be read or is no list of prices.
    pub fn load(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).map_err(|error| Error::io("read", path, error))?;
        Self::bundled()?.with(&path.display().to_string(), &text)
    }

    fn with(mut self, origin: &str, text: &str) -> Result<Self> {
        let bad = |message: String| {
            Error::usage(format!("{origin}: {message}")).hint(
                "a list of prices has tables [[model]] with `names`, `input`, `output` and, where they differ, \
                 `cached_input`, in USD per million tokens: see data/pricing.toml",
            )
        };
        let file: File = toml::from_str(text).map_err(|error| bad(error.to_string()))?;
        for entry in file.model {
            let cached_input = entry.cached_input.unwrap_or(entry.input);
            let prices = [entry.input, cached_input, entry.output];
            if prices.iter().any(|price| !price.is_finite() || *price < 0.0) {
                return Err(bad(format!("a price of {} is no amount of money", entry.names.join(", "))));
            }
            let source = match entry.as_of {
                Some(day) => format!("{origin}, as of {day}"),
                None => origin.to_owned(),
            };
            for name in entry.names {
                let source = source.clone();
                let price = Price { input: entry.input, cached_input, output: entry.output, source };
                self.by_name.insert(name.to_lowercase(), price);
            }
        }
        Ok(self)
    }

    /// The price of `model`; `None` when it is not in the list. How names match is told in `data/pricing.toml`.
    pub fn price(&self, model: &str) -> Option<&Price> {
        let name = model.trim().to_lowercase();
        let base = name.rsplit('/').next().unwrap_or(&name);
        [name.as_str(), base, undated(base)].into_iter().find_map(|name| self.by_name.get(name))
    }
}

/// `name` without `-latest` or a date (`-2024-08-06`, `-20240806`) at its end.
fn undated(name: &str) -> &str {
    if let Some(name) = name.strip_suffix("-latest") {
        return name;
    }
    let is_date = |tail: &str| {
        let shape: String = tail.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
        ["-0000-00-00", "-00000000"].contains(&shape.as_str())
    };
    [11, 9]
        .into_iter()
        .filter_map(|length| name.split_at_checked(name.len().checked_sub(length)?))
        .find_map(|(name, tail)| is_date(tail).then_some(name))
        .unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(pricing: &Pricing, model: &str) -> Option<(f64, f64, f64)> {
        pricing.price(model).map(|price| (price.input, price.cached_input, price.output))
    }

    #[test]
    fn names_match_by_prefix_and_date_and_nothing_else() {
        let bundled = Pricing::bundled().unwrap();
        let expected = Some((2.5, 1.25, 10.0));
        for name in
            ["gpt-4o", "GPT-4o", "openai/gpt-4o", "gpt-4o-2024-08-06", "gpt-4o-20240806", "gpt-4o-latest"]
        {
            assert_eq!(of(&bundled, name), expected, "{name}");
        }
        assert_ne!(of(&bundled, "gpt-4o-mini-2024-07-18"), expected);
        for name in
            ["", "gpt", "gpt-4o-audio", "gpt-4o:free", "llama3:8b", "quickstart", "-2024-08-06", "ü-20240806"]
        {
            assert_eq!(of(&bundled, name), None, "{name}");
        }
    }

    #[test]
    fn every_bundled_price_says_of_which_day_it_is() {
        let bundled = Pricing::bundled().unwrap();
        assert!(bundled.by_name.len() > 25);
        for (name, price) in &bundled.by_name {
            assert!(price.source.contains("as of 202"), "{name}: {}", price.source);
            assert!(
                price.input > 0.0 && price.cached_input <= price.input && price.output >= price.input,
                "{name}"
            );
        }
    }

    #[test]
    fn cached_tokens_are_cheaper_and_never_more_than_the_prompt() {
        let price = Price { input: 2.0, cached_input: 0.5, output: 8.0, source: String::new() };
        let cost = |prompt, cached, completion| price.of(Tokens { prompt, cached, completion });
        assert_eq!(cost(1_000_000, 0, 0), 2.0);
        assert_eq!(cost(1_000_000, 1_000_000, 500_000), 4.5);
        assert_eq!(cost(1_000_000, 9_000_000, 0), 0.5);
        assert_eq!(cost(0, 0, 0), 0.0);
    }

    #[test]
    fn a_list_of_ones_own_comes_first() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("prices.toml");
        std::fs::write(&path, "[[model]]\nnames = [\"gpt-4o\", \"My/Own\"]\ninput = 1\noutput = 3\n")
            .unwrap();
        let pricing = Pricing::load(&path).unwrap();
        assert_eq!(of(&pricing, "gpt-4o"), Some((1.0, 1.0, 3.0)));
        assert_eq!(of(&pricing, "my/own"), Some((1.0, 1.0, 3.0)));
        assert!(of(&pricing, "own").is_none() && of(&pricing, "gpt-4o-mini").is_some());
        assert!(pricing.price("gpt-4o").unwrap().source.ends_with("prices.toml"));
        for bad in [
            "model = 3",
            "[[model]]\nnames = [\"a\"]\ninput = 1",
            "[[model]]\nnames = [\"a\"]\ninput = -1\noutput = 1",
        ] {
            std::fs::write(&path, bad).unwrap();
            let error = Pricing::load(&path).unwrap_err();
            assert!(error.exit_code() == 2 && error.to_string().contains("prices.toml"), "{error}");
        }
    }
}
