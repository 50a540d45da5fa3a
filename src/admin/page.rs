//! The operator's page: its files, under a policy that lets it talk to this port only, and the history that it plots.
//!
//! On wherever the admin port is. The files are everybody's who reaches the port, with keys, too: they tell nothing of the gateway. The
//! history is guarded as everything else on it.

use std::sync::PoisonError;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, Request, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;

use super::{AdminContext, Refused, sampling, told, unknown_path};
use crate::dialect::ErrorCode;
use crate::page;

/// A file of the page.
pub(super) async fn file(request: Request) -> Result<Response, Refused> {
    let Some(asset) = page::operator_asset(request.uri().path()) else { return Err(unknown_path(request).await) };
    let headers = [
        (header::CONTENT_TYPE, asset.content_type),
        (header::CACHE_CONTROL, "no-cache"),
        (header::CONTENT_SECURITY_POLICY, page::OPERATOR_SECURITY_POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
    ];
    Ok((headers, asset.body).into_response())
}

/// What a page has already.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Had {
    run: Option<String>,
    #[serde(default)]
    since: u64,
}

/// `GET /api/history`.
pub(super) async fn history(
    State(context): State<AdminContext>,
    had: Result<Query<Had>, QueryRejection>,
) -> Result<Response, Refused> {
    let Query(Had { run, since }) = had.map_err(|error| Refused::bad_request(ErrorCode::BadRequest, error.body_text()))?;
    let history = context.history.lock().unwrap_or_else(PoisonError::into_inner);
    Ok(told(history.answer(run.as_deref(), since, sampling::now())))
}
