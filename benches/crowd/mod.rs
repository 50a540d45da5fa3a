//! A hub with clients, for the benches: publishing and visits without sockets.
//!
//! Without: what an envelope costs, which is the dialect's, and the sends.

use std::hint::black_box;
use std::sync::Arc;

use bytes::Bytes;
use tidegate::hub::{
    Encoder, Encoding, Epoch, Hub, Marks, Payload, PayloadKind, Position, Publication, RingLimits, Span, Start, Terms, TopicId,
    TopicName, TopicSettings, Visiting,
};

/// Header and payload in every encoding: what the envelope costs is the dialect's to measure.
struct HeaderOnly;

impl Encoder for HeaderOnly {
    fn encode(&mut self, _: Encoding, _: &str, _: Position, publication: &Publication, out: &mut Vec<u8>) {
        let payload = &publication.payload.bytes;
        out.extend_from_slice(&[0x81, 126]);
        out.extend_from_slice(&(payload.len() as u16).to_be_bytes());
        out.extend_from_slice(payload);
    }
}

/// A shard's hub whose clients each hold `topics_each` of the topics, as if each had chosen them itself.
pub(crate) struct Crowd {
    hub: Hub,
    topics: Vec<TopicId>,
    publication: Publication,
    spans: Vec<Span>,
}

impl Crowd {
    /// `topics_each` must be at most `topics`.
    pub(crate) fn new(clients: u32, topics: u32, topics_each: u32) -> Crowd {
        let mut hub = Hub::new(1 << 20);
        let ring = RingLimits { publications: 4096, bytes: 1 << 20, age_ms: 0 };
        let settings = Arc::new(TopicSettings {
            ring,
            slow_lag_bytes: 1 << 16,
            slow_lag_ms: 500,
            slow_default: tidegate::config::Slow::Close,
            keyed: false,
            keys_max: 1,
        });
        let position = Position { epoch: Epoch::from_number(1), offset: 0 };
        let name = |number: u32| TopicName::parse(&format!("topic.{number}")).expect("a valid name");
        let topics: Vec<TopicId> = (0..topics).map(|number| hub.open(name(number), settings.clone(), position)).collect();
        for client in 0..clients {
            for choice in 0..topics_each {
                // Multiplying by an odd number spreads the choices without repeating one.
                let topic = topics[(client.wrapping_mul(2_654_435_761) as usize + choice as usize) % topics.len()];
                hub.subscribe(client, topic, Encoding::Raw, Terms::default(), Start::Live, &mut HeaderOnly)
                    .expect("a first subscription");
            }
        }
        let payload = Payload { bytes: Bytes::from_static(&[b'x'; 128]), kind: PayloadKind::Text };
        Crowd {
            hub,
            topics,
            publication: Publication { offset: 0, unix_us: 1, payload, marks: Marks::default() },
            spans: Vec::new(),
        }
    }

    /// Publishes 128 bytes on the topic of this number.
    pub(crate) fn publish(&mut self, topic: usize) {
        let topic = self.topics[topic];
        self.publication.offset = self.hub.position(topic).offset + 1;
        self.hub.publish(topic, &self.publication, &mut HeaderOnly);
    }

    /// Visits all who are due, in slot order; gives how many.
    pub(crate) fn sweep(&mut self) -> u64 {
        let (mut visits, mut slot) = (0, 0);
        while let Some(due) = self.hub.due().next_from(slot) {
            let visiting = Visiting { bytes_max: 1 << 16, unix_us: 1, tells: true };
            self.hub.take_due(due, visiting, &mut HeaderOnly, &mut self.spans, &mut Vec::new()).expect("no one lags");
            for span in self.spans.drain(..) {
                black_box(self.hub.resolve(&span));
                self.hub.advance(due, &span, span.bytes());
            }
            visits += 1;
            slot = due + 1;
        }
        visits
    }
}
