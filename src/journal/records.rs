//! Pieces of a segment in, what it holds out.
//!
//! Without: files. Holds one unfinished record and one piece. Invariant: what it gives is what was put in, from the first record
//! on without a hole; the first byte that is not so ends it.

use super::format::{self, Entry, Fault, Header, Parsed};
use crate::hub::{Position, Publication};

/// Cuts pieces of one segment into its header and entries.
#[derive(Debug, Default)]
pub struct Records {
    bytes: Vec<u8>,
    /// Where in `bytes` the next entry begins.
    start: usize,
    /// Where in the file that is.
    at: u64,
    header: Option<Header>,
    /// Offset that the next publication must have.
    next: u64,
    is_closed: bool,
}

/// How far a segment could be read to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// To its last byte, and it was closed in order.
    Closed,
    /// To its last byte.
    Open,
    /// The bytes from here on are the beginning of an entry, or of the header.
    Cut {
        /// Bytes from the file's start.
        at: u64,
    },
}

impl Records {
    /// The buffer to append the next piece to.
    pub fn buffer(&mut self) -> &mut Vec<u8> {
        self.bytes.drain(..self.start);
        self.start = 0;
        &mut self.bytes
    }

    /// What the segment says of itself, once that was read.
    #[must_use]
    pub fn header(&self) -> Option<&Header> {
        self.header.as_ref()
    }

    /// Where in the file the next entry begins, or what is wrong.
    #[must_use]
    pub fn at(&self) -> u64 {
        self.at
    }

    /// The newest position that was read, or the one before the first.
    #[must_use]
    pub fn position(&self) -> Option<Position> {
        self.header.as_ref().map(|header| Position { epoch: header.epoch, offset: self.next - 1 })
    }

    /// The next publication; `None` when more pieces are needed.
    ///
    /// # Errors
    /// [`Fault`] at [`Records::at`]; nothing can be read from there on.
    pub fn next_publication(&mut self) -> Result<Option<Publication>, Fault> {
        if self.header.is_none() {
            let Parsed::Whole(header, length) = format::header(&self.bytes[self.start..])? else { return Ok(None) };
            self.next = header.first;
            self.header = Some(header);
            self.step(length);
        }
        let rest = &self.bytes[self.start..];
        if rest.is_empty() {
            return Ok(None);
        }
        if self.is_closed {
            return Err(Fault::Behind);
        }
        let Parsed::Whole((offset, entry), length) = format::record(rest)? else { return Ok(None) };
        let expected = self.next - u64::from(entry == Entry::Closed);
        if offset != expected {
            return Err(Fault::Offset { expected, found: offset });
        }
        self.step(length);
        match entry {
            Entry::Publication(publication) => {
                self.next += 1;
                Ok(Some(publication))
            }
            Entry::Closed => {
                self.is_closed = true;
                if self.start == self.bytes.len() { Ok(None) } else { Err(Fault::Behind) }
            }
        }
    }

    /// Once the whole file was put in and read.
    #[must_use]
    pub fn ending(&self) -> Ending {
        match (self.header.is_some() && self.start == self.bytes.len(), self.is_closed) {
            (true, true) => Ending::Closed,
            (true, false) => Ending::Open,
            (false, _) => Ending::Cut { at: self.at },
        }
    }

    fn step(&mut self, bytes: usize) {
        self.start += bytes;
        self.at += bytes as u64;
    }
}
