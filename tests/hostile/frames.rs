//! Frames that break RFC 6455: refused at their first wrong byte, with the right code, before anything is kept for them.

use crate::common::{Gateway, Raw, frame, frame_with};
use crate::{Cost, Scene};

/// Each case is tried by so many clients, so that whatever one leaves behind is seen.
const CLIENTS: usize = 20;

/// Sends each case on connections of its own and insists on a close code and on nothing behind it.
fn check_closes(code: u16, cases: &[(&str, Vec<u8>)]) {
    let mut scene = Scene::new("");
    scene.attack(Cost::clients(CLIENTS, 0), |gateway| {
        for (what, bytes) in cases {
            let clients: Vec<_> = (0..CLIENTS).map(|_| send(gateway, bytes)).collect();
            for mut client in clients {
                let close = client.frame().unwrap_or_else(|| panic!("{what}: closed without a close frame"));
                assert_eq!(close.close_code(), Some(code), "{what}");
                client.send(frame(0x88, &code.to_be_bytes()));
                assert_eq!(client.frame(), None, "{what}: after the close frame comes the end");
            }
        }
    });
}

fn send(gateway: &Gateway, bytes: &[u8]) -> Raw {
    let mut raw = Raw::upgraded(gateway, "/ws");
    // A request behind the wrong bytes is never answered.
    raw.send([bytes, &frame(0x81, b"{\"method\":\"PING\",\"id\":1}")].concat());
    raw
}

#[test]
fn unmasked_client_frame() {
    check_closes(
        1002,
        &[
            ("a text", frame_with(0x81, &[0x05], b"hello")),
            ("an empty one", frame_with(0x82, &[0], b"")),
            ("a ping", frame_with(0x89, &[0], b"")),
            ("a close", frame_with(0x88, &[2], &1000u16.to_be_bytes())),
        ],
    );
}

#[test]
fn rsv_bits() {
    let opcodes = [0x01, 0x02, 0x08, 0x09, 0x0A];
    let cases = opcodes.iter().flat_map(|opcode| [0x10u8, 0x20, 0x40, 0x70].map(|rsv| 0x80 | rsv | opcode));
    let mut cases: Vec<_> = cases.map(|first| ("a reserved bit", frame(first, &1000u16.to_be_bytes()))).collect();
    cases.push(("in a continuation", [frame(0x01, b"x"), frame(0xC0, b"y")].concat()));
    check_closes(1002, &cases);
}

#[test]
fn reserved_opcodes() {
    let opcodes = [3u8, 4, 5, 6, 7, 11, 12, 13, 14, 15];
    let whole = opcodes.map(|opcode| ("a reserved opcode", frame(0x80 | opcode, b"x")));
    let inside = opcodes.map(|opcode| ("one inside a message", [frame(0x01, b"x"), frame(0x80 | opcode, b"")].concat()));
    check_closes(1002, &[whole, inside].concat());
}

#[test]
fn long_or_fragmented_control_frames() {
    let big = [b'x'; 126];
    check_closes(
        1002,
        &[
            ("a ping of 126 bytes", frame(0x89, &big)),
            ("a pong of 126 bytes", frame(0x8A, &big)),
            ("a close of 126 bytes", frame(0x88, &big)),
            ("a ping of 64 KiB", frame(0x89, &[0; 65_536])),
            ("a fragmented ping", frame(0x09, b"")),
            ("a fragmented pong", frame(0x0A, b"")),
            ("a fragmented close", frame(0x08, &1000u16.to_be_bytes())),
            ("a continuation of nothing", frame(0x80, b"x")),
            ("a message inside a fragmented one", [frame(0x01, b"x"), frame(0x81, b"y")].concat()),
        ],
    );
}

#[test]
fn non_minimal_length() {
    let big = [b'x'; 126];
    check_closes(
        1002,
        &[
            ("16 bits for 0", frame_with(0x81, &[0xFE, 0, 0], b"")),
            ("16 bits for 125", frame_with(0x81, &[0xFE, 0, 125], &big[..125])),
            ("64 bits for 0", frame_with(0x81, &[0xFF, 0, 0, 0, 0, 0, 0, 0, 0], b"")),
            ("64 bits for 126", frame_with(0x81, &[0xFF, 0, 0, 0, 0, 0, 0, 0, 126], &big)),
            ("64 bits for 65,535", frame_with(0x82, &[0xFF, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF], &[0; 65_535])),
            ("16 bits for a ping", frame_with(0x89, &[0xFE, 0, 4], b"ping")),
        ],
    );
}

/// CVE-2020-27813: a length that is added before it is compared.
#[test]
fn length_overflow() {
    let lengths = |length: u64| [&[0xFF][..], &length.to_be_bytes()].concat();
    let mut refused = Vec::new();
    let mut too_big = Vec::new();
    for first in [0x81, 0x82, 0x01] {
        for payload in [&b""[..], b"tiny"] {
            for length in [1 << 63, (1 << 63) + 1, u64::MAX - 13, u64::MAX] {
                refused.push(("its top bit is set", frame_with(first, &lengths(length), payload)));
            }
            for length in [(1 << 63) - 1, 1 << 62, 1 << 32, (1 << 32) + 4, 0xFFFF_FFFF, 1 << 31, 65_537] {
                too_big.push(("above the limit", frame_with(first, &lengths(length), payload)));
            }
        }
    }
    // What came before, added to it, would be small again.
    let rests = [lengths((1 << 32) - 10), lengths((1 << 63) - 10), vec![0xFE, 0xFF, 0xFA]];
    for rest in rests {
        let parts = [frame(0x01, b"ten bytes."), frame_with(0x00, &rest, b"")];
        too_big.push(("above the limit with the fragment before", parts.concat()));
    }
    check_closes(1002, &refused);
    check_closes(1009, &too_big);
}

#[test]
fn bad_utf8() {
    check_closes(
        1007,
        &[
            ("a lone byte", frame(0x81, &[0xFF])),
            ("a surrogate", frame(0x81, &[0xED, 0xA0, 0x80])),
            ("an overlong form", frame(0x81, &[0xC0, 0xAF])),
            ("above U+10FFFF", frame(0x81, &[0xF4, 0x90, 0x80, 0x80])),
            ("torn at the end", frame(0x81, &"€".as_bytes()[..2])),
            ("behind 40,000 good bytes", frame(0x81, &[&[b'a'; 40_000][..], &[0x80]].concat())),
        ],
    );
}

#[test]
fn bad_utf8_over_fragments() {
    let euro = "€".as_bytes();
    check_closes(
        1007,
        &[
            ("torn, then wrong", [frame(0x01, &euro[..1]), frame(0x80, b"x")].concat()),
            ("torn in three", [frame(0x01, &euro[..1]), frame(0x00, &euro[1..2]), frame(0x80, b"")].concat()),
            ("a surrogate in three", [frame(0x01, &[0xED]), frame(0x00, &[0xA0]), frame(0x80, &[0x80])].concat()),
            ("behind an empty fragment", [frame(0x01, &euro[..2]), frame(0x00, b""), frame(0x80, b"!")].concat()),
        ],
    );
}

/// Found at the first bad byte: neither the frame nor the message has to end.
#[test]
fn bad_utf8_in_what_never_ends() {
    let mut scene = Scene::new("");
    scene.attack(Cost::clients(CLIENTS, 0), |gateway| {
        for bytes in [frame(0x01, &[b'a', 0xFE]), frame_with(0x81, &[0x80 | 20], &[0xC3, 0x28])] {
            let mut raw = Raw::upgraded(gateway, "/ws");
            raw.send(bytes);
            assert_eq!(raw.closed_with(), 1007);
        }
    });
}

#[test]
fn bad_utf8_in_a_close_reason() {
    let close = |reason: &[u8]| frame(0x88, &[&1000u16.to_be_bytes()[..], reason].concat());
    check_closes(1007, &[("a lone byte", close(&[0xFF])), ("torn at the end", close(&"bye €".as_bytes()[..6]))]);
}

#[test]
fn bad_close_code() {
    let codes = [0u16, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65_535];
    let cases = codes.map(|code| ("a code that is not for the wire", frame(0x88, &code.to_be_bytes())));
    check_closes(1002, &cases);
}

#[test]
fn one_byte_close_body() {
    check_closes(1002, &[("one byte", frame(0x88, &[3])), ("a zero", frame(0x88, &[0]))]);
}
