//! Heads of requests as clients and proxies really send them, and as attackers do (RFC 9112, RFC 9110 7.8, RFC 6455 4.2.1).
//! What stands in `heads/` was recorded: Chromium, curl and, in front of the gateway, nginx and HAProxy; Firefox's is
//! written after its documentation. `GATEWAY` stands for the gateway's address.

use crate::common::{Gateway, Raw, Response, frame};

const CLIENTS: [(&str, &str); 5] = [
    ("Chromium", include_str!("heads/chromium.http")),
    ("Firefox", include_str!("heads/firefox.http")),
    ("curl", include_str!("heads/curl.http")),
    ("Chromium behind nginx", include_str!("heads/nginx.http")),
    ("Chromium behind HAProxy", include_str!("heads/haproxy.http")),
];

/// The fields of a right handshake, one to a line.
const FIELDS: [&str; 5] = [
    "Host: GATEWAY",
    "Connection: Upgrade",
    "Upgrade: websocket",
    "Sec-WebSocket-Version: 13",
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
];

const PING: &str = "{\"method\":\"PING\",\"id\":1}";

/// A head out of its lines.
fn head<'l>(gateway: &Gateway, lines: impl IntoIterator<Item = &'l str>) -> String {
    let lines: Vec<_> = lines.into_iter().collect();
    format!("{}\r\n\r\n", lines.join("\r\n")).replace("GATEWAY", &gateway.clients.to_string())
}

/// A right handshake with fields that are replaced, by their name, or added.
fn handshake(gateway: &Gateway, request_line: &str, fields: &[&str]) -> String {
    let name = |field: &str| field.split(':').next().map(str::to_ascii_lowercase);
    let usual = FIELDS.into_iter().filter(|usual| !fields.iter().any(|field| name(field) == name(usual)));
    head(gateway, [request_line].into_iter().chain(usual).chain(fields.iter().copied()))
}

/// Sends it on a connection of its own.
fn answer(gateway: &Gateway, head: &str) -> Response {
    let mut raw = Raw::open(gateway.clients);
    raw.send(head);
    raw.response()
}

/// Insists on the status of a handshake with these fields.
fn check(gateway: &Gateway, request_line: &str, fields: &[&str], status: u16) {
    let response = answer(gateway, &handshake(gateway, request_line, fields));
    assert_eq!(response.status, status, "{request_line} {fields:?}: {response:?}");
}

/// Insists on 400, a sentence, and the end of the connection: what stands behind such a head is nobody's request.
fn check_refused(gateway: &Gateway, what: &str, head: &str) {
    let mut raw = Raw::open(gateway.clients);
    raw.send(format!("{head}GET /health/live HTTP/1.1\r\nHost: {}\r\n\r\n", gateway.clients));
    let response = raw.response();
    assert_eq!((response.status, response.header("connection")), (400, Some("close")), "{what}: {response:?}");
    assert!(response.text().len() > 20, "{what}: {response:?}");
    assert_eq!(raw.rest(), b"", "{what}: nothing but one answer");
    assert_eq!(raw.frame(), None, "{what}: and then the end");
}

#[test]
fn heads_of_browsers_curl_and_proxies_are_accepted() {
    let gateway = Gateway::publishing();
    for (client, recorded) in CLIENTS {
        let mut raw = Raw::open(gateway.clients);
        raw.send(head(&gateway, recorded.lines()));
        let response = raw.response();
        assert_eq!(response.status, 101, "{client}: {response:?}");
        let offers = recorded.to_ascii_lowercase().contains("tidegate.v1");
        assert_eq!(response.header("sec-websocket-protocol"), offers.then_some("tidegate.v1"), "{client}");
        raw.send_text(PING);
        assert!(raw.text().contains("\"result\""), "{client}");
    }
}

#[test]
fn a_recorded_head_may_be_torn_anywhere() {
    let gateway = Gateway::publishing();
    let whole = head(&gateway, CLIENTS[0].1.lines());
    for cut in (1..whole.len()).step_by(7) {
        let mut raw = Raw::open(gateway.clients);
        raw.send(&whole[..cut]);
        raw.send(&whole[cut..]);
        assert_eq!(raw.response().status, 101, "cut at {cut}");
    }
}

#[test]
fn fields_stand_in_any_order_and_case() {
    let gateway = Gateway::publishing();
    for turn in 0..FIELDS.len() {
        let mut fields = FIELDS.map(str::to_owned);
        fields.rotate_left(turn);
        let spelled: [fn(&str) -> String; 4] = [str::to_owned, str::to_ascii_lowercase, str::to_ascii_uppercase, |name| {
            format!("{}{}", &name[..1].to_lowercase(), &name[1..])
        }];
        for spell in spelled {
            let lines = fields.iter().map(|field| field.split_once(": ").expect("a field has a colon"));
            let lines: Vec<_> = lines.map(|(name, value)| format!("{}: {value}", spell(name))).collect();
            let head = head(&gateway, ["GET /ws HTTP/1.1"].into_iter().chain(lines.iter().map(String::as_str)));
            assert_eq!(answer(&gateway, &head).status, 101, "{head}");
        }
    }
}

#[test]
fn white_space_around_a_value_is_none_of_it() {
    let gateway = Gateway::publishing();
    check(&gateway, "GET /ws HTTP/1.1", &["Upgrade:websocket", "Connection:  \t Upgrade \t ", "Sec-WebSocket-Version:13"], 101);
}

#[test]
fn connection_is_a_list_over_any_number_of_fields() {
    let gateway = Gateway::publishing();
    let right: [&[&str]; 7] = [
        &["Connection: upgrade"],
        &["Connection: keep-alive, Upgrade"],
        &["Connection: Upgrade,keep-alive"],
        &["Connection: keep-alive", "Connection: Upgrade"],
        &["connection: UPGRADE", "Connection: keep-alive"],
        &["Connection: ,, Upgrade ,"],
        &["Connection: Upgrade, HTTP2-Settings"],
    ];
    for fields in right {
        check(&gateway, "GET /ws HTTP/1.1", fields, 101);
    }
    for fields in [&["Connection: keep-alive"][..], &["Connection: Upgraded"], &["Connection: up grade"], &["Connection:"]] {
        check(&gateway, "GET /ws HTTP/1.1", fields, 426);
    }
}

#[test]
fn upgrade_is_a_list_over_any_number_of_fields() {
    let gateway = Gateway::publishing();
    let right: [&[&str]; 5] = [
        &["Upgrade: WebSocket"],
        &["Upgrade: WebSocket, foo"],
        &["Upgrade: h2c, websocket"],
        &["Upgrade: h2c", "Upgrade: WEBSOCKET"],
        &["Upgrade: foo/2 ,websocket"],
    ];
    for fields in right {
        check(&gateway, "GET /ws HTTP/1.1", fields, 101);
    }
    for fields in [&["Upgrade: h2c"][..], &["Upgrade: websockets"], &["Upgrade: web, socket"], &["Upgrade:"]] {
        check(&gateway, "GET /ws HTTP/1.1", fields, 426);
    }
}

#[test]
fn subprotocols_are_a_list_over_any_number_of_fields() {
    let gateway = Gateway::publishing();
    let offers: [(&[&str], Option<&str>); 4] = [
        (&["Sec-WebSocket-Protocol: soap", "Sec-WebSocket-Protocol: tidegate.v1"], Some("tidegate.v1")),
        (&["Sec-WebSocket-Protocol: tidegate.v1", "sec-websocket-protocol: bearer.secret, soap"], Some("tidegate.v1")),
        (&["Sec-WebSocket-Protocol: soap", "Sec-WebSocket-Protocol: wamp"], None),
        (&["Sec-WebSocket-Protocol: , soap,,tidegate.v1,"], Some("tidegate.v1")),
    ];
    for (fields, selected) in offers {
        let response = answer(&gateway, &handshake(&gateway, "GET /ws HTTP/1.1", fields));
        assert_eq!((response.status, response.header("sec-websocket-protocol")), (101, selected), "{fields:?}");
    }
    for offer in ["Sec-WebSocket-Protocol: a b", "Sec-WebSocket-Protocol: soap, \"quoted\""] {
        check(&gateway, "GET /ws HTTP/1.1", &[offer], 400);
    }
}

#[test]
fn an_absolute_targets_host_counts_not_the_host_field() {
    let gateway = Gateway::publishing();
    let own = gateway.clients;
    for target in [
        format!("http://{own}/ws"),
        format!("HTTP://{own}/ws"),
        format!("ws://{own}/stream?streams=md.a"),
        format!("https://localhost:{}/ws/md%2Ea", own.port()),
        String::from("wss://[::1]/ws"),
    ] {
        for host in ["Host: GATEWAY", "Host: elsewhere.example"] {
            check(&gateway, &format!("GET {target} HTTP/1.1"), &[host], 101);
        }
    }
    check(&gateway, "GET http://elsewhere.example/ws HTTP/1.1", &[], 421);
    check(&gateway, &format!("GET http://{own} HTTP/1.1"), &[], 404);
    // An origin is compared with the host that counts.
    check(&gateway, &format!("GET http://{own}/ws HTTP/1.1"), &["Host: a.example", "Origin: http://a.example"], 403);
    check(&gateway, &format!("GET http://{own}/ws HTTP/1.1"), &["Host: a.example", "Origin: http://GATEWAY"], 101);
}

#[test]
fn a_target_that_is_no_path_and_no_url_is_400() {
    let gateway = Gateway::publishing();
    for target in [
        "ws",
        "ftp://GATEWAY/ws",
        "http:///ws",
        "http://",
        "http://user@GATEWAY/ws",
        "http://a b/ws",
        "/ws#part",
        "*",
        "?",
        "GATEWAY",
    ] {
        check_refused(&gateway, target, &handshake(&gateway, &format!("GET {target} HTTP/1.1"), &[]));
    }
}

#[test]
fn requests_and_frames_may_stand_behind_a_head_in_one_segment() {
    let gateway = Gateway::publishing();
    let live = head(&gateway, ["GET /health/live HTTP/1.1", "Host: GATEWAY"]);
    let upgrade = handshake(&gateway, "GET /ws HTTP/1.1", &[]);
    let frames = [frame(0x01, &PING.as_bytes()[..9]), frame(0x89, b"between"), frame(0x80, &PING.as_bytes()[9..])].concat();
    let all = [live.as_bytes(), live.as_bytes(), upgrade.as_bytes(), &frames].concat();
    for cut in [0, 1, live.len(), 2 * live.len() - 1, 2 * live.len() + upgrade.len() - 2, all.len() - frames.len() + 3] {
        let mut raw = Raw::open(gateway.clients);
        raw.send(&all[..cut]);
        raw.send(&all[cut..]);
        assert_eq!([raw.response().status, raw.response().status, raw.response().status], [200, 200, 101], "cut at {cut}");
        assert_eq!(raw.frame().map(|pong| (pong.first, pong.payload)), Some((0x8A, b"between".to_vec())), "cut at {cut}");
        assert!(raw.text().starts_with("{\"result\":"), "cut at {cut}");
    }
}

#[test]
fn a_head_may_come_in_one_byte_pieces_with_frames_behind_it() {
    let gateway = Gateway::publishing();
    let all = [handshake(&gateway, "GET /ws HTTP/1.1", &[]).as_bytes(), &frame(0x81, PING.as_bytes())].concat();
    let mut raw = Raw::open(gateway.clients);
    for byte in all {
        raw.send([byte]);
    }
    assert_eq!(raw.response().status, 101);
    assert!(raw.text().starts_with("{\"result\":"));
}

#[test]
fn empty_lines_before_the_request_line_are_ignored() {
    let gateway = Gateway::publishing();
    assert_eq!(answer(&gateway, &format!("\r\n\r\n{}", handshake(&gateway, "GET /ws HTTP/1.1", &[]))).status, 101);
}

/// RFC 9112 2.2 lets a recipient take a bare LF for a line's end, and forbids bare CR. Where a proxy in front reads another
/// end of the head than we do, a request can be smuggled past it, so neither is taken.
#[test]
fn a_line_ends_with_crlf_and_nothing_else() {
    let gateway = Gateway::publishing();
    let right = handshake(&gateway, "GET /ws HTTP/1.1", &["X-Last: 1"]);
    check_refused(&gateway, "LF everywhere", &right.replace("\r\n", "\n"));
    check_refused(&gateway, "LF behind the request line", &right.replacen("\r\n", "\n", 1));
    check_refused(&gateway, "LF behind the last field", &right.replace("X-Last: 1\r\n", "X-Last: 1\n"));
    check_refused(&gateway, "LF as the empty line", &right.replace("\r\n\r\n", "\r\n\n"));
    check_refused(&gateway, "a bare CR in a value", &right.replace("X-Last: 1", "X-Last: 1\rX-Other: 2"));
    check_refused(&gateway, "a bare CR in the request line", &right.replace("GET /ws ", "GET /ws\r "));
}

#[test]
fn folded_and_ill_formed_fields_are_400() {
    let gateway = Gateway::publishing();
    // RFC 9112 5.2: a folded line is refused; 5.1: so is white space before the colon; 2.2: and before the first field.
    for lines in [
        &["GET /ws HTTP/1.1", "Host: GATEWAY", "X-Folded: a", " b"][..],
        &["GET /ws HTTP/1.1", "Host: GATEWAY", "X-Folded: a", "\tb"],
        &["GET /ws HTTP/1.1", "Host: GATEWAY", "Upgrade:", " websocket"],
        &["GET /ws HTTP/1.1", "Host : GATEWAY"],
        &["GET /ws HTTP/1.1", "Host\t: GATEWAY"],
        &["GET /ws HTTP/1.1", " Host: GATEWAY"],
        &["GET /ws HTTP/1.1", "Host: GATEWAY", "Content-Length : 5"],
        &["GET /ws HTTP/1.1", "Host: GATEWAY", ": nameless"],
        &["GET /ws HTTP/1.1", "Host: GATEWAY", "no colon"],
        &["GET /ws HTTP/1.1", "Host: GATEWAY", "X-Nul: a\0b"],
        &["GET /ws HTTP/1.1", "Host: GATEWAY", "X-Bell: a\x07b"],
        &["GET /ws HTTP/1.1", "Host: GATEWAY", "X(Comment): a"],
    ] {
        check_refused(&gateway, &format!("{lines:?}"), &head(&gateway, lines.iter().copied()));
    }
}

#[test]
fn host_stands_there_once_and_is_one() {
    let gateway = Gateway::publishing();
    for hosts in [
        &["Host: GATEWAY", "Host: GATEWAY"][..],
        &["Host: GATEWAY", "host: elsewhere.example"],
        &["Host: GATEWAY/ws"],
        &["Host: user@GATEWAY"],
        &["Host: a b"],
    ] {
        check_refused(&gateway, &format!("{hosts:?}"), &handshake(&gateway, "GET /ws HTTP/1.1", hosts));
    }
    check_refused(&gateway, "no Host", &head(&gateway, [&["GET /ws HTTP/1.1"], &FIELDS[1..]].concat()));
}

/// Nothing here reads a body. If one were passed over, its bytes would be the next request's, or frames (request smuggling).
#[test]
fn a_body_is_refused_and_never_taken_for_a_request() {
    let gateway = Gateway::publishing();
    let framings: [&[&str]; 9] = [
        &["Content-Length: 44"],
        &["Transfer-Encoding: chunked"],
        &["Transfer-Encoding: identity"],
        &["Transfer-Encoding: xchunked"],
        &["Content-Length: 0", "Transfer-Encoding: chunked"],
        &["Content-Length: 0", "Content-Length: 44"],
        &["Content-Length: 0, 44"],
        &["Content-Length: +0"],
        &["Content-Length: -1"],
    ];
    for framing in framings {
        check_refused(&gateway, &format!("{framing:?}"), &handshake(&gateway, "GET /ws HTTP/1.1", framing));
        let plain = head(&gateway, ["GET /health/live HTTP/1.1", "Host: GATEWAY"].into_iter().chain(framing.iter().copied()));
        check_refused(&gateway, &format!("{framing:?} without an upgrade"), &plain);
    }
    check(&gateway, "GET /ws HTTP/1.1", &["Content-Length: 0"], 101);
}

#[test]
fn http_1_0_cannot_upgrade_and_is_answered_once() {
    let gateway = Gateway::publishing();
    check(&gateway, "GET /ws HTTP/1.0", &[], 400);
    // A balancer's health check: no Host, which no browser leaves out.
    let mut raw = Raw::open(gateway.clients);
    raw.send("GET /health/live HTTP/1.0\r\n\r\n");
    let response = raw.response();
    assert_eq!((response.status, response.header("connection")), (200, Some("close")));
    assert_eq!(raw.frame(), None);
    let mut raw = Raw::open(gateway.clients);
    for _ in 0..2 {
        raw.send(head(&gateway, ["GET /health/live HTTP/1.0", "Host: GATEWAY", "Connection: keep-alive"]));
        let response = raw.response();
        assert_eq!((response.status, response.header("connection")), (200, Some("keep-alive")));
    }
}

#[test]
fn the_preface_of_http_2_gets_a_readable_answer() {
    let gateway = Gateway::publishing();
    let mut raw = Raw::open(gateway.clients);
    raw.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00");
    let response = raw.response();
    assert_eq!(response.status, 400);
    assert!(response.text().contains("HTTP/1.1"), "{response:?}");
    assert_eq!(raw.frame(), None);
}
