//! SUBSCRIBE, UNSUBSCRIBE, LIST_SUBSCRIPTIONS, POSITIONS and `last`.

use serde_json::{Value, json};

use crate::common::{Client, Gateway, PUBLISHING};

#[test]
fn subscribe_without_options_is_answered_with_null_with_any_option_with_one_entry_a_stream_in_order() {
    let gateway = Gateway::publishing();
    let (epoch, _) = gateway.publish("md.b", "1");
    let mut client = Client::connect(&gateway, "/stream");
    assert_eq!(client.ask("SUBSCRIBE", "[\"md.x\",\"md.y\"]"), "{\"result\":null}");
    let entries = client.result("SUBSCRIBE", "[\"md.c\",\"md.b;last\",\"md.a\"]");
    let of_b = json!({"stream": "md.b", "epoch": epoch, "offset": 1});
    assert_eq!(entries[1], of_b);
    let streams: Vec<_> = entries.as_array().expect("a list").iter().map(|entry| (&entry["stream"], &entry["offset"])).collect();
    assert_eq!(streams, [(&json!("md.c"), &json!(0)), (&json!("md.b"), &json!(1)), (&json!("md.a"), &json!(0))]);
    assert_eq!(client.text(), "{\"stream\":\"md.b\",\"o\":1,\"data\":1}");
}

#[test]
fn an_entry_of_subscribes_reply_is_stream_epoch_offset_in_this_order() {
    let gateway = Gateway::publishing();
    let (epoch, _) = gateway.publish("md.a", "1");
    let reply = Client::connect(&gateway, "/stream").ask("SUBSCRIBE", "[\"md.a;last\"]");
    assert_eq!(reply, format!("{{\"result\":[{{\"stream\":\"md.a\",\"epoch\":\"{epoch}\",\"offset\":1}}]}}"));
}

#[test]
fn an_empty_list_asks_for_nothing_which_is_error_1() {
    let gateway = Gateway::publishing();
    let mut client = Client::connect(&gateway, "/ws");
    assert_eq!(client.error("SUBSCRIBE", "[]"), 1);
    assert_eq!(client.error("UNSUBSCRIBE", "[]"), 1);
}

#[test]
fn last_is_the_newest_publication_if_there_is_one_then_live_with_no_gap() {
    let gateway = Gateway::publishing();
    let mut client = Client::connect(&gateway, "/stream");
    assert_eq!(client.subscribe(&["md.a;last"])[0]["offset"], 0, "none yet");
    client.assert_silent();
    for number in 1..=3 {
        gateway.publish("md.a", &number.to_string());
        assert_eq!(client.text(), format!("{{\"stream\":\"md.a\",\"o\":{number},\"data\":{number}}}"));
    }
    let mut late: Vec<_> = (0..8).map(|_| Client::connect(&gateway, "/stream")).collect();
    for client in &mut late {
        assert_eq!(client.subscribe(&["md.a;last"])[0]["offset"], 3);
        assert_eq!(client.text(), "{\"stream\":\"md.a\",\"o\":3,\"data\":3}");
        client.assert_silent();
    }
    gateway.publish("md.a", "4");
    for client in &mut late {
        assert_eq!(client.text(), "{\"stream\":\"md.a\",\"o\":4,\"data\":4}");
    }
}

#[test]
fn without_last_only_what_comes_after_the_reply_is_sent() {
    let gateway = Gateway::publishing();
    gateway.publish("md.a", "\"old\"");
    let mut client = Client::connect(&gateway, "/ws");
    client.subscribe(&["md.a"]);
    client.assert_silent();
    gateway.publish("md.a", "\"new\"");
    assert_eq!(client.text(), "\"new\"");
}

#[test]
fn last_gives_a_binary_publication_too() {
    let gateway = Gateway::publishing();
    let answer = gateway.post("/api/topics/md.a", "application/octet-stream", [0, 159, 146, 150]);
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(Client::connect(&gateway, "/ws/md.a;last").binary(), [0, 159, 146, 150]);
}

#[test]
fn the_same_stream_again_also_twice_in_one_list_is_accepted_and_changes_nothing() {
    let gateway = Gateway::publishing();
    gateway.publish("md.a", "1");
    let mut client = Client::connect(&gateway, "/ws");
    assert_eq!(client.ask("SUBSCRIBE", "[\"md.a\",\"md.b\",\"md.a\"]"), "{\"result\":null}");
    assert_eq!(client.ask("SUBSCRIBE", "[\"md.a\"]"), "{\"result\":null}");
    assert_eq!(client.ask("LIST_SUBSCRIPTIONS", ""), "{\"result\":[\"md.a\",\"md.b\"]}");
    assert_eq!(client.subscribe(&["md.a;last"])[0]["offset"], 1, "`last` makes no other subscription of it");
    client.assert_silent();
    gateway.publish("md.a", "2");
    assert_eq!(client.text(), "2");
    client.assert_silent();
}

#[test]
fn a_bad_name_is_error_3_and_the_message_names_the_stream_at_fault() {
    let gateway = Gateway::publishing();
    let mut client = Client::connect(&gateway, "/ws");
    let long = "a".repeat(256);
    for stream in [
        "",
        "a..b",
        ".a",
        "a.",
        "$gateway.x",
        "a b",
        "a/b",
        "a?b",
        "a#b",
        "a%b",
        "a&b",
        "a\\\"b",
        "a\\\\b",
        "a\\u0001b",
        "a\\u0085b",
        "a*b",
        "a.>.b",
        "*.b>",
        &long,
    ] {
        let reply = client.ask("SUBSCRIBE", &format!("[\"fine\",\"{stream}\"]"));
        assert!(reply.starts_with("{\"error\":{\"code\":3,\"msg\":\""), "{stream}: {reply}");
    }
    assert!(client.ask("SUBSCRIBE", "[\"fine\",\"a..b\"]").contains("a..b"), "the message names the stream at fault");
    assert_eq!(client.ask("SUBSCRIBE", &format!("[\"{}\"]", "a".repeat(255))), "{\"result\":null}");
}

#[test]
fn subscribe_is_all_or_nothing() {
    let gateway = Gateway::publishing();
    let mut client = Client::connect(&gateway, "/ws");
    for list in ["[\"a\",\"b\",\"bad..name\"]", "[\"a\",\"b;rate=1s\"]", "[\"a\",7]", "[\"a\",\"*;since=e:1\"]"] {
        client.error("SUBSCRIBE", list);
        assert_eq!(client.ask("LIST_SUBSCRIPTIONS", ""), "{\"result\":[]}", "{list}");
    }
}

#[test]
fn unsubscribe_is_all_or_nothing_and_a_topic_not_subscribed_is_error_6() {
    let gateway = Gateway::publishing();
    let mut client = Client::connect(&gateway, "/stream?streams=a/b/c");
    assert_eq!(client.error("UNSUBSCRIBE", "[\"a\",\"never\"]"), 6);
    assert_eq!(client.ask("LIST_SUBSCRIPTIONS", ""), "{\"result\":[\"a\",\"b\",\"c\"]}");
    assert_eq!(client.ask("UNSUBSCRIBE", "[\"a\",\"c\"]"), "{\"result\":null}");
    assert_eq!(client.ask("LIST_SUBSCRIPTIONS", ""), "{\"result\":[\"b\"]}");
    assert_eq!(client.error("UNSUBSCRIBE", "[\"a\"]"), 6);
}

#[test]
fn unsubscribe_ignores_options() {
    let gateway = Gateway::publishing();
    let mut client = Client::connect(&gateway, "/stream?streams=a/b");
    assert_eq!(client.ask("UNSUBSCRIBE", "[\"a;last\",\"b;rate=1s;nonsense\"]"), "{\"result\":null}");
    assert_eq!(client.ask("LIST_SUBSCRIPTIONS", ""), "{\"result\":[]}");
}

#[test]
fn subscribing_again_after_unsubscribe_begins_anew() {
    let gateway = Gateway::publishing();
    let mut client = Client::connect(&gateway, "/ws/md.a");
    client.ask("UNSUBSCRIBE", "[\"md.a\"]");
    gateway.publish("md.a", "1");
    client.assert_silent();
    client.subscribe(&["md.a"]);
    client.assert_silent();
    gateway.publish("md.a", "2");
    assert_eq!(client.text(), "2");
}

#[test]
fn list_subscriptions_is_in_the_order_subscribed() {
    let gateway = Gateway::publishing();
    let mut client = Client::connect(&gateway, "/stream?streams=z/m;last");
    client.text();
    client.subscribe(&["a", "b"]);
    client.ask("UNSUBSCRIBE", "[\"z\"]");
    client.subscribe(&["z"]);
    assert_eq!(client.ask("LIST_SUBSCRIPTIONS", ""), "{\"result\":[\"m\",\"a\",\"b\",\"z\"]}");
}

#[test]
fn more_subscriptions_than_the_limit_are_error_5_and_none_of_the_list_is_held() {
    let gateway = Gateway::publishing();
    let mut client = Client::connect(&gateway, "/ws");
    let names =
        |range: std::ops::Range<u32>| Value::from(range.map(|number| format!("t{number}")).collect::<Vec<_>>()).to_string();
    assert_eq!(client.ask("SUBSCRIBE", &names(0..1000)), "{\"result\":null}");
    assert_eq!(client.error("SUBSCRIBE", &names(1000..1025)), 5);
    assert_eq!(client.result("LIST_SUBSCRIPTIONS", "").as_array().map(Vec::len), Some(1000));
    assert_eq!(client.ask("SUBSCRIBE", &names(990..1024)), "{\"result\":null}", "what is held already counts once");
    assert_eq!(client.error("SUBSCRIBE", "[\"one.more\"]"), 5);
}

#[test]
fn positions_tell_how_far_this_connection_is() {
    let gateway = Gateway::publishing();
    let (epoch, _) = gateway.publish("md.a", "1");
    let mut client = Client::connect(&gateway, "/ws/md.a");
    let position = |offset: u64| format!("{{\"result\":[{{\"stream\":\"md.a\",\"epoch\":\"{epoch}\",\"offset\":{offset}}}]}}");
    assert_eq!(client.ask("POSITIONS", ""), position(1), "what was before it subscribed is old");
    for offset in 2..5 {
        gateway.publish("md.a", "1");
        client.text();
        assert_eq!(client.ask("POSITIONS", ""), position(offset));
        assert_eq!(client.ask("POSITIONS", "[\"md.a\"]"), position(offset));
    }
    let mut with_last = Client::connect(&gateway, "/ws/md.a;last");
    with_last.text();
    assert_eq!(with_last.ask("POSITIONS", ""), position(4));
}

#[test]
fn positions_of_all_or_of_named_topics_and_error_6_for_others() {
    let gateway = Gateway::publishing();
    for topic in ["a", "b", "b", "c"] {
        gateway.publish(topic, "1");
    }
    let mut client = Client::connect(&gateway, "/stream?streams=c/b/a");
    let told = |positions: Value| -> Vec<(String, u64)> {
        let entries = positions.as_array().expect("a list").iter();
        entries
            .map(|entry| (entry["stream"].as_str().expect("a name").to_owned(), entry["offset"].as_u64().expect("an offset")))
            .collect()
    };
    let entry = |topic: &str, offset| (topic.to_owned(), offset);
    assert_eq!(told(client.result("POSITIONS", "")), [entry("c", 1), entry("b", 2), entry("a", 1)]);
    assert_eq!(told(client.result("POSITIONS", "[\"a\",\"b\"]")), [entry("a", 1), entry("b", 2)]);
    assert_eq!(client.error("POSITIONS", "[\"a\",\"never\"]"), 6);
    assert_eq!(told(Client::connect(&gateway, "/ws").result("POSITIONS", "")), []);
}

#[test]
fn positions_of_more_than_1024_entries_are_error_5_name_some() {
    let gateway = Gateway::configured(&format!("{PUBLISHING}[limits]\nsubscriptions_max = 2000\n"));
    let mut client = Client::connect(&gateway, "/ws");
    let names: Vec<_> = (0..1025).map(|number| format!("t{number}")).collect();
    client.ask("SUBSCRIBE", &Value::from(names[..1024].to_vec()).to_string());
    assert_eq!(client.result("POSITIONS", "").as_array().map(Vec::len), Some(1024));
    client.ask("SUBSCRIBE", &Value::from(names[1024..].to_vec()).to_string());
    assert_eq!(client.error("POSITIONS", ""), 5);
    assert_eq!(client.result("POSITIONS", "[\"t5\"]").as_array().map(Vec::len), Some(1));
}
