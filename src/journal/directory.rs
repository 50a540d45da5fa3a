//! A journal's directory: its lock, its topics, and what a start makes of them.
//!
//! Without: writing of publications. Invariant: where it cannot be ruled out that a delivered publication is missing, the topic's
//! old count is not gone on with.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::JournalError;
use super::format::{self, BootId, Header};
use super::records::Ending;
use super::segment::{self, Segment};
use crate::hub::{Position, Publication, TopicName};

/// A topic's file with the newest position that may have been told.
pub(super) const NEWEST: &str = "newest";
/// The file that is locked.
const LOCK: &str = "lock";
/// Where topics' directories lie.
const TOPICS: &str = "topics";

/// A journal's directory, held by this process.
#[derive(Debug)]
pub struct Directory {
    path: PathBuf,
    boot: BootId,
    /// Locked as long as it is open, here or in another process that it was handed to.
    lock: Option<File>,
}

/// What the start of a topic goes on from.
#[derive(Debug)]
pub struct Found {
    /// Which.
    pub topic: TopicName,
    /// The newest position; none where a new count begins.
    pub position: Option<Position>,
    /// Files that hold, without a hole, all up to the position that a ring can take; the first publication each counts for is in it.
    recent: Vec<Part>,
    /// All files, in order.
    pub files: Vec<PathBuf>,
    /// The number that the next file gets.
    pub next_number: u64,
}

/// A segment, as far as it counts.
#[derive(Debug)]
struct Part {
    path: PathBuf,
    first: u64,
    /// The newest offset that counts.
    last: u64,
}

/// How much of a topic's past is wanted.
#[derive(Clone, Copy, Debug)]
pub struct Wanted {
    /// Publications.
    pub publications: u64,
    /// Bytes of payloads.
    pub bytes: u64,
}

impl Directory {
    /// Takes a directory, which is made where it is not there.
    ///
    /// # Errors
    /// [`JournalError`], above all where another gateway has it.
    pub fn open(path: &Path, boot: BootId) -> Result<Directory, JournalError> {
        Directory::open_with(path, boot, None)
    }

    /// The same, with the lock that [`Directory::lock`] of another process gave, if it is this directory's.
    ///
    /// # Errors
    /// [`JournalError`], above all where another gateway has it.
    pub fn open_with(path: &Path, boot: BootId, handed: Option<OwnedFd>) -> Result<Directory, JournalError> {
        fs::create_dir_all(path.join(TOPICS)).map_err(JournalError::io(path))?;
        let name = path.join(LOCK);
        let lock = OpenOptions::new().write(true).create(true).truncate(false).open(&name).map_err(JournalError::io(&name))?;
        let is_own = |handed: &File| Ok(inode(handed)? == inode(&lock)?);
        if let Some(handed) = handed.map(File::from)
            && is_own(&handed).map_err(JournalError::io(&name))?
        {
            return Ok(Directory { path: path.to_owned(), boot, lock: Some(handed) });
        }
        take_lock(&lock, path)?;
        Ok(Directory { path: path.to_owned(), boot, lock: Some(lock) })
    }

    /// The process that it was handed to is gone.
    ///
    /// # Errors
    /// [`JournalError`], above all where another gateway has it.
    pub fn lock_again(&mut self) -> Result<(), JournalError> {
        let name = self.path.join(LOCK);
        let lock = OpenOptions::new().write(true).open(&name).map_err(JournalError::io(&name))?;
        take_lock(&lock, &self.path)?;
        self.lock = Some(lock);
        Ok(())
    }

    /// The lock, for another process that goes on here.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn lock(&self) -> io::Result<OwnedFd> {
        Ok(self.lock.as_ref().expect("it is given up only once").try_clone()?.into())
    }

    /// Another process has it.
    pub fn unlock(&mut self) {
        self.lock = None;
    }

    /// In which start of the machine it was taken.
    #[must_use]
    pub fn boot(&self) -> BootId {
        self.boot
    }

    /// Where a topic's segments lie.
    #[must_use]
    pub fn of_topic(&self, topic: &TopicName) -> PathBuf {
        self.path.join(TOPICS).join(topic.as_str())
    }

    /// The topics that have a directory.
    ///
    /// # Errors
    /// [`JournalError::Io`].
    pub fn topics(&self) -> Result<Vec<TopicName>, JournalError> {
        let path = self.path.join(TOPICS);
        let mut topics = Vec::new();
        for entry in fs::read_dir(&path).map_err(JournalError::io(&path))? {
            let name = entry.map_err(JournalError::io(&path))?.file_name();
            topics.extend(name.to_str().and_then(|name| TopicName::parse(name).ok()));
        }
        topics.sort();
        Ok(topics)
    }

    /// Looks at a topic's segments, and makes the newest one end in order where that can be done: what a `kill -9` cut off is removed,
    /// as it was never delivered.
    ///
    /// # Errors
    /// [`JournalError`] where a file is none of this topic's, or of a newer version.
    pub fn find(&self, topic: &TopicName, wanted: Wanted) -> Result<Found, JournalError> {
        let directory = self.of_topic(topic);
        let mut segments = Vec::new();
        for (number, path) in segment::list(&directory)? {
            let header = Segment::open(&path)?.header().cloned();
            if let Some(header) = header.as_ref().filter(|header| header.topic != *topic) {
                return Err(JournalError::Topic { path, topic: header.topic.to_string() });
            }
            segments.push((number, path, header));
        }
        let next_number = segments.last().map_or(1, |(number, ..)| number + 1);
        // A file that ends within its header was begun and never delivered from.
        segments.retain(|(_, path, header)| header.is_some() || fs::remove_file(path).is_err());
        let files = segments.iter().map(|(_, path, _)| path.clone()).collect();
        let known = segments.into_iter().filter_map(|(_, path, header)| Some((path, header?))).collect::<Vec<_>>();
        let mut found = Found { topic: topic.clone(), position: None, recent: Vec::new(), files, next_number };
        let lost = match known.last() {
            Some((path, header)) => match self.judge(path, header)? {
                Ok(newest) => {
                    found.position = Some(Position { epoch: header.epoch, offset: newest });
                    found.recent = recent(&known, newest, wanted)?;
                    None
                }
                Err(why) => Some(why),
            },
            None => self.told(topic).map(|told| format!("its files are gone, and {}", described(told))),
        };
        if let Some(why) = lost {
            tracing::warn!(
                topic = topic.as_str(),
                "the journal may have lost publications that were delivered ({why}): its positions are not gone on with, a new epoch begins"
            );
        }
        Ok(found)
    }

    /// The newest position that may have been told.
    fn told(&self, topic: &TopicName) -> Option<Position> {
        fs::read(self.of_topic(topic).join(NEWEST)).ok().and_then(|bytes| format::read_newest(&bytes))
    }

    /// The newest offset of the newest segment, made to end in order; or why it cannot be trusted.
    fn judge(&self, path: &Path, header: &Header) -> Result<Result<u64, String>, JournalError> {
        let mut segment = Segment::open(path)?;
        loop {
            match segment.next_publication() {
                Ok(Some(_)) => {}
                Ok(None) => break,
                Err(JournalError::File { at, fault, .. }) => return Ok(Err(format!("{}, byte {at}: {fault}", path.display()))),
                Err(error) => return Err(error),
            }
        }
        let newest = segment.newest();
        if let Some(told) = self.told(&header.topic).filter(|told| told.epoch != header.epoch || told.offset > newest) {
            return Ok(Err(format!("{} ends at offset {newest}, and {}", path.display(), described(told))));
        }
        match segment.ending() {
            Ending::Closed => Ok(Ok(newest)),
            _ if header.boot != self.boot => {
                Ok(Err(format!("{} was not closed, and the machine was started anew since", path.display())))
            }
            ending => {
                let cut_at = if let Ending::Cut { at } = ending { Some(at) } else { None };
                if let Some(at) = cut_at {
                    tracing::info!(
                        topic = header.topic.as_str(),
                        "a record that was cut off at byte {at} is removed; it was never delivered"
                    );
                }
                // Where that fails (the disk is full), the next segment says where this one ends.
                if let Err(error) = close(path, cut_at, Position { epoch: header.epoch, offset: newest }) {
                    tracing::warn!("the journal {path:?} could not be closed: {error}");
                }
                Ok(Ok(newest))
            }
        }
    }
}

impl Found {
    /// The offset before the first publication of [`Found::past`].
    #[must_use]
    pub fn before(&self) -> u64 {
        self.recent.first().map_or(self.position.map_or(0, |position| position.offset), |part| part.first - 1)
    }

    /// Hands over, in order, the publications up to the position.
    ///
    /// # Errors
    /// [`JournalError`] where a file that could be read a moment ago cannot any more.
    pub fn past(&self, mut each: impl FnMut(Publication)) -> Result<(), JournalError> {
        for part in &self.recent {
            let mut segment = Segment::open(&part.path)?;
            let mut next = part.first;
            while next <= part.last
                && let Some(publication) = segment.next_publication()?
            {
                next = publication.offset + 1;
                each(publication);
            }
        }
        Ok(())
    }
}

fn take_lock(lock: &File, path: &Path) -> Result<(), JournalError> {
    lock.try_lock().map_err(|error| match error {
        TryLockError::WouldBlock => JournalError::InUse { path: path.to_owned() },
        TryLockError::Error(error) => JournalError::Io { path: path.join(LOCK), error },
    })
}

fn inode(file: &File) -> io::Result<(u64, u64)> {
    let about = file.metadata()?;
    Ok((about.dev(), about.ino()))
}

fn described(told: Position) -> String {
    let Position { epoch, offset } = told;
    match offset {
        format::UNWRITTEN => format!("epoch {epoch} was served without it"),
        offset => format!("{epoch}:{offset} was told"),
    }
}

/// Cuts the file off where that is needed, and closes it: from now on all that it holds is on disk.
fn close(path: &Path, cut_at: Option<u64>, newest: Position) -> std::io::Result<()> {
    let mut file = OpenOptions::new().append(true).open(path)?;
    if let Some(at) = cut_at {
        file.set_len(at)?;
    }
    file.sync_data()?;
    let bytes = file.metadata()?.len();
    let mut end = Vec::new();
    format::put_closed(newest, &mut end);
    file.write_all(&end).and_then(|()| file.sync_data()).inspect_err(|_| drop(file.set_len(bytes)))
}

/// From the newest segment backwards as much as is wanted, as far as there is no hole.
fn recent(known: &[(PathBuf, Header)], newest: u64, wanted: Wanted) -> Result<Vec<Part>, JournalError> {
    let mut parts = Vec::new();
    let (mut publications, mut bytes, mut last) = (0, 0, newest);
    let epoch = known.last().map(|(_, header)| header.epoch);
    for (path, header) in known.iter().rev().take_while(|(_, header)| Some(header.epoch) == epoch) {
        if publications >= wanted.publications || bytes >= wanted.bytes {
            break;
        }
        let mut segment = Segment::open(path)?;
        let mut counted = header.first - 1;
        while counted < last {
            match segment.next_publication() {
                Ok(Some(publication)) => {
                    counted = publication.offset;
                    publications += 1;
                    bytes += publication.payload.bytes.len() as u64;
                }
                Ok(None) => break,
                Err(error) => {
                    tracing::warn!("what is older is not gone on with: {error}");
                    break;
                }
            }
        }
        if counted < last {
            break;
        }
        if header.first <= last {
            parts.push(Part { path: path.clone(), first: header.first, last });
        }
        last = (header.first - 1).min(last);
    }
    parts.reverse();
    Ok(parts)
}
