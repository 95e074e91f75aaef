//! Reading a request's JSON without letting it take memory or time.

use std::sync::Arc;
use std::time::Duration;

use axum::body::BodyDataStream;
use axum::extract::{FromRequest, Request};
use axum::http::{HeaderMap, StatusCode, header};
use futures::StreamExt;
use serde_json::Value;
use tokio::time::timeout;

use super::Service;
use super::memory::Share;
use super::refusal::Refusal;

/// What of a refused body is read and thrown away, so that the client gets to read the answer: a connection closed
/// while data arrives is reset, and the answer lost.
const LINGER_BYTES: usize = 64 << 20;
const LINGER: Duration = Duration::from_secs(2);

/// A request body that is JSON of whatever kind.
pub(super) struct JsonBody {
    pub value: Value,
    /// Its share of the memory for bodies.
    _share: Share,
}

impl FromRequest<Arc<Service>> for JsonBody {
    type Rejection = Refusal;

    async fn from_request(request: Request, service: &Arc<Service>) -> Result<Self, Refusal> {
        let (parts, body) = request.into_parts();
        let mut body = body.into_data_stream();
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
        let length = parts.headers.get(header::CONTENT_LENGTH);
        let length = length.and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
        let read = async {
            if length.is_some_and(|length| length > service.options.max_request_bytes) {
                return Err(too_large(service));
            }
            read(&mut body, service).await
        };
        let (bytes, share) = match timeout(service.options.patience, read).await {
            Ok(Ok(read)) => read,
            Ok(Err(refusal)) => {
                linger(&mut body).await;
                return Err(refusal);
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
        Ok(Self { value, _share: share })
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

/// The whole body. Its share of the memory grows with what arrives, whatever length was announced.
async fn read(body: &mut BodyDataStream, service: &Service) -> Result<(Vec<u8>, Share), Refusal> {
    let mut bytes = Vec::new();
    let mut share = service.bodies.share();
    while let Some(chunk) = body.next().await {
        let broken =
            |error: axum::Error| Refusal::new(StatusCode::BAD_REQUEST, "broken_body", error.to_string());
        let chunk = chunk.map_err(broken)?;
        let length = bytes.len() + chunk.len();
        if length > service.options.max_request_bytes {
            return Err(too_large(service));
        }
        if !share.grow(length as u64) {
            return Err(service.queue_full());
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok((bytes, share))
}

async fn linger(body: &mut BodyDataStream) {
    let mut left = LINGER_BYTES;
    let drained = async {
        while let Some(Ok(chunk)) = body.next().await {
            left = left.saturating_sub(chunk.len());
            if left == 0 {
                break;
            }
        }
    };
    // What the client does with the answer is its own affair.
    let _ = timeout(LINGER, drained).await;
}
