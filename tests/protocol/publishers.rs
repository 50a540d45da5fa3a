//! "Publishers": connections on which every message is a publication.

use crate::common::{Client, Gateway, PUBLISHING, Raw, frame};

#[test]
fn every_message_of_a_publisher_is_one_publication_on_its_topic_untouched() {
    let gateway = Gateway::publishing();
    let mut subscriber = Client::connect(&gateway, "/ws/md.a");
    let mut publisher = Client::connect(&gateway, "/publish/md.a");
    for text in ["{ \"x\" : 1 }", "not JSON", "", "{\"method\":\"PING\",\"id\":1}"] {
        publisher.send(text);
        assert_eq!(subscriber.text(), text);
    }
    publisher.send_binary(&[0, 255, 1]);
    assert_eq!(subscriber.binary(), [0, 255, 1]);
}

#[test]
fn a_message_in_fragments_is_one_publication() {
    let gateway = Gateway::publishing();
    let mut subscriber = Client::connect(&gateway, "/ws/md.a");
    let mut publisher = Raw::upgraded(&gateway, "/publish/md.a");
    let text = "x€".repeat(30_000);
    let pieces: Vec<_> = text.as_bytes().chunks(7001).collect();
    for (index, piece) in pieces.iter().enumerate() {
        let first = u8::from(index == 0) | if index + 1 == pieces.len() { 0x80 } else { 0 };
        publisher.send(frame(first, piece));
    }
    assert!(subscriber.text() == text, "the fragments together");
}

#[test]
fn a_publishers_topic_is_percent_decoded_once() {
    let gateway = Gateway::publishing();
    let mut subscriber = Client::connect(&gateway, "/ws/btcusdt@trade");
    Client::connect(&gateway, "/publish/btcusdt%40trade").send("1");
    assert_eq!(subscriber.text(), "1");
}

#[test]
fn publish_takes_what_a_combined_connection_gives_out_offset_and_time_ignored() {
    let gateway = Gateway::publishing();
    let mut subscriber = Client::connect(&gateway, "/stream?streams=md.a/md.b");
    let mut publisher = Client::connect(&gateway, "/publish");
    let text = [
        ("{\"stream\":\"md.a\",\"o\":77,\"data\":{ \"x\" : 1.0 }}", "{\"stream\":\"md.a\",\"o\":1,\"data\":{ \"x\" : 1.0 }}"),
        ("{\"stream\":\"md.b\",\"o\":0,\"t\":1700000000000000,\"data\":\"s\"}", "{\"stream\":\"md.b\",\"o\":1,\"data\":\"s\"}"),
        ("{\"stream\":\"md.a\",\"data\":null}", "{\"stream\":\"md.a\",\"o\":2,\"data\":null}"),
    ];
    for (given, got) in text {
        publisher.send(given);
        assert_eq!(subscriber.text(), got);
    }
    let layout = |flags: u8, offset: u64, time: &[u8]| {
        [&[1, flags, 0, 4][..], b"md.a", &offset.to_be_bytes(), time, b"\x00\xffpayload"].concat()
    };
    publisher.send_binary(&layout(0, 9999, &[]));
    assert_eq!(subscriber.binary(), layout(0, 3, &[]));
    publisher.send_binary(&layout(1, 9999, &[7; 8]));
    assert_eq!(subscriber.binary(), layout(0, 4, &[]));
}

#[test]
fn one_combined_connections_messages_feed_another_gateway_whole() {
    let (first, second) = (Gateway::publishing(), Gateway::publishing());
    let mut out = Client::connect(&first, "/stream?streams=md.a");
    let mut into = Client::connect(&second, "/publish");
    let mut end = Client::connect(&second, "/stream?streams=md.a");
    for payload in ["1", "{ \"a\" : [ ] }", "\"\\u20ac\""] {
        first.publish("md.a", payload);
        let message = out.text();
        into.send(&message);
        assert_eq!(end.text(), message);
    }
}

#[test]
fn what_is_no_publication_closes_a_publisher_of_many_topics() {
    let gateway = Gateway::publishing();
    let mut subscriber = Client::connect(&gateway, "/stream?streams=md.a");
    let wrong = [
        "",
        "{",
        "[]",
        "{\"stream\":\"md.a\"}",
        "{\"data\":1}",
        "{\"stream\":\"a..b\",\"data\":1}",
        "{\"stream\":\"md.*\",\"data\":1}",
        "{\"stream\":7,\"data\":1}",
    ];
    for message in wrong {
        let mut publisher = Client::connect(&gateway, "/publish");
        publisher.send(message);
        assert_eq!(publisher.close_code(), Some(1008), "{message:?}");
    }
    for layout in [
        &b""[..],
        &[1],
        &[2, 0, 0, 1, b'a', 0, 0, 0, 0, 0, 0, 0, 0],
        &[1, 0, 0, 9, b'a', 0, 0, 0, 0, 0, 0, 0, 0],
        &[1, 2, 0, 1, b'a', 0, 0, 0, 0, 0, 0, 0, 0],
    ] {
        let mut publisher = Client::connect(&gateway, "/publish");
        publisher.send_binary(layout);
        assert_eq!(publisher.close_code(), Some(1008), "{layout:?}");
    }
    subscriber.assert_silent();
}

#[test]
fn a_publisher_of_many_topics_may_only_publish_where_the_configuration_allows() {
    let gateway = Gateway::configured("[publish]\nallow = \"loopback\"\ntopics = [\"own.*\"]\n");
    let mut subscriber = Client::connect(&gateway, "/ws/own.a");
    let mut publisher = Client::connect(&gateway, "/publish");
    publisher.send("{\"stream\":\"own.a\",\"data\":1}");
    assert_eq!(subscriber.text(), "1");
    publisher.send("{\"stream\":\"md.a\",\"data\":1}");
    assert_eq!(publisher.close_code(), Some(1008));
}

#[test]
fn a_publication_has_at_most_publication_bytes_max_else_1009() {
    let gateway = Gateway::configured(&format!("{PUBLISHING}[limits]\npublication_bytes_max = 70000\n"));
    let mut subscriber = Client::connect(&gateway, "/ws/md.a");
    let mut publisher = Raw::upgraded(&gateway, "/publish/md.a");
    publisher.send(frame(0x81, &[b'x'; 70_000]));
    assert_eq!(subscriber.text().len(), 70_000);
    publisher.send(frame(0x81, &[b'x'; 70_001]));
    assert_eq!(publisher.closed_with(), 1009);
    subscriber.assert_silent();
}

#[test]
fn nothing_comes_back_to_a_publisher_but_pongs_and_close() {
    let gateway = Gateway::publishing();
    for path in ["/publish/md.a", "/publish"] {
        let mut publisher = Raw::upgraded(&gateway, path);
        for _ in 0..10 {
            publisher.send_text("{\"stream\":\"md.a\",\"data\":1}");
        }
        publisher.send(frame(0x89, b"?"));
        let pong = publisher.frame().expect("a pong comes");
        assert_eq!((pong.first, pong.payload.as_slice()), (0x8A, &b"?"[..]), "{path}");
    }
}

#[test]
fn text_of_a_publisher_that_is_not_utf_8_closes_with_1007_and_is_not_published() {
    let gateway = Gateway::publishing();
    let mut subscriber = Client::connect(&gateway, "/ws/md.a");
    let mut publisher = Raw::upgraded(&gateway, "/publish/md.a");
    publisher.send(frame(0x81, &[b'a', 0xFF]));
    assert_eq!(publisher.closed_with(), 1007);
    subscriber.assert_silent();
}

#[test]
fn a_publishers_messages_are_not_counted_against_the_request_rate() {
    let gateway = Gateway::configured(&format!("{PUBLISHING}[limits]\nrequests_per_second = 1\nrequests_burst = 2\n"));
    let mut subscriber = Client::connect(&gateway, "/ws/md.a");
    let mut publisher = Client::connect(&gateway, "/publish/md.a");
    for number in 0..1000 {
        publisher.send(&number.to_string());
    }
    for number in 0..1000 {
        assert_eq!(subscriber.text(), number.to_string());
    }
}
