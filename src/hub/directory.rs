//! The open topics of a hub, by number and by name.
//!
//! Without: what a topic keeps.

use std::collections::HashMap;
use std::sync::Arc;

use super::epochs::Epochs;
use super::ring::Ring;
use super::store::{Topic, TopicId, TopicSettings};
use super::topic::TopicName;
use super::variant::Variant;

/// The open topics, by number and by name.
#[derive(Debug, Default)]
pub(super) struct Topics {
    /// Boxed, so that growing moves one word a topic.
    topics: Vec<Option<Box<Topic>>>,
    free: Vec<u32>,
    names: HashMap<TopicName, TopicId>,
}

impl Topics {
    pub(super) fn find(&self, name: &str) -> Option<TopicId> {
        self.names.get(name).copied()
    }

    pub(super) fn open(&mut self, name: TopicName, settings: Arc<TopicSettings>, epochs: Epochs, newest: u64) -> TopicId {
        let topic = Some(Box::new(Topic::new(name.clone(), settings, epochs, newest)));
        let id = self.put(topic);
        let before = self.names.insert(name, id);
        assert_eq!(before, None, "a topic is open once");
        id
    }

    fn put(&mut self, topic: Option<Box<Topic>>) -> TopicId {
        match self.free.pop() {
            Some(free) => {
                self.topics[free as usize] = topic;
                TopicId(free)
            }
            None => {
                self.topics.push(topic);
                TopicId(u32::try_from(self.topics.len() - 1).expect("a shard's memory ends before four billion topics"))
            }
        }
    }

    /// Opens a rate variant of a topic; it is found by its number only.
    pub(super) fn open_variant(&mut self, parent: TopicId, rate_ms: u32) -> TopicId {
        let of = self.get_mut(parent);
        of.varied = true;
        let (ring, next) = (of.settings.ring, of.log().next());
        let mut variant = Topic::new(of.name.clone(), of.settings.clone(), of.epochs.clone(), next - 1);
        variant.stamp = of.stamp;
        variant.variant = Some(Box::new(Variant::new(parent, rate_ms)));
        variant.log.ring = Ring::sparse(next, ring);
        self.put(Some(Box::new(variant)))
    }

    pub(super) fn close(&mut self, id: TopicId) {
        let topic = self.topics[id.index()].take().expect("only an open topic is closed");
        assert!(topic.rows() == 0, "a topic with members stays open");
        if topic.variant.is_none() {
            self.names.remove(&topic.name);
        }
        self.free.push(id.0);
    }

    pub(super) fn get(&self, id: TopicId) -> &Topic {
        self.topics[id.index()].as_deref().expect("a topic in use is open")
    }

    pub(super) fn get_mut(&mut self, id: TopicId) -> &mut Topic {
        self.topics[id.index()].as_deref_mut().expect("a topic in use is open")
    }

    pub(super) fn count(&self) -> usize {
        self.names.len()
    }

    /// One more than the highest number given out so far.
    pub(super) fn numbers(&self) -> u32 {
        self.topics.len() as u32
    }

    /// Whether a topic of this number is open that has a name.
    pub(super) fn is_open(&self, id: TopicId) -> bool {
        let topic = self.topics.get(id.index()).and_then(Option::as_ref);
        topic.is_some_and(|topic| topic.variant.is_none())
    }

    pub(super) fn ids(&self) -> impl Iterator<Item = TopicId> {
        self.topics
            .iter()
            .enumerate()
            .filter(|(_, topic)| topic.as_ref().is_some_and(|topic| topic.variant.is_none()))
            .map(|(index, _)| TopicId(index as u32))
    }
}
