//! The admin port: publishing over HTTP, topics, connections, metrics, health, the operator's page.
//!
//! Ordinary `axum` on the control thread. Without: authentication, so the configuration lets it listen on loopback only,
//! and `guard` turns away what a browser was tricked into sending. Invariants: every answer that is not 2xx says why as
//! `{"error":{"code","msg"}}`; a publication is answered with its position or with why it has none, never not at all.

mod answer;
mod batch;
mod connections;
mod exposition;
mod guard;
mod history;
mod load;
mod page;
mod sampling;
mod topic;
mod watching;

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::rejection::PathRejection;
use axum::extract::{DefaultBodyLimit, FromRequest, Path, RawQuery, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde::Serialize;
use tokio::sync::watch;

use self::answer::Refused;
pub use self::history::History;
use crate::admission::Readiness;
use crate::broker;
use crate::config;
use crate::dialect::ErrorCode;
use crate::metrics::{ControlMetrics, ShardMetrics};

/// All that the admin port needs.
#[derive(Clone, Debug)]
pub struct AdminContext {
    /// Where publications go and topics are known.
    pub broker: broker::Handle,
    /// What the shards count.
    pub shards: Arc<[Arc<ShardMetrics>]>,
    /// What the control thread counts; this port adds to it.
    pub control: Arc<ControlMetrics>,
    /// The last ten minutes; this port samples them.
    pub history: Arc<Mutex<History>>,
    /// `[admin]`.
    pub settings: Arc<config::Admin>,
    /// Largest publication, bytes.
    pub publication_bytes_max: u32,
    /// `TCP_USER_TIMEOUT`: answers that nobody takes are given up after this.
    pub send_timeout_ms: u32,
    /// Whether the gateway takes clients; `/health/ready` tells it.
    pub readiness: Arc<Readiness>,
    /// Where clients connect, by listener.
    pub listeners: Arc<[String]>,
    /// Turns true when the gateway stops: from then on publishing is answered with 503.
    pub stopping: watch::Receiver<bool>,
    /// Turns true when another gateway has this one's place, and its admin port.
    pub taken: watch::Receiver<bool>,
}

/// Binds the admin port.
///
/// # Errors
/// [`io::Error`] where the address is taken or not this machine's.
pub fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    TcpListener::bind(address)
}

/// Serves as long as the runtime runs, so that whoever publishes while the gateway stops is told. New connections are another
/// gateway's once this one's place is taken.
pub async fn serve(listener: tokio::net::TcpListener, context: AdminContext) {
    tokio::spawn(sampling::sample(context.clone()));
    connections::serve(listener, router(context.clone()), context).await;
}

fn router(context: AdminContext) -> Router {
    Router::new()
        .route("/api/publish", post(publish_batch))
        .route("/api/topics", get(topics))
        .route("/api/topics/{topic}", post(publish_body).get(topic::topic))
        .route("/api/connections", get(watching::connections))
        .route("/api/connections/{id}", get(watching::one_connection))
        .route("/api/connections/{id}/disconnect", post(watching::disconnect))
        .route("/api/slow", get(watching::slow))
        .route("/api/history", get(page::history))
        .route("/", get(page::file))
        .route("/page/{file}", get(page::file))
        .route("/metrics", get(metrics))
        .route("/health/live", get(live))
        .route("/health/ready", get(ready))
        .fallback(unknown_path)
        .method_not_allowed_fallback(wrong_method)
        .layer(DefaultBodyLimit::max(context.settings.body_bytes_max))
        .layer(middleware::from_fn_with_state(context.clone(), admit))
        .with_state(context)
}

/// Before every handler: who may ask, and the count of what was asked.
async fn admit(State(context): State<AdminContext>, request: Request, next: Next) -> Response {
    context.control.http_requests.add(1);
    let admitted = guard::check(request.method(), request.uri(), request.headers(), &context.settings.hosts);
    let mut response = match admitted {
        Ok(()) => next.run(request).await,
        Err(refused) => refused.into_response(),
    };
    if *context.taken.borrow() {
        // Its next request is for who has the place.
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    if response.status().is_client_error() || response.status().is_server_error() {
        context.control.http_errors.add(1);
    }
    response
}

async fn publish_batch(State(context): State<AdminContext>, request: Request) -> Result<Response, Refused> {
    refuse_when_stopping(&context)?;
    let body = read_body(&context, request).await?;
    let batch = batch::Batch::read(&body, context.publication_bytes_max)?;
    let results = context.broker.publish(batch.publications()).await;
    count(&context, &results, batch.errors());
    batch.answer(&results)
}

async fn publish_body(
    State(context): State<AdminContext>,
    topic: Result<Path<String>, PathRejection>,
    RawQuery(query): RawQuery,
    request: Request,
) -> Result<Response, Refused> {
    refuse_when_stopping(&context)?;
    let Path(topic) = topic.map_err(|error| Refused::bad_request(ErrorCode::BadTopic, error.body_text()))?;
    let binary = is_binary(request.headers());
    let body = read_body(&context, request).await?;
    let publication = batch::whole_body(&topic, query.as_deref(), binary, body, context.publication_bytes_max)?;
    let results = context.broker.publish(vec![publication]).await;
    count(&context, &results, 0);
    answer::single(&results)
}

/// A binary publication is asked for by name; parameters behind `;` do not matter.
fn is_binary(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    kind.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/octet-stream"))
}

fn refuse_when_stopping(context: &AdminContext) -> Result<(), Refused> {
    if *context.stopping.borrow() { Err(Refused::from(broker::PublishError::Stopping)) } else { Ok(()) }
}

/// Reads the body up to `body_bytes_max`, for at most `body_timeout_ms`; a length announced above it is refused before a byte is read.
async fn read_body(context: &AdminContext, request: Request) -> Result<Bytes, Refused> {
    let bytes_max = context.settings.body_bytes_max;
    let too_large = || Refused {
        status: StatusCode::PAYLOAD_TOO_LARGE,
        code: ErrorCode::Limit,
        msg: format!("the body is larger than body_bytes_max, {bytes_max} bytes; send smaller batches"),
    };
    let announced = request.headers().get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if announced.is_some_and(|announced| announced > bytes_max as u64) {
        return Err(too_large());
    }
    let timeout_ms = context.settings.body_timeout_ms;
    // The router's DefaultBodyLimit holds for a body that announces no length.
    let body = tokio::time::timeout(Duration::from_millis(timeout_ms.into()), Bytes::from_request(request, &())).await;
    let late = |_| Refused {
        status: StatusCode::REQUEST_TIMEOUT,
        code: ErrorCode::BadRequest,
        msg: format!("the body took longer than body_timeout_ms, {timeout_ms} ms"),
    };
    body.map_err(late)?.map_err(|error| match error.status() {
        StatusCode::PAYLOAD_TOO_LARGE => too_large(),
        _ => Refused::bad_request(ErrorCode::BadRequest, format!("the body could not be read to its end: {}", error.body_text())),
    })
}

fn count(context: &AdminContext, results: &[Result<crate::hub::Position, broker::PublishError>], unreadable: usize) {
    let published = results.iter().filter(|result| result.is_ok()).count();
    context.control.http_publications.add(published as u64);
    context.control.http_publication_errors.add((results.len() - published + unreadable) as u64);
}

/// One topic as `GET /api/topics` lists it.
#[derive(Serialize)]
struct TopicEntry<'r> {
    topic: &'r str,
    epoch: &'r str,
    offset: u64,
    /// Publications a second.
    rate: f64,
    subscribers: u64,
}

impl TopicEntry<'_> {
    fn new(report: &broker::TopicReport) -> TopicEntry<'_> {
        TopicEntry {
            topic: report.name.as_str(),
            epoch: report.position.epoch.as_str(),
            offset: report.position.offset,
            rate: report.rate,
            subscribers: report.subscribers,
        }
    }
}

async fn topics(State(context): State<AdminContext>) -> Result<Response, Refused> {
    let reports = context.broker.topics().await?;
    let entries: Vec<TopicEntry<'_>> = reports.iter().map(TopicEntry::new).collect();
    Ok(axum::Json(entries).into_response())
}

/// What holds for this moment only.
fn told(value: serde_json::Value) -> Response {
    ([(header::CACHE_CONTROL, "no-store")], axum::Json(value)).into_response()
}

async fn metrics(State(context): State<AdminContext>) -> Response {
    let text = exposition::text(&context.shards, &context.control);
    ([(header::CONTENT_TYPE, exposition::CONTENT_TYPE)], text).into_response()
}

/// This thread answers, so it lives.
async fn live() -> &'static str {
    "live\n"
}

async fn ready(State(context): State<AdminContext>) -> Response {
    let stopping = *context.stopping.borrow();
    let readiness = &context.readiness;
    if readiness.serves() && !stopping && !readiness.is_full() {
        let failing = context.control.journals_failing.get();
        // Subscribers are served all the same, so it stays ready.
        return match failing {
            0 => "ready\n".into_response(),
            _ => format!("ready\nthe journals of {failing} topics cannot be written; see the log\n").into_response(),
        };
    }
    let msg = match (stopping, readiness.serves()) {
        (true, _) => "the gateway is stopping",
        (false, false) => "the gateway does not serve clients yet, or is draining",
        (false, true) => "the gateway has as many clients as it may (connections_max); those who are here are served",
    };
    Refused { status: StatusCode::SERVICE_UNAVAILABLE, code: ErrorCode::Internal, msg: msg.to_owned() }.into_response()
}

async fn unknown_path(request: Request) -> Refused {
    let msg = format!(
        "there is no {:?} here; try / (the operator's page), /api/publish, /api/topics, /api/topics/<topic>, /api/connections, \
         /api/slow, /api/history, /metrics, /health/live or /health/ready",
        request.uri().path()
    );
    Refused { status: StatusCode::NOT_FOUND, code: ErrorCode::BadRequest, msg }
}

async fn wrong_method(request: Request) -> Refused {
    let msg = format!("{} is not for {:?}; see the Allow header", request.method(), request.uri().path());
    Refused { status: StatusCode::METHOD_NOT_ALLOWED, code: ErrorCode::BadRequest, msg }
}

#[cfg(test)]
mod tests;
