//! `last` of a pattern: tours over the topics, each for one subscription, that give it the newest publication of each topic that
//! matches.
//!
//! A tour goes by the topics' numbers and gives out a few rows at a time, once its client has taken those before: so a thousand
//! clients with a hundred thousand topics each have a few thousand rows at once. A topic that was published on since the
//! subscription began is passed over: the subscription has had a row of it from that publication on, which was the newest then.
//!
//! Without: rows, rings. Invariant: a topic whose number lies before a tour's next was given by it, or is the subscription's
//! otherwise.

use super::patterns::PatternId;
use super::store::TopicId;
use super::{Encoder, Hub};

/// Topics that one step of a tour looks at.
const LOOKED_AT_MAX: u32 = 4096;

/// The tours under way.
#[derive(Debug, Default)]
pub(super) struct Tours {
    /// The pattern's row, and the number of the topic that is looked at next.
    tours: Vec<(u32, u32)>,
}

impl Tours {
    pub(super) fn begin(&mut self, row: u32) {
        self.tours.push((row, 0));
    }

    pub(super) fn end(&mut self, row: u32) {
        self.tours.retain(|(other, _)| *other != row);
    }

    /// Whether the tour of this row, if there is one, has not come to this topic yet.
    pub(super) fn has_before_it(&self, row: u32, topic: TopicId) -> bool {
        let tour = self.tours.iter().find(|(other, _)| *other == row);
        tour.is_some_and(|(_, next)| *next as usize <= topic.index())
    }
}

impl Hub {
    /// Whether [`Hub::tour`] has anything to do.
    #[must_use]
    pub fn is_touring(&self) -> bool {
        self.tours.tours.iter().any(|(row, _)| self.may_tour(self.registry.get(*row).slot))
    }

    /// Goes on with the tours whose clients have taken what they were given: at most `rows_max` rows for each. To be called
    /// between visits.
    pub fn tour(&mut self, rows_max: u32, encoder: &mut dyn Encoder) {
        if self.tours.tours.is_empty() {
            return;
        }
        assert_eq!(self.taken, 0, "no ring changes while spans of it are being sent");
        for (row, next) in self.tours.tours.clone() {
            if !self.may_tour(self.registry.get(row).slot) {
                continue;
            }
            let next = self.tour_on(row, next, rows_max, encoder);
            match next < self.topics.numbers() {
                true => {
                    let tour = self.tours.tours.iter_mut().find(|(other, _)| *other == row);
                    tour.expect("it goes on").1 = next;
                }
                false => self.tours.end(row),
            }
        }
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
        let mut given = 0;
        for number in first..last {
            if given == rows_max {
                return number;
            }
            let id = TopicId::from_index(number);
            if !self.topics.is_open(id) {
                continue;
            }
            let topic = self.topics.get_mut(id);
            topic.look_up(&self.patterns);
            let is_old = topic.patterns().contains(&pattern) && topic.stamp <= began && topic.holds_any();
            if is_old && !self.is_subscribed(slot, id) && self.owner(slot, id) == Some(row) && !self.is_passing(slot, id) {
                self.pass_newest(row, id, encoder);
                given += 1;
            }
        }
        last
    }
}
