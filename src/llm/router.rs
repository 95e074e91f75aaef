//! Several models as one: each call goes to the endpoints that serve the model it names.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;

use super::gate::Limits;
use super::pool::Pool;
use super::status::Status;
use crate::error::{Error, Fault, Recovery, Result};
use crate::llm::Model;
use crate::llm::chat::{ChatRequest, Reply, Sampling};
use crate::llm::client::HttpModel;

/// An endpoint, how hard it may be asked, and for which models.
pub struct Place {
    /// The endpoint.
    pub endpoint: HttpModel,
    /// How hard it may be asked.
    pub limits: Limits,
    /// The models it serves. None: those that no other endpoint says it serves.
    pub serves: Vec<String>,
}

/// The models of a run and where each is served.
pub struct Router {
    routes: Vec<Route>,
}

/// Models that the same endpoints serve.
struct Route {
    models: Vec<String>,
    pool: Pool,
}

impl Router {
    /// A way to each of `models`. Calls are given up when nothing was answered for `patience`.
    ///
    /// # Errors
    /// There is no endpoint for a model; an endpoint would have to share its limits between groups of models, or calls two
    /// models by one name.
    pub fn new(places: Vec<Place>, models: &[String], patience: Duration) -> Result<Self> {
        let mut groups: BTreeMap<Vec<usize>, Vec<String>> = BTreeMap::new();
        for model in models {
            let those = |pick: &dyn Fn(&Place) -> bool| -> Vec<usize> {
                places.iter().enumerate().filter(|(_, place)| pick(place)).map(|(at, _)| at).collect()
            };
            let mut serving = those(&|place| place.serves.contains(model));
            if serving.is_empty() {
                serving = those(&|place| place.serves.is_empty());
            }
            let group = groups.entry(serving).or_default();
            if !group.contains(model) {
                group.push(model.clone());
            }
        }
        let mut places: Vec<Option<Place>> = places.into_iter().map(Some).collect();
        let mut routes = Vec::new();
        for (serving, models) in groups {
            let mut endpoints = Vec::new();
            for at in serving {
                let Some(Place { endpoint, limits, .. }) = places[at].take() else {
                    return Err(Error::usage(format!(
                        "endpoint {}: it shares some of its models with other endpoints, and not all of them",
                        at + 1
                    ))
                    .hint("give endpoints the same `serves`, or lists that have nothing in common"));
                };
                if models.len() > 1 && endpoint.renames() {
                    return Err(Error::usage(format!(
                        "endpoint {}: it calls every model by one name, and is to serve {}",
                        at + 1,
                        models.join(" and ")
                    ))
                    .hint("say with `serves` which of them it has"));
                }
                endpoints.push((endpoint, limits));
            }
            if endpoints.is_empty() {
                return Err(Error::usage(format!("no endpoint serves the model `{}`", models.join("`, `")))
                    .hint("put it into the `serves` of an endpoint"));
            }
            routes.push(Route { models, pool: Pool::new(endpoints, patience)? });
        }
        Ok(Self { routes })
    }

    /// Most calls in flight, at all endpoints together.
    pub fn in_flight(&self) -> usize {
        self.routes.iter().map(|route| route.pool.in_flight()).sum()
    }

    /// The endpoint, where there is only one.
    pub fn only(&self) -> Option<Arc<HttpModel>> {
        match self.routes.as_slice() {
            [only] => only.pool.only(),
            _ => None,
        }
    }

    /// The addresses of all endpoints, in the same order however they were named; where models are served at different
    /// places, with what is served there.
    pub fn address(&self) -> String {
        match self.routes.as_slice() {
            [only] => only.pool.address(),
            routes => {
                let named = |route: &Route| format!("{}={}", route.models.join(","), route.pool.address());
                let mut addresses: Vec<String> = routes.iter().map(named).collect();
                addresses.sort_unstable();
                addresses.join(" ")
            }
        }
    }

    /// Whether an endpoint is on this machine.
    pub fn is_local(&self) -> bool {
        self.routes.iter().any(|route| route.pool.is_local())
    }

    /// Checks every endpoint for the models it is to serve, before anything is paid for; `sampling` names any of them. Of
    /// several endpoints with one model, those that cannot serve are left out with a warning.
    ///
    /// # Errors
    /// No endpoint is left for a model: what the first of them says.
    pub async fn check(&self, sampling: &Sampling) -> Result<()> {
        for Route { models, pool } in &self.routes {
            for model in models {
                let sampling = Sampling { model: model.clone(), ..sampling.clone() };
                match models.len() {
                    1 => pool.check(&sampling).await?,
                    _ => pool.check_all(&sampling).await?,
                }
            }
        }
        Ok(())
    }

    fn pool(&self, request: &ChatRequest) -> Result<&Pool, Fault> {
        let model = &request.sampling.model;
        let route = self.routes.iter().find(|route| route.models.contains(model));
        route.map(|route| &route.pool).ok_or_else(|| {
            Fault::new(Recovery::Stop, "no_endpoint", format!("no endpoint serves the model `{model}`"))
        })
    }
}

impl Model for Router {
    fn ask<'a>(&'a self, request: &'a ChatRequest) -> BoxFuture<'a, Result<Reply, Fault>> {
        Box::pin(async move { self.pool(request)?.ask(request).await })
    }

    fn ask_samples<'a>(
        &'a self,
        request: &'a ChatRequest,
        count: u32,
    ) -> BoxFuture<'a, Result<Vec<Reply>, Fault>> {
        Box::pin(async move { self.pool(request)?.ask_samples(request, count).await })
    }

    fn status(&self) -> Option<Status> {
        let mut all = Status { endpoints: Vec::new(), waiting: 0 };
        for status in self.routes.iter().filter_map(|route| route.pool.status()) {
            all.endpoints.extend(status.endpoints);
            all.waiting += status.waiting;
        }
        Some(all)
    }

    fn drain(&self) {
        self.routes.iter().for_each(|route| route.pool.drain());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::llm::client::Endpoint;

    fn place(port: u16, model: Option<&str>, serves: &[&str]) -> Place {
        let endpoint = Endpoint {
            model: model.map(str::to_owned),
            ..Endpoint::new(format!("http://127.0.0.1:{port}/v1"), None)
        };
        Place {
            endpoint: HttpModel::new(endpoint).unwrap(),
            limits: Limits::default(),
            serves: serves.iter().map(|name| (*name).to_owned()).collect(),
        }
    }

    fn routes(places: Vec<Place>, models: &[&str]) -> Result<Vec<(String, String)>> {
        let models: Vec<String> = models.iter().map(|name| (*name).to_owned()).collect();
        let router = Router::new(places, &models, Duration::from_secs(1))?;
        let route =
            |route: &Route| (route.models.join(","), route.pool.address().replace("http://127.0.0.1:", ""));
        Ok(router.routes.iter().map(route).collect())
    }

    #[test]
    fn models_go_where_they_are_served_and_the_others_to_the_rest() {
        let all = || vec![place(1, None, &[]), place(2, None, &["weak"]), place(3, None, &[])];
        let found = routes(all(), &["strong", "weak", "critic", "strong"]).unwrap();
        assert_eq!(found, [("strong,critic".into(), "1/v1 3/v1".into()), ("weak".into(), "2/v1".into())]);
        assert_eq!(routes(all(), &["strong"]).unwrap(), [("strong".into(), "1/v1 3/v1".into())]);
        let both = || vec![place(1, None, &["a", "b"]), place(2, None, &["b", "a"])];
        assert_eq!(routes(both(), &["b", "a"]).unwrap(), [("b,a".into(), "1/v1 2/v1".into())]);
    }

    #[test]
    fn what_cannot_be_served_is_refused_before_anything_is_asked() {
        let says = |places, models: &[&str]| {
            let error = routes(places, models).unwrap_err();
            assert_eq!(error.exit_code(), 2);
            error.to_string()
        };
        assert!(
            says(vec![place(1, None, &["weak"])], &["strong", "weak"])
                .contains("no endpoint serves the model `strong`")
        );
        let sharing = vec![place(1, None, &["a"]), place(2, None, &["a", "b"])];
        assert!(says(sharing, &["a", "b"]).contains("endpoint 2: it shares some of its models"));
        let renaming = vec![place(1, Some("awq"), &[])];
        assert!(says(renaming, &["a", "b"]).contains("endpoint 1: it calls every model by one name"));
    }
}
