//! How a shard ends: clients are told, then closed, a bounded number a turn, and given a bounded time.

use super::core::Core;
use super::mail::Mail;
use crate::metrics::CloseClass;
use crate::ws::CloseCode;

/// How far the stop has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stop {
    Running,
    /// Announcing to the clients from this slot on.
    Announcing(u32),
    /// No new clients; waiting for the word to close.
    Paused,
    /// Closing clients from this slot on, until this moment.
    Closing {
        next: u32,
        deadline_us: u64,
    },
    /// All were told; waiting for them until this moment.
    Leaving {
        deadline_us: u64,
    },
    Ended,
}

impl Core {
    /// The gateway stops: no new clients; the others are told.
    pub(super) fn pause(&mut self) {
        self.stop = Stop::Announcing(0);
    }

    /// All that was accepted is out: close.
    pub(super) fn finish(&mut self) {
        let timeout_us = u64::from(self.config.limits.stop_timeout_ms) * 1000;
        self.stop = Stop::Closing { next: 0, deadline_us: self.now.monotonic_us + timeout_us };
    }

    /// A bounded number of clients a turn.
    pub(super) fn walk_to_stop(&mut self) {
        const CLIENTS_A_TURN: u32 = 256;
        match self.stop {
            Stop::Running | Stop::Paused | Stop::Ended => {}
            Stop::Announcing(next) => {
                let end = (next + CLIENTS_A_TURN).min(self.clients.slots());
                (next..end).for_each(|slot| self.announce(slot));
                self.stop = if end == self.clients.slots() { Stop::Paused } else { Stop::Announcing(end) };
            }
            Stop::Closing { next, deadline_us } => {
                let end = (next + CLIENTS_A_TURN).min(self.clients.slots());
                for slot in next..end {
                    if let Some(client) = self.clients.at(slot).filter(|client| !client.closing) {
                        let key = client.key;
                        let now_us = self.now.monotonic_us;
                        client.session.conclude(now_us);
                        client.session.close(CloseCode::GOING_AWAY, "the gateway stops", CloseClass::GoingAway, now_us);
                        self.settle(key);
                    }
                }
                let over = end == self.clients.slots();
                self.stop = if over { Stop::Leaving { deadline_us } } else { Stop::Closing { next: end, deadline_us } };
            }
            Stop::Leaving { deadline_us } => {
                if self.clients.count() == 0 || self.now.monotonic_us >= deadline_us {
                    self.stop = Stop::Ended;
                    self.outbox.send(self.outbox.post().control(), Mail::Finished);
                }
            }
        }
    }

    fn announce(&mut self, slot: u32) {
        let (moment, in_ms) = (self.moment(), u64::from(self.config.limits.stop_timeout_ms));
        if let Some(client) = self.clients.at(slot).filter(|client| !client.closing) {
            let key = client.key;
            client.session.announce_shutdown(moment.unix_us / 1000, in_ms);
            if client.session.is_publisher() {
                client.session.close(CloseCode::GOING_AWAY, "the gateway stops", CloseClass::GoingAway, moment.now_us);
            }
            self.settle(key);
        }
    }
}
