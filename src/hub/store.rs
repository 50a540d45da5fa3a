//! What a topic keeps: its log, the encodings made of it, its members.
//!
//! The log is the ring of raw frames (WebSocket header and payload) with each publication's time of ingest; it is always
//! there, and all else can be made from it again. A derived encoding's ring exists while someone is subscribed in it.
//!
//! Without: clients, cursors' moves, what an encoding looks like.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;

use super::epochs::Epochs;
use super::newest::Newest;
use super::patterns::{PatternId, Patterns};
use super::publication::{Marks, Payload, PayloadKind, Publication};
use super::ring::{Ring, RingLimits};
use super::topic::TopicName;
use super::variant::Variant;
use super::{Encoder, Encoding};
use crate::config::Slow;

/// Names an open topic of one hub. Given again to another topic once it is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicId(pub(super) u32);

impl TopicId {
    /// Of no topic.
    pub(super) const NONE: TopicId = TopicId(u32::MAX);

    pub(super) fn from_index(index: u32) -> TopicId {
        TopicId(index)
    }

    /// For arrays beside the hub: small, dense.
    #[must_use]
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// A topic's frames in one encoding, and who is inside one of them.
#[derive(Debug)]
pub(super) struct Encoded {
    pub(super) encoding: Encoding,
    pub(super) ring: Ring,
    /// Subscriptions in this encoding.
    pub(super) subscriptions: u32,
    /// Slots of the clients that are inside a frame of this ring.
    pub(super) torn: Vec<u32>,
    /// No client is inside a frame of a lower offset: while the head stays below it, evicting costs torn clients nothing.
    pub(super) torn_from: u64,
}

impl Encoded {
    fn new(encoding: Encoding, first: u64, limits: RingLimits) -> Encoded {
        Encoded { encoding, ring: Ring::new(first, limits), subscriptions: 0, torn: Vec::new(), torn_from: u64::MAX }
    }

    pub(super) fn add_torn(&mut self, slot: u32, offset: u64) {
        self.torn.push(slot);
        self.torn_from = self.torn_from.min(offset);
    }

    pub(super) fn remove_torn(&mut self, slot: u32) {
        let place = self.torn.iter().position(|other| *other == slot);
        self.torn.swap_remove(place.expect("a client inside a frame is on the list of the frame's ring"));
        if self.torn.is_empty() {
            self.torn_from = u64::MAX;
        }
    }
}

/// Time of ingest, and whether the text is JSON, in one word: the index keeps one for every publication held.
#[derive(Clone, Copy, Debug)]
struct Ingest(u64);

impl Ingest {
    fn new(unix_us: u64, kind: PayloadKind) -> Ingest {
        Ingest(unix_us << 1 | u64::from(kind == PayloadKind::Json))
    }

    fn unix_us(self) -> u64 {
        self.0 >> 1
    }

    fn is_json(self) -> bool {
        self.0 & 1 == 1
    }
}

/// What patterns make of a topic.
#[derive(Debug, Default)]
pub(super) struct Heard {
    /// Those that it matches.
    pub(super) patterns: Box<[PatternId]>,
    /// Passing rows, in the order of their clients' slots; one a slot.
    pub(super) rows: Vec<u32>,
    /// How many of those are idle.
    pub(super) idle: u32,
    /// [`Patterns::members_at`] when every member that is to have a row had one that is not idle, if that is still so.
    pub(super) whole_at: Option<u64>,
}

/// What the configuration says of a topic; shared by all that it says it of.
#[derive(Clone, Copy, Debug)]
pub struct TopicSettings {
    /// Of each of its rings.
    pub ring: RingLimits,
    /// A subscription of `slow=conflate` is slow when it lacks more bytes than this ...
    pub slow_lag_bytes: u32,
    /// ... or something older than this.
    pub slow_lag_ms: u32,
    /// What happens to who cannot keep up and did not ask for anything.
    pub slow_default: Slow,
    /// Its publications have keys.
    pub keyed: bool,
    /// Most keys whose newest publication is kept.
    pub keys_max: u32,
}

/// One topic.
#[derive(Debug)]
pub(super) struct Topic {
    pub(super) name: TopicName,
    pub(super) epochs: Epochs,
    pub(super) settings: Arc<TopicSettings>,
    /// How many members are noted: where it is all of them, publishing walks nobody.
    pub(super) noted: u32,
    /// The subscriptions by name, in the order of their clients' slots.
    pub(super) members: Vec<u32>,
    /// The hub's stamp when it was last published on here; 0: never. Of a variant: its parent's, when it was made or last refreshed.
    pub(super) stamp: u64,
    /// What patterns make of it; none where none matched.
    pub(super) heard: Option<Box<Heard>>,
    /// When that was last looked up: [`Patterns::set_at`].
    heard_at: u64,
    /// [`Encoding::Raw`].
    pub(super) log: Encoded,
    ingests: VecDeque<Ingest>,
    /// A publication that bears marks has them here; of plain ones nothing is kept.
    #[expect(clippy::box_collection, reason = "most topics have none, and there are many topics")]
    marks: Option<Box<VecDeque<(u64, Marks)>>>,
    /// The other encodings that someone is subscribed in: none or a few.
    derived: Vec<Encoded>,
    /// Once a publication has a key; of a topic without keys the newest is the log's newest.
    pub(super) newest: Option<Box<Newest>>,
    /// What makes it a rate variant.
    pub(super) variant: Option<Box<Variant>>,
    /// It has variants.
    pub(super) varied: bool,
}

impl Topic {
    pub(super) fn new(name: TopicName, settings: Arc<TopicSettings>, epochs: Epochs, newest_number: u64) -> Topic {
        let newest = settings.keyed.then(|| Box::new(Newest::new(settings.keys_max)));
        Topic {
            name,
            epochs,
            noted: 0,
            members: Vec::new(),
            stamp: 0,
            heard: None,
            heard_at: 0,
            log: Encoded::new(Encoding::Raw, newest_number + 1, settings.ring),
            ingests: VecDeque::new(),
            marks: None,
            derived: Vec::new(),
            newest,
            variant: None,
            varied: false,
            settings,
        }
    }

    pub(super) fn log(&self) -> &Ring {
        &self.log.ring
    }

    /// Of a rate variant: the topic that it thins out.
    pub(super) fn parent(&self) -> Option<TopicId> {
        self.variant.as_ref().map(|variant| variant.parent)
    }

    /// The encoding's frames; `None` where no one is subscribed in it.
    pub(super) fn encoded(&self, encoding: Encoding) -> Option<&Encoded> {
        match encoding {
            Encoding::Raw => Some(&self.log),
            derived => self.derived.iter().find(|encoded| encoded.encoding == derived),
        }
    }

    pub(super) fn encoded_mut(&mut self, encoding: Encoding) -> Option<&mut Encoded> {
        match encoding {
            Encoding::Raw => Some(&mut self.log),
            derived => self.derived.iter_mut().find(|encoded| encoded.encoding == derived),
        }
    }

    /// How many encodings there are frames of.
    pub(super) fn encodings(&self) -> usize {
        1 + self.derived.len()
    }

    /// One of them; the log's is number 0.
    pub(super) fn encoding(&self, number: usize) -> Encoding {
        if number == 0 { Encoding::Raw } else { self.derived[number - 1].encoding }
    }

    /// The oldest publication that stays when one of this time of ingest comes; those before it are too old.
    pub(super) fn young(&self, unix_us: u64) -> u64 {
        let age_us = u64::from(self.log().limits().age_ms) * 1000;
        if age_us == 0 {
            return 0;
        }
        let old = self.ingests.iter().take_while(|ingest| ingest.unix_us() + age_us < unix_us).count();
        self.log().offsets_from(self.log().head()).nth(old).unwrap_or(self.log().next())
    }

    /// Those of all encodings.
    pub(super) fn rings_mut(&mut self) -> impl Iterator<Item = &mut Ring> {
        std::iter::once(&mut self.log).chain(&mut self.derived).map(|encoded| &mut encoded.ring)
    }

    /// The ring that a subscription in this encoding reads.
    pub(super) fn ring(&self, encoding: Encoding) -> &Ring {
        &self.encoded(encoding).expect("an encoding that someone is subscribed in has its ring").ring
    }

    /// Appends the publication's frame in one encoding; the log's makes it the newest.
    pub(super) fn append(&mut self, encoding: Encoding, publication: &Publication, young: u64, frame: &[u8]) {
        if encoding == Encoding::Raw {
            self.keep_leaving(publication, young, frame.len());
        }
        let is_variant = self.variant.is_some();
        let encoded = self.encoded_mut(encoding).expect("frames are made for the encodings that are there");
        if is_variant {
            encoded.ring.append_at(publication.offset, frame);
        } else {
            encoded.ring.append(frame, young);
        }
        if encoding == Encoding::Raw {
            self.index(publication);
            if let Some(newest) = &mut self.newest {
                newest.replace(publication, false);
            }
        }
    }

    /// Notes what the log's frame does not tell, and forgets it of what the log gave up.
    fn index(&mut self, publication: &Publication) {
        if self.ingests.len() == self.ingests.capacity() {
            self.ingests.reserve_exact(self.ingests.len().max(1));
        }
        self.ingests.push_back(Ingest::new(publication.unix_us, publication.payload.kind));
        let held = self.log.ring.held();
        self.ingests.drain(..self.ingests.len() - held);
        if publication.marks != Marks::default() {
            self.marks.get_or_insert_default().push_back((publication.offset, publication.marks.clone()));
        }
        if let Some(marks) = &mut self.marks {
            while marks.front().is_some_and(|(offset, _)| *offset < self.log.ring.head()) {
                marks.pop_front();
            }
        }
    }

    /// Looks up which patterns it matches, where that may have changed.
    pub(super) fn look_up(&mut self, patterns: &Patterns) {
        if self.heard_at == patterns.set_at() {
            return;
        }
        self.heard_at = patterns.set_at();
        let matching = patterns.matching(self.name.as_str());
        match &mut self.heard {
            Some(heard) if matching.is_empty() => {
                assert!(heard.rows.is_empty(), "passing rows are a pattern's members'");
                self.heard = None;
            }
            None if matching.is_empty() => {}
            heard => {
                let heard = heard.get_or_insert_default();
                heard.patterns = matching.into();
                heard.whole_at = None;
            }
        }
    }

    /// The patterns that it matches.
    pub(super) fn patterns(&self) -> &[PatternId] {
        self.heard.as_ref().map_or(&[], |heard| &heard.patterns)
    }

    /// Whether its list of patterns is true.
    pub(super) fn is_looked_up(&self, patterns: &Patterns) -> bool {
        self.heard_at == patterns.set_at()
    }

    /// How many rows are to be noted.
    pub(super) fn rows(&self) -> usize {
        self.members.len() + self.heard.as_ref().map_or(0, |heard| heard.rows.len() - heard.idle as usize)
    }

    /// Before a publication: makes the ring of an encoding in which only patterns' members will read it.
    pub(super) fn expect_reader(&mut self, encoding: Encoding) {
        if self.encoded(encoding).is_none() {
            let (next, limits) = (self.log().next(), self.log.ring.limits());
            let encoded = Encoded { ring: self.log.ring.another(next), ..Encoded::new(encoding, next, limits) };
            self.derived.reserve_exact(1);
            self.derived.push(encoded);
        }
    }

    /// After it: drops those that nobody reads after all.
    pub(super) fn drop_unread(&mut self) {
        self.derived.retain(|encoded| encoded.subscriptions > 0);
    }

    /// Puts what is the newest (of each key, in offset order) into a fresh replica. The log begins with the topic's newest, if that
    /// is one of them: a removal may have made room for others.
    pub(super) fn seed(&mut self, state: &[Publication], encoder: &mut dyn Encoder) {
        assert!(self.members.is_empty() && self.log().held() == 0, "only a fresh topic is seeded");
        let newest = self.log().next() - 1;
        for publication in state {
            if publication.offset < newest {
                self.keep_newest().replace(publication, true);
                continue;
            }
            assert_eq!(publication.offset, newest, "a topic is seeded up to its newest publication");
            self.log = Encoded::new(Encoding::Raw, newest, self.settings.ring);
            let mut frame = Vec::new();
            encoder.encode(Encoding::Raw, self.name.as_str(), self.epochs.at(newest), publication, &mut frame);
            self.append(Encoding::Raw, publication, 0, &frame);
        }
    }

    /// Makes the log anew from another one that has the same newest publication and goes further back.
    pub(super) fn recall(&mut self, publications: &[Publication], encoder: &mut dyn Encoder) {
        let next = publications.last().map_or(self.log().next(), |newest| newest.offset + 1);
        assert_eq!(next, self.log().next(), "a log is recalled up to the newest publication");
        let first = publications.first().map_or(next, |oldest| oldest.offset);
        if first >= self.log().head() {
            return;
        }
        // What is the newest of its key is known already; whoever is inside a frame is told by the frame's offset, which stays.
        self.log.ring = Ring::new(first, self.log().limits());
        self.ingests.clear();
        self.marks = None;
        let mut frame = Vec::new();
        for publication in publications {
            frame.clear();
            let position = self.epochs.at(publication.offset);
            encoder.encode(Encoding::Raw, self.name.as_str(), position, publication, &mut frame);
            self.log.ring.append(&frame, 0);
            self.index(publication);
        }
    }

    /// A variant has all that it will have below `next`.
    pub(super) fn close_up_to(&mut self, next: u64) {
        self.log.ring.close_up_to(next);
        self.derived.iter_mut().for_each(|encoded| encoded.ring.close_up_to(next));
    }

    /// Counts a subscription in the encoding, and makes its ring hold all from `cursor` on that the limits allow.
    pub(super) fn acquire(&mut self, encoding: Encoding, cursor: u64, encoder: &mut dyn Encoder) {
        // Who begins with what the interval under way brings is ahead of a variant.
        let from = cursor.clamp(self.log().head(), self.log().next());
        let held = self.encoded(encoding);
        if held.is_none_or(|held| held.ring.head() > from) {
            let ring = self.transcode(encoding, from, encoder);
            match self.encoded_mut(encoding) {
                Some(encoded) => encoded.ring = ring,
                None => {
                    let encoded = Encoded { ring, ..Encoded::new(encoding, from, self.log.ring.limits()) };
                    self.derived.reserve_exact(1);
                    self.derived.push(encoded);
                }
            }
        }
        self.encoded_mut(encoding).expect("it was just made").subscriptions += 1;
    }

    /// Counts a subscription less in the encoding, and drops a derived ring with its last one.
    pub(super) fn release(&mut self, encoding: Encoding) {
        let encoded = self.encoded_mut(encoding).expect("an encoding that someone is subscribed in has its ring");
        encoded.subscriptions -= 1;
        if encoded.subscriptions == 0 && encoding != Encoding::Raw {
            assert!(encoded.torn.is_empty(), "who unsubscribes inside a frame takes its rest along");
            self.derived.retain(|encoded| encoded.encoding != encoding);
        }
    }

    /// When a publication that the log holds came in, microseconds since 1970.
    pub(super) fn ingest_us(&self, offset: u64) -> u64 {
        self.ingests[self.log().count(self.log().head(), offset) as usize].unix_us()
    }

    /// The publication of this offset, which the log holds, or which is the newest of its key.
    pub(super) fn publication(&self, offset: u64) -> Publication {
        if let Some(kept) = self.newest.as_ref().and_then(|newest| newest.publication(offset)) {
            return kept.clone();
        }
        let (one, two) = self.log().range(offset, 0, offset + 1);
        let frame = [one, two].concat();
        let ingest = self.ingests[self.log().count(self.log().head(), offset) as usize];
        // RFC 6455 5.2: the opcode is in the low four bits of the first byte (1 text, 2 binary); the low seven bits of the
        // second are the length, or 126 or 127 where it follows in two or eight bytes.
        let header_bytes = match frame[1] & 0x7f {
            127 => 10,
            126 => 4,
            _ => 2,
        };
        let kind = match frame[0] & 0x0f {
            2 => PayloadKind::Binary,
            _ if ingest.is_json() => PayloadKind::Json,
            _ => PayloadKind::Text,
        };
        let payload = Payload { bytes: Bytes::from(frame).slice(header_bytes..), kind };
        Publication { offset, unix_us: ingest.unix_us(), payload, marks: self.marks_of(offset) }
    }

    fn marks_of(&self, offset: u64) -> Marks {
        let Some(marks) = &self.marks else { return Marks::default() };
        let place = marks.binary_search_by_key(&offset, |(of, _)| *of);
        place.map_or_else(|_| Marks::default(), |place| marks[place].1.clone())
    }

    /// Makes an encoding's ring from the log, from this offset on.
    fn transcode(&self, encoding: Encoding, from: u64, encoder: &mut dyn Encoder) -> Ring {
        let mut ring = self.log.ring.another(from);
        let mut frame = Vec::new();
        for offset in self.log().offsets_from(from) {
            frame.clear();
            encoder.encode(encoding, self.name.as_str(), self.epochs.at(offset), &self.publication(offset), &mut frame);
            if self.variant.is_some() { ring.append_at(offset, &frame) } else { ring.append(&frame, 0) }
        }
        if self.variant.is_some() {
            ring.close_up_to(self.log().next().max(from));
        }
        ring
    }

    /// Memory that the topic takes, in bytes, without its members.
    #[cfg(test)]
    pub(super) fn held_bytes(&self) -> usize {
        let derived = self.derived.iter().map(|encoded| encoded.ring.capacity_bytes());
        let derived = derived.chain([self.derived.capacity() * size_of::<Encoded>()]);
        let name = 2 * size_of::<usize>() + self.name.as_str().len();
        let ingests = self.ingests.capacity() * size_of::<Ingest>();
        size_of::<Topic>() + name + ingests + self.log().capacity_bytes() + derived.sum::<usize>()
    }
}
