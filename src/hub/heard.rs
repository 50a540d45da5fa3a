//! Who has what by patterns: the part of the [`Hub`] that looks up by which of its subscriptions a client has a topic, and how far
//! it is there.
//!
//! Without: changes.
//!
//! Invariant: a client has a topic once: by its name, else by that of its matching patterns which it subscribed first (the
//! *owner*), at whatever rate.

use super::patterns::PatternId;
use super::publication::{Epoch, Position};
use super::row::Kind;
use super::store::{Topic, TopicId};
use super::subscribe::Start;
use super::{Hub, HubError};

/// How far a client is in a topic that it has.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reached {
    /// The number of what it would be sent next.
    pub(super) next: u64,
    /// The epoch that it was told last.
    pub(super) epoch: Epoch,
}

impl Hub {
    /// How far the client is in a topic that it has by its name or by a pattern, as [`Hub::positions`] tells it.
    #[must_use]
    pub fn position_of(&self, slot: u32, id: TopicId) -> Option<Position> {
        if let Some(row) = self.row_at_any_rate(slot, id) {
            return Some(self.position_in(slot, row));
        }
        let owner = self.owner(slot, id)?;
        let topic = self.topics.get(id);
        let number = match self.reached(slot, id) {
            Some(reached) => reached.next - 1,
            None => {
                let is_to_come = self.is_to_come(owner, id, topic.stamp) && topic.holds_any();
                topic.log().next() - 1 - u64::from(is_to_come)
            }
        };
        Some(topic.epochs.at(number))
    }

    /// How far a client is that has the topic and is to be told of its present epoch with what follows.
    #[must_use]
    pub fn position_before_present(&self, slot: u32, id: TopicId) -> Option<Position> {
        self.reached(slot, id)?;
        self.position_of(slot, id).filter(|position| position.epoch != self.topics.get(id).epochs.present())
    }

    /// How far the client is in each topic that its patterns bring it; none where those are more than `topics_max`.
    pub fn pattern_positions(&mut self, slot: u32, topics_max: usize) -> Option<Vec<(TopicId, Position)>> {
        let is_pattern = |row: &u32| self.registry.get(*row).kind.is_pattern();
        let rows: Vec<u32> = self.registry.of_client(slot).filter(is_pattern).collect();
        let patterns: Vec<PatternId> = rows.iter().map(|row| PatternId::of_row(self.registry.get(*row).topic)).collect();
        if patterns.is_empty() {
            return Some(Vec::new());
        }
        let mut positions = Vec::new();
        let ids: Vec<TopicId> = self.topics.ids().collect();
        for id in ids {
            let topic = self.topics.get_mut(id);
            topic.look_up(&self.patterns);
            let is_heard = topic.patterns().iter().any(|pattern| patterns.contains(pattern));
            if !is_heard || self.held(slot, id).is_some() {
                continue;
            }
            if positions.len() == topics_max {
                return None;
            }
            positions.push((id, self.position_of(slot, id).expect("one of its patterns matches")));
        }
        Some(positions)
    }

    /// The row that serves the client in the topic, if it has one.
    pub(super) fn row_of(&self, slot: u32, topic: &Topic) -> Option<u32> {
        if let Ok(place) = self.registry.place_among(&topic.members, slot) {
            return Some(topic.members[place]);
        }
        let heard = topic.heard.as_ref()?;
        let place = self.registry.place_among(&heard.rows, slot).ok()?;
        Some(heard.rows[place]).filter(|row| !self.registry.is_idle(*row))
    }

    /// The row that serves the client in the topic or in a variant of it, if it has one.
    pub(super) fn row_at_any_rate(&self, slot: u32, of: TopicId) -> Option<u32> {
        let variants = self.variants(of).iter().map(|(_, variant)| *variant);
        std::iter::once(of).chain(variants).find_map(|id| self.row_of(slot, self.topics.get(id)))
    }

    /// Whether the client has a row of the topic: it is subscribed to it by name, or lacks something that a pattern brings.
    #[must_use]
    pub fn is_passing(&self, slot: u32, id: TopicId) -> bool {
        self.row_at_any_rate(slot, id).is_some()
    }

    /// Whether the client is subscribed to the topic, by its name or by a pattern.
    #[must_use]
    pub fn has(&self, slot: u32, id: TopicId) -> bool {
        self.held(slot, id).is_some() || self.owner(slot, id).is_some()
    }

    /// The row of the pattern that brings the client this topic, unless it has named it.
    pub(super) fn owner(&self, slot: u32, id: TopicId) -> Option<u32> {
        let name = self.topics.get(id).name.as_str();
        self.registry.of_client(slot).find(|row| {
            let row = self.registry.get(*row);
            row.kind.is_pattern() && self.patterns.get(PatternId::of_row(row.topic)).pattern.matches(name)
        })
    }

    /// Whether the pattern has brought its client the topic's newest publication, or has it in a row.
    fn has_newest(&self, owner: u32, id: TopicId) -> bool {
        let row = self.registry.get(owner);
        let stamp = self.topics.get(id).stamp;
        stamp > row.cursor || row.kind == Kind::PatternWithLast && !self.is_to_come(owner, id, stamp)
    }

    /// The rate of a pattern's row.
    pub(super) fn rate_of(&self, row: u32) -> Option<u32> {
        self.patterns.get(PatternId::of_row(self.registry.get(row).topic)).rate_ms
    }

    /// A client that names a topic which a pattern brings goes on where that is: how far it is, where the pattern has brought
    /// anything, or will at the end of an interval under way.
    pub(super) fn reached(&self, slot: u32, of: TopicId) -> Option<Reached> {
        if let Some(row) = self.row_at_any_rate(slot, of) {
            return Some(self.reached_in(slot, row));
        }
        let owner = self.owner(slot, of)?;
        let variant = self.rate_of(owner).and_then(|rate_ms| self.at_rate(of, rate_ms));
        let to_come = variant.and_then(|variant| self.begins_at(owner, variant));
        let next = to_come.or_else(|| self.has_newest(owner, of).then(|| self.topics.get(of).log().next()))?;
        Some(Reached { next, epoch: self.topics.get(of).epochs.at(next - 1).epoch })
    }

    /// How far a client is by this row.
    pub(super) fn reached_in(&self, slot: u32, row: u32) -> Reached {
        Reached { next: self.registry.get(row).cursor, epoch: self.position_in(slot, row).epoch }
    }

    /// Where a subscription by name begins, of a topic of which a pattern brought the client all before `next`.
    pub(super) fn start_heard(&self, next: u64, start: Start, newest: u64) -> Result<u64, HubError> {
        match start {
            Start::After(after) if after > newest => Err(HubError::Ahead { after, newest }),
            Start::After(after) if after + 1 != next => Err(HubError::Heard { after, next }),
            _ => Ok(next),
        }
    }
}
