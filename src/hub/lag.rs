//! How far a client is behind, as operators are told.
//!
//! Without: when it is asked. It walks the client's noted subscriptions, as looking for fallen ones does.

use super::Hub;
use super::visit::TornPlace;

impl Hub {
    /// How many publications the client lacks over all its topics, the one that it is inside of included. Where it is to be given the
    /// newest of each key only, or a rate, those that will be left out count too: it is the way to each topic's newest.
    #[must_use]
    pub fn lag(&self, slot: u32) -> u64 {
        let lacks = |id: u32| {
            let subscription = self.registry.get(id);
            self.topics.get(subscription.topic).log().next().saturating_sub(subscription.cursor)
        };
        // One inside of whose frame the client is, and whose ring gave that up, is behind its cursor.
        let torn = self.torn(slot).is_some_and(|torn| torn.place != TornPlace::Ring);
        self.registry.noted(slot).map(lacks).sum::<u64>() + u64::from(torn)
    }
}
