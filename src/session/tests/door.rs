//! The door: which request gets which answer.

use super::{Client, rules, upgrade};
use crate::metrics::CloseClass;
use crate::session::Effect;

/// The answer's status, and that its body names the fault in the agreed form.
#[track_caller]
fn check(client: &mut Client, request: &str, status: u16, body: &str) -> String {
    assert!(client.say(request.as_bytes()).is_none(), "{request}");
    let answer = String::from_utf8(client.take_owed()).expect("an answer is text");
    assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{request}\n{answer}");
    assert!(answer.contains(body), "{request}\n{answer}");
    if status >= 400 {
        assert!(answer.contains("\r\n\r\n{\"error\":{\"code\":"), "{answer}");
        assert!(client.session.is_ending() && client.session.close_class() == Some(CloseClass::Normal));
    }
    answer
}

#[track_caller]
fn refused(request: &str, status: u16, body: &str) {
    check(&mut Client::new(rules()), request, status, body);
}

#[track_caller]
fn admitted(request: &str) -> String {
    check(&mut Client::new(rules()), request, 101, "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")
}

#[test]
fn a_right_handshake_is_admitted() {
    for path in ["/ws", "/stream", "/publish/pub.a", "/publish", "/echo"] {
        admitted(&upgrade(path, ""));
    }
}

#[test]
fn what_is_not_there_is_404_and_a_wrong_method_405() {
    refused(&upgrade("/wss", ""), 404, "/stream, /ws and /sse");
    refused("GET /nothing HTTP/1.1\r\nHost: localhost\r\n\r\n", 404, "there is nothing at /nothing");
    refused("POST /ws HTTP/1.1\r\nHost: localhost\r\n\r\n", 405, "Allow: GET, HEAD");
    refused("DELETE /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n", 405, "DELETE is not served here");
    let mut off = rules();
    (off.echo, off.page) = (false, false);
    check(&mut Client::new(off), &upgrade("/echo", ""), 404, "");
    let mut off = rules();
    off.page = false;
    check(&mut Client::new(off), "GET /topics HTTP/1.1\r\nHost: localhost\r\n\r\n", 404, "");
}

#[test]
fn a_loopback_listener_serves_loopback_names_and_configured_hosts() {
    let with_host = |host: &str| upgrade("/ws", "").replace("localhost:8080", host);
    for host in ["localhost", "127.0.0.1:8080", "[::1]:8080", "gateway.example", "GATEWAY.example:80"] {
        admitted(&with_host(host));
    }
    for host in ["evil.example", "localhost.evil.example", "128.0.0.1"] {
        refused(&with_host(host), 421, "add it to `hosts`");
    }
    let mut open = rules();
    open.listeners[0].loopback = false;
    check(&mut Client::new(open), &with_host("evil.example"), 101, "");
}

#[test]
fn pages_of_other_origins_are_403() {
    admitted(&upgrade("/ws", "Origin: http://localhost:8080\r\n"));
    admitted(&upgrade("/ws", "Origin: https://app.example\r\n"));
    for origin in ["https://evil.example", "null", "https://app.example.evil"] {
        refused(&upgrade("/ws", &format!("Origin: {origin}\r\n")), 403, "add the origin to `origins`");
    }
}

#[test]
fn without_an_upgrade_426_and_a_bad_key_400() {
    refused("GET /ws HTTP/1.1\r\nHost: localhost\r\n\r\n", 426, "Upgrade: websocket");
    refused(&upgrade("/ws", "").replace("Version: 13", "Version: 8"), 426, "Sec-WebSocket-Version: 13");
    refused(&upgrade("/ws", "").replace("dGhlIHNhbXBsZSBub25jZQ==", "short"), 400, "");
    refused(&upgrade("/ws", "").replace("HTTP/1.1", "HTTP/1.0"), 400, "");
}

#[test]
fn bad_streams_are_400_before_the_upgrade() {
    refused(&upgrade("/stream?streams=a//b", ""), 400, "\"code\":3");
    refused(&upgrade("/ws/a%20b", ""), 400, "\"code\":3");
    refused(&upgrade("/ws/a;nonsense", ""), 400, "\"code\":1");
    let many: Vec<String> = (0..1025).map(|number| format!("t{number}")).collect();
    refused(&upgrade(&format!("/stream?streams={}", many.join("/")), ""), 400, "subscriptions_max");
}

#[test]
fn a_head_that_is_too_long_is_431() {
    refused(&upgrade("/ws", &format!("X: {}\r\n", "x".repeat(9000))), 431, "too long");
    refused(&upgrade("/ws", &"X: y\r\n".repeat(70)), 431, "too many header fields");
    refused("nonsense\r\n\r\n", 400, "bad request");
}

#[test]
fn publishing_is_for_direct_connections_from_loopback_to_allowed_topics() {
    admitted(&upgrade("/publish/pub.a.b", ""));
    refused(&upgrade("/publish/other", ""), 403, "publishing is not allowed here");
    for field in ["Origin: http://localhost:8080", "Forwarded: for=1.2.3.4", "X-Forwarded-For: 1.2.3.4", "X-Real-IP: 1.2.3.4"] {
        refused(&upgrade("/publish", &format!("{field}\r\n")), 403, "publishing is not allowed here");
    }
    let mut client = Client::new(rules());
    client.session.from_loopback = false;
    check(&mut client, &upgrade("/publish", ""), 403, "publishing is not allowed here");
}

#[test]
fn the_subprotocol_is_selected_and_a_token_never_echoed() {
    let offer = |protocols: &str| upgrade("/ws", &format!("Sec-WebSocket-Protocol: {protocols}\r\n"));
    assert!(admitted(&offer("tidegate.v1, bearer.secret")).contains("Sec-WebSocket-Protocol: tidegate.v1\r\n"));
    for protocols in ["other", "tidegate.v2"] {
        assert!(!admitted(&offer(protocols)).contains("Sec-WebSocket-Protocol"));
    }
    refused(&offer("bearer.secret"), 400, "needs tidegate.v1 beside it");
}

#[test]
fn plain_answers_keep_the_connection() {
    let mut client = Client::new(rules());
    let get = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
    for path in ["/health/live", "/health/ready", "/"] {
        check(&mut client, &get(path), 200, "\r\n\r\n");
        assert!(!client.session.is_ending());
    }
    let head = check(&mut client, "HEAD /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n", 200, "");
    assert!(head.ends_with("\r\n\r\n"), "a HEAD has no body: {head}");
    // Two at once, torn anywhere, are two answers.
    let two = get("/health/live").repeat(2);
    for split in 0..two.len() {
        assert!(client.say(&two.as_bytes()[..split]).is_none() && client.say(&two.as_bytes()[split..]).is_none());
        let answers = String::from_utf8(client.take_owed()).expect("answers are text");
        assert_eq!(answers.matches("HTTP/1.1 200").count(), 2);
    }
    check(&mut client, &upgrade("/ws", ""), 101, "");
}

#[test]
fn a_connection_that_asks_for_it_is_ended_behind_its_answer() {
    let mut client = Client::new(rules());
    check(&mut client, "GET /health/live HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", 200, "{\"live\":true}");
    assert!(client.session.is_ending());
    assert_eq!(client.session.close_class(), Some(CloseClass::Normal));
}

#[test]
fn streams_of_the_url_and_the_list_of_topics_are_the_shards_to_answer() {
    let mut client = Client::new(rules());
    let effect = client.say(upgrade("/stream?streams=a/b;last", "").as_bytes());
    assert!(matches!(&effect, Some(Effect::Admit { streams }) if streams.len() == 2), "{effect:?}");
    let mut client = Client::new(rules());
    assert!(matches!(client.say(b"GET /topics HTTP/1.1\r\nHost: localhost\r\n\r\n"), Some(Effect::Topics)));
    client.session.answer_topics(b"{}", &client.rules, 0);
    assert!(client.take_owed().ends_with(b"\r\n\r\n{}") && !client.session.is_ending());
}
