//! Compression: bytes that inflate to more than they are, bits that were not agreed on, and what one client's compressed bytes
//! tell about another's.

use flate2::{Compress, Compression, FlushCompress};

use crate::common::figures::metric;
use crate::common::{Frame, Gateway, Raw, frame};
use crate::{Cost, Scene};

const MESSAGE_BYTES_MAX: u64 = 64 << 10;
const PUBLICATION_BYTES_MAX: u64 = 1 << 20;
/// What inflating one message takes: the window of 32 KiB, tables, and a piece of what comes out.
const INFLATER_BYTES: u64 = 96 << 10;

const EXTENSIONS: &str = "Sec-WebSocket-Extensions";
const TAIL: &[u8] = b"\x00\x00\xff\xff";

fn scene() -> Scene {
    Scene::with_listener("permessage_deflate = true\n", "[echo]\nenabled = true\n")
}

fn connect(gateway: &Gateway, path: &str) -> Raw {
    let mut raw = Raw::open(gateway.clients);
    let answer = raw.handshake(path, &[(EXTENSIONS, "permessage-deflate")]);
    assert!(answer.status == 101 && answer.header("sec-websocket-extensions").is_some(), "{answer:?}");
    raw
}

fn deflated(compress: &mut Compress, message: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(message.len() + 1024);
    compress.compress_vec(message, &mut out, FlushCompress::Sync).expect("memory takes it");
    assert!(out.ends_with(TAIL));
    out
}

/// So many MiB of spaces, a thousandth as long: the second MiB refers to the first, and so does every one behind it.
fn bomb(mib: usize) -> Vec<u8> {
    let mut compress = Compress::new(Compression::best(), false);
    let spaces = vec![b' '; 1 << 20];
    let parts = [0, 1, 2].map(|_| deflated(&mut compress, &spaces));
    assert!(parts[1] == parts[2] && parts[1].len() < 1200);
    let mut bomb = [parts[0].clone(), parts[1].repeat(mib - 1)].concat();
    bomb.truncate(bomb.len() - TAIL.len());
    bomb
}

/// CVE-2026-27571, CVE-2026-39804, CVE-2018-1000518, CVE-2016-10544.
#[test]
fn decompression_bomb() {
    const CLIENTS: usize = 40;
    let (small, large) = (bomb(50), bomb(800));
    assert!(small.len() < MESSAGE_BYTES_MAX as usize && large.len() < PUBLICATION_BYTES_MAX as usize);
    let mut scene = scene();
    // One after the other, so that the memory of one publication is what there is at a time, in twice its room; of the others that
    // of a message each.
    let cost = Cost::clients(CLIENTS, INFLATER_BYTES + 2 * MESSAGE_BYTES_MAX);
    let cost = Cost { resident_bytes: cost.resident_bytes + 2 * PUBLICATION_BYTES_MAX, ..cost };
    scene.attack(cost, |gateway| {
        for path in ["/ws", "/echo", "/publish"] {
            let mut clients: Vec<_> = (0..CLIENTS).map(|_| connect(gateway, path)).collect();
            clients.iter_mut().for_each(|client| client.send(frame(0xC1, &small)));
            assert!(clients.iter_mut().all(|client| client.closed_with() == 1009), "{path}");
        }
        for first in [0xC1, 0xC2] {
            let mut client = connect(gateway, "/publish/bomb");
            client.send(frame(first, &large));
            assert_eq!(client.closed_with(), 1009);
        }
    });
}

#[test]
fn decompression_bomb_in_fragments() {
    let (small, large) = (bomb(50), bomb(800));
    let mut scene = scene();
    let cost = Cost::clients(2, INFLATER_BYTES + 2 * PUBLICATION_BYTES_MAX);
    scene.attack(cost, |gateway| {
        for (path, bomb, piece) in [("/ws", &small, 61), ("/echo", &small, 997), ("/publish/bomb", &large, 997)] {
            let mut client = connect(gateway, path);
            let pieces = bomb.chunks(piece).enumerate();
            let flood: Vec<u8> = pieces.flat_map(|(number, piece)| frame(if number == 0 { 0x41 } else { 0x00 }, piece)).collect();
            client.send(flood);
            // It ends before the message does, as the cap is reached; the gateway waits for no last fragment.
            assert_eq!(client.closed_with(), 1009, "{path}");
        }
    });
}

/// Each just within the limit, and small on the wire: they cost what any message costs, and are counted as such.
#[test]
fn decompression_bomb_in_many_small_messages() {
    let mut within = deflated(&mut Compress::new(Compression::best(), false), &vec![b' '; MESSAGE_BYTES_MAX as usize]);
    within.truncate(within.len() - TAIL.len());
    assert!(within.len() < 100);
    let mut scene = scene();
    // Of echoes as much as reply_bytes_max and one more, in twice its room.
    let cost = Cost::clients(2, INFLATER_BYTES + 2 * ((256 << 10) + 2 * MESSAGE_BYTES_MAX));
    scene.attack(cost, |gateway| {
        for path in ["/ws", "/echo"] {
            let mut client = connect(gateway, path);
            client.send(frame(0xC1, &within).repeat(2_000));
            let mut answers = 0;
            let close = loop {
                let frame = client.frame().expect("it is told");
                if frame.first == 0x88 {
                    break frame.close_code();
                }
                answers += 1;
            };
            assert_eq!(close, Some(1008), "{path}");
            assert!((99..=250).contains(&answers), "{answers} answers: a hundred errors, or a burst of echoes");
        }
    });
}

/// Where the context is taken over a message may be nothing but references to the ones before.
#[test]
fn decompression_bomb_by_context() {
    let mut compress = Compress::new(Compression::best(), false);
    let cut = |mut bytes: Vec<u8>| {
        bytes.truncate(bytes.len() - TAIL.len());
        bytes
    };
    let first = cut(deflated(&mut compress, &vec![b' '; 60_000]));
    let again = cut(deflated(&mut compress, &vec![b' '; 60_000]));
    let bomb = cut(deflated(&mut compress, &vec![b' '; 60 << 20]));
    let mut scene = scene();
    scene.attack(Cost::clients(2, INFLATER_BYTES + 4 * MESSAGE_BYTES_MAX), |gateway| {
        let mut client = connect(gateway, "/echo");
        for message in [&first, &again, &again] {
            client.send(frame(0xC1, message));
            assert_eq!(client.frame().map(|echo| echo.first), Some(0xC1), "within the limit it is echoed");
        }
        client.send(frame(0xC1, &bomb));
        assert_eq!(client.closed_with(), 1009);
    });
}

/// What a client may leave unfinished: an inflater, and the message as far as it came.
#[test]
fn decompression_that_is_never_finished() {
    const CLIENTS: usize = 50;
    let part = deflated(&mut Compress::new(Compression::best(), false), &vec![b' '; 60_000]);
    let mut scene = scene();
    scene.attack(Cost::clients(CLIENTS, INFLATER_BYTES + 2 * MESSAGE_BYTES_MAX), |gateway| {
        let mut clients: Vec<_> = (0..CLIENTS).map(|_| connect(gateway, "/ws")).collect();
        for client in &mut clients {
            client.send([frame(0x41, &part), frame(0x89, b"taken in")].concat());
            assert_eq!(client.frame().map(|pong| pong.first), Some(0x8A));
        }
        assert!(metric(gateway, "connections", "") > CLIENTS as i64);
        clients
    });
}

/// RFC 7692 6: the bit is for the first frame of a message, and only where it was agreed on.
#[test]
fn rsv1_where_it_does_not_belong() {
    let message = {
        let mut bytes = deflated(&mut Compress::new(Compression::best(), false), b"{\"method\":\"PING\",\"id\":1}");
        bytes.truncate(bytes.len() - TAIL.len());
        bytes
    };
    let mut scene = scene();
    scene.attack(Cost::clients(20, INFLATER_BYTES), |gateway| {
        let (begin, rest) = message.split_at(5);
        for (what, bytes) in [
            ("on a continuation", [frame(0x41, begin), frame(0xC0, rest)].concat()),
            ("on a continuation of what is not compressed", [frame(0x01, b"{"), frame(0xC0, rest)].concat()),
            ("on a ping", frame(0xC9, b"ping")),
            ("on a pong", frame(0xCA, b"pong")),
            ("on a close", frame(0xC8, &1000u16.to_be_bytes())),
            ("RSV2 beside it", frame(0xE1, &message)),
            ("RSV3 beside it", frame(0xD1, &message)),
            ("RSV2 alone", frame(0xA1, &message)),
        ] {
            let mut client = connect(gateway, "/ws");
            client.send(bytes);
            assert_eq!(client.closed_with(), 1002, "{what}");
        }
        let mut plain = Raw::upgraded(gateway, "/ws");
        plain.send(frame(0xC1, &message));
        assert_eq!(plain.closed_with(), 1002, "nothing was agreed on");
        for (what, bytes) in
            [("a reserved block type", vec![0x07]), ("a distance too far back", vec![0x4B, 0x04, 0x62, 0xFF, 0xFF])]
        {
            let mut client = connect(gateway, "/ws");
            client.send(frame(0xC1, &bytes));
            assert_eq!(client.closed_with(), 1007, "{what}");
        }
        let mut client = connect(gateway, "/ws");
        let mut bad_text = deflated(&mut Compress::new(Compression::best(), false), &[b'a', 0xFF, b'b']);
        bad_text.truncate(bad_text.len() - TAIL.len());
        client.send(frame(0xC1, &bad_text));
        assert_eq!(client.closed_with(), 1007, "text that is not UTF-8 once it is inflated");
    });
}

/// CRIME, BREACH: who can have text of their own compressed with somebody else's learns it from the length. Nothing is
/// compressed together with anything but itself.
#[test]
fn compression_side_channel() {
    let mut scene = scene();
    scene.attack(Cost::clients(4, 512 << 10), |gateway| {
        let secret = format!("\"secret {}\"", "0123456789abcdef".repeat(20));
        let guess = format!("\"public {}\"", "0123456789abcdef".repeat(20));
        let next = |raw: &mut Raw| {
            let frame = raw.frame().expect("a publication comes");
            assert_eq!(frame.first, 0xC1, "it is compressed");
            frame
        };
        let mut subscriber = Raw::open(gateway.clients);
        let answer = subscriber.handshake("/ws/md.a", &[(EXTENSIONS, "permessage-deflate; client_max_window_bits")]);
        let agreed = answer.header("sec-websocket-extensions").expect("it is granted").to_owned();
        assert!(agreed.contains("server_no_context_takeover"), "{agreed}");
        let mut publish = |payload: &str| -> Frame {
            gateway.publish("md.a", payload);
            next(&mut subscriber)
        };
        // The same bytes whatever went before, of the same topic or for the same client.
        let alone = publish(&guess);
        publish(&secret);
        assert_eq!(publish(&guess), alone);
        // A client's own context, where it has one, is its own.
        let message = |text: &str| {
            let mut bytes = deflated(&mut Compress::new(Compression::best(), false), text.as_bytes());
            bytes.truncate(bytes.len() - TAIL.len());
            frame(0xC1, &bytes)
        };
        let mut first = connect(gateway, "/echo");
        first.send(message(&secret));
        let told = next(&mut first);
        let mut second = connect(gateway, "/echo");
        second.send(message(&secret));
        assert_eq!(next(&mut second), told, "what another client had echoed makes nothing shorter");
    });
}
