//! Server-sent events (WHATWG HTML 9.2): what a combined connection says as lines of `text/event-stream`.
//!
//! A message is the combined one. `data` is a line each: where a payload has line ends between its tokens, its lines are
//! joined by a line feed again on the other side, which is the same JSON. Binary publications are `{"stream","o","b64"}`.
//!
//! Without: HTTP, and who gets an id.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::encoder::Head;
use super::options::position;
use crate::dialect::{ClientError, ErrorCode, json, quoted};
use crate::hub::{Epoch, Payload, PayloadKind, Position};

/// Keeps the line in use, so that nobody between takes it for dead; readers ignore it.
pub const COMMENT: &[u8] = b":\n\n";

/// Appends a reply or an event of the gateway: JSON in one line.
pub fn message(out: &mut Vec<u8>, json: &[u8]) {
    out.extend_from_slice(b"data: ");
    out.extend_from_slice(json);
    out.extend_from_slice(b"\n\n");
}

/// Appends a publication; with its position as the event's id where `epoch` is given.
pub(super) fn publication(out: &mut Vec<u8>, head: Head<'_>, epoch: Option<Epoch>, payload: &Payload) {
    let numbers = head.numbers();
    if let Some(epoch) = epoch {
        for piece in [b"id: ", epoch.as_str().as_bytes(), b":", numbers.0.as_bytes(), b"\n"] {
            out.extend_from_slice(piece);
        }
    }
    out.extend_from_slice(b"data: ");
    let key: &[u8] = if payload.kind == PayloadKind::Binary { b",\"b64\":\"" } else { b",\"data\":" };
    head.pieces(&numbers, key).iter().for_each(|piece| out.extend_from_slice(piece));
    match payload.kind {
        PayloadKind::Json => push_lines(out, &payload.bytes),
        PayloadKind::Text => json::push_string(out, &payload.bytes),
        PayloadKind::Binary => {
            out.extend_from_slice(STANDARD.encode(&payload.bytes).as_bytes());
            out.push(b'"');
        }
    }
    out.extend_from_slice(b"}\n\n");
}

/// A line ends with CR LF, LF or CR, whichever the publisher liked.
fn push_lines(out: &mut Vec<u8>, mut json: &[u8]) {
    while let Some(end) = memchr::memchr2(b'\r', b'\n', json) {
        out.extend_from_slice(&json[..end]);
        out.extend_from_slice(b"\ndata: ");
        let line_end_bytes = if json[end..].starts_with(b"\r\n") { 2 } else { 1 };
        json = &json[end + line_end_bytes..];
    }
    out.extend_from_slice(json);
}

/// Reads `Last-Event-ID`: the position that the last publication's id was. None where it is empty.
///
/// # Errors
/// Where it is not a position.
pub fn last_event_id(value: &[u8]) -> Result<Option<Position>, ClientError> {
    if value.is_empty() {
        return Ok(None);
    }
    let text = std::str::from_utf8(value).unwrap_or("");
    position(text).map(Some).ok_or_else(|| {
        let text = quoted(&String::from_utf8_lossy(value));
        ClientError::new(
            ErrorCode::BadRequest,
            format!("Last-Event-ID {text}: it takes <epoch>:<offset>, as an event's id gives it"),
        )
    })
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    #[track_caller]
    fn check(epoch: Option<u64>, kind: PayloadKind, payload: &[u8], expected: &str) {
        let payload = Payload { bytes: Bytes::copy_from_slice(payload), kind };
        let head = Head { topic: "md.a", offset: 42, unix_us: None };
        let mut out = Vec::new();
        publication(&mut out, head, epoch.map(Epoch::from_number), &payload);
        assert_eq!(std::str::from_utf8(&out), Ok(expected));
    }

    #[test]
    fn a_publication_is_the_combined_message_with_its_position_as_id() {
        check(
            Some(36),
            PayloadKind::Json,
            b"{\"p\":1.10}",
            "id: 10:42\ndata: {\"stream\":\"md.a\",\"o\":42,\"data\":{\"p\":1.10}}\n\n",
        );
        check(None, PayloadKind::Json, b"1", "data: {\"stream\":\"md.a\",\"o\":42,\"data\":1}\n\n");
        check(None, PayloadKind::Text, b"a\n\"b\"", "data: {\"stream\":\"md.a\",\"o\":42,\"data\":\"a\\n\\\"b\\\"\"}\n\n");
    }

    #[test]
    fn the_time_of_ingest_stands_before_the_payload() {
        let head = Head { topic: "a", offset: 1, unix_us: Some(5) };
        for (kind, expected) in [
            (PayloadKind::Json, "data: {\"stream\":\"a\",\"o\":1,\"t\":5,\"data\":1}\n\n"),
            (PayloadKind::Binary, "data: {\"stream\":\"a\",\"o\":1,\"t\":5,\"b64\":\"MQ==\"}\n\n"),
        ] {
            let mut out = Vec::new();
            publication(&mut out, head, None, &Payload { bytes: Bytes::from_static(b"1"), kind });
            assert_eq!(std::str::from_utf8(&out), Ok(expected));
        }
    }

    #[test]
    fn bytes_come_as_base64() {
        check(
            Some(36),
            PayloadKind::Binary,
            &[0, 255, 10, 13],
            "id: 10:42\ndata: {\"stream\":\"md.a\",\"o\":42,\"b64\":\"AP8KDQ==\"}\n\n",
        );
        check(None, PayloadKind::Binary, b"", "data: {\"stream\":\"md.a\",\"o\":42,\"b64\":\"\"}\n\n");
    }

    #[test]
    fn each_line_of_a_payload_is_a_line_of_data() {
        let expected = "data: {\"stream\":\"md.a\",\"o\":42,\"data\":\ndata: [1,\ndata: \ndata: 2,\ndata: 3]\ndata: }\n\n";
        check(None, PayloadKind::Json, b"\n[1,\r\n\r2,\r3]\n", expected);
    }

    #[test]
    fn a_last_event_id_is_a_position_or_nothing() {
        assert_eq!(last_event_id(b"10:42"), Ok(Some(Position { epoch: Epoch::from_number(36), offset: 42 })));
        assert_eq!(last_event_id(b""), Ok(None));
        for wrong in [&b"42"[..], b"10:", b":42", b"A:1", b"10:9007199254740992", b"\xff:1"] {
            let error = last_event_id(wrong).expect_err("it is no position");
            assert!(error.code == ErrorCode::BadRequest && error.message.contains("<epoch>:<offset>"), "{error}");
        }
    }
}
