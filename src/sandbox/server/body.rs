//! Reading a request's JSON without letting it take memory or time.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{FromRequest, Request};
use axum::http::{HeaderMap, StatusCode, header};
use futures::StreamExt;
use serde_json::Value;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::timeout;

use super::Service;
use super::refusal::Refusal;

/// What of a refused body is read and thrown away, so that the client gets to read the answer: a connection closed
/// while data arrives is reset, and the answer lost.
const LINGER_BYTES: usize = 64 << 20;
const LINGER: Duration = Duration::from_secs(2);

/// A request body that is JSON of whatever kind.
pub(super) struct JsonBody {
    pub value: Value,
    /// Its share of the memory for bodies.
    _room: OwnedSemaphorePermit,
}

impl FromRequest<Arc<Service>> for JsonBody {
    type Rejection = Refusal;

    async fn from_request(request: Request, service: &Arc<Service>) -> Result<Self, Refusal> {
        let (parts, body) = request.into_parts();
        if !is_json(&parts.headers) {
            service.metrics.rejected("not_json");
            // A page in a browser can make it send anything else to this machine unasked.
            return Err(Refusal::new(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "not_json",
                "the request is not marked as JSON",
            )
            .hint("send `Content-Type: application/json`"));
        }
        let most = service.options.max_request_bytes;
        let length = parts.headers.get(header::CONTENT_LENGTH);
        let length = length.and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
        if length.is_some_and(|length| length > most) {
            linger(body).await;
            return Err(too_large(service));
        }
        let Some(room) = service.admission.room(length.unwrap_or(most)) else {
            linger(body).await;
            return Err(service.queue_full());
        };
        let bytes = match timeout(service.options.patience, read(body, most, length)).await {
            Ok(Ok(Some(bytes))) => bytes,
            Ok(Ok(None)) => return Err(too_large(service)),
            Ok(Err(error)) => {
                return Err(Refusal::new(StatusCode::BAD_REQUEST, "broken_body", error.to_string()));
            }
            Err(_) => {
                service.metrics.rejected("slow_body");
                let message = format!("the body had not arrived after {:?}", service.options.patience);
                return Err(Refusal::new(StatusCode::REQUEST_TIMEOUT, "slow_body", message));
            }
        };
        service.metrics.received(bytes.len());
        let value = serde_json::from_slice(&bytes).map_err(|error| {
            Refusal::new(StatusCode::BAD_REQUEST, "bad_json", format!("the body is not JSON: {error}"))
        })?;
        Ok(Self { value, _room: room })
    }
}

fn is_json(headers: &HeaderMap) -> bool {
    let Some(kind) = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()) else {
        return false;
    };
    let essence = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    essence == "application/json" || (essence.starts_with("application/") && essence.ends_with("+json"))
}

fn too_large(service: &Service) -> Refusal {
    service.metrics.rejected("too_large");
    let most = service.options.max_request_bytes;
    let message = format!("the body is longer than {most} bytes");
    Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", message)
        .hint("the service's --max-request-bytes sets this limit")
}

/// The whole body; `None` when it is longer than `most`.
async fn read(body: Body, most: usize, length: Option<usize>) -> Result<Option<Vec<u8>>, axum::Error> {
    let mut stream = body.into_data_stream();
    let mut bytes = Vec::with_capacity(length.unwrap_or(0));
    while let Some(chunk) = stream.next().await {
        let chunk = chunk?;
        if bytes.len() + chunk.len() > most {
            return Ok(None);
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(Some(bytes))
}

async fn linger(body: Body) {
    let mut stream = body.into_data_stream();
    let mut left = LINGER_BYTES;
    let drained = async {
        while let Some(Ok(chunk)) = stream.next().await {
            left = left.saturating_sub(chunk.len());
            if left == 0 {
                break;
            }
        }
    };
    // What the client does with the answer is its own affair.
    let _ = timeout(LINGER, drained).await;
}
