//! "Publishers": connections on which every message is a publication, and what they are told of it.

use tungstenite::Message;

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

/// The counts that a publisher is told, up to its close frame; none after that.
fn counts(publisher: &mut Client) -> (Vec<u64>, Option<u16>) {
    let mut counts = Vec::new();
    loop {
        match publisher.socket.read().expect("a message comes in time") {
            Message::Text(text) => counts.push(count_in(text.as_str())),
            Message::Close(frame) => return (counts, frame.map(|frame| frame.code.into())),
            Message::Ping(_) | Message::Pong(_) => {}
            other => panic!("not a count: {other:?}"),
        }
    }
}

fn count_in(text: &str) -> u64 {
    let count = text.strip_prefix("{\"ack\":").and_then(|rest| rest.strip_suffix('}'));
    count.and_then(|count| count.parse().ok()).unwrap_or_else(|| panic!("not a count: {text}"))
}

#[test]
fn a_publisher_that_asks_is_told_how_many_of_its_messages_were_taken() {
    let gateway = Gateway::publishing();
    const MESSAGES: u64 = 3000;
    for round in 1..=4 {
        let mut publisher = Client::connect(&gateway, "/publish?ack=1");
        for number in 0..MESSAGES {
            let topic = format!("md.{}", number % 30);
            if number % 3 == 0 {
                publisher.send_binary(&[&[1, 0, 0, topic.len() as u8][..], topic.as_bytes(), &[0; 8], b"\xff"].concat());
            } else {
                publisher.send(&format!("{{\"stream\":\"{topic}\",\"data\":{number}}}"));
            }
        }
        let (mut told, mut before) = (0, 0);
        while told < MESSAGES {
            told = count_in(&publisher.text());
            assert!(before < told && told <= MESSAGES, "{told} behind {before}");
            before = told;
        }
        // What was acknowledged has its position, whatever the shard that is asked.
        for topic in 0..30 {
            let (_, offset) = gateway.publish(&format!("md.{topic}"), "0");
            assert_eq!(offset, round * (MESSAGES / 30 + 1), "md.{topic}");
        }
        // One by one: nobody waits for the second to be over.
        for number in 1..100 {
            assert_eq!(publisher.say("{\"stream\":\"one\",\"data\":1}"), format!("{{\"ack\":{}}}", MESSAGES + number));
        }
    }
}

#[test]
fn the_last_count_comes_before_the_reply_to_a_close_frame() {
    let gateway = Gateway::publishing();
    // Of eight connections some are not on the topic's home.
    for _ in 0..8 {
        let mut publisher = Client::connect(&gateway, "/publish/md.a?ack=1");
        (0..500).for_each(|number| publisher.send(&number.to_string()));
        publisher.socket.close(None).expect("the connection is open");
        let (counts, _) = counts(&mut publisher);
        assert!(counts.is_sorted() && counts.last() == Some(&500), "{counts:?}");
    }
    assert_eq!(gateway.publish("md.a", "1").1, 4001);
}

#[test]
fn what_is_refused_closes_behind_the_count_of_what_was_taken_before() {
    let publishing = "[publish]\nallow = \"loopback\"\ntopics = [\"own.*\", \"keyed.*\"]\n";
    let gateway = Gateway::configured(&format!("{publishing}[[topic]]\npattern = \"keyed.*\"\nkey = \"/s\"\n"));
    for refused in [
        "{\"stream\":\"md.a\",\"data\":1}".to_owned(),
        "nonsense".to_owned(),
        format!("{{\"stream\":\"keyed.a\",\"data\":{{\"s\":\"{}\"}}}}", "k".repeat(300)),
    ] {
        // Of eight connections some are not on the topic's home.
        for _ in 0..8 {
            let mut publisher = Client::connect(&gateway, "/publish?ack=1");
            (0..20).for_each(|number| publisher.send(&format!("{{\"stream\":\"own.{number}\",\"data\":1}}")));
            publisher.send(&refused);
            // Whatever comes behind it is not counted; the connection may be gone by then.
            publisher.socket.send(Message::text("{\"stream\":\"own.a\",\"data\":1}")).ok();
            let (counts, code) = counts(&mut publisher);
            assert_eq!((counts.last(), code), (Some(&20), Some(1008)), "{refused}");
        }
    }
}

/// Publishes until the gateway stops, at most fifty messages ahead of what is acknowledged; how many of them were taken.
fn publish_until_stopped(mut publisher: Client) -> u64 {
    let (mut sent, mut taken) = (0, 0);
    loop {
        while sent < taken + 50 && publisher.socket.send(Message::text("1")).is_ok() {
            sent += 1;
        }
        match publisher.socket.read().expect("a message comes in time") {
            Message::Text(text) => taken = count_in(text.as_str()),
            Message::Close(frame) => {
                assert_eq!(frame.map(|frame| u16::from(frame.code)), Some(1001));
                drop(publisher.socket.flush());
                return taken;
            }
            other => panic!("not a count: {other:?}"),
        }
    }
}

#[test]
fn a_gateway_that_stops_tells_what_it_took_and_delivers_that() {
    let mut gateway = Gateway::publishing();
    let mut subscriber = Client::connect(&gateway, "/ws/md.a");
    let publishers: Vec<_> = (0..6).map(|_| Client::connect(&gateway, "/publish/md.a?ack=1")).collect();
    let (taken, heard) = std::thread::scope(|scope| {
        let threads: Vec<_> = publishers.into_iter().map(|client| scope.spawn(|| publish_until_stopped(client))).collect();
        (0..1000).for_each(|_| assert_eq!(subscriber.text(), "1"));
        gateway.terminate();
        let mut heard = 1000;
        while let Message::Text(_) = subscriber.socket.read().expect("a message comes in time") {
            heard += 1;
        }
        drop(subscriber.socket.flush());
        (threads.into_iter().map(|thread| thread.join().expect("a publisher ends in order")).sum::<u64>(), heard)
    });
    assert_eq!(taken, heard);
    gateway.stop();
}
