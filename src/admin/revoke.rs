//! `POST /api/revoke`: tokens that are good no more, by subject, by `jti`, or by both; live clients that show them are closed at once.
//!
//! Without: a file; revocations end with the process, unless another one takes its place, and each with its `until`.

use std::time::{SystemTime, UNIX_EPOCH};

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::json;

use super::answer::Refused;
use super::{AdminContext, read_body};
use crate::admission::Revocation;
use crate::broker::RevokeError;
use crate::dialect::ErrorCode;

/// Longest subject or id; no token has a longer one.
const NAME_BYTES_MAX: usize = 255;

/// What is asked for.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    sub: Option<Box<str>>,
    jti: Option<Box<str>>,
    /// Seconds since 1970.
    until: Option<u64>,
}

pub(super) async fn revoke(State(context): State<AdminContext>, request: Request) -> Result<Response, Refused> {
    let bad = |msg: &str| Refused::bad_request(ErrorCode::BadRequest, msg);
    let config = context.settings.borrow().clone();
    if !config.asks_for_rights() {
        return Err(bad("there is nothing to revoke: neither [[tokens.key]] nor tokens.jwks nor [callout] is configured"));
    }
    let body = read_body(&context, request).await?;
    let read = serde_json::from_slice(&body);
    let Asked { sub, jti, until } = read.map_err(|_| {
        bad("the body is an object with sub, jti or both, and perhaps until, as in {\"sub\":\"alice\",\"until\":1800000000}")
    })?;
    if sub.is_none() && jti.is_none() {
        return Err(bad("sub or jti must say whose tokens are revoked"));
    }
    if [&sub, &jti].into_iter().flatten().any(|name| name.len() > NAME_BYTES_MAX) {
        return Err(bad("sub and jti have at most 255 bytes"));
    }
    let unix_s = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let until_unix_s = until.unwrap_or_else(|| unix_s.saturating_add(config.tokens.revocation_s.into()));
    if until_unix_s <= unix_s {
        return Err(bad("until is over already; it is in seconds since 1970"));
    }
    tracing::info!(?sub, ?jti, until_unix_s, "tokens are revoked");
    let revocation = Revocation { subject: sub, id: jti, until_unix_s };
    match context.broker.revoke(revocation).await {
        Ok(()) => Ok(axum::Json(json!({"until": until_unix_s})).into_response()),
        Err(RevokeError::Full) => {
            let max = config.tokens.revocations_max;
            let msg = format!("there are tokens.revocations_max = {max} revocations in force; raise it");
            Err(Refused { status: StatusCode::INSUFFICIENT_STORAGE, code: ErrorCode::Limit, msg })
        }
        Err(RevokeError::Stopping) => Err(crate::broker::PublishError::Stopping.into()),
    }
}
