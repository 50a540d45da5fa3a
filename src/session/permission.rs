//! What a client at the door may do, by where it comes from and by the token that its request bears.
//!
//! Refusals never say what is wrong with a token, or what else would be granted; the log does.

use super::entrance::{Door, Refusal};
use super::{Moment, Role, bearer};
use crate::config::PublishAllow;
use crate::dialect::stream::Stream;
use crate::hub::{Pattern, Subject};
use crate::metrics::RefusalReason;

/// RFC 9110 15.5.2: a server that sends 401 MUST send WWW-Authenticate.
const AUTHENTICATE: &[(&str, &str)] = &[("WWW-Authenticate", "Bearer")];

impl Door<'_> {
    /// Takes the token that the request bears, where tokens are taken.
    pub(super) fn check_token(&mut self, moment: Moment) -> Result<(), Refusal> {
        let borne = bearer::of(self.request).map_err(|sentence| Refusal::new(400, RefusalReason::BadRequest, sentence))?;
        let (Some(tokens), Some(token)) = (&self.rules.tokens, borne) else { return Ok(()) };
        match tokens.holder(&token, moment.unix_us / 1_000_000) {
            Ok(holder) => {
                self.session.hold(holder, self.rules, moment);
                Ok(())
            }
            Err(refused) => Err(unauthorized("the token is not accepted").with_denied(format!("the token: {refused}"))),
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
            Role::PublisherOne(_) | Role::PublisherMany if self.rules.tokens.is_none() => {
                let message = "publishing is not allowed here; see [publish] in the configuration";
                Err(Refusal::new(403, RefusalReason::Forbidden, message))
            }
            Role::PublisherOne(topic) => Err(self.denied("publishing", topic.as_str())),
            Role::PublisherMany => Err(self.denied("publishing", "any topic")),
            Role::Echo if self.rules.tokens.is_some() && self.session.holder().is_none() => Err(self.denied("asking", "/echo")),
            Role::Echo => Ok(()),
            Role::Subscriber { .. } | Role::Sse { .. } => match self.session.find_denied(streams, self.rules) {
                Some(stream) => Err(self.denied("subscribing", stream)),
                None => Ok(()),
            },
        }
    }

    /// The list of topics tells all their names, so it is for those who may subscribe to all.
    pub(super) fn check_list(&mut self, moment: Moment) -> Result<(), Refusal> {
        self.check_token(moment)?;
        let all = Subject::Pattern(Pattern::parse(">").expect("it is a pattern"));
        if self.session.may_subscribe(&all, self.rules) { Ok(()) } else { Err(self.denied("asking", "the list of topics")) }
    }

    /// 401 to who has shown no token and could, else 403.
    fn denied(&self, doing: &str, what: &str) -> Refusal {
        let reason = format!("{doing}: {what:?} is not granted");
        let refusal = match (&self.rules.tokens, self.session.holder()) {
            (Some(_), None) => unauthorized(format!("{what}: a token is needed here")),
            _ => Refusal::new(403, RefusalReason::Forbidden, format!("{what}: not allowed")),
        };
        refusal.with_denied(reason)
    }
}

fn unauthorized(message: impl Into<String>) -> Refusal {
    Refusal::new(401, RefusalReason::Unauthorized, message).with_headers(AUTHENTICATE)
}
