//! Segment files read whole, one after the other.
//!
//! Without: writing, and what is wrong with a tail. Holds one piece of the file and one record.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use super::JournalError;
use super::format::{self, Header, Parsed};
use super::records::{Ending, Records};
use crate::hub::Publication;

/// What segments' names end with.
const SUFFIX: &str = "segment";
/// Bytes read at once.
const PIECE_BYTES: usize = 256 << 10;

/// A segment's file name.
#[must_use]
pub fn file_name(number: u64) -> String {
    format!("{number:016}.{SUFFIX}")
}

/// The number of a segment's file; `None` for other files.
#[must_use]
pub fn number_of(path: &Path) -> Option<u64> {
    let is_segment = path.extension().is_some_and(|extension| extension == SUFFIX);
    path.file_stem()?.to_str()?.parse().ok().filter(|_| is_segment)
}

/// The segments of one topic's directory, in order, each with its number.
///
/// # Errors
/// [`JournalError::Io`].
pub fn list(directory: &Path) -> Result<Vec<(u64, PathBuf)>, JournalError> {
    let entries = std::fs::read_dir(directory).map_err(JournalError::io(directory))?;
    let mut found = Vec::new();
    for entry in entries {
        let path = entry.map_err(JournalError::io(directory))?.path();
        found.extend(number_of(&path).map(|number| (number, path)));
    }
    found.sort();
    Ok(found)
}

/// Whether the file begins as a segment does, or the directory holds segments.
#[must_use]
pub fn is_journal(path: &Path) -> bool {
    if path.is_dir() {
        return list(path).is_ok_and(|segments| !segments.is_empty());
    }
    let mut magic = [0; format::MAGIC.len()];
    File::open(path).and_then(|mut file| file.read_exact(&mut magic)).is_ok() && magic == format::MAGIC
}

/// The files that a path stands for: itself, or a directory's segments in order.
///
/// # Errors
/// [`JournalError::Io`].
pub fn files(path: &Path) -> Result<Vec<PathBuf>, JournalError> {
    if path.is_dir() {
        return Ok(list(path)?.into_iter().map(|(_, path)| path).collect());
    }
    Ok(vec![path.to_owned()])
}

/// A segment that is read from its beginning.
#[derive(Debug)]
pub struct Segment {
    path: PathBuf,
    file: File,
    records: Records,
    header: Option<Header>,
    ended: bool,
}

impl Segment {
    /// Opens the file and reads its header, if all of that is there.
    ///
    /// # Errors
    /// [`JournalError`] where it is no segment, or a newer one.
    pub fn open(path: &Path) -> Result<Segment, JournalError> {
        let file = File::open(path).map_err(JournalError::io(path))?;
        let (records, path) = (Records::default(), path.to_owned());
        let mut segment = Segment { path, file, records, header: None, ended: false };
        let mut first = Vec::with_capacity(format::HEADER_BYTES_MAX);
        let read = (&segment.file).take(format::HEADER_BYTES_MAX as u64).read_to_end(&mut first);
        read.map_err(JournalError::io(&segment.path))?;
        match format::header(&first) {
            Ok(Parsed::Whole(header, _)) => segment.header = Some(header),
            Ok(Parsed::Cut(_)) => {}
            Err(fault) => return Err(JournalError::File { path: segment.path, at: 0, fault }),
        }
        segment.records.buffer().append(&mut first);
        Ok(segment)
    }

    /// What it says of itself; `None` where the file ends within that.
    #[must_use]
    pub fn header(&self) -> Option<&Header> {
        self.header.as_ref()
    }

    /// The next publication; `None` at the end, of which [`Segment::ending`] tells.
    ///
    /// # Errors
    /// [`JournalError`]: nothing can be read from there on.
    pub fn next_publication(&mut self) -> Result<Option<Publication>, JournalError> {
        loop {
            let next = self.records.next_publication();
            let next = next.map_err(|fault| JournalError::File { path: self.path.clone(), at: self.records.at(), fault })?;
            if next.is_some() || self.ended {
                return Ok(next);
            }
            let read = (&self.file).take(PIECE_BYTES as u64).read_to_end(self.records.buffer());
            self.ended = read.map_err(JournalError::io(&self.path))? == 0;
        }
    }

    /// How far it could be read; for the end.
    #[must_use]
    pub fn ending(&self) -> Ending {
        self.records.ending()
    }

    /// The newest offset that was read; the one before the first where there is none.
    #[must_use]
    pub fn newest(&self) -> u64 {
        self.records.position().map_or(0, |position| position.offset)
    }
}
