//! How a model's endpoints are doing: what progress shows while calls wait.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

/// How a model is doing right now.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Status {
    /// Its endpoints.
    pub endpoints: Vec<EndpointStatus>,
    /// Calls that wait for an endpoint to take them.
    pub waiting: usize,
}

/// How one endpoint is doing.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct EndpointStatus {
    /// Host and port.
    pub name: String,
    /// Calls in flight.
    pub in_flight: usize,
    /// Most calls that may be in flight now.
    pub limit: usize,
    /// Calls answered so far.
    pub answered: u64,
    /// Calls that failed or were refused so far, by cause.
    pub faults: BTreeMap<&'static str, u64>,
    /// Why no call goes there now, and until when.
    pub wait: Option<Wait>,
    /// Why it is asked no more.
    pub out: Option<String>,
}

/// What is waited for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wait {
    /// For people: `rate limited by api.example.com`.
    pub why: String,
    /// How long until the next call; `None` while one is trying whether the endpoint is back.
    pub left: Option<Duration>,
}

impl fmt::Display for Wait {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.left {
            Some(left) => write!(f, "{}, next try in {} s", self.why, left.as_secs_f64().ceil()),
            None => write!(f, "{}, trying now", self.why),
        }
    }
}

impl Status {
    /// What calls wait for, for people; `None` while they flow.
    pub fn waits_for(&self) -> Option<String> {
        let waits = self.endpoints.iter().filter_map(|endpoint| {
            let wait = endpoint.wait.as_ref()?;
            let faults: Vec<String> =
                endpoint.faults.iter().map(|(cause, count)| format!("{cause} {count}")).collect();
            Some(format!(
                "{wait} ({} in flight, at most {} now; {})",
                endpoint.in_flight,
                endpoint.limit,
                faults.join(", ")
            ))
        });
        let waits: Vec<String> = waits.collect();
        (self.waiting > 0 && !waits.is_empty()).then(|| waits.join("; "))
    }
}
