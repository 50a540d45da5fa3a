//! RFC 6455 over the wire, byte by byte. What breaks it is in `tests/hostile/frames.rs`.

use crate::common::{Frame, Gateway, Raw, frame};

const PING: &str = "{\"method\":\"PING\",\"id\":1}";

/// Sends bytes on a connection of its own and insists on a close code.
fn check_closes(gateway: &Gateway, what: &str, bytes: impl AsRef<[u8]>, code: u16) {
    let mut raw = Raw::upgraded(gateway, "/ws");
    raw.send(bytes);
    let close = raw.frame().unwrap_or_else(|| panic!("{what}: closed without a close frame"));
    assert_eq!(close.close_code(), Some(code), "{what}");
    raw.send(frame(0x88, &code.to_be_bytes()));
    assert_eq!(raw.frame(), None, "{what}: after the close frame comes the end");
}

#[test]
fn a_close_frame_is_answered_with_its_code_and_the_connection_ends() {
    let gateway = Gateway::publishing();
    for code in [1000u16, 1001, 1002, 1003, 1007, 1011, 3000, 4999] {
        check_closes(&gateway, "a close frame", frame(0x88, &code.to_be_bytes()), code);
    }
    let mut raw = Raw::upgraded(&gateway, "/ws");
    raw.send(frame(0x88, b""));
    let answer = raw.frame().expect("a close frame is answered");
    assert!(matches!(answer.close_code(), None | Some(1000)), "{answer:?}");
    assert_eq!(raw.frame(), None);
}

#[test]
fn what_follows_a_close_frame_is_ignored() {
    let gateway = Gateway::publishing();
    let mut raw = Raw::upgraded(&gateway, "/ws");
    raw.send([frame(0x88, &1000u16.to_be_bytes()), frame(0x81, PING.as_bytes()), vec![0xFF; 10]].concat());
    assert_eq!(raw.frame().and_then(|answer| answer.close_code()), Some(1000));
    assert_eq!(raw.frame(), None);
}

#[test]
fn a_ping_is_answered_with_a_pong_of_the_same_bytes_also_inside_a_fragmented_message() {
    let gateway = Gateway::publishing();
    let mut raw = Raw::upgraded(&gateway, "/ws");
    for payload in [&b""[..], b"hello", &[0xFF; 125]] {
        raw.send(frame(0x89, payload));
        assert_eq!(raw.frame(), Some(Frame { first: 0x8A, payload: payload.to_vec() }));
    }
    let (begin, end) = PING.as_bytes().split_at(9);
    raw.send(frame(0x01, begin));
    raw.send(frame(0x89, b"between"));
    assert_eq!(raw.frame(), Some(Frame { first: 0x8A, payload: b"between".to_vec() }));
    raw.send(frame(0x80, end));
    assert!(raw.text().starts_with("{\"result\":"));
}

#[test]
fn a_pong_that_nobody_asked_for_is_ignored() {
    let gateway = Gateway::publishing();
    let mut raw = Raw::upgraded(&gateway, "/ws");
    raw.send(frame(0x8A, b"unasked"));
    raw.send_text(PING);
    assert!(raw.text().starts_with("{\"result\":"));
}

#[test]
fn fragments_and_pieces_make_one_message_wherever_they_are_cut() {
    let gateway = Gateway::publishing();
    let request = "{\"method\":\"SUBSCRIBE\",\"params\":[\"€.😀\"],\"id\":\"é\"}";
    let bytes = request.as_bytes();
    for cut in 0..=bytes.len() {
        let mut raw = Raw::upgraded(&gateway, "/ws");
        raw.send([frame(0x01, &bytes[..cut]), frame(0x00, b""), frame(0x80, &bytes[cut..])].concat());
        assert_eq!(raw.text(), "{\"result\":null,\"id\":\"é\"}", "cut at {cut}");
    }
    let mut raw = Raw::upgraded(&gateway, "/ws");
    for byte in frame(0x81, bytes) {
        raw.send([byte]);
    }
    assert_eq!(raw.text(), "{\"result\":null,\"id\":\"é\"}");
}

#[test]
fn frames_that_come_in_the_handshakes_segment_are_not_lost() {
    let gateway = Gateway::publishing();
    let mut raw = Raw::open(gateway.clients);
    let host = gateway.clients;
    let head = format!(
        "GET /ws HTTP/1.1\r\nHost: {host}\r\nConnection: keep-alive, Upgrade\r\nUpgrade: WebSocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    raw.send([head.as_bytes(), &frame(0x81, PING.as_bytes())].concat());
    assert_eq!(raw.response().status, 101);
    assert!(raw.text().starts_with("{\"result\":"));
}

#[test]
fn a_handshake_may_come_byte_by_byte() {
    let gateway = Gateway::publishing();
    let mut raw = Raw::open(gateway.clients);
    let head = format!(
        "GET /ws HTTP/1.1\r\nhost: {}\r\nconnection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        gateway.clients
    );
    for byte in head.bytes() {
        raw.send([byte]);
    }
    assert_eq!(raw.response().status, 101);
}

#[test]
fn echo_gives_back_what_it_gets_where_it_is_on() {
    let gateway = Gateway::configured("[echo]\nenabled = true\n");
    let mut raw = Raw::upgraded(&gateway, "/echo");
    for length in [0, 1, 125, 126, 4096, 65_535, 65_536] {
        let payload: Vec<u8> = (0..length).map(|index: usize| b'a' + (index % 26) as u8).collect();
        for first in [0x81, 0x82] {
            raw.send(frame(first, &payload));
            let echo = raw.frame().expect("an echo comes");
            assert!(echo == Frame { first, payload: payload.clone() }, "{length} bytes");
        }
    }
    let off = Gateway::configured("");
    assert_eq!(Raw::open(off.clients).handshake("/echo", &[]).status, 404);
}
