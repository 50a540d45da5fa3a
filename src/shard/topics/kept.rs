//! The part of [`Topics`] that a home which keeps journals has of its own: topics as a journal holds them, and publications
//! that are written before they are told.
//!
//! Without: files.

use super::{Home, Rate, Topics};
use crate::hub::{Key, NewPublication, Position, Publication, TopicName};
use crate::reactor::Now;
use crate::shard::mail::{Outbox, Refused, TopicsMax};

impl Topics {
    /// Opens a topic as a journal holds it: empty behind `before`, to be filled by [`Topics::restore`].
    pub(crate) fn reopen(&mut self, name: TopicName, before: Position, now: Now) {
        let topic = self.open(name, before);
        let rate = Rate { window_us: now.monotonic_us, window_offset: before.offset, ..Rate::default() };
        self.homes.insert(topic, Home { rate, kept: true, ..Home::default() });
    }

    /// Appends what a journal holds; nobody is there to be told.
    pub(crate) fn restore(&mut self, name: &TopicName, publication: &Publication) {
        let topic = self.hub.find(name.as_str()).expect("it was reopened");
        self.hub.publish(topic, publication, &mut self.encoder);
    }

    /// Makes a topic stay that is about to be published on, and finds the publication's key.
    pub(crate) fn keep(&mut self, new: &NewPublication, now: Now) -> Result<Option<Key>, Refused> {
        let key = self.setting(&new.topic).key(new).map_err(Refused::Key)?;
        let topic = self.home_topic(&new.topic, now).map_err(|TopicsMax| Refused::TopicsMax)?;
        self.homes.get_mut(&topic).expect("a home topic has its home's part").kept = true;
        Ok(key)
    }

    /// Publishes what is written: it has the offset after the newest.
    pub(crate) fn publish_kept(&mut self, name: &TopicName, publication: &Publication, now: Now, outbox: &mut Outbox) {
        let topic = self.hub.find(name.as_str()).expect("a kept topic stays");
        self.deliver(topic, publication, now, outbox);
    }

    /// The newest position of a topic that is open here.
    pub(crate) fn position(&self, name: &TopicName) -> Option<Position> {
        self.hub.find(name.as_str()).map(|topic| self.hub.position(topic))
    }
}
