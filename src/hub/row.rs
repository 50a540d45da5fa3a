//! One row of the registry: a client's subscription of a topic or a pattern, what it asked for, and where it is.
//!
//! Without: the chains that a row stands in.

use super::Encoding;
use super::publication::Epoch;
use super::store::TopicId;
use crate::config::Slow;

/// What a row is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Kind {
    /// A topic that the client named.
    Name,
    /// A pattern: `topic` is the pattern's number, `cursor` the hub's stamp when it was subscribed.
    Pattern,
    /// A pattern with `last`.
    PatternWithLast,
    /// A topic that a pattern brought and that the client is behind in.
    Passing,
}

impl Kind {
    pub(super) fn is_pattern(self) -> bool {
        matches!(self, Kind::Pattern | Kind::PatternWithLast)
    }
}

/// One client's subscription of one topic or pattern.
#[derive(Debug)]
pub(super) struct Subscription {
    /// Offset of the first publication that is not wholly sent.
    pub(super) cursor: u64,
    pub(super) topic: TopicId,
    /// The client's.
    pub(super) slot: u32,
    /// As its client's connection has it; a subscription that is `timed` reads [`Encoding::timed`] of it.
    pub(super) encoding: Encoding,
    pub(super) terms: Packed,
    pub(super) kind: Kind,
    pub(super) mode: Mode,
    pub(super) next_due: u32,
    /// Chain of the client's subscriptions, in the order subscribed; the free list uses `next`.
    pub(super) next: u32,
    pub(super) previous: u32,
}

const _: () = assert!(size_of::<Subscription>() <= 32);

impl Subscription {
    /// Whose ring it reads.
    pub(super) fn encoding(&self) -> Encoding {
        if self.terms.timed() { self.encoding.timed() } else { self.encoding }
    }

    /// Its client's connection's encoding.
    pub(super) fn base(&self) -> Encoding {
        self.encoding
    }

    pub(super) fn terms(&self) -> Terms {
        self.terms.terms()
    }

    /// Reads by these terms from now on.
    pub(super) fn set_terms(&mut self, terms: Terms) {
        self.terms = Packed::new(terms);
    }

    /// What happens where it cannot keep up. Who cannot be told what it is not sent is closed, if it did not itself ask for
    /// another end.
    pub(super) fn slow(&self, tells: bool) -> Slow {
        let Terms { slow, slow_asked, .. } = self.terms();
        if tells || slow_asked { slow } else { Slow::Close }
    }

    /// Changes the encoding with its client's connection; gives the one before.
    pub(super) fn set_encoding(&mut self, encoding: Encoding) -> Encoding {
        let before = self.encoding();
        self.encoding = encoding;
        before
    }
}

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

    fn timed(self) -> bool {
        self.0 & 4 != 0
    }

    fn terms(self) -> Terms {
        let slow = [Slow::Close, Slow::Drop, Slow::Conflate][usize::from(self.0 & 3)];
        Terms { timed: self.timed(), slow, slow_asked: self.0 & 8 != 0 }
    }
}

/// What a subscription reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// Its ring, frame by frame.
    Log,
    /// The newest of each key up to where the topic was when it began; then its ring.
    Snapshot,
    /// The newest of each key, as it cannot keep up.
    Conflated,
}

/// Where a subscription is that does not read its ring.
#[derive(Clone, Copy, Debug)]
pub(super) struct Walk {
    /// Of a snapshot: its last number.
    pub(super) end: u64,
    /// Of what is below, notices have told all that will not be sent ...
    pub(super) told: u64,
    /// ... but for so many, which are still to be sent.
    pub(super) promised: u64,
    /// The epoch that its client knows what follows to be of.
    pub(super) epoch: Epoch,
}

impl Walk {
    /// Over a snapshot up to this number, or until nothing is lacking.
    pub(super) fn new(end: u64, epoch: Epoch) -> Walk {
        Walk { end, told: 0, promised: 0, epoch }
    }
}
