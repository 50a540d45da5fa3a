//! Heartbeats: once a second, for each topic of a client with the property that was quiet meanwhile.
//!
//! One timer a shard. What was published is seen by the topics' offsets, so publishing costs nothing; a topic's frame is
//! made once a beat and copied for each who hears it. A beat walks the clients with the property, a bounded number a turn.
//!
//! Invariant: who lacks anything of a topic, or has not taken what it is owed, hears no heartbeat: it would say more than the
//! client has.

use std::collections::{BTreeSet, HashMap};

use super::core::Core;
use crate::dialect::ClientError;
use crate::dialect::ErrorCode;
use crate::dialect::stream::{RequestId, event};
use crate::hub::TopicId;
use crate::reactor::ClientKey;
use crate::ws::frame;

/// Most topics of one client with the property (docs/protocol.md).
pub(super) const TOPICS_MAX: usize = 100;

/// Between two beats.
const BEAT_US: u64 = 1_000_000;

/// Clients looked at in one turn, each with at most [`TOPICS_MAX`] topics.
const CLIENTS_A_TURN: usize = 64;

/// A shard's heartbeats.
#[derive(Default)]
pub(super) struct Heartbeats {
    /// Slots of clients with the property.
    clients: BTreeSet<u32>,
    /// When the next beat is; 0 where nobody asked for any.
    due_us: u64,
    /// The slot that the beat under way goes on with.
    walking: Option<u32>,
    /// Of topics that were looked at in the beat before.
    before: HashMap<TopicId, u64>,
    /// Of topics that were looked at in this one.
    topics: HashMap<TopicId, Beat>,
}

/// A topic in one beat.
struct Beat {
    /// The number of its newest publication.
    newest: u64,
    /// The frame; none: it was not quiet, or nobody knows.
    frame: Option<Box<[u8]>>,
}

impl Heartbeats {
    /// When the next beat is, where somebody hears it.
    pub(super) fn next_us(&self) -> Option<u64> {
        (!self.clients.is_empty()).then_some(self.due_us)
    }

    /// Whether a beat is under way.
    pub(super) fn is_walking(&self) -> bool {
        self.walking.is_some()
    }

    /// The client is gone.
    pub(super) fn left(&mut self, slot: u32) {
        self.clients.remove(&slot);
    }

    /// A topic is closed; its number may be another's.
    pub(super) fn close(&mut self, topic: TopicId) {
        self.before.remove(&topic);
        self.topics.remove(&topic);
    }
}

impl Core {
    /// SET_PROPERTY of `heartbeat`.
    pub(super) fn set_heartbeat(&mut self, key: ClientKey, id: &RequestId, value: bool) {
        let count = self.topics.hub.subscriptions(key.slot).count();
        if value && count > TOPICS_MAX {
            return self.fail(key, Some(id), &too_many(count));
        }
        let heartbeats = &mut self.topics.heartbeats;
        if value {
            if heartbeats.clients.is_empty() {
                heartbeats.due_us = self.now.monotonic_us + BEAT_US;
            }
            heartbeats.clients.insert(key.slot);
        } else {
            heartbeats.clients.remove(&key.slot);
        }
        let client = self.clients.get(key).expect("effects come from clients that are there");
        client.session.set_heartbeat(id, value);
    }

    /// Whether a client may have so many topics.
    pub(super) fn check_heartbeat(&self, key: ClientKey, topics: usize) -> Result<(), ClientError> {
        let beats = self.topics.heartbeats.clients.contains(&key.slot);
        if beats && topics > TOPICS_MAX { Err(too_many(topics)) } else { Ok(()) }
    }

    /// Begins a beat that is due, and does a turn's share of the one under way.
    pub(super) fn beat(&mut self) {
        let now_us = self.now.monotonic_us;
        let heartbeats = &mut self.topics.heartbeats;
        if heartbeats.walking.is_none() && heartbeats.next_us().is_some_and(|due_us| due_us <= now_us) {
            heartbeats.before = heartbeats.topics.drain().map(|(topic, beat)| (topic, beat.newest)).collect();
            // A shard that was late does not beat twice at once.
            heartbeats.due_us = (heartbeats.due_us + BEAT_US).max(now_us + BEAT_US / 2);
            heartbeats.walking = Some(0);
        }
        let Some(from) = self.topics.heartbeats.walking else { return };
        let slots: Vec<u32> = self.topics.heartbeats.clients.range(from..).take(CLIENTS_A_TURN).copied().collect();
        self.topics.heartbeats.walking = (slots.len() == CLIENTS_A_TURN).then(|| slots[CLIENTS_A_TURN - 1] + 1);
        slots.into_iter().for_each(|slot| self.beat_for(slot));
    }

    fn beat_for(&mut self, slot: u32) {
        let subscriptions: Vec<(TopicId, u64)> = self.topics.hub.subscriptions(slot).collect();
        for &(topic, _) in &subscriptions {
            self.look_at(topic);
        }
        let Some(client) = self.clients.at(slot).filter(|client| !client.closing && client.session.owed().is_empty()) else {
            return;
        };
        let (key, hub, beats) = (client.key, &self.topics.hub, &self.topics.heartbeats.topics);
        let mut told = 0;
        for (topic, cursor) in subscriptions {
            let Beat { newest, frame } = &beats[&topic];
            // A beat may take several turns. The cursor is the first that was not wholly sent.
            let still = hub.newest(topic) == *newest && cursor > *newest;
            if let Some(frame) = frame.as_ref().filter(|_| still) {
                client.session.notify_frame(frame);
                told += 1;
            }
        }
        if told > 0 {
            self.metrics.heartbeats.add(told);
            self.settle(key);
        }
    }

    /// Makes the topic's frame for this beat, once, where it was quiet since the one before.
    fn look_at(&mut self, topic: TopicId) {
        let heartbeats = &mut self.topics.heartbeats;
        if heartbeats.topics.contains_key(&topic) {
            return;
        }
        let (position, newest) = (self.topics.hub.position(topic), self.topics.hub.newest(topic));
        let quiet = heartbeats.before.get(&topic) == Some(&newest);
        let frame = quiet.then(|| {
            let (mut json, mut bytes) = (Vec::new(), Vec::new());
            event::heartbeat(&mut json, self.topics.hub.name(topic), self.now.unix_us / 1000, position);
            frame::write(&mut bytes, frame::Opcode::Text, &json, None);
            bytes.into()
        });
        heartbeats.topics.insert(topic, Beat { newest, frame });
    }
}

fn too_many(topics: usize) -> ClientError {
    let message = format!("with the property `heartbeat` a connection holds at most {TOPICS_MAX} topics, not {topics}");
    ClientError::new(ErrorCode::Limit, message)
}
