//! The operator's endpoint is asked about clients: what it is told, what its answers give, and what happens where it gives none.

use std::time::Instant;

use serde_json::{Value, json};

use crate::common::{Client, Gateway, Raw, Response};
use crate::endpoint::Endpoint;
use crate::keys::{Keys, logged, now_s};

fn table(server: &Endpoint, more: &str) -> String {
    format!("[callout]\nurl = \"http://{}/ask?key=hidden\"\n{more}", server.address)
}

fn handshake(gateway: &Gateway, path: &str, headers: &[(&str, &str)]) -> Response {
    Raw::open(gateway.clients).handshake(path, headers)
}

#[test]
fn it_is_told_who_asks_and_says_what_they_may() {
    let server = Endpoint::open(200, &json!({"sub": "alice", "subscribe": ["md.>"], "publish": ["md.a"]}).to_string());
    let gateway = Gateway::configured(&table(&server, "headers = [\"Cookie\", \"X-None\"]\n"));
    let host = gateway.clients.to_string();
    let origin = format!("http://{host}");
    let headers = [("Origin", origin.as_str()), ("Cookie", "a=b"), ("Authorization", "Bearer opaque"), ("X-Request-Id", "r1")];
    assert_eq!(handshake(&gateway, "/ws/md.a?token=opaque", &headers).status, 101);
    let asked = server.asked();
    let (line, question) = asked[0].split_once('\n').expect("a head and a body");
    assert_eq!((asked.len(), line), (1, "POST /ask?key=hidden HTTP/1.1"));
    let question: Value = serde_json::from_str(question).expect("it is JSON");
    let expected =
        json!({"address": "127.0.0.1", "path": "/ws/md.a", "origin": origin, "headers": {"cookie": "a=b"}, "token": "opaque"});
    assert_eq!(question, expected);
    for (path, status) in [
        ("/ws/other", 403),
        ("/ws/>", 403),
        ("/stream?streams=md.a/md.*", 101),
        ("/publish/md.a", 101),
        ("/publish/md.b", 403),
        ("/ws", 101),
    ] {
        assert_eq!(handshake(&gateway, path, &[]).status, status, "{path}");
    }
    let mut client = Client::connect(&gateway, "/stream?streams=md.a");
    Client::connect(&gateway, "/stream").publish("md.a", "1");
    assert_eq!(client.text(), "{\"stream\":\"md.a\",\"o\":1,\"data\":1}");
    assert_eq!(client.error("SUBSCRIBE", "[\"x\"]"), 4);
    // Of who is there already it is told the token alone.
    assert_eq!(client.result("AUTH", "[\"opaque\"]"), Value::Null);
    let asked = server.asked();
    let (_, question) = asked.last().and_then(|last| last.split_once('\n')).expect("a head and a body");
    let expected = json!({"address": "127.0.0.1", "path": null, "origin": null, "headers": {}, "token": "opaque"});
    assert_eq!(serde_json::from_str::<Value>(question).expect("it is JSON"), expected);
    // Nobody is asked about what needs no right, or is wrong already.
    let before = server.asked().len();
    for (path, headers, status) in [
        ("/health/ready", &[][..], 200),
        ("/ws/a..b", &[], 400),
        ("/ws/md.a", &[("Origin", "https://evil.example")], 403),
        ("/nothing", &[], 404),
    ] {
        assert_eq!(handshake(&gateway, path, headers).status, status, "{path}");
    }
    assert_eq!(server.asked().len(), before);
    assert_eq!(gateway.post("/api/revoke", "application/json", "{\"sub\":\"alice\"}").status, 200);
    assert_eq!(client.close_code(), Some(1008));
    assert!(!gateway.said().contains("opaque") && !gateway.said().contains("hidden"));
    gateway.stop();
}

#[test]
fn a_refusal_is_403_and_an_end_is_kept() {
    let server = Endpoint::open(403, "{\"reason\":\"secret\"}");
    let gateway = Gateway::configured(&table(&server, "[tokens]\nskew_s = 0\n"));
    let refused = handshake(&gateway, "/ws/md.a", &[("X-Request-Id", "r7")]);
    assert_eq!((refused.status, refused.text()), (403, "{\"error\":{\"code\":4,\"msg\":\"not allowed\"}}"));
    logged(&gateway, &["r7", "the callout refuses"]);
    server.say(200, &json!({"subscribe": "md.a", "exp": now_s() + 1}).to_string());
    let mut client = Client::connect(&gateway, "/ws/md.a");
    assert_eq!(client.close_code(), Some(1008));
    gateway.stop();
}

/// What the answer does not say stays as the token has it.
#[test]
fn a_token_is_judged_first_and_the_answer_changes_its_rights() {
    let keys = Keys::new();
    let server = Endpoint::open(204, "");
    let gateway = Gateway::configured(&format!("{}[anonymous]\nsubscribe = [\"public\"]\n{}", keys.shared(), table(&server, "")));
    let bearer = format!("Bearer {}", keys.token(json!({"sub": "a", "subscribe": "md.>"})));
    let status = |path: &str, bearer: &str| handshake(&gateway, path, &[("Authorization", bearer)]).status;
    assert_eq!([status("/ws/md.a", &bearer), status("/ws/public", &bearer)], [101, 403]);
    assert_eq!([handshake(&gateway, "/ws/public", &[]).status, handshake(&gateway, "/ws/md.a", &[]).status], [101, 401]);
    let asked = server.asked().len();
    assert_eq!(status("/ws/md.a", "Bearer a.b.c"), 401);
    assert_eq!(server.asked().len(), asked, "nobody is asked about a token that is none");
    server.say(200, "{\"subscribe\":[\"md.b\"]}");
    assert_eq!([status("/ws/md.a", &bearer), status("/ws/md.b", &bearer)], [403, 101]);
    gateway.stop();
}

/// What a live client has changes with the answer about its new token, and with nothing else.
#[test]
fn a_live_client_renews_by_auth_as_the_endpoint_says() {
    let keys = Keys::new();
    let server = Endpoint::open(204, "");
    let gateway = Gateway::configured(&format!("{}{}", keys.shared(), table(&server, "timeout_ms = 300\n")));
    let token = keys.token(json!({"sub": "a", "subscribe": "md.>"}));
    let renewal = format!("[\"{token}\"]");
    let mut client = Client::connect(&gateway, &format!("/stream?streams=md.a&token={token}"));
    server.say(403, "");
    assert_eq!(client.error("AUTH", &renewal), 9);
    server.say(0, "");
    assert_eq!(client.error("AUTH", &renewal), 5);
    let asked = server.asked().len();
    assert_eq!(client.error("AUTH", "[\"a.b.c\"]"), 9);
    assert_eq!(server.asked().len(), asked, "nobody is asked about a token that is none");
    gateway.publish("md.a", "1");
    assert_eq!(client.text(), "{\"stream\":\"md.a\",\"o\":1,\"data\":1}");
    server.say(200, "{\"subscribe\":[\"md.b\"]}");
    assert_eq!(client.result("AUTH", &renewal), Value::Null);
    assert_eq!(client.text(), "{\"e\":\"unsubscribed\",\"s\":\"md.a\"}");
    client.subscribe(&["md.b"]);
    gateway.publish("md.b", "2");
    assert_eq!(client.text(), "{\"stream\":\"md.b\",\"o\":1,\"data\":2}");
    logged(&gateway, &["a client was denied", "the callout refuses"]);
    gateway.stop();
}

#[test]
fn where_it_gives_no_answer_clients_are_refused_or_let_in_as_configured() {
    let server = Endpoint::open(500, "");
    let refusing = Gateway::configured(&table(&server, "timeout_ms = 300\n"));
    let allowing = Gateway::configured(&format!(
        "{}[anonymous]\nsubscribe = [\"public\"]\n",
        table(&server, "timeout_ms = 300\nwhen_down = \"allow\"\n")
    ));
    for (status, body, said) in [
        (500, "", "it answers with status 500"),
        (200, "nothing", "its answer is no JSON object"),
        (200, "{\"subscribe\":[\"a..b\"]}", "`subscribe` in its answer cannot be used"),
        (0, "", "it did not answer within 300ms"),
    ] {
        server.say(status, body);
        let answer = handshake(&refusing, "/ws/public", &[]);
        assert_eq!(answer.status, 503, "{said}");
        assert!(answer.header("retry-after").is_some() && answer.text().contains("cannot be found out now"), "{answer:?}");
        assert_eq!([handshake(&allowing, "/ws/public", &[]).status, handshake(&allowing, "/ws/md.a", &[]).status], [101, 403]);
    }
    drop(server);
    assert_eq!(handshake(&refusing, "/ws/public", &[]).status, 503);
    assert_eq!(handshake(&allowing, "/ws/public", &[]).status, 101);
    logged(&refusing, &["ERROR", "the callout", "gives no answer", "status 500"]);
    assert_eq!(refusing.counter("callout_failures"), 5);
    // Health and whoever is there need no answer.
    assert_eq!(handshake(&refusing, "/health/ready", &[]).status, 200);
    refusing.stop();
    allowing.stop();
}

#[test]
fn questions_at_a_time_are_bounded_and_so_are_those_that_wait() {
    let server = Endpoint::open(0, "");
    let bounds = "concurrency_max = 2\nwaiting_max = 3\ntimeout_ms = 1000\n";
    let gateway = Gateway::configured(&table(&server, bounds));
    let begun = Instant::now();
    let mut waiting: Vec<Raw> = (0..40).map(|_| Raw::open(gateway.clients)).collect();
    for raw in &mut waiting {
        let host = gateway.clients;
        raw.send(format!(
            "GET /ws HTTP/1.1\r\nHost: {host}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        ));
    }
    let come_s = begun.elapsed().as_secs() as usize + 1;
    for raw in &mut waiting {
        assert!([503, 408].contains(&raw.response().status));
    }
    // Each second two make room for two that come late.
    let (asked, room) = (server.asked().len(), 2 + 1 + 3 + 2 * come_s);
    assert!((1..=room).contains(&asked), "{asked} of 40 were asked, and there was room for {room}");
    gateway.stop();
}

#[test]
fn an_answer_is_kept_for_the_same_question_only_where_that_is_configured() {
    let server = Endpoint::open(200, "{\"subscribe\":\">\"}");
    let (each, kept) = (
        Gateway::configured(&table(&server, "")),
        Gateway::configured(&table(&server, "cache_s = 3600\ncache_entries_max = 2\n")),
    );
    for _ in 0..3 {
        assert_eq!(handshake(&each, "/ws/a", &[]).status, 101);
    }
    assert_eq!(server.asked().len(), 3);
    for path in ["/ws/a", "/ws/a", "/ws/b", "/ws/b", "/ws/c", "/ws/c"] {
        assert_eq!(handshake(&kept, path, &[]).status, 101);
    }
    assert_eq!(server.asked().len(), 3 + 4, "a and b are kept, for c there is no room");
    assert_eq!((kept.counter("callout_cached"), kept.counter("callout_answers")), (2, 4));
    // What gave no answer is asked again.
    server.say(500, "");
    assert_eq!([handshake(&kept, "/ws/d", &[]).status, handshake(&kept, "/ws/a", &[]).status], [503, 101]);
    each.stop();
    kept.stop();
}

/// SIGHUP: an endpoint is named, another one takes its place, none is; a file that cannot be used changes nothing.
#[test]
fn who_is_asked_can_be_changed_while_the_gateway_runs() {
    let (refusing, allowing) = (Endpoint::open(403, ""), Endpoint::open(200, "{\"subscribe\":\">\"}"));
    let gateway = Gateway::configured("");
    let mut live = Client::connect(&gateway, "/ws/md.a");
    gateway.rewrite("", &table(&refusing, ""));
    assert!(gateway.reload().contains("reloaded: callout"), "{}", gateway.said());
    let comes_to = |wanted: u16| {
        let deadline = Instant::now() + crate::common::PATIENCE;
        while handshake(&gateway, "/ws/md.a", &[]).status != wanted {
            assert!(Instant::now() < deadline, "never {wanted}; it said:\n{}", gateway.said());
        }
    };
    comes_to(403);
    assert!(!refusing.asked().is_empty());
    gateway.rewrite("", &table(&allowing, "ca = \"/nonexistent/ca.pem\"\n"));
    assert!(gateway.reload().contains("all stays as it was"), "{}", gateway.said());
    assert_eq!((handshake(&gateway, "/ws/md.a", &[]).status, allowing.asked().len()), (403, 0));
    gateway.rewrite("", &table(&allowing, "timeout_ms = 900\n"));
    gateway.reload();
    comes_to(101);
    assert!(!allowing.asked().is_empty());
    gateway.rewrite("", "");
    gateway.reload();
    let deadline = Instant::now() + crate::common::PATIENCE;
    // Until both shards have heard of it.
    while {
        let before = allowing.asked().len();
        assert!((0..8).all(|_| handshake(&gateway, "/ws/md.a", &[]).status == 101));
        allowing.asked().len() != before
    } {
        assert!(Instant::now() < deadline, "it is asked for ever");
    }
    gateway.publish("md.a", "1");
    assert_eq!(live.text(), "1", "who is there is not asked about");
    gateway.stop();
}
