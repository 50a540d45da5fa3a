//! A topic as its state: the newest publication of each key, or the newest alone where there are no keys.
//!
//! Without: who reads it, and how far each is.

use super::newest::Newest;
use super::publication::Publication;
use super::ring::Ring;
use super::store::{Topic, TopicSettings};
use super::{Encoder, Encoding, Hub, TopicId};

impl Topic {
    /// The first that is the newest of its key and not below the cursor; removals too, where a reader had the keys.
    pub(super) fn next_newest(&self, cursor: u64, removals: bool) -> Option<u64> {
        match &self.newest {
            Some(newest) => newest.next(cursor, removals),
            None => self.log_newest().filter(|newest| *newest >= cursor),
        }
    }

    /// How many of `from..to` are the newest of their key.
    pub(super) fn count_newest(&self, from: u64, to: u64) -> u64 {
        match &self.newest {
            Some(newest) => newest.count(from, to),
            None => u64::from(self.log_newest().is_some_and(|newest| (from..to).contains(&newest))),
        }
    }

    /// All that is the newest of its key, in offset order.
    pub(super) fn state(&self) -> Vec<Publication> {
        match &self.newest {
            Some(newest) => newest.offsets().map(|offset| self.publication(offset)).collect(),
            None => self.log_newest().map(|newest| self.publication(newest)).into_iter().collect(),
        }
    }

    /// Whether `last` gives anything.
    pub(super) fn holds_any(&self) -> bool {
        self.next_newest(0, false).is_some()
    }

    /// Whether `last` gives more than the log's newest. For readers of variants the newest is kept without keys, too.
    pub(super) fn is_keyed(&self) -> bool {
        self.settings.keyed || self.newest.as_ref().is_some_and(|newest| !newest.is_keyless())
    }

    /// Whether the newest is kept beside the ring.
    pub(super) fn keeps_newest(&self) -> bool {
        self.newest.is_some()
    }

    /// Keys that had to make room since this was last asked.
    pub(super) fn take_evicted_keys(&mut self) -> u64 {
        self.newest.as_mut().map_or(0, |newest| newest.take_evicted())
    }

    /// The encoding's ring, if it holds the frame.
    fn ring_of(&self, encoding: Encoding, offset: u64) -> Option<&Ring> {
        self.encoded(encoding).map(|encoded| &encoded.ring).filter(|ring| (ring.head()..ring.next()).contains(&offset))
    }

    /// From now on the newest is kept beside the ring, also where there are no keys.
    pub(super) fn keep_newest(&mut self) -> &mut Newest {
        if self.newest.is_none() {
            let mut newest = Box::new(Newest::new(self.settings.keys_max));
            if let Some(before) = self.log_newest() {
                newest.replace(&self.publication(before), false);
            }
            self.newest = Some(newest);
        }
        self.newest.as_mut().expect("it is there")
    }

    /// Before a publication: rings and keys are bounded as the settings say now. Only here, as what a lower bound gives up is given up as
    /// the publication is appended, behind the copies for those who are inside of it.
    pub(super) fn go_by_settings(&mut self) {
        let TopicSettings { ring: limits, keyed, keys_max, .. } = *self.settings;
        if self.log().limits() != limits {
            self.rings_mut().for_each(|ring| ring.bound(limits));
        }
        if keyed {
            self.keep_newest();
        }
        if let Some(newest) = &mut self.newest {
            newest.keys_max = keys_max as usize;
        }
    }

    /// The newest is not to be kept beside the ring any more, where it is for nobody but readers of variants.
    pub(super) fn forget_newest(&mut self) {
        if !self.settings.keyed && self.rows() == 0 {
            self.newest.take_if(|newest| newest.is_keyless());
        }
    }

    fn log_newest(&self) -> Option<u64> {
        self.log().newest()
    }

    /// The frame of what is the newest of its key (or was, when this was taken): beside the ring, where it was made, or in it.
    pub(super) fn frame(&self, encoding: Encoding, offset: u64) -> (&[u8], &[u8]) {
        if let Some(kept) = self.newest.as_ref().and_then(|newest| newest.frame(encoding, offset)) {
            return (kept, &[]);
        }
        let ring = self.ring_of(encoding, offset).expect("a frame that is taken was made before");
        ring.range(offset, 0, offset + 1)
    }

    /// Makes the frame of what is the newest of its key, where the reader has no ring that holds it; gives its length. A ring that
    /// is not the reader's own may go with its last subscriber while the frame is being sent.
    pub(super) fn make_frame(&mut self, encoding: Encoding, offset: u64, is_own: bool, encoder: &mut dyn Encoder) -> usize {
        if is_own && let Some(ring) = self.ring_of(encoding, offset) {
            return ring.len_bytes(offset, offset + 1);
        }
        let newest = self.newest.as_ref().expect("it is kept where readers of variants begin with it");
        if let Some(frame) = newest.frame(encoding, offset) {
            return frame.len();
        }
        let mut frame = Vec::new();
        encoder.encode(encoding, self.name.as_str(), self.epochs.at(offset), &self.publication(offset), &mut frame);
        let bytes = frame.len();
        let newest = self.newest.as_mut().expect("it was looked at above");
        newest.keep_frame(encoding, offset, frame.into_boxed_slice());
        bytes
    }

    /// Before a publication is appended to the log: what the log gives up for it and is the newest of its key is kept.
    pub(super) fn keep_leaving(&mut self, publication: &Publication, young: u64, frame_bytes: usize) {
        if self.newest.is_none() {
            if publication.marks.key.is_none() {
                return;
            }
            self.keep_newest();
        }
        let newest = self.newest.as_ref().expect("it was made above");
        let log = self.log();
        let leaving: Vec<u64> = newest.leaving(log.head(), log.head_after(frame_bytes, young)).collect();
        for offset in leaving {
            let publication = self.publication(offset);
            self.newest.as_mut().expect("it is there").keep(publication);
        }
    }
}

impl Hub {
    /// Bytes of what the topic's log holds.
    #[must_use]
    pub fn log_bytes(&self, topic: TopicId) -> u64 {
        let log = self.topics.get(topic).log();
        log.len_bytes(log.head(), log.next()) as u64
    }

    /// The newest that the log holds, in order, as many as take so many bytes.
    #[must_use]
    pub fn log_newest(&self, topic: TopicId, bytes_max: u64) -> Vec<Publication> {
        let topic = self.topics.get(topic);
        let log = topic.log();
        let mut first = log.next();
        while first > log.head() && log.len_bytes(first - 1, log.next()) as u64 <= bytes_max {
            first -= 1;
        }
        (first..log.next()).map(|offset| topic.publication(offset)).collect()
    }
}
