//! What ends a connection, and what does not: sizes, errors in a row, rates, binary messages, falling behind.

use crate::common::{Client, Frame, Gateway, PUBLISHING, Raw, frame};

#[test]
fn a_hundred_errors_in_a_row_close_with_1008() {
    let gateway = Gateway::publishing();
    let mut client = Client::connect(&gateway, "/ws");
    for _ in 0..99 {
        client.error("NONSENSE", "");
    }
    client.assert_silent();
    for _ in 0..99 {
        client.error("NONSENSE", "");
    }
    client.request("NONSENSE", "");
    loop {
        match client.socket.read().expect("a close frame comes in time") {
            tungstenite::Message::Close(frame) => break assert_eq!(frame.map(|frame| frame.code.into()), Some(1008u16)),
            other => assert!(other.is_text(), "{other:?}"),
        }
    }
}

#[test]
fn a_binary_message_from_a_subscriber_closes_with_1003() {
    let gateway = Gateway::publishing();
    for path in ["/ws", "/ws/md.a", "/stream", "/stream?streams=md.a"] {
        let mut client = Client::connect(&gateway, path);
        client.send_binary(b"{\"method\":\"PING\",\"id\":1}");
        assert_eq!(client.close_code(), Some(1003), "{path}");
    }
}

#[test]
fn a_request_has_at_most_64_kib_else_1009() {
    let gateway = Gateway::publishing();
    let request = |length: usize| {
        let frame = "{\"method\":\"PING\",\"id\":1,\"pad\":\"\"}";
        frame.replace("\"\"", &format!("\"{}\"", "x".repeat(length - frame.len())))
    };
    let mut client = Client::connect(&gateway, "/ws");
    assert!(client.say(&request(65_536)).starts_with("{\"result\":{\"time\":"));
    let mut raw = Raw::upgraded(&gateway, "/ws");
    raw.send(frame(0x81, request(65_537).as_bytes()));
    assert_eq!(raw.closed_with(), 1009);
    // In fragments that are small one by one; and by its announced length alone, before its bytes come.
    let mut raw = Raw::upgraded(&gateway, "/ws");
    raw.send(frame(0x01, &[b' '; 40_000]));
    raw.send(frame(0x80, &[b' '; 40_000]));
    assert_eq!(raw.closed_with(), 1009);
    let mut raw = Raw::upgraded(&gateway, "/ws");
    raw.send([0x81, 0xFF, 0, 0, 0, 1, 0, 0, 0, 0, 1, 2, 3, 4]);
    assert_eq!(raw.closed_with(), 1009);
}

#[test]
fn a_message_has_a_bounded_number_of_fragments() {
    let gateway = Gateway::configured("[limits]\nfragments_max = 16\n");
    let mut raw = Raw::upgraded(&gateway, "/ws");
    raw.send(frame(0x01, b"{\"method\":\"PING\",\"id\":1"));
    for _ in 0..14 {
        raw.send(frame(0x00, b" "));
    }
    raw.send(frame(0x80, b"}"));
    assert!(raw.text().starts_with("{\"result\":{\"time\":"));
    raw.send(frame(0x01, b""));
    for _ in 0..16 {
        raw.send(frame(0x00, b""));
    }
    assert_eq!(raw.closed_with(), 1009);
}

#[test]
fn more_requests_than_the_bucket_holds_are_error_8() {
    let gateway = Gateway::configured("[limits]\nrequests_per_second = 1\nrequests_burst = 5\n");
    let mut client = Client::connect(&gateway, "/ws");
    for _ in 0..5 {
        assert!(client.ask("PING", "").starts_with("{\"result\":"));
    }
    let codes: Vec<_> =
        (0..20).map(|_| client.ask("PING", "")).filter(|reply| reply.starts_with("{\"error\":{\"code\":8,")).collect();
    assert!(codes.len() >= 15, "{} of 20 were refused", codes.len());
}

#[test]
fn only_the_newest_pong_is_owed() {
    let gateway = Gateway::publishing();
    let mut raw = Raw::upgraded(&gateway, "/ws");
    let mut segment = Vec::new();
    for number in 0..10u8 {
        segment.extend(frame(0x89, &[number]));
    }
    raw.send(segment);
    let mut newest = None;
    while newest != Some(9) {
        let pong = raw.frame().expect("a pong comes");
        assert_eq!((pong.first, pong.payload.len()), (0x8A, 1), "{pong:?}");
        assert!(newest < Some(pong.payload[0]), "pongs in order");
        newest = Some(pong.payload[0]);
    }
}

#[test]
fn a_subscriber_more_than_the_ring_behind_is_closed_with_1013_after_whole_frames() {
    let ring = "[[topic]]\npattern = \">\"\nring_publications = 64\nring_bytes = 65536\n";
    let gateway = Gateway::configured(&format!("{PUBLISHING}{ring}"));
    let mut stalled = Raw::upgraded(&gateway, "/ws/md.a");
    let mut reader = Client::connect(&gateway, "/ws/md.a");
    let payload = |number: usize| format!("\"{number}{}\"", "x".repeat(30_000));
    // 12 MB: more than two socket buffers hold.
    for number in 0..400 {
        gateway.publish("md.a", &payload(number));
        assert_eq!(reader.text().len(), payload(number).len(), "the others' deliveries are whole");
    }
    let mut number = 0;
    loop {
        match stalled.frame() {
            Some(Frame { first: 0x81, payload: bytes }) => {
                assert!(bytes == payload(number).as_bytes(), "frame {number} is whole and in order");
                number += 1;
            }
            Some(close) => break assert_eq!(close.close_code(), Some(1013)),
            None => break,
        }
    }
    assert!(number < 400, "it fell out of the ring");
    reader.assert_silent();
}

#[test]
fn a_flush_window_ends_by_itself_or_at_half_the_ring_and_keeps_the_order() {
    let topic = "[[topic]]\npattern = \"md.a\"\nring_publications = 8\nflush_us = 1000000\n";
    let gateway = Gateway::configured(&format!("{PUBLISHING}{topic}"));
    let mut reader = Client::connect(&gateway, "/ws/md.a");
    // Two windows' worth that end at half the ring, and one that ends in its time.
    for count in [8, 3] {
        for number in 0..count {
            gateway.publish("md.a", &number.to_string());
        }
        (0..count).for_each(|number| assert_eq!(reader.text(), number.to_string()));
    }
    reader.assert_silent();
}

#[test]
fn another_clients_bytes_do_not_wait_for_a_stalled_reader() {
    let gateway = Gateway::publishing();
    let _stalled: Vec<_> = (0..20).map(|_| Raw::upgraded(&gateway, "/ws/md.a")).collect();
    let mut reader = Client::connect(&gateway, "/ws/md.a");
    let payload = format!("\"{}\"", "x".repeat(500_000));
    for _ in 0..40 {
        gateway.publish("md.a", &payload);
        assert_eq!(reader.text().len(), payload.len());
        reader.assert_silent();
    }
}
