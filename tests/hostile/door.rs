//! Who may enter, and what a request may do: pages of other sites, requests that are two, publishers without permission, and
//! what of a request is written down.

use std::process::{Command, Stdio};

use crate::common::figures::metric;
use crate::common::{Client, Gateway, PUBLISHING, Raw, frame, http};
use crate::{Cost, Scene};

/// GHSA-f53g-frr2-jhpf. A browser says truly which page it acts for, and sends along what the user may do.
#[test]
fn cross_site_websocket_hijacking() {
    let mut scene = Scene::with_listener("origins = [\"https://app.example:8443\"]\n", "[echo]\nenabled = true\n");
    scene.attack(Cost::clients(1, 0), |gateway| {
        let own = gateway.clients;
        let port = own.port();
        let status = |path: &str, headers: &[(&str, &str)]| Raw::open(own).handshake(path, headers).status;
        let foreign = [
            "null".to_owned(),
            "http://evil.example".to_owned(),
            "http://127.0.0.1".to_owned(),
            "http://127.0.0.1:1".to_owned(),
            format!("http://localhost:{port}"),
            format!("http://evil.example:{port}"),
            format!("http://{own}.evil.example"),
            format!("http://evil.example/{own}"),
            format!("http://{own}@evil.example"),
            format!("ftp://{own}"),
            format!("file://{own}"),
            format!("http://{own}/"),
            format!("http://{own} http://evil.example"),
            own.to_string(),
            // The listed origin's scheme, host and port are one value.
            "http://app.example:8443".to_owned(),
            "https://app.example".to_owned(),
            "https://app.example:8444".to_owned(),
            "https://app.example:8443.evil.example".to_owned(),
            "https://sub.app.example:8443".to_owned(),
        ];
        for origin in &foreign {
            for path in ["/ws", "/ws/md.a", "/stream?streams=md.a", "/echo", "/publish/md.a"] {
                assert_eq!(status(path, &[("Origin", origin)]), 403, "{origin} at {path}");
            }
        }
        // Two of them are none.
        let own_origin = format!("http://{own}");
        assert_eq!(status("/ws", &[("Origin", &own_origin), ("Origin", "http://evil.example")]), 403);
        assert_eq!(status("/ws", &[("Origin", "http://evil.example"), ("Origin", &own_origin)]), 403);
        // The same host, a listed origin, and no browser at all.
        for headers in [&[("Origin", format!("http://{own}"))][..], &[("Origin", "https://app.example:8443".to_owned())], &[]] {
            let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
            assert_eq!(status("/ws", &headers), 101, "{headers:?}");
        }
    });
}

/// A page whose name resolves to loopback bears that name in `Host`.
#[test]
fn dns_rebinding() {
    let mut scene = Scene::with_listener("hosts = [\"feed.example\"]\n", "[page]\nenabled = true\n");
    scene.attack(Cost::clients(1, 0), |gateway| {
        let port = gateway.clients.port();
        for host in [
            "evil.example".to_owned(),
            format!("evil.example:{port}"),
            "127.0.0.1.evil.example".to_owned(),
            "localhost.evil.example".to_owned(),
            "feed.example.evil.example".to_owned(),
            "evil-feed.example".to_owned(),
            "10.0.0.1".to_owned(),
            "0.0.0.0".to_owned(),
            "[::]".to_owned(),
            "2130706433".to_owned(),
        ] {
            for path in ["/ws", "/", "/topics", "/health/live", "/nothing"] {
                assert_eq!(Raw::open(gateway.clients).handshake(path, &[("Host", &host)]).status, 421, "{host} at {path}");
            }
            for (method, path) in [("GET", "/api/topics"), ("GET", "/metrics"), ("POST", "/api/publish")] {
                assert_eq!(http(gateway.admin, method, path, &[("Host", &host)], b"").status, 421, "admin, {host} at {path}");
            }
        }
        // RFC 9112 3.2.2: the target's own host counts, not the field.
        let mut raw = Raw::open(gateway.clients);
        raw.send("GET http://evil.example/health/live HTTP/1.1\r\nHost: localhost\r\n\r\n");
        assert_eq!(raw.response().status, 421);
        for host in ["localhost", "127.0.0.1", "[::1]", "feed.example", &format!("FEED.example:{port}")] {
            assert_eq!(Raw::open(gateway.clients).handshake("/ws", &[("Host", host)]).status, 101, "{host}");
        }
    });
}

/// `fetch` in no-cors mode sends what it likes, and never reads the answer.
#[test]
fn cross_site_request_to_the_admin_port() {
    let mut scene = Scene::new("");
    scene.attack(Cost::clients(1, 64 << 10), |gateway| {
        let mut subscriber = Client::connect(gateway, "/ws/md.a");
        let body = b"{\"topic\":\"md.a\",\"data\":1}";
        let own = format!("http://{}", gateway.admin);
        let clients = format!("http://{}", gateway.clients);
        for headers in [
            &[("Origin", "http://evil.example")][..],
            &[("Origin", "null")],
            &[("Origin", clients.as_str())],
            &[("Sec-Fetch-Site", "cross-site")],
            &[("Sec-Fetch-Site", "same-site")],
            &[("Origin", own.as_str()), ("Sec-Fetch-Site", "cross-site")],
            &[("Origin", "http://evil.example"), ("Content-Type", "text/plain")],
        ] {
            for path in ["/api/publish", "/api/topics/md.a"] {
                assert_eq!(http(gateway.admin, "POST", path, headers, body).status, 403, "{headers:?} at {path}");
            }
        }
        subscriber.assert_silent();
        assert_eq!(http(gateway.admin, "POST", "/api/publish", &[("Origin", &own)], body).status, 200);
        assert_eq!(subscriber.text(), "1");
    });
}

/// What a proxy in front takes for one request is one here too, and what it takes for a tunnel is one only after a 101.
#[test]
fn request_smuggling_by_upgrade() {
    let mut scene = Scene::new("[page]\nenabled = true\n");
    scene.attack(Cost::clients(1, 0), |gateway| {
        let hidden = "GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n";
        let upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\n";
        let key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
        let version = "Sec-WebSocket-Version: 13\r\n";
        let refused: [(&str, u16, String); 14] = [
            ("a bad version", 426, format!("{upgrade}{key}Sec-WebSocket-Version: 12\r\n")),
            ("two versions", 426, format!("{upgrade}{key}{version}{version}")),
            ("no key", 400, format!("{upgrade}{version}")),
            ("two keys", 400, format!("{upgrade}{version}{key}{key}")),
            ("another protocol", 426, format!("Connection: Upgrade\r\nUpgrade: h2c\r\n{key}{version}")),
            ("no Connection", 426, format!("Upgrade: websocket\r\n{key}{version}")),
            ("a body", 400, format!("{upgrade}{key}{version}Content-Length: 48\r\n")),
            ("a body in chunks", 400, format!("{upgrade}{key}{version}Transfer-Encoding: chunked\r\n")),
            ("both", 400, format!("{upgrade}{key}{version}Content-Length: 0\r\nTransfer-Encoding: chunked\r\n")),
            ("two lengths", 400, format!("{upgrade}{key}{version}Content-Length: 0\r\nContent-Length: 48\r\n")),
            ("a list of lengths", 400, format!("{upgrade}{key}{version}Content-Length: 0, 48\r\n")),
            ("a folded line", 400, format!("{upgrade}{key}{version}X: a\r\n Content-Length: 48\r\n")),
            ("a space before the colon", 400, format!("{upgrade}{key}{version}Content-Length : 48\r\n")),
            ("a bare line feed", 400, format!("{upgrade}{key}{version}X: a\nContent-Length: 48\r\n")),
        ];
        for (what, status, headers) in refused {
            let mut raw = Raw::open(gateway.clients);
            raw.send(format!("GET /ws HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n{hidden}"));
            assert_eq!(raw.response().status, status, "{what}");
            assert_eq!(raw.rest(), b"", "{what}: what came behind it is never answered");
            assert_eq!(raw.frame(), None, "{what}: the connection ends");
        }
        // A page that is asked for with a body ends the connection too: the body is no second request.
        let mut raw = Raw::open(gateway.clients);
        raw.send(format!("GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n{hidden}", hidden.len()));
        assert_eq!(raw.response().status, 400);
        assert_eq!((raw.rest(), raw.frame()), (Vec::new(), None));
        // Behind a 101 there are frames: a request is none.
        let mut raw = Raw::open(gateway.clients);
        raw.send(format!("GET /ws HTTP/1.1\r\nHost: localhost\r\n{upgrade}{key}{version}\r\n{hidden}"));
        assert_eq!(raw.response().status, 101);
        assert_eq!(raw.closed_with(), 1002);
    });
}

/// Whoever reaches the admin port publishes; it has no key yet, so it is for this machine.
#[test]
fn open_publish_api() {
    for address in ["0.0.0.0:0", "[::]:0", "192.0.2.1:0", "10.0.0.1:8081", "[2001:db8::1]:0"] {
        let directory = tempfile::TempDir::new().expect("a temporary directory can be made");
        let file = directory.path().join("tidegate.toml");
        let toml = format!("[[listener]]\naddress = \"127.0.0.1:0\"\n[admin]\naddress = \"{address}\"\n");
        std::fs::write(&file, toml).expect("a temporary file can be written");
        let file = file.to_string_lossy().into_owned();
        for flags in [&["--config", file.as_str()][..], &["--listen", "127.0.0.1:0", "--admin", address]] {
            let output = Command::new(env!("CARGO_BIN_EXE_tidegate")).args(flags).stdin(Stdio::null()).output();
            let output = output.expect("the binary starts");
            let said = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(2), "{flags:?}: {said}");
            assert!(said.contains("[[admin.key]]") && said.contains("a loopback address"), "{flags:?}: {said}");
        }
    }
    // And over WebSocket it is off unless somebody says so, and then not for what a proxy or a page sends.
    let closed = Gateway::configured("");
    assert_eq!(Raw::open(closed.clients).handshake("/publish", &[]).status, 403);
    let open = Gateway::configured(PUBLISHING);
    for header in [("X-Forwarded-For", "203.0.113.9"), ("Forwarded", "for=203.0.113.9"), ("Via", "1.1 proxy")] {
        assert_eq!(Raw::open(open.clients).handshake("/publish", &[header]).status, 403, "{header:?}");
    }
}

/// Whatever a request's query, its fields or its messages hold: none of it is in the log, and the log's own level is no way
/// to get it there.
#[test]
fn token_in_a_url() {
    const SECRET: &str = "s3cr3t-t0ken";
    let mut scene = Scene::new("[log]\nlevel = \"trace\"\nformat = \"json\"\n[page]\nenabled = true\n");
    scene.attack(Cost::clients(20, 0), |gateway| {
        let query = format!("token={SECRET}");
        for path in ["/ws", "/ws/md.a", "/nothing", "/stream", "/", "/topics", "/health/live", "/publish/a..b"] {
            for headers in
                [&[][..], &[("Sec-WebSocket-Version", "12")], &[("Origin", "http://evil.example")], &[("Host", "evil")]]
            {
                let answer = Raw::open(gateway.clients).handshake(&format!("{path}?{query}"), headers);
                assert!(!answer.text().contains(SECRET), "the answer to {path} repeats the query");
            }
        }
        let bearer = format!("Bearer {SECRET}");
        let protocols = format!("tidegate.v1, bearer.{SECRET}");
        for headers in [("Authorization", &bearer), ("Cookie", &query), ("Sec-WebSocket-Protocol", &protocols)] {
            let answer = Raw::open(gateway.clients).handshake("/ws", &[(headers.0, headers.1)]);
            assert_eq!(answer.status, 101, "{headers:?}");
            assert!(!format!("{:?}", answer.headers).contains(SECRET), "{answer:?}");
        }
        let alone = Raw::open(gateway.clients).handshake("/ws", &[("Sec-WebSocket-Protocol", &format!("bearer.{SECRET}"))]);
        assert_eq!(alone.status, 400, "a bearer without tidegate.v1 would leave a browser without a subprotocol");
        assert!(!alone.text().contains(SECRET));
        let mut raw = Raw::upgraded(gateway, "/ws");
        raw.send_text(&format!("{{\"method\":\"AUTH\",\"params\":[\"{SECRET}\"],\"id\":1}}"));
        assert!(!raw.text().contains(SECRET));
        http(gateway.admin, "GET", &format!("/api/topics?{query}"), &[("Authorization", &bearer)], b"");
        http(gateway.admin, "GET", &format!("/nothing?{query}"), &[], b"");
        assert!(!gateway.get("/metrics").text().contains(SECRET));
    });
    assert!(!scene.gateway.said().contains(SECRET), "{}", scene.gateway.said());
}

/// Names that clients choose are no labels, and cannot write lines of their own into the log.
#[test]
fn topic_names_in_labels_and_headers_in_logs() {
    let mut scene = Scene::new("[log]\nlevel = \"trace\"\n[limits]\nhalf_open_per_address_max = 8\n");
    let series = |gateway: &Gateway| {
        let answer = gateway.get("/metrics");
        let names: Vec<String> = answer.text().lines().filter_map(|line| Some(line.rsplit_once(' ')?.0.to_owned())).collect();
        names
    };
    let before = series(&scene.gateway);
    scene.attack(Cost::clients(2, 1 << 20), |gateway| {
        let mut client = Client::connect(gateway, "/ws");
        for number in 0..20 {
            let names: Vec<String> = (0..50).map(|name| format!("own.{number}.{name}")).collect();
            client.subscribe(&names.iter().map(String::as_str).collect::<Vec<_>>());
        }
        for number in 0..50 {
            gateway.publish(&format!("own.{number}.1"), "1");
        }
        let hostile = ["\u{1b}[2J\u{1b}[1;31mowned", "a\tb\u{7f}", "2026-11-21T00:00:00Z ERROR forged"];
        for text in hostile {
            for name in ["Origin", "User-Agent", "X-Forwarded-For", "Referer", "Sec-WebSocket-Protocol"] {
                Raw::open(gateway.clients).handshake("/ws", &[(name, text)]);
            }
        }
        let mut raw = Raw::upgraded(gateway, "/ws");
        raw.send(frame(0x88, &[&1000u16.to_be_bytes()[..], b"\n2026 ERROR \x1b[2J"].concat()));
        raw.frame();
        let half_open: Vec<_> = (0..64).map(|_| Raw::open(gateway.clients)).collect();
        while metric(gateway, "refusals_total", "reason=\"too_many\"") == 0 {
            std::thread::yield_now();
        }
        drop(half_open);
    });
    assert_eq!(series(&scene.gateway), before, "the set of series is closed");
    let said = scene.gateway.said();
    assert!(said.chars().all(|character| character == '\n' || !character.is_control()), "{said:?}");
    // What an origin was stands within its line, quoted, and nowhere as a line of its own.
    let is_quoted = |line: &&str| line.contains("cause=\"Origin: \\\"2026-11-21T00:00:00Z ERROR forged\\\" is not among");
    let forged: Vec<&str> = said.lines().filter(|line| line.contains("forged")).collect();
    assert!(!forged.is_empty() && forged.iter().all(is_quoted), "{said}");
    assert!(!said.contains("owned") && !said.lines().any(|line| line.starts_with("2026-11-21T00:00:00Z")), "{said}");
    assert!(said.lines().count() < 100, "a line for each of the clients: {said}");
}
