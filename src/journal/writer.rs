//! Appends to one topic's journal: whole batches, in segments that are rotated and kept by size and age.
//!
//! Without: offsets, who waits for what. Invariants: when [`Writer::append`] returns without an error all that it was given is
//! written, and under [`JournalFlush::Always`] on disk; with an error nothing of it counts, now or after a restart. A segment's header and its
//! name are on disk before anything in it counts.

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use super::directory::NEWEST;
use super::format::{self, BootId, Header};
use super::segment;
use crate::config::{JournalFlush, JournalFull, TopicJournal};
use crate::disk::{Access, File};
use crate::hub::{Epoch, Position, TopicName};

/// A topic's journal, as this run writes it.
#[derive(Debug)]
pub struct Writer {
    topic: TopicName,
    directory: PathBuf,
    boot: BootId,
    settings: TopicJournal,
    segment: Option<Open>,
    /// The file that names the newest position; opened with the first segment.
    newest: Option<File>,
    next_number: u64,
    /// The epoch that was last delivered without.
    left: Option<Epoch>,
    /// Oldest first.
    finished: VecDeque<Finished>,
}

/// The segment that is appended to.
#[derive(Debug)]
struct Open {
    file: File,
    path: PathBuf,
    bytes: u64,
    header_bytes: u64,
    begun: Instant,
}

/// A segment that nothing is appended to any more.
#[derive(Debug)]
struct Finished {
    path: PathBuf,
    bytes: u64,
    ended: SystemTime,
}

/// Publications to append, as bytes.
#[derive(Debug)]
pub struct Batch {
    /// The position before them.
    pub before: Position,
    /// The offset of the last.
    pub last: u64,
    /// Their records.
    pub records: Vec<u8>,
    /// The time, microseconds since 1970.
    pub unix_us: u64,
}

impl Writer {
    /// Writes from `next_number` on, behind the files that are there, oldest first. Nothing is opened yet.
    #[must_use]
    pub fn new(
        topic: TopicName,
        directory: PathBuf,
        boot: BootId,
        settings: TopicJournal,
        files: Vec<PathBuf>,
        next_number: u64,
    ) -> Writer {
        let finished = files.into_iter().filter_map(|path| {
            let about = std::fs::metadata(&path).ok()?;
            Some(Finished { path, bytes: about.len(), ended: about.modified().ok()? })
        });
        Writer {
            topic,
            directory,
            boot,
            settings,
            segment: None,
            newest: None,
            next_number,
            left: None,
            finished: finished.collect(),
        }
    }

    /// Appends a batch.
    ///
    /// # Errors
    /// [`io::Error`]: nothing of the batch counts, and it may be given again, with other publications too.
    pub async fn append(&mut self, mut batch: Batch) -> io::Result<()> {
        loop {
            let (result, records) = self.try_append(batch).await;
            match result {
                Err(error) if is_full(&error) && self.settings.full == JournalFull::Forget && self.forget_oldest() => {
                    batch = records;
                }
                result => return result,
            }
        }
    }

    async fn try_append(&mut self, batch: Batch) -> (io::Result<()>, Batch) {
        let is_over = |open: &Open| {
            let is_full = open.bytes + batch.records.len() as u64 > self.settings.segment_bytes.into();
            let is_old = open.begun.elapsed() > Duration::from_secs(self.settings.keep_s.into());
            open.bytes > open.header_bytes && (is_full || is_old)
        };
        if self.segment.as_ref().is_some_and(is_over) {
            // Under every_ms what it holds may not be on disk yet.
            if let Err(error) = self.finish_segment().await {
                return (Err(error), batch);
            }
        }
        if let Err(error) = self.begin_segment(&batch).await {
            return (Err(error), batch);
        }
        let open = self.segment.as_ref().expect("it was just begun");
        let (file, at) = (open.file.clone(), open.bytes);
        let Batch { before, last, records, unix_us } = batch;
        let (result, records) = file.write_all_at(records, at).await;
        let batch = Batch { before, last, records, unix_us };
        let synced = match result {
            Ok(()) if self.settings.flush == JournalFlush::Always => file.sync_data().await.map_err(|error| (error, true)),
            result => result.map_err(|error| (error, false)),
        };
        let synced = match synced {
            Ok(()) => self.note_newest(Position { offset: last, ..before }).await.map_err(|error| (error, false)),
            failed => failed,
        };
        let open = self.segment.as_mut().expect("it is still there");
        let Err((error, is_sync)) = synced else {
            open.bytes += batch.records.len() as u64;
            return (Ok(()), batch);
        };
        // After a sync that failed nobody knows what is on disk: the next batch goes into a segment of its own, and this one ends where
        // that begins.
        if cut_off(&open.path, at).is_err() || is_sync {
            self.abandon();
        }
        (Err(error), batch)
    }

    /// Opens a new segment, where none is.
    async fn begin_segment(&mut self, batch: &Batch) -> io::Result<()> {
        if self.segment.is_some() {
            return Ok(());
        }
        std::fs::create_dir_all(&self.directory)?;
        if self.newest.is_none() {
            let path = self.directory.join(NEWEST);
            self.newest = Some(File::open(&path, Access::Write).await?);
        }
        let path = self.directory.join(segment::file_name(self.next_number));
        let Position { epoch, offset } = batch.before;
        let header = Header { topic: self.topic.clone(), epoch, first: offset + 1, created_us: batch.unix_us, boot: self.boot };
        let mut bytes = Vec::new();
        format::put_header(&header, &mut bytes);
        let file = File::open(&path, Access::New).await?;
        let (result, bytes) = file.write_all_at(bytes, 0).await;
        let result = match result {
            Ok(()) => self.put_on_disk(&file).await,
            Err(error) => Err(error),
        };
        if let Err(error) = result {
            // What begins with half a header is passed over at the next start; one that holds nothing is not.
            if std::fs::remove_file(&path).is_err() {
                self.finished.push_back(Finished { path, bytes: 0, ended: SystemTime::now() });
            }
            return Err(error);
        }
        self.next_number += 1;
        let header_bytes = bytes.len() as u64;
        self.segment = Some(Open { file, path, bytes: header_bytes, header_bytes, begun: Instant::now() });
        self.forget_surplus();
        Ok(())
    }

    /// Names the newest position, before it is told. It need not be on disk: what it finds out it finds out while it is there.
    async fn note_newest(&self, newest: Position) -> io::Result<()> {
        let file = self.newest.as_ref().expect("it is opened with the first segment");
        file.write_all_at(format::newest(newest).to_vec(), 0).await.0
    }

    /// The file, its name in the topic's directory, and that one's name in turn.
    async fn put_on_disk(&self, file: &File) -> io::Result<()> {
        file.sync_all().await?;
        for directory in self.directory.ancestors().take(2) {
            File::open(directory, Access::Read).await?.sync_all().await?;
        }
        Ok(())
    }

    async fn finish_segment(&mut self) -> io::Result<()> {
        let Some(open) = &self.segment else { return Ok(()) };
        open.file.sync_data().await?;
        self.abandon();
        Ok(())
    }

    /// What comes from now on is delivered and not appended, until a batch is again: names an epoch of which the files do not hold
    /// all, in the place of the newest position, so that a start before that goes on with none of the positions that they hold. It
    /// stands over what is there and takes no room on the disk, and is synced: a segment that an earlier run closed is trusted after
    /// a power failure too. To be called after each batch that failed.
    ///
    /// # Errors
    /// [`io::Error`]: nothing may be delivered that is not written.
    pub async fn leave(&mut self, epoch: Epoch) -> io::Result<()> {
        if let Some(open) = self.segment.take_if(|open| open.bytes == open.header_bytes)
            && std::fs::remove_file(&open.path).is_err()
        {
            self.segment = Some(open);
        }
        self.abandon();
        if self.finished.is_empty() {
            return Ok(());
        }
        if self.newest.is_none() {
            self.newest = Some(File::open(&self.directory.join(NEWEST), Access::Overwrite).await?);
        }
        self.note_newest(Position { epoch, offset: format::UNWRITTEN }).await?;
        if self.left != Some(epoch) {
            self.newest.as_ref().expect("it was just written to").sync_data().await?;
            self.left = Some(epoch);
        }
        Ok(())
    }

    /// Nothing more is appended to the segment.
    pub fn abandon(&mut self) {
        let ended = SystemTime::now();
        self.finished.extend(self.segment.take().map(|Open { path, bytes, .. }| Finished { path, bytes, ended }));
    }

    /// The segment that is appended to, to be synced while the next batch is written.
    #[must_use]
    pub fn file(&self) -> Option<File> {
        self.segment.as_ref().map(|open| open.file.clone())
    }

    /// Ends the segment in order, all of it on disk; nothing is appended any more.
    ///
    /// # Errors
    /// [`io::Error`]: the next start may not trust its end.
    pub async fn close(mut self, newest: Position) -> io::Result<()> {
        self.end_segment(newest).await
    }

    /// Ends the segment in order, all of it on disk; what is appended from now on goes into another one.
    ///
    /// # Errors
    /// [`io::Error`]: the next start may not trust its end.
    pub async fn end_segment(&mut self, newest: Position) -> io::Result<()> {
        let Some(open) = &self.segment else { return Ok(()) };
        open.file.sync_data().await?;
        let mut end = Vec::new();
        format::put_closed(newest, &mut end);
        let (result, _) = open.file.write_all_at(end, open.bytes).await;
        if let Err(error) = result {
            cut_off(&open.path, open.bytes)?;
            return Err(error);
        }
        open.file.sync_data().await?;
        self.abandon();
        Ok(())
    }

    /// Removes what is beyond the topic's bounds, oldest first.
    fn forget_surplus(&mut self) {
        let age_max = Duration::from_secs(self.settings.keep_s.into());
        let is_old = |finished: &Finished| finished.ended.elapsed().is_ok_and(|age| age > age_max);
        let bytes = |finished: &VecDeque<Finished>| finished.iter().map(|finished| finished.bytes).sum::<u64>();
        while self.finished.front().is_some_and(is_old)
            || bytes(&self.finished) + u64::from(self.settings.segment_bytes) > self.settings.keep_bytes
        {
            if !self.forget_oldest() {
                break;
            }
        }
    }

    /// Removes the oldest finished segment; false where there is none or it cannot be removed.
    fn forget_oldest(&mut self) -> bool {
        let Some(oldest) = self.finished.front() else { return false };
        match std::fs::remove_file(&oldest.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!("the journal {:?} cannot be removed: {error}", oldest.path);
                false
            }
            _ => self.finished.pop_front().is_some(),
        }
    }
}

/// Whether more room would help.
fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

fn cut_off(path: &Path, bytes: u64) -> io::Result<()> {
    std::fs::OpenOptions::new().write(true).open(path)?.set_len(bytes)
}
