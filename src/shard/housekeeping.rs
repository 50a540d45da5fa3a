//! What a shard looks at once a tick, while there is anything to look at.
//!
//! Without: deadlines of clients, which the wheel has.

use super::core::Core;
use crate::metrics::CloseClass;
use crate::reactor::Op;

/// How often clients are counted by how far they are behind.
const LAGS_US: u64 = 1_000_000;

impl Core {
    pub(super) fn needs_housekeeping(&self) -> bool {
        self.topics.hub.blocked_count() > 0
            || !self.backing_off.is_empty()
            || self.topics.is_lingering()
            || self.topics.staleness.has_passed_over()
            || self.arrivals.remembers()
            || self.tellings.has_left_out()
            || self.lagging
    }

    /// Once a tick: blocked clients that fell out of a ring are found without a visit, unused replicas are given up.
    pub(super) fn keep_house(&mut self) {
        for key in std::mem::take(&mut self.backing_off) {
            if self.clients.get(key).is_some_and(|client| !client.closing) {
                self.ops.push_back(Op::PollOut(key));
            }
        }
        self.tell_passed_over();
        self.tell_left_out();
        self.arrivals.forget_quiet(self.now.monotonic_us);
        let blocked: Vec<u32> = self.topics.hub.due().blocked().collect();
        for &slot in &blocked {
            let Some(client) = self.clients.at(slot) else { continue };
            let (key, tells) = (client.key, client.session.hears_events());
            if self.is_stuck(slot) {
                self.session_mut(key).tell_cause("took nothing for limits.send_timeout_ms");
                self.close(key, CloseClass::Timeout, true);
            } else if self.topics.hub.fallen(slot, tells).is_some() {
                self.close_fallen(key);
            }
        }
        self.count_lags(&blocked);
        let linger_us = u64::from(self.config.limits.replica_linger_ms) * 1000;
        self.topics.detach_unused(self.now, linger_us, &mut self.outbox);
        self.metrics.topics.set(self.topics.hub.topic_count() as i64);
    }

    /// Whether a blocked client has taken nothing for too long, where no TCP finds that out (`TCP_USER_TIMEOUT`).
    fn is_stuck(&self, slot: u32) -> bool {
        let Some(client) = self.clients.peek(slot).filter(|client| !client.closing) else { return false };
        let has_tcp = !self.rules.listeners[usize::from(client.session.listener())].unix;
        !has_tcp && client.stalled_ms(self.now.monotonic_us) >= self.rules.limits.send_timeout_ms
    }

    /// Once a second: how far those are behind whose sockets are full. Everybody else lacks nothing for longer than a round of the
    /// sweep, which the latencies show, so nobody else is walked over; and these are, twenty times as often, above.
    fn count_lags(&mut self, blocked: &[u32]) {
        if self.now.monotonic_us < self.lags_us {
            return;
        }
        self.lags_us = self.now.monotonic_us + LAGS_US;
        self.lagging = self.metrics.lags.set(blocked.iter().map(|&slot| self.topics.hub.lack(slot).publications));
    }
}
