//! Replies to requests: JSON text without a frame, `{"result":R,"id":I}` or `{"error":{...},"id":I}`; and `{"ack":N}`.
//!
//! Without: which reply a request gets.

use super::options::Lasting;
use super::request_id::RequestId;
use crate::dialect::{ClientError, json};
use crate::hub::{Pattern, Position, TopicName};

/// Done; there is nothing to tell.
pub fn null(out: &mut Vec<u8>, id: &RequestId) {
    result(out, id, |out| out.extend_from_slice(b"null"));
}

/// What SUBSCRIBE came to for one stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subscribed {
    /// One topic.
    Topic {
        /// Which.
        topic: TopicName,
        /// Its newest position at that moment.
        position: Position,
        /// Where `since` was given: whether all after it follows.
        recovered: Option<bool>,
    },
    /// All topics that match.
    Pattern {
        /// Which.
        pattern: Pattern,
        /// How many those are at that moment.
        topics: u32,
    },
}

/// SUBSCRIBE with an option: each stream, in the order asked.
pub fn subscribed(out: &mut Vec<u8>, id: &RequestId, streams: &[Subscribed]) {
    result(out, id, |out| {
        list(out, streams, |out, stream| {
            out.extend_from_slice(b"{\"stream\":");
            match stream {
                Subscribed::Topic { topic, position, recovered } => {
                    push_text(out, topic.as_str());
                    out.push(b',');
                    push_position(out, *position);
                    match recovered {
                        Some(true) => out.extend_from_slice(b",\"recovered\":true"),
                        Some(false) => out.extend_from_slice(b",\"recovered\":false"),
                        None => {}
                    }
                }
                Subscribed::Pattern { pattern, topics } => {
                    push_text(out, pattern.as_str());
                    out.extend_from_slice(b",\"topics\":");
                    json::push_number(out, (*topics).into());
                }
            }
            out.push(b'}');
        });
    });
}

/// LIST_SUBSCRIPTIONS: the streams in the order subscribed, with the options that last.
pub fn subscriptions<'t>(out: &mut Vec<u8>, id: &RequestId, streams: impl IntoIterator<Item = (&'t str, Lasting)>) {
    result(out, id, |out| {
        list(out, streams, |out, (subject, lasting)| {
            out.push(b'"');
            out.extend_from_slice(subject.as_bytes());
            lasting.push(out);
            out.push(b'"');
        });
    });
}

/// POSITIONS: how far the connection is in each topic.
pub fn positions<'t>(out: &mut Vec<u8>, id: &RequestId, positions: impl IntoIterator<Item = (&'t TopicName, Position)>) {
    result(out, id, |out| {
        list(out, positions, |out, (topic, position)| {
            out.extend_from_slice(b"{\"stream\":");
            push_text(out, topic.as_str());
            out.push(b',');
            push_position(out, position);
            out.push(b'}');
        });
    });
}

/// GET_PROPERTY: its value.
pub fn property(out: &mut Vec<u8>, id: &RequestId, value: bool) {
    result(out, id, |out| out.extend_from_slice(if value { b"true" } else { b"false" }));
}

/// PUBLISH: the publication's position.
pub fn published(out: &mut Vec<u8>, id: &RequestId, position: Position) {
    result(out, id, |out| {
        out.push(b'{');
        push_position(out, position);
        out.push(b'}');
    });
}

/// PING: milliseconds since 1970.
pub fn time(out: &mut Vec<u8>, id: &RequestId, unix_ms: u64) {
    result(out, id, |out| {
        out.extend_from_slice(b"{\"time\":");
        json::push_number(out, unix_ms);
        out.push(b'}');
    });
}

/// To a publisher that asked for it: so many of its messages were taken.
pub fn taken(out: &mut Vec<u8>, count: u64) {
    out.extend_from_slice(b"{\"ack\":");
    json::push_number(out, count);
    out.push(b'}');
}

/// The request failed.
pub fn error(out: &mut Vec<u8>, id: &RequestId, error: &ClientError) {
    error.push_member(out, b'{');
    end(out, id);
}

fn result(out: &mut Vec<u8>, id: &RequestId, push: impl FnOnce(&mut Vec<u8>)) {
    out.extend_from_slice(b"{\"result\":");
    push(out);
    end(out, id);
}

fn end(out: &mut Vec<u8>, id: &RequestId) {
    out.extend_from_slice(b",\"id\":");
    id.push(out);
    out.push(b'}');
}

fn list<T>(out: &mut Vec<u8>, items: impl IntoIterator<Item = T>, mut push: impl FnMut(&mut Vec<u8>, T)) {
    let mut before = b'[';
    for item in items {
        out.push(before);
        push(out, item);
        before = b',';
    }
    if before == b'[' {
        out.push(b'[');
    }
    out.push(b']');
}

/// No character that a topic or a pattern may hold is escaped in JSON.
fn push_text(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    out.extend_from_slice(text.as_bytes());
    out.push(b'"');
}

fn push_position(out: &mut Vec<u8>, position: Position) {
    out.extend_from_slice(b"\"epoch\":\"");
    out.extend_from_slice(position.epoch.as_str().as_bytes());
    out.extend_from_slice(b"\",\"offset\":");
    json::push_number(out, position.offset);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::ErrorCode;
    use crate::hub::Epoch;

    #[track_caller]
    fn check(push: impl FnOnce(&mut Vec<u8>), expected: &str) {
        let mut out = Vec::new();
        push(&mut out);
        assert_eq!(std::str::from_utf8(&out), Ok(expected));
        serde_json::from_slice::<serde_json::Value>(&out).expect("a reply is JSON");
    }

    fn topic(name: &str) -> TopicName {
        TopicName::parse(name).expect("the test's topic is one")
    }

    #[test]
    fn success_is_a_result_with_the_id() {
        let (a, b) = (topic("a"), topic("b@c"));
        let at = |offset| Position { epoch: Epoch::from_number(36), offset };
        let id = &RequestId::NULL;
        check(|out| null(out, id), r#"{"result":null,"id":null}"#);
        check(
            |out| {
                let entry = |topic: &TopicName, offset, recovered| Subscribed::Topic {
                    topic: topic.clone(),
                    position: at(offset),
                    recovered,
                };
                let pattern = Subscribed::Pattern { pattern: Pattern::parse("a.>").expect("it is one"), topics: 7 };
                subscribed(out, id, &[entry(&a, 0, None), entry(&b, 1 << 32, Some(true)), entry(&b, 3, Some(false)), pattern]);
            },
            concat!(
                r#"{"result":[{"stream":"a","epoch":"10","offset":0},"#,
                r#"{"stream":"b@c","epoch":"10","offset":4294967296,"recovered":true},"#,
                r#"{"stream":"b@c","epoch":"10","offset":3,"recovered":false},"#,
                r#"{"stream":"a.>","topics":7}],"id":null}"#
            ),
        );
        check(|out| positions(out, id, [(&a, at(7))]), r#"{"result":[{"stream":"a","epoch":"10","offset":7}],"id":null}"#);
        check(|out| positions(out, id, []), r#"{"result":[],"id":null}"#);
        let lasting = Lasting { rate_ms: Some(1000), slow: Some(crate::config::Slow::Drop), timed: true };
        check(
            |out| subscriptions(out, id, [(b.as_str(), Lasting::default()), (a.as_str(), lasting)]),
            r#"{"result":["b@c","a;rate=1000ms;slow=drop;ts=1"],"id":null}"#,
        );
        check(|out| subscriptions(out, id, []), r#"{"result":[],"id":null}"#);
        check(|out| property(out, id, true), r#"{"result":true,"id":null}"#);
        check(|out| property(out, id, false), r#"{"result":false,"id":null}"#);
        check(|out| published(out, id, at(1)), r#"{"result":{"epoch":"10","offset":1},"id":null}"#);
        check(|out| time(out, id, 1_700_000_000_000), r#"{"result":{"time":1700000000000},"id":null}"#);
    }

    #[test]
    fn failure_is_an_error_with_code_message_and_the_id() {
        let wrong = ClientError::new(ErrorCode::TooManyRequests, "slow \"down\"");
        check(|out| error(out, &RequestId::NULL, &wrong), r#"{"error":{"code":8,"msg":"slow \"down\""},"id":null}"#);
    }

    #[test]
    fn the_first_key_says_what_a_message_is() {
        let wrong = ClientError::new(ErrorCode::Internal, "");
        check(|out| error(out, &RequestId::NULL, &wrong), r#"{"error":{"code":10,"msg":""},"id":null}"#);
        check(|out| super::super::event::server_shutdown(out, 5, 1000), r#"{"e":"serverShutdown","E":5,"in":1000}"#);
    }
}
