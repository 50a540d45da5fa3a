//! A topic of the naive twin, and what its rings ought to hold.

use std::collections::VecDeque;

use super::super::*;
use super::{ALL_ENCODINGS, ENCODINGS, TestEncoder};

/// A topic as the twin sees it: all that was ever published, and what each encoding's ring ought to hold.
pub(super) struct TwinTopic {
    pub(super) name: String,
    pub(super) limits: RingLimits,
    pub(super) published: Vec<Publication>,
    /// The pair's clock at the newest publication; 0: none.
    pub(super) published_at: u64,
    /// By encoding: sizes of the frames held, the newest last; a derived one's only while someone is subscribed in it.
    pub(super) held: [Option<VecDeque<usize>>; ENCODINGS],
}

impl TwinTopic {
    pub(super) fn frame(&self, encoding: Encoding, offset: u64) -> Vec<u8> {
        let mut frame = Vec::new();
        TestEncoder.encode(encoding, &self.name, self.at(offset), &self.published[offset as usize - 1], &mut frame);
        frame
    }

    /// Epochs are those that its publications begin, from the first one on.
    pub(super) fn at(&self, number: u64) -> Position {
        let begun = self.published[..number as usize].iter().rev().find(|publication| publication.marks.begins.is_some());
        let epoch = begun.and_then(|begun| begun.marks.begins.as_deref().copied()).unwrap_or(Epoch::from_number(7));
        Position { epoch, offset: number - begun.map_or(0, |begun| begun.offset - 1) }
    }

    /// For a publication that begins one; none where the hub would forget some.
    pub(super) fn next_epoch(&self) -> Option<Box<Epoch>> {
        let count = self.published.iter().filter(|publication| publication.marks.begins.is_some()).count();
        (count < 60).then(|| Box::new(Epoch::from_number(1000 + count as u64)))
    }

    pub(super) fn newest(&self) -> u64 {
        self.published.len() as u64
    }

    pub(super) fn head(&self, encoding: Encoding) -> u64 {
        self.newest() + 1 - self.held[encoding as usize].as_ref().map_or(0, |held| held.len() as u64)
    }

    /// Holds the publication in one encoding and gives up the oldest ones over the limits.
    fn hold(&mut self, encoding: Encoding, offset: u64) {
        let size = self.frame(encoding, offset).len();
        let held = self.held[encoding as usize].get_or_insert_default();
        held.push_back(size);
        let over = |held: &VecDeque<usize>| held.iter().sum::<usize>() > self.limits.bytes as usize;
        while held.len() > self.limits.publications as usize || (held.len() > 1 && over(held)) {
            held.pop_front();
        }
    }

    pub(super) fn hold_newest(&mut self) {
        for encoding in ALL_ENCODINGS {
            if encoding == Encoding::Raw || self.held[encoding as usize].is_some() {
                self.hold(encoding, self.newest());
            }
        }
    }

    /// Someone will read the encoding from this offset on: it is made from the log, as far as that goes back.
    pub(super) fn derive(&mut self, encoding: Encoding, cursor: u64) {
        let from = cursor.max(self.head(Encoding::Raw));
        if self.held[encoding as usize].is_none() || self.head(encoding) > from {
            self.held[encoding as usize] = Some(VecDeque::new());
            (from..=self.newest()).for_each(|offset| self.hold(encoding, offset));
        }
    }
}
