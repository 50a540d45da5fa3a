//! Other settings while the shard runs: they are put in force between two turns, all of them at once, and touch no client.
//!
//! What a client was granted stays with it: its head's bounds, its compression, its subscriptions' terms, its age. All that is looked at as it
//! goes is looked at by the new limits.
//!
//! Without: what may be reloaded at all, which the control thread knows. Invariant: there are never more
//! places than the reactor's table was made for.

use super::core::Core;
use super::mail::Settings;
use crate::session::Rules;

/// Clients whose deadlines are filed again in a turn.
const FILED_A_TURN: u32 = 1024;

impl Core {
    /// From now on.
    pub(super) fn go_by(&mut self, settings: Settings) {
        let Settings { config, acceptors } = settings;
        let shards = self.outbox.post().shards();
        let tokens = self.rules.tokens.take();
        self.rules = Rules { nonce: self.rules.nonce, ..Rules::new(&config) };
        // Other keys come by themselves; what was revoked stays so.
        if let (Some(present), Some(before)) = (&mut self.rules.tokens, tokens) {
            (present.keys, present.revoked) = (before.keys, before.revoked);
        }
        self.acceptors = acceptors;
        self.connections_max = super::connections_max(&config, shards) as usize;
        self.places = super::places(&config, shards) as usize;
        self.arrivals.go_by(&config, shards, self.now.monotonic_us);
        self.sweep.go_by(&config.limits);
        self.topics.go_by(&config, shards);
        self.classes = self.metrics.classes.set(config.topics.iter().map(|topic| topic.pattern.as_str()));
        self.config = config;
        self.filing_again = Some(0);
    }

    /// A deadline may be earlier by the new limits than it was filed for; some clients a turn.
    pub(super) fn file_again(&mut self) {
        let Some(from) = self.filing_again else { return };
        let end = self.clients.slots().min(from.saturating_add(FILED_A_TURN));
        for slot in from..end {
            if let Some(client) = self.clients.peek(slot).filter(|client| !client.closing) {
                let due_us = client.session.deadline_us(&self.rules);
                self.file(slot, due_us);
            }
        }
        self.filing_again = (end < self.clients.slots()).then_some(end);
    }
}
