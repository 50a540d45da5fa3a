//! Log lines at a bounded rate about what goes wrong with a source.

use std::fmt::Display;
use std::time::Duration;

use tokio::time::Instant;

/// Least time between two lines.
const INTERVAL: Duration = Duration::from_secs(5);

/// Tells the first at once, then how many there were and the newest, at most one line in five seconds.
#[derive(Debug)]
pub(super) struct Complaints {
    /// What each of them is about.
    about: &'static str,
    told: Option<Instant>,
    untold: u64,
    newest: String,
}

impl Default for Complaints {
    fn default() -> Complaints {
        Complaints::about("messages of a source were not published")
    }
}

impl Complaints {
    /// With another beginning of its lines.
    pub(super) fn about(about: &'static str) -> Complaints {
        Complaints { about, told: None, untold: 0, newest: String::new() }
    }

    /// It happened once more.
    pub(super) fn note(&mut self, now: Instant, reason: impl Display) {
        self.untold += 1;
        self.newest = reason.to_string();
        if self.told.is_none_or(|told| now - told >= INTERVAL) {
            self.told = Some(now);
            self.tell_rest();
        }
    }

    /// Tells what was not told yet.
    pub(super) fn tell_rest(&mut self) {
        if self.untold > 0 {
            tracing::warn!(count = self.untold, "{}; the newest: {}", self.about, self.newest);
            self.untold = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_is_told_at_once_and_the_rest_together() {
        let mut complaints = Complaints::default();
        let now = Instant::now();
        complaints.note(now, "first");
        assert_eq!(complaints.untold, 0);
        complaints.note(now, "second");
        complaints.note(now + INTERVAL / 2, "third");
        assert_eq!((complaints.untold, complaints.newest.as_str()), (2, "third"));
        complaints.note(now + INTERVAL, "fourth");
        assert_eq!(complaints.untold, 0);
        complaints.note(now + INTERVAL, "fifth");
        complaints.tell_rest();
        assert_eq!(complaints.untold, 0);
    }
}
