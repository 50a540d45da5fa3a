//! What all shards are told beside publications, what they say back, and what clients' rights need of the control thread.

use std::sync::Arc;

use tokio::sync::{Notify, mpsc, oneshot};

use super::Memory;
use crate::admission::{Revocation, RevocationsMax, Revoked, Verdict};
use crate::broker::{Asked, Handle};
use crate::shard::mail::Mail;

/// What clients' rights need.
pub(super) struct Rights {
    /// Rings where a client named a key that nobody knows.
    key_wanted: Arc<Notify>,
    /// To who asks the operator's endpoint, where there is one.
    questions: Option<mpsc::Sender<Asked>>,
    /// What the shards have, for its bound.
    revoked: Revoked,
}

impl Rights {
    pub(super) fn new(handle: &Handle) -> Rights {
        Rights { key_wanted: handle.key_wanted(), questions: None, revoked: Revoked::default() }
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

    pub(super) fn revoke(&mut self, revocation: &Revocation, max: usize, unix_s: u64) -> Result<(), RevocationsMax> {
        self.rights.revoked.add(revocation, max, unix_s)?;
        self.tell_shards(|| Mail::Revoke(Box::new(revocation.clone())));
        Ok(())
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
