//! Injected faults: which requests meet which, and what an answer that meets one looks like.

use std::convert::Infallible;
use std::future::pending;
use std::io;
use std::str::FromStr;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use futures::{StreamExt, stream};

use super::listener::Reset;
use super::refusal;
use crate::frame::key::Key;

/// A slow answer comes in so many pieces, this far apart.
const DRIPS: usize = 20;
const DRIP_EVERY: Duration = Duration::from_millis(100);

/// What can go wrong with an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Status 500.
    ServerError,
    /// Status 503.
    Unavailable,
    /// Status 429 with a `Retry-After` of one second.
    RateLimited,
    /// The connection is reset in the middle of the body.
    Reset,
    /// Status 200 with a body that ends half-way.
    Truncated,
    /// Half of the body, then nothing more.
    Stall,
    /// No answer at all.
    Hang,
    /// The whole body, over two seconds.
    Drip,
    /// Status 200 with a page of HTML.
    Html,
    /// Status 200 with an empty list of choices.
    NoChoices,
    /// Status 200 with a body that never ends.
    Endless,
}

impl Kind {
    const ALL: [Self; 11] = [
        Self::ServerError,
        Self::Unavailable,
        Self::RateLimited,
        Self::Reset,
        Self::Truncated,
        Self::Stall,
        Self::Hang,
        Self::Drip,
        Self::Html,
        Self::NoChoices,
        Self::Endless,
    ];

    /// Its name on the command line and in the log.
    pub fn name(self) -> &'static str {
        match self {
            Self::ServerError => "500",
            Self::Unavailable => "503",
            Self::RateLimited => "429",
            Self::Reset => "reset",
            Self::Truncated => "truncate",
            Self::Stall => "stall",
            Self::Hang => "hang",
            Self::Drip => "drip",
            Self::Html => "html",
            Self::NoChoices => "no-choices",
            Self::Endless => "endless",
        }
    }

    /// The status it shows itself by; `None` where the status is 200, or there is none.
    pub(super) fn status(self) -> Option<StatusCode> {
        match self {
            Self::ServerError => Some(StatusCode::INTERNAL_SERVER_ERROR),
            Self::Unavailable => Some(StatusCode::SERVICE_UNAVAILABLE),
            Self::RateLimited => Some(StatusCode::TOO_MANY_REQUESTS),
            _ => None,
        }
    }
}

/// A kind of fault and the share of requests that meet it, written `KIND=RATE`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FaultRate {
    /// What goes wrong.
    pub kind: Kind,
    /// For how many of all requests, from 0 to 1.
    pub rate: f64,
}

impl FromStr for FaultRate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, rate) = text.split_once('=').ok_or("it looks like reset=0.1")?;
        let kind = Kind::ALL.into_iter().find(|kind| kind.name() == name).ok_or_else(|| {
            let names: Vec<&str> = Kind::ALL.into_iter().map(Kind::name).collect();
            format!("no such fault; there are {}", names.join(", "))
        })?;
        let rate: f64 = rate.parse().map_err(|_| "the rate is no number")?;
        if !(0.0..=1.0).contains(&rate) {
            return Err("the rate is a share, from 0 to 1".to_owned());
        }
        Ok(Self { kind, rate })
    }
}

/// Chooses faults by the request and the number of the attempt, so that the order of requests does not matter.
pub(super) struct Faults {
    rates: Vec<FaultRate>,
    seed: u64,
}

impl Faults {
    pub fn new(rates: Vec<FaultRate>, seed: u64) -> Self {
        Self { rates, seed }
    }

    /// The fault that the given attempt at the request `key` meets, if it does.
    pub fn choose(&self, key: Key, attempt: u32) -> Option<Kind> {
        let mut at = uniform(self.seed, &[key.as_bytes(), &attempt.to_le_bytes()]);
        for FaultRate { kind, rate } in &self.rates {
            if at < *rate {
                return Some(*kind);
            }
            at -= rate;
        }
        None
    }
}

/// A number from 0 up to 1 that depends on nothing but the arguments.
pub(super) fn uniform(seed: u64, of: &[&[u8]]) -> f64 {
    let seed = seed.to_le_bytes();
    let key = Key::of(&std::iter::once(&seed[..]).chain(of.iter().copied()).collect::<Vec<_>>());
    let bits = key.as_bytes().iter().take(8).fold(0_u64, |bits, byte| bits << 8 | u64::from(*byte));
    // A double has 53 bits of precision.
    (bits >> 11) as f64 / (1_u64 << 53) as f64
}

/// The answer `body` as `kind` leaves it. `reset` has the connection reset when it ends.
pub(super) async fn spoil(kind: Kind, body: Vec<u8>, reset: &Reset) -> Response {
    if let Some(status) = kind.status() {
        let mut response = refusal(status, "injected", "a fault that this server was told to have");
        if kind == Kind::RateLimited {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        return response;
    }
    let length = body.len();
    let half = Bytes::copy_from_slice(&body[..length / 2]);
    match kind {
        Kind::Reset => {
            reset.set();
            let broken = io::Error::from(io::ErrorKind::ConnectionReset);
            json_of(length, Body::from_stream(stream::iter([Ok(half), Err(broken)])))
        }
        Kind::Stall => {
            let never = stream::once(pending::<Result<Bytes, Infallible>>());
            json_of(length, Body::from_stream(stream::iter([Ok(half)]).chain(never)))
        }
        Kind::Drip => {
            let size = length.div_ceil(DRIPS).max(1);
            let pieces: Vec<Bytes> = body.chunks(size).map(Bytes::copy_from_slice).collect();
            let drips = stream::iter(pieces).then(async |piece| {
                tokio::time::sleep(DRIP_EVERY).await;
                Ok::<_, Infallible>(piece)
            });
            json_of(length, Body::from_stream(drips))
        }
        Kind::Endless => {
            let blanks = Bytes::from(vec![b' '; 1 << 16]);
            let blanks = stream::repeat_with(move || Ok::<_, Infallible>(blanks.clone()));
            json(Body::from_stream(blanks))
        }
        Kind::Hang => pending().await,
        Kind::Html => Html("<!doctype html><title>Welcome</title><p>Please log in.").into_response(),
        Kind::NoChoices => json(Body::from(r#"{"object":"chat.completion","choices":[]}"#)),
        // The others have a status.
        _ => json(Body::from(half)),
    }
}

fn json(body: Body) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], body).into_response()
}

fn json_of(length: usize, body: Body) -> Response {
    let mut response = json(body);
    response.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_come_at_their_rates_and_the_same_every_time() {
        let rates = ["reset=0.2", "429=0.1"].map(|rate| rate.parse().unwrap());
        let faults = Faults::new(rates.to_vec(), 7);
        let chosen = |faults: &Faults| {
            let all = (0..20_000_u32).map(|n| faults.choose(Key::of(&[n.to_le_bytes()]), n % 3));
            all.collect::<Vec<_>>()
        };
        let all = chosen(&faults);
        let share = |kind| all.iter().filter(|chosen| **chosen == Some(kind)).count() as f64 / 20_000.0;
        assert!((0.19..0.21).contains(&share(Kind::Reset)), "{}", share(Kind::Reset));
        assert!((0.09..0.11).contains(&share(Kind::RateLimited)), "{}", share(Kind::RateLimited));
        assert_eq!(all, chosen(&faults));
        assert_ne!(all, chosen(&Faults::new(rates.to_vec(), 8)));
    }

    #[test]
    fn rates_are_read_and_refused() {
        for kind in Kind::ALL {
            let rate: FaultRate = format!("{}=0.25", kind.name()).parse().unwrap();
            assert_eq!(rate, FaultRate { kind, rate: 0.25 });
        }
        for bad in ["reset", "reset=", "reset=2", "reset=NaN", "reset=-0.1", "crash=0.1"] {
            assert!(bad.parse::<FaultRate>().is_err(), "{bad}");
        }
    }
}
