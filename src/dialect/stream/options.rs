//! A stream as it is written: `topic;option;option=value`.
//!
//! Without: where it was written (URL or request), and whether the client may have it.

use crate::config::Slow;
use crate::dialect::{ClientError, ErrorCode, json, quoted};
use crate::hub::{Epoch, Position, Subject, TopicName};

/// A topic or a pattern with options.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stream {
    /// What is heard.
    pub subject: Subject,
    /// How it is heard.
    pub options: StreamOptions,
}

/// How a topic is heard.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StreamOptions {
    /// First the newest publication (of each key), if there is one, then live.
    pub last: bool,
    /// First everything after this position, then live; where that is not held any more, as `last` says.
    pub since: Option<Position>,
    /// What an interval had that is the newest (of each key), at its end; its length in milliseconds.
    pub rate_ms: Option<u32>,
    /// What happens when this subscriber cannot keep up; none: what the topic's configuration says.
    pub slow: Option<Slow>,
    /// Combined publications bear the time of ingest.
    pub timed: bool,
    /// Any option stood there, so the reply tells positions.
    pub given: bool,
}

/// The options that hold as long as the subscription; see [`StreamOptions`] for each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "they are those of StreamOptions")]
pub struct Lasting {
    pub rate_ms: Option<u32>,
    pub slow: Option<Slow>,
    pub timed: bool,
}

impl Lasting {
    /// Appends them as they are written behind a topic.
    pub(super) fn push(&self, out: &mut Vec<u8>) {
        if let Some(rate_ms) = self.rate_ms {
            out.extend_from_slice(b";rate=");
            json::push_number(out, rate_ms.into());
            out.extend_from_slice(b"ms");
        }
        match self.slow {
            Some(Slow::Close) => out.extend_from_slice(b";slow=close"),
            Some(Slow::Drop) => out.extend_from_slice(b";slow=drop"),
            Some(Slow::Conflate) => out.extend_from_slice(b";slow=conflate"),
            None => {}
        }
        if self.timed {
            out.extend_from_slice(b";ts=1");
        }
    }
}

impl Stream {
    /// Reads a stream.
    pub(super) fn parse(text: &str) -> Result<Stream, ClientError> {
        let mut parts = text.split(';');
        let subject = subject(parts.next().expect("split gives at least one part"))?;
        let mut options = StreamOptions::default();
        for option in parts {
            options.take(option, text)?;
            options.given = true;
        }
        options.check(&subject, text)?;
        Ok(Stream { subject, options })
    }
}

impl StreamOptions {
    /// Goes on after a position that the client has by other means than the stream's own `since`.
    pub fn go_on_after(&mut self, position: Position) {
        self.since = Some(position);
        self.given = true;
    }

    /// What must be the same where the stream is asked for again: `last` and `since` are of the moment.
    #[must_use]
    pub fn lasting(&self) -> Lasting {
        Lasting { rate_ms: self.rate_ms, slow: self.slow, timed: self.timed }
    }

    fn take(&mut self, option: &str, stream: &str) -> Result<(), ClientError> {
        let (name, value) = match option.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (option, None),
        };
        let twice = match name {
            "last" => self.last,
            "since" => self.since.is_some(),
            "rate" => self.rate_ms.is_some(),
            "slow" => self.slow.is_some(),
            "ts" => self.timed,
            _ => false,
        };
        let wrong = match (name, value) {
            _ if twice => "it stands there twice",
            ("last", Some(_)) => "it takes no value",
            ("last", None) => {
                self.last = true;
                return Ok(());
            }
            ("since", value) => {
                self.since = value.and_then(position);
                if self.since.is_some() {
                    return Ok(());
                }
                "it takes <epoch>:<offset>, as POSITIONS gives it"
            }
            ("rate", value) => {
                self.rate_ms = value.and_then(interval_ms);
                if self.rate_ms.is_some() {
                    return Ok(());
                }
                "it takes an interval such as 100ms or 1s"
            }
            ("slow", value) => {
                self.slow = value.and_then(slow);
                if self.slow.is_some() {
                    return Ok(());
                }
                "it takes close, drop or conflate"
            }
            ("ts", Some("1")) => {
                self.timed = true;
                return Ok(());
            }
            ("ts", _) => "it takes 1",
            ("", _) => "nothing stands behind a `;`: remove it",
            _ => "there is no such option",
        };
        Err(refused(stream, option, wrong))
    }

    /// Options that cannot stand together.
    fn check(&self, subject: &Subject, stream: &str) -> Result<(), ClientError> {
        if self.since.is_some() && matches!(subject, Subject::Pattern(_)) {
            return Err(refused(stream, "since", "it names a place in one topic, and this is a pattern"));
        }
        if self.since.is_some() && self.rate_ms.is_some() {
            return Err(refused(stream, "since", "it brings every publication, and cannot stand beside `rate`"));
        }
        Ok(())
    }
}

fn refused(stream: &str, option: &str, wrong: &str) -> ClientError {
    ClientError::new(ErrorCode::BadRequest, format!("stream {}: option {}: {wrong}", quoted(stream), quoted(option)))
}

/// The topic of a stream: what is behind `;` is not looked at.
pub(super) fn topic_of(stream: &str) -> Result<TopicName, ClientError> {
    topic(stream.split(';').next().expect("split gives at least one part"))
}

/// The topic or pattern of a stream as subscribed: what is behind `;` is not looked at.
pub(super) fn subject_of(stream: &str) -> Result<Subject, ClientError> {
    subject(stream.split(';').next().expect("split gives at least one part"))
}

/// A topic that is to be published to.
pub(super) fn publishable(name: &str) -> Result<TopicName, ClientError> {
    if name.contains(['*', '>']) {
        let message = format!("topic {}: a pattern subscribes, it never publishes; name one topic", quoted(name));
        return Err(ClientError::new(ErrorCode::BadTopic, message));
    }
    topic(name)
}

fn subject(name: &str) -> Result<Subject, ClientError> {
    Subject::parse(name).map_err(|error| ClientError::new(ErrorCode::BadTopic, format!("topic {}: {error}", quoted(name))))
}

/// A topic, where no pattern can stand.
fn topic(name: &str) -> Result<TopicName, ClientError> {
    TopicName::parse(name).map_err(|error| ClientError::new(ErrorCode::BadTopic, format!("topic {}: {error}", quoted(name))))
}

/// Reads `<epoch>:<offset>`.
pub(super) fn position(value: &str) -> Option<Position> {
    let (epoch, offset) = value.split_once(':')?;
    // An offset is below 2^53, so that JavaScript holds it.
    let offset_max = (1 << 53) - 1;
    let offset = Some(offset).filter(|offset| is_digits(offset))?.parse().ok().filter(|offset| *offset <= offset_max)?;
    Some(Position { epoch: Epoch::parse(epoch)?, offset })
}

fn interval_ms(value: &str) -> Option<u32> {
    let (number, ms) = match value.strip_suffix("ms") {
        Some(number) => (number, 1),
        None => (value.strip_suffix('s')?, 1000),
    };
    let number: u32 = Some(number).filter(|number| is_digits(number))?.parse().ok()?;
    number.checked_mul(ms).filter(|interval_ms| *interval_ms > 0)
}

fn slow(value: &str) -> Option<Slow> {
    match value {
        "close" => Some(Slow::Close),
        "drop" => Some(Slow::Drop),
        "conflate" => Some(Slow::Conflate),
        _ => None,
    }
}

fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}
