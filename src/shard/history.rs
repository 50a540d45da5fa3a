//! How much of the past a client may ask for: `since` and `last` turn a few bytes into a whole ring.
//!
//! A level for each client that has asked: it rises by what a subscription lacks when it begins, sinks by
//! `history_bytes_per_second`, and above `history_burst_bytes` the next request is refused. So whatever is asked for at once is had
//! once, and what is asked for again and again has a pace.
//!
//! Invariant: a client that never asked has no level.

use std::collections::HashMap;

use super::core::Core;
use crate::dialect::stream::Stream;
use crate::dialect::{ClientError, ErrorCode};
use crate::reactor::ClientKey;

/// Levels, by slot.
#[derive(Debug, Default)]
pub(super) struct Histories(HashMap<u32, Level>);

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Level {
    bytes: u64,
    at_us: u64,
}

impl Level {
    fn sunk(self, now_us: u64, bytes_per_second: u64) -> Level {
        let passed_us = now_us.saturating_sub(self.at_us);
        let sunk = (u128::from(passed_us) * u128::from(bytes_per_second) / 1_000_000) as u64;
        Level { bytes: self.bytes.saturating_sub(sunk), at_us: now_us }
    }
}

impl Histories {
    /// The client is gone.
    pub(super) fn left(&mut self, slot: u32) {
        self.0.remove(&slot);
    }

    fn rise(&mut self, slot: u32, bytes: u64, now_us: u64, bytes_per_second: u64) {
        if bytes > 0 {
            let level = self.0.entry(slot).or_default();
            *level = level.sunk(now_us, bytes_per_second);
            level.bytes = level.bytes.saturating_add(bytes);
        }
    }

    fn level(&self, slot: u32, now_us: u64, bytes_per_second: u64) -> u64 {
        self.0.get(&slot).map_or(0, |level| level.sunk(now_us, bytes_per_second).bytes)
    }
}

impl Core {
    /// Whether the client may ask for more of the past, where it does.
    pub(super) fn check_history(&self, key: ClientKey, streams: &[Stream]) -> Result<(), ClientError> {
        let asks = |stream: &&Stream| stream.options.since.is_some() || stream.options.last;
        let Some(stream) = streams.iter().find(asks) else { return Ok(()) };
        let (per_second, burst) = (self.rules.limits.history_bytes_per_second, self.rules.limits.history_burst_bytes);
        if self.histories.level(key.slot, self.now.monotonic_us, per_second.into()) <= burst.into() {
            return Ok(());
        }
        let message = format!(
            "{}: this connection asked for more of the past than history_burst_bytes = {burst}; wait, or subscribe without since and last",
            stream.subject.as_str()
        );
        Err(ClientError::new(ErrorCode::TooManyRequests, message))
    }

    /// The client was given so much of the past.
    pub(super) fn charge_history(&mut self, slot: u32, bytes: u64) {
        let per_second = self.rules.limits.history_bytes_per_second;
        self.histories.rise(slot, bytes, self.now.monotonic_us, per_second.into());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_rises_by_what_was_given_and_sinks_with_time() {
        let mut histories = Histories::default();
        assert_eq!(histories.level(3, 0, 1000), 0);
        histories.rise(3, 0, 0, 1000);
        assert!(histories.0.is_empty(), "who was given nothing has none");
        histories.rise(3, 5000, 1_000_000, 1000);
        histories.rise(3, 5000, 2_000_000, 1000);
        assert_eq!(histories.level(3, 2_000_000, 1000), 9000);
        assert_eq!((histories.level(3, 10_500_000, 1000), histories.level(3, u64::MAX, 1000)), (500, 0));
        assert_eq!(histories.level(4, 2_000_000, 1000), 0, "another client's");
        histories.left(3);
        assert!(histories.0.is_empty());
    }
}
