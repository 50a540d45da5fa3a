//! Subscriptions of patterns: the part of the [`Hub`] that gives their members rows while they are behind, and only then.
//!
//! A publication looks at the members of its topic's patterns beside those who named the topic, both in the order of their slots,
//! and gives each that has no row one; of a pattern at a rate the variant does that, at the end of an interval. A visit that brings
//! a row to the tail makes it idle. Idle rows are swept out of the topic's list once they are more than half of it, so a row costs
//! the same however many its topic has, and a topic whose readers have caught up holds none.
//!
//! Without: which patterns there are (`patterns`), who has what by them (`heard`), `last` of a pattern (`tours`), sends.
//!
//! Invariant: a passing row that is not idle is behind, or noted and about to be popped, or of a variant and ahead of what the end
//! of the interval would give its client.

use std::borrow::Cow;

use super::heard::Reached;
use super::patterns::{PatternId, Patterns};
use super::registry::Registry;
use super::room::Room;
use super::row::{Kind, Mode, Walk};
use super::store::TopicId;
use super::topic::Pattern;
use super::{Encoder, Encoding, Hub, Terms};

/// What a client is subscribed to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Held<'h> {
    /// A topic, by its name.
    Topic(TopicId, Terms),
    /// All topics that match, at a rate in milliseconds or at their own pace.
    Pattern(&'h Pattern, Option<u32>, Terms),
}

impl Hub {
    /// Subscribes the client in `slot` to all topics that match, those to come among them. With `last` it is first given the
    /// newest publication of each, by and by ([`Hub::tour`]). With a rate, in milliseconds, it hears the variants of that rate
    /// ([`Hub::refresh`]). False where it has the pattern already, at whatever rate.
    pub fn subscribe_pattern(
        &mut self,
        slot: u32,
        pattern: &Pattern,
        rate_ms: Option<u32>,
        encoding: Encoding,
        terms: Terms,
        last: bool,
    ) -> bool {
        if self.pattern_row(slot, pattern.as_str()).is_some() {
            return false;
        }
        let id = self.patterns.find_or_insert(pattern, rate_ms);
        let place = self.registry.place_among(&self.patterns.get(id).members, slot).expect_err("it is not subscribed to it");
        self.stamp += 1;
        self.subscribed_at = self.stamp;
        let kind = if last { Kind::PatternWithLast } else { Kind::Pattern };
        let row = self.registry.add(kind, slot, id.in_row(), encoding, terms, self.stamp);
        self.patterns.join(id, place, row, self.registry.get(row).encoding());
        if last {
            self.tours.begin(row, slot);
        }
        true
    }

    /// What the client asked for beside the pattern: the rate in milliseconds, and the terms; `None` where it is not subscribed to
    /// it.
    #[must_use]
    pub fn pattern_terms(&self, slot: u32, pattern: &str) -> Option<(Option<u32>, Terms)> {
        let row = self.pattern_row(slot, pattern)?;
        Some((self.rate_of(row), self.registry.get(row).terms()))
    }

    /// The client's row of the pattern, at whatever rate.
    fn pattern_row(&self, slot: u32, pattern: &str) -> Option<u32> {
        let members = |id: &PatternId| &self.patterns.get(*id).members;
        let row = |members: &Vec<u32>| self.registry.place_among(members, slot).ok().map(|place| members[place]);
        self.patterns.find(pattern).iter().map(members).find_map(row)
    }

    /// Whether any client is subscribed to the pattern.
    #[must_use]
    pub fn is_pattern_used(&self, pattern: &str) -> bool {
        !self.patterns.find(pattern).is_empty()
    }

    /// How many topics match a pattern that somebody is subscribed to. Asked first it takes a look at each topic.
    pub fn pattern_topics(&mut self, pattern: &str) -> Option<u32> {
        let subscribed = self.patterns.get_mut(*self.patterns.find(pattern).first()?);
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
        let Some(row) = self.pattern_row(slot, pattern) else { return false };
        let mut moved = self.under_way(slot, row);
        self.pattern_ended(slot, row);
        self.drop_pattern(row);
        // Off the due chain all at once: unlinking each row from it would be quadratic.
        let mut noted = Vec::new();
        while let Some(row) = self.registry.oldest_noted(slot) {
            self.registry.pop_noted(slot);
            self.topics.get_mut(self.registry.get(row).topic).noted -= 1;
            noted.push(row);
        }
        let rows: Vec<u32> = self.registry.passing_of(slot).collect();
        let mut ended = Vec::new();
        for row in rows {
            let (of, rate_ms) = self.plain(self.registry.get(row).topic);
            match self.owner(slot, of) {
                Some(owner) if self.rate_of(owner) == rate_ms => self.switch_as(row, owner, encoder),
                owner => {
                    self.copy_rest_of(slot, Some(row));
                    moved.extend(owner.map(|_| (of, self.reached_in(slot, row))));
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
        moved.into_iter().for_each(|(of, reached)| self.go_on(slot, of, reached, encoder));
        true
    }

    /// What the client is subscribed to, in the order subscribed.
    pub fn subscribed_to(&self, slot: u32) -> impl Iterator<Item = Held<'_>> {
        self.registry.of_client(slot).filter_map(|row| {
            let row = self.registry.get(row);
            match row.kind {
                Kind::Name => Some(Held::Topic(row.topic, row.terms())),
                Kind::Pattern | Kind::PatternWithLast => {
                    let subscribed = self.patterns.get(PatternId::of_row(row.topic));
                    Some(Held::Pattern(&subscribed.pattern, subscribed.rate_ms, row.terms()))
                }
                Kind::Passing => None,
            }
        })
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
        self.registry.set_passing(row, false);
        self.registry.make_newest(row);
        self.sweep_idle(id);
        self.switch(row, encoding, terms, encoder);
        true
    }

    /// A subscription by name ends, and one of the client's patterns, at the same rate, goes on with what it lacks; false where none
    /// does, or nothing is lacking.
    pub(super) fn unname(&mut self, slot: u32, row: u32, encoder: &mut dyn Encoder) -> bool {
        let (id, cursor) = (self.registry.get(row).topic, self.registry.get(row).cursor);
        let (of, rate_ms) = self.plain(id);
        self.name_ended(slot, of);
        self.topics.get_mut(of).look_up(&self.patterns);
        // Who had it by its name is to have a row from the next publication on.
        self.count_rows_anew(of);
        // A row of a variant may be ahead of what the pattern would be given: that is settled below.
        let lacks = rate_ms.is_some() || cursor < self.topics.get(id).log().next();
        let Some(owner) = self.owner(slot, of).filter(|owner| lacks && self.rate_of(*owner) == rate_ms) else { return false };
        let topic = self.topics.get_mut(id);
        let place = self.registry.place_among(&topic.members, slot).expect("it is subscribed by name");
        topic.members.remove(place);
        let heard = topic.heard.get_or_insert_default();
        match self.registry.place_among(&heard.rows, slot) {
            Ok(place) => {
                let idle = std::mem::replace(&mut heard.rows[place], row);
                self.registry.free(idle);
                heard.idle -= 1;
            }
            Err(place) => heard.rows.insert(place, row),
        }
        self.registry.set_passing(row, true);
        self.switch_as(row, owner, encoder);
        self.settle_passing(row);
        true
    }

    /// Gives each member of the topic's patterns that has no row of it one: which begins with the newest publication, or, of a
    /// variant, with what was published since it subscribed, of the interval that is over. `begun` is by stamps: with which offset
    /// those begin who subscribed before.
    ///
    /// The stamp of the topic is still that of its publication before: of a topic with keys, a tour that has not come to it yet
    /// gives up its place to this row, which begins with the newest of every key.
    pub(super) fn hear(&mut self, id: TopicId, begun: &[(u64, u64)]) {
        let (of, rate_ms) = self.plain(id);
        let members_at = Some(self.patterns.members_at());
        let is_whole = self.topics.get(id).heard.as_ref().is_some_and(|heard| heard.whole_at == members_at);
        if is_whole || !self.is_listened_to(id) {
            return self.topics.get_mut(id).drop_unread();
        }
        let (snapshots, named) = (self.snapshots_to_come(id), self.slots_at_other_rates(id));
        let end = self.topics.get(of).log().next() - 1;
        // For snapshots alone, and most topics have one epoch.
        let epochs = (!snapshots.is_empty()).then(|| self.topics.get(of).epochs.clone());
        let mut heard = self.topics.get_mut(id).heard.take().unwrap_or_default();
        let Hub { topics, patterns, registry, pattern_rows_max, .. } = self;
        let list = if of == id { &heard.patterns } else { &topics.get(of).heard.as_ref().expect("it is listened to").patterns };
        let members = members(registry, patterns, list);
        let is_mixed = list.iter().any(|pattern| patterns.get(*pattern).rate_ms != rate_ms);
        let topic = topics.get_mut(id);
        let mut room = Room::new(*pattern_rows_max);
        heard.whole_at = members_at;
        let mut rows = Vec::with_capacity(members.len().max(heard.rows.len()));
        let (mut old, mut own) = (heard.rows.iter().copied().peekable(), 0);
        for &number in &*members {
            let member = registry.get(number);
            let (slot, base, encoding) = (member.slot, member.base(), member.encoding());
            let terms = member.terms().in_topic(topic.settings.slow_default);
            if is_mixed && patterns.get(PatternId::of_row(member.topic)).rate_ms != rate_ms {
                continue;
            }
            while let Some(row) = old.next_if(|row| registry.get(*row).slot < slot) {
                rows.push(row);
            }
            own += topic.members[own..].iter().take_while(|row| registry.get(**row).slot < slot).count();
            // Who named it has it by that, at whatever rate.
            if topic.members.get(own).is_some_and(|row| registry.get(*row).slot == slot) || named.binary_search(&slot).is_ok() {
                continue;
            }
            let begin = begun.iter().find(|(stamp, _)| *stamp > member.cursor).map(|(_, begin)| *begin);
            let known = old.next_if(|row| registry.get(*row).slot == slot);
            let known_behind = known.filter(|row| !registry.is_idle(*row));
            let begin = begin.filter(|_| known_behind.is_some() || !room.is_none_for(registry, slot));
            let (None, Some(begin)) = (known_behind, begin) else {
                // Who subscribed after all of it is to have a row from the next publication on.
                heard.whole_at = heard.whole_at.filter(|_| known_behind.is_some());
                rows.extend(known);
                continue;
            };
            let snapshot = snapshots.contains(&number);
            let cursor = if snapshot { 1 } else { begin };
            heard.idle -= u32::from(known.is_some());
            let row = match known {
                Some(row) => registry.revive(row, base, terms, cursor),
                None => registry.add(Kind::Passing, slot, id, base, terms, cursor),
            };
            if snapshot {
                // It may have had what was before by another subscription.
                let epoch = epochs.as_ref().expect("there are snapshots").at(begin - 1).epoch;
                registry.walk_over(row, Mode::Snapshot, Walk::new(end, epoch));
            }
            rows.push(row);
            topic.encoded_mut(encoding).expect("the rings that members read were made").subscriptions += 1;
        }
        rows.extend(old);
        fit(&mut rows);
        heard.rows = rows;
        topic.heard = Some(heard);
        topic.drop_unread();
        room.lost.into_iter().for_each(|slot| self.give_up(slot));
    }

    /// Gives the owner's client a row of the topic, at its rate, with the newest publication (of each key that it lacks) at once;
    /// noted. Gives the row.
    pub(super) fn pass_newest(&mut self, owner: u32, of: TopicId, reached: Reached, encoder: &mut dyn Encoder) -> u32 {
        let id = self.rate_of(owner).map_or(of, |rate_ms| self.variant(of, rate_ms));
        // In a ring an epoch is told with its first publication only.
        if id != of || reached.epoch != self.topics.get(of).epochs.present() {
            self.topics.get_mut(of).keep_newest();
        }
        let (newest, snapshot) = (self.topics.get(of).log().next() - 1, self.topics.get(of).keeps_newest());
        if !snapshot {
            let row = self.give_row(owner, id, newest, encoder);
            let topic = self.topics.get_mut(id);
            topic.noted += u32::from(self.registry.note(row));
            return row;
        }
        let row = self.give_row(owner, id, newest + 1, encoder);
        self.registry.get_mut(row).cursor = reached.next;
        self.registry.walk_over(row, Mode::Snapshot, Walk::new(newest, reached.epoch));
        self.end_walk(row);
        let topic = self.topics.get_mut(id);
        topic.noted += u32::from(self.registry.note(row));
        row
    }

    /// Gives the owner's client, which has none, a row of the topic or variant.
    pub(super) fn give_row(&mut self, owner: u32, id: TopicId, cursor: u64, encoder: &mut dyn Encoder) -> u32 {
        let owner = self.registry.get(owner);
        let topic = self.topics.get_mut(id);
        let (slot, base, terms) = (owner.slot, owner.base(), owner.terms().in_topic(topic.settings.slow_default));
        topic.acquire(owner.encoding(), cursor, encoder);
        let heard = topic.heard.get_or_insert_default();
        match self.registry.place_among(&heard.rows, slot) {
            Ok(place) => {
                heard.idle -= 1;
                self.registry.revive(heard.rows[place], base, terms, cursor)
            }
            Err(place) => {
                let row = self.registry.add(Kind::Passing, slot, id, base, terms, cursor);
                heard.rows.insert(place, row);
                row
            }
        }
    }

    /// A passing row that is at the tail and not noted is idle; of a variant, where its client is as well served without it.
    pub(super) fn settle_passing(&mut self, row: u32) {
        let passing = self.registry.get(row);
        if passing.kind != Kind::Passing || passing.mode != Mode::Log || self.registry.is_noted(row) {
            return;
        }
        let (topic, cursor) = (self.topics.get(passing.topic), passing.cursor);
        let is_over = match topic.parent() {
            None => cursor == topic.log().next(),
            Some(of) => {
                let ring = topic.ring(passing.encoding());
                // An interval may bring nothing, if the key that it had made room for others.
                let is_behind = cursor < ring.next() && (cursor < ring.head() || ring.len_bytes(cursor, ring.next()) > 0);
                !is_behind && cursor.max(ring.next()) == self.next_given(passing.slot, of, passing.topic)
            }
        };
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
        self.watch_unheard(id);
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
        fit(&mut heard.rows);
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

/// Of a hundred thousand topics' lists each has room for its few who are behind, not for all members.
fn fit(rows: &mut Vec<u32>) {
    if rows.capacity() > 4 * rows.len() {
        rows.shrink_to(2 * rows.len());
    }
}

/// The members of these patterns, in the order of their clients' slots; of a client's rows the one subscribed first.
fn members<'p>(registry: &Registry, patterns: &'p Patterns, list: &[PatternId]) -> Cow<'p, [u32]> {
    match list {
        [one] => Cow::Borrowed(&patterns.get(*one).members),
        several => {
            let lists = several.iter().map(|pattern| &patterns.get(*pattern).members[..]);
            Cow::Owned(lists.fold(Vec::new(), |merged, members| merge(registry, &merged, members)))
        }
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
