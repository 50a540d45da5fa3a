//! What a client at the door may do, by where it comes from, by the page that it is on, and by the token that its request bears.
//!
//! Refusals never say what is wrong with a token, or what else would be granted; the log does.

use super::entrance::Door;
use super::refusal::Refusal;
use super::{Moment, Role, bearer};
use crate::admission::{ClientAddress, Question, Verdict};
use crate::config::{Callout, PublishAllow, WhenDown};
use crate::dialect::stream::Stream;
use crate::http;
use crate::hub::{Pattern, Subject};
use crate::metrics::RefusalReason;

/// RFC 9110 15.5.2: a server that sends 401 MUST send WWW-Authenticate.
const AUTHENTICATE: &[(&str, &str)] = &[("WWW-Authenticate", "Bearer")];

impl Door<'_> {
    /// Cross-site WebSocket hijacking: only pages of the same host, or of a listed origin. No `Origin` is no browser.
    pub(super) fn check_origin(&self) -> Result<(), Refusal> {
        let mut origins = self.request.header_values("origin");
        let Some(origin) = origins.next() else { return Ok(()) };
        // A browser sends one (RFC 6454 7.3): of several nobody knows which page it is.
        let origin = if origins.next().is_none() { std::str::from_utf8(origin).unwrap_or("") } else { "" };
        let host = self.request.host().unwrap_or("");
        if http::is_same_origin(origin, host) || self.listener.origins.iter().any(|known| known == origin) {
            return Ok(());
        }
        let message = format!("pages of {origin:?} may not connect here; add the origin to `origins` of this listener");
        let cause = format!("Origin: {:?} is not among the listener's origins", origin.chars().take(64).collect::<String>());
        Err(Refusal::new(403, RefusalReason::Forbidden, message).with_cause(cause))
    }

    /// Finds out what the client may do: by the token that the request bears, and by the operator's endpoint, which is to be asked this
    /// where it was not.
    pub(super) fn check_rights(&mut self, moment: Moment) -> Result<Option<Box<Question>>, Refusal> {
        let borne = bearer::of(self.request).map_err(|sentence| Refusal::new(400, RefusalReason::BadRequest, sentence))?;
        self.check_token(borne.as_deref(), moment)?;
        let Some(callout) = &self.rules.callout else { return Ok(None) };
        match self.verdict.take() {
            None => return Ok(Some(Box::new(self.question(callout, borne.as_deref())))),
            Some(Verdict::Granted(granted)) => self.session.grant(*granted, self.rules, moment),
            Some(Verdict::Down) if callout.when_down == WhenDown::Allow => {}
            Some(Verdict::Down) => {
                let message = "who may come in cannot be found out now; come back after Retry-After";
                let refusal = Refusal::new(503, RefusalReason::Callout, message).with_cause("the callout gave no answer");
                return Err(refusal.with_retry_after(self.session.retry_after_s(moment.now_us)));
            }
            Some(Verdict::Refused) => {
                let refusal = Refusal::new(403, RefusalReason::Forbidden, "not allowed");
                return Err(refusal.with_cause("the callout refuses"));
            }
        }
        Ok(None)
    }

    /// What the operator's endpoint is asked. The shard knows the address.
    fn question(&self, callout: &Callout, token: Option<&str>) -> Question {
        let text = |bytes: &[u8]| Box::from(String::from_utf8_lossy(bytes));
        let told = |name: &String| {
            let values: Vec<_> = self.request.header_values(name).collect();
            let name = name.to_ascii_lowercase().into_boxed_str();
            (!values.is_empty()).then(|| (name, text(&values.join(&b", "[..]))))
        };
        Question {
            address: ClientAddress::Unix,
            path: Some(self.request.path().into()),
            origin: self.request.header("origin").map(text),
            headers: callout.headers.iter().filter_map(told).collect(),
            token: token.map(Box::from),
            request_id: Box::default(),
        }
    }

    /// Takes the token that the request bears, where tokens are taken.
    fn check_token(&mut self, borne: Option<&str>, moment: Moment) -> Result<(), Refusal> {
        let (Some(tokens), Some(token)) = (&self.rules.tokens, borne) else { return Ok(()) };
        match tokens.holder(token, moment.unix_us / 1_000_000) {
            Ok(holder) => {
                self.session.hold(holder, self.rules, moment);
                Ok(())
            }
            Err(refused) => {
                self.session.want_key(&refused);
                Err(unauthorized("the token is not accepted").with_cause(format!("the token: {refused}")))
            }
        }
    }

    /// Whether the client may have what it asks for.
    pub(super) fn check_permission(&mut self, role: &Role, streams: &[Stream]) -> Result<(), Refusal> {
        let of_proxy = |(name, _): (&str, &[u8])| {
            let name = name.to_ascii_lowercase();
            name.starts_with("x-forwarded-") || ["origin", "forwarded", "x-real-ip", "via"].contains(&name.as_str())
        };
        let direct = self.session.from_loopback && !self.request.headers.iter().any(of_proxy);
        self.session.publishes = self.rules.publish == PublishAllow::Loopback && direct;
        match role {
            Role::PublisherOne(topic) if self.session.may_publish(topic, self.rules) => Ok(()),
            Role::PublisherMany if self.session.may_publish_any(self.rules) => Ok(()),
            Role::PublisherOne(_) | Role::PublisherMany if self.rules.tokens.is_none() && self.rules.callout.is_none() => {
                let message = "publishing is not allowed here; see [publish] in the configuration";
                Err(Refusal::new(403, RefusalReason::Forbidden, message))
            }
            Role::PublisherOne(topic) => Err(self.denied("publishing", topic.as_str())),
            Role::PublisherMany => Err(self.denied("publishing", "any topic")),
            Role::Echo if (self.rules.tokens.is_some() || self.rules.callout.is_some()) && self.session.holder().is_none() => {
                Err(self.denied("asking", "/echo"))
            }
            Role::Echo => Ok(()),
            Role::Subscriber { .. } | Role::Sse { .. } => match self.session.find_denied(streams, self.rules) {
                Some(stream) => Err(self.denied("subscribing", stream)),
                None => Ok(()),
            },
        }
    }

    /// The list of topics tells all their names, so it is for those who may subscribe to all.
    pub(super) fn check_list(&self) -> Result<(), Refusal> {
        let all = Subject::Pattern(Pattern::parse(">").expect("it is a pattern"));
        if self.session.may_subscribe(&all, self.rules) { Ok(()) } else { Err(self.denied("asking", "the list of topics")) }
    }

    /// 401 to who has shown no token and could, else 403.
    fn denied(&self, doing: &str, what: &str) -> Refusal {
        let cause = format!("{doing}: {what:?} is not granted");
        let refusal = match (&self.rules.tokens, self.session.holder()) {
            (Some(_), None) => unauthorized(format!("{what}: a token is needed here")),
            _ => Refusal::new(403, RefusalReason::Forbidden, format!("{what}: not allowed")),
        };
        refusal.with_cause(cause)
    }
}

fn unauthorized(message: impl Into<String>) -> Refusal {
    Refusal::new(401, RefusalReason::Unauthorized, message).with_headers(AUTHENTICATE)
}
