//! How many bytes a subscription lacks: what a client that asks for history is charged.
//!
//! Without: what is done about it; the shard knows the bounds.

use super::row::Mode;
use super::{Hub, TopicId};

impl Hub {
    /// Bytes that the client's subscription of the topic, or of the variant, lacks; 0 without one.
    #[must_use]
    pub fn lacks_bytes(&self, slot: u32, id: TopicId) -> u64 {
        let members = &self.topics.get(id).members;
        self.registry.place_among(members, slot).map_or(0, |place| self.row_lacks_bytes(members[place]))
    }

    /// The newest of each key have the mean size of what the ring holds: they may not be encoded yet.
    pub(super) fn row_lacks_bytes(&self, row: u32) -> u64 {
        let subscription = self.registry.get(row);
        let topic = self.topics.get(subscription.topic);
        let ring = topic.ring(subscription.encoding());
        if subscription.mode == Mode::Log {
            return ring.len_bytes(subscription.cursor.max(ring.head()), ring.next()) as u64;
        }
        let view = self.topics.get(self.view(row));
        let (held, next) = (ring.count(ring.head(), ring.next()), view.log().next());
        let mean = (ring.len_bytes(ring.head(), ring.next()) as u64).checked_div(held).unwrap_or(0);
        view.count_newest(subscription.cursor, next) * mean
    }
}
