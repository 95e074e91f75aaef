//! `GET /languages` and `GET /health`.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use rayon::prelude::*;
use serde_json::{Value, json};

use super::Service;
use super::refusal::Refusal;
use crate::sandbox::Sandbox;
use crate::sandbox::job::LimitOverrides;
use crate::sandbox::language::Language;
use crate::sandbox::toolchain;

/// `GET /languages`. Toolchains are looked for once: the sandbox does so, too.
pub(super) async fn languages(State(service): State<Arc<Service>>) -> Result<Json<Value>, Refusal> {
    let look = async || {
        let (languages, ceilings) = (service.languages.clone(), service.options.ceilings);
        let look = move || {
            let languages: Vec<_> = languages.iter().collect();
            let entry = |language: &&Language| {
                let limits = ceilings.over(language, LimitOverrides::default());
                let mut entry = json!({
                    "name": language.name, "aliases": language.aliases,
                    "installed": true, "version": null, "limits": language.limits_for(&limits),
                });
                match toolchain::find(language) {
                    Ok((runtime, toolchain)) => {
                        entry["version"] = json!(toolchain.version);
                        entry["limits"] = json!(runtime.limits_for(&limits));
                    }
                    Err(missing) => {
                        entry["installed"] = json!(false);
                        entry["missing"] = json!(missing.programs);
                        entry["install"] = json!(missing.install);
                    }
                }
                entry
            };
            Value::Array(languages.par_iter().map(entry).collect())
        };
        // Asks programs for their versions: too slow for an async thread.
        tokio::task::spawn_blocking(look).await
    };
    let listing = service.listing.get_or_try_init(look).await;
    let listing = listing.map_err(|error| Refusal::internal(format!("looking for toolchains: {error}")))?;
    Ok(Json(json!({ "languages": listing })))
}

/// `GET /health`: 200 while requests are taken, 503 once the service is going down.
pub(super) async fn health(State(service): State<Arc<Service>>) -> (StatusCode, Json<Value>) {
    let draining = service.draining.load(Ordering::Relaxed);
    let runner = &service.runner;
    let places = service.admission.capacity();
    let admitted = service.admission.admitted();
    let (code, status) = match (draining, admitted >= places) {
        (true, _) => (StatusCode::SERVICE_UNAVAILABLE, "draining"),
        (false, true) => (StatusCode::OK, "full"),
        (false, false) => (StatusCode::OK, "ready"),
    };
    let health = json!({
        "status": status,
        "version": env!("CARGO_PKG_VERSION"),
        "sandbox": runner.describe(),
        "seats": runner.seats(),
        "free_seats": runner.seats() - runner.running(),
        "running": runner.running(),
        "waiting": runner.waiting(),
        "admitted": admitted,
        "places": places,
    });
    (code, Json(health))
}
