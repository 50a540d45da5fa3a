//! Subscriptions of patterns: the part of the [`Hub`] that gives their members rows while they are behind, and only then.
//!
//! A publication looks at the members of its topic's patterns beside those who named the topic, both in the order of their slots,
//! and gives each that has no row one. A visit that brings a row to the tail makes it idle. Idle rows are swept out of the topic's
//! list once they are more than half of it, so a row costs the same however many its topic has, and a topic whose readers have
//! caught up holds none.
//!
//! Without: which patterns there are (`patterns`), `last` of a pattern (`tours`), sends.
//!
//! Invariants: a client has a topic once: by its name, else by that of its matching patterns which it subscribed first (the
//! *owner*). A passing row that is not idle is behind, or noted and about to be popped.

use super::patterns::PatternId;
use super::publication::Position;
use super::registry::Registry;
use super::row::{Kind, Mode, Walk};
use super::store::{Topic, TopicId};
use super::subscribe::Start;
use super::topic::Pattern;
use super::{Encoder, Encoding, Hub, HubError, Terms};

/// What a client is subscribed to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Held<'h> {
    /// A topic, by its name.
    Topic(TopicId, Terms),
    /// All topics that match.
    Pattern(&'h Pattern, Terms),
}

impl Hub {
    /// Subscribes the client in `slot` to all topics that match, those to come among them. With `last` it is first given the
    /// newest publication of each, by and by ([`Hub::tour`]). False where it has the pattern already.
    pub fn subscribe_pattern(&mut self, slot: u32, pattern: &Pattern, encoding: Encoding, terms: Terms, last: bool) -> bool {
        let members = self.patterns.find(pattern.as_str()).map_or(&[][..], |id| &self.patterns.get(id).members);
        let Err(place) = self.registry.place_among(members, slot) else { return false };
        let id = self.patterns.find_or_insert(pattern);
        self.stamp += 1;
        let kind = if last { Kind::PatternWithLast } else { Kind::Pattern };
        let row = self.registry.add(kind, slot, id.in_row(), encoding, terms, self.stamp);
        self.patterns.join(id, place, row, self.registry.get(row).encoding());
        if last {
            self.tours.begin(row, slot);
        }
        true
    }

    /// What the client asked for beside the pattern; `None` where it is not subscribed to it.
    #[must_use]
    pub fn pattern_terms(&self, slot: u32, pattern: &str) -> Option<Terms> {
        let members = &self.patterns.get(self.patterns.find(pattern)?).members;
        let place = self.registry.place_among(members, slot).ok()?;
        Some(self.registry.get(members[place]).terms())
    }

    /// Whether any client is subscribed to the pattern.
    #[must_use]
    pub fn is_pattern_used(&self, pattern: &str) -> bool {
        self.patterns.find(pattern).is_some()
    }

    /// How many topics match a pattern that somebody is subscribed to. Asked first it takes a look at each topic.
    pub fn pattern_topics(&mut self, pattern: &str) -> Option<u32> {
        let subscribed = self.patterns.get_mut(self.patterns.find(pattern)?);
        let count = || {
            let matching = self.topics.ids().filter(|id| subscribed.pattern.matches(self.topics.get(*id).name.as_str()));
            matching.count() as u32
        };
        let count = subscribed.topics.unwrap_or_else(count);
        subscribed.topics = Some(count);
        subscribed.topics
    }

    /// Ends the subscription of a pattern; false where there is none. What it brought and another of the client's patterns
    /// matches too goes on.
    pub fn unsubscribe_pattern(&mut self, slot: u32, pattern: &str, encoder: &mut dyn Encoder) -> bool {
        self.assert_nothing_taken_by(slot);
        let Some(id) = self.patterns.find(pattern) else { return false };
        let Ok(place) = self.registry.place_among(&self.patterns.get(id).members, slot) else { return false };
        let row = self.patterns.get(id).members[place];
        self.pattern_ended(slot, row);
        self.drop_pattern(row);
        // Off the due chain all at once: unlinking each row from it would be quadratic.
        let mut noted = Vec::new();
        while let Some(row) = self.registry.oldest_noted(slot) {
            self.registry.pop_noted(slot);
            self.topics.get_mut(self.registry.get(row).topic).noted -= 1;
            noted.push(row);
        }
        let passing = |row: &u32| self.registry.get(*row).kind == Kind::Passing;
        let rows: Vec<u32> = self.registry.of_client(slot).filter(passing).collect();
        let mut ended = Vec::new();
        for row in rows {
            match self.owner(slot, self.registry.get(row).topic) {
                Some(owner) => self.switch_as(row, owner, encoder),
                None => {
                    self.copy_rest_of(slot, Some(row));
                    self.retire(row);
                    ended.push(row);
                }
            }
        }
        ended.sort_unstable();
        for row in noted.into_iter().filter(|row| ended.binary_search(row).is_err()) {
            let topic = self.topics.get_mut(self.registry.get(row).topic);
            topic.noted += u32::from(self.registry.note(row));
        }
        true
    }

    /// What the client is subscribed to, in the order subscribed.
    pub fn subscribed_to(&self, slot: u32) -> impl Iterator<Item = Held<'_>> {
        self.registry.of_client(slot).filter_map(|row| {
            let row = self.registry.get(row);
            match row.kind {
                Kind::Name => Some(Held::Topic(row.topic, row.terms())),
                Kind::Pattern | Kind::PatternWithLast => {
                    Some(Held::Pattern(&self.patterns.get(PatternId::of_row(row.topic)).pattern, row.terms()))
                }
                Kind::Passing => None,
            }
        })
    }

    /// How far the client is in a topic that it has by its name or by a pattern, as [`Hub::positions`] tells it.
    #[must_use]
    pub fn position_of(&self, slot: u32, id: TopicId) -> Option<Position> {
        let topic = self.topics.get(id);
        let row = self.row_of(slot, topic);
        match row {
            Some(row) => Some(self.position_in(slot, row)),
            None => self.owner(slot, id).map(|owner| {
                let newest = topic.log().next() - 1;
                let lacks = !self.has_newest(owner, id) && self.is_to_come(owner, id) && topic.holds_any();
                topic.epochs.at(newest - u64::from(lacks))
            }),
        }
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

    /// Whether the client has a row of the topic: it is subscribed to it by name, or lacks something that a pattern brings.
    #[must_use]
    pub fn is_passing(&self, slot: u32, id: TopicId) -> bool {
        self.row_of(slot, self.topics.get(id)).is_some() || self.held(slot, id).is_some()
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
        let passed = row.kind == Kind::PatternWithLast && !self.is_to_come(owner, id);
        self.topics.get(id).stamp > row.cursor || passed
    }

    /// A client that names a topic which a pattern brings goes on where that is. The offset that it would be sent next, where the
    /// pattern has brought anything.
    pub(super) fn next_heard(&self, slot: u32, id: TopicId) -> Option<u64> {
        let topic = self.topics.get(id);
        if let Some(row) = self.row_of(slot, topic) {
            return Some(self.registry.get(row).cursor);
        }
        self.owner(slot, id).filter(|owner| self.has_newest(*owner, id)).map(|_| topic.log().next())
    }

    /// Where a subscription by name begins, of a topic of which a pattern brought the client all before `next`.
    pub(super) fn start_heard(&self, next: u64, start: Start, newest: u64) -> Result<u64, HubError> {
        match start {
            Start::After(after) if after > newest => Err(HubError::Ahead { after, newest }),
            Start::After(after) if after + 1 != next => Err(HubError::Heard { after, next }),
            _ => Ok(next),
        }
    }

    /// Makes the client's passing row its subscription by name; false where it has none.
    pub(super) fn name_passing(
        &mut self,
        slot: u32,
        id: TopicId,
        encoding: Encoding,
        terms: Terms,
        encoder: &mut dyn Encoder,
    ) -> bool {
        let Some(row) = self.row_of(slot, self.topics.get(id)) else { return false };
        let topic = self.topics.get_mut(id);
        let heard = topic.heard.as_mut().expect("it has a row");
        let place = self.registry.place_among(&heard.rows, slot).expect("it has a row");
        heard.rows.remove(place);
        let place = self.registry.place_among(&topic.members, slot).expect_err("it is subscribed by a pattern only");
        topic.members.insert(place, row);
        self.registry.get_mut(row).kind = Kind::Name;
        self.registry.make_newest(row);
        self.sweep_idle(id);
        self.switch(row, encoding, terms, encoder);
        true
    }

    /// A subscription by name ends, and one of the client's patterns goes on with what it lacks; false where none does, or nothing
    /// is lacking.
    pub(super) fn unname(&mut self, slot: u32, row: u32, encoder: &mut dyn Encoder) -> bool {
        let (id, cursor) = (self.registry.get(row).topic, self.registry.get(row).cursor);
        self.name_ended(slot, id);
        let topic = self.topics.get_mut(id);
        topic.look_up(&self.patterns);
        if let Some(heard) = &mut topic.heard {
            // Who had it by its name is to have a row from the next publication on.
            heard.whole_at = None;
        }
        let is_behind = cursor < topic.log().next();
        let Some(owner) = self.owner(slot, id).filter(|_| is_behind) else { return false };
        let topic = self.topics.get_mut(id);
        let place = self.registry.place_among(&topic.members, slot).expect("it is subscribed by name");
        topic.members.remove(place);
        let heard = topic.heard.as_mut().expect("a pattern matches");
        match self.registry.place_among(&heard.rows, slot) {
            Ok(place) => {
                let idle = std::mem::replace(&mut heard.rows[place], row);
                self.registry.free(idle);
                heard.idle -= 1;
            }
            Err(place) => heard.rows.insert(place, row),
        }
        self.registry.get_mut(row).kind = Kind::Passing;
        self.switch_as(row, owner, encoder);
        self.settle_passing(row);
        true
    }

    /// Gives each member of the topic's patterns that has no row of it one, which begins with the newest publication.
    ///
    /// The stamp of the topic is still that of its publication before: of a topic with keys, a tour that has not come to it yet
    /// gives up its place to this row, which begins with the newest of every key.
    pub(super) fn hear(&mut self, id: TopicId, newest: u64) {
        let topic = self.topics.get_mut(id);
        if topic.heard.as_ref().is_none_or(|heard| heard.whole_at == Some(self.patterns.members_at())) {
            return topic.drop_unread();
        }
        let (snapshots, thinned) = (self.snapshots_to_come(id), self.slots_of_variants(id));
        let Hub { topics, patterns, registry, .. } = self;
        let topic = topics.get_mut(id);
        let mut heard = topic.heard.take().expect("it was looked at");
        heard.whole_at = Some(patterns.members_at());
        let merged;
        let members = match &*heard.patterns {
            [one] => &patterns.get(*one).members,
            several => {
                let lists = several.iter().map(|pattern| &patterns.get(*pattern).members[..]);
                merged = lists.fold(Vec::new(), |merged, members| merge(registry, &merged, members));
                &merged
            }
        };
        let mut rows = Vec::with_capacity(members.len().max(heard.rows.len()));
        let (mut old, mut named) = (heard.rows.iter().copied().peekable(), 0);
        for &number in members {
            let member = registry.get(number);
            let (slot, base, encoding) = (member.slot, member.base(), member.encoding());
            let terms = member.terms().in_topic(topic.settings.slow_default);
            while let Some(row) = old.next_if(|row| registry.get(*row).slot < slot) {
                rows.push(row);
            }
            while topic.members.get(named).is_some_and(|row| registry.get(*row).slot < slot) {
                named += 1;
            }
            if topic.members.get(named).is_some_and(|row| registry.get(*row).slot == slot) {
                continue;
            }
            // Who named it at a rate has it by the variant.
            if thinned.binary_search(&slot).is_ok() {
                continue;
            }
            let known = old.next_if(|row| registry.get(*row).slot == slot);
            if let Some(row) = known
                && !registry.is_idle(row)
            {
                rows.push(row);
                continue;
            }
            let snapshot = snapshots.contains(&number);
            let cursor = if snapshot { 1 } else { newest };
            let row = match known {
                Some(row) => {
                    registry.revive(row, base, terms, cursor);
                    heard.idle -= 1;
                    row
                }
                None => registry.add(Kind::Passing, slot, id, base, terms, cursor),
            };
            if snapshot {
                registry.walk_over(row, Mode::Snapshot, Walk::new(newest, topic.epochs.present()));
            }
            rows.push(row);
            topic.encoded_mut(encoding).expect("the rings that members read were made").subscriptions += 1;
        }
        rows.extend(old);
        heard.rows = rows;
        topic.heard = Some(heard);
        topic.drop_unread();
    }

    /// Gives the owner's client a row of the topic, from the newest publication (of each key) on; noted.
    pub(super) fn pass_newest(&mut self, owner: u32, id: TopicId, encoder: &mut dyn Encoder) {
        let owner = self.registry.get(owner);
        let topic = self.topics.get_mut(id);
        let (slot, base, terms) = (owner.slot, owner.base(), owner.terms().in_topic(topic.settings.slow_default));
        let (newest, snapshot) = (topic.log().next() - 1, topic.is_keyed());
        topic.acquire(owner.encoding(), if snapshot { newest + 1 } else { newest }, encoder);
        let cursor = if snapshot { 1 } else { newest };
        let heard = topic.heard.as_mut().expect("a pattern matches");
        let row = match self.registry.place_among(&heard.rows, slot) {
            Ok(place) => {
                heard.idle -= 1;
                self.registry.revive(heard.rows[place], base, terms, cursor);
                heard.rows[place]
            }
            Err(place) => {
                let row = self.registry.add(Kind::Passing, slot, id, base, terms, cursor);
                heard.rows.insert(place, row);
                row
            }
        };
        if snapshot {
            let epoch = self.topics.get(id).epochs.present();
            self.registry.walk_over(row, Mode::Snapshot, Walk::new(newest, epoch));
            self.end_walk(row);
        }
        let topic = self.topics.get_mut(id);
        topic.noted += u32::from(self.registry.note(row));
    }

    /// A passing row that is at the tail and not noted is idle.
    pub(super) fn settle_passing(&mut self, row: u32) {
        let passing = self.registry.get(row);
        let is_over = passing.kind == Kind::Passing
            && passing.mode == Mode::Log
            && passing.cursor == self.topics.get(passing.topic).log().next()
            && !self.registry.is_noted(row);
        if is_over {
            self.retire(row);
        }
    }

    /// Makes a passing row idle, which is not noted. The client is not inside a frame of it.
    pub(super) fn retire(&mut self, row: u32) {
        let (id, encoding) = (self.registry.get(row).topic, self.registry.get(row).encoding());
        self.registry.make_idle(row);
        let topic = self.topics.get_mut(id);
        topic.release(encoding);
        let heard = topic.heard.as_mut().expect("it has a row");
        heard.idle += 1;
        heard.whole_at = None;
        self.sweep_idle(id);
    }

    /// Frees the topic's idle rows where they are more than half.
    fn sweep_idle(&mut self, id: TopicId) {
        let Hub { topics, registry, .. } = self;
        let heard = topics.get_mut(id).heard.as_mut().expect("it has had a row");
        if heard.idle as usize * 2 <= heard.rows.len() {
            return;
        }
        heard.idle = 0;
        heard.rows.retain(|row| {
            let is_idle = registry.is_idle(*row);
            if is_idle {
                registry.free(*row);
            }
            !is_idle
        });
        if heard.rows.is_empty() {
            heard.rows = Vec::new();
        }
    }

    /// Drops the row of a pattern.
    pub(super) fn drop_pattern(&mut self, row: u32) {
        let (id, slot, encoding) = {
            let row = self.registry.get(row);
            (PatternId::of_row(row.topic), row.slot, row.encoding())
        };
        let place = self.registry.place_among(&self.patterns.get(id).members, slot);
        self.patterns.leave(id, place.expect("a pattern's row is a member"), encoding);
        self.tours.end(row);
        self.registry.remove(row);
    }

    /// A row goes on by its client's pattern.
    fn switch_as(&mut self, id: u32, owner: u32, encoder: &mut dyn Encoder) {
        let (owner, topic) = (self.registry.get(owner), self.registry.get(id).topic);
        let terms = owner.terms().in_topic(self.topics.get(topic).settings.slow_default);
        self.switch(id, owner.base(), terms, encoder);
    }

    /// Changes the encoding and the terms of a row, from its cursor on.
    pub(super) fn switch(&mut self, id: u32, encoding: Encoding, terms: Terms, encoder: &mut dyn Encoder) {
        assert_eq!(self.taken, 0, "no ring changes while spans of it are being sent");
        let (slot, before) = (self.registry.get(id).slot, self.registry.get(id).encoding());
        if before != if terms.timed { encoding.timed() } else { encoding } {
            self.copy_rest_of(slot, Some(id));
        }
        let row = self.registry.get_mut(id);
        row.set_encoding(encoding);
        row.set_terms(terms);
        let after = row.encoding();
        if before == after {
            return;
        }
        if row.kind.is_pattern() {
            return self.patterns.encode(PatternId::of_row(row.topic), before, after);
        }
        let topic = self.topics.get_mut(row.topic);
        topic.acquire(after, row.cursor, encoder);
        topic.release(before);
    }
}

/// Joins two lists of patterns' rows, both in the order of their clients' slots; of a client's rows the one subscribed first stays.
fn merge(registry: &Registry, one: &[u32], other: &[u32]) -> Vec<u32> {
    let mut merged = Vec::with_capacity(one.len() + other.len());
    let (mut one, mut other) = (one.iter().copied().peekable(), other.iter().copied().peekable());
    while let (Some(&left), Some(&right)) = (one.peek(), other.peek()) {
        let (a, b) = (registry.get(left), registry.get(right));
        merged.push(if (a.slot, a.cursor) < (b.slot, b.cursor) { left } else { right });
        if a.slot <= b.slot {
            one.next();
        }
        if b.slot <= a.slot {
            other.next();
        }
    }
    merged.extend(one);
    merged.extend(other);
    merged
}
