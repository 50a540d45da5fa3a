//! Who is subscribed to what: the part of the [`Hub`] that clients' requests move.
//!
//! Without: requests and replies, rights, limits on how many.

use super::heard::Reached;
use super::publication::Position;
use super::registry::Rest;
use super::row::{Kind, Mode, Terms, Walk};
use super::store::TopicId;
use super::{Encoder, Encoding, Hub};

/// Where a subscription begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// With the next publication.
    Live,
    /// With the newest publication, if the log holds one.
    Newest,
    /// With the publication after this offset.
    After(u64),
}

/// Why a subscription was not made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HubError {
    /// A client holds a topic once.
    #[error("the client is subscribed to this topic already")]
    Subscribed,
    /// The offset lies ahead of the topic's newest.
    #[error("offset {after} lies ahead: the newest is {newest}")]
    Ahead {
        /// What was asked for.
        after: u64,
        /// The topic's newest offset.
        newest: u64,
    },
    /// The ring gave up some of what follows the offset.
    #[error("not all after offset {after} is held: the oldest publication is {oldest}")]
    NotHeld {
        /// What was asked for.
        after: u64,
        /// Offset of the oldest publication held in this encoding.
        oldest: u64,
    },
    /// A pattern has brought the topic to the client already, as far as it is now: a subscription by name goes on from there.
    #[error("a pattern brought this topic already: offset {next} follows, not what is after {after}")]
    Heard {
        /// What was asked for.
        after: u64,
        /// Offset of the publication that is sent next.
        next: u64,
    },
}

impl Hub {
    /// Subscribes the client in `slot` (small, dense numbers) to a topic. Where a pattern has brought it that already, the
    /// subscription goes on from there, with [`Start::Newest`] too.
    ///
    /// # Errors
    /// See [`HubError`]; nothing is changed then.
    pub fn subscribe(
        &mut self,
        slot: u32,
        id: TopicId,
        encoding: Encoding,
        terms: Terms,
        mut start: Start,
        encoder: &mut dyn Encoder,
    ) -> Result<(), HubError> {
        let own = if terms.timed { encoding.timed() } else { encoding };
        assert_eq!(self.taken, 0, "no ring changes while spans of it are being sent");
        let topic = self.topics.get_mut(id);
        let Err(place) = self.registry.place_among(&topic.members, slot) else {
            return Err(HubError::Subscribed);
        };
        let parent = topic.parent();
        let of = parent.unwrap_or(id);
        // A variant is behind its parent by what the interval under way had.
        let (head, own_next, next) = (topic.log().head(), topic.log().next(), self.topics.get(of).log().next());
        // Where a pattern is inside a frame, at another rate, that is sent to its end.
        let passing = self.row_at_any_rate(slot, of);
        let is_inside = passing.is_some_and(|row| self.registry.get(row).topic != id && self.is_inside(slot, row));
        let heard = self.reached(slot, of).map(|heard| Reached { next: heard.next + u64::from(is_inside), ..heard });
        if let Some(heard) = heard {
            start = Start::After(self.start_heard(heard.next, start, next - 1)? - 1);
        }
        if self.name_passing(slot, id, encoding, terms, encoder) {
            return Ok(());
        }
        // What a pattern at another rate has not brought is brought by this one: the newest of it at once.
        let lacking = heard.filter(|heard| heard.next < next && (parent.is_none() || heard.next < own_next || passing.is_some()));
        let present = self.topics.get(of).epochs.present();
        // In a ring an epoch is told with its first publication only.
        let is_another = lacking.is_some_and(|lacking| lacking.epoch != present);

        self.end_passing(slot, of);
        if parent.is_some() && (start == Start::Newest || lacking.is_some()) || is_another {
            // In whatever encoding.
            self.topics.get_mut(of).keep_newest();
        }
        let topic = self.topics.get_mut(id);
        // What a pattern brought in part goes on as that would: with the newest, where it is kept.
        let is_state = parent.is_some() || topic.is_keyed() || lacking.is_some() && topic.keeps_newest();
        let snapshot = (start == Start::Newest || lacking.is_some()) && is_state && next > 1;
        let cursor = match start {
            Start::Live => next,
            // Before it come the newest of each key, one by one.
            _ if snapshot => next,
            Start::Newest => (next - 1).max(head),
            Start::After(_) if lacking.is_some() => next - 1,
            Start::After(after) if after >= next => return Err(HubError::Ahead { after, newest: next - 1 }),
            Start::After(after) => after + 1,
        };
        topic.acquire(own, cursor, encoder);
        let oldest = topic.ring(own).head();
        if cursor < oldest {
            topic.release(own);
            return Err(HubError::NotHeld { after: cursor - 1, oldest });
        }
        let reached = lacking.unwrap_or(Reached { next: 1, epoch: present });
        let first = if snapshot { reached.next } else { cursor };
        let subscription = self.registry.add(Kind::Name, slot, id, encoding, terms, first);
        topic.members.insert(place, subscription);
        if snapshot {
            self.registry.walk_over(subscription, Mode::Snapshot, Walk::new(next - 1, reached.epoch));
            self.end_walk(subscription);
        }
        if self.registry.get(subscription).cursor < next {
            self.topics.get_mut(id).noted += u32::from(self.registry.note(subscription));
        }
        Ok(())
    }

    /// Whether the client is subscribed to the topic by its name.
    #[must_use]
    pub fn is_subscribed(&self, slot: u32, topic: TopicId) -> bool {
        self.registry.place_among(&self.topics.get(topic).members, slot).is_ok()
    }

    /// What the client asked for beside the topic; `None` where it is not subscribed to it by name.
    #[must_use]
    pub fn terms(&self, slot: u32, topic: TopicId) -> Option<Terms> {
        let members = &self.topics.get(topic).members;
        let place = self.registry.place_among(members, slot).ok()?;
        Some(self.registry.get(members[place]).terms())
    }

    /// The client's subscription of a topic, at whatever rate: the topic or its variant, and the terms.
    #[must_use]
    pub fn held(&self, slot: u32, topic: TopicId) -> Option<(TopicId, Terms)> {
        let variants = self.variants(topic).iter().map(|(_, variant)| *variant);
        std::iter::once(topic).chain(variants).find_map(|topic| Some((topic, self.terms(slot, topic)?)))
    }

    /// Ends a subscription by name; false where there is none. A frame that the client is inside of is still owed to it
    /// ([`Hub::torn`]). Where a pattern of the client matches, that goes on with what it lacks.
    pub fn unsubscribe(&mut self, slot: u32, topic: TopicId, encoder: &mut dyn Encoder) -> bool {
        self.assert_nothing_taken_by(slot);
        let members = &self.topics.get(topic).members;
        let Ok(place) = self.registry.place_among(members, slot) else {
            return false;
        };
        let subscription = members[place];
        let of = self.topics.get(topic).parent().unwrap_or(topic);
        if self.unname(slot, subscription, encoder) {
            return true;
        }
        self.copy_rest_of(slot, Some(subscription));
        let reached = self.reached_in(slot, subscription);
        self.drop_subscription(subscription);
        self.go_on(slot, of, reached, encoder);
        true
    }

    /// Ends all subscriptions of the client. A frame that it is inside of is still owed to it ([`Hub::torn`]).
    pub fn unsubscribe_all(&mut self, slot: u32) {
        self.assert_nothing_taken_by(slot);
        self.copy_rest_of(slot, None);
        self.drop_subscriptions(slot);
    }

    /// Forgets the client and all that it was owed; its slot may be another's from now on. Spans that it has taken need not
    /// be advanced any more.
    pub fn leave(&mut self, slot: u32) {
        let Some(client) = self.registry.client_mut(slot) else { return };
        self.taken -= std::mem::take(&mut client.taken);
        self.forget_rest(slot);
        self.drop_subscriptions(slot);
        self.registry.due.unmark(slot);
        self.registry.due.unblock(slot);
    }

    /// What the client was not sent of the frame that it is inside of is owed to it no more.
    pub(super) fn forget_rest(&mut self, slot: u32) {
        let Some(client) = self.registry.client_mut(slot) else { return };
        match std::mem::take(&mut client.rest) {
            Rest::None => {}
            Rest::InRing { subscription, .. } => {
                let subscription = self.registry.get(subscription);
                let encoded = self.topics.get_mut(subscription.topic).encoded_mut(subscription.encoding());
                encoded.expect("an encoding that someone is subscribed in has its ring").remove_torn(slot);
            }
            Rest::Copied(rest) => self.rests.forget(rest.bytes.len()),
            Rest::Lost => self.rests.forget_overflowed(slot),
        }
    }

    /// The topics that the client named, in the order subscribed, each with the number of the first publication not wholly sent.
    pub fn subscriptions(&self, slot: u32) -> impl Iterator<Item = (TopicId, u64)> {
        self.by_name(slot).map(|id| {
            let subscription = self.registry.get(id);
            (subscription.topic, subscription.cursor)
        })
    }

    /// How far the client is in each topic that it named, in the order subscribed: the position of the last publication that is
    /// sent, or whose rest will be the next that is sent.
    pub fn positions(&self, slot: u32) -> impl Iterator<Item = (TopicId, Position)> {
        self.by_name(slot).map(move |id| (self.registry.get(id).topic, self.position_in(slot, id)))
    }

    /// How far the client is by this row, in the epoch that it was told last.
    pub(super) fn position_in(&self, slot: u32, id: u32) -> Position {
        let subscription = self.registry.get(id);
        let number = subscription.cursor - u64::from(!self.is_inside(slot, id));
        match subscription.mode {
            Mode::Log => self.epochs_of(id).at(number),
            _ => self.epochs_of(id).told(self.registry.walk(id).epoch, number),
        }
    }

    fn by_name(&self, slot: u32) -> impl Iterator<Item = u32> {
        self.registry.of_client(slot).filter(|id| self.registry.get(*id).kind == Kind::Name)
    }

    /// Whether the client is inside a frame of this subscription, whose rest is in the ring.
    pub(super) fn is_inside(&self, slot: u32, id: u32) -> bool {
        let rest = self.registry.client(slot).map(|client| &client.rest);
        matches!(rest, Some(Rest::InRing { subscription, .. }) if *subscription == id)
    }

    /// Changes the encoding of all the client's subscriptions, from their cursors on.
    pub fn set_encoding(&mut self, slot: u32, encoding: Encoding, encoder: &mut dyn Encoder) {
        assert_eq!(self.taken, 0, "no ring changes while spans of it are being sent");
        self.copy_rest_of(slot, None);
        let ids: Vec<u32> = self.registry.of_client(slot).collect();
        for id in ids {
            self.switch(id, encoding, self.registry.get(id).terms(), encoder);
        }
    }

    pub(super) fn assert_nothing_taken_by(&self, slot: u32) {
        let taken = self.registry.client(slot).map_or(0, |client| client.taken);
        assert_eq!(taken, 0, "a client's spans are advanced before its subscriptions end");
    }

    /// Drops all of the client's subscriptions. It is inside no frame of a ring.
    fn drop_subscriptions(&mut self, slot: u32) {
        // The due chain first and at once: unlinking each subscription from it would be quadratic.
        let topics = &mut self.topics;
        self.registry.clear_noted(slot, |topic| topics.get_mut(topic).noted -= 1);
        while let Some(subscription) = self.registry.first_of_client(slot) {
            self.drop_subscription(subscription);
        }
    }

    /// Drops one subscription. The client is not inside a frame of it.
    pub(super) fn drop_subscription(&mut self, row: u32) {
        let subscription = self.registry.get(row);
        if subscription.kind.is_pattern() {
            return self.drop_pattern(row);
        }
        let id = subscription.topic;
        let topic = self.topics.get_mut(subscription.topic);
        if subscription.kind == Kind::Passing {
            topic.noted -= u32::from(self.registry.unlink_due(row));
            return self.retire(row);
        }
        let place = self.registry.place_among(&topic.members, subscription.slot);
        topic.members.remove(place.expect("a subscription's client is a member of its topic"));
        topic.release(subscription.encoding());
        topic.noted -= u32::from(self.registry.remove(row));
        self.watch_unheard(id);
    }
}
