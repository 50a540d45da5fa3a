//! Who a client is, by the token that it last showed, and what it may do: what that grants, or what anybody may.
//!
//! Without: clocks (moments are arguments), and where tokens stand in requests. Nothing here is kept of a client without a token.
//!
//! Invariants: a token that is refused changes nothing; a client is closed when its token has been over for the leeway, by the wall
//! clock as it stands when one of the client's deadlines comes up, so a clock that is set right is followed.

use super::renewal::Renewal;
use super::{Effect, Moment, Phase, Rules, Session};
use crate::admission::{Fault, Granted, Holder, Refused, Revocation, Verdict};
use crate::dialect::stream::Stream;
use crate::hub::{Subject, TopicName};

/// What is known of a client that showed a token, or was denied something.
#[derive(Debug, Default)]
pub(super) struct Rights {
    holder: Option<Box<Holder>>,
    /// When its token has been over for the leeway, monotonic, microseconds, as far as the clocks go alike.
    ends_us: u64,
    denied: Option<Box<Denied>>,
    /// Its token named a key that nobody knows.
    key_wanted: bool,
    /// A token of AUTH that the operator's endpoint is asked about.
    pub(super) renewal: Option<Box<Renewal>>,
}

/// What a client was denied that stays, for the log: what it was told says less.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denied {
    /// What was wrong, the last time. What clients wrote is cut and escaped; no token is in it.
    pub cause: Box<str>,
    /// How often since this was last asked.
    pub count: u32,
}

impl Session {
    /// Who its token says that it is.
    #[must_use]
    pub fn holder(&self) -> Option<&Holder> {
        self.owed.as_ref()?.rights.as_ref()?.holder.as_deref()
    }

    /// The `sub` of its token, or the operator's endpoint's word for it.
    #[must_use]
    pub fn subject(&self) -> Option<&str> {
        self.holder()?.subject.as_deref()
    }

    /// Whether it shows the token that was revoked.
    #[must_use]
    pub fn is_revoked_by(&self, revocation: &Revocation) -> bool {
        self.holder().is_some_and(|holder| revocation.is_of(holder.subject.as_deref(), holder.id.as_deref()))
    }

    /// Whether it may subscribe to this.
    #[must_use]
    pub fn may_subscribe(&self, subject: &Subject, rules: &Rules) -> bool {
        self.holder().map_or(&rules.anonymous, |holder| &holder.grants).may_subscribe(subject)
    }

    /// The first of these that it may not subscribe to.
    pub(super) fn find_denied<'s>(&self, streams: &'s [Stream], rules: &Rules) -> Option<&'s str> {
        streams.iter().map(|stream| &stream.subject).find(|subject| !self.may_subscribe(subject, rules)).map(Subject::as_str)
    }

    /// Whether it may publish to this topic.
    pub(super) fn may_publish(&self, topic: &TopicName, rules: &Rules) -> bool {
        let from_here = || self.publishes && rules.publish_topics.iter().any(|pattern| pattern.matches(topic.as_str()));
        match self.holder() {
            Some(holder) => holder.grants.may_publish(topic),
            None => rules.anonymous.may_publish(topic) || from_here(),
        }
    }

    /// Whether there is a topic that it may publish to.
    pub(super) fn may_publish_any(&self, rules: &Rules) -> bool {
        match self.holder() {
            Some(holder) => !holder.grants.publish.is_empty(),
            None => !rules.anonymous.publish.is_empty() || self.publishes,
        }
    }

    /// Most subscriptions that it may hold.
    #[must_use]
    pub fn subscriptions_max(&self, rules: &Rules) -> u32 {
        let own = self.holder().and_then(|holder| holder.limits.subscriptions_max);
        rules.limits.subscriptions_max.min(own.unwrap_or(u32::MAX))
    }

    /// Its requests a second, and how many may come at once.
    pub(super) fn rate(&self, rules: &Rules) -> (u32, u32) {
        let own = self.holder().map(|holder| holder.limits).unwrap_or_default();
        let per_second = rules.limits.requests_per_second.min(own.requests_per_second.unwrap_or(u32::MAX));
        (per_second, rules.limits.requests_burst.min(own.requests_burst.unwrap_or(u32::MAX)))
    }

    /// Takes what a request costs out of the client's bucket; false where there is nothing left.
    pub(super) fn take_from_bucket(&mut self, rules: &Rules, now_us: u64) -> bool {
        let (per_second, burst) = self.rate(rules);
        self.bucket.take(per_second, burst, now_us)
    }

    /// From now on it is this one.
    pub(super) fn hold(&mut self, holder: Holder, rules: &Rules, moment: Moment) {
        self.owed.get_or_insert_default().rights.get_or_insert_default().holder = Some(Box::new(holder));
        self.follow_clock(rules, moment);
    }

    /// From now on it is whoever shows no token.
    pub(super) fn hold_nothing(&mut self) {
        if let Some(rights) = self.owed.as_mut().and_then(|owed| owed.rights.as_mut()) {
            rights.holder = None;
        }
    }

    /// The next request on this connection may be somebody else's.
    pub(super) fn forget_holder(&mut self) {
        if let Some(owed) = &mut self.owed {
            owed.rights = None;
        }
    }

    /// Where its token's end lies by the clocks as they stand now.
    pub(super) fn follow_clock(&mut self, rules: &Rules, moment: Moment) {
        let Some(rights) = self.owed.as_mut().and_then(|owed| owed.rights.as_deref_mut()) else { return };
        let Some(expires_unix_s) = rights.holder.as_ref().and_then(|holder| holder.expires_unix_s) else { return };
        let end_unix_us = expires_unix_s.saturating_add(rules.skew_s).saturating_mul(1_000_000);
        rights.ends_us = moment.now_us.saturating_add(end_unix_us.saturating_sub(moment.unix_us));
    }

    /// When an open connection is to be closed for its token.
    pub(super) fn token_due_us(&self) -> Option<u64> {
        let rights = self.owed.as_ref()?.rights.as_ref()?;
        let ends = rights.holder.as_ref().is_some_and(|holder| holder.expires_unix_s.is_some());
        (ends && matches!(self.phase, Phase::Open(_))).then_some(rights.ends_us)
    }

    /// The operator's endpoint was asked about the request in hand, or about a token of AUTH; nothing where that has ended meanwhile.
    pub fn called_out(&mut self, verdict: Verdict, rules: &Rules, moment: Moment) -> Option<Effect> {
        match self.phase {
            Phase::Head(_) => self.enter(Some(verdict), rules, moment),
            Phase::Open(_) => self.renew(verdict, rules, moment),
            _ => None,
        }
    }

    /// Rights that the operator's endpoint gives or takes, over those of the token or of whoever has none.
    pub(super) fn grant(&mut self, granted: Granted, rules: &Rules, moment: Moment) {
        if granted == Granted::default() {
            return;
        }
        let anybody = || Holder { grants: rules.anonymous.clone(), ..Holder::default() };
        let mut holder = self.holder().cloned().unwrap_or_else(anybody);
        let Granted { subject, expires_unix_s, subscribe, publish, limits } = granted;
        holder.subject = subject.or(holder.subject);
        holder.expires_unix_s = holder.expires_unix_s.into_iter().chain(expires_unix_s).min();
        holder.grants.subscribe = subscribe.unwrap_or(holder.grants.subscribe);
        holder.grants.publish = publish.unwrap_or(holder.grants.publish);
        holder.limits = holder.limits.and(limits);
        self.hold(holder, rules, moment);
    }

    /// Remembers where a token names a key that nobody knows.
    pub(super) fn want_key(&mut self, refused: &Refused) {
        if refused.fault == Fault::NoKey {
            self.owed.get_or_insert_default().rights.get_or_insert_default().key_wanted = true;
        }
    }

    /// Keeps for the log what a client is denied that stays; of several between two looks the last.
    pub(super) fn deny(&mut self, cause: String) {
        let rights = self.owed.get_or_insert_default().rights.get_or_insert_default();
        let count = 1 + rights.denied.as_ref().map_or(0, |denied| denied.count);
        rights.denied = Some(Box::new(Denied { cause: cause.into(), count }));
    }

    /// Whether its token named a key that nobody knows, since this was last asked: one that is new, perhaps.
    pub fn take_key_wanted(&mut self) -> bool {
        let rights = self.owed.as_mut().and_then(|owed| owed.rights.as_mut());
        rights.is_some_and(|rights| std::mem::take(&mut rights.key_wanted))
    }

    /// What it was denied since this was last asked.
    pub fn take_denied(&mut self) -> Option<Box<Denied>> {
        let owed = self.owed.as_mut()?;
        let rights = owed.rights.as_mut()?;
        let denied = rights.denied.take();
        if rights.holder.is_none() && !rights.key_wanted && rights.renewal.is_none() {
            owed.rights = None;
            let is_used = owed.pong.is_some() || owed.acks.is_some() || owed.request_id.is_some() || owed.cause.is_some();
            if owed.bytes.is_empty() && !is_used {
                self.owed = None;
            }
        }
        denied
    }
}
