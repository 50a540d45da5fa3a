//! What the home keeps of one journaled topic: what waits to be written, and who writes it.
//!
//! Without: offsets, files' bytes.

use std::collections::VecDeque;

use tokio::time::Instant;

use crate::config::TopicJournal;
use crate::disk::File;
use crate::hub::{Epoch, NewPublication, Publication};
use crate::journal::writer::Writer;
use crate::shard::inquiry::JournalState;
use crate::shard::mail::{Place, Ticket};

/// One topic's part.
pub(super) struct Log {
    pub(super) journal: TopicJournal,
    pub(super) waiting: VecDeque<Unwritten>,
    /// The batch under way.
    pub(super) under_way: Vec<(Unwritten, Publication)>,
    /// Away while a write is under way.
    pub(super) writer: Option<Box<Writer>>,
    /// Something was published in this run.
    pub(super) is_open: bool,
    pub(super) is_ready: bool,
    /// Written and not yet known to be on disk.
    pub(super) dirty: Option<File>,
    /// It could not be put on disk: the next batch goes into a new segment.
    pub(super) abandon: bool,
    /// The newest write failed, and when the next may be tried.
    pub(super) retry_at: Option<Instant>,
    /// What is published is delivered all the same.
    pub(super) is_left: bool,
    /// The next batch begins this epoch.
    pub(super) begins: Option<Epoch>,
}

/// A publication that is not written yet.
pub(super) struct Unwritten {
    pub(super) number: u64,
    pub(super) from: Place,
    pub(super) ticket: Ticket,
    pub(super) answer: bool,
    pub(super) unix_us: u64,
    pub(super) publication: NewPublication,
}

impl Unwritten {
    /// Whether it is refused rather than waits for its journal: its position is awaited, and not by a publisher's connection.
    pub(super) fn is_impatient(&self) -> bool {
        self.answer && !matches!(self.ticket, Ticket::Message(..))
    }
}

impl Log {
    pub(super) fn new(journal: TopicJournal, writer: Writer) -> Log {
        Log {
            journal,
            waiting: VecDeque::new(),
            under_way: Vec::new(),
            writer: Some(Box::new(writer)),
            is_open: false,
            is_ready: false,
            dirty: None,
            abandon: false,
            retry_at: None,
            is_left: false,
            begins: None,
        }
    }

    /// What awaits its position waits in vain.
    pub(super) fn refuses(&self, now: Instant) -> bool {
        !self.is_left && self.retry_at.is_some_and(|at| at > now)
    }

    /// What those who watch over the gateway are told.
    pub(super) fn state(&self) -> JournalState {
        JournalState {
            is_failing: self.retry_at.is_some(),
            is_left: self.is_left,
            waiting: (self.waiting.len() + self.under_way.len()) as u64,
        }
    }

    /// The oldest publication that is not passed on.
    pub(super) fn oldest(&self) -> Option<u64> {
        self.under_way.first().map(|(unwritten, _)| unwritten.number).or_else(|| Some(self.waiting.front()?.number))
    }
}
