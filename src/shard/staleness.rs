//! Topics whose feed is gone, and who was told of it.
//!
//! A topic is stale or not, and a subscription was told so or not: both are states, so no notice is queued, however often a
//! feed comes and goes. A topic that changed has its subscribers walked by slot, a bounded number a turn. Who does not take
//! what it is owed is passed over and looked at once a tick, and told of what holds then.
//!
//! Without: why a feed is gone. Its source says so, by way of each topic's home.
//!
//! Invariant: nobody is sent a publication of a topic whose walk is not over: it is ended first, so that `fresh` stands before
//! what is.

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};

use super::core::Core;
use super::mail::{Mail, Outbox, Place};
use super::topics::Topics;
use crate::dialect::stream::event;
use crate::hub::{TopicId, TopicName};

/// Subscribers told in one turn.
const TOLD_A_TURN: usize = 1024;

/// A shard's stale topics.
#[derive(Default)]
pub(super) struct Staleness {
    /// Since when, milliseconds since 1970.
    since_ms: HashMap<TopicId, u64>,
    /// Subscriptions that were told that their topic is stale, by the client's slot.
    told: HashSet<(u32, TopicId)>,
    /// Topics that changed, and the slot that their walk goes on with.
    walks: VecDeque<(TopicId, u32)>,
    /// Clients that did not take what they are owed.
    passed_over: BTreeSet<u32>,
}

impl Staleness {
    /// The topic's feed is gone since then, or back; `is_heard`: somebody here may be subscribed.
    pub(super) fn set(&mut self, topic: TopicId, since_ms: Option<u64>, is_heard: bool) {
        match since_ms {
            Some(since_ms) => drop(self.since_ms.entry(topic).or_insert(since_ms)),
            None if self.since_ms.remove(&topic).is_none() => return,
            None => {}
        }
        self.walks.retain(|(other, _)| *other != topic);
        self.walks.extend(is_heard.then_some((topic, 0)));
    }

    /// Since when the topic's feed is gone.
    pub(super) fn since_ms(&self, topic: TopicId) -> Option<u64> {
        self.since_ms.get(&topic).copied()
    }

    /// Whether somebody is still to be told, in a turn or a tick to come.
    pub(super) fn is_walking(&self) -> bool {
        !self.walks.is_empty()
    }

    /// Whether somebody was passed over.
    pub(super) fn has_passed_over(&self) -> bool {
        !self.passed_over.is_empty()
    }

    /// The client is not subscribed any more.
    pub(super) fn left(&mut self, slot: u32, topic: TopicId) {
        self.told.remove(&(slot, topic));
    }

    /// The client is not subscribed any more to what a pattern of its own brought, where `has` does not say that it still is.
    pub(super) fn left_pattern(&mut self, slot: u32, has: impl Fn(TopicId) -> bool) {
        self.told.retain(|(other, topic)| *other != slot || has(*topic));
    }

    /// The topic is closed; nobody is subscribed.
    pub(super) fn close(&mut self, topic: TopicId) {
        self.since_ms.remove(&topic);
        self.walks.retain(|(other, _)| *other != topic);
    }
}

impl Topics {
    /// At the home: the feed behind these topics is gone since then, or back. The replicas of a shard are told in one piece.
    pub(crate) fn feed_changed(&mut self, names: &[TopicName], since_ms: Option<u64>, outbox: &mut Outbox) {
        let mut told: HashMap<Place, Vec<u32>> = HashMap::new();
        for topic in names.iter().filter_map(|name| self.hub.find(name.as_str())) {
            // The control thread has topics and no clients.
            self.staleness.set(topic, since_ms, self.place != outbox.post().control());
            let number = topic.index() as u32;
            self.replicas_of(topic).iter().for_each(|&place| told.entry(place).or_default().push(number));
        }
        for (place, numbers) in told {
            outbox.send(place, Mail::ReplicaFeed { home: self.place, numbers, since_ms });
        }
    }
}

impl Core {
    /// The turn's share of walks.
    pub(super) fn tell_of_feeds(&mut self) {
        let mut left = TOLD_A_TURN;
        while left > 0
            && let Some((topic, from)) = self.topics.staleness.walks.pop_front()
        {
            let mut slots = self.topics.hub.member_slots(topic, from);
            slots.truncate(left);
            left -= slots.len();
            if left == 0
                && let Some(last) = slots.last()
            {
                self.topics.staleness.walks.push_front((topic, last + 1));
            }
            slots.into_iter().for_each(|slot| self.tell_of_feed(slot, topic));
        }
        self.metrics.topics_stale.set(self.topics.staleness.since_ms.len() as i64);
    }

    /// Before a publication of this topic: who is to be told of its feed is told first.
    pub(super) fn end_walk_of(&mut self, topic: TopicId) {
        let walks = &mut self.topics.staleness.walks;
        let Some(place) = walks.iter().position(|(other, _)| *other == topic) else { return };
        let (_, from) = walks.remove(place).expect("it was found there");
        let slots = self.topics.hub.member_slots(topic, from);
        slots.into_iter().for_each(|slot| self.tell_of_feed(slot, topic));
    }

    /// Once a tick: those who were passed over.
    pub(super) fn tell_passed_over(&mut self) {
        for slot in std::mem::take(&mut self.topics.staleness.passed_over) {
            self.tell_of_feeds_to(slot);
        }
    }

    /// Whatever a client has not been told yet of its topics' feeds.
    pub(super) fn tell_of_feeds_to(&mut self, slot: u32) {
        let hub = &self.topics.hub;
        let named = hub.subscriptions(slot).map(|(topic, _)| hub.variant_of(topic).map_or(topic, |(parent, _)| parent));
        // What patterns bring is looked at where a feed is stale or was, which few are.
        let Staleness { since_ms, told, .. } = &self.topics.staleness;
        if since_ms.is_empty() && told.is_empty() {
            return;
        }
        let stale = since_ms.keys().copied().filter(|topic| hub.has(slot, *topic));
        let told = told.iter().filter(|(other, _)| *other == slot).map(|(_, topic)| *topic);
        let topics: Vec<TopicId> = named.chain(stale).chain(told).collect();
        topics.into_iter().for_each(|topic| self.tell_of_feed(slot, topic));
    }

    /// Tells a client of its topic's feed, where that is not what it was told last.
    pub(super) fn tell_of_feed(&mut self, slot: u32, topic: TopicId) {
        let staleness = &mut self.topics.staleness;
        let since_ms = staleness.since_ms(topic);
        if since_ms.is_some() == staleness.told.contains(&(slot, topic)) {
            return;
        }
        let Some(client) = self.clients.at(slot).filter(|client| !client.closing && client.session.hears_events()) else {
            return;
        };
        if client.session.is_congested(&self.rules) {
            staleness.passed_over.insert(slot);
            return;
        }
        let (key, name, now_ms) = (client.key, self.topics.hub.name(topic), self.now.unix_us / 1000);
        match since_ms {
            Some(since_ms) => {
                client.session.notify(|out| event::stale(out, name, since_ms));
                staleness.told.insert((slot, topic));
            }
            None => {
                client.session.notify(|out| event::fresh(out, name, now_ms));
                staleness.told.remove(&(slot, topic));
            }
        }
        self.metrics.feed_notices.add(1);
        self.settle(key);
    }
}
