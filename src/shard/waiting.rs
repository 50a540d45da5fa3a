//! How long a shard may sleep in the kernel.

use super::core::Core;
use super::stopping::Stop;
use super::timer::TICK_US;
use crate::reactor::Wait;

impl Core {
    /// How long the kernel may wait: not at all while anything is to be done.
    pub(super) fn wait(&self) -> Wait {
        let busy = !self.sweep.visits().is_empty()
            || self.topics.hub.due_count() > 0
            || !self.ready.is_empty()
            || matches!(self.stop, Stop::Warning { .. } | Stop::Announcing(_) | Stop::Closing { .. })
            || matches!(self.stop, Stop::Leaving { .. }) && self.clients.count() == 0
            || self.exchange.is_reporting()
            || self.filing_again.is_some()
            || !self.inspections.is_empty()
            || self.revoking.is_walking()
            || self.topics.staleness.is_walking()
            || self.topics.heartbeats.is_walking()
            || self.topics.is_walking() && !self.outbox.is_congested()
            || self.topics.hub.is_touring();
        if busy || !self.exchange.mailbox(&self.outbox).may_sleep() {
            return Wait::Poll;
        }
        let tick_us = self.now.monotonic_us + TICK_US;
        let mut until_us = self.wheel.next_us().unwrap_or(u64::MAX);
        if self.needs_housekeeping() {
            until_us = until_us.min(tick_us);
        }
        if let Stop::Leaving { deadline_us } = self.stop {
            until_us = until_us.min(deadline_us);
        }
        if self.stop == Stop::Draining
            && let Some(next_us) = self.leavers.next_us()
        {
            until_us = until_us.min(next_us);
        }
        // That no more clients can come is no event, and somebody waits for it.
        if self.stop == Stop::Draining && self.metrics.accepting.get() > 0 {
            until_us = until_us.min(tick_us);
        }
        if let Some(flush_us) = self.topics.windows.next_us() {
            until_us = until_us.min(flush_us);
        }
        if let Some(beat_us) = self.topics.heartbeats.next_us() {
            until_us = until_us.min(beat_us);
        }
        if self.outbox.is_congested() {
            // The receiver will make room within a turn of its own.
            until_us = self.now.monotonic_us + 100;
        }
        Wait::Until { monotonic_us: until_us }
    }
}
