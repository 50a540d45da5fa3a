//! From an upstream's message to what arrives: topic, payload, key and number, found by JSON pointers.
//!
//! Without: connections, and what was there before.

use std::fmt;

use bytes::Bytes;
use serde::de::IgnoredAny;

use super::arbiter::{Arrived, Content, Number};
use crate::config::{self, SequenceRule};
use crate::dialect::pointer::{Pointer, PointerError};
use crate::hub::topic::Pattern;
use crate::hub::{Key, Payload, PayloadKind, TopicName};
use crate::source::SourceError;
use crate::source::template::Template;

/// How the messages of one feed are read.
#[derive(Debug)]
pub(super) struct Mapping {
    template: Template,
    payload: Pointer,
    key: Option<Pointer>,
    binary_topic: Option<TopicName>,
    sequences: Vec<Numbering>,
    publication_bytes_max: usize,
}

#[derive(Debug)]
struct Numbering {
    topics: Pattern,
    number: Pointer,
    previous: Option<Pointer>,
    rule: SequenceRule,
    window: u64,
}

/// What a message is.
#[derive(Debug)]
pub(super) enum Mapped {
    /// To be published, or lost if it has no content.
    Arrived(Arrived, Option<Refused>),
    /// None of the feed's own: an acknowledgement, a heartbeat.
    Skipped,
    /// Not JSON, or binary where nothing says where that goes.
    Garbage,
}

/// Why a message of the feed cannot be published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    TooLong(usize),
    Key,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refused::TooLong(bytes) => write!(f, "a payload of {bytes} bytes is larger than publication_bytes_max"),
            Refused::Key => f.write_str("a key is no string or number of 1 to 255 bytes"),
        }
    }
}

impl Mapping {
    /// Reads the templates and pointers of `settings`.
    pub(super) fn new(settings: &config::Upstream, publication_bytes_max: usize) -> Result<Mapping, SourceError> {
        let pointer = |text: &Option<String>| text.as_deref().map(Pointer::parse).transpose();
        let template = Template::parse(&settings.topic)?;
        let binary_topic = match &settings.binary_topic {
            Some(name) => Some(TopicName::parse(name).expect("the configuration holds a valid name")),
            // A message that is not JSON has a topic only where the template asks nothing of it.
            None => template.topic("null"),
        };
        let numbering = |sequence: &config::Sequence| -> Result<Numbering, PointerError> {
            Ok(Numbering {
                topics: Pattern::parse(&sequence.topics).expect("the configuration holds valid patterns"),
                number: Pointer::parse(&sequence.number)?,
                previous: pointer(&sequence.previous)?,
                rule: sequence.rule,
                window: sequence.window,
            })
        };
        Ok(Mapping {
            template,
            payload: Pointer::parse(settings.payload.as_deref().unwrap_or_default())?,
            key: pointer(&settings.key)?,
            binary_topic,
            sequences: settings.sequences.iter().map(numbering).collect::<Result<_, _>>()?,
            publication_bytes_max,
        })
    }

    /// Reads a text message.
    pub(super) fn text(&self, message: &str) -> Mapped {
        if serde_json::from_str::<IgnoredAny>(message).is_err() {
            return Mapped::Garbage;
        }
        let (Some(topic), Some(payload)) = (self.template.topic(message), self.payload.find(message)) else {
            return Mapped::Skipped;
        };
        let number = self.number(&topic, message);
        match self.content(payload, message) {
            Ok(content) => Mapped::Arrived(Arrived { topic, content: Some(content), number }, None),
            Err(refused) => Mapped::Arrived(Arrived { topic, content: None, number }, Some(refused)),
        }
    }

    /// Reads a binary message.
    pub(super) fn binary(&self, message: &[u8]) -> Mapped {
        let Some(topic) = self.binary_topic.clone() else { return Mapped::Garbage };
        if message.len() > self.publication_bytes_max {
            let refused = Refused::TooLong(message.len());
            return Mapped::Arrived(Arrived { topic, content: None, number: None }, Some(refused));
        }
        let payload = Payload { bytes: Bytes::copy_from_slice(message), kind: PayloadKind::Binary };
        Mapped::Arrived(Arrived { topic, content: Some(Content { payload, key: None }), number: None }, None)
    }

    fn content(&self, payload: &str, message: &str) -> Result<Content, Refused> {
        if payload.len() > self.publication_bytes_max {
            return Err(Refused::TooLong(payload.len()));
        }
        let key = match self.key.as_ref().and_then(|pointer| pointer.find(message)) {
            Some(value) => Some(text_of(value).and_then(|text| Key::parse(&text).ok()).ok_or(Refused::Key)?),
            None => None,
        };
        let payload = Payload { bytes: Bytes::copy_from_slice(payload.as_bytes()), kind: PayloadKind::Json };
        Ok(Content { payload, key })
    }

    /// By the first numbering that fits.
    fn number(&self, topic: &TopicName, message: &str) -> Option<Number> {
        self.sequences.iter().filter(|numbering| numbering.topics.matches(topic.as_str())).find_map(|numbering| {
            let Numbering { rule, window, .. } = *numbering;
            let value = number_at(&numbering.number, message)?;
            let previous = match &numbering.previous {
                Some(pointer) => Some(number_at(pointer, message)?),
                None => None,
            };
            Some(Number { value, previous, rule, window })
        })
    }
}

/// A whole number, or a string of digits.
fn number_at(pointer: &Pointer, message: &str) -> Option<u64> {
    let value = pointer.find(message)?;
    value.strip_prefix('"').map_or(Some(value), |rest| rest.strip_suffix('"'))?.parse().ok()
}

/// A string's text, a number as it stands.
fn text_of(value: &str) -> Option<String> {
    match value.as_bytes().first()? {
        b'"' => serde_json::from_str(value).ok(),
        b'-' | b'0'..=b'9' => Some(value.to_owned()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Sequence, Upstream};

    fn mapping() -> Mapping {
        let sequence = |number: &str, previous: Option<&str>, rule| Sequence {
            number: number.into(),
            previous: previous.map(Into::into),
            rule,
            ..Sequence::default()
        };
        let settings = Upstream {
            key: Some("/data/s".into()),
            sequences: vec![
                Sequence { topics: "trades.>".into(), ..sequence("/data/t", None, SequenceRule::PlusOne) },
                sequence("/data/u", Some("/data/pu"), SequenceRule::Chain),
                sequence("/data/u", None, SequenceRule::Rising),
            ],
            ..Upstream::default()
        };
        Mapping::new(&settings, 100).expect("valid settings")
    }

    /// Payload and key.
    type Shown = (String, Option<String>);

    /// A number, the one before it, the rule.
    type Place = (u64, Option<u64>, SequenceRule);

    /// Topic, content, place in the feed, and whether it was refused.
    fn seen(mapped: Mapped) -> (String, Option<Shown>, Option<Place>, bool) {
        let Mapped::Arrived(arrived, refused) = mapped else { panic!("not of the feed: {mapped:?}") };
        let content = arrived.content.map(|Content { payload, key }| {
            (String::from_utf8_lossy(&payload.bytes).into_owned(), key.map(|key| key.as_str().to_owned()))
        });
        let number = arrived.number.map(|number| (number.value, number.previous, number.rule));
        (arrived.topic.as_str().to_owned(), content, number, refused.is_some())
    }

    #[test]
    fn the_first_numbering_that_fits_holds() {
        let mapping = mapping();
        let read = |message: &str| seen(mapping.text(message));
        let payload = |text: &str| Some((text.to_owned(), None));
        assert_eq!(
            read(r#"{"stream":"trades.a","data":{"t":"7","u":9}}"#),
            ("trades.a".into(), payload(r#"{"t":"7","u":9}"#), Some((7, None, SequenceRule::PlusOne)), false)
        );
        assert_eq!(
            read(r#"{"stream":"b","data":{"u":9,"pu":8,"t":1}}"#).2,
            Some((9, Some(8), SequenceRule::Chain)),
            "a pattern that does not match is passed over"
        );
        assert_eq!(read(r#"{"stream":"b","data":{"u":9}}"#).2, Some((9, None, SequenceRule::Rising)));
        for none in [r#"{"u":-1}"#, r#"{"u":1.5}"#, r#"{"u":null}"#, r#"{"u":18446744073709551616}"#, "{}"] {
            assert_eq!(read(&format!(r#"{{"stream":"b","data":{none}}}"#)).2, None, "{none}");
        }
    }

    #[test]
    fn keys_are_strings_and_numbers() {
        let mapping = mapping();
        let key = |value: &str| seen(mapping.text(&format!(r#"{{"stream":"a","data":{{"s":{value}}}}}"#)));
        assert_eq!(key("\"BTC\"").1.expect("it has content").1.as_deref(), Some("BTC"));
        assert_eq!(key("17").1.expect("it has content").1.as_deref(), Some("17"));
        for wrong in ["\"\"", "{}", "null"] {
            assert_eq!((key(wrong).1, key(wrong).3), (None, true), "{wrong}");
        }
    }

    #[test]
    fn what_is_too_long_is_refused_and_what_is_not_the_feeds_is_skipped() {
        let mapping = mapping();
        let long = "x".repeat(120);
        assert_eq!(seen(mapping.text(&format!(r#"{{"stream":"a","data":"{long}"}}"#))), ("a".into(), None, None, true));
        assert!(matches!(mapping.text(r#"{"result":null,"id":1}"#), Mapped::Skipped));
        assert!(matches!(mapping.text("pong"), Mapped::Garbage));
        assert!(matches!(mapping.text(r#"{"stream":"a","data":1"#), Mapped::Garbage));
        assert!(matches!(mapping.binary(b"x"), Mapped::Garbage), "the template has pointers");
    }

    #[test]
    fn binary_messages_go_to_the_one_topic() {
        let one = |settings: config::Upstream| seen(Mapping::new(&settings, 100).expect("valid settings").binary(b"\x01x")).0;
        assert_eq!(one(Upstream { topic: "all".into(), payload: None, ..Upstream::default() }), "all");
        assert_eq!(one(Upstream { binary_topic: Some("bin".into()), ..Upstream::default() }), "bin");
    }
}
