//! Journals: what was published on a topic, in segment files, so that positions go on after a restart.
//!
//! A topic's segments lie in a directory of its name below `topics/`, numbered in the order written. [`mod@format`] and [`records`] are
//! the bytes, [`segment`] reads whole files, [`directory`] finds what is there at the start and judges whether positions may go on,
//! [`writer`] appends.
//!
//! Without: who publishes, who is told. Invariants: each run writes segments of its own, which bear the machine's boot id, and
//! closes them when it stops in order; so the newest segment alone says whether its tail may be lost. A segment ends where the next
//! one of its epoch begins.

pub mod directory;
pub mod format;
pub mod records;
pub mod segment;
pub mod writer;

#[cfg(test)]
mod tests;

use std::io;
use std::path::{Path, PathBuf};

use format::Fault;

/// Why a journal cannot be used; displays as a sentence with what to do.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// Not one, a newer one, or a damaged one.
    #[error("the journal {path:?} cannot be read at byte {at}: {fault}{}", advice(.fault))]
    File {
        /// The file.
        path: PathBuf,
        /// How far it could be read.
        at: u64,
        /// What is there.
        fault: Fault,
    },
    /// It is of another topic than its directory says.
    #[error("the journal {path:?} is of the topic {topic:?}; move it to a directory of that name, or out of the journal")]
    Topic {
        /// The file.
        path: PathBuf,
        /// The topic that its header names.
        topic: String,
    },
    /// Another gateway has it.
    #[error("the journal {path:?} is in use by another gateway; give each one a directory of its own ([journal] directory)")]
    InUse {
        /// The directory.
        path: PathBuf,
    },
    /// The system refused.
    #[error("the journal {path:?} cannot be used: {error}; check that it is there and that this user may read and write it")]
    Io {
        /// File or directory.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
}

impl JournalError {
    fn io(path: &Path) -> impl FnOnce(io::Error) -> JournalError {
        let path = path.to_owned();
        move |error| JournalError::Io { path, error }
    }
}

fn advice(fault: &Fault) -> &'static str {
    match fault {
        Fault::Magic => "; move it away, or name a journal's file",
        Fault::Version(_) => "",
        _ => "; what stands before that byte is sound",
    }
}
