//! `rate=`: at the end of each interval its newest, for each key, once; the last value always, also when the topic goes quiet.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::common::{Client, Gateway, PUBLISHING};

/// So many connections that each shard has some.
const CROWD: usize = 8;

fn gateway(more: &str) -> Gateway {
    Gateway::configured(&format!("{PUBLISHING}[[topic]]\npattern = \"md.>\"\nkind = \"state\"\nrates_ms = [50, 1000]\n{more}"))
}

/// Offsets and data up to this offset.
fn until(client: &mut Client, last: u64) -> Vec<(u64, Value)> {
    let mut came: Vec<(u64, Value)> = Vec::new();
    while came.last().is_none_or(|(offset, _)| *offset < last) {
        let message: Value = serde_json::from_str(&client.text()).expect("a publication is JSON");
        came.push((message["o"].as_u64().expect("an offset"), message["data"].clone()));
    }
    assert!(came.is_sorted_by(|one, other| one.0 < other.0), "{came:?}");
    client.assert_silent();
    came
}

#[test]
fn an_interval_brings_its_newest_and_the_last_of_all_is_always_brought() {
    let gateway = gateway("");
    let mut clients: Vec<_> = (0..CROWD).map(|_| Client::connect(&gateway, "/stream?streams=md.a;rate=50ms")).collect();
    let mut all = Client::connect(&gateway, "/stream?streams=md.a");
    clients.iter_mut().for_each(|client| drop(client.text()));
    for number in 1..=300 {
        gateway.publish("md.a", &number.to_string());
    }
    assert_eq!(until(&mut all, 300).len(), 300);
    for client in &mut clients {
        let came = until(client, 300);
        assert!(came.len() < 300, "thinned out");
        assert!(came.iter().all(|(offset, data)| data == offset), "each with its own offset");
    }
    // Quiet; then one more, alone in its interval.
    gateway.publish("md.a", "301");
    clients.iter_mut().for_each(|client| assert_eq!(until(client, 301).len(), 1));
}

#[test]
fn of_a_keyed_topic_an_interval_brings_the_newest_of_each_key() {
    let gateway = gateway("key = \"/s\"\n");
    let mut clients: Vec<_> = (0..CROWD).map(|_| Client::connect(&gateway, "/stream?streams=md.a;rate=50ms")).collect();
    clients.iter_mut().for_each(|client| drop(client.text()));
    let mut newest = BTreeMap::new();
    for number in 1..=200_u64 {
        let key = if number < 150 { number % 7 } else { 1 };
        gateway.publish("md.a", &format!("{{\"s\":\"k{key}\",\"n\":{number}}}"));
        newest.insert(format!("k{key}"), number);
    }
    for client in &mut clients {
        let state: BTreeMap<String, u64> = until(client, 200)
            .into_iter()
            .map(|(_, data)| (data["s"].as_str().expect("a key").to_owned(), data["n"].as_u64().expect("a number")))
            .collect();
        assert_eq!(state, newest);
    }
}

#[test]
fn with_last_the_newest_comes_at_once_and_not_again() {
    let gateway = gateway("");
    for number in 1..=5 {
        gateway.publish("md.a", &number.to_string());
    }
    for _ in 0..CROWD {
        // One that is there before has the variant made, and in the middle of an interval.
        let mut before = Client::connect(&gateway, "/stream");
        before.subscribe(&["md.a;rate=1s"]);
        let (epoch, newest) = gateway.publish("md.a", "0");
        let mut client = Client::connect(&gateway, "/stream");
        let entry = client.subscribe(&["md.a;last;rate=1s"])[0].take();
        assert_eq!((entry["epoch"].as_str(), entry["offset"].as_u64()), (Some(&*epoch), Some(newest)));
        let first: Value = serde_json::from_str(&client.text()).expect("JSON");
        assert_eq!(first["o"], newest);
        assert_eq!(before.text(), format!("{{\"stream\":\"md.a\",\"o\":{newest},\"data\":0}}"), "at the interval's end");
        client.assert_silent();
    }
}

#[test]
fn a_rate_is_an_option_that_lasts() {
    let gateway = gateway("");
    let mut client = Client::connect(&gateway, "/stream");
    client.subscribe(&["md.a;rate=50ms", "md.b;rate=1s;ts=1"]);
    assert_eq!(client.ask("LIST_SUBSCRIPTIONS", ""), "{\"result\":[\"md.a;rate=50ms\",\"md.b;rate=1000ms;ts=1\"]}");
    for other in ["md.a", "md.a;rate=1s", "md.b;rate=1s"] {
        assert_eq!(client.error("SUBSCRIBE", &format!("[\"{other}\"]")), 7, "{other}");
    }
    assert_eq!(client.error("SUBSCRIBE", "[\"md.c;rate=70ms\"]"), 4, "not among rates_ms");
    client.subscribe(&["md.a;rate=50ms"]);
    assert_eq!(client.ask("UNSUBSCRIBE", "[\"md.a\"]"), "{\"result\":null}");
    gateway.publish("md.a", "1");
    let (epoch, _) = gateway.publish("md.b", "1");
    let text = client.text();
    assert!(text.starts_with("{\"stream\":\"md.b\",\"o\":1,\"t\":"), "{text}");
    let positions = client.result("POSITIONS", "");
    assert_eq!(positions.to_string(), format!("[{{\"epoch\":\"{epoch}\",\"offset\":1,\"stream\":\"md.b\"}}]"));
}
