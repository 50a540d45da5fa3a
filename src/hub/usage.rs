//! What a topic takes: its rings, its keys, how it is heard. For those who watch over the gateway.

use super::patterns::PatternId;
use super::store::{Encoded, TopicId};
use super::{Encoding, Hub};

/// One ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RingUse {
    /// What its frames are.
    pub encoding: Encoding,
    /// Of a rate variant: its interval in milliseconds.
    pub rate_ms: Option<u32>,
    /// Publications held.
    pub publications: u64,
    /// Bytes of their frames.
    pub bytes: u64,
    /// Memory that it takes, bytes.
    pub capacity_bytes: u64,
    /// Most bytes of frames.
    pub bytes_max: u32,
    /// Most publications.
    pub publications_max: u32,
}

/// How many subscriptions of a topic there are, by how they hear it. A client that has it by several counts for each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hearers {
    /// They name it and hear each publication.
    pub by_name: u64,
    /// They name it at a rate: milliseconds, and how many.
    pub by_rate: Vec<(u32, u64)>,
    /// Patterns that match it, at whatever rate.
    pub by_pattern: u64,
}

impl Hub {
    /// The topic's rings, and those of its rate variants.
    #[must_use]
    pub fn rings(&self, id: TopicId) -> Vec<RingUse> {
        let mut rings = self.rings_of(id, None);
        for &(rate_ms, variant) in self.variants(id) {
            rings.extend(self.rings_of(variant, Some(rate_ms)));
        }
        rings
    }

    fn rings_of(&self, id: TopicId, rate_ms: Option<u32>) -> Vec<RingUse> {
        let topic = self.topics.get(id);
        let ring_use = |encoded: &Encoded| {
            let (ring, limits) = (&encoded.ring, encoded.ring.limits());
            RingUse {
                encoding: encoded.encoding,
                rate_ms,
                publications: ring.held() as u64,
                bytes: ring.len_bytes(ring.head(), ring.next()) as u64,
                capacity_bytes: ring.capacity_bytes() as u64,
                bytes_max: limits.bytes,
                publications_max: limits.publications,
            }
        };
        (0..topic.encodings()).filter_map(|number| topic.encoded(topic.encoding(number))).map(ring_use).collect()
    }

    /// Who hears the topic.
    #[must_use]
    pub fn hearers(&self, id: TopicId) -> Hearers {
        let by_name = self.topics.get(id).members.len() as u64;
        let of_rate = |&(rate_ms, variant): &(u32, TopicId)| (rate_ms, self.topics.get(variant).members.len() as u64);
        let by_rate = self.variants(id).iter().map(of_rate).filter(|(_, count)| *count > 0).collect();
        let members = |id: PatternId| self.patterns.get(id).members.len() as u64;
        let by_pattern = self.patterns.matching(self.name(id).as_str()).into_iter().map(members).sum();
        Hearers { by_name, by_rate, by_pattern }
    }

    /// How many keys the topic's newest publications are kept of; none where it has none.
    #[must_use]
    pub fn keys(&self, id: TopicId) -> Option<u64> {
        self.topics.get(id).newest.as_ref().filter(|newest| !newest.is_keyless()).map(|newest| newest.keys())
    }
}
