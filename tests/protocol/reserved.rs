//! Opcodes and bits that RFC 6455 5.2 reserves: each closes with 1002, wherever it stands, and nothing of it or behind it
//! is acted on. On `/echo`, because a server that took such a frame for a message would send it back.

use crate::common::{Frame, Gateway, Raw, frame};

const RESERVED_OPCODES: [u8; 10] = [3, 4, 5, 6, 7, 11, 12, 13, 14, 15];

const FIN: u8 = 0x80;

/// Sends a message and the frame behind it in one segment, and then another message: only the first comes back.
fn check(gateway: &Gateway, what: &str, reserved: &[u8]) {
    let message = frame(0x81, b"before");
    for before in [&message[..], &[]] {
        let mut raw = Raw::upgraded(gateway, "/echo");
        raw.send([before, reserved, &frame(0x81, b"behind")].concat());
        if !before.is_empty() {
            assert_eq!(raw.frame(), Some(Frame { first: 0x81, payload: b"before".to_vec() }), "{what}");
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
fn the_first_byte_alone_is_enough() {
    let gateway = echo();
    for first in [0xC1u8, 0xA1, 0x91, 0x83, 0x8F] {
        let mut raw = Raw::upgraded(&gateway, "/echo");
        raw.send([first]);
        assert_eq!(raw.closed_with(), 1002, "{first:#04x}");
    }
}
