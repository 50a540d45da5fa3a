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

/// Publishes these numbers on each of the topics, in one request.
fn publish_all(gateway: &Gateway, topics: &[&str], numbers: std::ops::RangeInclusive<u32>) {
    let line = |number: u32| topics.iter().map(move |topic| format!("{{\"topic\":\"{topic}\",\"data\":{number}}}\n"));
    let body: String = numbers.flat_map(line).collect();
    let answer = gateway.post("/api/publish", "application/x-ndjson", body.into_bytes());
    assert_eq!(answer.status, 200, "{answer:?}");
}

/// What comes until then: by topic the offsets, in order.
fn by_topic(client: &mut Client, is_over: impl Fn(&BTreeMap<String, Vec<u64>>) -> bool) -> BTreeMap<String, Vec<u64>> {
    let mut came: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    while !is_over(&came) {
        let message: Value = serde_json::from_str(&client.text()).expect("a publication is JSON");
        let topic = message["stream"].as_str().expect("its topic").to_owned();
        came.entry(topic).or_default().push(message["o"].as_u64().expect("its offset"));
    }
    assert!(came.values().all(|offsets| offsets.is_sorted_by(|one, other| one < other)), "{came:?}");
    client.assert_silent();
    came
}

#[test]
fn a_pattern_at_a_rate_brings_each_topics_newest_also_of_those_made_later() {
    let gateway = gateway("");
    gateway.publish("md.t0", "0");
    let mut clients: Vec<_> = (0..CROWD).map(|_| Client::connect(&gateway, "/stream")).collect();
    for client in &mut clients {
        client.subscribe(&["md.>;rate=50ms", "md.*"]);
    }
    let topics = ["md.t0", "md.t1", "md.t2", "md.t3"];
    publish_all(&gateway, &topics, 1..=50);
    let newest = |topic: &str| if topic == "md.t0" { 51 } else { 50 };
    for client in &mut clients {
        let came = by_topic(client, |came| {
            topics.iter().all(|topic| came.get(*topic).is_some_and(|of| of.last() == Some(&newest(topic))))
        });
        assert!(came.values().all(|offsets| offsets.len() < 50), "thinned out: {came:?}");
        let positions = client.result("POSITIONS", "");
        let told = |entry: &Value| (entry["stream"].as_str().map(str::to_owned), entry["offset"].as_u64());
        let told: Vec<_> = positions.as_array().expect("a list").iter().map(told).collect();
        assert!(topics.iter().all(|topic| told.contains(&(Some((*topic).to_owned()), Some(newest(topic))))), "{told:?}");
    }
    // Quiet; then one more, alone in its interval.
    gateway.publish("md.t3", "51");
    for client in &mut clients {
        assert_eq!(client.text(), "{\"stream\":\"md.t3\",\"o\":51,\"data\":51}");
        client.assert_silent();
    }
}

#[test]
fn a_name_goes_before_a_pattern_at_a_rate_and_the_pattern_goes_on_where_that_ends() {
    let gateway = gateway("");
    let mut clients: Vec<_> = (0..CROWD).map(|_| Client::connect(&gateway, "/stream")).collect();
    for client in &mut clients {
        client.subscribe(&["md.>;rate=50ms", "md.all", "md.slow;rate=1s"]);
    }
    publish_all(&gateway, &["md.all", "md.some"], 1..=100);
    for client in &mut clients {
        let came = by_topic(client, |came| {
            ["md.all", "md.some"].iter().all(|topic| came.get(*topic).is_some_and(|of| of.last() == Some(&100)))
        });
        assert_eq!((came["md.all"].len(), came["md.some"].len() < 100), (100, true));
        assert_eq!(client.ask("UNSUBSCRIBE", "[\"md.all;rate=1s\"]"), "{\"result\":null}");
    }
    publish_all(&gateway, &["md.all"], 101..=200);
    for client in &mut clients {
        let came = by_topic(client, |came| came.get("md.all").is_some_and(|of| of.last() == Some(&200)));
        assert!(came["md.all"].len() < 100, "thinned out from now on: {came:?}");
        assert_eq!(client.ask("UNSUBSCRIBE", "[\"md.>\"]"), "{\"result\":null}");
    }
    gateway.publish("md.all", "201");
    gateway.publish("md.slow", "1");
    clients.iter_mut().for_each(|client| assert_eq!(client.text(), "{\"stream\":\"md.slow\",\"o\":1,\"data\":1}"));
}

#[test]
fn last_of_a_pattern_at_a_rate_comes_at_once_and_not_again() {
    let gateway = gateway("key = \"/s\"\n");
    for _ in 0..CROWD {
        let mut before = Client::connect(&gateway, "/stream");
        before.subscribe(&["md.*;rate=1s"]);
        for (topic, key) in [("md.a", "x"), ("md.a", "y"), ("md.b", "x")] {
            gateway.publish(topic, &format!("{{\"s\":\"{key}\"}}"));
        }
        let mut client = Client::connect(&gateway, "/stream");
        assert_eq!(client.subscribe(&["md.>;last;rate=1s"]).to_string(), "[{\"stream\":\"md.>\",\"topics\":2}]");
        let key_count = |came: &BTreeMap<String, Vec<u64>>| came.values().map(Vec::len).sum::<usize>() == 3;
        let at_once = by_topic(&mut client, key_count);
        assert_eq!(by_topic(&mut before, key_count), at_once, "at the interval's end");
        client.assert_silent();
    }
}

#[test]
fn a_rate_of_a_pattern_is_granted_where_all_that_it_could_match_grants_it_and_lasts() {
    let gateway = gateway("[[topic]]\npattern = \"book.>\"\nkind = \"state\"\nrates_ms = [1000]\n");
    let mut client = Client::connect(&gateway, "/stream");
    client.subscribe(&["md.*;rate=50ms", "book.>;rate=1s;ts=1;slow=close"]);
    let listed = "{\"result\":[\"md.*;rate=50ms\",\"book.>;rate=1000ms;slow=close;ts=1\"]}";
    assert_eq!(client.ask("LIST_SUBSCRIPTIONS", ""), listed);
    for (other, code) in [
        ("md.*", 7),
        ("md.*;rate=1s", 7),
        ("md.*;rate=50ms;ts=1", 7),
        ("*.a;rate=1s", 4),
        (">;rate=1s", 4),
        ("book.*;rate=50ms", 4),
        ("md.>;rate=100ms", 4),
        ("md.>;rate=1s;since=a:1", 1),
    ] {
        assert_eq!(client.error("SUBSCRIBE", &format!("[\"{other}\"]")), code, "{other}");
    }
    client.subscribe(&["md.*;rate=50ms"]);
    gateway.publish("book.a", "1");
    let text = client.text();
    assert!(text.starts_with("{\"stream\":\"book.a\",\"o\":1,\"t\":"), "by the pattern's options: {text}");
    assert_eq!(client.ask("UNSUBSCRIBE", "[\"md.*;rate=1s\",\"book.>\"]"), "{\"result\":null}");
    assert_eq!(client.ask("LIST_SUBSCRIPTIONS", ""), "{\"result\":[]}");
}
