//! What is published: a payload, and the position that it gets.
//!
//! Without: topics' rings, encodings, clients.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

use super::topic::TopicName;

/// What was published: bytes that nobody changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Payload {
    /// The bytes as published.
    pub bytes: Bytes,
    /// How they travel.
    pub kind: PayloadKind,
}

/// How a payload travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PayloadKind {
    /// UTF-8 text that is JSON (RFC 8259), judged once when it was published.
    Json,
    /// Other UTF-8 text.
    Text,
    /// Bytes.
    Binary,
}

/// Longest key in bytes.
pub const KEY_BYTES_MAX: usize = 255;

/// Which of its topic's things a publication tells of: in a `state` topic it replaces the one before with the same key. Cheap to
/// clone, shared between threads.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key(Arc<str>);

/// A text of more than [`KEY_BYTES_MAX`] bytes, or an empty one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a key holds 1 to 255 bytes, this one has {bytes}")]
pub struct KeyError {
    /// How many it has.
    pub bytes: usize,
}

impl Key {
    /// Checks and takes a key.
    ///
    /// # Errors
    /// [`KeyError`].
    pub fn parse(text: &str) -> Result<Key, KeyError> {
        if (1..=KEY_BYTES_MAX).contains(&text.len()) { Ok(Key(text.into())) } else { Err(KeyError { bytes: text.len() }) }
    }

    /// As text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The feed itself lost messages: right before the publication that bears this. Our offsets have no hole there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SourceGap {
    /// How many; none: nobody knows.
    pub messages: Option<u64>,
}

/// What a publication says beside its payload.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Marks {
    /// Of which key it is.
    pub key: Option<Key>,
    /// It takes its key out of the snapshot: an empty publication that `last` no longer gives.
    pub removes: bool,
    /// What the feed lost before it.
    pub gap: Option<SourceGap>,
    /// The epoch that begins with it; the home alone says so.
    pub begins: Option<Box<Epoch>>,
}

/// A publication in its topic's order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Publication {
    /// From 1 up, without holes, below 2^53: its number within the gateway, through all epochs of its topic
    /// ([`Epochs`](super::Epochs)); in a journal's record, its offset.
    pub offset: u64,
    /// Ingest time, microseconds since 1970.
    pub unix_us: u64,
    /// What was published.
    pub payload: Payload,
    /// What it says beside that.
    pub marks: Marks,
}

/// A publication that has no position yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewPublication {
    /// Its topic.
    pub topic: TopicName,
    /// What is published.
    pub payload: Payload,
    /// What it says beside that. A topic's own `key` finds the key in the payload, whatever stands here.
    pub marks: Marks,
}

impl NewPublication {
    /// A plain publication.
    #[must_use]
    pub fn new(topic: TopicName, payload: Payload) -> NewPublication {
        NewPublication { topic, payload, marks: Marks::default() }
    }
}

/// Names a run of offsets: `[0-9a-z]{1,16}`, new whenever a topic's count starts anew.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Epoch {
    /// Zeros behind the last.
    digits: [u8; 16],
}

impl Epoch {
    /// The epoch for a topic made at this moment: the number in base 36.
    #[must_use]
    pub fn from_number(mut number: u64) -> Epoch {
        let mut reversed = [0u8; 16];
        let mut len = 0usize;
        loop {
            let digit = (number % 36) as u8;
            reversed[len] = if digit < 10 { b'0' + digit } else { b'a' + digit - 10 };
            len += 1;
            number /= 36;
            if number == 0 {
                break;
            }
        }
        let mut digits = [0u8; 16];
        for (to, from) in digits.iter_mut().zip(reversed[..len].iter().rev()) {
            *to = *from;
        }
        Epoch { digits }
    }

    /// Reads an epoch; `None` where it is not `[0-9a-z]{1,16}`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Epoch> {
        let bytes = text.as_bytes();
        let valid = (1..=16).contains(&bytes.len()) && bytes.iter().all(|b| b.is_ascii_digit() || b.is_ascii_lowercase());
        if !valid {
            return None;
        }
        let mut digits = [0u8; 16];
        digits[..bytes.len()].copy_from_slice(bytes);
        Some(Epoch { digits })
    }

    /// As text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        let len = self.digits.iter().position(|digit| *digit == 0).unwrap_or(self.digits.len());
        std::str::from_utf8(&self.digits[..len]).expect("an epoch is made of ASCII digits and letters")
    }
}

impl fmt::Debug for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Epoch and offset: one publication of a topic for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// Which count.
    pub epoch: Epoch,
    /// Which publication; 0: before the first.
    pub offset: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn epochs_are_base_36_and_parse_back() {
        for (number, text) in [(0, "0"), (35, "z"), (36, "10"), (u64::MAX, "3w5e11264sgsf")] {
            let epoch = Epoch::from_number(number);
            assert_eq!(epoch.as_str(), text);
            assert_eq!(Epoch::parse(text), Some(epoch));
        }
        for wrong in ["", "A", "0123456789abcdefg", "a b"] {
            assert_eq!(Epoch::parse(wrong), None, "{wrong:?}");
        }
    }
}
