//! What clients say and hear: bytes to commands, values to bytes.
//!
//! Without: sockets, clocks, connections, subscriptions, and WebSocket messages that are not whole. What may be asked is
//! read here; whether it is granted is decided above.
//!
//! Invariants: no input panics, recurses or costs more than a few passes over itself; every refusal is a sentence that names
//! what was wrong, cut to a bounded length.

use std::fmt;

pub mod json;
pub mod percent;
pub mod pointer;
pub mod stream;

/// What a client got wrong, as the number that it is told (see docs/protocol.md).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum ErrorCode {
    /// Not a request, or its `params` are wrong.
    BadRequest = 1,
    /// No method has that name.
    UnknownMethod = 2,
    /// Not a topic's name, or a pattern where only a topic can stand.
    BadTopic = 3,
    /// Not this client, not here, or not yet.
    NotAllowed = 4,
    /// A configured limit.
    Limit = 5,
    /// The topic is not subscribed on this connection.
    NotSubscribed = 6,
    /// The topic is subscribed on this connection with other options.
    OtherOptions = 7,
    /// More requests than the configured rate.
    TooManyRequests = 8,
    /// The token is refused.
    TokenInvalid = 9,
    /// The gateway's own fault.
    Internal = 10,
}

/// A client broke the dialect or asked for what it does not get: told to it, not fatal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientError {
    /// Which kind of error.
    pub code: ErrorCode,
    /// A sentence that names the stream at fault.
    pub message: String,
}

impl ClientError {
    /// An error with its sentence.
    #[must_use]
    pub fn new(code: ErrorCode, message: impl Into<String>) -> ClientError {
        ClientError { code, message: message.into() }
    }

    /// As the body of an HTTP answer: `{"error":{"code":C,"msg":"..."}}`.
    #[must_use]
    pub fn body(&self) -> String {
        let mut out = Vec::with_capacity(self.message.len() + 40);
        self.push_member(&mut out, b'{');
        out.push(b'}');
        String::from_utf8(out).expect("a message is UTF-8, and escaping keeps it so")
    }

    /// Appends `"error":{"code":C,"msg":"..."}` after `before`.
    pub(crate) fn push_member(&self, out: &mut Vec<u8>, before: u8) {
        out.push(before);
        out.extend_from_slice(b"\"error\":{\"code\":");
        json::push_number(out, self.code as u64);
        out.extend_from_slice(b",\"msg\":");
        json::push_string(out, self.message.as_bytes());
        out.push(b'}');
    }
}

impl fmt::Display for ClientError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error {}: {}", self.code as u8, self.message)
    }
}

impl std::error::Error for ClientError {}

/// A client's own words inside a sentence, in backquotes and cut to a topic's length, so that an error is never as long as
/// the message that caused it.
pub(crate) fn quoted(words: &str) -> String {
    const BYTES_MAX: usize = 255;
    if words.len() <= BYTES_MAX {
        return format!("`{words}`");
    }
    format!("`{}…`", &words[..words.floor_char_boundary(BYTES_MAX)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_a_body_that_json_reads() {
        let error = ClientError::new(ErrorCode::BadTopic, "topic `a\"\\\u{1}é` is not one");
        let read: serde_json::Value = serde_json::from_str(&error.body()).expect("the body is JSON");
        assert_eq!(read, serde_json::json!({"error": {"code": 3, "msg": error.message}}));
    }

    #[test]
    fn quoted_words_are_cut_between_characters() {
        assert_eq!(quoted("abc"), "`abc`");
        let long = quoted(&"é".repeat(40_000));
        assert_eq!(long, format!("`{}…`", "é".repeat(127)));
    }
}
