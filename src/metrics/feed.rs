//! What is known of each feed: whether it is there, what it brought, when the last of it came.
//!
//! Written by the feed's own tasks on the control thread, as everything in [`ControlMetrics`](super::ControlMetrics).
//!
//! Without: what a feed is made of; the sources know.

use super::{Counter, Gauge};

/// What becomes of a feed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum FeedState {
    /// It is about to begin: nothing came yet.
    Starting,
    /// It brings publications, or would.
    Live,
    /// None of its addresses is connected.
    Down,
    /// It was played to its end.
    Ended,
    /// It ended with an error, which the log tells.
    Failed,
}

impl FeedState {
    const ALL: [FeedState; 5] = [FeedState::Starting, FeedState::Live, FeedState::Down, FeedState::Ended, FeedState::Failed];

    /// As the admin port says it.
    #[must_use]
    pub fn name(self) -> &'static str {
        ["starting", "live", "down", "ended", "failed"][self as usize]
    }
}

/// One feed.
#[derive(Debug, Default)]
pub struct FeedMetrics {
    /// `synthetic`, `replay` or `upstream`.
    pub kind: &'static str,
    /// What it is called: a prefix, a file, an address.
    pub name: Box<str>,
    /// How many addresses it comes from; 0: from none.
    pub lines: u32,
    /// How many of them are connected.
    pub lines_open: Gauge,
    /// Messages that it brought.
    pub messages: Counter,
    /// Times that one of its addresses was connected again.
    pub reconnects: Counter,
    /// When the last message came, milliseconds since 1970; 0: none yet.
    pub last_unix_ms: Gauge,
    state: Gauge,
}

impl FeedMetrics {
    /// A feed that is about to begin.
    #[must_use]
    pub fn new(kind: &'static str, name: &str, lines: u32) -> FeedMetrics {
        FeedMetrics { kind, name: name.into(), lines, ..FeedMetrics::default() }
    }

    /// For the owning thread only.
    pub fn set_state(&self, state: FeedState) {
        self.state.set(state as i64);
    }

    /// What has become of it.
    #[must_use]
    pub fn state(&self) -> FeedState {
        FeedState::ALL[self.state.get() as usize]
    }

    /// `messages` came at this moment; for the owning thread only.
    pub fn came(&self, messages: u64, unix_ms: u64) {
        self.messages.add(messages);
        self.last_unix_ms.set(unix_ms as i64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_is_what_was_set() {
        let feed = FeedMetrics::new("replay", "a.txt", 0);
        assert_eq!(feed.state().name(), "starting");
        for state in FeedState::ALL {
            feed.set_state(state);
            assert_eq!(feed.state(), state);
        }
        assert_eq!(feed.state().name(), "failed");
    }
}
