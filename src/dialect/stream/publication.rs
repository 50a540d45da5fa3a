//! A publisher's message on `/publish`: what a combined connection gives out, taken in again.
//!
//! Without: offset and time, which the topic's home gives anew.
//!
//! A message in the very form that is given out (envelope without spaces, `data` last) is taken byte for byte, white space
//! around its payload included. Any other JSON object is taken too, if `stream` is its first member and `data` stands in it
//! once; there, white space around `data` is the object's, not the payload's.

use std::fmt;

use serde::Deserialize;
use serde::de::{self, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::encoder::{BINARY_LAYOUT, TIME_FOLLOWS};
use super::options::publishable;
use super::request::{Text, bad_request};
use crate::dialect::{ClientError, json};
use crate::hub::{PayloadKind, TopicName};

/// A publisher's message as it came.
#[derive(Clone, Copy, Debug)]
pub enum PublisherMessage<'m> {
    /// From text frames: UTF-8.
    Text(&'m [u8]),
    /// From binary frames.
    Binary(&'m [u8]),
}

/// What a publisher's message publishes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Published<'m> {
    /// On this topic.
    pub topic: TopicName,
    /// JSON or binary: a text that is not JSON came as a JSON string and is one now.
    pub kind: PayloadKind,
    /// The part of the message that is the payload.
    pub payload: &'m [u8],
}

/// Reads a publisher's message that names its topic.
///
/// # Errors
/// Error 1 where the message has neither form, error 3 where its topic is none.
pub fn publication(message: PublisherMessage<'_>) -> Result<Published<'_>, ClientError> {
    match message {
        PublisherMessage::Text(text) => match as_given_out(text) {
            Some((topic, payload)) => Ok(Published { topic: publishable(topic)?, kind: PayloadKind::Json, payload }),
            None => object(text),
        },
        PublisherMessage::Binary(bytes) => binary(bytes),
    }
}

/// The envelope as the encoder writes it, with `"t":<time>` before `data` or without.
fn as_given_out(text: &[u8]) -> Option<(&str, &[u8])> {
    let rest = text.strip_prefix(b"{\"stream\":\"")?;
    let (topic, rest) = rest.split_at(memchr::memchr(b'"', rest)?);
    let topic = std::str::from_utf8(topic).ok().filter(|topic| !topic.contains('\\'))?;
    let rest = number(rest.strip_prefix(b"\"")?, b",\"o\":")?;
    let rest = number(rest, b",\"t\":").unwrap_or(rest);
    let payload = rest.strip_prefix(b",\"data\":")?.strip_suffix(b"}")?;
    (json::payload_kind(payload) == PayloadKind::Json).then_some((topic, payload))
}

/// What follows a number with its key.
fn number<'m>(text: &'m [u8], key: &[u8]) -> Option<&'m [u8]> {
    let rest = text.strip_prefix(key)?;
    let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    (digits > 0).then(|| &rest[digits..])
}

fn object(text: &[u8]) -> Result<Published<'_>, ClientError> {
    let members: Members<'_> = serde_json::from_slice(text).map_err(|error| {
        if error.is_data() {
            return bad_request(EXPECTED);
        }
        bad_request(format!("the message is not JSON: {error}"))
    })?;
    let (topic, data) = (members.stream.0, members.data.get().as_bytes());
    Ok(Published { topic: publishable(&topic)?, kind: PayloadKind::Json, payload: data })
}

const EXPECTED: &str = "a publication is {\"stream\":\"<topic>\",\"data\":<payload>}, `stream` first and each of them once";

struct Members<'m> {
    stream: Text<'m>,
    data: &'m RawValue,
}

#[derive(Deserialize)]
#[serde(field_identifier, rename_all = "lowercase")]
enum Member {
    Stream,
    Data,
    #[serde(other)]
    Other,
}

impl<'m> Deserialize<'m> for Members<'m> {
    fn deserialize<D: Deserializer<'m>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(MembersVisitor)
    }
}

struct MembersVisitor;

impl<'m> Visitor<'m> for MembersVisitor {
    type Value = Members<'m>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a publication")
    }

    fn visit_map<A: MapAccess<'m>>(self, mut map: A) -> Result<Members<'m>, A::Error> {
        // The first key says what a message is: a reply or an event that a combined connection gave out is no publication.
        let Some(Member::Stream) = map.next_key()? else { return Err(de::Error::custom("`stream` is not first")) };
        let stream = map.next_value()?;
        let mut data = None;
        while let Some(member) = map.next_key()? {
            match member {
                Member::Stream => return Err(de::Error::custom("`stream` stands there twice")),
                Member::Data if data.is_some() => return Err(de::Error::custom("`data` stands there twice")),
                Member::Data => data = Some(map.next_value()?),
                Member::Other => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        let data = data.ok_or_else(|| de::Error::missing_field("data"))?;
        Ok(Members { stream, data })
    }
}

fn binary(bytes: &[u8]) -> Result<Published<'_>, ClientError> {
    let short = || bad_request("a binary publication ends inside its own header (layout, flags, length, topic, offset, time)");
    let ([layout, flags, high, low], rest) = bytes.split_first_chunk().ok_or_else(short)?;
    if *layout != BINARY_LAYOUT {
        return Err(bad_request(format!("a binary publication begins with its layout, 1, not {layout}")));
    }
    if flags & !TIME_FOLLOWS != 0 {
        return Err(bad_request(format!("a binary publication's flags are 0 or 1 (time follows), not {flags}")));
    }
    let topic_bytes = usize::from(u16::from_be_bytes([*high, *low]));
    let (topic, rest) = rest.split_at_checked(topic_bytes).ok_or_else(short)?;
    let numbers_bytes = if *flags == TIME_FOLLOWS { 16 } else { 8 };
    let payload = rest.get(numbers_bytes..).ok_or_else(short)?;
    let topic = std::str::from_utf8(topic).map_err(|_| bad_request("a binary publication's topic is not UTF-8"))?;
    Ok(Published { topic: publishable(topic)?, kind: PayloadKind::Binary, payload })
}

#[cfg(test)]
mod tests;
