//! The operator's page: its files, under a policy that lets it talk to this port only.
//!
//! On wherever the admin port is, and guarded as everything on it.

use axum::extract::Request;
use axum::http::header;
use axum::response::{IntoResponse, Response};

use super::{Refused, unknown_path};
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
