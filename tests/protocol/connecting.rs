//! "Connecting": what each request line gives.

use serde_json::{Value, json};

use crate::common::{Client, Gateway, Raw, Response};

#[test]
fn get_ws_is_an_empty_connection_with_raw_payloads_then_subscribe() {
    let gateway = Gateway::publishing();
    let mut client = Client::connect(&gateway, "/ws");
    assert_eq!(client.ask("LIST_SUBSCRIPTIONS", ""), "{\"result\":[]}");
    assert_eq!(client.ask("GET_PROPERTY", "[\"combined\"]"), "{\"result\":false}");
    client.subscribe(&["md.a"]);
    gateway.publish("md.a", "{ \"as\" : 1.0 }");
    assert_eq!(client.text(), "{ \"as\" : 1.0 }");
}

#[test]
fn get_ws_stream_is_one_stream_from_the_start_with_raw_payloads() {
    let gateway = Gateway::publishing();
    let mut client = Client::connect(&gateway, "/ws/btcusdt@depth@0ms");
    assert_eq!(client.ask("LIST_SUBSCRIPTIONS", ""), "{\"result\":[\"btcusdt@depth@0ms\"]}");
    gateway.publish("btcusdt@depth@0ms", "[1, 2]");
    assert_eq!(client.text(), "[1, 2]");
}

#[test]
fn get_stream_is_an_empty_connection_with_combined_payloads() {
    let gateway = Gateway::publishing();
    let mut client = Client::connect(&gateway, "/stream");
    assert_eq!(client.ask("LIST_SUBSCRIPTIONS", ""), "{\"result\":[]}");
    assert_eq!(client.ask("GET_PROPERTY", "[\"combined\"]"), "{\"result\":true}");
    client.subscribe(&["md.a"]);
    gateway.publish("md.a", "7");
    assert_eq!(client.text(), "{\"stream\":\"md.a\",\"o\":1,\"data\":7}");
}

#[test]
fn get_stream_with_streams_is_subscribed_from_the_start_with_combined_payloads() {
    let gateway = Gateway::publishing();
    let mut client = Client::connect(&gateway, "/stream?streams=md.a/md.b/md.c");
    assert_eq!(client.ask("LIST_SUBSCRIPTIONS", ""), "{\"result\":[\"md.a\",\"md.b\",\"md.c\"]}");
    for topic in ["md.c", "md.a", "md.b"] {
        gateway.publish(topic, "{}");
        assert_eq!(client.text(), format!("{{\"stream\":\"{topic}\",\"o\":1,\"data\":{{}}}}"));
    }
}

#[test]
fn the_list_is_split_at_slash_first_then_each_stream_is_percent_decoded_once() {
    let gateway = Gateway::publishing();
    let taken = [
        ("btcusdt%40trade/btcusdt@bookTicker", json!(["btcusdt@trade", "btcusdt@bookTicker"])),
        ("a@-_:+=,b", json!(["a@-_:+=,b"])),
        ("a+b", json!(["a+b"])),
        ("a%2Bb", json!(["a+b"])),
        ("a%2eb", json!(["a.b"])),
        ("%E2%82%AC", json!(["€"])),
    ];
    for (list, subscribed) in taken {
        let mut client = Client::connect(&gateway, &format!("/stream?streams={list}"));
        assert_eq!(client.result("LIST_SUBSCRIPTIONS", ""), subscribed, "{list}");
    }
    // Decoded after the split, `%2F` is no separator but a character that no topic has; decoded once, `%252F` is `%2F`.
    for list in ["a%2Fb", "a%252Fb"] {
        assert_eq!(refused(&gateway, &format!("/stream?streams={list}")), (400, 3), "{list}");
    }
}

#[test]
fn an_option_may_stand_as_it_is_or_percent_encoded() {
    let gateway = Gateway::publishing();
    let (epoch, _) = gateway.publish("md.a", "1");
    for list in ["md.a;last", "md.a%3Blast"] {
        let mut client = Client::connect(&gateway, &format!("/stream?streams={list}"));
        let reply = format!("{{\"result\":[{{\"stream\":\"md.a\",\"epoch\":\"{epoch}\",\"offset\":1}}],\"id\":null}}");
        assert_eq!(client.text(), reply);
        assert_eq!(client.text(), "{\"stream\":\"md.a\",\"o\":1,\"data\":1}");
    }
}

#[test]
fn with_an_option_a_combined_connections_first_message_is_the_reply_with_id_null() {
    let gateway = Gateway::publishing();
    let mut client = Client::connect(&gateway, "/stream?streams=md.a/md.b;last");
    let reply: Value = serde_json::from_str(&client.text()).expect("a reply is JSON");
    assert_eq!(reply["id"], Value::Null);
    let streams: Vec<_> = reply["result"].as_array().expect("a list").iter().map(|entry| &entry["stream"]).collect();
    assert_eq!(streams, ["md.a", "md.b"]);
    client.assert_silent();
}

#[test]
fn without_an_option_or_on_a_raw_connection_there_is_no_reply() {
    let gateway = Gateway::publishing();
    gateway.publish("md.a", "\"newest\"");
    Client::connect(&gateway, "/stream?streams=md.a/md.b").assert_silent();
    Client::connect(&gateway, "/ws/md.a").assert_silent();
    let mut raw = Client::connect(&gateway, "/ws/md.a;last");
    assert_eq!(raw.text(), "\"newest\"");
    raw.assert_silent();
}

#[test]
fn an_empty_stream_a_bad_name_or_option_is_400() {
    let gateway = Gateway::publishing();
    let long = "a".repeat(256);
    let bad = ["a//b", "a/", "/a", "", "a..b", ".a", "a.", "$gateway", "a%20b", "a%22b", "a%5Cb", "a%00b", "a%7Fb", &long];
    for list in bad {
        assert_eq!(refused(&gateway, &format!("/stream?streams={list}")), (400, 3), "{list:?}");
    }
    for path in ["/ws/", "/ws/a..b", "/ws/$own", "/ws/md.a*", "/ws/md.%3E.a", "/stream?streams=md.>>"] {
        assert_eq!(refused(&gateway, path), (400, 3), "{path:?}");
    }
    for malformed in ["a;nonsense", "a;last=1", "a;", "a;;last", "a/b", "%FF", "a%", "a%4", "a%zz"] {
        assert_eq!(refused(&gateway, &format!("/ws/{malformed}")), (400, 1), "{malformed:?}");
    }
}

#[test]
fn options_that_the_configuration_does_not_grant_are_refused_before_the_upgrade() {
    let gateway = Gateway::publishing();
    for option in ["rate=100ms", "slow=drop", "slow=conflate"] {
        assert_eq!(refused(&gateway, &format!("/stream?streams=a;{option}")), (403, 4), "{option}");
    }
    assert_eq!(refused(&gateway, "/ws/a;since=abc:1"), (400, 1), "a raw connection gets no reply, so `since` is refused there");
    assert_eq!(refused(&gateway, "/stream?streams=a;since=abc:1;rate=1s"), (400, 1));
}

#[test]
fn too_many_streams_are_400() {
    let gateway = Gateway::configured("[limits]\nsubscriptions_max = 3\n");
    assert_eq!(refused(&gateway, "/stream?streams=a/b/c/d"), (400, 5));
    Client::connect(&gateway, "/stream?streams=a/b/c").assert_silent();
    // The same stream twice is one subscription.
    Client::connect(&gateway, "/stream?streams=a/b/c/a").assert_silent();
}

#[test]
fn a_url_of_more_than_8_kib_is_431() {
    let gateway = Gateway::publishing();
    let list = vec!["a".repeat(200); 41].join("/");
    assert_eq!(Raw::open(gateway.clients).handshake(&format!("/stream?streams={list}"), &[]).status, 431);
}

#[test]
fn the_subprotocol_tidegate_v1_is_selected_a_token_never_echoed_others_ignored() {
    let gateway = Gateway::publishing();
    let offers = [
        ("tidegate.v1", Some("tidegate.v1")),
        ("tidegate.v1, bearer.secret", Some("tidegate.v1")),
        ("bearer.secret,tidegate.v1", Some("tidegate.v1")),
        ("graphql-ws, soap", None),
        ("soap, tidegate.v1", Some("tidegate.v1")),
    ];
    for (offer, selected) in offers {
        let response = Raw::open(gateway.clients).handshake("/ws", &[("Sec-WebSocket-Protocol", offer)]);
        assert_eq!((response.status, response.header("sec-websocket-protocol")), (101, selected), "{offer}");
    }
}

#[test]
fn the_upgrade_answers_with_the_key_of_rfc_6455() {
    let gateway = Gateway::publishing();
    let response = Raw::open(gateway.clients).handshake("/ws", &[]);
    assert_eq!(response.header("sec-websocket-accept"), Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
    assert_eq!(response.header("upgrade").map(str::to_ascii_lowercase).as_deref(), Some("websocket"));
    assert_eq!(response.header("connection").map(str::to_ascii_lowercase).as_deref(), Some("upgrade"));
    assert_eq!(response.header("sec-websocket-extensions"), None);
}

/// Status and error code of a refusal, whose body has the protocol's form.
fn refused(gateway: &Gateway, path: &str) -> (u16, u64) {
    status_and_code(path, &Raw::open(gateway.clients).handshake(path, &[]))
}

/// Status and error code of a refusal, whose body has the protocol's form.
pub(crate) fn status_and_code(what: &str, response: &Response) -> (u16, u64) {
    let body: Value = serde_json::from_slice(&response.body).unwrap_or_else(|_| panic!("{what}: no JSON in {response:?}"));
    let error = body["error"].as_object().unwrap_or_else(|| panic!("{what}: {body}"));
    assert!(error["msg"].as_str().is_some_and(|sentence| sentence.len() > 8), "{what}: no sentence in {body}");
    (response.status, error["code"].as_u64().unwrap_or_else(|| panic!("{what}: {body}")))
}
