//! Plays a topic's journal: each publication goes out again on its topic, as it was published, at the pace it came in.
//!
//! The settings for topic and payload have no use here: a journal names its own. Without: judging the journal's end; it is
//! played as far as it can be read.

use std::path::{Path, PathBuf};

use super::Outlet;
use super::SourceError;
use super::recording::{Recording, RecordingError};
use super::replay::{Next, Player};
use crate::hub::NewPublication;
use crate::journal::JournalError;
use crate::journal::records::Records;
use crate::journal::segment;

/// The journal's files, where the path stands for one.
pub(super) fn files(path: &Path) -> Result<Option<Vec<PathBuf>>, SourceError> {
    if segment::is_journal(path) { Ok(Some(segment::files(path)?)) } else { Ok(None) }
}

impl<O: Outlet> Player<'_, O> {
    /// Plays the files one after the other. Those that are begun later are not: a gateway may play its own journal.
    pub(super) async fn play_journal(&mut self, files: &[PathBuf]) -> Result<Next, SourceError> {
        for path in files {
            if self.play_segment(path).await? == Next::Stop {
                return Ok(Next::Stop);
            }
        }
        Ok(Next::GoOn)
    }

    async fn play_segment(&mut self, path: &Path) -> Result<Next, SourceError> {
        let mut file = match Recording::open(path).await {
            // The journal's own bounds may remove its oldest file meanwhile.
            Err(RecordingError::Open { error, .. }) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Next::GoOn),
            opened => opened?,
        };
        let mut records = Records::default();
        while file.read(records.buffer()).await? {
            loop {
                let next = records.next_publication();
                let next = next.map_err(|fault| JournalError::File { path: path.to_owned(), at: records.at(), fault })?;
                let Some(publication) = next else { break };
                let topic = records.header().expect("it stands before every record").topic.clone();
                let (payload, marks) = (publication.payload, publication.marks);
                let new = NewPublication { topic, payload, marks };
                if self.publish(Some(publication.unix_us), new).await == Next::Stop {
                    return Ok(Next::Stop);
                }
            }
            // A file in the page cache never lets the runtime's other tasks in by itself.
            tokio::task::yield_now().await;
        }
        Ok(Next::GoOn)
    }
}
