//! `since`, `last` and `ts`: what a subscriber gets of the past, on whichever shard it comes in.

use serde_json::{Value, json};

use crate::common::{Client, Gateway, PUBLISHING};

/// So many connections that each shard has some.
const CROWD: usize = 8;

fn combined(topic: &str, offset: u64) -> String {
    format!("{{\"stream\":\"{topic}\",\"o\":{offset},\"data\":{offset}}}")
}

/// Publishes the numbers up to `count` and gives the epoch.
fn published(gateway: &Gateway, topic: &str, count: u64) -> String {
    let positions: Vec<_> = (1..=count).map(|number| gateway.publish(topic, &number.to_string())).collect();
    assert!(positions.iter().zip(1..).all(|((_, offset), number)| *offset == number));
    positions[0].0.clone()
}

fn subscribe_one(client: &mut Client, stream: &str) -> Value {
    client.subscribe(&[stream])[0].take()
}

#[test]
fn since_gives_everything_after_the_position_then_live() {
    let gateway = Gateway::publishing();
    let epoch = published(&gateway, "md.a", 5);
    let mut clients: Vec<_> = (0..CROWD).map(|_| Client::connect(&gateway, "/stream")).collect();
    for (number, client) in clients.iter_mut().enumerate() {
        // From the very beginning up to the newest.
        let since = number as u64 % 6;
        let entry = subscribe_one(client, &format!("md.a;since={epoch}:{since}"));
        assert_eq!(entry, json!({"stream": "md.a", "epoch": epoch, "offset": 5, "recovered": true}));
        for offset in since + 1..=5 {
            assert_eq!(client.text(), combined("md.a", offset));
        }
        client.assert_silent();
    }
    gateway.publish("md.a", "6");
    clients.iter_mut().for_each(|client| assert_eq!(client.text(), combined("md.a", 6)));
}

#[test]
fn since_by_url_is_answered_before_the_first_publication() {
    let gateway = Gateway::publishing();
    let epoch = published(&gateway, "md.a", 3);
    for _ in 0..CROWD {
        let mut client = Client::connect(&gateway, &format!("/stream?streams=md.a;since={epoch}:1/md.b"));
        let reply: Value = serde_json::from_str(&client.text()).expect("a reply is JSON");
        assert_eq!(reply["result"][0], json!({"stream": "md.a", "epoch": epoch, "offset": 3, "recovered": true}));
        assert_eq!(reply["result"][1].get("recovered"), None, "only where since was given");
        assert_eq!([client.text(), client.text()], [combined("md.a", 2), combined("md.a", 3)]);
        client.assert_silent();
    }
}

#[test]
fn what_is_not_held_is_said_and_nothing_old_is_sent() {
    let gateway = Gateway::configured(&format!("{PUBLISHING}[[topic]]\npattern = \"md.>\"\nring_publications = 3\n"));
    let epoch = published(&gateway, "md.a", 6);
    for _ in 0..CROWD {
        for (since, recovered) in [
            (format!("{epoch}:3"), true),
            (format!("{epoch}:2"), false),
            (format!("{epoch}:0"), false),
            (format!("{epoch}:7"), false),
            ("0:5".to_owned(), false),
        ] {
            let mut client = Client::connect(&gateway, "/stream");
            assert_eq!(subscribe_one(&mut client, &format!("md.a;since={since}"))["recovered"], recovered, "{since}");
            if recovered {
                (4..=6).for_each(|offset| assert_eq!(client.text(), combined("md.a", offset)));
            }
            client.assert_silent();
        }
    }
    // As `last`, where that was asked for too.
    let mut client = Client::connect(&gateway, "/stream");
    assert_eq!(subscribe_one(&mut client, &format!("md.a;since={epoch}:2;last"))["recovered"], false);
    assert_eq!(client.text(), combined("md.a", 6));
    client.assert_silent();
    let mut client = Client::connect(&gateway, "/stream");
    assert_eq!(subscribe_one(&mut client, &format!("md.a;last;since={epoch}:5"))["recovered"], true);
    assert_eq!(client.text(), combined("md.a", 6));
    client.assert_silent();
}

#[test]
fn what_is_older_than_ring_age_ms_is_given_up_when_something_newer_comes() {
    let gateway = Gateway::configured(&format!("{PUBLISHING}[[topic]]\npattern = \"md.>\"\nring_age_ms = 100\n"));
    let epoch = published(&gateway, "md.a", 3);
    std::thread::sleep(std::time::Duration::from_millis(200));
    gateway.publish("md.a", "4");
    for _ in 0..CROWD {
        let mut client = Client::connect(&gateway, "/stream");
        assert_eq!(subscribe_one(&mut client, &format!("md.a;since={epoch}:2"))["recovered"], false);
        client.assert_silent();
        let mut client = Client::connect(&gateway, "/stream");
        assert_eq!(subscribe_one(&mut client, &format!("md.a;since={epoch}:3"))["recovered"], true);
        assert_eq!(client.text(), combined("md.a", 4));
    }
}

#[test]
fn since_on_a_raw_connection_is_answered_by_subscribe() {
    let gateway = Gateway::publishing();
    let epoch = published(&gateway, "md.a", 3);
    for _ in 0..CROWD {
        let mut client = Client::connect(&gateway, "/ws");
        assert_eq!(subscribe_one(&mut client, &format!("md.a;since={epoch}:1"))["recovered"], true);
        assert_eq!([client.text(), client.text()], ["2", "3"]);
        client.assert_silent();
    }
}

#[test]
fn the_past_of_a_stream_that_is_held_already_is_not_sent_again() {
    let gateway = Gateway::publishing();
    let epoch = published(&gateway, "md.a", 3);
    let mut client = Client::connect(&gateway, "/stream");
    client.subscribe(&["md.a"]);
    assert_eq!(subscribe_one(&mut client, &format!("md.a;since={epoch}:1"))["recovered"], false);
    client.assert_silent();
}

#[test]
fn ts_adds_the_time_of_ingest_to_combined_publications() {
    let gateway = Gateway::publishing();
    let now_us = || std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("it is after 1970").as_micros();
    let before = now_us();
    gateway.publish("md.a", "{\"p\":1}");
    let after = now_us();
    let mut client = Client::connect(&gateway, "/stream");
    client.subscribe(&["md.a;last;ts=1", "md.b"]);
    let text = client.text();
    let time =
        text.strip_prefix("{\"stream\":\"md.a\",\"o\":1,\"t\":").and_then(|rest| rest.strip_suffix(",\"data\":{\"p\":1}}"));
    let time: u128 = time.unwrap_or_else(|| panic!("{text}")).parse().expect("a number");
    assert!((before..=after).contains(&time), "{before} <= {time} <= {after}");
    gateway.publish("md.b", "2");
    assert_eq!(client.text(), "{\"stream\":\"md.b\",\"o\":1,\"data\":2}");
    gateway.post("/api/topics/md.a", "application/octet-stream", [7, 8]);
    let binary = client.binary();
    assert_eq!(binary[..2], [1, 1], "flags: time follows");
    assert_eq!((&binary[8..16], &binary[24..]), (&2_u64.to_be_bytes()[..], &[7, 8][..]));
    // On a raw connection there is no place for it.
    let mut raw = Client::connect(&gateway, "/ws/md.b;last;ts=1");
    assert_eq!(raw.text(), "2");
    assert_eq!(raw.ask("SET_PROPERTY", "[\"combined\",true]"), "{\"result\":null}");
    gateway.publish("md.b", "3");
    assert!(raw.text().starts_with("{\"stream\":\"md.b\",\"o\":2,\"t\":"));
}

#[test]
fn a_stream_with_other_options_is_error_7_and_listed_with_its_own() {
    let gateway =
        Gateway::configured(&format!("{PUBLISHING}[[topic]]\npattern = \"md.>\"\nslow_allowed = [\"close\", \"drop\"]\n"));
    let mut client = Client::connect(&gateway, "/stream");
    client.subscribe(&["md.a;slow=drop;ts=1", "md.b;last", "md.c;slow=close"]);
    assert_eq!(client.ask("LIST_SUBSCRIPTIONS", ""), "{\"result\":[\"md.a;slow=drop;ts=1\",\"md.b\",\"md.c;slow=close\"]}");
    for other in ["md.a", "md.a;slow=drop", "md.a;ts=1;slow=close", "md.b;ts=1", "md.c", "md.c;slow=drop", "md.d\",\"md.d;ts=1"] {
        assert_eq!(client.error("SUBSCRIBE", &format!("[\"{other}\"]")), 7, "{other}");
    }
    for same in ["md.a;ts=1;slow=drop", "md.b", "md.b;last", "md.c;slow=close;last"] {
        let reply = client.ask("SUBSCRIBE", &format!("[\"{same}\"]"));
        assert!(reply.starts_with("{\"result\":"), "{same}: {reply}");
    }
    assert_eq!(client.error("SUBSCRIBE", "[\"md.e\",\"md.f;slow=conflate\"]"), 4, "a topic of kind log");
    assert_eq!(client.error("SUBSCRIBE", "[\"md.e\",\"md.f;rate=1s\"]"), 4, "a topic of kind log");
    let list = client.result("LIST_SUBSCRIPTIONS", "");
    assert_eq!(list.as_array().map(Vec::len), Some(3), "all or nothing");
}
