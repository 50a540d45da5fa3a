//! What is published: a payload, and the position that it gets.
//!
//! Without: topics' rings, encodings, clients.

use std::fmt;

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

/// A publication in its topic's order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Publication {
    /// From 1 up, without holes, below 2^53.
    pub offset: u64,
    /// Ingest time, microseconds since 1970.
    pub unix_us: u64,
    /// What was published.
    pub payload: Payload,
}

/// A publication that has no position yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewPublication {
    /// Its topic.
    pub topic: TopicName,
    /// What is published.
    pub payload: Payload,
}

/// Names a run of offsets: `[0-9a-z]{1,16}`, new whenever a topic's count starts anew.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Epoch {
    digits: [u8; 16],
    len: u8,
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
        Epoch { digits, len: len as u8 }
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
        Some(Epoch { digits, len: bytes.len() as u8 })
    }

    /// As text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.digits[..usize::from(self.len)]).expect("an epoch is made of ASCII digits and letters")
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
