//! Flush windows: what is published on a topic with `flush_us` is gathered and leaves together. A topic's first publication opens
//! its window, which ends with the next multiple of `flush_us`: at the same moment for all topics that have it, since what is due
//! over several topics leaves in one send. Then the topic's subscribers are told of all of it.
//!
//! The intervals of rate variants end in the same way, each with the next multiple of its rate.
//!
//! Without: rings, subscribers, a clock. Invariant: the end of every open window stands among `ends`. Of a window that was
//! closed early it stays there, and is passed over when it comes up.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};

use crate::hub::TopicId;

/// The open windows of a shard.
#[derive(Debug, Default)]
pub(super) struct Windows {
    open: HashMap<TopicId, Window>,
    ends: BinaryHeap<Reverse<(u64, TopicId)>>,
}

/// One topic's.
#[derive(Debug)]
pub(super) struct Window {
    until_us: u64,
    /// Offset of the publication that opened it.
    first: u64,
    /// Times of ingest of those in it, for the histogram.
    pub(super) ingests_unix_us: Vec<u64>,
}

impl Windows {
    /// Adds a publication to its topic's window, which it opens until `until_us` if there is none. Gives the offset of the
    /// window's first publication.
    pub(super) fn add(&mut self, topic: TopicId, offset: u64, unix_us: Option<u64>, until_us: u64) -> u64 {
        let window = self.open.entry(topic).or_insert_with(|| {
            self.ends.push(Reverse((until_us, topic)));
            Window { until_us, first: offset, ingests_unix_us: Vec::new() }
        });
        window.ingests_unix_us.extend(unix_us);
        window.first
    }

    /// Opens the window of a rate variant, of which nothing is noted, until `until_us`, if it is not open.
    pub(super) fn open(&mut self, topic: TopicId, until_us: u64) {
        self.add(topic, 0, None, until_us);
    }

    /// The topics whose windows are open.
    pub(super) fn topics(&self) -> Vec<TopicId> {
        self.open.keys().copied().collect()
    }

    /// Closes the topic's window, if it is open.
    pub(super) fn close(&mut self, topic: TopicId) -> Option<Window> {
        self.open.remove(&topic)
    }

    /// When the next window ends, or a closed one would have.
    pub(super) fn next_us(&self) -> Option<u64> {
        self.ends.peek().map(|Reverse((until_us, _))| *until_us)
    }

    /// A topic whose window is over and is to be closed.
    pub(super) fn over(&mut self, now_us: u64) -> Option<TopicId> {
        while self.next_us().is_some_and(|until_us| until_us <= now_us) {
            let Reverse((until_us, topic)) = self.ends.pop().expect("it was looked at");
            if self.open.get(&topic).is_some_and(|window| window.until_us == until_us) {
                return Some(topic);
            }
        }
        None
    }
}
