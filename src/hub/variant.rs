//! Rate variants: a topic thinned out to what an interval had that is the newest (of each key), for all who ask for that rate.
//!
//! A variant is a topic of its own without a name: at the end of an interval that had publications it is given, out of its
//! parent's newest, what came since the last time, each with its own offset. So its rings leave out offsets, a subscriber of
//! it is one like any other, and what all of them cost is what a slow topic costs.
//!
//! Without: intervals and their ends, which the shard knows.

use super::store::TopicId;
use super::{Encoder, Hub};

impl Hub {
    /// The topic's variant of this rate, made where there is none.
    pub fn variant(&mut self, parent: TopicId, rate_ms: u32) -> TopicId {
        assert_eq!(self.taken, 0, "no ring changes while spans of it are being sent");
        let variants = self.variants.entry(parent).or_default();
        if let Some((_, variant)) = variants.iter().find(|(rate, _)| *rate == rate_ms) {
            return *variant;
        }
        // Who begins with `last` is given the parent's newest, in whatever encoding.
        self.topics.get_mut(parent).keep_newest();
        let variant = self.topics.open_variant(parent);
        variants.push((rate_ms, variant));
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

    /// Of a variant: its parent and its rate.
    #[must_use]
    pub fn variant_of(&self, variant: TopicId) -> Option<(TopicId, u32)> {
        let parent = self.topics.get(variant).parent?;
        let rate = self.variants[&parent].iter().find(|(_, id)| *id == variant);
        Some((parent, rate.expect("a variant is one of its parent's").0))
    }

    /// The interval is over: the variant is given what is new, and its subscribers are noted.
    pub fn refresh(&mut self, variant: TopicId, encoder: &mut dyn Encoder) {
        let parent = self.topics.get(variant).parent.expect("only a variant is refreshed");
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
        self.topics.get_mut(variant).close_up_to(next);
        self.note_members(variant);
    }

    /// Slots of the clients that named the topic at a rate, in order.
    pub(super) fn slots_of_variants(&self, parent: TopicId) -> Vec<u32> {
        let members = self.variants(parent).iter().flat_map(|(_, variant)| &self.topics.get(*variant).members);
        let mut slots: Vec<u32> = members.map(|row| self.registry.get(*row).slot).collect();
        slots.sort_unstable();
        slots
    }

    /// A client names a topic at a rate, or no more: what patterns bring of it ends, or begins with the next publication.
    pub(super) fn thin_out(&mut self, slot: u32, parent: TopicId) {
        if let Some(row) = self.row_of(slot, self.topics.get(parent)) {
            self.copy_rest_of(slot, Some(row));
            self.drop_subscription(row);
        }
        if let Some(heard) = &mut self.topics.get_mut(parent).heard {
            heard.whole_at = None;
        }
    }

    /// Closes a variant that has no members.
    pub fn close_variant(&mut self, variant: TopicId) {
        let (parent, _) = self.variant_of(variant).expect("only a variant is closed so");
        let variants = self.variants.get_mut(&parent).expect("a variant is one of its parent's");
        variants.retain(|(_, id)| *id != variant);
        if variants.is_empty() {
            self.variants.remove(&parent);
            self.topics.get_mut(parent).varied = false;
        }
        self.topics.close(variant);
    }
}
