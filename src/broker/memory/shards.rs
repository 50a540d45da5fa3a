//! What all shards are told beside publications, what they say back, and what clients' rights need of the control thread.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use tokio::sync::{Notify, mpsc, oneshot};

use super::Memory;
use crate::admission::{Revocation, RevocationsMax, Revoked, Verdict};
use crate::broker::{Asked, Handle};
use crate::config;
use crate::hub::TopicName;
use crate::shard::mail::{Mail, Outbox, Place};
use crate::takeover::{Message, Word};

/// What clients' rights need.
pub(super) struct Rights {
    /// Rings where a client named a key that nobody knows.
    key_wanted: Arc<Notify>,
    /// To who asks the operator's endpoint, where there is one.
    questions: Option<mpsc::Sender<Asked>>,
    /// What the shards have, for its bound, and for the gateway that takes this one's place.
    revoked: Revoked,
    revocations_max: usize,
}

impl Rights {
    pub(super) fn new(handle: &Handle, settings: &config::Tokens) -> Rights {
        let mut rights =
            Rights { key_wanted: handle.key_wanted(), questions: None, revoked: Revoked::default(), revocations_max: 0 };
        rights.go_by(settings);
        rights
    }

    pub(super) fn go_by(&mut self, settings: &config::Tokens) {
        self.revocations_max = settings.revocations_max as usize;
    }

    pub(super) fn revocations(&self) -> Vec<Revocation> {
        self.revoked.all()
    }

    pub(super) fn want_key(&self) {
        self.key_wanted.notify_one();
    }

    pub(super) fn take_questions(&mut self, questions: mpsc::Sender<Asked>) {
        self.questions = Some(questions);
    }
}

impl Memory {
    pub(super) fn tell_shards(&mut self, mail: impl Fn() -> Mail) {
        (0..self.outbox.post().shards()).for_each(|shard| self.outbox.send(shard, mail()));
    }

    /// The shards may take clients.
    pub(super) fn accept(&mut self, answer: oneshot::Sender<()>) {
        self.accepting = Some((self.outbox.post().shards(), answer));
        self.tell_shards(|| Mail::Accept);
    }

    /// One of them does.
    pub(super) fn shard_accepts(&mut self) {
        let Some((missing, _)) = &mut self.accepting else { return };
        *missing -= 1;
        if *missing == 0
            && let Some((_, answer)) = self.accepting.take()
        {
            // Whoever asked may be gone.
            answer.send(()).ok();
        }
    }

    /// Here, and at the gateways before and behind this one, whose clients hold the same tokens.
    pub(super) fn revoke(&mut self, revocation: Revocation) -> Result<(), RevocationsMax> {
        self.rights.revoked.add(&revocation, self.rights.revocations_max, unix_s())?;
        self.tell_shards(|| Mail::Revoke(Box::new(revocation.clone())));
        let message = Message::Word(Word::Revoked(revocation));
        self.tell_after(&message);
        self.tell_before(message);
        Ok(())
    }

    /// Another gateway has revoked it. Those who are here are closed, also where it finds no room for those who come.
    pub(super) fn revoke_too(&mut self, revocation: &Revocation) {
        let max = self.rights.revocations_max;
        if self.rights.revoked.add(revocation, max, unix_s()).is_err() {
            tracing::error!(
                "a revocation of another gateway finds no room: there are tokens.revocations_max = {max} in force; raise it"
            );
        }
        self.tell_shards(|| Mail::Revoke(Box::new(revocation.clone())));
    }

    /// To who asks the operator's endpoint; where there is no room, nobody knows.
    pub(super) fn pass_question_on(&mut self, asked: Asked) {
        let (place, client) = (asked.place, asked.client);
        let is_taken = self.rights.questions.as_ref().is_some_and(|questions| questions.try_send(asked).is_ok());
        if !is_taken {
            self.metrics.callout_failures.add(1);
            self.outbox.send(place, Mail::Verdict { client, verdict: Verdict::Down });
        }
    }
}

/// The feed behind these topics is gone since then, or back.
pub(super) fn tell_homes(outbox: &mut Outbox, topics: Vec<TopicName>, since_ms: Option<u64>) {
    let mut by_home: HashMap<Place, Vec<TopicName>> = HashMap::new();
    for topic in topics {
        by_home.entry(outbox.post().home(&topic)).or_default().push(topic);
    }
    for (home, topics) in by_home {
        outbox.send(home, Mail::Feed { topics, since_ms });
    }
}

/// Seconds since 1970.
fn unix_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
