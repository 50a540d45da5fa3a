//! Rate variants: a topic thinned out to what an interval had that is the newest (of each key), for all who ask for that rate.
//!
//! A variant is a topic of its own without a name: at the end of an interval that had publications it is given, out of its
//! parent's newest, what came since the last time, each with its own offset. So its rings leave out offsets, a subscriber of
//! it is one like any other, and what all of them cost is what a slow topic costs.
//!
//! Who asks for a rate by a pattern has a passing row of a variant while it is behind there, as of any topic. So a variant that only
//! patterns hear is made by a publication, at the end of whose interval it gives out rows, and is closed when those are read: a
//! hundred thousand topics have as many variants as have an interval under way or a reader who is behind.
//!
//! Without: intervals and their ends, which the shard knows.
//!
//! Invariant: an interval is under way where something was published since the last time ([`Variant::begun`]); the shard ends it
//! with [`Hub::refresh`], or closes the variant.

use super::heard::Reached;
use super::store::TopicId;
use super::{Encoder, Hub};

/// What makes a topic a variant.
#[derive(Debug)]
pub(super) struct Variant {
    pub(super) parent: TopicId,
    rate_ms: u32,
    /// Of the interval under way: stamp and offset of its first publication, and of each other before which somebody subscribed to
    /// a pattern: for who subscribes in the middle of it. So at most one for each subscription, and for each publication.
    begun: Vec<(u64, u64)>,
    /// It stands among the hub's `unheard`.
    is_unheard: bool,
}

impl Variant {
    pub(super) fn new(parent: TopicId, rate_ms: u32) -> Variant {
        Variant { parent, rate_ms, begun: Vec::new(), is_unheard: false }
    }
}

impl Hub {
    /// The topic's variant of this rate, made where there is none.
    pub fn variant(&mut self, parent: TopicId, rate_ms: u32) -> TopicId {
        if let Some(variant) = self.at_rate(parent, rate_ms) {
            return variant;
        }
        assert_eq!(self.taken, 0, "no ring changes while spans of it are being sent");
        let variant = self.topics.open_variant(parent, rate_ms);
        self.variants.entry(parent).or_default().push((rate_ms, variant));
        variant
    }

    /// The topic's variants, with their rates in milliseconds. A plain topic has none, and asking costs a look at it.
    #[must_use]
    pub fn variants(&self, parent: TopicId) -> &[(u32, TopicId)] {
        if !self.topics.get(parent).varied {
            return &[];
        }
        self.variants.get(&parent).map_or(&[], |variants| variants)
    }

    /// The topic's variant of this rate.
    pub(super) fn at_rate(&self, parent: TopicId, rate_ms: u32) -> Option<TopicId> {
        self.variants(parent).iter().find(|(rate, _)| *rate == rate_ms).map(|(_, variant)| *variant)
    }

    /// Of a variant: its parent and its rate.
    #[must_use]
    pub fn variant_of(&self, variant: TopicId) -> Option<(TopicId, u32)> {
        self.topics.get(variant).variant.as_ref().map(|variant| (variant.parent, variant.rate_ms))
    }

    /// The topic itself, and the rate at which this one gives it, if it is a variant.
    pub(super) fn plain(&self, id: TopicId) -> (TopicId, Option<u32>) {
        self.variant_of(id).map_or((id, None), |(parent, rate_ms)| (parent, Some(rate_ms)))
    }

    /// Whether any pattern is heard that brings the topic at its own pace, or a variant at its rate. The patterns were looked up.
    pub(super) fn is_listened_to(&self, id: TopicId) -> bool {
        let (of, rate_ms) = self.plain(id);
        self.topics.get(of).patterns().iter().any(|pattern| self.patterns.get(*pattern).rate_ms == rate_ms)
    }

    /// Before a publication: makes the rings of encodings in which only patterns' members will read it.
    pub(super) fn expect_readers(&mut self, id: TopicId) {
        let (of, rate_ms) = self.plain(id);
        let Hub { topics, patterns, .. } = self;
        for number in 0..topics.get(of).patterns().len() {
            let pattern = patterns.get(topics.get(of).patterns()[number]);
            if pattern.rate_ms == rate_ms {
                pattern.encodings.iter().for_each(|(encoding, _)| topics.get_mut(id).expect_reader(*encoding));
            }
        }
    }

    /// Before a publication: makes the variants at whose rates patterns bring it.
    pub(super) fn expect_variants(&mut self, id: TopicId) {
        for number in 0..self.topics.get(id).patterns().len() {
            if let Some(rate_ms) = self.patterns.get(self.topics.get(id).patterns()[number]).rate_ms {
                self.variant(id, rate_ms);
            }
        }
    }

    /// After it, with the hub's stamp of it: the intervals of all variants are under way.
    pub(super) fn begin_intervals(&mut self, id: TopicId, offset: u64) {
        let Hub { topics, variants, .. } = self;
        let topic = topics.get(id);
        if !topic.varied {
            return;
        }
        let somebody_came = self.subscribed_at > topic.stamp;
        for (_, variant) in variants.get(&id).into_iter().flatten() {
            let variant = topics.get_mut(*variant).variant.as_mut().expect("it is one");
            if variant.begun.is_empty() || somebody_came {
                variant.begun.push((self.stamp, offset));
            }
        }
    }

    /// What the end of the interval under way gives the client of this pattern's row, if that has no other row: from this offset on.
    pub(super) fn begins_at(&self, owner: u32, variant: TopicId) -> Option<u64> {
        let topic = self.topics.get(variant);
        let subscribed = self.registry.get(owner).cursor;
        let begun = &topic.variant.as_ref().expect("only variants have intervals").begun;
        let (_, offset) = *begun.iter().find(|(stamp, _)| *stamp > subscribed)?;
        Some(if self.snapshots_to_come(variant).contains(&owner) { 1 } else { offset })
    }

    /// The first offset that a client without a row of the variant is still given, as far as is known now.
    pub(super) fn next_given(&self, slot: u32, of: TopicId, variant: TopicId) -> u64 {
        let given = self.owner(slot, of).and_then(|owner| self.begins_at(owner, variant));
        given.unwrap_or_else(|| self.topics.get(of).log().next())
    }

    /// The interval is over: the variant is given what is new, and its subscribers are noted. Gives how many those are.
    pub fn refresh(&mut self, variant: TopicId, encoder: &mut dyn Encoder) -> usize {
        let parent = self.topics.get(variant).parent().expect("only a variant is refreshed");
        self.topics.get_mut(parent).look_up(&self.patterns);
        self.expect_readers(variant);
        let (mut at, next) = (self.topics.get(variant).log().next(), self.topics.get(parent).log().next());
        while let Some(offset) = self.topics.get(parent).next_newest(at, true) {
            let mut publication = self.topics.get(parent).publication(offset);
            // An epoch begins with the first of its publications that is not thinned out.
            let mut epochs = self.topics.get(variant).epochs.clone();
            let begun = epochs.follow(&self.topics.get(parent).epochs, offset);
            publication.marks.begins = begun.map(Box::new);
            self.topics.get_mut(variant).epochs = epochs;
            self.append(variant, &publication, encoder);
            at = offset + 1;
        }
        let topic = self.topics.get_mut(variant);
        topic.close_up_to(next);
        let begun = std::mem::take(&mut topic.variant.as_mut().expect("it is one").begun);
        self.hear(variant, &begun);
        self.topics.get_mut(variant).stamp = self.topics.get(parent).stamp;
        self.note_members(variant);
        self.watch_unheard(variant);
        self.topics.get(variant).rows()
    }

    /// Slots of the clients that named the topic at another rate than this one, or at its own pace, in order.
    pub(super) fn slots_at_other_rates(&self, id: TopicId) -> Vec<u32> {
        let (of, _) = self.plain(id);
        let variants = self.variants(of).iter().map(|(_, variant)| *variant);
        let others = std::iter::once(of).chain(variants).filter(|other| *other != id);
        let members = others.flat_map(|other| &self.topics.get(other).members);
        let mut slots: Vec<u32> = members.map(|row| self.registry.get(*row).slot).collect();
        slots.sort_unstable();
        slots
    }

    /// Who has a row of the topic or its variants is to be looked up at the next publication.
    pub(super) fn count_rows_anew(&mut self, of: TopicId) {
        let Hub { topics, variants, .. } = self;
        let variants = variants.get(&of).into_iter().flatten().map(|(_, variant)| *variant);
        for id in std::iter::once(of).chain(variants) {
            if let Some(heard) = &mut topics.get_mut(id).heard {
                heard.whole_at = None;
            }
        }
    }

    /// A client names a topic at another rate than a pattern brings it: what that brought and was not sent yet is the name's.
    pub(super) fn end_passing(&mut self, slot: u32, of: TopicId) {
        if let Some(row) = self.row_at_any_rate(slot, of) {
            self.copy_rest_of(slot, Some(row));
            self.drop_subscription(row);
        }
        self.count_rows_anew(of);
    }

    /// Before a pattern of the client ends: the topics that it has by it and that have an interval under way, where it has no row;
    /// with how far it is there.
    pub(super) fn under_way(&self, slot: u32, pattern: u32) -> Vec<(TopicId, Reached)> {
        let is_pattern = |row: &u32| self.registry.get(*row).kind.is_pattern();
        if self.registry.of_client(slot).filter(is_pattern).count() < 2 {
            return Vec::new();
        }
        let is_under_way = |(_, variant): &(u32, TopicId)| self.is_under_way(*variant);
        let topics = self.variants.iter().filter(|(_, variants)| variants.iter().any(is_under_way));
        let its = topics.filter(|(of, _)| self.owner(slot, **of) == Some(pattern) && !self.is_passing(slot, **of));
        let mut found: Vec<_> = its.filter_map(|(of, _)| Some((*of, self.reached(slot, *of)?))).collect();
        found.sort_unstable_by_key(|(of, _)| *of);
        found
    }

    /// A client goes on with a topic by the pattern that brings it from now on: it was so far there otherwise. Where it is behind the
    /// interval under way, it is given the newest (of each key) at once.
    pub(super) fn go_on(&mut self, slot: u32, of: TopicId, reached: Reached, encoder: &mut dyn Encoder) {
        let next = reached.next;
        let Some(owner) = self.owner(slot, of) else { return };
        let variant = self.rate_of(owner).and_then(|rate_ms| self.at_rate(of, rate_ms));
        if let Some(variant) = variant.filter(|variant| self.is_under_way(*variant))
            && next >= self.topics.get(variant).log().next()
            && reached.epoch == self.topics.get(of).epochs.at(next - 1).epoch
        {
            if next != self.next_given(slot, of, variant) {
                self.give_row(owner, variant, next, encoder);
            }
        } else if next < self.topics.get(of).log().next() {
            self.pass_newest(owner, of, reached, encoder);
        }
    }

    fn is_under_way(&self, variant: TopicId) -> bool {
        self.topics.get(variant).variant.as_ref().is_some_and(|variant| !variant.begun.is_empty())
    }

    /// Whether anybody has a row of the variant.
    fn is_read(&self, variant: TopicId) -> bool {
        let topic = self.topics.get(variant);
        topic.rows() > 0 || !topic.members.is_empty()
    }

    /// A row of the topic ended: where it is a variant without any, it may be closed.
    pub(super) fn watch_unheard(&mut self, id: TopicId) {
        if self.is_read(id) {
            return;
        }
        if let Some(variant) = self.topics.get_mut(id).variant.as_mut().filter(|variant| !variant.is_unheard) {
            variant.is_unheard = true;
            self.unheard.push(id);
        }
    }

    /// Variants that have no reader, and whose interval has none to come, if one is under way: to be closed before anything else
    /// happens. One that has not told of its parent's epoch, as its first publication made room for others, is still to do so.
    pub fn take_unheard(&mut self) -> Vec<TopicId> {
        let mut unheard = std::mem::take(&mut self.unheard);
        unheard.retain(|id| {
            let variant = self.topics.get_mut(*id).variant.as_mut().expect("only variants are watched");
            variant.is_unheard = false;
            let parent = variant.parent;
            self.topics.get_mut(parent).look_up(&self.patterns);
            let has_told = self.topics.get(*id).epochs.present() == self.topics.get(parent).epochs.present();
            !(self.is_read(*id) || (self.is_under_way(*id) || !has_told) && self.is_listened_to(*id))
        });
        unheard
    }

    /// Closes a variant that has no members.
    pub fn close_variant(&mut self, variant: TopicId) {
        let (parent, _) = self.variant_of(variant).expect("only a variant is closed so");
        let variants = self.variants.get_mut(&parent).expect("a variant is one of its parent's");
        variants.retain(|(_, id)| *id != variant);
        if variants.is_empty() {
            self.variants.remove(&parent);
            let parent = self.topics.get_mut(parent);
            parent.varied = false;
            parent.forget_newest();
        }
        if self.topics.get(variant).variant.as_ref().is_some_and(|variant| variant.is_unheard) {
            self.unheard.retain(|id| *id != variant);
        }
        self.topics.close(variant);
    }
}
