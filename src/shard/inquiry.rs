//! What those who watch over the gateway ask a shard, and what it answers.
//!
//! Without: how a shard finds it out; how it is written down.

use std::cmp::Ordering;
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use ipnet::IpNet;

use super::mail::Place;
use crate::hub::{Hearers, Position, RingUse, Subscribed, TopicName};
use crate::session::Standing;
use crate::ws::CloseCode;

/// Names one connection of this process: its shard, its place there, and which of the shard's clients it is. So the next client at
/// the place has another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId {
    /// Its shard.
    pub shard: Place,
    /// Its place there.
    pub slot: u32,
    /// Which of the shard's clients it is, counted from the shard's start.
    pub number: u32,
}

impl fmt::Display for ConnectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}-{}", self.shard, self.slot, self.number)
    }
}

/// Not three numbers with `-` between.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a connection is named by three numbers, as 0-17-4711")]
pub struct ConnectionIdError;

impl FromStr for ConnectionId {
    type Err = ConnectionIdError;

    fn from_str(text: &str) -> Result<ConnectionId, ConnectionIdError> {
        let mut parts = text.split('-');
        let mut next = || parts.next().filter(|part| part.bytes().all(|byte| byte.is_ascii_digit())).ok_or(ConnectionIdError);
        let (shard, slot, number) = (next()?, next()?, next()?);
        if parts.next().is_some() {
            return Err(ConnectionIdError);
        }
        let parsed = (shard.parse(), slot.parse(), number.parse());
        let (Ok(shard), Ok(slot), Ok(number)) = parsed else { return Err(ConnectionIdError) };
        Ok(ConnectionId { shard, slot, number })
    }
}

/// Asked of one shard; answered with one [`Finding`] of the same name.
#[derive(Clone, Debug)]
pub enum Inquiry {
    /// Some clients.
    Connections {
        /// From this slot on.
        from: u32,
        /// Which.
        filter: Filter,
        /// At most so many.
        count_max: usize,
    },
    /// All of one client.
    Connection(ConnectionId),
    /// Ends a client.
    Disconnect {
        /// Which.
        id: ConnectionId,
        /// What it is told, where it has a WebSocket.
        code: CloseCode,
        /// And why.
        reason: Box<str>,
    },
    /// All of a topic.
    Topic(TopicName),
    /// Who is the furthest behind.
    Slow {
        /// At most so many clients by each measure, and topics.
        count_max: usize,
    },
}

/// Which clients are asked for: those to whom all that is said applies.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Their address is one of these.
    pub network: Option<IpNet>,
    /// They hear this topic, by its name or by a pattern.
    pub topic: Option<TopicName>,
    /// What they are.
    pub standing: Option<Standing>,
    /// Their token is this one's.
    pub subject: Option<Box<str>>,
    /// They lack so many bytes or more.
    pub lag_bytes_min: u64,
    /// What they lack is so old or older.
    pub lag_ms_min: u64,
    /// They have been here for so long or longer.
    pub age_ms_min: u64,
}

/// What a shard found.
#[derive(Clone, Debug)]
pub enum Finding {
    /// Clients in the order of their slots.
    Connections {
        /// Those that were asked for.
        rows: Vec<ConnectionRow>,
        /// Where to go on, if this is not all.
        next: Option<u32>,
    },
    /// None: it is gone.
    Connection(Option<Box<ConnectionDetail>>),
    /// Whether it was there.
    Disconnect(bool),
    /// None: the shard does not know it.
    Topic(Option<Box<TopicPart>>),
    /// Who is the furthest behind.
    Slow(Box<Slow>),
}

/// A client, as it is listed.
#[derive(Clone, Debug, PartialEq)]
pub struct ConnectionRow {
    /// Names it.
    pub id: ConnectionId,
    /// Where it comes from: its connection's other end, or whom a trusted proxy speaks for.
    pub address: IpAddr,
    /// Its port, where that is known.
    pub port: Option<u16>,
    /// Index of the listener that it came by.
    pub listener: u16,
    /// What it is.
    pub standing: Standing,
    /// Whose token it has shown.
    pub subject: Option<Box<str>>,
    /// Whether it speaks TLS with us.
    pub tls: bool,
    /// What names the request by which it came.
    pub request_id: String,
    /// Since when it is connected, milliseconds since 1970; exact to a twentieth of a second.
    pub since_ms: u64,
    /// Bytes that came from it, as they came.
    pub received_bytes: u64,
    /// Bytes that the kernel took for it, as they went.
    pub sent_bytes: u64,
    /// Topics and patterns that it is subscribed to.
    pub subscriptions: u32,
    /// What it lacks.
    pub lag: RowLag,
    /// Replies, events and ciphertext that wait to be sent to it.
    pub owed_bytes: u64,
    /// For how long its socket has taken nothing, if it takes nothing now.
    pub stalled_ms: Option<u32>,
}

/// What a client or a subscription lacks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RowLag {
    /// Publications.
    pub publications: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// How long ago the oldest came in.
    pub age_ms: u64,
}

impl RowLag {
    /// The worse of each.
    pub fn join(&mut self, other: RowLag) {
        self.publications = self.publications.max(other.publications);
        self.bytes = self.bytes.max(other.bytes);
        self.age_ms = self.age_ms.max(other.age_ms);
    }
}

/// A client with its subscriptions.
#[derive(Clone, Debug, PartialEq)]
pub struct ConnectionDetail {
    /// As it is listed.
    pub row: ConnectionRow,
    /// In the order subscribed, each with what it lacks.
    pub subscriptions: Vec<(RowLag, Subscribed)>,
}

/// What one place knows of a topic.
#[derive(Clone, Debug, PartialEq)]
pub struct TopicPart {
    /// The newest position here.
    pub position: Position,
    /// At its home: publications a second.
    pub rate: Option<f32>,
    /// At its home: where else it is kept.
    pub replicas: Vec<Place>,
    /// Who hears it here.
    pub hearers: Hearers,
    /// Its rings here.
    pub rings: Vec<RingUse>,
    /// Keys whose newest publication is kept.
    pub keys: Option<u64>,
    /// Since when its feed is gone, milliseconds since 1970.
    pub stale_since_ms: Option<u64>,
    /// At its home: how its journal is, if it has one.
    pub journal: Option<JournalState>,
}

/// How a topic's journal is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JournalState {
    /// The last write failed.
    pub is_failing: bool,
    /// What is published is delivered without it.
    pub is_left: bool,
    /// Publications that wait to be written, or are being written.
    pub waiting: u64,
}

/// Who is the furthest behind on a shard.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Slow {
    /// Clients that lack the most bytes, and those that lack what is the oldest.
    pub connections: Vec<ConnectionRow>,
    /// Topics of which a client lacks the most bytes.
    pub topics: Vec<SlowTopic>,
}

/// A topic that some clients are behind in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlowTopic {
    /// Which.
    pub topic: TopicName,
    /// Clients that are behind in it.
    pub connections: u64,
    /// What the one that is the furthest behind lacks.
    pub worst: RowLag,
}

impl SlowTopic {
    /// Takes in what another shard found of the same topic.
    pub fn join(&mut self, other: &SlowTopic) {
        self.connections += other.connections;
        self.worst.join(other.worst);
    }

    /// The order in which they are told.
    #[must_use]
    pub fn worst_first(&self, other: &SlowTopic) -> Ordering {
        let order = other.worst.bytes.cmp(&self.worst.bytes);
        order.then(other.worst.age_ms.cmp(&self.worst.age_ms)).then_with(|| self.topic.cmp(&other.topic))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_id_is_read_as_it_is_written_and_nothing_else_is() {
        let id = ConnectionId { shard: 3, slot: 17, number: u32::MAX };
        assert_eq!(id.to_string().parse(), Ok(id));
        for wrong in
            ["", "1", "1-2", "1-2-3-4", "-1-2", "1-2-", "1--2", "+1-2-3", "70000-2-3", "1-2-4294967296", "a-b-c", "1-2-3 "]
        {
            assert_eq!(wrong.parse::<ConnectionId>(), Err(ConnectionIdError), "{wrong:?}");
        }
    }
}
