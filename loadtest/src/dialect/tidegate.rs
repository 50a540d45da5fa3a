//! The gateway's own dialect, from its specification: `/ws` and SUBSCRIBE for one topic, `/stream` and SUBSCRIBE for several, whose
//! publications come in an envelope that names them; a publisher of many topics on `/publish`.

use std::io;

use super::{Dialect, Heard, Part};
use crate::link::Outgoing;
use crate::url::Url;

pub(super) struct Tidegate;

/// What a publication's envelope begins with.
const ENVELOPE: &[u8] = b"{\"stream\":\"";
const DATA: &[u8] = b",\"data\":";

impl Dialect for Tidegate {
    fn url(&self, url: &Url, part: Part<'_>) -> io::Result<Url> {
        Ok(url.with_target(match part {
            Part::Subscriber([_]) => String::from("/ws"),
            Part::Subscriber(_) => String::from("/stream"),
            Part::Publisher([topic]) => format!("/publish/{topic}"),
            Part::Publisher(_) => String::from("/publish"),
        }))
    }

    fn greet(&self, part: Part<'_>, out: &mut Outgoing<'_>) -> bool {
        let Part::Subscriber(topics) = part else { return true };
        let params = serde_json::to_string(topics).expect("strings are JSON");
        out.text(format!("{{\"method\":\"SUBSCRIBE\",\"params\":{params},\"id\":1}}").as_bytes());
        false
    }

    fn publish(&self, topic: &str, is_only: bool, payload: &[u8], out: &mut Outgoing<'_>) {
        if is_only {
            out.text(payload);
        } else {
            out.text(&[ENVELOPE, topic.as_bytes(), b"\"", DATA, payload, b"}"].concat());
        }
    }

    /// The reply to SUBSCRIBE came.
    fn is_between(&self, held: &[u8]) -> bool {
        !held.is_empty()
    }

    fn hear(
        &self,
        message: &[u8],
        held: &mut Vec<u8>,
        _: &mut Outgoing<'_>,
        each: &mut dyn FnMut(Heard<'_>) -> io::Result<()>,
    ) -> io::Result<()> {
        // The reply to SUBSCRIBE is the first message; after it a raw payload may look like anything.
        if held.is_empty() {
            if message.starts_with(b"{\"result\":") {
                held.push(1);
                return each(Heard::Ready);
            }
            if message.starts_with(b"{\"error\":") {
                return Err(io::Error::other(format!("the server refuses a subscription: {}", message.escape_ascii())));
            }
        }
        each(match unwrap(message) {
            Some((topic, payload)) => Heard::Publication { topic: Some(topic), payload },
            None => Heard::Publication { topic: None, payload: message },
        })
    }
}

/// Topic and payload of `{"stream":"<topic>","o":<offset>,"data":<payload>}`, where it is one.
fn unwrap(message: &[u8]) -> Option<(&[u8], &[u8])> {
    let rest = message.strip_prefix(ENVELOPE)?;
    let (topic, rest) = rest.split_at(rest.iter().position(|byte| *byte == b'"')?);
    let rest = rest.strip_prefix(b"\",\"o\":")?;
    let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let payload = rest[digits..].strip_prefix(DATA)?.strip_suffix(b"}")?;
    (digits > 0).then_some((topic, payload))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_envelope_is_taken_off_and_anything_else_is_a_payload() {
        let message = br#"{"stream":"demo.load3","o":17,"data":{"n":1}}"#;
        assert_eq!(unwrap(message), Some((&b"demo.load3"[..], &br#"{"n":1}"#[..])));
        for other in [&br#"{"n":1}"#[..], br#"{"stream":"a","data":1}"#, br#"{"stream":"a","o":,"data":1}"#, br#"{"stream":"a"#] {
            assert_eq!(unwrap(other), None);
        }
    }
}
