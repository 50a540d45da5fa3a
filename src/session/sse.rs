//! Server-sent events: how `GET /sse` is answered, and what keeps its line in use.
//!
//! A client of it is a subscriber that says nothing more: what it sends behind its request is thrown away. The answer's body
//! has no length and goes on until the connection ends, for HTTP/1.0 too. Where it listens to one topic, each publication
//! bears its position as id, and a browser that comes back names the last one (`Last-Event-ID`).
//!
//! Without: subscriptions, and how publications are written ([`crate::dialect::stream::sse`]).

use super::refusal::Refusal;
use super::{Phase, Role, Session};
use crate::admission::request_id;
use crate::dialect::stream::{Stream, sse};
use crate::http::{self, Request};
use crate::hub::Subject;
use crate::metrics::RefusalReason;

/// A comment goes out as often, in milliseconds: what stands in between gives up lines that are silent for half a minute.
pub(super) const COMMENT_MS: u32 = 15_000;

/// A request that is granted, once its streams are subscribed to.
#[derive(Debug)]
pub(super) struct Accepted {
    /// The page of another origin that may read the answer.
    origin: Option<Box<str>>,
    /// The client is told where its streams begin.
    pub(super) reply: bool,
}

/// What a request asks for, once host, method and origin are checked: its role, and its streams from where they go on.
///
/// # Errors
/// With what is wrong with it.
pub(super) fn accept(request: &Request<'_>, mut streams: Vec<Stream>) -> Result<(Role, Accepted, Vec<Stream>), Refusal> {
    if request.has_body() {
        return Err(bad_request("a GET request bears no body here"));
    }
    if streams.is_empty() {
        return Err(bad_request("there is nothing to listen to: name streams, as in /sse?streams=a/b"));
    }
    // What a rate leaves out cannot be asked for by position, and a pattern has none.
    let is_topic = matches!(streams[0].subject, Subject::Topic(_));
    let one = is_topic && streams.iter().all(|stream| stream.subject == streams[0].subject && stream.options.rate_ms.is_none());
    if one && let Some(value) = request.header("last-event-id") {
        // The URL stays the same when a browser comes back, so what it has seen since is the newer word.
        if let Some(position) = sse::last_event_id(value).map_err(|error| bad_request(error.message))? {
            streams.iter_mut().for_each(|stream| stream.options.go_on_after(position));
        }
    }
    let reply = streams.iter().any(|stream| stream.options.given);
    let origin = request.header("origin").and_then(|origin| std::str::from_utf8(origin).ok()).map(Box::from);
    Ok((Role::Sse { one }, Accepted { origin, reply }, streams))
}

fn bad_request(message: impl Into<String>) -> Refusal {
    Refusal::new(400, RefusalReason::BadRequest, message)
}

impl Accepted {
    /// The answer's head.
    pub(super) fn write_head(&self, out: &mut Vec<u8>, request_id: &str) {
        let mut headers = vec![
            ("Content-Type", "text/event-stream"),
            ("Cache-Control", "no-store"),
            // nginx would gather the answer before it passes it on.
            ("X-Accel-Buffering", "no"),
            ("X-Content-Type-Options", "nosniff"),
            ("Vary", "Origin"),
            (request_id::FIELD, request_id),
        ];
        // It was checked against the listener's `origins` already.
        headers.extend(self.origin.as_deref().map(|origin| ("Access-Control-Allow-Origin", origin)));
        http::write_endless_response(out, &headers);
    }
}

impl Session {
    /// Whether this is an open stream of server-sent events.
    pub(super) fn is_sse(&self) -> bool {
        matches!(&self.phase, Phase::Open(open) if matches!(open.role, Role::Sse { .. }))
    }

    /// A comment, unless the client has yet to take what it is owed: it is not idle then.
    pub(super) fn owe_comment(&mut self, now_us: u64) {
        if self.owed().is_empty() {
            self.owe().extend_from_slice(sse::COMMENT);
        }
        self.began_us = now_us;
    }
}
