//! A subscriber's text message: `{"method":M,"params":P,"id":I}`.
//!
//! Without: the connection it came on. The message's size is bounded before it comes here (64 KiB by default).
//!
//! A request is read in passes that never recurse: its members are cut out as they stand, then each is read for what its
//! method needs. Members that the protocol does not name are ignored; one that it names and that stands there twice is
//! refused, as nobody can know which was meant.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{self, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::options::{Stream, publishable, subject_of, topic_of};
use super::request_id::RequestId;
use crate::dialect::{ClientError, ErrorCode, quoted};
use crate::hub::{Key, Subject, TopicName};

/// What a client asks, and the id that its reply bears.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request<'m> {
    /// Returned as given.
    pub id: RequestId,
    /// What is asked.
    pub command: Command<'m>,
}

/// A message that is not a request that can be answered with success.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The request's id; null where it cannot be read.
    pub id: RequestId,
    /// What is wrong.
    pub error: ClientError,
}

/// What a client asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command<'m> {
    /// Hear these, all or none. Never empty.
    Subscribe(Vec<Stream>),
    /// Hear these no more, all or none. Never empty.
    Unsubscribe(Vec<Subject>),
    /// Name what is subscribed.
    ListSubscriptions,
    /// Tell how far this connection is, in all its topics or in these.
    Positions(Option<Vec<TopicName>>),
    /// Change how this connection is spoken to.
    SetProperty(Property, bool),
    /// Tell how this connection is spoken to.
    GetProperty(Property),
    /// Publish one payload.
    Publish {
        /// On this topic.
        topic: TopicName,
        /// JSON, the bytes as they stand in the request.
        data: &'m [u8],
        /// Of this key.
        key: Option<Key>,
    },
    /// Show a token: from now on its rights hold.
    Auth(Cow<'m, str>),
    /// Tell the time.
    Ping,
}

/// How a connection is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Property {
    /// Publications come in an envelope.
    Combined,
    /// Events come on a raw connection too.
    Events,
    /// Quiet topics are told of, each second.
    Heartbeat,
}

/// Reads a request.
///
/// # Errors
/// What the client is told instead. Not JSON, not an object, or no readable id: error 1 with a null id.
pub fn request(message: &[u8]) -> Result<Request<'_>, Failure> {
    let members: Members<'_> =
        serde_json::from_slice(message).map_err(|error| Failure { id: RequestId::NULL, error: unreadable(&error) })?;
    let id = members.id().map_err(|error| Failure { id: RequestId::NULL, error })?;
    match members.command() {
        Ok(command) => Ok(Request { id, command }),
        Err(error) => Err(Failure { id, error }),
    }
}

/// The request's members as they stand.
#[derive(Default)]
struct Members<'m> {
    method: Option<&'m RawValue>,
    params: Option<&'m RawValue>,
    id: Option<&'m RawValue>,
    twice: Option<Member>,
}

#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(field_identifier, rename_all = "lowercase")]
enum Member {
    Method,
    Params,
    Id,
    #[serde(other)]
    Other,
}

impl<'m> Members<'m> {
    fn id(&self) -> Result<RequestId, ClientError> {
        if self.twice == Some(Member::Id) {
            return Err(bad_request("`id` stands in the request twice"));
        }
        let Some(id) = self.id else { return Ok(RequestId::NULL) };
        RequestId::read(id)
            .ok_or_else(|| bad_request("`id` must be an integer of 64 bits, a string of at most 36 bytes, or null"))
    }

    fn command(&self) -> Result<Command<'m>, ClientError> {
        match self.twice {
            Some(Member::Method) => return Err(bad_request("`method` stands in the request twice")),
            Some(Member::Params) => return Err(bad_request("`params` stands in the request twice")),
            _ => {}
        }
        let method = self.method.ok_or_else(|| bad_request("the request has no `method`"))?;
        let method: Text<'_> = serde_json::from_str(method.get()).map_err(|_| bad_request("`method` must be a string"))?;
        let params = self.params.filter(|params| params.get() != "null");
        match &*method.0 {
            "SUBSCRIBE" => Ok(Command::Subscribe(list("SUBSCRIBE", "streams", params, Stream::parse)?)),
            "UNSUBSCRIBE" => Ok(Command::Unsubscribe(list("UNSUBSCRIBE", "topics", params, subject_of)?)),
            "LIST_SUBSCRIPTIONS" => none("LIST_SUBSCRIPTIONS", params).map(|()| Command::ListSubscriptions),
            "POSITIONS" => positions(params),
            "SET_PROPERTY" => set_property(params),
            "GET_PROPERTY" => get_property(params),
            "PUBLISH" => publish(params),
            "PING" => none("PING", params).map(|()| Command::Ping),
            "AUTH" => auth(params),
            unknown => Err(ClientError::new(ErrorCode::UnknownMethod, format!("there is no method {}", quoted(unknown)))),
        }
    }
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
        f.write_str("a request")
    }

    fn visit_map<A: MapAccess<'m>>(self, mut map: A) -> Result<Members<'m>, A::Error> {
        let mut members = Members::default();
        while let Some(member) = map.next_key::<Member>()? {
            let place = match member {
                Member::Method => &mut members.method,
                Member::Params => &mut members.params,
                Member::Id => &mut members.id,
                Member::Other => {
                    map.next_value::<IgnoredAny>()?;
                    continue;
                }
            };
            // An id that is not readable outranks the rest, as it decides whom the error is told to.
            if place.replace(map.next_value()?).is_some() && members.twice != Some(Member::Id) {
                members.twice = Some(member);
            }
        }
        Ok(members)
    }
}

/// A string, borrowed where it has no escapes.
#[derive(Deserialize)]
pub(super) struct Text<'m>(#[serde(borrow)] pub(super) Cow<'m, str>);

fn positions(params: Option<&RawValue>) -> Result<Command<'static>, ClientError> {
    let Some(params) = params else { return Ok(Command::Positions(None)) };
    let topics = texts(params, topic_of)?
        .map_err(|()| bad_request("`params` of POSITIONS must be a list of topics, or absent for all that are subscribed"))?;
    Ok(Command::Positions(Some(topics)))
}

fn set_property(params: Option<&RawValue>) -> Result<Command<'static>, ClientError> {
    let (name, value): (Text<'_>, bool) = params
        .and_then(|params| serde_json::from_str(params.get()).ok())
        .ok_or_else(|| bad_request("`params` of SET_PROPERTY must be a property and true or false, as in [\"combined\",true]"))?;
    Ok(Command::SetProperty(property(&name.0)?, value))
}

fn get_property(params: Option<&RawValue>) -> Result<Command<'static>, ClientError> {
    let (name,): (Text<'_>,) = params
        .and_then(|params| serde_json::from_str(params.get()).ok())
        .ok_or_else(|| bad_request("`params` of GET_PROPERTY must be one property, as in [\"combined\"]"))?;
    Ok(Command::GetProperty(property(&name.0)?))
}

fn property(name: &str) -> Result<Property, ClientError> {
    match name {
        "combined" => Ok(Property::Combined),
        "events" => Ok(Property::Events),
        "heartbeat" => Ok(Property::Heartbeat),
        _ => Err(bad_request(format!("there is no property {}; there are `combined`, `events` and `heartbeat`", quoted(name)))),
    }
}

fn publish<'m>(params: Option<&'m RawValue>) -> Result<Command<'m>, ClientError> {
    let params = params.map_or("null", RawValue::get);
    let without_key = serde_json::from_str::<(Text<'m>, &'m RawValue)>(params).map(|(topic, data)| (topic, data, None));
    let with_key = || serde_json::from_str::<(Text<'m>, &'m RawValue, Text<'m>)>(params);
    let read = without_key.or_else(|_| with_key().map(|(topic, data, key)| (topic, data, Some(key))));
    let (topic, data, key) = read.map_err(|_| {
        bad_request("`params` of PUBLISH must be a topic, data and perhaps a key, as in [\"topic\",{\"price\":1},\"key\"]")
    })?;
    let key = key.map(|key| Key::parse(&key.0).map_err(|error| bad_request(format!("key {}: {error}", quoted(&key.0)))));
    Ok(Command::Publish { topic: publishable(&topic.0)?, data: data.get().as_bytes(), key: key.transpose()? })
}

fn auth<'m>(params: Option<&'m RawValue>) -> Result<Command<'m>, ClientError> {
    // What is wrong is not repeated: a token may be in it.
    let (token,): (Text<'m>,) = params
        .and_then(|params| serde_json::from_str(params.get()).ok())
        .ok_or_else(|| bad_request("`params` of AUTH must be one token, as in [\"eyJhbGciOi...\"]"))?;
    Ok(Command::Auth(token.0))
}

/// The method takes nothing; an empty list is nothing too, as some clients always send one.
fn none(method: &str, params: Option<&RawValue>) -> Result<(), ClientError> {
    match params {
        None => Ok(()),
        Some(params) if serde_json::from_str::<[IgnoredAny; 0]>(params.get()).is_ok() => Ok(()),
        Some(_) => Err(bad_request(format!("{method} takes no `params`"))),
    }
}

/// A list that is not empty.
fn list<T>(
    method: &str,
    of: &str,
    params: Option<&RawValue>,
    read: impl FnMut(&str) -> Result<T, ClientError>,
) -> Result<Vec<T>, ClientError> {
    let wrong = || bad_request(format!("`params` of {method} must be a list of {of}, at least one"));
    let items = texts(params.ok_or_else(wrong)?, read)?.map_err(|()| wrong())?;
    if items.is_empty() { Err(wrong()) } else { Ok(items) }
}

/// Reads a list of strings, each by `read`, and stops at the first that is wrong. The inner error: it is no such list.
fn texts<T>(list: &RawValue, read: impl FnMut(&str) -> Result<T, ClientError>) -> Result<Result<Vec<T>, ()>, ClientError> {
    let mut wrong = None;
    let visitor = TextsVisitor { read, wrong: &mut wrong };
    let items = serde_json::Deserializer::from_str(list.get()).deserialize_seq(visitor);
    match wrong {
        Some(error) => Err(error),
        None => Ok(items.map_err(|_| ())),
    }
}

struct TextsVisitor<'w, F> {
    read: F,
    wrong: &'w mut Option<ClientError>,
}

impl<'m, T, F: FnMut(&str) -> Result<T, ClientError>> Visitor<'m> for TextsVisitor<'_, F> {
    type Value = Vec<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of strings")
    }

    fn visit_seq<A: SeqAccess<'m>>(mut self, mut seq: A) -> Result<Vec<T>, A::Error> {
        let mut items = Vec::new();
        while let Some(text) = seq.next_element::<Text<'m>>()? {
            match (self.read)(&text.0) {
                Ok(item) => items.push(item),
                Err(error) => {
                    *self.wrong = Some(error);
                    return Err(de::Error::custom("the list has a wrong item"));
                }
            }
        }
        Ok(items)
    }
}

/// Serde's own words repeat what they found, however long; so they are only used for where JSON ends to be JSON.
fn unreadable(error: &serde_json::Error) -> ClientError {
    if error.is_data() {
        return bad_request("a request is a JSON object, as in {\"method\":\"PING\",\"id\":1}");
    }
    bad_request(format!("the message is not JSON: {error}"))
}

pub(super) fn bad_request(message: impl Into<String>) -> ClientError {
    ClientError::new(ErrorCode::BadRequest, message)
}

#[cfg(test)]
mod tests;
