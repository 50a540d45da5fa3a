//! How far clients are behind: what they lack of the topics that they hear, for those who watch over the gateway.
//!
//! Only noted subscriptions are looked at, as every other one lacks nothing; so of a client that keeps up nothing is. Without: what
//! is on its way in sockets, what is kept back by a flush window.

use super::patterns::PatternId;
use super::registry::Rest;
use super::row::{Kind, Mode, Terms};
use super::store::TopicId;
use super::{Held, Hub, Position, TopicName};

/// What is lacking.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lack {
    /// Publications, those that are not held any more among them.
    pub publications: u64,
    /// Bytes of those that are held, as their rings have them. Who is sent the newest of each key only lacks less.
    pub bytes: u64,
    /// When the oldest of these came in, microseconds since 1970.
    pub oldest_unix_us: Option<u64>,
}

impl Lack {
    fn add(&mut self, other: Lack) {
        self.publications += other.publications;
        self.bytes += other.bytes;
        self.oldest_unix_us = self.oldest_unix_us.into_iter().chain(other.oldest_unix_us).min();
    }
}

/// One of a client's subscriptions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscribed {
    /// The topic's name, or the pattern.
    pub subject: Box<str>,
    /// Whether that is a pattern.
    pub is_pattern: bool,
    /// At which rate, in milliseconds; none: each publication.
    pub rate_ms: Option<u32>,
    /// What was asked for.
    pub terms: Terms,
    /// It is sent the newest of each key only, as it cannot keep up.
    pub is_conflated: bool,
    /// Of a topic: how far it is.
    pub position: Option<Position>,
    /// Of a topic: what is lacking.
    pub lack: Lack,
}

impl Hub {
    /// What the client lacks over all its topics.
    #[must_use]
    pub fn lack(&self, slot: u32) -> Lack {
        let mut all = Lack::default();
        self.lacks(slot).for_each(|(_, lack)| all.add(lack));
        if let Some(Rest::Copied(rest)) = self.registry.client(slot).map(|client| &client.rest) {
            all.add(Lack { publications: 1, bytes: rest.unsent().len() as u64, oldest_unix_us: None });
        }
        all
    }

    /// What the client lacks of each topic in which it may lack anything, however it hears it.
    pub fn lacks(&self, slot: u32) -> impl Iterator<Item = (TopicId, Lack)> {
        self.registry.noted(slot).map(move |row| (self.plain(self.registry.get(row).topic).0, self.lack_in(slot, row)))
    }

    fn lack_in(&self, slot: u32, row: u32) -> Lack {
        let subscription = self.registry.get(row);
        let topic = self.topics.get(subscription.topic);
        let Some(encoded) = topic.encoded(subscription.encoding()) else { return Lack::default() };
        let (ring, cursor) = (&encoded.ring, subscription.cursor);
        let (from, next) = (cursor.max(ring.head()), ring.next());
        if from >= next {
            return Lack::default();
        }
        let sent = match self.registry.client(slot).map(|client| &client.rest) {
            Some(Rest::InRing { subscription, sent }) if *subscription == row => u64::from(*sent),
            _ => 0,
        };
        // A variant leaves out offsets: what its ring gave up cannot be counted.
        let given_up = if topic.variant.is_none() { from - cursor } else { 0 };
        let oldest = topic.log().offsets_from(from.clamp(topic.log().head(), topic.log().next())).next();
        Lack {
            publications: given_up + ring.count(from, next),
            bytes: (ring.len_bytes(from, next) as u64).saturating_sub(sent),
            oldest_unix_us: oldest.map(|offset| topic.ingest_us(offset)),
        }
    }

    /// Whether the client hears the topic, by its name or by a pattern.
    #[must_use]
    pub fn hears(&self, slot: u32, topic: &TopicName) -> bool {
        self.subscribed_to(slot).any(|held| match held {
            Held::Topic(id, _) => self.name(id) == topic,
            Held::Pattern(pattern, ..) => pattern.matches(topic.as_str()),
        })
    }

    /// Whether the client's socket takes nothing now.
    #[must_use]
    pub fn is_blocked(&self, slot: u32) -> bool {
        self.registry.due.is_blocked(slot)
    }

    /// How many topics and patterns the client is subscribed to.
    #[must_use]
    pub fn subscription_count(&self, slot: u32) -> usize {
        self.subscribed_to(slot).count()
    }

    /// All that the client is subscribed to, in the order subscribed.
    #[must_use]
    pub fn subscribed(&self, slot: u32) -> Vec<Subscribed> {
        self.registry.of_client(slot).filter_map(|row| self.subscribed_by(slot, row)).collect()
    }

    fn subscribed_by(&self, slot: u32, id: u32) -> Option<Subscribed> {
        let row = self.registry.get(id);
        let lack = if self.registry.is_noted(id) { self.lack_in(slot, id) } else { Lack::default() };
        let (terms, is_conflated) = (row.terms(), row.mode == Mode::Conflated);
        match row.kind {
            Kind::Passing => None,
            Kind::Name => {
                let (of, rate_ms) = self.plain(row.topic);
                let (subject, position) = (self.name(of).as_str().into(), Some(self.position_in(slot, id)));
                Some(Subscribed { subject, is_pattern: false, rate_ms, terms, is_conflated, position, lack })
            }
            Kind::Pattern | Kind::PatternWithLast => {
                let pattern = self.patterns.get(PatternId::of_row(row.topic));
                let (subject, rate_ms) = (pattern.pattern.as_str().into(), pattern.rate_ms);
                Some(Subscribed { subject, is_pattern: true, rate_ms, terms, is_conflated, position: None, lack })
            }
        }
    }
}
