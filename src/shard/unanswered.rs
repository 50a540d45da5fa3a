//! Pings that were not answered within a second: whether their bytes have arrived.
//!
//! A pong is due from when the ping's bytes were acknowledged by the client's TCP. The kernel tells how many of all that was sent
//! are not; of these, what was sent after the ping does not matter, so it is counted from the first question on.

use std::collections::HashMap;

use super::core::Core;
use crate::reactor::{ClientKey, Op};

/// Bytes sent to clients since the kernel was first asked about their pings, by slot. What is left of a ping that was answered
/// meanwhile stays until the next one or the client's end; nearly always there is none.
#[derive(Debug, Default)]
pub(super) struct Unanswered(HashMap<u32, u64>);

impl Unanswered {
    /// So many bytes were sent to a client.
    pub(super) fn sent(&mut self, slot: u32, bytes: u64) {
        if !self.0.is_empty()
            && let Some(since_asked) = self.0.get_mut(&slot)
        {
            *since_asked += bytes;
        }
    }

    /// The client is gone.
    pub(super) fn left(&mut self, slot: u32) {
        self.0.remove(&slot);
    }
}

impl Core {
    /// Asks the kernel about a ping; all that was sent until now is before its end.
    pub(super) fn ask_of_ping(&mut self, key: ClientKey, first: bool) {
        if first {
            self.unanswered.0.insert(key.slot, 0);
        }
        self.ops.push_back(Op::AskUnacknowledged(key));
    }

    /// The kernel's answer. Where it cannot tell, the ping counts as arrived.
    pub(super) fn unacknowledged(&mut self, key: ClientKey, bytes: Option<u32>) {
        let now_us = self.now.monotonic_us;
        let Some(client) = self.clients.get(key).filter(|client| client.session.is_asked_of_ping()) else { return };
        let since_asked = self.unanswered.0.get(&key.slot).copied().unwrap_or(0);
        if bytes.is_none_or(|bytes| u64::from(bytes) <= since_asked) {
            client.session.ping_acknowledged(now_us);
            self.unanswered.left(key.slot);
        }
    }
}
