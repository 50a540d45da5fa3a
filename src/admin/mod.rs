//! The admin port: publishing over HTTP, topics, connections, metrics, health, the operator's page.
//!
//! Ordinary `axum` on the control thread. `guard` turns away what a browser was tricked into sending; `keys` knows who may ask what, and without
//! any the configuration lets the port listen on loopback only. Invariants: every answer that is not 2xx says why as
//! `{"error":{"code","msg"}}`; a publication is answered with its position or with why it has none, never not at all.

mod answer;
mod batch;
mod connections;
mod exposition;
mod guard;
mod history;
mod keys;
mod load;
mod page;
mod revoke;
mod sampling;
mod topic;
mod watching;

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::body::Bytes;
use axum::extract::rejection::PathRejection;
use axum::extract::{DefaultBodyLimit, FromRequest, Path, RawQuery, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Extension, Router};
use serde::Serialize;
use tokio::sync::watch;

use self::answer::Refused;
pub use self::history::History;
use self::keys::Grant;
pub use self::keys::{Key, KeyFault, Keys};
use crate::admission::Readiness;
use crate::broker;
use crate::config::Config;
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
    /// The configuration in force, which a reload replaces.
    pub settings: watch::Receiver<Arc<Config>>,
    /// Who may ask what; a reload replaces them, too.
    pub keys: watch::Receiver<Keys>,
    /// Whether the gateway takes clients; `/health/ready` tells it.
    pub readiness: Arc<Readiness>,
    /// When a denial was last told.
    pub denial_told: Arc<Mutex<Option<Instant>>>,
    /// Where clients connect, by listener.
    pub listeners: Arc<[String]>,
    /// Turns true when the gateway stops: from then on publishing is answered with 503.
    pub stopping: watch::Receiver<bool>,
    /// Turns true when another gateway has this one's place, and its admin port.
    pub taken: watch::Receiver<bool>,
}

/// Least time between two lines of the log about requests that are denied.
const DENIAL_PAUSE: Duration = Duration::from_secs(1);

impl AdminContext {
    /// What is in force at this moment; asked once for each request, so that it does not change within.
    fn config(&self) -> Arc<Config> {
        self.settings.borrow().clone()
    }
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
        .route("/api/key", get(key))
        .route("/", get(page::file))
        .route("/page/{file}", get(page::file))
        .route("/api/revoke", post(revoke::revoke))
        .route("/metrics", get(metrics))
        .route("/health/live", get(live))
        .route("/health/ready", get(ready))
        .fallback(unknown_path)
        .method_not_allowed_fallback(wrong_method)
        .layer(middleware::from_fn_with_state(context.clone(), admit))
        .with_state(context)
}

/// Before every handler: who may ask, and the count of what was asked.
async fn admit(State(context): State<AdminContext>, mut request: Request, next: Next) -> Response {
    context.control.http_requests.add(1);
    let config = context.config();
    // Where others reach it they need a key, which no page has that makes a browser ask.
    let hosts = config.admin.address.ip().is_loopback().then_some(&config.admin.hosts[..]);
    let guarded = guard::check(request.method(), request.uri(), request.headers(), hosts);
    let keys = context.keys.borrow().clone();
    let admitted = guarded.and_then(|()| {
        let admitted = keys.admit(request.method(), request.uri().path(), request.headers());
        admitted.map_err(|(refused, why)| denied(&context, refused, &why))
    });
    let mut response = match admitted {
        Ok(grant) => {
            request.extensions_mut().insert(grant);
            next.run(request).await
        }
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

/// The log is told why; the client is not.
fn denied(context: &AdminContext, refused: Refused, why: &str) -> Refused {
    context.control.http_denied.add(1);
    let mut told = context.denial_told.lock().expect("nobody panics with it");
    if told.is_none_or(|told| told.elapsed() >= DENIAL_PAUSE) {
        *told = Some(Instant::now());
        tracing::warn!(why, "a request of the admin port is denied (one line a second; all are counted in admin_denied)");
    }
    refused
}

async fn publish_batch(
    State(context): State<AdminContext>,
    Extension(grant): Extension<Grant>,
    request: Request,
) -> Result<Response, Refused> {
    refuse_when_stopping(&context)?;
    let body = read_body(&context, request).await?;
    let mut batch = batch::Batch::read(&body, context.config().limits.publication_bytes_max)?;
    batch.hold_to(|topic| grant.publishes(topic).map_err(|(refused, why)| denied(&context, refused, &why)))?;
    let results = context.broker.publish(batch.publications()).await;
    count(&context, &results, batch.errors());
    batch.answer(&results)
}

async fn publish_body(
    State(context): State<AdminContext>,
    Extension(grant): Extension<Grant>,
    topic: Result<Path<String>, PathRejection>,
    RawQuery(query): RawQuery,
    request: Request,
) -> Result<Response, Refused> {
    refuse_when_stopping(&context)?;
    let Path(topic) = topic.map_err(|error| Refused::bad_request(ErrorCode::BadTopic, error.body_text()))?;
    let binary = is_binary(request.headers());
    let body = read_body(&context, request).await?;
    let bytes_max = context.config().limits.publication_bytes_max;
    let publication = batch::whole_body(&topic, query.as_deref(), binary, body, bytes_max)?;
    grant.publishes(&publication.topic).map_err(|(refused, why)| denied(&context, refused, &why))?;
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
async fn read_body(context: &AdminContext, mut request: Request) -> Result<Bytes, Refused> {
    let config = context.config();
    let bytes_max = config.admin.body_bytes_max;
    let too_large = || Refused {
        status: StatusCode::PAYLOAD_TOO_LARGE,
        code: ErrorCode::Limit,
        msg: format!("the body is larger than body_bytes_max, {bytes_max} bytes; send smaller batches"),
    };
    let announced = request.headers().get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if announced.is_some_and(|announced| announced > bytes_max as u64) {
        return Err(too_large());
    }
    let timeout_ms = config.admin.body_timeout_ms;
    // A body that announces no length is held to it as it comes.
    DefaultBodyLimit::max(bytes_max).apply(&mut request);
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

/// `GET /api/key`: what the key that is borne is good for, so that who was given one need not try.
async fn key(Extension(grant): Extension<Grant>) -> Response {
    told(grant.told())
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

async fn metrics(State(context): State<AdminContext>, headers: HeaderMap) -> Response {
    let text = exposition::text(&context.shards, &context.control);
    let accepted = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let (kind, text) = match accepted.into_iter().any(|kinds| kinds.contains("application/openmetrics-text")) {
        true => (exposition::OPEN_METRICS, text),
        false => (exposition::CLASSIC, exposition::classic(&text)),
    };
    ([(header::CONTENT_TYPE, kind)], text).into_response()
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
    let msg = match (stopping, readiness.serves(), readiness.is_short_of_memory()) {
        (true, ..) => "the gateway is stopping",
        (false, false, _) => "the gateway does not serve clients yet, or is draining",
        (false, true, true) => "the gateway has more memory than it may (memory_bytes_max); those who are here are served",
        (false, true, false) => "the gateway has as many clients as it may (connections_max); those who are here are served",
    };
    Refused { status: StatusCode::SERVICE_UNAVAILABLE, code: ErrorCode::Internal, msg: msg.to_owned() }.into_response()
}

async fn unknown_path(request: Request) -> Refused {
    let msg = format!(
        "there is no {:?} here; try / (the operator's page), /api/publish, /api/topics, /api/topics/<topic>, /api/connections, \
         /api/slow, /api/history, /api/key, /metrics, /health/live or /health/ready",
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
