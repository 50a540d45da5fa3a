//! Settings of the restart in which one process takes the place of another without a client's noticing.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// How a gateway takes another one's place, and gives up its own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Takeover {
    /// Where the gateway that runs is asked for its place, and where this one is asked then; none: neither.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub socket: Option<PathBuf>,
    /// Bytes of rings that go along, newest first.
    pub handover_bytes_max: u64,
    /// For each step of it; and how long publishers are held back at most.
    pub timeout_ms: u32,
    /// What waits for the gateway before, until its last client is gone.
    pub feed_bytes_max: u64,
}
