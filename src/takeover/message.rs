//! The messages as bytes: their length, their kind, what they hold.
//!
//! | kind | holds |
//! | --- | --- |
//! | 0 | a [`Word`], JSON |
//! | 1 | a [`TopicHead`], JSON; its publications follow |
//! | 2 | a publication, as a journal's record |
//! | 3 | to the new gateway: number (8), topic (1 and n), record |
//! | 4 | to the old one: topic (1 and n), epoch (1 and n), record with its offset there |

use serde::{Deserialize, Serialize};

use crate::admission::Revocation;
use crate::hub::{Epoch, KeyError, NewPublication, Position, Publication, TopicName};
use crate::journal::format::{self, Entry, Parsed};
use crate::shard::mail::NotPublished;

/// Of what is said; only gateways of the same one understand each other.
pub const VERSION: u16 = 2;
/// No message is longer: the largest publication that can be configured, and what stands around it.
pub const MESSAGE_BYTES_MAX: usize = (64 << 20) + 4096;

const WORD: u8 = 0;
const TOPIC: u8 = 1;
const PUBLICATION: u8 = 2;
const FORWARD: u8 = 3;
const TOLD: u8 = 4;

/// One thing said.
#[derive(Clone, Debug, PartialEq)]
pub enum Message {
    /// What needs no publication.
    Word(Word),
    /// A topic, in the file that goes along.
    Topic(TopicHead),
    /// A publication of the topic before it, in the same file: its offset is its number there.
    Publication(Publication),
    /// To the new gateway: publish this.
    Forward {
        /// For the answer.
        id: u64,
        /// What is published.
        publication: NewPublication,
    },
    /// To the old gateway: this was published.
    Told {
        /// On which topic.
        topic: TopicName,
        /// In which of its epochs.
        epoch: Epoch,
        /// With its offset there.
        publication: Publication,
    },
}

/// What is said in words; those of the handover in this order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Word {
    /// The new gateway begins.
    Hello {
        /// [`VERSION`].
        version: u16,
    },
    /// The old one does not give its place up.
    Refused {
        /// In a sentence.
        why: String,
    },
    /// The old one's listening sockets, which go along; several times where there are many.
    Sockets {
        /// What each is for.
        sides: Vec<Side>,
        /// More come.
        more: bool,
    },
    /// The new one can serve; the old one holds its publishers back now.
    Ready,
    /// The old one's topics go along, in a file; its journal's lock too, if it has one.
    State {
        /// The file's length.
        bytes: u64,
        /// The lock goes along.
        lock: bool,
    },
    /// The new one gives offsets from now on. Before this the old one goes on if the new one dies; behind it, it does not.
    Taken,
    /// The new one accepts.
    Accepting,
    /// The answer to [`Message::Forward`].
    Answer {
        /// To which.
        id: u64,
        /// Its position, or why it has none.
        result: Result<(String, u64), Refusal>,
    },
    /// These tokens are good no more. In the file, and afterwards from either gateway to the other.
    Revoked(Revocation),
    /// In the file: what a feed was; several times where it has many topics.
    Feed(FeedHead),
    /// To the old one: the feed behind these topics is gone since then (milliseconds since 1970), or back.
    Stale {
        /// Which.
        topics: Vec<String>,
        /// Since when; none: it is back.
        since_ms: Option<u64>,
    },
}

/// Who connects to a listening socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Side {
    /// Clients.
    Clients,
    /// The operator.
    Admin,
}

/// [`NotPublished`] in words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Refusal {
    /// See there.
    TopicsMax,
    /// See there.
    Journal,
    /// See there.
    Gone,
    /// With the key's bytes.
    Key(u64),
}

/// A topic, without its publications.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TopicHead {
    /// Its name.
    pub name: String,
    /// Its epochs, oldest first, each with the number before its first publication.
    pub epochs: Vec<(String, u64)>,
    /// There were older ones, that are forgotten.
    pub cut: bool,
    /// The number of its newest publication.
    pub newest: u64,
    /// How many publications follow that are the newest of their key and older than those of the ring.
    pub kept: u64,
    /// Which of the ring's are the newest of their key, by number.
    pub state: Vec<u64>,
    /// How many of the ring follow those.
    pub log: u64,
}

/// A feed, which the new gateway runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FeedHead {
    /// What it is called.
    pub name: String,
    /// Topics that it brought something of, by name.
    pub topics: Vec<String>,
    /// When it brought something last, milliseconds since 1970.
    pub heard_ms: u64,
    /// Its subscribers were told that it is gone.
    pub gone: bool,
}

/// What is no message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// Too long.
    #[error("a message of {0} bytes, more than any has")]
    Length(usize),
    /// Not to be read.
    #[error("a message that cannot be read: is the other gateway of another release?")]
    Form,
}

impl Message {
    /// Appends it.
    pub fn put(&self, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(&[0; 4]);
        match self {
            Message::Word(word) => put_json(WORD, word, out),
            Message::Topic(head) => put_json(TOPIC, head, out),
            Message::Publication(publication) => {
                out.push(PUBLICATION);
                format::put_publication(publication, out);
            }
            Message::Forward { id, publication } => {
                out.push(FORWARD);
                out.extend_from_slice(&id.to_le_bytes());
                put_text(publication.topic.as_str(), out);
                let NewPublication { payload, marks, .. } = publication.clone();
                format::put_publication(&Publication { offset: 0, unix_us: 0, payload, marks }, out);
            }
            Message::Told { topic, epoch, publication } => {
                out.push(TOLD);
                put_text(topic.as_str(), out);
                put_text(epoch.as_str(), out);
                format::put_publication(publication, out);
            }
        }
        let length = u32::try_from(out.len() - start - 4).expect("a message is far below 4 GiB");
        out[start..start + 4].copy_from_slice(&length.to_le_bytes());
    }

    /// The first message of these bytes, with its length; none where more bytes are needed.
    ///
    /// # Errors
    /// [`Fault`].
    pub fn read(bytes: &[u8]) -> Result<Option<(Message, usize)>, Fault> {
        let Some((length, rest)) = bytes.split_first_chunk() else { return Ok(None) };
        let length = u32::from_le_bytes(*length) as usize;
        if length > MESSAGE_BYTES_MAX {
            return Err(Fault::Length(length));
        }
        let Some(message) = rest.get(..length) else { return Ok(None) };
        let message = parse(message).ok_or(Fault::Form)?;
        Ok(Some((message, 4 + length)))
    }
}

fn put_json(kind: u8, value: &impl Serialize, out: &mut Vec<u8>) {
    out.push(kind);
    serde_json::to_writer(out, value).expect("what is said can be written");
}

/// Names and epochs, which are short.
fn put_text(text: &str, out: &mut Vec<u8>) {
    out.push(u8::try_from(text.len()).expect("topics and epochs are short"));
    out.extend_from_slice(text.as_bytes());
}

fn parse(message: &[u8]) -> Option<Message> {
    let (kind, body) = message.split_first()?;
    Some(match *kind {
        WORD => Message::Word(serde_json::from_slice(body).ok()?),
        TOPIC => Message::Topic(serde_json::from_slice(body).ok()?),
        PUBLICATION => Message::Publication(record(body)?),
        FORWARD => {
            let (id, rest) = body.split_first_chunk()?;
            let (topic, rest) = text(rest)?;
            let Publication { payload, marks, .. } = record(rest)?;
            let publication = NewPublication { topic: TopicName::parse(topic).ok()?, payload, marks };
            Message::Forward { id: u64::from_le_bytes(*id), publication }
        }
        TOLD => {
            let (topic, rest) = text(body)?;
            let (epoch, rest) = text(rest)?;
            let (topic, epoch) = (TopicName::parse(topic).ok()?, Epoch::parse(epoch)?);
            Message::Told { topic, epoch, publication: record(rest)? }
        }
        _ => return None,
    })
}

fn text(bytes: &[u8]) -> Option<(&str, &[u8])> {
    let (length, rest) = bytes.split_first()?;
    let (text, rest) = rest.split_at_checked(usize::from(*length))?;
    Some((std::str::from_utf8(text).ok()?, rest))
}

fn record(bytes: &[u8]) -> Option<Publication> {
    match format::record(bytes) {
        Ok(Parsed::Whole((_, Entry::Publication(publication)), length)) if length == bytes.len() => Some(publication),
        _ => None,
    }
}

impl From<NotPublished> for Refusal {
    fn from(why: NotPublished) -> Refusal {
        match why {
            NotPublished::TopicsMax => Refusal::TopicsMax,
            NotPublished::Journal => Refusal::Journal,
            NotPublished::Gone => Refusal::Gone,
            NotPublished::Key(KeyError { bytes }) => Refusal::Key(bytes as u64),
        }
    }
}

impl From<Refusal> for NotPublished {
    fn from(why: Refusal) -> NotPublished {
        match why {
            Refusal::TopicsMax => NotPublished::TopicsMax,
            Refusal::Journal => NotPublished::Journal,
            Refusal::Gone => NotPublished::Gone,
            Refusal::Key(bytes) => NotPublished::Key(KeyError { bytes: bytes as usize }),
        }
    }
}

impl Word {
    /// The answer to a [`Message::Forward`].
    #[must_use]
    pub fn answer(id: u64, result: Result<Position, NotPublished>) -> Word {
        let result = result.map(|Position { epoch, offset }| (epoch.as_str().to_owned(), offset));
        Word::Answer { id, result: result.map_err(Refusal::from) }
    }
}
