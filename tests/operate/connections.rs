//! Who is connected, who is behind, and ending a client.

use std::collections::{BTreeMap, HashSet};
use std::time::{Duration, Instant, SystemTime};

use serde_json::{Value, json};

use crate::common::members::{Member, join};
use crate::common::{Authority, Client, Gateway, PATIENCE, PUBLISHING, Raw, Secure, frame};
use crate::parts::connect_from;
use crate::{asked, connections, json_of, refused};

/// The id of the only connection that a query finds.
fn only(gateway: &Gateway, query: &str) -> Value {
    let mut rows = connections(gateway, query);
    assert_eq!(rows.len(), 1, "{query}: {rows:?}");
    rows.remove(0)
}

/// Waits for the only connection of a query to be as wanted.
fn comes_to(gateway: &Gateway, query: &str, wanted: impl Fn(&Value) -> bool) -> Value {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let row = only(gateway, query);
        if wanted(&row) {
            return row;
        }
        assert!(Instant::now() < deadline, "{query} stays {row}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn without_clients_there_is_nothing_to_tell() {
    let gateway = Gateway::publishing();
    assert_eq!(asked(&gateway, "/api/connections"), json!({"connections": [], "next": null}));
    assert_eq!(asked(&gateway, "/api/slow"), json!({"by_bytes": [], "by_age": [], "topics": []}));
    gateway.stop();
}

#[test]
fn a_connection_is_told_as_it_is() {
    let gateway = Gateway::deflating("[[topic]]\npattern = \"b\"\nkind = \"state\"\nrates_ms = [100]\n");
    let before_ms = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("it is later").as_millis() as u64;
    let mut named = connect_from(2, gateway.clients);
    let answer = named.handshake("/stream?streams=a/b;rate=100ms/c.%3E", &[("X-Request-Id", "from-a-balancer")]);
    assert_eq!((answer.status, answer.header("x-request-id")), (101, Some("from-a-balancer")));
    let row = only(&gateway, "address=127.0.0.2");
    let port = named.stream.local_addr().expect("it is connected").port();
    let since_ms = row["since_ms"].as_u64().expect("a time");
    let listener = gateway.clients.to_string();
    for (key, wanted) in [
        ("address", json!("127.0.0.2")),
        ("port", json!(port)),
        ("listener", json!(listener)),
        ("role", json!("subscriber")),
        ("tls", json!(false)),
        ("request_id", json!("from-a-balancer")),
        ("subscriptions", json!(3)),
        ("lag", json!({"publications": 0, "bytes": 0, "age_ms": 0})),
        ("owed_bytes", json!(0)),
        ("stalled_ms", json!(null)),
    ] {
        assert_eq!(row[key], wanted, "{key} of {row}");
    }
    assert!((before_ms - 100..before_ms + 60_000).contains(&since_ms), "{since_ms} after {before_ms}");

    let detail = asked(&gateway, &format!("/api/connections/{}", row["id"].as_str().expect("an id")));
    assert_eq!(detail["request_id"], "from-a-balancer");
    let subscribed = detail["subscribed"].as_array().expect("a list");
    assert_eq!(
        (&subscribed[0]["topic"], &subscribed[0]["rate_ms"], &subscribed[0]["slow"]),
        (&json!("a"), &json!(null), &json!("close"))
    );
    assert_eq!((&subscribed[1]["topic"], &subscribed[1]["rate_ms"]), (&json!("b"), &json!(100)));
    assert_eq!((&subscribed[2]["pattern"], &subscribed[2]["lag"]["bytes"]), (&json!("c.>"), &json!(0)));
    let mut made = connect_from(3, gateway.clients);
    let answer = made.handshake("/echo", &[]);
    let row = only(&gateway, "address=127.0.0.3");
    assert_eq!((row["role"].as_str(), row["request_id"].as_str()), (Some("echo"), answer.header("x-request-id")));
    // The same where the upgrade is not a connection's first request: then nobody else can have its id.
    let mut second = connect_from(4, gateway.clients);
    second.send("GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert_eq!(second.response().status, 200);
    assert_eq!(only(&gateway, "address=127.0.0.4")["role"], "arriving");
    let answer = second.handshake("/publish/a", &[]);
    let row = only(&gateway, "address=127.0.0.4");
    assert_eq!((row["role"].as_str(), row["request_id"].as_str()), (Some("publisher"), answer.header("x-request-id")));

    let mut events = connect_from(5, gateway.clients);
    events.send("GET /sse?streams=a HTTP/1.1\r\nHost: localhost\r\n\r\n");
    comes_to(&gateway, "address=127.0.0.5", |row| row["role"] == "events" && row["subscriptions"] == 1);
    assert_eq!(connections(&gateway, "role=subscriber&topic=a").len(), 1);
    assert_eq!(connections(&gateway, "topic=a").len(), 2);
    assert_eq!(connections(&gateway, "topic=c.d.e").len(), 1);
    assert_eq!(connections(&gateway, "topic=c").len(), 0);
    assert_eq!(connections(&gateway, "address=127.0.0.2/31").len(), 2);
    gateway.stop();
}

#[test]
fn bytes_are_counted_as_they_go_over_the_wire() {
    let authority = Authority::new();
    authority.sign_valid("server");
    let tls = authority.listener("server");
    let gateway = Gateway::of_one_shard("", &format!("{PUBLISHING}[echo]\nenabled = true\n{tls}"));
    let mut client = connect_from(2, gateway.clients);
    let host = gateway.clients.to_string();
    let request = format!(
        "GET /echo HTTP/1.1\r\nHost: {host}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    client.send(&request);
    let answer = client.response();
    let after = only(&gateway, "address=127.0.0.2");
    assert_eq!(after["received_bytes"], json!(request.len()), "{answer:?}");
    let head_bytes = after["sent_bytes"].as_u64().expect("a number");
    assert!((100..1000).contains(&head_bytes), "{head_bytes} for {answer:?}");
    let message = "x".repeat(50_000);
    client.send_text(&message);
    assert_eq!(client.text().len(), message.len());
    let echoed = comes_to(&gateway, "address=127.0.0.2", |row| row["sent_bytes"].as_u64() >= Some(head_bytes + 50_000));
    assert_eq!(echoed["received_bytes"], json!(request.len() + frame(0x81, message.as_bytes()).len()));
    // A server's frame has no mask.
    assert_eq!(echoed["sent_bytes"], json!(head_bytes + 50_000 + 4));

    let mut secure = Secure::open(gateway.secure(), &authority.client_config());
    assert!(secure.ask("/health/live", "").starts_with("HTTP/1.1 200 "));
    let row = connections(&gateway, "address=127.0.0.1").into_iter().find(|row| row["tls"] == true).expect("one has TLS");
    // The certificate alone is larger than the answer.
    assert!(row["sent_bytes"].as_u64() > Some(500) && row["listener"] == json!(gateway.secure().to_string()), "{row}");
    gateway.stop();
}

#[test]
fn ten_thousand_connections_are_told_page_by_page() {
    const CLIENTS: usize = 10_000;
    let gateway = Gateway::publishing();
    let members = join(&gateway, "/ws/idle", CLIENTS, None);
    let (mut ids, mut pages, mut after) = (HashSet::new(), 0, String::new());
    let mut by_address: BTreeMap<String, usize> = BTreeMap::new();
    loop {
        let page = asked(&gateway, &format!("/api/connections?limit=700{after}"));
        for row in page["connections"].as_array().expect("a list") {
            assert!(ids.insert(row["id"].as_str().expect("an id").to_owned()), "{row} comes twice");
            assert_eq!((&row["role"], &row["subscriptions"]), (&json!("subscriber"), &json!(1)));
            *by_address.entry(row["address"].as_str().expect("an address").to_owned()).or_default() += 1;
        }
        pages += 1;
        match page["next"].as_str() {
            Some(next) => after = format!("&after={next}"),
            None => break,
        }
    }
    assert_eq!((ids.len(), pages), (CLIENTS, CLIENTS.div_ceil(700)));
    assert_eq!(by_address.len(), 16);
    for (address, count) in by_address.into_iter().take(2) {
        assert_eq!(connections(&gateway, &format!("address={address}")).len(), count, "{address}");
    }
    assert_eq!(connections(&gateway, "address=127.0.0.8/32").len(), CLIENTS / 16);
    assert_eq!(connections(&gateway, "role=publisher").len(), 0);
    assert_eq!(connections(&gateway, "lag_bytes_min=1").len(), 0);
    assert_eq!(connections(&gateway, "age_ms_min=3600000").len(), 0);
    // All of them are walked over, and they are served meanwhile.
    let (_, offset) = gateway.publish("idle", "1");
    assert_eq!(offset, 1);
    let deadline = Instant::now() + PATIENCE;
    while asked(&gateway, "/api/slow")["topics"] != json!([]) {
        assert!(Instant::now() < deadline, "each has it");
    }
    drop(members);
    let deadline = Instant::now() + PATIENCE;
    while !connections(&gateway, "").is_empty() {
        assert!(Instant::now() < deadline, "they are gone");
    }
}

#[test]
fn who_is_behind_is_found() {
    let gateway = Gateway::configured(&format!("{PUBLISHING}[[topic]]\npattern = \">\"\nring_bytes = 67108864\n"));
    let mut slow = Member::join(&gateway, "/ws/heavy", Some(4096));
    let mut quick = Client::connect(&gateway, "/ws/heavy");
    let data = format!("\"{}\"", "x".repeat(900_000));
    for _ in 0..20 {
        gateway.publish("heavy", &data);
        quick.text();
    }
    let row = comes_to(&gateway, "lag_bytes_min=1000000", |row| row["stalled_ms"].as_u64() > Some(5));
    assert_eq!(row["role"], "subscriber");
    let lag = &row["lag"];
    assert!((2..=20).contains(&lag["publications"].as_u64().expect("a number")), "{row}");
    assert!(lag["bytes"].as_u64() < Some(20 * 900_014) && lag["age_ms"].as_u64() > Some(0), "{row}");
    let slowest = asked(&gateway, "/api/slow?limit=5");
    assert_eq!((&slowest["by_bytes"][0]["id"], &slowest["by_age"][0]["id"]), (&row["id"], &row["id"]));
    assert_eq!((&slowest["topics"][0]["topic"], &slowest["topics"][0]["connections"]), (&json!("heavy"), &json!(1)));
    assert!(slowest["topics"][0]["worst"]["bytes"].as_u64() >= Some(1_000_000), "{slowest}");
    assert_eq!(connections(&gateway, "lag_ms_min=1000000").len(), 0);
    // And once it reads, it is not any more.
    let mut buffer = vec![0; 1 << 20];
    let deadline = Instant::now() + PATIENCE;
    while !connections(&gateway, "lag_bytes_min=1").is_empty() {
        slow.read(&mut buffer, &mut |_| crate::common::members::Then::Read);
        assert!(Instant::now() < deadline, "it has read all");
    }
    assert_eq!(asked(&gateway, "/api/slow")["by_bytes"], json!([]));
}

#[test]
fn an_operator_ends_one_client_and_no_other() {
    let gateway = Gateway::of_one_shard("", PUBLISHING);
    let id = |last: u8| only(&gateway, &format!("address=127.0.0.{last}"))["id"].as_str().expect("an id").to_owned();
    let end = |id: &str, body: &str| gateway.post(&format!("/api/connections/{id}/disconnect"), "application/json", body);
    let mut clients: Vec<Raw> = (2..6).map(|last| connect_from(last, gateway.clients)).collect();
    for client in &mut clients {
        assert_eq!(client.handshake("/ws/a", &[]).status, 101);
    }
    let first = id(2);
    let told = json_of(&end(&first, ""), 200);
    assert_eq!(told, json!({"id": first, "code": 1008, "reason": "disconnected by the operator"}));
    assert_eq!(clients[0].closed_with(), 1008);
    json_of(&end(&id(3), r#"{"code": 1012, "reason": "moved"}"#), 200);
    let close = clients[1].frame().expect("a close frame");
    assert_eq!((close.close_code(), &close.payload[2..]), (Some(1012), &b"moved"[..]));
    json_of(&end(&id(4), r#"{"code": 4321}"#), 200);
    assert_eq!(clients[2].closed_with(), 4321);
    // The one that is left is left alone, and hears what is published.
    let last = id(5);
    for wrong in ["{", r#"{"code": 1005}"#, r#"{"code": 1009}"#, r#"{"code": 5000}"#, r#"{"kode": 1008}"#, "[]"] {
        assert_eq!(end(&last, wrong).status, 400, "{wrong}");
    }
    assert_eq!(end(&last, &format!("{{\"reason\": {:?}}}", "x".repeat(124))).status, 400);
    gateway.publish("a", "1");
    assert_eq!(clients[3].text(), "1");
    // Whoever takes the place of one that left has another id.
    let deadline = Instant::now() + PATIENCE;
    while end(&first, "").status != 404 {
        assert!(Instant::now() < deadline, "it is gone");
    }
    let mut next = connect_from(6, gateway.clients);
    assert_eq!(next.handshake("/ws/a", &[]).status, 101);
    assert_eq!((end(&first, "").status, refused(&gateway, &format!("/api/connections/{first}"))), (404, 404));
    assert_eq!((refused(&gateway, "/api/connections/9-1-1"), refused(&gateway, "/api/connections/x")), (404, 400));
    next.send_text(r#"{"method":"PING","id":1}"#);
    assert!(next.text().contains("result"));
    gateway.stop();
}

#[test]
fn what_cannot_be_asked_is_refused_with_a_sentence() {
    let gateway = Gateway::publishing();
    for query in [
        "limit=0",
        "limit=1001",
        "limit=x",
        "after=1",
        "address=1.2.3",
        "address=1.2.3.4/33",
        "topic=a..b",
        "role=king",
        "lag_bytes_min=-1",
        "unknown=1",
    ] {
        assert_eq!(refused(&gateway, &format!("/api/connections?{query}")), 400, "{query}");
    }
    assert_eq!(refused(&gateway, "/api/slow?limit=101"), 400);
}
