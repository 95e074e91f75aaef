//! Who may ask.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::Service;
use super::refusal::Refusal;
use crate::sandbox::token::TOKEN_VARIABLE;

/// Turns away who does not show the token, where there is one. `/health` is open: those who watch over services
/// seldom hold tokens.
pub(super) async fn check(State(service): State<Arc<Service>>, request: Request, next: Next) -> Response {
    let Some(token) = &service.options.token else { return next.run(request).await };
    let shown = request.headers().get(header::AUTHORIZATION);
    if request.uri().path() == "/health" || shown.is_some_and(|shown| token.is_in(shown)) {
        return next.run(request).await;
    }
    service.metrics.rejected("unauthorized");
    let what = if shown.is_none() { "no bearer token was sent" } else { "the bearer token sent is not mine" };
    Refusal::new(StatusCode::UNAUTHORIZED, "unauthorized", what)
        .hint(format!(
            "send `Authorization: Bearer ...`; autocodegen itself takes the token from {TOKEN_VARIABLE}"
        ))
        .into_response()
}
