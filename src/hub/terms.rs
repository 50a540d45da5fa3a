//! What a subscriber asks for beside what it hears.
//!
//! Without: what becomes of it (`visit`, `walk`), and what the configuration grants.

use crate::config::Slow;

/// What a subscriber asked for beside a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// Combined publications bear their time of ingest.
    pub timed: bool,
    /// What happens where it cannot keep up.
    pub slow: Slow,
    /// It said so itself.
    pub slow_asked: bool,
}

impl Default for Terms {
    fn default() -> Terms {
        Terms { timed: false, slow: Slow::Close, slow_asked: false }
    }
}

impl Terms {
    /// Of a pattern: what they come to in a topic.
    pub(super) fn in_topic(self, slow_default: Slow) -> Terms {
        if self.slow_asked { self } else { Terms { slow: slow_default, ..self } }
    }
}

/// [`Terms`] in the byte that a row has for them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Packed(u8);

impl Packed {
    pub(super) fn new(terms: Terms) -> Packed {
        Packed(terms.slow as u8 | u8::from(terms.timed) << 2 | u8::from(terms.slow_asked) << 3)
    }

    pub(super) fn timed(self) -> bool {
        self.0 & 4 != 0
    }

    pub(super) fn terms(self) -> Terms {
        let slow = [Slow::Close, Slow::Drop, Slow::Conflate][usize::from(self.0 & 3)];
        Terms { timed: self.timed(), slow, slow_asked: self.0 & 8 != 0 }
    }
}
