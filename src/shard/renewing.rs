//! Rights that change while a client is there: another token by AUTH, a revocation from the admin port; and keys that tokens want.
//!
//! Without: tokens and their judgement; the session has those.

use std::collections::VecDeque;

use super::clients::Wait;
use super::core::Core;
use super::mail::Mail;
use crate::admission::{Question, Revocation, Verdict};
use crate::dialect::stream::{RequestId, event};
use crate::hub::{Held, Subject};
use crate::metrics::CloseClass;
use crate::reactor::ClientKey;
use crate::ws::CloseCode;

/// Clients that are looked at for a revocation in one turn.
const CLIENTS_A_TURN: u32 = 4096;
/// Least time between two words to the control thread of a key that nobody knows.
const KEY_WANTED_US: u64 = 1_000_000;

/// Revocations that are still to be held against clients who came before them, each with the next slot.
#[derive(Default)]
pub(super) struct Revoking(VecDeque<(Box<Revocation>, u32)>);

impl Revoking {
    pub(super) fn is_walking(&self) -> bool {
        !self.0.is_empty()
    }
}

impl Core {
    /// A client has shown another token: what that does not grant it hears no more. Whoever cannot be told is closed.
    pub(super) fn renewed(&mut self, key: ClientKey, id: &RequestId) {
        let now_us = self.now.monotonic_us;
        let client = self.clients.get(key).expect("effects come from clients that are there");
        let hub = &self.topics.hub;
        let subjects = hub.subscribed_to(key.slot).map(|held| match held {
            Held::Topic(topic, _) => Subject::Topic(hub.name(topic).clone()),
            Held::Pattern(pattern, ..) => Subject::Pattern(pattern.clone()),
        });
        let lost: Vec<Subject> = subjects.filter(|subject| !client.session.may_subscribe(subject, &self.rules)).collect();
        client.session.done(id);
        let Some(first) = lost.first() else { return };
        if !client.session.hears_events() {
            let reason = format!("the new token does not grant {}", first.as_str());
            return client.session.close(CloseCode::POLICY, cut(&reason), CloseClass::Policy, now_us);
        }
        self.end_subscriptions(key, &lost);
        for subject in lost {
            self.session_mut(key).notify(|out| event::unsubscribed(out, subject.as_str()));
        }
    }

    /// What a client may do is asked of the operator's endpoint.
    pub(super) fn call_out(&mut self, key: ClientKey, question: Question) {
        let mut question = Box::new(Question { address: self.clients.address(key.slot), ..question });
        if question.request_id.is_empty() {
            question.request_id = self.request_id(key.slot).into();
        }
        self.suspend(key, Wait::Callout);
        let (control, from) = (self.outbox.post().control(), self.exchange.place());
        self.outbox.send(control, Mail::Callout { from, client: key, question });
    }

    /// That is known now.
    pub(super) fn verdict_came(&mut self, key: ClientKey, verdict: Verdict) {
        let moment = self.moment();
        let Some((_, pending)) = self.take_pending(key, |wait| matches!(wait, Wait::Callout)) else { return };
        let Some(client) = self.clients.get(key) else { return };
        if let Some(effect) = client.session.called_out(verdict, &self.rules, moment) {
            self.execute(key, effect);
        }
        let mut held = pending.held;
        self.go_on(key, &mut held);
    }

    /// Whoever comes from now on is held against it; those who are there, a bounded number a turn.
    pub(super) fn revoke(&mut self, revocation: Box<Revocation>) {
        // The broker has counted it and found room; where its clock and ours tell another second, one more does no harm.
        if let Some(tokens) = &mut self.rules.tokens
            && let max = tokens.revocations_max().saturating_add(1)
            && tokens.revoked.add(&revocation, max, self.now.unix_us / 1_000_000).is_err()
        {
            tracing::error!("a revocation found no room on a shard");
        }
        self.revoking.0.push_back((revocation, 0));
    }

    /// Closes clients whose tokens were revoked.
    pub(super) fn walk_revocations(&mut self) {
        let now_us = self.now.monotonic_us;
        let Some((revocation, next)) = self.revoking.0.pop_front() else { return };
        let end = (next + CLIENTS_A_TURN).min(self.clients.slots());
        for slot in next..end {
            let Some(client) = self.clients.at(slot).filter(|client| !client.closing) else { continue };
            if client.session.is_revoked_by(&revocation) {
                let key = client.key;
                client.session.close(CloseCode::POLICY, "the token was revoked", CloseClass::Policy, now_us);
                self.settle(key);
            }
        }
        if end < self.clients.slots() {
            self.revoking.0.push_front((revocation, end));
        }
    }

    /// A token names a key that nobody knows: tells the control thread, once a second. That key may be new.
    pub(super) fn want_key(&mut self) {
        if self.now.monotonic_us >= self.key_due_us && self.config.tokens.jwks.is_some() {
            self.key_due_us = self.now.monotonic_us + KEY_WANTED_US;
            self.outbox.send(self.outbox.post().control(), Mail::KeyWanted);
        }
    }
}

/// RFC 6455 5.5: a close frame's reason has at most 123 bytes.
fn cut(reason: &str) -> &str {
    &reason[..reason.floor_char_boundary(123)]
}
