//! Settings of topics and of their journals.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Settings of the topics that match a pattern.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Topic {
    /// A topic name or a pattern (`*` one level, `>` the rest).
    pub pattern: String,
    /// Whether every publication counts or each replaces the one before.
    pub kind: TopicKind,
    /// Most publications that the ring holds.
    pub ring_publications: u32,
    /// Most bytes of frames that one ring holds; the newest publication is held whatever its size.
    pub ring_bytes: u32,
    /// Publications older than this leave the ring when a newer one comes; 0: age does not matter.
    pub ring_age_ms: u32,
    /// How long publications are gathered before they leave together; 0: not at all.
    pub flush_us: u32,
    /// JSON pointer to the key in a publication's payload.
    pub key: Option<String>,
    /// Most keys whose newest publication is kept beside the ring.
    pub keys_max: u32,
    /// What happens to a subscriber that cannot keep up and did not choose.
    pub slow_default: Slow,
    /// What subscribers may choose.
    pub slow_allowed: Vec<Slow>,
    /// A subscriber of `slow=conflate` is slow when it lacks more bytes than this ...
    pub slow_lag_bytes: u32,
    /// ... or the oldest publication that it lacks is older than this.
    pub slow_lag_ms: u32,
    /// Intervals that `rate=` takes.
    pub rates_ms: Vec<u32>,
    /// Keeps what is published on disk; none: positions end with the process.
    pub journal: Option<TopicJournal>,
}

/// What happens to a subscriber that cannot keep up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Slow {
    /// It is closed with 1013.
    Close,
    /// The oldest publications are left out, and it is told which.
    Drop,
    /// Only the newest (of each key) is kept for it, and it is told how many were not sent.
    Conflate,
}

/// How a topic's journal is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct TopicJournal {
    /// When what is written is made to be on disk.
    pub flush: JournalFlush,
    /// From this size on a new segment is begun.
    pub segment_bytes: u32,
    /// All segments of the topic together; the oldest are removed.
    pub keep_bytes: u64,
    /// Segments that ended longer ago are removed.
    pub keep_s: u32,
    /// What is done where the disk is full.
    pub full: JournalFull,
}

/// When a journal is made to be on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum JournalFlush {
    /// So often, while publications are delivered: a power failure takes at most so much.
    EveryMs(u32),
    /// Before a publication is delivered or acknowledged.
    Always,
}

/// What is done where a journal cannot be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum JournalFull {
    /// Publications are refused, or wait, until there is room.
    Refuse,
    /// The topic's oldest segments are removed to make room.
    Forget,
    /// The topic goes on without its journal, in a new epoch.
    Continue,
}

/// Where journaled topics are kept.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Journal {
    /// The directory; made where it is not there.
    pub directory: PathBuf,
    /// Topics that are written in one run.
    pub topics_max: u32,
}

/// The kind of a topic (see docs/protocol.md).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TopicKind {
    /// Every publication counts.
    Log,
    /// A publication replaces the one before.
    State,
}
