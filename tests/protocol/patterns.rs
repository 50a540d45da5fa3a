//! Wildcard subscriptions: NATS' rules, on two shards.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::common::{Client, Gateway, PUBLISHING};

/// So many that some are on each shard.
fn crowd(gateway: &Gateway, path: &str) -> Vec<Client> {
    (0..8).map(|_| Client::connect(gateway, path)).collect()
}

/// So many messages, by topic: the offsets in order.
fn offsets(client: &mut Client, count: usize) -> BTreeMap<String, Vec<u64>> {
    let mut came: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    for _ in 0..count {
        let message: Value = serde_json::from_str(&client.text()).expect("combined messages are JSON");
        let topic = message["stream"].as_str().expect("a publication names its topic").to_owned();
        came.entry(topic).or_default().push(message["o"].as_u64().expect("and its offset"));
    }
    came
}

/// Publishes one publication on each topic at once.
fn publish_all(gateway: &Gateway, topics: impl Iterator<Item = String>) {
    let body: String = topics.map(|topic| format!("{{\"topic\":\"{topic}\",\"data\":1}}\n")).collect();
    let answer = gateway.post("/api/publish", "application/x-ndjson", body.into_bytes());
    assert_eq!(answer.status, 200, "{answer:?}");
}

#[test]
fn a_pattern_brings_every_topic_that_matches_also_those_made_later_from_their_first_publication() {
    let gateway = Gateway::publishing();
    gateway.publish("md.trades.old", "\"before\"");
    let mut clients = crowd(&gateway, "/stream");
    for client in &mut clients {
        assert_eq!(client.ask("SUBSCRIBE", "[\"md.*.BTC-USD\",\"md.trades.>\"]"), "{\"result\":null}");
    }
    for round in 1..=3 {
        for topic in ["md.trades.BTC-USD", "md.book.BTC-USD", "md.trades.a.b", "md.trades.old", "md.book.ETH-USD", "md.trades"] {
            gateway.publish(topic, &round.to_string());
        }
    }
    gateway.publish("md.trades.end", "0");
    let all = vec![1, 2, 3];
    let expected: BTreeMap<String, Vec<u64>> = [
        ("md.trades.BTC-USD", all.clone()),
        ("md.book.BTC-USD", all.clone()),
        ("md.trades.a.b", all),
        ("md.trades.old", vec![2, 3, 4]),
        ("md.trades.end", vec![1]),
    ]
    .map(|(topic, offsets)| (topic.to_owned(), offsets))
    .into();
    for client in &mut clients {
        assert_eq!(offsets(client, 13), expected);
        client.assert_silent();
    }
}

#[test]
fn what_several_patterns_or_a_pattern_and_a_name_match_is_sent_once() {
    let gateway = Gateway::publishing();
    gateway.publish("md.a", "1");
    let mut clients = crowd(&gateway, "/stream?streams=md.a/md.*/%3E/md.b");
    for topic in ["md.a", "md.b", "md.c", "x"] {
        gateway.publish(topic, "2");
    }
    for client in &mut clients {
        let came = offsets(client, 4);
        assert_eq!(came.values().map(Vec::len).collect::<Vec<_>>(), [1; 4], "{came:?}");
        assert_eq!(client.ask("UNSUBSCRIBE", "[\"md.*\",\"md.a\"]"), "{\"result\":null}");
    }
    gateway.publish("md.a", "3");
    for client in &mut clients {
        assert_eq!(client.text(), "{\"stream\":\"md.a\",\"o\":3,\"data\":3}", "`>` goes on with it");
        assert_eq!(client.ask("UNSUBSCRIBE", "[\">\"]"), "{\"result\":null}");
    }
    gateway.publish("md.a", "4");
    gateway.publish("md.b", "4");
    for client in &mut clients {
        assert_eq!(client.text(), "{\"stream\":\"md.b\",\"o\":2,\"data\":4}", "nothing but what it named");
    }
}

#[test]
fn last_of_a_pattern_is_the_newest_of_each_topic_then_live() {
    let gateway = Gateway::publishing();
    let topics = || (0..300).map(|number| format!("t.{number}"));
    publish_all(&gateway, topics());
    publish_all(&gateway, topics());
    let mut clients = crowd(&gateway, "/stream");
    for client in &mut clients {
        assert_eq!(client.subscribe(&["t.*;last"])[0], json!({"stream": "t.*", "topics": 300}));
    }
    for client in &mut clients {
        assert_eq!(offsets(client, 300), topics().map(|topic| (topic, vec![2])).collect());
    }
    publish_all(&gateway, topics());
    for client in &mut clients {
        assert_eq!(offsets(client, 300), topics().map(|topic| (topic, vec![3])).collect());
        client.assert_silent();
    }
}

#[test]
fn last_of_a_pattern_is_the_newest_of_every_key_where_topics_have_keys() {
    let state = "[[topic]]\npattern = \"book.>\"\nkind = \"state\"\nkey = \"/s\"\nring_publications = 2\n";
    let gateway = Gateway::configured(&format!("{PUBLISHING}{state}"));
    for (key, value) in [("a", 1), ("b", 2), ("c", 3), ("b", 4)] {
        gateway.publish("book.x", &format!("{{\"s\":\"{key}\",\"p\":{value}}}"));
    }
    for client in &mut crowd(&gateway, "/stream?streams=book.*;last") {
        assert!(client.text().starts_with("{\"result\":[{\"stream\":\"book.*\",\"topics\":1}]"));
        assert_eq!(offsets(client, 3)["book.x"], [1, 3, 4]);
    }
}

#[test]
fn replies_name_patterns_as_subscribed() {
    let gateway = Gateway::publishing();
    let (epoch, _) = gateway.publish("md.a", "1");
    let mut client = Client::connect(&gateway, "/stream");
    let entries = client.subscribe(&["md.a;last", "md.>;ts=1"]);
    assert_eq!(entries, json!([{"stream": "md.a", "epoch": epoch, "offset": 1}, {"stream": "md.>", "topics": 1}]));
    assert_eq!(client.text(), "{\"stream\":\"md.a\",\"o\":1,\"data\":1}");
    assert_eq!(client.ask("LIST_SUBSCRIPTIONS", ""), "{\"result\":[\"md.a\",\"md.>;ts=1\"]}");
    let (epoch_b, _) = gateway.publish("md.b", "1");
    assert!(client.text().starts_with("{\"stream\":\"md.b\",\"o\":1,\"t\":"), "by the pattern's options");
    let positions = client.result("POSITIONS", "");
    let of = |stream: &str, epoch: &str| json!({"stream": stream, "epoch": epoch, "offset": 1});
    assert_eq!(positions, json!([of("md.a", &epoch), of("md.b", &epoch_b)]));
    assert_eq!(client.result("POSITIONS", "[\"md.b\"]"), json!([of("md.b", &epoch_b)]));
    assert_eq!(client.error("POSITIONS", "[\"other\"]"), 6);
    assert_eq!(client.error("POSITIONS", "[\"md.>\"]"), 3);
    assert_eq!(client.ask("SUBSCRIBE", "[\"md.>;ts=1\"]").len(), "{\"result\":[{\"stream\":\"md.>\",\"topics\":2}]}".len());
    assert_eq!(client.error("SUBSCRIBE", "[\"md.>\"]"), 7);
    assert_eq!(client.error("SUBSCRIBE", &format!("[\"x.*;since={epoch}:1\"]")), 1);
    assert_eq!(client.error("UNSUBSCRIBE", "[\"md.>\",\"x.*\"]"), 6);
    assert_eq!(client.ask("UNSUBSCRIBE", "[\"md.>\"]"), "{\"result\":null}");
    assert_eq!(client.ask("LIST_SUBSCRIPTIONS", ""), "{\"result\":[\"md.a\"]}");
}

#[test]
fn a_raw_connection_takes_a_pattern_in_its_url() {
    let gateway = Gateway::publishing();
    gateway.publish("md.a", "\"old\"");
    let (mut all, mut last) = (Client::connect(&gateway, "/ws/md.%3E"), Client::connect(&gateway, "/ws/md.*;last"));
    assert_eq!(last.text(), "\"old\"");
    gateway.publish("md.b", "\"new\"");
    for client in [&mut all, &mut last] {
        assert_eq!(client.text(), "\"new\"");
    }
}

#[test]
fn a_pattern_counts_as_one_subscription_and_over_1024_positions_are_asked_for_by_name() {
    let gateway = Gateway::configured(&format!("{PUBLISHING}[limits]\nsubscriptions_max = 2\n"));
    publish_all(&gateway, (0..1025).map(|number| format!("t.{number}")));
    let mut client = Client::connect(&gateway, "/stream");
    client.subscribe(&["t.*", "t.7"]);
    assert_eq!(client.error("SUBSCRIBE", "[\">\"]"), 5);
    assert_eq!(client.error("POSITIONS", ""), 5);
    let some = client.result("POSITIONS", "[\"t.1024\",\"t.7\"]");
    assert_eq!((&some[0]["offset"], &some[1]["offset"]), (&json!(1), &json!(1)));
    client.ask("UNSUBSCRIBE", "[\"t.*\"]");
    assert_eq!(client.result("POSITIONS", "").as_array().map(Vec::len), Some(1));
}

#[test]
fn one_subscribe_takes_a_thousand_names_of_which_each_is_heard() {
    let gateway = Gateway::publishing();
    let topics = || (0..1000).map(|number| format!("market.trades.instrument-with-a-name-{number:010}.usd-perpetual"));
    let names: Vec<String> = topics().collect();
    let request = serde_json::to_string(&names).expect("names are JSON");
    assert!((60_000..65_000).contains(&request.len()), "{} bytes", request.len());
    let mut clients = crowd(&gateway, "/stream");
    for client in &mut clients {
        assert_eq!(client.ask("SUBSCRIBE", &request), "{\"result\":null}");
    }
    publish_all(&gateway, topics());
    for client in &mut clients {
        assert_eq!(offsets(client, 1000), topics().map(|topic| (topic, vec![1])).collect());
    }
}
