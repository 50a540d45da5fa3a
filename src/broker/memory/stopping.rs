//! Barriers, and the stop that goes by them.

use tokio::sync::oneshot;

use super::Memory;
use crate::shard::mail::Mail;

/// A barrier that some shards have not confirmed.
pub(super) struct Barrier {
    missing: u16,
    then: Then,
}

pub(super) enum Then {
    Answer(oneshot::Sender<()>),
    /// Behind it no shard takes publications any more, but some that a shard took before may still be on the way to their
    /// home: a second barrier goes behind those.
    Settle,
    Finish,
}

impl Memory {
    pub(super) fn send_barrier(&mut self, then: Then) {
        self.tokens_given += 1;
        let token = self.tokens_given;
        let shards = self.outbox.post().shards();
        self.barriers.insert(token, Barrier { missing: shards, then });
        (0..self.outbox.post().homes()).for_each(|home| self.outbox.send(home, Mail::Barrier { token }));
    }

    pub(super) fn drained(&mut self, token: u64) {
        // A stop that was held up too long goes on without its barrier.
        let Some(barrier) = self.barriers.get_mut(&token) else { return };
        barrier.missing -= 1;
        if barrier.missing == 0 {
            match self.barriers.remove(&token).expect("it was looked at above").then {
                // Whoever asked may be gone.
                Then::Answer(answer) => drop(answer.send(())),
                Then::Settle => self.send_barrier(Then::Finish),
                // Whose publication is on its way to another gateway hears what became of it.
                Then::Finish if self.is_forwarding() => self.finishing = true,
                Then::Finish => self.finish(),
            }
        }
    }

    pub(super) fn barrier_holds_stop(&self) -> bool {
        self.finishing || self.barriers.values().any(|barrier| matches!(barrier.then, Then::Settle | Then::Finish))
    }

    pub(super) fn begin_stop(&mut self, answer: Option<oneshot::Sender<()>>) {
        if self.stopped.is_some() {
            return;
        }
        self.stopped = Some(answer.unwrap_or_else(|| oneshot::channel().0));
        // Closed, so that every other request finds the gateway stopping; those in the queue are dropped, which says the same.
        self.requests.close();
        self.permits.close();
        while self.requests.try_recv().is_ok() {}
        (0..self.outbox.post().shards()).for_each(|shard| self.outbox.send(shard, Mail::Pause));
        self.send_barrier(Then::Settle);
    }

    pub(super) fn finish(&mut self) {
        self.finishing = false;
        self.barriers.retain(|_, barrier| !matches!(barrier.then, Then::Settle | Then::Finish));
        (0..self.outbox.post().shards()).for_each(|shard| self.outbox.send(shard, Mail::Finish));
    }
}
