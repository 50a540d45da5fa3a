//! `GET /sse`: the combined connection for networks without WebSocket.

use serde_json::{Value, json};

use crate::common::{Client, Events, Gateway, PUBLISHING, http};

/// A listener that a page of another origin may read.
fn open_to_a_page() -> Gateway {
    Gateway::configured_with("origins = [\"https://app.example\"]\n", PUBLISHING, &[])
}

#[test]
fn one_stream_bears_its_positions_as_ids() {
    let gateway = Gateway::publishing();
    let mut events = Events::open(&gateway, "/sse?streams=md.a", "");
    for (name, value) in [
        ("Content-Type", "text/event-stream"),
        ("Cache-Control", "no-store"),
        ("X-Accel-Buffering", "no"),
        ("Connection", "close"),
        ("Vary", "Origin"),
    ] {
        assert!(events.head.contains(&format!("\r\n{name}: {value}\r\n")), "{}", events.head);
    }
    assert!(!events.head.contains("Content-Length") && !events.head.contains("Access-Control"), "{}", events.head);
    let (epoch, offset) = gateway.publish("md.a", "{ \"p\" : 1.10 }");
    assert_eq!(events.data(), "{\"stream\":\"md.a\",\"o\":1,\"data\":{ \"p\" : 1.10 }}");
    assert_eq!(events.last_id, format!("{epoch}:{offset}"));
    drop(events);
    gateway.stop();
}

#[test]
fn several_streams_bear_no_id_and_an_option_is_answered_first() {
    let gateway = Gateway::publishing();
    let (epoch, _) = gateway.publish("md.a", "1");
    let mut events = Events::open(&gateway, "/sse?streams=md.a;last/md.b", "");
    let reply: Value = serde_json::from_str(&events.data()).expect("a reply is JSON");
    assert_eq!(reply["id"], Value::Null);
    assert_eq!(reply["result"][0], json!({"stream": "md.a", "epoch": epoch, "offset": 1}));
    assert_eq!(events.data(), "{\"stream\":\"md.a\",\"o\":1,\"data\":1}");
    gateway.publish("md.b", "\"x\"");
    assert_eq!(events.data(), "{\"stream\":\"md.b\",\"o\":1,\"data\":\"x\"}");
    assert_eq!(events.last_id, "");
    drop(events);
    gateway.stop();
}

#[test]
fn a_browser_that_comes_back_goes_on_after_the_last_id() {
    let gateway = Gateway::configured(&format!("{PUBLISHING}[[topic]]\npattern = \">\"\nring_publications = 4\n"));
    let (epoch, _) = gateway.publish("md.a", "1");
    (2..=6).for_each(|number| drop(gateway.publish("md.a", &number.to_string())));
    let expect = |path: &str, id: &str, recovered: Option<bool>, first: u64| {
        let mut events = Events::open(&gateway, path, &format!("Last-Event-ID: {id}\r\n"));
        if let Some(recovered) = recovered {
            let reply: Value = serde_json::from_str(&events.data()).expect("a reply is JSON");
            let entry = json!({"stream": "md.a", "epoch": epoch, "offset": 6, "recovered": recovered});
            assert_eq!(reply, json!({"result": [entry], "id": null}));
        }
        for number in first..=6 {
            assert_eq!(events.data(), format!("{{\"stream\":\"md.a\",\"o\":{number},\"data\":{number}}}"));
            assert_eq!(events.last_id, format!("{epoch}:{number}"));
        }
    };
    expect("/sse?streams=md.a", &format!("{epoch}:4"), Some(true), 5);
    expect("/sse?streams=md.a", &format!("{epoch}:2"), Some(true), 3);
    // It is the newer word than the URL's, which a browser says again.
    expect(&format!("/sse?streams=md.a;since={epoch}:2"), &format!("{epoch}:5"), Some(true), 6);
    // The ring is too short, or the count has begun anew.
    expect("/sse?streams=md.a", &format!("{epoch}:1"), Some(false), 7);
    expect("/sse?streams=md.a;last", &format!("{epoch}:1"), Some(false), 6);
    expect("/sse?streams=md.a;last", "0:5", Some(false), 6);
    gateway.stop();
}

#[test]
fn several_topics_are_resumed_by_the_url_and_no_id() {
    let gateway = Gateway::publishing();
    let (epoch, _) = gateway.publish("md.a", "1");
    gateway.publish("md.a", "2");
    let mut events = Events::open(&gateway, &format!("/sse?streams=md.a;since={epoch}:1/md.b"), "Last-Event-ID: x:y:z\r\n");
    let reply: Value = serde_json::from_str(&events.data()).expect("a reply is JSON");
    assert_eq!(reply["result"][0]["recovered"], true);
    assert_eq!(events.data(), "{\"stream\":\"md.a\",\"o\":2,\"data\":2}");
    drop(events);
    gateway.stop();
}

#[test]
fn line_ends_between_tokens_are_joined_again_and_bytes_are_base64() {
    let gateway = Gateway::publishing();
    let mut events = Events::open(&gateway, "/sse?streams=md.a", "");
    let mut publisher = Client::connect(&gateway, "/publish/md.a");
    publisher.send("[1,\r\n2,\r3,\n4]");
    assert_eq!(events.data(), "{\"stream\":\"md.a\",\"o\":1,\"data\":[1,\n2,\n3,\n4]}");
    publisher.send("no\nJSON");
    assert_eq!(events.data(), "{\"stream\":\"md.a\",\"o\":2,\"data\":\"no\\nJSON\"}");
    publisher.send_binary(&[0, 255, 10, 13]);
    assert_eq!(events.data(), "{\"stream\":\"md.a\",\"o\":3,\"b64\":\"AP8KDQ==\"}");
    drop((events, publisher));
    gateway.stop();
}

#[test]
fn a_listed_origin_may_read_it_and_no_other() {
    let gateway = open_to_a_page();
    let events = Events::open(&gateway, "/sse?streams=md.a", "Origin: https://app.example\r\n");
    assert!(events.head.contains("\r\nAccess-Control-Allow-Origin: https://app.example\r\n"), "{}", events.head);
    assert!(!events.head.contains("Access-Control-Allow-Credentials"), "{}", events.head);
    let refused = http(gateway.clients, "GET", "/sse?streams=md.a", &[("Origin", "https://evil.example")], b"");
    assert_eq!((refused.status, refused.header("access-control-allow-origin")), (403, None));
    drop(events);
    gateway.stop();
}

#[test]
fn http_1_0_is_served_as_proxies_speak_it() {
    let gateway = Gateway::publishing();
    let request = format!("GET /sse?streams=md.a HTTP/1.0\r\nHost: {}\r\n\r\n", gateway.clients);
    let mut events = Events::ask(gateway.clients, &request);
    gateway.publish("md.a", "1");
    assert_eq!(events.data(), "{\"stream\":\"md.a\",\"o\":1,\"data\":1}");
    drop(events);
    gateway.stop();
}

#[test]
fn what_is_wrong_is_said_before_the_first_event() {
    let gateway = Gateway::configured("[limits]\nsubscriptions_max = 2\n");
    let refused = |method: &str, path: &str, headers: &[(&str, &str)], status: u16, words: &str| {
        let answer = http(gateway.clients, method, path, headers, b"");
        assert_eq!(answer.status, status, "{path}: {answer:?}");
        if method != "HEAD" {
            let body: Value = serde_json::from_slice(&answer.body).expect("a refusal is JSON");
            let message = body["error"]["msg"].as_str().expect("a refusal has a sentence");
            assert!(message.contains(words), "{path}: {message}");
        }
        answer
    };
    for path in ["/sse", "/sse?", "/sse?stream=a"] {
        refused("GET", path, &[], 400, "name streams, as in /sse?streams=a/b");
    }
    refused("GET", "/sse?streams=a//b", &[], 400, "cannot be empty");
    refused("GET", "/sse?streams=a;lost", &[], 400, "there is no such option");
    refused("GET", "/sse?streams=a/b/c", &[], 400, "subscriptions_max = 2");
    refused("GET", "/sse?streams=a", &[("Last-Event-ID", "42")], 400, "<epoch>:<offset>");
    for method in ["POST", "HEAD", "OPTIONS"] {
        let answer = refused(method, "/sse?streams=a", &[], 405, "is not served here; use GET");
        assert_eq!(answer.header("allow"), Some("GET"));
    }
    refused("GET", "/sse/a", &[], 404, "there is nothing at /sse/a");
    gateway.stop();
}

#[test]
fn a_stop_is_announced_and_then_the_events_end() {
    let mut gateway = Gateway::publishing();
    let mut events = Events::open(&gateway, "/sse?streams=md.a", "");
    gateway.publish("md.a", "1");
    assert_eq!(events.data(), "{\"stream\":\"md.a\",\"o\":1,\"data\":1}");
    gateway.terminate();
    let event = events.data();
    assert!(event.starts_with("{\"e\":\"serverShutdown\",\"E\":"), "{event}");
    assert_eq!(events.next(), None);
    drop(events);
    gateway.stop();
}

#[test]
fn who_falls_out_of_the_ring_is_cut_and_has_seen_no_gap() {
    let gateway = Gateway::configured(&format!("{PUBLISHING}[[topic]]\npattern = \">\"\nring_publications = 4\n"));
    let mut events = Events::open(&gateway, "/sse?streams=md.a", "");
    let mut publisher = Client::connect(&gateway, "/publish/md.a");
    let payload = "1".repeat(256 << 10);
    let expected = |offset| format!("{{\"stream\":\"md.a\",\"o\":{offset},\"data\":{payload}}}");
    publisher.send(&payload);
    assert!(events.data() == expected(1));
    // More than a socket's buffers take, while nobody reads.
    for _ in 0..64 {
        publisher.send(&payload);
    }
    let mut came = 1;
    while let Some(data) = events.next() {
        came += 1;
        assert!(data == expected(came), "{came}: {}", &data[..60]);
    }
    assert!(came < 65, "all of it came");
    drop((events, publisher));
    gateway.stop();
}

#[test]
fn what_a_client_says_behind_its_request_is_thrown_away() {
    let gateway = Gateway::publishing();
    let host = gateway.clients;
    let more = "GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(100);
    let mut events = Events::ask(host, &format!("GET /sse?streams=md.a HTTP/1.1\r\nHost: {host}\r\n\r\n{more}"));
    gateway.publish("md.a", "1");
    assert_eq!(events.data(), "{\"stream\":\"md.a\",\"o\":1,\"data\":1}");
    drop(events);
    gateway.stop();
}
