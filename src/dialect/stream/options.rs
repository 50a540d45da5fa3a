//! A stream as it is written: `topic;option;option=value`.
//!
//! Without: where it was written (URL or request), and whether the client may have it.

use crate::dialect::{ClientError, ErrorCode, quoted};
use crate::hub::{Epoch, TopicName};

/// A topic with options.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stream {
    /// What is heard.
    pub topic: TopicName,
    /// How it is heard.
    pub options: StreamOptions,
}

/// How a topic is heard.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StreamOptions {
    /// First the newest publication, if there is one, then live.
    pub last: bool,
    /// Any option stood there, so the reply tells positions.
    pub given: bool,
}

impl Stream {
    /// Reads a stream.
    pub(super) fn parse(text: &str) -> Result<Stream, ClientError> {
        let mut parts = text.split(';');
        let topic = topic(parts.next().expect("split gives at least one part"))?;
        let mut options = StreamOptions::default();
        for option in parts {
            options.take(option, text)?;
            options.given = true;
        }
        Ok(Stream { topic, options })
    }
}

impl StreamOptions {
    fn take(&mut self, option: &str, stream: &str) -> Result<(), ClientError> {
        let (name, value) = match option.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (option, None),
        };
        let expected = match name {
            "last" if value.is_some() => "it takes no value",
            "last" if self.last => "it stands there twice",
            "last" => {
                self.last = true;
                return Ok(());
            }
            "since" if value.is_some_and(is_position) => return Err(not_yet(name, stream)),
            "since" => "it takes <epoch>:<offset>, as POSITIONS gives it",
            "rate" if value.is_some_and(is_interval) => return Err(not_yet(name, stream)),
            "rate" => "it takes an interval such as 100ms or 1s",
            "slow" if matches!(value, Some("close" | "drop" | "conflate")) => return Err(not_yet(name, stream)),
            "slow" => "it takes close, drop or conflate",
            "ts" if value == Some("1") => return Err(not_yet(name, stream)),
            "ts" => "it takes 1",
            "" => "nothing stands behind a `;`: remove it",
            _ => "there is no such option",
        };
        Err(ClientError::new(ErrorCode::BadRequest, format!("stream {}: option {}: {expected}", quoted(stream), quoted(option))))
    }
}

/// The topic of a stream as subscribed: what is behind `;` is not looked at.
pub(super) fn topic_of(stream: &str) -> Result<TopicName, ClientError> {
    topic(stream.split(';').next().expect("split gives at least one part"))
}

/// A topic that is to be published to.
pub(super) fn publishable(name: &str) -> Result<TopicName, ClientError> {
    if name.contains(['*', '>']) {
        let message = format!("topic {}: a pattern subscribes, it never publishes; name one topic", quoted(name));
        return Err(ClientError::new(ErrorCode::BadTopic, message));
    }
    topic(name)
}

/// A topic; patterns are none, until they exist.
fn topic(name: &str) -> Result<TopicName, ClientError> {
    TopicName::parse(name).map_err(|error| ClientError::new(ErrorCode::BadTopic, format!("topic {}: {error}", quoted(name))))
}

fn is_position(value: &str) -> bool {
    let Some((epoch, offset)) = value.split_once(':') else { return false };
    // An offset is below 2^53, so that JavaScript holds it.
    let offset_max = (1 << 53) - 1;
    Epoch::parse(epoch).is_some() && is_digits(offset) && offset.parse::<u64>().is_ok_and(|offset| offset <= offset_max)
}

fn is_interval(value: &str) -> bool {
    let number = value.strip_suffix("ms").or_else(|| value.strip_suffix('s'));
    number.is_some_and(|number| is_digits(number) && number.parse::<u32>().is_ok_and(|number| number > 0))
}

fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

fn not_yet(option: &str, stream: &str) -> ClientError {
    let message = format!("stream {}: the option `{option}` does not exist yet", quoted(stream));
    ClientError::new(ErrorCode::NotAllowed, message)
}
