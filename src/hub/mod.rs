//! Topics and who hears them: rings of ready-to-send frames, subscriptions as cursors, clients that are due.
//!
//! One [`Hub`] a shard, owned by its thread. Publishing appends to the topic's rings and notes its subscribers; nothing is
//! queued or copied for any of them. A visit of the sweep takes what a client lacks over all its topics up to the tails of
//! that moment ([`Hub::take_due`]), and says afterwards how much of it went ([`Hub::advance`]).
//!
//! Without: sockets, clocks, threads, and what an encoding looks like ([`Encoder`] is given from above).
//!
//! Invariants: a subscription whose cursor is behind is noted, but for what was appended and not yet told
//! ([`Hub::append`]), and a client with a noted subscription or an owed rest is
//! marked in the [`DueSet`], but for the time between a visit's `take_due` and its last `advance`. A client is inside at
//! most one frame. While spans are taken no ring that they
//! lie in changes: publishing, subscribing and changes of encoding wait for the last `advance` (asserted).

mod directory;
pub mod due;
mod epochs;
mod heard;
mod history;
mod lacking;
mod newest;
mod passing;
mod patterns;
pub mod publication;
mod registry;
pub mod ring;
mod room;
mod row;
mod state;
mod store;
mod subscribe;
pub mod topic;
mod tours;
mod trie;
mod usage;
mod variant;
mod visit;
mod walk;

#[cfg(test)]
mod tests;

pub use due::DueSet;
pub use epochs::Epochs;
pub use lacking::{Lack, Subscribed};
pub use passing::Held;
pub use publication::{Epoch, Key, KeyError, Marks, NewPublication, Payload, PayloadKind, Position, Publication, SourceGap};
pub use ring::RingLimits;
pub use store::{TopicId, TopicSettings};
pub use subscribe::{HubError, Start};
pub use topic::{Pattern, Subject, TopicName, TopicNameError};
pub use trie::Trie;
pub use usage::{Hearers, RingUse};
pub use visit::{Fallen, Span, TornPlace, TornRest, Visiting};
pub use walk::{LeftOut, Notice};

use std::collections::HashMap;
use std::sync::Arc;

use directory::Topics;
use patterns::Patterns;
use registry::Registry;
pub use row::Terms;
use tours::Tours;
use visit::Rests;

/// What changes a publication's bytes on the wire: dialect, transport and compression. The key of encode-once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Encoding {
    /// The payload, byte for byte. Every topic's log is kept in this encoding.
    Raw,
    /// The payload in its envelope: topic, offset, data. What the feed lost is told in front, here and in all below.
    Combined,
    /// As [`Encoding::Combined`], with the time of ingest.
    Timed,
    /// As [`Encoding::Raw`], a compressed message where that is worth it (permessage-deflate without context take-over).
    RawDeflate,
    /// As [`Encoding::Combined`], compressed in the same way.
    CombinedDeflate,
    /// As [`Encoding::Timed`], compressed in the same way.
    TimedDeflate,
    /// [`Encoding::Combined`] as a server-sent event whose id is the position: for a client of one topic.
    Sse,
    /// As [`Encoding::Sse`], with the time of ingest.
    SseTimed,
    /// As [`Encoding::Sse`], without an id: for clients of several topics.
    SseMany,
    /// As [`Encoding::SseMany`], with the time of ingest.
    SseManyTimed,
    /// As [`Encoding::Raw`], for a client that hears events: where the feed lost something, that is told in front.
    RawEvents,
    /// As [`Encoding::RawEvents`], compressed in the same way as [`Encoding::RawDeflate`].
    RawEventsDeflate,
}

impl Encoding {
    /// For a subscription that wants the time of ingest, where the encoding has an envelope to put it in.
    #[must_use]
    pub fn timed(self) -> Encoding {
        match self {
            Encoding::Combined => Encoding::Timed,
            Encoding::CombinedDeflate => Encoding::TimedDeflate,
            Encoding::Sse => Encoding::SseTimed,
            Encoding::SseMany => Encoding::SseManyTimed,
            other => other,
        }
    }
}

/// Makes whole WebSocket frames (unmasked, FIN) of publications, or whole server-sent events: "frames" here and in rings.
pub trait Encoder {
    /// Appends the one frame of the publication in `encoding` to `out`. What clients are told of its place is `position`.
    fn encode(&mut self, encoding: Encoding, topic: &str, position: Position, publication: &Publication, out: &mut Vec<u8>);
}

/// A shard's topics and subscriptions.
#[derive(Debug)]
pub struct Hub {
    topics: Topics,
    registry: Registry,
    patterns: Patterns,
    tours: Tours,
    /// Counts publications and subscriptions of patterns: which of two was first.
    stamp: u64,
    /// The stamp of the newest subscription of a pattern.
    subscribed_at: u64,
    rests: Rests,
    /// Most passing rows over which nobody is reset.
    pattern_rows_max: u32,
    /// Spans taken and not yet advanced, over all clients.
    taken: u32,
    /// One frame, while it is made.
    frame: Vec<u8>,
    /// By topic: its rate variants, with their rates in milliseconds.
    variants: HashMap<TopicId, Vec<(u32, TopicId)>>,
    /// Variants that lost their last reader.
    unheard: Vec<TopicId>,
    /// Keys that had to make room since this was last asked.
    evicted_keys: u64,
    /// What slow subscribers were not sent since this was last asked.
    left_out: LeftOut,
}

impl Hub {
    /// A hub without topics. `torn_bytes_max` bounds, over all clients, the copied rests of frames that rings gave up.
    #[must_use]
    pub fn new(torn_bytes_max: usize) -> Hub {
        Hub {
            topics: Topics::default(),
            registry: Registry::new(),
            patterns: Patterns::new(),
            tours: Tours::default(),
            stamp: 0,
            subscribed_at: 0,
            rests: Rests::new(torn_bytes_max),
            pattern_rows_max: u32::MAX,
            taken: 0,
            frame: Vec::new(),
            variants: HashMap::new(),
            unheard: Vec::new(),
            evicted_keys: 0,
            left_out: LeftOut::default(),
        }
    }

    /// The open topic of this name.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<TopicId> {
        self.topics.find(name)
    }

    /// Opens a topic in its first epoch, whose newest publication so far is at `position` (offset 0: none yet). The name must not
    /// be open.
    pub fn open(&mut self, name: TopicName, settings: Arc<TopicSettings>, position: Position) -> TopicId {
        self.open_in(name, settings, Epochs::new(position.epoch), position.offset)
    }

    /// Opens a topic as another hub has it: with its epochs, and the number of its newest publication.
    pub fn open_in(&mut self, name: TopicName, settings: Arc<TopicSettings>, epochs: Epochs, newest: u64) -> TopicId {
        let id = self.topics.open(name, settings, epochs, newest);
        self.topics.get_mut(id).look_up(&self.patterns);
        self.count_topic(id, true);
        id
    }

    /// Puts what [`Hub::state`] of another hub gave into a topic that was just opened at its position, and tells nobody.
    pub fn seed(&mut self, topic: TopicId, state: &[Publication], encoder: &mut dyn Encoder) {
        self.topics.get_mut(topic).seed(state, encoder);
    }

    /// Has a topic, with its variants, go by other settings: rings by their bounds from the next publication on, which may give up much
    /// at once.
    pub fn set_settings(&mut self, topic: TopicId, settings: &Arc<TopicSettings>) {
        let variants: Vec<TopicId> = self.variants(topic).iter().map(|(_, variant)| *variant).collect();
        for id in std::iter::once(topic).chain(variants) {
            self.topics.get_mut(id).settings = settings.clone();
        }
    }

    /// Bounds the copied rests of frames anew; what is copied already stays.
    pub fn bound_torn_bytes(&mut self, bytes_max: usize) {
        self.rests.bytes_max = bytes_max;
    }

    /// Closes a topic that has no members and no variants, and forgets what it held.
    pub fn close(&mut self, topic: TopicId) {
        self.topics.get_mut(topic).look_up(&self.patterns);
        self.count_topic(topic, false);
        self.topics.close(topic);
    }

    /// A topic came or goes: its patterns' counts, where they are kept.
    fn count_topic(&mut self, topic: TopicId, came: bool) {
        for &pattern in self.topics.get(topic).patterns() {
            let count = &mut self.patterns.get_mut(pattern).topics;
            *count = count.map(|count| if came { count + 1 } else { count - 1 });
        }
    }

    /// Epoch and newest offset.
    #[must_use]
    pub fn position(&self, topic: TopicId) -> Position {
        self.topics.get(topic).epochs.at(self.newest(topic))
    }

    /// The number of the newest publication, which every [`Publication`] here counts from; 0: none yet.
    #[must_use]
    pub fn newest(&self, topic: TopicId) -> u64 {
        self.topics.get(topic).log().next() - 1
    }

    /// The topic's epochs, as [`Hub::open_in`] takes them.
    #[must_use]
    pub fn epochs(&self, topic: TopicId) -> &Epochs {
        &self.topics.get(topic).epochs
    }

    /// The topic's name.
    #[must_use]
    pub fn name(&self, topic: TopicId) -> &TopicName {
        &self.topics.get(topic).name
    }

    /// How many subscriptions of this shard's clients it has: by its name, at whatever rate, and by patterns. A client that has
    /// it by several counts for each.
    #[must_use]
    pub fn members(&self, topic: TopicId) -> usize {
        let named = self.members_by_name(topic);
        let topic = self.topics.get(topic);
        let members = |id: &patterns::PatternId| self.patterns.get(*id).members.len();
        let heard: usize = match topic.is_looked_up(&self.patterns) {
            true => topic.patterns().iter().map(members).sum(),
            false => self.patterns.matching(topic.name.as_str()).iter().map(members).sum(),
        };
        named + if topic.variant.is_none() { heard } else { 0 }
    }

    /// How many of those are by its name.
    #[must_use]
    pub fn members_by_name(&self, topic: TopicId) -> usize {
        let of_variants = self.variants(topic).iter().map(|(_, variant)| self.topics.get(*variant).members.len());
        self.topics.get(topic).members.len() + of_variants.sum::<usize>()
    }

    /// Slots of the clients that are subscribed, by name or by a pattern, from this one on, in order.
    #[must_use]
    pub fn member_slots(&self, topic: TopicId, from: u32) -> Vec<u32> {
        let variants = self.variants(topic).iter().map(|(_, variant)| &self.topics.get(*variant).members);
        let topic = self.topics.get(topic);
        let patterns = self.patterns.matching(topic.name.as_str());
        let patterns = patterns.iter().map(|id| &self.patterns.get(*id).members);
        let lists = std::iter::once(&topic.members).chain(variants).chain(patterns);
        let rows = lists.flat_map(|rows| {
            let (Ok(first) | Err(first)) = self.registry.place_among(rows, from);
            &rows[first..]
        });
        let mut slots: Vec<u32> = rows.map(|row| self.registry.get(*row).slot).collect();
        slots.sort_unstable();
        slots.dedup();
        slots
    }

    /// How many topics are open.
    #[must_use]
    pub fn topic_count(&self) -> usize {
        self.topics.count()
    }

    /// The encodings that are made of the topic now.
    pub fn encodings(&self, topic: TopicId) -> impl Iterator<Item = Encoding> {
        let topic = self.topics.get(topic);
        (0..topic.encodings()).map(|number| topic.encoding(number))
    }

    /// All open topics.
    pub fn topics(&self) -> impl Iterator<Item = TopicId> {
        self.topics.ids()
    }

    /// The newest publication of each key, in offset order; of a topic without keys its newest, if the log holds one.
    #[must_use]
    pub fn state(&self, topic: TopicId) -> Vec<Publication> {
        self.topics.get(topic).state()
    }

    /// Whether the log has given up, or never had, what follows this position, if that is one of the topic's own.
    #[must_use]
    pub fn lacks_after(&self, topic: TopicId, since: Position) -> bool {
        let topic = self.topics.get(topic);
        topic.epochs.number(since).is_some_and(|number| number + 1 < topic.log().head())
    }

    /// Whether this position, if it is one of the topic's own, lies ahead of what came here so far.
    #[must_use]
    pub fn is_ahead(&self, topic: TopicId, since: Position) -> bool {
        let topic = self.topics.get(topic);
        topic.epochs.number(since).is_some_and(|number| number >= topic.log().next())
    }

    /// All that the log holds, in order.
    #[must_use]
    pub fn log(&self, topic: TopicId) -> Vec<Publication> {
        let topic = self.topics.get(topic);
        (topic.log().head()..topic.log().next()).map(|offset| topic.publication(offset)).collect()
    }

    /// Makes the log go further back: these are all publications of another log of the topic, up to the same newest.
    pub fn recall(&mut self, topic: TopicId, publications: &[Publication], encoder: &mut dyn Encoder) {
        assert_eq!(self.taken, 0, "no ring changes while spans of it are being sent");
        self.topics.get_mut(topic).recall(publications, encoder);
    }

    /// The publication of this offset; `None` where the log does not hold it.
    #[cfg(test)]
    pub(crate) fn publication(&self, topic: TopicId, offset: u64) -> Option<Publication> {
        let topic = self.topics.get(topic);
        (topic.log().head()..topic.log().next()).contains(&offset).then(|| topic.publication(offset))
    }

    /// Whether the publications from this offset on take half of what a ring of the topic may hold, or more.
    #[must_use]
    pub fn fill_half(&self, id: TopicId, first: u64) -> bool {
        let topic = self.topics.get(id);
        (0..topic.encodings()).any(|number| {
            let ring = topic.ring(topic.encoding(number));
            let (limits, next) = (ring.limits(), ring.next());
            let from = first.max(ring.head());
            (next - first) * 2 >= u64::from(limits.publications) || ring.len_bytes(from, next) * 2 >= limits.bytes as usize
        })
    }

    /// Appends the publication that follows the topic's newest, and notes its subscribers. Sends nothing.
    ///
    /// Frames may be given up for it: see [`Hub::take_overflowed`].
    pub fn publish(&mut self, id: TopicId, publication: &Publication, encoder: &mut dyn Encoder) {
        self.append(id, publication, encoder);
        self.note_members(id);
    }

    /// The first half of [`Hub::publish`]: the subscribers hear of it with [`Hub::note_members`].
    pub fn append(&mut self, id: TopicId, publication: &Publication, encoder: &mut dyn Encoder) {
        assert_eq!(self.taken, 0, "no ring changes while spans of it are being sent");
        let topic = self.topics.get_mut(id);
        let is_next =
            publication.offset == topic.log().next() || topic.variant.is_some() && publication.offset > topic.log().next();
        assert!(is_next, "a topic's publications come in order, without holes but for a variant's");
        topic.go_by_settings();
        if topic.variant.is_none() {
            topic.look_up(&self.patterns);
            self.expect_readers(id);
            self.expect_variants(id);
        }
        let topic = self.topics.get_mut(id);
        if let Some(epoch) = publication.marks.begins.as_deref().filter(|epoch| **epoch != topic.epochs.present()) {
            topic.epochs.begin(*epoch, publication.offset - 1);
        }
        let position = topic.epochs.at(publication.offset);
        let young = topic.young(publication.unix_us);
        for number in 0..topic.encodings() {
            let encoding = topic.encoding(number);
            self.frame.clear();
            encoder.encode(encoding, topic.name.as_str(), position, publication, &mut self.frame);
            let encoded = topic.encoded_mut(encoding).expect("it is there");
            self.rests.make_room(&mut self.registry, encoded, self.frame.len(), young);
            topic.append(encoding, publication, young, &self.frame);
        }
        self.evicted_keys += topic.take_evicted_keys();
        if topic.variant.is_none() {
            self.hear(id, &[(u64::MAX, publication.offset)]);
            self.stamp += 1;
            self.begin_intervals(id, publication.offset);
            self.topics.get_mut(id).stamp = self.stamp;
        }
    }

    /// Keys that had to make room for others since this was last asked, for the counters.
    pub fn take_evicted_keys(&mut self) -> u64 {
        std::mem::take(&mut self.evicted_keys)
    }

    /// What slow subscribers were not sent since this was last asked, for the counters.
    pub fn take_left_out(&mut self) -> LeftOut {
        std::mem::take(&mut self.left_out)
    }

    /// Notes the topic's subscribers, who may lack something of it.
    pub fn note_members(&mut self, id: TopicId) {
        let topic = self.topics.get_mut(id);
        if topic.noted as usize != topic.rows() {
            topic.noted += self.registry.note_all(&topic.members);
            if let Some(heard) = &topic.heard {
                topic.noted += self.registry.note_all(&heard.rows);
            }
        }
    }
}
