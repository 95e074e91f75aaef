//! Arguments that say where a model is served, and the endpoints made of them.

use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use crate::error::{Error, Result};
use crate::llm::Limits;
use crate::llm::client::{Endpoint, HttpModel};
use crate::llm::endpoints::EndpointEntry;
use crate::llm::provider::Provider;
use crate::llm::router::Place;
use crate::llm::secret::Secret;

/// Variables of OpenAI's own clients, which many tools set.
const BASE_URL: &str = "OPENAI_BASE_URL";
const API_KEY: &str = "OPENAI_API_KEY";

/// Where a model is served.
#[derive(Args, Default)]
#[command(next_help_heading = "Model")]
pub struct EndpointArgs {
    /// Known provider: sets base URL, key variable and what its API wants otherwise. openai, deepseek, openrouter, ollama,
    /// vllm, llama.cpp.
    #[arg(long, value_name = "NAME")]
    pub provider: Option<String>,
    /// Base URL of an OpenAI-compatible endpoint; several times for several endpoints that serve the same model. Default: the
    /// provider's, else OPENAI_BASE_URL, else https://api.openai.com/v1.
    #[arg(long, value_name = "URL")]
    pub base_url: Vec<String>,
    /// TOML file of endpoints, each an [[endpoint]] with base_url or provider, and if need be api_key_env, model, serves
    /// (names of models, where endpoints have different ones), weight, in_flight, requests_per_min, tokens_per_min.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["provider", "base_url"])]
    pub endpoints: Option<PathBuf>,
    /// Environment variable that holds the key. Default: the provider's, else OPENAI_API_KEY.
    #[arg(long, value_name = "VARIABLE")]
    pub api_key_env: Option<String>,
    /// PEM file of a certificate authority to trust besides the system's (or those of SSL_CERT_FILE).
    #[arg(long, value_name = "FILE")]
    pub ca_cert: Option<PathBuf>,
}

/// How hard each endpoint may be asked.
#[derive(Args)]
#[command(next_help_heading = "Model")]
pub struct LimitArgs {
    /// Model calls in flight at once, at each endpoint. Fewer where it answers 429 or 503, or is too slow.
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..))]
    pub in_flight: u32,
    /// Most requests a minute, to each endpoint.
    #[arg(long, value_name = "N")]
    pub requests_per_min: Option<NonZeroU32>,
    /// Most tokens a minute, of prompts and replies, at each endpoint.
    #[arg(long, value_name = "N")]
    pub tokens_per_min: Option<NonZeroU32>,
    /// Seconds a model call may take.
    #[arg(long, value_name = "SECONDS", default_value_t = 600)]
    pub timeout: u64,
    /// Seconds to wait while endpoints refuse every call or are down, before rows are left pending.
    #[arg(long, value_name = "SECONDS", default_value_t = 1800)]
    pub patience: u64,
}

impl Default for LimitArgs {
    fn default() -> Self {
        Self { in_flight: 64, requests_per_min: None, tokens_per_min: None, timeout: 600, patience: 1800 }
    }
}

impl EndpointArgs {
    /// The endpoints with what the file says of their limits; empty where flags rule.
    ///
    /// # Errors
    /// The file does not read, or there is no such provider.
    fn entries(&self) -> Result<Vec<EndpointEntry>> {
        if let Some(path) = &self.endpoints {
            return EndpointEntry::load(path);
        }
        let entry = |base_url| EndpointEntry {
            base_url,
            provider: self.provider.clone(),
            ..EndpointEntry::default()
        };
        let urls = match self.base_url.as_slice() {
            [] if self.provider.is_some() => vec![entry(None)],
            [] => {
                let openai = || Provider::named("openai").map(|provider| provider.base_url.clone());
                let set = std::env::var(BASE_URL).ok().filter(|url| !url.trim().is_empty());
                vec![entry(Some(set.map_or_else(openai, Ok)?))]
            }
            urls => urls.iter().map(|url| entry(Some(url.clone()))).collect(),
        };
        Ok(urls)
    }

    /// Clients of the endpoints, each with its limits and models. Only servers on this machine do without a key, unless
    /// `keyless`: then nothing is to be sent.
    ///
    /// # Errors
    /// An address or a file is malformed, or a key is missing.
    pub fn connect(&self, limits: &LimitArgs, keyless: bool) -> Result<Vec<Place>> {
        let read = |path: &PathBuf| std::fs::read(path).map_err(|error| Error::io("read", path, error));
        let ca_certs: Vec<Vec<u8>> = self.ca_cert.iter().map(read).collect::<Result<_>>()?;
        let connect = |entry: &EndpointEntry| {
            let provider = entry.provider()?;
            let base_url = match (&entry.base_url, provider) {
                (Some(url), _) => url.clone(),
                (None, Some(provider)) => provider.base_url.clone(),
                (None, None) => return Err(Error::usage("an endpoint has no address")),
            };
            let endpoint = |api_key| Endpoint {
                model: entry.model.clone(),
                provider,
                ca_certs: ca_certs.clone(),
                timeout: Duration::from_secs(limits.timeout),
                ..Endpoint::new(&base_url, api_key)
            };
            let unkeyed = HttpModel::new(endpoint(None))?;
            let variable = [&entry.api_key_env, &self.api_key_env].into_iter().flatten().next();
            let usual = || provider.and_then(|provider| provider.key_env.as_ref());
            let client = match Secret::from_env(variable.or_else(usual).map_or(API_KEY, String::as_str)) {
                Ok(key) => HttpModel::new(endpoint(Some(key)))?,
                Err(_) if keyless || unkeyed.is_local() => unkeyed,
                Err(error) => return Err(error),
            };
            let limits = Limits {
                in_flight: entry.in_flight.unwrap_or(limits.in_flight as usize),
                requests_per_min: entry.requests_per_min.or(limits.requests_per_min),
                tokens_per_min: entry.tokens_per_min.or(limits.tokens_per_min),
                weight: entry.weight.unwrap_or(1.0),
            };
            Ok(Place { endpoint: client, limits, serves: entry.serves.clone() })
        };
        self.entries()?.iter().map(connect).collect()
    }
}
