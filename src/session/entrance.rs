//! The door: what a request's head asks for, whether this client may have it, and the answer.
//!
//! Checks stand in the order of their cost to an attacker: size, host, method, path, origin, upgrade, permission.

use std::collections::HashSet;
use std::net::IpAddr;

use super::refusal::Refusal;
use super::upgrade::{Upgraded, subprotocol};
use super::{Awaited, Effect, ListenerRules, Moment, Open, Phase, Role, Rules, Session, sse};
use crate::admission::{Question, Verdict, request_id};
use crate::dialect::ErrorCode;
use crate::dialect::stream::reply::Subscribed;
use crate::dialect::stream::{RequestId, Stream, Target, target};
use crate::http::{self, Progress, Request};
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
    pub(super) request_id: String,
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
    /// What it may do is to be asked first.
    Ask(Box<Question>),
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
            return self.enter(None, rules, moment);
        }
        Some(Effect::Asked)
    }

    /// Answers the request whose head is whole, or asks the shard for what it wants.
    pub(super) fn enter(&mut self, verdict: Option<Verdict>, rules: &Rules, moment: Moment) -> Option<Effect> {
        let Phase::Head(head) = std::mem::replace(&mut self.phase, Phase::Receiving) else {
            unreachable!("it has a head in hand")
        };
        let effect = match head.reader.request() {
            Ok(request) => self.answer_request(&request, (&head, verdict), rules, moment),
            Err(error) => {
                self.refuse_head(&error, moment.now_us);
                None
            }
        };
        if matches!(effect, Some(Effect::Callout(_))) {
            // It is read once more when the answer is there.
            self.phase = Phase::Head(head);
        }
        effect
    }

    fn answer_request(
        &mut self,
        request: &Request<'_>,
        (head, verdict): (&Awaited, Option<Verdict>),
        rules: &Rules,
        moment: Moment,
    ) -> Option<Effect> {
        let (peer, came_us) = (request.keep_alive().then_some(head.peer), moment.now_us);
        let made = |behind_us| request_id::made(rules.nonce, self.number.into(), behind_us);
        let request_id = request_id::of(request, || made(head.served.then_some(came_us)));
        let is_made = request_id == made(None);
        self.bodiless = request.method == "HEAD";
        self.forget_holder();
        let door = Door { request, rules, listener: &rules.listeners[usize::from(self.listener)], session: self, verdict };
        match door.decide(moment) {
            Outcome::Refuse(refusal) => {
                self.write_refusal(&Refusal { request_id: Some(request_id), ..refusal }, moment.now_us);
                None
            }
            Outcome::Ask(question) => Some(Effect::Callout(Box::new(Question { request_id: request_id.into(), ..*question }))),
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

    pub(super) fn respond(&mut self, status: u16, headers: &[(&str, &str)], body: &[u8], keep_alive: bool) {
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
pub(super) struct Door<'a> {
    pub(super) request: &'a Request<'a>,
    pub(super) rules: &'a Rules,
    pub(super) listener: &'a ListenerRules,
    pub(super) session: &'a mut Session,
    /// What the operator's endpoint said, once it was asked.
    pub(super) verdict: Option<Verdict>,
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
            if matches!(outcome, Outcome::Topics) {
                if let Some(question) = self.check_rights(moment)? {
                    return Ok(Outcome::Ask(question));
                }
                self.check_list()?;
            }
            return Ok(outcome);
        }
        let wanted = target(path, self.request.query()).map_err(|error| Refusal {
            code: error.error.code,
            // The message names what stands in the query, which no log bears.
            cause: Some("what its URL asks for is not there, or not written as it should be".into()),
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
        let subprotocol = subprotocol(&upgrade)?;
        if let Some(question) = self.check_rights(moment)? {
            return Ok(Outcome::Ask(question));
        }
        self.check_permission(&role, &streams)?;
        self.check_room(moment)?;
        self.check_count(&streams)?;
        let terms = if role == Role::Echo { Terms::Own } else { Terms::Shared };
        let upgraded = Upgraded {
            deflate: upgrade.deflate(terms).filter(|_| self.listener.permessage_deflate),
            accept: upgrade.accept,
            subprotocol,
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
    fn events(&mut self, streams: Vec<Stream>, moment: Moment) -> Result<Outcome, Refusal> {
        // HEAD could not tell whether GET is granted: that is known once the streams are subscribed to.
        self.check_method("GET", &[("Allow", "GET")])?;
        self.check_origin()?;
        if let Some(question) = self.check_rights(moment)? {
            return Ok(Outcome::Ask(question));
        }
        let (role, accepted, streams) = sse::accept(self.request, streams)?;
        self.check_permission(&role, &streams)?;
        self.check_room(moment)?;
        self.check_count(&streams)?;
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
        let max = self.session.subscriptions_max(self.rules);
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
}

fn refusal_reason(status: u16) -> RefusalReason {
    match status {
        405 => RefusalReason::Method,
        426 => RefusalReason::UpgradeRequired,
        _ => RefusalReason::BadRequest,
    }
}
