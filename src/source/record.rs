//! Lines of a recording: when a message came, and the message.
//!
//! A line is `<time> <message>` or `<time>: <message>`, or a message alone (NDJSON). A recorder's own log lines stand
//! between them and are nobody's fault; a line that should hold a message and does not is.
//!
//! Without: files, topics, pace. A message is a slice of its line.

use serde::de::IgnoredAny;

/// What a line is.
#[derive(Debug)]
pub enum Line<'l> {
    /// A message.
    Message(Record<'l>),
    /// Empty, or not a message's line.
    Other,
    /// A message's line, which cannot be read.
    Broken(BrokenLine),
}

/// A recorded message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'l> {
    /// When it came, microseconds (since 1970, as a rule); `None` in plain NDJSON.
    pub time_us: Option<u64>,
    /// The message: JSON, as it stands in the line.
    pub message: &'l str,
}

/// Why a message's line cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum BrokenLine {
    /// Not UTF-8.
    #[error("not UTF-8: {0}")]
    Utf8(#[from] std::str::Utf8Error),
    /// Not JSON.
    #[error("the message is not JSON: {0}")]
    Json(#[from] serde_json::Error),
}

impl<'l> Line<'l> {
    /// Reads one line, without its line feed.
    #[must_use]
    pub fn parse(line: &'l [u8]) -> Line<'l> {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let (time_us, message) = match line.first() {
            Some(b'{' | b'[' | b'"') => (None, line),
            Some(b'0'..=b'9') => match timed(line) {
                Some((time_us, message)) => (Some(time_us), message),
                None => return Line::Other,
            },
            _ => return Line::Other,
        };
        match checked(message) {
            Ok(message) => Line::Message(Record { time_us, message }),
            Err(broken) => Line::Broken(broken),
        }
    }
}

/// Splits `<time>[:] <message>`; `None` where the line is not so.
fn timed(line: &[u8]) -> Option<(u64, &[u8])> {
    let blank = line.iter().position(|byte| matches!(byte, b' ' | b'\t'))?;
    let (time, rest) = line.split_at(blank);
    let time = std::str::from_utf8(time.strip_suffix(b":").unwrap_or(time)).ok()?;
    let message = rest.iter().position(|byte| !matches!(byte, b' ' | b'\t')).map(|start| &rest[start..])?;
    Some((time_us(time)?, message))
}

/// A time in seconds, milliseconds, microseconds or nanoseconds since 1970, told by its size: as seconds the bounds are
/// the years 5138 (above: milliseconds), and so on by thousands. A fraction may follow. `None` where it is no such number.
fn time_us(text: &str) -> Option<u64> {
    const SECONDS_MAX: u64 = 100_000_000_000;
    const MILLISECONDS_MAX: u64 = SECONDS_MAX * 1_000;
    const MICROSECONDS_MAX: u64 = MILLISECONDS_MAX * 1_000;
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(whole) || !digits(fraction) {
        return None;
    }
    let whole: u64 = whole.parse().ok()?;
    let unit_us = match whole {
        0..SECONDS_MAX => 1_000_000,
        SECONDS_MAX..MILLISECONDS_MAX => 1_000,
        MILLISECONDS_MAX..MICROSECONDS_MAX => 1,
        _ => return Some(whole / 1_000),
    };
    let (mut below_us, mut scale) = (0, unit_us);
    for digit in fraction.bytes() {
        scale /= 10;
        below_us += u64::from(digit - b'0') * scale;
    }
    Some(whole * unit_us + below_us)
}

fn checked(message: &[u8]) -> Result<&str, BrokenLine> {
    let message = std::str::from_utf8(message)?;
    serde_json::from_str::<IgnoredAny>(message)?;
    Ok(message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(line: &str, time_us: Option<u64>, message: &str) {
        match Line::parse(line.as_bytes()) {
            Line::Message(record) => assert_eq!(record, Record { time_us, message }, "{line}"),
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn times_are_told_by_their_size() {
        check("1618677817.061845: {}", Some(1_618_677_817_061_845), "{}");
        check("1618677817.0618958: {}", Some(1_618_677_817_061_895), "{}");
        check("1618677817.06: {}", Some(1_618_677_817_060_000), "{}");
        check("1618677817 {}", Some(1_618_677_817_000_000), "{}");
        check("1618677817061 {}", Some(1_618_677_817_061_000), "{}");
        check("1618677817061.25 {}", Some(1_618_677_817_061_250), "{}");
        check("1618677817061845:\t{}", Some(1_618_677_817_061_845), "{}");
        check("1723161255030314667 {}", Some(1_723_161_255_030_314), "{}");
        check("0.5  {}", Some(500_000), "{}");
    }

    #[test]
    fn a_message_is_kept_as_it_stands() {
        check("1 { \"a\" : 1.0 } \r", Some(1_000_000), "{ \"a\" : 1.0 } ");
        check("{\"a\":\"1 2: 3\"}", None, "{\"a\":\"1 2: 3\"}");
        check("[1]", None, "[1]");
    }

    #[test]
    fn log_lines_are_other() {
        for line in [
            "",
            "\r",
            "wss://x <- 1618677817.02: {\"a\":1}",
            "1618677817",
            "1618677817: ",
            "2021-04-17 {}",
            "1. {}",
            "99999999999999999999 {}",
        ] {
            assert!(matches!(Line::parse(line.as_bytes()), Line::Other), "{line:?}");
        }
    }

    #[test]
    fn a_broken_message_says_where() {
        match Line::parse(b"1618677817.0: {\"a\":}") {
            Line::Broken(broken) => {
                assert_eq!(broken.to_string(), "the message is not JSON: expected value at line 1 column 6");
            }
            other => panic!("{other:?}"),
        }
        assert!(matches!(Line::parse(b"{\"a\":\"\xff\"}"), Line::Broken(BrokenLine::Utf8(_))));
        assert!(matches!(Line::parse(b"1 {} {}"), Line::Broken(BrokenLine::Json(_))));
    }
}
