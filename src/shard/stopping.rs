//! How a shard ends: clients are told, then closed, a bounded number a turn, and given a bounded time.
//!
//! A drain comes before, where one is configured: no new clients, and those who are there are closed one after the other, evenly over
//! its window and in random order, while feeds go on.

use std::collections::HashSet;

use rand::SeedableRng;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;

use super::core::Core;
use super::mail::Mail;
use crate::metrics::CloseClass;
use crate::reactor::ClientKey;
use crate::ws::CloseCode;

/// Clients that are told or closed in one turn.
const CLIENTS_A_TURN: u32 = 256;

/// How far the stop has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stop {
    /// Nobody is accepted yet.
    Waiting,
    Running,
    /// Telling the clients from this slot on that they will be closed by this moment.
    Warning {
        next: u32,
        end_us: u64,
    },
    /// Closing them one by one ([`Leavers`]).
    Draining,
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

/// Clients that a drain has yet to close.
#[derive(Debug, Default)]
pub(super) struct Leavers {
    /// In reverse order.
    clients: Vec<ClientKey>,
    /// When the next one is closed.
    next_us: u64,
    /// From one to the next.
    gap_us: u64,
    /// Until when all have left.
    end_us: u64,
    /// Accepted when the others were told already; they leave once they are open.
    late: HashSet<ClientKey>,
}

impl Leavers {
    /// When the next one is closed, if there is one.
    pub(super) fn next_us(&self) -> Option<u64> {
        (!self.clients.is_empty()).then_some(self.next_us)
    }

    /// Behind all others.
    fn push(&mut self, client: ClientKey, now_us: u64) {
        if self.clients.is_empty() {
            self.next_us = self.next_us.max(now_us + self.gap_us);
        }
        self.clients.insert(0, client);
    }
}

impl Core {
    /// The gateway begins to serve.
    pub(super) fn accept(&mut self) {
        if self.stop == Stop::Waiting {
            self.stop = Stop::Running;
            self.metrics.accepting.set(1);
            self.arm_accepts();
        }
        self.outbox.send(self.outbox.post().control(), Mail::Accepts);
    }

    /// A drain is over before all have left: who is still here stays, and more may come.
    pub(super) fn serve_again(&mut self) {
        if self.is_serving() {
            self.leavers = Leavers::default();
            self.stop = Stop::Running;
            self.metrics.accepting.set(1);
            self.arm_accepts();
        }
    }

    /// A drain begins.
    pub(super) fn drain(&mut self, window_ms: u32) {
        let new_us = self.now.monotonic_us + u64::from(window_ms) * 1000;
        match &mut self.stop {
            Stop::Running => self.stop = Stop::Warning { next: 0, end_us: new_us },
            // It may be shortened.
            Stop::Warning { end_us, .. } => *end_us = new_us.min(*end_us),
            Stop::Draining if new_us < self.leavers.end_us => {
                let left_us = new_us - self.now.monotonic_us;
                self.leavers.gap_us = left_us / (self.leavers.clients.len() as u64 + 1);
                (self.leavers.end_us, self.leavers.next_us) = (new_us, self.now.monotonic_us + self.leavers.gap_us);
            }
            _ => {}
        }
    }

    /// All were told: who is closed when.
    fn set_off(&mut self, end_us: u64) {
        let slots = 0..self.clients.slots();
        let mut late = std::mem::take(&mut self.leavers.late);
        let mut clients = Vec::new();
        for client in slots.filter_map(|slot| self.clients.peek(slot)) {
            // Those who are not open yet were not told of anything.
            if client.session.is_open() && !late.contains(&client.key) {
                clients.push(client.key);
            } else {
                late.insert(client.key);
            }
        }
        clients.shuffle(&mut StdRng::seed_from_u64(self.rules.nonce));
        let gap_us = end_us.saturating_sub(self.now.monotonic_us) / (clients.len() as u64 + 1);
        let came: Vec<ClientKey> = late.iter().copied().collect();
        self.leavers = Leavers { clients, next_us: self.now.monotonic_us + gap_us, gap_us, end_us, late };
        self.stop = Stop::Draining;
        came.into_iter().for_each(|key| self.leave_late(key));
    }

    /// A client came while the others leave: it was accepted before that began, and is served.
    pub(super) fn came_late(&mut self, key: ClientKey) {
        self.leavers.late.insert(key);
    }

    /// Where the client came late and is open: it is told now, and leaves behind the others.
    pub(super) fn leave_late(&mut self, key: ClientKey) {
        let is_open = self.clients.get(key).is_some_and(|client| client.session.is_open());
        if self.stop == Stop::Draining && is_open && self.leavers.late.remove(&key) {
            let now_us = self.now.monotonic_us;
            self.leavers.push(key, now_us);
            let in_ms = self.leavers.end_us.saturating_sub(now_us) / 1000;
            self.announce(key.slot, in_ms);
        }
    }

    /// Whether clients who are here are served as ever.
    pub(super) fn is_serving(&self) -> bool {
        matches!(self.stop, Stop::Running | Stop::Warning { .. } | Stop::Draining)
    }

    /// Whether clients leave, and no more of them are wanted.
    pub(super) fn is_leaving(&self) -> bool {
        matches!(self.stop, Stop::Warning { .. } | Stop::Draining)
    }

    /// Closes who is due. A turn that came late makes up for it later on, so that never more of them come at once than one after
    /// the other would.
    fn let_leave(&mut self) {
        let now_us = self.now.monotonic_us;
        for _ in 0..CLIENTS_A_TURN {
            if self.leavers.next_us().is_none_or(|next_us| next_us > now_us) {
                return;
            }
            // A tenth of a second's are made up for at once.
            let late_us = now_us.saturating_sub(self.leavers.next_us + 100_000);
            self.leavers.next_us += self.leavers.gap_us + late_us;
            let key = self.leavers.clients.pop().expect("one is due");
            let Some(client) = self.clients.get(key).filter(|client| !client.closing) else { continue };
            client.session.close(
                CloseCode::RESTART,
                "the gateway restarts; come back in 5 to 30 s",
                CloseClass::GoingAway,
                now_us,
            );
            self.settle(key);
        }
    }

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
        match self.stop {
            Stop::Waiting | Stop::Running | Stop::Paused | Stop::Ended => {}
            Stop::Warning { next, end_us } => {
                let in_ms = end_us.saturating_sub(self.now.monotonic_us) / 1000;
                let end = (next + CLIENTS_A_TURN).min(self.clients.slots());
                (next..end).for_each(|slot| self.announce(slot, in_ms));
                if end == self.clients.slots() {
                    self.set_off(end_us);
                } else {
                    self.stop = Stop::Warning { next: end, end_us };
                }
            }
            Stop::Draining => self.let_leave(),
            Stop::Announcing(next) => {
                let end = (next + CLIENTS_A_TURN).min(self.clients.slots());
                let in_ms = u64::from(self.config.limits.stop_timeout_ms);
                for slot in next..end {
                    self.announce(slot, in_ms);
                    self.close_publisher(slot);
                }
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

    fn announce(&mut self, slot: u32, in_ms: u64) {
        let unix_ms = self.now.unix_us / 1000;
        if let Some(client) = self.clients.at(slot).filter(|client| !client.closing) {
            let key = client.key;
            client.session.announce_shutdown(unix_ms, in_ms);
            self.settle(key);
        }
    }

    fn close_publisher(&mut self, slot: u32) {
        let now_us = self.now.monotonic_us;
        if let Some(client) = self.clients.at(slot).filter(|client| !client.closing && client.session.is_publisher()) {
            let key = client.key;
            client.session.close(CloseCode::GOING_AWAY, "the gateway stops", CloseClass::GoingAway, now_us);
            self.settle(key);
        }
    }
}
