//! The door: what a request's head asks for, whether this client may have it, and the answer.
//!
//! Checks stand in the order of their cost to an attacker: size, host, method, path, origin, upgrade, permission.

use std::collections::HashSet;
use std::net::IpAddr;

use super::upgrade::{Upgraded, subprotocol};
use super::{Awaited, Effect, ListenerRules, Moment, Open, Phase, Role, Rules, Session, sse};
use crate::admission::request_id;
use crate::config::PublishAllow;
use crate::dialect::stream::reply::Subscribed;
use crate::dialect::stream::{RequestId, Stream, Target, target};
use crate::dialect::{ClientError, ErrorCode};
use crate::http::{self, HeadError, Progress, Request};
use crate::hub::TopicName;
use crate::metrics::{CloseClass, RefusalReason};
use crate::page;
use crate::ws::deflate::{Agreement, Terms};
use crate::ws::handshake;

/// A request that the shard has in hand.
#[derive(Debug)]
pub(super) struct Entering {
    /// What the connection will be.
    pub(super) role: Role,
    /// None: an answer that ends.
    opening: Option<Opening>,
    /// Who may send another request on this connection; none: nobody.
    peer: Option<IpAddr>,
    /// When the head came whole.
    came_us: u64,
    /// What names the request, here and elsewhere.
    request_id: String,
    /// That can be made again from the connection's number.
    is_made: bool,
}

/// How a connection is opened that stays.
#[derive(Debug)]
enum Opening {
    Upgrade(Upgraded),
    Sse(sse::Accepted),
}

impl Entering {
    /// What permessage-deflate will be on the connection.
    pub(super) fn deflate(&self) -> Option<Agreement> {
        match &self.opening {
            Some(Opening::Upgrade(upgraded)) => upgraded.deflate,
            _ => None,
        }
    }
}

/// What a head came to.
enum Outcome {
    Refuse(Refusal),
    /// An answer that is whole; the connection may go on with another request.
    Answer {
        status: u16,
        content_type: &'static str,
        body: std::borrow::Cow<'static, [u8]>,
    },
    Topics,
    Open {
        role: Role,
        opening: Opening,
        streams: Vec<Stream>,
    },
}

pub(super) struct Refusal {
    status: u16,
    reason: RefusalReason,
    code: ErrorCode,
    message: String,
    headers: &'static [(&'static str, &'static str)],
    /// When the client may come again, in seconds.
    retry_after_s: Option<u32>,
    /// What names the request, where there is one.
    request_id: Option<String>,
    /// What the log is told in place of the message.
    cause: Option<&'static str>,
}

impl Refusal {
    pub(super) fn new(status: u16, reason: RefusalReason, message: impl Into<String>) -> Refusal {
        let code = match status {
            401 => ErrorCode::TokenInvalid,
            403 => ErrorCode::NotAllowed,
            429 => ErrorCode::TooManyRequests,
            503 => ErrorCode::Limit,
            _ => ErrorCode::BadRequest,
        };
        Refusal {
            status,
            reason,
            code,
            message: message.into(),
            headers: &[],
            retry_after_s: None,
            request_id: None,
            cause: None,
        }
    }

    /// With when the client may come again.
    pub(super) fn with_retry_after(self, retry_after_s: u32) -> Refusal {
        Refusal { retry_after_s: Some(retry_after_s), ..self }
    }
}

impl Session {
    /// Takes bytes of a request's head.
    pub(super) fn receive_head(&mut self, input: &mut &mut [u8], rules: &Rules, moment: Moment) -> Option<Effect> {
        let Phase::Head(head) = &mut self.phase else { unreachable!("only called while a head is awaited") };
        match head.reader.feed(input) {
            Ok(Progress::Partial) => {
                *input = &mut [];
                return None;
            }
            Ok(Progress::Complete { consumed }) => *input = &mut std::mem::take(input)[consumed..],
            Err(error) => {
                self.refuse_head(&error, moment.now_us);
                return None;
            }
        }
        if rules.listeners[usize::from(self.listener)].trusted_proxies.is_empty() {
            return self.enter(rules, moment);
        }
        Some(Effect::Asked)
    }

    /// Answers the request whose head is whole, or asks the shard for what it wants.
    pub(super) fn enter(&mut self, rules: &Rules, moment: Moment) -> Option<Effect> {
        let Phase::Head(head) = std::mem::replace(&mut self.phase, Phase::Receiving) else {
            unreachable!("it has a head in hand")
        };
        match head.reader.request() {
            Ok(request) => self.answer_request(&request, &head, rules, moment),
            Err(error) => {
                self.refuse_head(&error, moment.now_us);
                None
            }
        }
    }

    fn answer_request(&mut self, request: &Request<'_>, head: &Awaited, rules: &Rules, moment: Moment) -> Option<Effect> {
        let (peer, came_us) = (request.keep_alive().then_some(head.peer), moment.now_us);
        let made = |behind_us| request_id::made(rules.nonce, self.number.into(), behind_us);
        let request_id = request_id::of(request, || made(head.served.then_some(came_us)));
        let is_made = request_id == made(None);
        self.bodiless = request.method == "HEAD";
        let door = Door { request, rules, listener: &rules.listeners[usize::from(self.listener)], session: self };
        match door.decide(moment) {
            Outcome::Refuse(refusal) => {
                self.write_refusal(&Refusal { request_id: Some(request_id), ..refusal }, moment.now_us);
                None
            }
            Outcome::Answer { status, content_type, body } => {
                self.write_answer(status, content_type, &body, peer, rules, moment.now_us);
                None
            }
            Outcome::Topics => {
                self.phase =
                    Phase::Entering(Box::new(Entering { role: Role::Echo, opening: None, peer, came_us, request_id, is_made }));
                Some(Effect::Topics)
            }
            Outcome::Open { role, opening, streams } => {
                let subscriber = matches!(role, Role::Subscriber { .. } | Role::Sse { .. });
                let entering = Entering { role, opening: Some(opening), peer: None, came_us, request_id, is_made };
                self.phase = Phase::Entering(Box::new(entering));
                if subscriber && !streams.is_empty() {
                    return Some(Effect::Admit { streams });
                }
                self.admit(&[]);
                None
            }
        }
    }

    /// The streams of the URL are subscribed to: says 101 (or 200, to a client of events), and unless payloads come raw their
    /// reply where one had an option.
    pub fn admit(&mut self, streams: &[Subscribed]) {
        let Phase::Entering(entering) = std::mem::replace(&mut self.phase, Phase::Receiving) else {
            unreachable!("the shard admits whom it was asked to admit")
        };
        let (deflate, reply) = match entering.opening.expect("an admission is of a connection that stays") {
            Opening::Upgrade(upgraded) => {
                upgraded.write_head(self.owe(), &entering.request_id);
                if upgraded.ack {
                    self.begin_acks();
                }
                (upgraded.deflate, upgraded.reply)
            }
            Opening::Sse(accepted) => {
                accepted.write_head(self.owe(), &entering.request_id);
                (None, accepted.reply)
            }
        };
        let raw = matches!(entering.role, Role::Subscriber { combined: false, .. });
        if !entering.is_made {
            self.tell_request_id(entering.request_id);
        }
        self.phase = Phase::Open(Open { role: entering.role, deflate, unfinished: None });
        self.began_us = entering.came_us;
        // The reply comes "with the handshake": before the first publication, with a null id.
        if reply && !raw {
            self.subscribed(&RequestId::NULL, Some(streams));
        }
    }

    /// The answer to `GET /topics`.
    pub fn answer_topics(&mut self, body: &[u8], rules: &Rules, now_us: u64) {
        let Phase::Entering(entering) = std::mem::replace(&mut self.phase, Phase::Receiving) else {
            unreachable!("the shard answers who asked")
        };
        self.write_answer(200, "application/json", body, entering.peer, rules, now_us);
    }

    /// Refuses what the shard was asked to admit; nothing where it has ended meanwhile.
    pub fn refuse_entering(&mut self, error: &ClientError, now_us: u64) {
        let (status, reason) = match error.code {
            ErrorCode::Limit => (503, RefusalReason::Full),
            ErrorCode::NotAllowed => (403, RefusalReason::Forbidden),
            _ => (400, RefusalReason::BadRequest),
        };
        let request_id = match &self.phase {
            Phase::Entering(entering) => Some(entering.request_id.clone()),
            _ => None,
        };
        let refusal = Refusal { code: error.code, request_id, ..Refusal::new(status, reason, error.message.clone()) };
        if !self.is_ending() {
            self.write_refusal(&refusal, now_us);
        }
    }

    /// Refuses with a status and a sentence, and ends; nothing where it has ended meanwhile.
    pub fn refuse(&mut self, status: u16, reason: RefusalReason, message: &str, now_us: u64) {
        if self.is_ending() {
            return;
        }
        self.write_refusal(&Refusal::new(status, reason, message), now_us);
    }

    /// Whether this client may publish to this topic.
    pub(super) fn may_publish(&self, topic: &TopicName, rules: &Rules) -> bool {
        self.publishes && rules.publish_topics.iter().any(|pattern| pattern.matches(topic.as_str()))
    }

    fn refuse_head(&mut self, error: &HeadError, now_us: u64) {
        let reason = if error.status() == 431 { RefusalReason::HeadTooLarge } else { RefusalReason::BadRequest };
        self.write_refusal(&Refusal::new(error.status(), reason, error.to_string()), now_us);
    }

    pub(super) fn write_refusal(&mut self, refusal: &Refusal, now_us: u64) {
        // What the shard had in hand was given up meanwhile, and that was told.
        if self.is_ending() {
            return;
        }
        let body = ClientError::new(refusal.code, refusal.message.as_str()).body();
        let mut headers = vec![("Content-Type", "application/json"), ("Cache-Control", "no-store")];
        headers.extend(refusal.headers);
        let retry_after = refusal.retry_after_s.map(|seconds| seconds.to_string());
        headers.extend(retry_after.as_deref().map(|seconds| ("Retry-After", seconds)));
        headers.extend(refusal.request_id.as_deref().map(|id| (request_id::FIELD, id)));
        self.respond(refusal.status, &headers, body.as_bytes(), false);
        self.tell_cause(refusal.cause.unwrap_or(&refusal.message));
        refusal.request_id.iter().for_each(|id| self.tell_request_id(id.clone()));
        self.refusal = Some(refusal.reason);
        self.end(CloseClass::Normal, now_us);
    }

    fn respond(&mut self, status: u16, headers: &[(&str, &str)], body: &[u8], keep_alive: bool) {
        let bodiless = self.bodiless;
        let owed = self.owe();
        http::write_response(owed, status, headers, body, keep_alive);
        if bodiless {
            // RFC 9110 9.3.2: "The HEAD method is identical to GET except that the server MUST NOT send content in the
            // response." 8.6: its Content-Length is that of the answer to GET.
            owed.truncate(owed.len() - body.len());
        }
    }

    fn write_answer(&mut self, status: u16, kind: &str, body: &[u8], peer: Option<IpAddr>, rules: &Rules, now_us: u64) {
        let headers = [
            ("Content-Type", kind),
            ("Cache-Control", "no-cache"),
            ("Content-Security-Policy", page::CONTENT_SECURITY_POLICY),
            ("X-Content-Type-Options", "nosniff"),
            ("Referrer-Policy", "no-referrer"),
        ];
        self.respond(status, &headers, body, peer.is_some());
        if let Some(peer) = peer {
            self.phase = Phase::head(rules, true, peer);
            self.began_us = now_us;
        } else {
            self.end(CloseClass::Normal, now_us);
        }
    }
}

/// One request at the door.
struct Door<'a> {
    request: &'a Request<'a>,
    rules: &'a Rules,
    listener: &'a ListenerRules,
    session: &'a mut Session,
}

impl Door<'_> {
    fn decide(mut self, moment: Moment) -> Outcome {
        match self.check(moment) {
            Ok(outcome) => outcome,
            Err(refusal) => Outcome::Refuse(refusal),
        }
    }

    fn check(&mut self, moment: Moment) -> Result<Outcome, Refusal> {
        self.check_host()?;
        let path = self.path()?;
        if let Some(outcome) = self.plain(path, moment)? {
            return Ok(outcome);
        }
        let wanted = target(path, self.request.query()).map_err(|error| Refusal {
            code: error.error.code,
            // The message names what stands in the query, which no log bears.
            cause: Some("what its URL asks for is not there, or not written as it should be"),
            ..Refusal::new(error.status, RefusalReason::BadRequest, error.error.message)
        })?;
        let (role, streams, ack) = match wanted {
            Target::Sse { streams } => return self.events(streams, moment),
            Target::Subscriber { combined, streams } => {
                (Role::Subscriber { combined, events: false, heartbeat: false }, streams, false)
            }
            Target::Publisher { topic: Some(topic), ack } => (Role::PublisherOne(Box::new(topic)), Vec::new(), ack),
            Target::Publisher { topic: None, ack } => (Role::PublisherMany, Vec::new(), ack),
            Target::Echo if self.rules.echo => (Role::Echo, Vec::new(), false),
            Target::Echo | Target::Other => {
                let message = format!("there is nothing at {path}; streams are at /stream, /ws and /sse");
                return Err(Refusal::new(404, RefusalReason::NotFound, message));
            }
        };
        self.check_get_or_head()?;
        self.check_origin()?;
        let upgrade = handshake::check_request(self.request).map_err(|refusal| Refusal {
            headers: refusal.headers,
            ..Refusal::new(refusal.status, refusal_reason(refusal.status), refusal.sentence)
        })?;
        self.check_permission(&role)?;
        self.check_room(moment)?;
        self.check_count(&streams)?;
        let terms = if role == Role::Echo { Terms::Own } else { Terms::Shared };
        let upgraded = Upgraded {
            deflate: upgrade.deflate(terms).filter(|_| self.listener.permessage_deflate),
            accept: upgrade.accept,
            subprotocol: subprotocol(&upgrade)?,
            reply: streams.iter().any(|stream| stream.options.given),
            ack,
        };
        Ok(Outcome::Open { role, opening: Opening::Upgrade(upgraded), streams })
    }

    /// The path, without what stands before every one. Health is answered with it and without: a balancer may know nothing of it.
    fn path(&self) -> Result<&str, Refusal> {
        let path = self.request.path();
        let (prefix, inner) = (&self.listener.path_prefix, path.strip_prefix(self.listener.path_prefix.as_str()));
        match inner {
            Some(inner) if inner.starts_with('/') => Ok(inner),
            _ if path.starts_with("/health/") => Ok(path),
            _ => Err(Refusal::new(404, RefusalReason::NotFound, format!("there is nothing at {path}; all is below {prefix}"))),
        }
    }

    /// `/sse`, for clients without WebSocket.
    fn events(&self, streams: Vec<Stream>, moment: Moment) -> Result<Outcome, Refusal> {
        // HEAD could not tell whether GET is granted: that is known once the streams are subscribed to.
        self.check_method("GET", &[("Allow", "GET")])?;
        self.check_origin()?;
        self.check_room(moment)?;
        self.check_count(&streams)?;
        let (role, accepted, streams) = sse::accept(self.request, streams)?;
        Ok(Outcome::Open { role, opening: Opening::Sse(accepted), streams })
    }

    /// Not before the request is read: health is told whoever is here.
    fn check_room(&self, moment: Moment) -> Result<(), Refusal> {
        if !moment.full {
            return Ok(());
        }
        let message = "the gateway serves as many clients as it can; come back after Retry-After";
        let retry_after_s = self.session.retry_after_s(moment.now_us);
        Err(Refusal::new(503, RefusalReason::Full, message).with_retry_after(retry_after_s))
    }

    fn check_count(&self, streams: &[Stream]) -> Result<(), Refusal> {
        // The same stream twice is one subscription.
        let distinct: HashSet<&str> = streams.iter().map(|stream| stream.subject.as_str()).collect();
        let max = self.rules.limits.subscriptions_max;
        if distinct.len() <= max as usize {
            return Ok(());
        }
        let message = format!("more than subscriptions_max = {max} streams");
        Err(Refusal { code: ErrorCode::Limit, ..Refusal::new(400, RefusalReason::BadRequest, message) })
    }

    /// DNS rebinding: a page whose name resolves to loopback bears its own name in `Host`.
    fn check_host(&self) -> Result<(), Refusal> {
        if !self.listener.loopback {
            return Ok(());
        }
        // Only HTTP/1.0 may leave it out, which balancers' health checks do and browsers, the ones to be tricked, never.
        let Some(host) = self.request.host() else { return Ok(()) };
        if http::is_loopback_host(host) || self.listener.hosts.iter().any(|known| known == &http::host_name(host)) {
            return Ok(());
        }
        let message = format!("this listener is bound to loopback and does not serve the host {host:?}; add it to `hosts`");
        Err(Refusal::new(421, RefusalReason::Misdirected, message))
    }

    fn check_get_or_head(&self) -> Result<(), Refusal> {
        if self.request.method == "HEAD" { Ok(()) } else { self.check_method("GET", &[("Allow", "GET, HEAD")]) }
    }

    fn check_method(&self, method: &str, allow: &'static [(&'static str, &'static str)]) -> Result<(), Refusal> {
        if self.request.method == method {
            return Ok(());
        }
        let message = format!("{} is not served here; use {method}", self.request.method.escape_default());
        Err(Refusal { headers: allow, ..Refusal::new(405, RefusalReason::Method, message) })
    }

    /// What is answered without an upgrade.
    fn plain(&self, path: &str, moment: Moment) -> Result<Option<Outcome>, Refusal> {
        let json = |status, body: &'static str| Outcome::Answer {
            status,
            content_type: "application/json",
            body: body.as_bytes().into(),
        };
        let outcome = match path {
            "/health/live" => json(200, r#"{"live":true}"#),
            "/health/ready" if moment.ready => json(200, r#"{"ready":true}"#),
            "/health/ready" => json(503, r#"{"ready":false}"#),
            "/topics" if self.rules.page => Outcome::Topics,
            _ if self.rules.page => match page::asset(path) {
                Some(asset) => Outcome::Answer { status: 200, content_type: asset.content_type, body: asset.body.into() },
                None => return Ok(None),
            },
            _ => return Ok(None),
        };
        self.check_get_or_head()?;
        if self.request.has_body() {
            return Err(Refusal::new(400, RefusalReason::BadRequest, "a GET request bears no body here"));
        }
        Ok(Some(outcome))
    }

    /// Cross-site WebSocket hijacking: only pages of the same host, or of a listed origin. No `Origin` is no browser.
    fn check_origin(&self) -> Result<(), Refusal> {
        let mut origins = self.request.header_values("origin");
        let Some(origin) = origins.next() else { return Ok(()) };
        // A browser sends one (RFC 6454 7.3): of several nobody knows which page it is.
        let origin = if origins.next().is_none() { std::str::from_utf8(origin).unwrap_or("") } else { "" };
        let host = self.request.host().unwrap_or("");
        if http::is_same_origin(origin, host) || self.listener.origins.iter().any(|known| known == origin) {
            return Ok(());
        }
        let message = format!("pages of {origin:?} may not connect here; add the origin to `origins` of this listener");
        Err(Refusal::new(403, RefusalReason::Forbidden, message))
    }

    fn check_permission(&mut self, role: &Role) -> Result<(), Refusal> {
        let of_proxy = |(name, _): (&str, &[u8])| {
            let name = name.to_ascii_lowercase();
            name.starts_with("x-forwarded-") || ["origin", "forwarded", "x-real-ip", "via"].contains(&name.as_str())
        };
        let direct = self.session.from_loopback && !self.request.headers.iter().any(of_proxy);
        self.session.publishes = self.rules.publish == PublishAllow::Loopback && direct;
        let allowed = match role {
            Role::PublisherOne(topic) => self.session.may_publish(topic, self.rules),
            Role::PublisherMany => self.session.publishes,
            Role::Subscriber { .. } | Role::Echo | Role::Sse { .. } => true,
        };
        if allowed {
            return Ok(());
        }
        let message = "publishing is not allowed here; see [publish] in the configuration";
        Err(Refusal::new(403, RefusalReason::Forbidden, message))
    }
}

fn refusal_reason(status: u16) -> RefusalReason {
    match status {
        405 => RefusalReason::Method,
        426 => RefusalReason::UpgradeRequired,
        _ => RefusalReason::BadRequest,
    }
}
