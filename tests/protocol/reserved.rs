//! Opcodes and bits that RFC 6455 5.2 reserves: each closes with 1002, wherever it stands, and nothing of it or behind it
//! is acted on. On `/echo`, because a server that took such a frame for a message would send it back.

use crate::common::{Frame, Gateway, Raw, frame};

const RESERVED_OPCODES: [u8; 10] = [3, 4, 5, 6, 7, 11, 12, 13, 14, 15];

const FIN: u8 = 0x80;

/// Sends the frames by themselves, and between two messages, of which only the first comes back.
fn check(gateway: &Gateway, what: &str, reserved: &[u8]) {
    check_extended(gateway, what, reserved, None);
}

/// The same, where this extension is offered and agreed.
fn check_extended(gateway: &Gateway, what: &str, reserved: &[u8], extension: Option<&str>) {
    let message = frame(0x81, b"before");
    for before in [&message[..], &[]] {
        let mut raw = Raw::open(gateway.clients);
        let offer = extension.map(|extension| ("Sec-WebSocket-Extensions", extension));
        let response = raw.handshake("/echo", offer.as_slice());
        assert_eq!((response.status, response.header("sec-websocket-extensions")), (101, extension), "{what}");
        raw.send([before, reserved, &frame(0x81, b"behind")].concat());
        if !before.is_empty() {
            let echo = raw.frame().unwrap_or_else(|| panic!("{what}: closed instead of an echo"));
            assert!(extension.is_some() || echo == Frame { first: 0x81, payload: b"before".to_vec() }, "{what}: {echo:?}");
            assert_eq!(echo.first & 0x8F, 0x81, "{what}");
        }
        let close = raw.frame().unwrap_or_else(|| panic!("{what}: closed without a close frame"));
        assert_eq!((close.first, close.close_code()), (0x88, Some(1002)), "{what}");
        raw.send(frame(0x88, &1002u16.to_be_bytes()));
        assert_eq!(raw.frame(), None, "{what}: after the close frame comes the end");
    }
}

fn echo() -> Gateway {
    Gateway::configured("[echo]\nenabled = true\n")
}

#[test]
fn a_reserved_opcode_closes_with_1002_whole_or_fragmented_empty_or_not() {
    let gateway = echo();
    for opcode in RESERVED_OPCODES {
        for first in [FIN | opcode, opcode] {
            for payload in [&b""[..], b"payload", &[b'x'; 200]] {
                check(&gateway, &format!("{first:#04x} with {} bytes", payload.len()), &frame(first, payload));
            }
        }
    }
}

#[test]
fn a_reserved_opcode_inside_a_fragmented_message_closes_with_1002() {
    let gateway = echo();
    for opcode in RESERVED_OPCODES {
        let frames = [frame(0x01, b"begun"), frame(FIN | opcode, b"x"), frame(FIN, b"ended")].concat();
        check(&gateway, &format!("opcode {opcode}"), &frames);
    }
}

#[test]
fn reserved_bits_close_with_1002_on_every_kind_of_frame() {
    let gateway = echo();
    let begun = frame(0x01, b"begun");
    for bits in (1..8).map(|bits: u8| bits << 4) {
        for first in [0x81, 0x82, 0x01, 0x02, 0x88, 0x89, 0x8A] {
            check(&gateway, &format!("bits {bits:#04x} on {first:#04x}"), &frame(first | bits, b"\x03\xE8"));
            check(&gateway, &format!("bits {bits:#04x} on an empty {first:#04x}"), &frame(first | bits, b""));
        }
        for continuation in [0x80, 0x00] {
            let frames = [&begun[..], &frame(continuation | bits, b"x"), &frame(FIN, b"ended")].concat();
            check(&gateway, &format!("bits {bits:#04x} on the continuation {continuation:#04x}"), &frames);
        }
        for control in [0x88, 0x89, 0x8A] {
            let frames = [&begun[..], &frame(control | bits, b""), &frame(FIN, b"ended")].concat();
            check(&gateway, &format!("bits {bits:#04x} on {control:#04x} inside a message"), &frames);
        }
    }
}

#[test]
fn with_compression_agreed_rsv1_means_something_on_a_messages_first_frame_only() {
    let gateway = Gateway::deflating("");
    let check = |what: &str, reserved: &[u8]| check_extended(&gateway, what, reserved, Some("permessage-deflate"));
    let begun = frame(0x01, b"begun");
    for bits in (1..8).map(|bits: u8| bits << 4) {
        for first in [0x88, 0x89, 0x8A] {
            check(&format!("bits {bits:#04x} on {first:#04x}"), &frame(first | bits, b""));
        }
        for continuation in [0x80, 0x00] {
            let frames = [&begun[..], &frame(continuation | bits, b"x"), &frame(FIN, b"ended")].concat();
            check(&format!("bits {bits:#04x} on the continuation {continuation:#04x}"), &frames);
        }
        for first in [0x81, 0x82, 0x01, 0x02].into_iter().filter(|_| bits != 0x40) {
            check(&format!("bits {bits:#04x} on {first:#04x}"), &frame(first | bits, b"\x00"));
        }
    }
    for opcode in RESERVED_OPCODES {
        check(&format!("opcode {opcode} with RSV1"), &frame(FIN | 0x40 | opcode, b"\x00"));
    }
}

#[test]
fn the_first_byte_alone_is_enough() {
    let gateway = echo();
    for first in [0xC1u8, 0xA1, 0x91, 0x83, 0x8F] {
        let mut raw = Raw::upgraded(&gateway, "/echo");
        raw.send([first]);
        assert_eq!(raw.closed_with(), 1002, "{first:#04x}");
    }
}
