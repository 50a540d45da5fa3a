//! `last` of a pattern: tours over the topics, each for one subscription, that give it the newest publication of each topic that
//! matches.
//!
//! A tour goes by the topics' numbers and gives out a few rows at a time, once its client has taken those before: so a thousand
//! clients with a hundred thousand topics each have a few thousand rows at once. A topic that was published on since the
//! subscription began is passed over: the subscription has had a row of it from that publication on, which was the newest then.
//!
//! What the client had by another subscription, which has ended since, is passed over too.
//!
//! Without: rows, rings. Invariant: a topic whose number lies before a tour's next was given by it, or is the subscription's
//! otherwise.

use super::heard::Reached;
use super::patterns::PatternId;
use super::row::Kind;
use super::store::TopicId;
use super::topic::Pattern;
use super::{Encoder, Hub};

/// Topics that one step of a tour looks at.
const LOOKED_AT_MAX: u32 = 4096;

/// Subscriptions that ended during a tour and are kept for it; of the oldest beyond, something may come once more.
const ENDED_MAX: usize = 1024;

/// The tours under way.
#[derive(Debug, Default)]
pub(super) struct Tours {
    tours: Vec<Tour>,
    /// What clients were given since this was last asked, in bytes.
    given: Vec<(u32, u64)>,
}

#[derive(Debug)]
struct Tour {
    /// The pattern's.
    row: u32,
    slot: u32,
    /// Number of the topic that is looked at next.
    next: u32,
    ended: Vec<Ended>,
}

/// Subscriptions one after the other in which something was had; of more beyond, something may come once more.
const LINKS_MAX: usize = 8;

/// What a subscription that has ended since has brought: the topics that match all of these ...
#[derive(Clone, Debug)]
struct Ended {
    names: Vec<Pattern>,
    /// ... that were published on after this, by the hub's stamp, and up to its end, ...
    stamp: u64,
    until: u64,
    /// ... or whose number is below this.
    below: u32,
}

impl Tours {
    pub(super) fn begin(&mut self, row: u32, slot: u32) {
        self.tours.push(Tour { row, slot, next: 0, ended: Vec::new() });
    }

    pub(super) fn end(&mut self, row: u32) {
        self.tours.retain(|tour| tour.row != row);
    }

    fn find(&self, row: u32) -> Option<&Tour> {
        self.tours.iter().find(|tour| tour.row == row)
    }

    fn is_of(&self, slot: u32) -> bool {
        self.tours.iter().any(|tour| tour.slot == slot)
    }
}

impl Hub {
    /// One more than the highest number that a topic has.
    #[must_use]
    pub fn numbers(&self) -> u32 {
        self.topics.numbers()
    }

    /// The open topic of this number ([`TopicId::index`]).
    #[must_use]
    pub fn numbered(&self, number: u32) -> Option<TopicId> {
        Some(TopicId::from_index(number)).filter(|id| self.topics.is_open(*id))
    }

    /// Whether [`Hub::tour`] has anything to do.
    #[must_use]
    pub fn is_touring(&self) -> bool {
        self.tours.tours.iter().any(|tour| self.may_tour(tour.slot))
    }

    /// Whether the tour of this pattern's row, if there is one, is yet to bring the topic, as it was when it had this stamp.
    pub(super) fn is_to_come(&self, row: u32, id: TopicId, stamp: u64) -> bool {
        let Some(tour) = self.tours.find(row) else { return false };
        let name = self.topics.get(id).name.as_str();
        // Of a rate the stamp is that of before the interval under way, in which the subscription may have brought something.
        let (newest, began) = (self.topics.get(id).stamp, self.registry.get(row).cursor);
        let in_interval = |ended: &Ended| ended.stamp < began && newest > ended.stamp && newest <= ended.until;
        let brought = |ended: &Ended| stamp > ended.stamp || in_interval(ended);
        let had = |ended: &Ended| {
            ended.names.iter().all(|names| names.matches(name)) && (brought(ended) || id.index() < ended.below as usize)
        };
        id.index() >= tour.next as usize && !tour.ended.iter().any(had)
    }

    /// Of a topic with keys that is being published on, or a variant of one that is being refreshed: patterns' rows whose tours are
    /// yet to bring it.
    pub(super) fn snapshots_to_come(&self, id: TopicId) -> Vec<u32> {
        let (of, _) = self.plain(id);
        if self.tours.tours.is_empty() || !self.topics.get(of).keeps_newest() {
            return Vec::new();
        }
        let (rows, stamp) = (self.tours.tours.iter().map(|tour| tour.row), self.topics.get(id).stamp);
        rows.filter(|row| stamp <= self.registry.get(*row).cursor && self.is_to_come(*row, of, stamp)).collect()
    }

    /// A topic that the client had by its name is a pattern's from now on: no tour of the client brings what it had.
    pub(super) fn name_ended(&mut self, slot: u32, id: TopicId) {
        if self.tours.is_of(slot) {
            let names = Pattern::parse(self.topics.get(id).name.as_str()).expect("a name is a pattern that matches itself");
            self.subscription_ended(slot, &Ended { names: vec![names], stamp: 0, until: self.stamp, below: u32::MAX });
        }
    }

    /// A pattern of the client ends: no tour of the client brings what it had by it.
    pub(super) fn pattern_ended(&mut self, slot: u32, row: u32) {
        if self.tours.is_of(slot) {
            let pattern = self.registry.get(row);
            let below = match (pattern.kind, self.tours.find(row)) {
                (Kind::PatternWithLast, Some(tour)) => tour.next,
                (Kind::PatternWithLast, None) => u32::MAX,
                _ => 0,
            };
            let names = self.patterns.get(PatternId::of_row(pattern.topic)).pattern.clone();
            let stamp = pattern.cursor;
            let earlier = self.tours.find(row).map_or(Vec::new(), |tour| tour.ended.clone());
            self.tours.end(row);
            self.subscription_ended(slot, &Ended { names: vec![names.clone()], stamp, until: self.stamp, below });
            // What it passed over, as it was had before, was its own.
            for mut ended in earlier.into_iter().filter(|ended| ended.names.len() < LINKS_MAX) {
                ended.names.push(names.clone());
                self.subscription_ended(slot, &ended);
            }
        }
    }

    fn subscription_ended(&mut self, slot: u32, ended: &Ended) {
        for tour in self.tours.tours.iter_mut().filter(|tour| tour.slot == slot) {
            if tour.ended.len() == ENDED_MAX {
                tour.ended.remove(0);
            }
            tour.ended.push(ended.clone());
        }
    }

    /// The stamp of the newest publication of a topic that a pattern's row has had brought, if it was there.
    fn brought_at(&self, row: u32, id: TopicId) -> u64 {
        let variant = self.rate_of(row).and_then(|rate_ms| self.at_rate(id, rate_ms));
        self.topics.get(variant.unwrap_or(id)).stamp
    }

    /// Goes on with the tours whose clients have taken what they were given: at most `rows_max` rows for each. To be called
    /// between visits.
    pub fn tour(&mut self, rows_max: u32, encoder: &mut dyn Encoder) {
        if self.tours.tours.is_empty() {
            return;
        }
        assert_eq!(self.taken, 0, "no ring changes while spans of it are being sent");
        for place in 0..self.tours.tours.len() {
            let Tour { row, slot, next, .. } = self.tours.tours[place];
            if self.may_tour(slot) {
                self.tours.tours[place].next = self.tour_on(row, next, rows_max, encoder);
            }
        }
        let numbers = self.topics.numbers();
        self.tours.tours.retain(|tour| tour.next < numbers);
    }

    /// Whether the client lacks nothing else and takes bytes.
    fn may_tour(&self, slot: u32) -> bool {
        !self.registry.due.is_blocked(slot) && !self.is_behind(slot)
    }

    /// Gives the next rows; gives the number of the topic to go on with.
    fn tour_on(&mut self, row: u32, first: u32, rows_max: u32, encoder: &mut dyn Encoder) -> u32 {
        let (slot, began, pattern) = {
            let row = self.registry.get(row);
            (row.slot, row.cursor, PatternId::of_row(row.topic))
        };
        let last = self.topics.numbers().min(first.saturating_add(LOOKED_AT_MAX));
        let (mut given, mut bytes) = (0, 0);
        for number in first..last {
            if given == rows_max {
                self.tours.given.push((slot, bytes));
                return number;
            }
            let Some(id) = self.numbered(number) else { continue };
            let topic = self.topics.get_mut(id);
            topic.look_up(&self.patterns);
            // What a rate's interval under way had is not brought yet: it comes at once.
            let (matches, stamp) = (topic.patterns().contains(&pattern), self.brought_at(row, id));
            let is_old = matches && stamp <= began && self.topics.get(id).holds_any();
            if is_old && self.is_to_come(row, id, stamp) && !self.is_passing(slot, id) && self.owner(slot, id) == Some(row) {
                let epoch = self.topics.get(id).epochs.present();
                let passing = self.pass_newest(row, id, Reached { next: 1, epoch }, encoder);
                given += 1;
                bytes += self.row_lacks_bytes(passing);
            }
        }
        self.tours.given.push((slot, bytes));
        last
    }

    /// What tours gave since this was last asked: slots, and bytes.
    pub fn take_toured(&mut self) -> impl Iterator<Item = (u32, u64)> {
        self.tours.given.drain(..)
    }
}
