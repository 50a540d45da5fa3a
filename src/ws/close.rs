//! Close codes as values, and the body of a close frame (RFC 6455 5.5.1, 7.4).
//!
//! Without: the close handshake itself, which needs deadlines and belongs to the session.

use std::fmt;

use super::{Control, ProtocolError, frame};

/// Longest reason: a control frame's 125 bytes without the code.
pub const REASON_BYTES_MAX: usize = frame::CONTROL_BYTES_MAX - 2;

/// A close code. Any number can be held, since peers send any; [`is_sendable`](Self::is_sendable) says which may stand in
/// a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CloseCode(pub u16);

impl CloseCode {
    /// The purpose is fulfilled.
    pub const NORMAL: Self = Self(1000);
    /// The server stops, or the page was left.
    pub const GOING_AWAY: Self = Self(1001);
    /// The peer broke the protocol.
    pub const PROTOCOL: Self = Self(1002);
    /// A kind of message that is not taken here.
    pub const UNSUPPORTED: Self = Self(1003);
    /// Never sent: the close frame had no code.
    pub const NONE_RECEIVED: Self = Self(1005);
    /// Never sent: the connection ended without a close frame.
    pub const ABNORMAL: Self = Self(1006);
    /// Text that is not UTF-8.
    pub const INVALID_PAYLOAD: Self = Self(1007);
    /// Against the rules of the house.
    pub const POLICY: Self = Self(1008);
    /// A message that is too long.
    pub const TOO_BIG: Self = Self(1009);
    /// The client missed an extension.
    pub const EXTENSION_MISSING: Self = Self(1010);
    /// The server failed.
    pub const INTERNAL: Self = Self(1011);
    /// The server restarts: come again after a random 5 to 30 s.
    pub const RESTART: Self = Self(1012);
    /// Overload, or too slow a reader: come again later.
    pub const TRY_AGAIN_LATER: Self = Self(1013);
    /// A gateway got a bad answer from behind it.
    pub const BAD_GATEWAY: Self = Self(1014);

    /// Whether it may stand in a close frame: RFC 6455 7.4.1 and IANA's registry for 1000-1014, where 1004, 1005 and 1006
    /// are reserved; 7.4.2: 3000-3999 for libraries, 4000-4999 private. All others MUST NOT be used.
    pub fn is_sendable(self) -> bool {
        matches!(self.0, 1000..=1003 | 1007..=1014 | 3000..=4999)
    }
}

impl fmt::Display for CloseCode {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

/// The body of a close frame. A reason of more than [`REASON_BYTES_MAX`] bytes is cut at a character.
pub fn encode(code: CloseCode, reason: &str) -> Control {
    assert!(code.is_sendable(), "close code {code} must not be sent");
    let mut length = reason.len().min(REASON_BYTES_MAX);
    while !reason.is_char_boundary(length) {
        length -= 1;
    }
    let mut body = Control::new(&code.0.to_be_bytes());
    body.extend(&reason.as_bytes()[..length]);
    body
}

/// Code and reason of a close frame's body; the reason is UTF-8. None: the body is empty.
pub fn parse(body: &[u8]) -> Result<Option<(CloseCode, Control)>, ProtocolError> {
    let Some((code, reason)) = body.split_first_chunk() else {
        // RFC 6455 5.5.1: if there is a body, the first two bytes of the body MUST be a 2-byte unsigned integer.
        return if body.is_empty() { Ok(None) } else { Err(ProtocolError::CloseBodyTruncated) };
    };
    let code = CloseCode(u16::from_be_bytes(*code));
    if !code.is_sendable() {
        return Err(ProtocolError::CloseCodeInvalid(code.0));
    }
    if simdutf8::basic::from_utf8(reason).is_err() {
        return Err(ProtocolError::CloseReasonNotUtf8);
    }
    Ok(Some((code, Control::new(reason))))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(body: &[u8], expected: Result<Option<(u16, &str)>, ProtocolError>) {
        let expected = expected.map(|close| close.map(|(code, reason)| (CloseCode(code), Control::new(reason.as_bytes()))));
        assert_eq!(parse(body), expected, "{}", body.escape_ascii());
    }

    #[test]
    fn bodies() {
        check(b"", Ok(None));
        check(b"\x03", Err(ProtocolError::CloseBodyTruncated));
        check(b"\x03\xe8", Ok(Some((1000, ""))));
        check(b"\x03\xe9bye \xe2\x82\xac", Ok(Some((1001, "bye €"))));
        check(b"\x03\xe8\xe2\x82", Err(ProtocolError::CloseReasonNotUtf8));
        check(b"\x03\xe8\xff", Err(ProtocolError::CloseReasonNotUtf8));
        check(&[b"\x0f\xa0", &b"r".repeat(123)[..]].concat(), Ok(Some((4000, &"r".repeat(123)))));
        // The code is judged before the reason.
        check(b"\x03\xed\xff", Err(ProtocolError::CloseCodeInvalid(1005)));
    }

    #[test]
    fn codes_that_may_be_sent() {
        let sendable: Vec<u16> = (0..=u16::MAX).filter(|code| CloseCode(*code).is_sendable()).collect();
        let expected: Vec<u16> = (1000..=1003).chain(1007..=1014).chain(3000..=4999).collect();
        assert_eq!(sendable, expected);
        for code in (0..=u16::MAX).filter(|code| !CloseCode(*code).is_sendable()) {
            check(&code.to_be_bytes(), Err(ProtocolError::CloseCodeInvalid(code)));
        }
    }

    #[test]
    fn what_is_encoded_is_parsed() {
        check(&encode(CloseCode::RESTART, "back in a minute"), Ok(Some((1012, "back in a minute"))));
        check(&encode(CloseCode::NORMAL, ""), Ok(Some((1000, ""))));
    }

    #[test]
    fn a_long_reason_is_cut_at_a_character() {
        check(&encode(CloseCode::POLICY, &"x".repeat(200)), Ok(Some((1008, &"x".repeat(123)))));
        // 41 characters of three bytes fill the reason exactly; with one byte before them the last does not fit.
        check(&encode(CloseCode::POLICY, &"€".repeat(60)), Ok(Some((1008, &"€".repeat(41)))));
        check(&encode(CloseCode::POLICY, &format!("x{}", "€".repeat(60))), Ok(Some((1008, &format!("x{}", "€".repeat(40))))));
    }

    #[test]
    #[should_panic(expected = "close code 1006 must not be sent")]
    fn a_code_that_must_not_be_sent_is_our_mistake() {
        encode(CloseCode::ABNORMAL, "");
    }
}
