//! After each operation: what can be asked of the hub, against the naive twin.

use super::super::*;
use super::patterns::TwinPattern;
use super::{ALL_ENCODINGS, Pair, TOPICS, TwinClient, TwinRest, slot};

impl Pair {
    /// A ring that somebody reads is there. A row that a pattern brought keeps its ring until the visit that finds nothing in it.
    pub(super) fn drop_unused(&mut self) {
        for (number, topic) in self.topics.iter_mut().enumerate() {
            for encoding in ALL_ENCODINGS.into_iter().filter(|encoding| *encoding != Encoding::Raw) {
                let is_made = self.hub.encodings(self.ids[number]).any(|made| made == encoding);
                let has = |client: &TwinClient| client.queues.iter().any(|(of, _)| *of == number);
                assert!(is_made || !self.clients.iter().any(|client| client.encoding == encoding && has(client)));
                if !is_made {
                    topic.held[encoding as usize] = None;
                }
            }
        }
    }

    /// All that can be asked of the hub is as in the twin.
    pub(super) fn compare(&mut self) {
        for (number, (topic, id)) in self.topics.iter().zip(&self.ids).enumerate() {
            let named = self.clients.iter().filter(|client| client.named.contains(&number)).count();
            let matches = |pattern: &&TwinPattern| Pattern::parse(pattern.text).expect("it is one").matches(&topic.name);
            let heard = self.clients.iter().flat_map(|client| &client.patterns).filter(matches).count();
            assert_eq!((self.hub.members_by_name(*id), self.hub.members(*id)), (named, named + heard));
            assert_eq!(self.hub.find(&topic.name), Some(*id));
            assert_eq!((self.hub.newest(*id), self.hub.position(*id)), (topic.newest(), topic.at(topic.newest())));
            assert_eq!(self.hub.state(*id).first(), topic.published.last());
        }
        for (number, client) in self.clients.iter().enumerate() {
            let slot = slot(number);
            let in_ring = client.rest.as_ref().and_then(|rest| rest.in_ring);
            let expected = client.named.iter().map(|topic| {
                let (_, queue) = client.queues.iter().find(|(of, _)| of == topic).expect("who named a topic has a queue");
                let next = queue.front().map_or(self.topics[*topic].newest() + 1, |(offset, _)| *offset);
                let torn = in_ring.filter(|(of, _)| of == topic).map(|(_, offset)| offset);
                (*topic, torn.unwrap_or(next), torn.unwrap_or(next - 1))
            });
            let expected: Vec<(usize, u64, u64)> = expected.collect();
            let cursors = expected.iter().map(|(topic, next, _)| (self.ids[*topic], *next));
            assert!(self.hub.subscriptions(slot).eq(cursors), "client {number}'s cursors");
            let positions = expected.iter().map(|(topic, _, sent)| (self.ids[*topic], self.topics[*topic].at(*sent)));
            assert!(self.hub.positions(slot).eq(positions), "client {number}'s positions");
            let place = |rest: &TwinRest| if rest.in_ring.is_some() { TornPlace::Ring } else { TornPlace::Copied };
            let torn = client.rest.as_ref().map(|rest| TornRest { bytes: rest.bytes.len(), place: place(rest) });
            assert_eq!(self.hub.torn(slot), torn, "client {number}'s rest");
            let fell: Vec<TopicId> =
                (0..TOPICS).filter(|topic| self.has_fallen(number, *topic)).map(|topic| self.ids[topic]).collect();
            match self.hub.fallen(slot, true) {
                Some(topic) => assert!(fell.contains(&topic)),
                None => assert!(fell.is_empty()),
            }
            assert_eq!(self.hub.is_behind(slot), client.is_behind());
            let (queued, rest) = (|| client.queues.iter().flat_map(|(_, queue)| queue), client.rest.as_ref());
            let lack = self.hub.lack(slot);
            assert_eq!(lack.publications, queued().count() as u64 + rest.map_or(0, |_| 1), "client {number} lacks");
            let bytes = queued().map(|(_, frame)| frame.len()).sum::<usize>() + rest.map_or(0, |rest| rest.bytes.len());
            assert!(
                lack.bytes == bytes as u64 || !fell.is_empty() && lack.bytes < bytes as u64,
                "client {number} lacks {lack:?}"
            );
            assert!(self.hub.due().is_wanting(slot) || !client.is_behind(), "who lacks something is marked");
        }
        let copied = self.clients.iter().filter_map(|client| client.rest.as_ref()).map(|rest| rest.copied);
        assert_eq!(self.hub.torn_bytes(), copied.sum::<usize>());
        assert!(self.hub.torn_bytes() <= self.torn_bytes_max);
    }
}
