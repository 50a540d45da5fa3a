//! The newest publication of each key of a topic, kept beside its ring and surviving the ring's turnover.
//!
//! What replaced something stands at its own offset, so walking up the offsets from a cursor gives what a reader that is that
//! far still lacks of the topic's *state*, each key once, in offset order: a snapshot for who begins, the newest for who is
//! slow. A publication without a key is of one more key of its own.
//!
//! A removal is kept as well: who is slow must hear that the key is gone; only a snapshot leaves it out. Keys and removals
//! together are at most `keys_max`: the oldest removal goes first, else the key that has not changed for longest, counted.
//!
//! Without: rings. A publication stands here itself only once the log gave it up, and a frame only where a reader's ring does
//! not hold it.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::Encoding;
use super::publication::{Key, Publication};

/// The newest of each key.
#[derive(Debug)]
pub(super) struct Newest {
    pub(super) keys_max: usize,
    /// There was never a key, and nothing but the newest of all.
    keyless: bool,
    by_key: HashMap<Option<Key>, u64>,
    by_offset: BTreeMap<u64, Kept>,
    /// Offsets of removals.
    removals: BTreeSet<u64>,
    /// Keys that had to make room since this was last asked.
    evicted: u64,
}

/// One key's newest.
#[derive(Debug, Default)]
struct Kept {
    key: Option<Key>,
    /// Once the log gave it up.
    publication: Option<Publication>,
    /// In encodings whose ring does not hold it, made when they are first wanted.
    frames: Vec<(Encoding, Box<[u8]>)>,
}

impl Newest {
    pub(super) fn new(keys_max: u32) -> Newest {
        Newest {
            keys_max: keys_max as usize,
            keyless: true,
            by_key: HashMap::new(),
            by_offset: BTreeMap::new(),
            removals: BTreeSet::new(),
            evicted: 0,
        }
    }

    /// A publication came: it replaces the one of its key. One that the log does not hold is given to be kept.
    pub(super) fn replace(&mut self, publication: &Publication, keep: bool) {
        let key = publication.marks.key.clone();
        self.keyless &= key.is_none() && !keep;
        if let Some(before) = self.by_key.insert(key.clone(), publication.offset) {
            self.by_offset.remove(&before);
            self.removals.remove(&before);
        }
        let kept = Kept { key, publication: keep.then(|| publication.clone()), frames: Vec::new() };
        self.by_offset.insert(publication.offset, kept);
        if publication.marks.removes {
            self.removals.insert(publication.offset);
        }
        while self.by_offset.len() > self.keys_max {
            self.make_room();
        }
    }

    fn make_room(&mut self) {
        let removal = self.removals.pop_first();
        self.evicted += u64::from(removal.is_none());
        let oldest = removal.or_else(|| self.by_offset.keys().next().copied()).expect("there are more than keys_max");
        let kept = self.by_offset.remove(&oldest).expect("it is there");
        self.by_key.remove(&kept.key);
    }

    /// Keys that had to make room since this was last asked.
    pub(super) fn take_evicted(&mut self) -> u64 {
        std::mem::take(&mut self.evicted)
    }

    /// The offsets below `head` whose publications the log is about to give up.
    pub(super) fn leaving(&self, from: u64, head: u64) -> impl Iterator<Item = u64> + use<'_> {
        let unkept = self.by_offset.range(from..head.max(from)).filter(|(_, kept)| kept.publication.is_none());
        unkept.map(|(offset, _)| *offset)
    }

    /// Keeps a publication that the log is about to give up.
    pub(super) fn keep(&mut self, publication: Publication) {
        let kept = self.by_offset.get_mut(&publication.offset).expect("it is one of those that are leaving");
        kept.publication = Some(publication);
    }

    /// The first that is not below the cursor; removals too, where a reader had the keys.
    pub(super) fn next(&self, cursor: u64, removals: bool) -> Option<u64> {
        let offsets = self.by_offset.range(cursor..).map(|(offset, _)| *offset);
        offsets.into_iter().find(|offset| removals || !self.removals.contains(offset))
    }

    /// How many of `from..to` are the newest of their key.
    pub(super) fn count(&self, from: u64, to: u64) -> u64 {
        self.by_offset.range(from..to.max(from)).count() as u64
    }

    /// Whether there was never a key: then this is what the log has, too.
    pub(super) fn is_keyless(&self) -> bool {
        self.keyless
    }

    /// How many keys there are that are not removed.
    pub(super) fn keys(&self) -> u64 {
        (self.by_offset.len() - self.removals.len()) as u64
    }

    /// All offsets, removals too.
    pub(super) fn offsets(&self) -> impl Iterator<Item = u64> + use<'_> {
        self.by_offset.keys().copied()
    }

    /// The publication, where it stands here itself.
    pub(super) fn publication(&self, offset: u64) -> Option<&Publication> {
        self.by_offset.get(&offset)?.publication.as_ref()
    }

    /// The frame, where it was made.
    pub(super) fn frame(&self, encoding: Encoding, offset: u64) -> Option<&[u8]> {
        let frames = &self.by_offset.get(&offset)?.frames;
        frames.iter().find(|(of, _)| *of == encoding).map(|(_, frame)| &**frame)
    }

    /// Keeps a frame until its key is replaced.
    pub(super) fn keep_frame(&mut self, encoding: Encoding, offset: u64, frame: Box<[u8]>) {
        let kept = self.by_offset.get_mut(&offset).expect("frames are made of what is the newest of its key");
        kept.frames.push((encoding, frame));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hub::{Marks, Payload, PayloadKind};

    fn publication(offset: u64, key: Option<&str>, removes: bool) -> Publication {
        let marks = Marks { key: key.map(|key| Key::parse(key).expect("a key")), removes, ..Marks::default() };
        Publication { offset, unix_us: 0, payload: Payload { bytes: "x".into(), kind: PayloadKind::Text }, marks }
    }

    fn newest(keys_max: u32, publications: &[(Option<&str>, bool)]) -> Newest {
        let mut newest = Newest::new(keys_max);
        for (offset, (key, removes)) in (1..).zip(publications) {
            newest.replace(&publication(offset, *key, *removes), false);
        }
        newest
    }

    fn walk(newest: &Newest, from: u64, removals: bool) -> Vec<u64> {
        std::iter::successors(newest.next(from, removals), |offset| newest.next(offset + 1, removals)).collect()
    }

    #[test]
    fn walking_gives_each_key_once_in_offset_order() {
        let newest = newest(9, &[(Some("a"), false), (Some("b"), false), (None, false), (Some("a"), false), (None, false)]);
        assert_eq!(walk(&newest, 0, true), [2, 4, 5]);
        assert_eq!(walk(&newest, 3, true), [4, 5]);
        assert_eq!(walk(&newest, 6, true), [] as [u64; 0]);
        assert_eq!((newest.count(0, 5), newest.count(3, 3)), (2, 0));
    }

    #[test]
    fn a_removal_is_told_to_who_had_the_key_and_left_out_of_snapshots() {
        let newest = newest(9, &[(Some("a"), false), (Some("b"), false), (Some("a"), true)]);
        assert_eq!(walk(&newest, 0, true), [2, 3]);
        assert_eq!(walk(&newest, 0, false), [2]);
    }

    #[test]
    fn over_keys_max_removals_make_room_first_then_what_did_not_change_for_longest() {
        let mut newest = newest(2, &[(Some("a"), false), (Some("b"), true), (Some("c"), false)]);
        assert_eq!((walk(&newest, 0, true), newest.take_evicted()), (vec![1, 3], 0));
        newest.replace(&publication(4, Some("d"), false), false);
        assert_eq!((walk(&newest, 0, true), newest.take_evicted()), (vec![3, 4], 1));
        newest.replace(&publication(5, Some("c"), false), false);
        assert_eq!((walk(&newest, 0, true), newest.take_evicted()), (vec![4, 5], 0));
    }
}
