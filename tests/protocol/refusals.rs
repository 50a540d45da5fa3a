//! What is refused before it is a WebSocket, and how: status, body, remedy.

use crate::common::{Client, Gateway, PUBLISHING, Raw, Response, http};
use crate::connecting::status_and_code;

fn handshake(gateway: &Gateway, path: &str, headers: &[(&str, &str)]) -> Response {
    Raw::open(gateway.clients).handshake(path, headers)
}

#[test]
fn an_unknown_path_is_404() {
    let gateway = Gateway::publishing();
    for path in [
        "/",
        "/wss",
        "/ws2/md.a",
        "/streams",
        "/stream/md.a",
        "/publisher",
        "/api/publish",
        "/metrics",
        "/topics",
        "/favicon.ico",
        "//ws",
    ] {
        assert_eq!(handshake(&gateway, path, &[]).status, 404, "{path}");
    }
}

#[test]
fn a_wrong_method_is_405_and_names_the_right_one() {
    let gateway = Gateway::publishing();
    for method in ["POST", "PUT", "DELETE", "OPTIONS"] {
        let response = http(gateway.clients, method, "/ws", &[], b"");
        assert_eq!(
            (response.status, response.header("allow").is_some_and(|allow| allow.contains("GET"))),
            (405, true),
            "{method}"
        );
    }
}

#[test]
fn no_upgrade_is_426_with_a_sentence() {
    let gateway = Gateway::publishing();
    for path in ["/ws", "/ws/md.a", "/stream?streams=md.a"] {
        let response = http(gateway.clients, "GET", path, &[], b"");
        assert_eq!(response.status, 426, "{path}");
        assert!(response.header("upgrade").is_some_and(|upgrade| upgrade.eq_ignore_ascii_case("websocket")), "{response:?}");
        assert!(response.text().len() > 20, "{response:?}");
    }
}

#[test]
fn a_bad_version_is_426_and_names_13() {
    let gateway = Gateway::publishing();
    for version in ["8", "12", "14", "", "x"] {
        let response = handshake(&gateway, "/ws", &[("Sec-WebSocket-Version", version)]);
        assert_eq!((response.status, response.header("sec-websocket-version")), (426, Some("13")), "{version:?}");
    }
}

#[test]
fn a_bad_key_is_400() {
    let gateway = Gateway::publishing();
    for key in
        ["", "x", "dGhlIHNhbXBsZSBub25jZQ=", "dGhlIHNhbXBsZSBub25j", "dGhlIHNhbXBsZSBub25jZQ==AAAA", "????????????????????????"]
    {
        assert_eq!(handshake(&gateway, "/ws", &[("Sec-WebSocket-Key", key)]).status, 400, "{key:?}");
    }
}

#[test]
fn what_is_not_http_is_400() {
    let gateway = Gateway::publishing();
    for garbage in [
        "\0\0\0\0\r\n\r\n",
        "GET\r\n\r\n",
        "GET /ws HTTP/9.9\r\n\r\n",
        "GET /ws HTTP/1.1\r\nno colon\r\n\r\n",
        "\x16\x03\x01\x02\x00\x01\x00\r\n\r\n",
    ] {
        let mut raw = Raw::open(gateway.clients);
        raw.send(garbage);
        assert_eq!(raw.response().status, 400, "{garbage:?}");
        assert_eq!(raw.frame(), None, "and the connection ends");
    }
}

#[test]
fn a_head_over_8_kib_or_64_fields_is_431() {
    let gateway = Gateway::publishing();
    let long = "x".repeat(8200);
    assert_eq!(handshake(&gateway, "/ws", &[("X-Long", &long)]).status, 431);
    let many: Vec<_> = (0..65).map(|_| ("X-Many", "1")).collect();
    assert_eq!(handshake(&gateway, "/ws", &many).status, 431);
    // Refused as soon as it is too long, not when it ends.
    let mut raw = Raw::open(gateway.clients);
    raw.send(format!("GET /ws HTTP/1.1\r\nX-Endless: {long}"));
    assert_eq!(raw.response().status, 431);
    assert_eq!(handshake(&gateway, "/ws", &[("X-Fine", &"x".repeat(7000))]).status, 101);
}

#[test]
fn a_foreign_host_on_a_loopback_listener_is_421() {
    let gateway = Gateway::publishing();
    let port = gateway.clients.port();
    for host in [
        "evil.example",
        "127.0.0.1.evil.example",
        "localhost.evil.example",
        "10.0.0.1",
        "0.0.0.0",
        &format!("evil.example:{port}"),
    ] {
        assert_eq!(handshake(&gateway, "/ws", &[("Host", host)]).status, 421, "{host}");
        assert_eq!(http(gateway.admin, "GET", "/api/topics", &[("Host", host)], b"").status, 421, "admin, {host}");
    }
    for host in ["localhost", "LOCALHOST", "127.0.0.1", "127.1.2.3", "[::1]", &format!("localhost:{port}"), "[::1]:80"] {
        assert_eq!(handshake(&gateway, "/ws", &[("Host", host)]).status, 101, "{host}");
    }
    let missing = handshake(&gateway, "/ws", &[("Host", "")]).status;
    assert!(missing == 400 || missing == 421, "a request without Host gets {missing}");
}

#[test]
fn a_foreign_origin_is_403_the_same_host_none_and_configured_ones_pass() {
    let gateway = Gateway::publishing();
    let own = gateway.clients.to_string();
    let port = gateway.clients.port();
    let own_origin = format!("http://{own}");
    for origin in [
        "http://evil.example",
        "null",
        "http://127.0.0.1",
        "http://127.0.0.1:1",
        &format!("http://evil.example:{port}"),
        &format!("{own_origin}.evil.example"),
    ] {
        let (status, code) = status_and_code(origin, &handshake(&gateway, "/ws", &[("Origin", origin)]));
        assert_eq!((status, code), (403, 4), "{origin}");
    }
    assert_eq!(handshake(&gateway, "/ws", &[("Origin", &own_origin)]).status, 101);
    assert_eq!(handshake(&gateway, "/ws", &[]).status, 101);
}

#[test]
fn who_does_not_end_its_handshake_in_time_is_let_go() {
    let gateway = Gateway::configured("[limits]\nhandshake_timeout_ms = 200\n");
    let mut raw = Raw::open(gateway.clients);
    raw.send("GET /ws HTTP/1.1\r\n");
    let response = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| raw.response().status));
    assert!(response.is_err() || matches!(response, Ok(408)), "closed, with 408 or without: {response:?}");
}

#[test]
fn a_publisher_is_refused_where_the_configuration_does_not_allow_it() {
    let closed = Gateway::configured("");
    for path in ["/publish", "/publish/md.a"] {
        assert_eq!(status_and_code(path, &handshake(&closed, path, &[])), (403, 4), "{path}");
    }
    let some = Gateway::configured("[publish]\nallow = \"loopback\"\ntopics = [\"own.*\"]\n");
    assert_eq!(handshake(&some, "/publish/own.a", &[]).status, 101);
    assert_eq!(status_and_code("md.a", &handshake(&some, "/publish/md.a", &[])), (403, 4));
}

#[test]
fn a_publisher_with_origin_or_forwarding_headers_is_refused() {
    let gateway = Gateway::configured(PUBLISHING);
    let own = format!("http://{}", gateway.clients);
    for header in [
        ("Origin", own.as_str()),
        ("Forwarded", "for=10.0.0.1"),
        ("X-Forwarded-For", "10.0.0.1"),
        ("X-Forwarded-Proto", "https"),
        ("X-Forwarded-Port", "443"),
    ] {
        assert_eq!(status_and_code(header.0, &handshake(&gateway, "/publish/md.a", &[header])), (403, 4));
        assert_eq!(status_and_code(header.0, &handshake(&gateway, "/publish", &[header])), (403, 4));
    }
}

#[test]
fn publish_by_a_browsers_or_forwarded_connection_is_error_4() {
    let gateway = Gateway::publishing();
    let own = format!("http://{}", gateway.clients);
    for header in [("Origin", own.as_str()), ("X-Forwarded-For", "10.0.0.1")] {
        let mut raw = Raw::open(gateway.clients);
        assert_eq!(raw.handshake("/ws", &[header]).status, 101);
        raw.send_text("{\"method\":\"PUBLISH\",\"params\":[\"md.a\",1],\"id\":1}");
        let reply = raw.text();
        assert!(reply.starts_with("{\"error\":{\"code\":4,"), "{header:?}: {reply}");
    }
    assert_eq!(Client::connect(&gateway, "/ws").publish("md.a", "1").1, 1);
}

#[test]
fn a_publishers_bad_topic_pattern_or_option_is_400() {
    let gateway = Gateway::publishing();
    for path in ["/publish/a..b", "/publish/md.*", "/publish/$own", "/publish/", "/publish/md.a;last", "/publish/a%2Fb"] {
        assert_eq!(handshake(&gateway, path, &[]).status, 400, "{path}");
    }
    for path in ["/publish?ack=yes", "/publish/md.a?ack=0", "/publish/md.a?ack=1&ack=1"] {
        assert_eq!(handshake(&gateway, path, &[]).status, 400, "{path}");
    }
}

#[test]
fn health_is_told_on_both_ports() {
    let gateway = Gateway::publishing();
    for address in [gateway.clients, gateway.admin] {
        for path in ["/health/live", "/health/ready"] {
            assert_eq!(http(address, "GET", path, &[], b"").status, 200, "{path} on {address}");
        }
    }
}
