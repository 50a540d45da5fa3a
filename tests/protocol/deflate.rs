//! "Compression": permessage-deflate (RFC 7692), by bytes, against flate2's DEFLATE on `miniz_oxide`.

use std::io::Read;

use flate2::read::DeflateDecoder;
use flate2::{Compress, Compression, FlushCompress};

use crate::common::{Client, Frame, Gateway, Raw, frame};

const NAME: &str = "Sec-WebSocket-Extensions";
const SHARED: &str = "permessage-deflate; server_no_context_takeover; client_no_context_takeover";
const TAIL: &[u8] = b"\x00\x00\xff\xff";

/// A payload that is worth it.
fn long(number: u32) -> String {
    let trades: Vec<String> = (0..20).map(|trade| format!("{{\"p\":\"6123{trade}.10\",\"q\":\"0.{number}\"}}")).collect();
    format!("[{}]", trades.join(","))
}

fn offering(gateway: &Gateway, path: &str, offer: &str) -> (Raw, Option<String>) {
    let mut raw = Raw::open(gateway.clients);
    let response = raw.handshake(path, &[(NAME, offer)]);
    assert_eq!(response.status, 101, "{path} {offer}: {response:?}");
    (raw, response.header("sec-websocket-extensions").map(str::to_owned))
}

fn connect(gateway: &Gateway, path: &str) -> Raw {
    let (raw, answer) = offering(gateway, path, "permessage-deflate; client_max_window_bits");
    assert_eq!(answer.as_deref(), Some(SHARED), "{path}");
    raw
}

/// A message by itself: what others than the gateway make of it.
fn deflated(message: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(message.len() + 1024);
    let mut compress = Compress::new(Compression::best(), false);
    compress.compress_vec(message, &mut out, FlushCompress::Sync).expect("memory takes it");
    out.truncate(out.len() - TAIL.len());
    out
}

fn inflated(payload: &[u8]) -> String {
    let whole = [payload, TAIL, b"\x03\x00"].concat();
    let mut text = String::new();
    DeflateDecoder::new(&whole[..]).read_to_string(&mut text).expect("it can be inflated by itself, and is text");
    text
}

/// The next frame, which is a whole compressed text.
fn compressed(raw: &mut Raw) -> Frame {
    let frame = raw.frame().expect("a frame comes before the end");
    assert_eq!(frame.first, 0xC1, "not a compressed text: {frame:?}");
    frame
}

#[test]
fn offers_are_granted_by_what_the_path_is_for() {
    let gateway = Gateway::deflating("");
    let narrow = "permessage-deflate; server_max_window_bits=10";
    for (offer, shared, echo) in [
        ("permessage-deflate", Some(SHARED), Some("permessage-deflate")),
        ("permessage-deflate; client_max_window_bits", Some(SHARED), Some("permessage-deflate")),
        (narrow, None, Some(narrow)),
        (&format!("{narrow}, permessage-deflate"), Some(SHARED), Some(narrow)),
        ("permessage-deflate; server_max_window_bits=7", None, None),
        ("permessage-deflate; server_max_window_bits=08, permessage-deflate", Some(SHARED), Some("permessage-deflate")),
        ("permessage-deflate; client_no_context_takeover=1", None, None),
        ("permessage-deflate; x", None, None),
        ("x-webkit-deflate-frame", None, None),
    ] {
        for path in ["/ws", "/stream?streams=md.a", "/publish", "/publish/md.a"] {
            assert_eq!(offering(&gateway, path, offer).1.as_deref(), shared, "{path} {offer}");
        }
        assert_eq!(offering(&gateway, "/echo", offer).1.as_deref(), echo, "{offer}");
    }
    // Two fields are one list.
    let response = Raw::open(gateway.clients).handshake("/echo", &[(NAME, "x"), (NAME, narrow)]);
    assert_eq!(response.header("sec-websocket-extensions"), Some(narrow));
    // RFC 6455 9.1: what is no list fails the connection.
    for malformed in ["permessage-deflate; ", "permessage-deflate; a=\"", "a b", "=", "permessage-deflate; a=\"b c\""] {
        assert_eq!(Raw::open(gateway.clients).handshake("/ws", &[(NAME, malformed)]).status, 400, "{malformed}");
    }
    gateway.stop();
}

#[test]
fn nothing_is_granted_unless_the_listener_says_so() {
    let gateway = Gateway::publishing();
    let (mut raw, answer) = offering(&gateway, "/ws/md.a", "permessage-deflate");
    assert_eq!(answer, None);
    gateway.publish("md.a", &long(1));
    assert_eq!(raw.text(), long(1));
    raw.send(frame(0xC1, &deflated(b"{\"method\":\"PING\",\"id\":1}")));
    assert_eq!(raw.closed_with(), 1002);
}

#[test]
fn all_subscribers_of_a_topic_get_the_same_compressed_frame() {
    let gateway = Gateway::deflating("");
    let mut raws = [connect(&gateway, "/ws/md.a"), connect(&gateway, "/ws/md.a")];
    let mut combined = [connect(&gateway, "/stream?streams=md.a"), connect(&gateway, "/stream?streams=md.a")];
    let mut plain = Client::connect(&gateway, "/ws/md.a");
    for number in 1..4 {
        let payload = long(number);
        gateway.publish("md.a", &payload);
        assert_eq!(plain.text(), payload);
        let [one, two] = raws.each_mut().map(compressed);
        assert_eq!((inflated(&one.payload), &one), (payload.clone(), &two));
        assert!(one.payload.len() * 3 < payload.len(), "{} of {} bytes", one.payload.len(), payload.len());
        let [one, two] = combined.each_mut().map(compressed);
        let envelope = format!("{{\"stream\":\"md.a\",\"o\":{number},\"data\":{payload}}}");
        assert_eq!((inflated(&one.payload), &one), (envelope, &two));
    }
    // Once for each encoding; on two shards the clients may have been accepted by both.
    let compressions = gateway.counter("compressions");
    assert!((6..=12).contains(&compressions), "{compressions} compressions of 3 publications in 2 encodings");
    assert!(gateway.counter("compression_output_bytes") * 3 < gateway.counter("compression_input_bytes"));
    gateway.stop();
}

#[test]
fn what_is_short_or_does_not_shrink_is_sent_as_it_is() {
    let gateway = Gateway::deflating("[limits]\ndeflate_bytes_min = 200\n");
    let mut raw = connect(&gateway, "/ws/md.a");
    let mut publisher = Client::connect(&gateway, "/publish/md.a");
    let mut state = 1_u64;
    let mut random = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    let noise: Vec<u8> = (0..5000).map(|_| random()).collect();
    for (message, first) in [(&b"x".repeat(199)[..], 0x82), (&b"x".repeat(200)[..], 0xC2), (&noise, 0x82)] {
        publisher.send_binary(message);
        let frame = raw.frame().expect("a frame comes");
        assert_eq!(frame.first, first, "{} bytes", message.len());
        assert!(first == 0xC2 || frame.payload == message);
    }
    gateway.stop();
}

#[test]
fn a_change_of_combined_keeps_the_compression() {
    let gateway = Gateway::deflating("");
    let mut raw = connect(&gateway, "/ws/md.a");
    for combined in [true, false, true] {
        raw.send_text(&format!("{{\"method\":\"SET_PROPERTY\",\"params\":[\"combined\",{combined}],\"id\":1}}"));
        assert_eq!(raw.text(), "{\"result\":null,\"id\":1}");
        gateway.publish("md.a", &long(5));
        let text = inflated(&compressed(&mut raw).payload);
        assert_eq!(text.starts_with("{\"stream\":\"md.a\","), combined, "{text}");
        assert!(text.contains(&long(5)));
    }
    gateway.stop();
}

#[test]
fn requests_and_publications_may_come_compressed() {
    let gateway = Gateway::deflating("");
    let mut subscriber = connect(&gateway, "/ws");
    subscriber.send(frame(0xC1, &deflated(b"{\"method\":\"SUBSCRIBE\",\"params\":[\"md.a\"],\"id\":1}")));
    assert_eq!(subscriber.text(), "{\"result\":null,\"id\":1}");
    let mut publisher = connect(&gateway, "/publish/md.a");
    // In one frame, in two with a ping between, as it is, and as RFC 7692 7.2.3.4 and 7.2.3.6 have it.
    let payload = deflated(long(7).as_bytes());
    let (begin, rest) = payload.split_at(9);
    publisher.send(frame(0xC1, &payload));
    publisher.send(frame(0x41, begin));
    publisher.send(frame(0x89, b""));
    publisher.send(frame(0x80, rest));
    publisher.send(frame(0x81, long(7).as_bytes()));
    for _ in 0..3 {
        assert_eq!(inflated(&compressed(&mut subscriber).payload), long(7));
    }
    publisher.send(frame(0xC1, b"\xf3\x48\xcd\xc9\xc9\x07\x00\x00"));
    publisher.send(frame(0xC1, b"\x00"));
    assert_eq!((subscriber.text(), subscriber.text()), ("Hello".to_owned(), String::new()));
    gateway.stop();
}

#[test]
fn echo_takes_contexts_over_as_agreed() {
    let gateway = Gateway::deflating("");
    for (offer, takes_over) in [
        ("permessage-deflate", true),
        ("permessage-deflate; server_max_window_bits=8", true),
        ("permessage-deflate; client_no_context_takeover; server_max_window_bits=10", true),
        ("permessage-deflate; server_no_context_takeover", false),
    ] {
        let (mut raw, answer) = offering(&gateway, "/echo", offer);
        assert_eq!(answer.as_deref(), Some(offer));
        let client_takes_over = !offer.contains("client_no_context_takeover");
        let mut compress = Compress::new(Compression::best(), false);
        let (mut stream, mut lengths) = (Vec::new(), Vec::new());
        for _ in 0..3 {
            if !client_takes_over {
                compress.reset();
            }
            let mut payload = Vec::with_capacity(4096);
            let message = "a message that refers to the one before";
            compress.compress_vec(message.as_bytes(), &mut payload, FlushCompress::Sync).expect("memory takes it");
            raw.send(frame(0xC1, &payload[..payload.len() - TAIL.len()]));
            let echo = compressed(&mut raw);
            lengths.push(echo.payload.len());
            if takes_over {
                stream.extend([&echo.payload, TAIL].concat());
            } else {
                assert_eq!(inflated(&echo.payload), message);
            }
        }
        if takes_over {
            let text = inflated(&stream[..stream.len() - TAIL.len()]);
            assert_eq!(text, "a message that refers to the one before".repeat(3), "{offer}");
        }
        assert_eq!(lengths[1] < lengths[0], takes_over, "{offer}: {lengths:?}");
    }
    gateway.stop();
}

#[test]
fn a_compressed_frame_where_none_may_be_is_refused() {
    let gateway = Gateway::deflating("");
    for (stream, code) in [
        (frame(0xC9, b""), 1002),
        (frame(0xC0, b""), 1002),
        (frame(0xA1, b"a"), 1002),
        ([frame(0x41, b"\xf2\x48\xcd"), frame(0xC0, b"\xc9\xc9\x07\x00")].concat(), 1002),
        (frame(0xC1, b"\x07\x00"), 1007),
        (frame(0xC1, b"\xf2\x48\xcd"), 1007),
        (frame(0xC1, &deflated(b"{\"method\":\xff")), 1007),
    ] {
        let mut raw = connect(&gateway, "/ws");
        raw.send(&stream);
        assert_eq!(raw.closed_with(), code, "{stream:02x?}");
    }
    gateway.stop();
}

#[test]
fn a_bomb_costs_no_more_than_the_longest_message() {
    let gateway = Gateway::deflating("");
    let mut watcher = connect(&gateway, "/ws/md.a");
    let bomb = frame(0xC1, &deflated(&vec![b' '; 32 << 20]));
    assert!(bomb.len() < 64 << 10, "its frame is within message_bytes_max");
    let before = gateway.memory_peak_bytes();
    for path in ["/ws", "/stream", "/echo", "/publish", "/publish/md.b"] {
        for _ in 0..10 {
            let (mut raw, answer) = offering(&gateway, path, "permessage-deflate");
            assert!(answer.is_some());
            raw.send(&bomb);
            assert_eq!(raw.closed_with(), 1009, "{path}");
        }
    }
    let more = gateway.memory_peak_bytes() - before;
    assert!(more < 16 << 20, "fifty bombs of 32 MiB took {more} bytes");
    gateway.publish("md.a", &long(9));
    assert_eq!(inflated(&compressed(&mut watcher).payload), long(9));
    gateway.stop();
}
