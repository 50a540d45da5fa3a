//! What the log tells of clients: whom, why, how often; and that nobody waits for it.

use std::fs::OpenOptions;
use std::io::Write;
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use crate::common::figures::metric;
use crate::common::{Authority, Gateway, PATIENCE, PUBLISHING, Raw, http};
use crate::connections;
use crate::parts::connect_from;

/// Waits for a line that has all of these parts.
fn line_with(gateway: &Gateway, parts: &[&str]) -> String {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let said = gateway.said();
        if let Some(line) = said.lines().find(|line| parts.iter().all(|part| line.contains(part))) {
            return line.to_owned();
        }
        assert!(Instant::now() < deadline, "no line with {parts:?} in:\n{said}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_line_about_a_client_names_its_connection_its_request_and_its_address() {
    let gateway = Gateway::configured("[log]\nformat = \"json\"\n");
    let mut lost = connect_from(2, gateway.clients);
    let port = lost.stream.local_addr().expect("it is connected").port();
    let answer = lost.handshake("/nothing/here?token=s3cr3t", &[("X-Request-Id", "trace-77")]);
    assert_eq!(answer.status, 404);
    let line = line_with(&gateway, &["trace-77"]);
    let line: Value = serde_json::from_str(&line).expect("a line is JSON");
    for (key, value) in [("level", "INFO"), ("message", "a client was refused"), ("reason", "not_found")] {
        assert_eq!(line[key], value, "{line}");
    }
    assert_eq!((line["request_id"].as_str(), line["client"].as_str()), (Some("trace-77"), Some(&*format!("127.0.0.2:{port}"))));
    assert!(line["cause"].as_str().is_some_and(|cause| cause.contains("there is nothing at /nothing/")), "{line}");

    let mut rude = connect_from(3, gateway.clients);
    let answer = rude.handshake("/ws/a", &[]);
    let row = connections(&gateway, "address=127.0.0.3").remove(0);
    rude.send([0x81, 1, b'x']);
    assert_eq!(rude.frame().and_then(|frame| frame.close_code()), Some(1002));
    drop(rude);
    let line = line_with(&gateway, &["127.0.0.3"]);
    let line: Value = serde_json::from_str(&line).expect("a line is JSON");
    assert_eq!((&line["connection"], &line["request_id"]), (&row["id"], &row["request_id"]), "{line}");
    assert_eq!(line["request_id"].as_str(), answer.header("x-request-id"));
    assert_eq!((line["class"].as_str(), line["role"].as_str()), (Some("protocol"), Some("subscriber")), "{line}");
    assert!(line["cause"].as_str().is_some_and(|cause| cause.contains("mask")), "{line}");
    assert!(!gateway.said().contains("s3cr3t"));
}

#[test]
fn what_clients_send_is_escaped_in_lines_for_people_and_a_query_is_in_none() {
    let gateway = Gateway::of_one_shard("", "");
    let forged = "https://a\" connection=0-0-0 \u{1b}[31m";
    let mut client = connect_from(2, gateway.clients);
    assert_eq!(client.handshake("/ws", &[("Origin", forged)]).status, 400, "no header value holds an escape");
    let mut client = connect_from(3, gateway.clients);
    assert_eq!(client.handshake("/ws", &[("Origin", "https://a\" connection=0-0-0")]).status, 403);
    let line = line_with(&gateway, &["reason=\"forbidden\"", "client=\"127.0.0.3:"]);
    let at = line.find("cause=").expect("a cause");
    // The quotes of what came are escaped, so the field ends where it ends.
    assert!(line[at..].contains("\\\" connection=0-0-0"), "{line}");
    let mut client = connect_from(4, gateway.clients);
    assert_eq!(client.handshake("/stream?streams=a;s3cr3t=1", &[]).status, 400);
    line_with(&gateway, &["reason=\"bad_request\"", "client=\"127.0.0.4:"]);
    assert!(!gateway.said().contains("s3cr3t") && !gateway.said().contains('\u{1b}'), "{}", gateway.said());
}

#[test]
fn a_flood_of_refusals_is_a_few_lines_and_their_number() {
    const FLOOD: usize = 300;
    let gateway = Gateway::of_one_shard("", "[log]\nclient_lines_per_second = 5\n");
    for _ in 0..FLOOD {
        assert_eq!(Raw::open(gateway.clients).handshake("/nothing", &[]).status, 404);
    }
    // Another kind is not hidden by it.
    assert_eq!(Raw::open(gateway.clients).handshake("/ws", &[("Origin", "https://elsewhere")]).status, 403);
    line_with(&gateway, &["reason=\"forbidden\""]);
    let deadline = Instant::now() + PATIENCE;
    loop {
        let said = gateway.said();
        let of_kind = || said.lines().filter(|line| line.contains("reason=\"not_found\""));
        let written = of_kind().filter(|line| line.contains("a client was refused")).count();
        let count = |line: &str| line.split("count=").nth(1).and_then(|rest| rest.split(' ').next()?.parse::<usize>().ok());
        let told: usize = of_kind().filter_map(count).sum();
        if written + told == FLOOD {
            assert!(written < FLOOD / 2 && told > 0, "{said}");
            return;
        }
        assert!(Instant::now() < deadline, "{written} lines and {told} more of {FLOOD}: {said}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn nobody_waits_for_a_log_that_nobody_reads() {
    let directory = TempDir::new().expect("a temporary directory can be made");
    let fifo = directory.path().join("log");
    let made = std::process::Command::new("mkfifo").arg(&fifo).status().expect("mkfifo runs");
    assert!(made.success());
    // Open at both ends, so that the gateway's opening does not wait; and read by nobody.
    let _unread = OpenOptions::new().read(true).write(true).open(&fifo).expect("a pipe can be opened");
    for log in [fifo.to_string_lossy().into_owned(), "/dev/full".to_owned()] {
        let to_log = ["sh", "-c", "exec \"$@\" 2>\"$0\"", &log];
        let mut gateway = Gateway::under(&to_log, "[log]\nwaiting_lines_max = 64\nclient_lines_per_second = 100000\n");
        // A pipe holds 64 KiB, and each line has more than a hundred bytes.
        for _ in 0..1500 {
            assert_eq!(Raw::open(gateway.clients).handshake("/nothing", &[]).status, 404);
        }
        if log != "/dev/full" {
            assert!(metric(&gateway, "log_lines_lost_total", "") > 100);
        }
        gateway.terminate();
        assert_eq!(gateway.wait().code(), Some(0), "{log}");
    }
}

#[test]
fn probes_are_no_clients_and_no_lines() {
    let authority = Authority::new();
    authority.sign_valid("server");
    let tls = authority.listener("server");
    let proxied = "proxy_protocol = \"optional\"\ntrusted_proxies = [\"127.0.0.1\"]\n";
    let gateway = Gateway::configured_with(proxied, &format!("{PUBLISHING}{tls}"), &[]);
    let before = gateway.said();
    // `LOCAL`: the proxy itself looks whether somebody is there.
    let local = [&b"\r\n\r\n\0\r\nQUIT\n\x20\x00"[..], &[0, 0]].concat();
    for address in [gateway.clients, gateway.secure()] {
        for _ in 0..10 {
            drop(Raw::open(address));
            drop(connect_from(9, address));
        }
    }
    for _ in 0..10 {
        let mut probe = Raw::open(gateway.clients);
        probe.send(&local);
        drop(probe);
        let mut probe = Raw::open(gateway.clients);
        probe.stream.write_all(&local).expect("a new connection takes some bytes");
        probe.send("GET /health/ready HTTP/1.0\r\n\r\n");
        assert_eq!(probe.response().status, 200);
        assert_eq!(http(gateway.clients, "GET", "/health/live", &[], b"").status, 200);
        // Reset, as probes of some balancers end.
        let hasty = Raw::open(gateway.clients);
        socket2::SockRef::from(&hasty.stream).set_linger(Some(Duration::ZERO)).expect("a socket takes SO_LINGER");
    }
    assert_eq!(metric(&gateway, "clients", ""), 0);
    let deadline = Instant::now() + PATIENCE;
    while metric(&gateway, "connections", "") > 0 {
        assert!(Instant::now() < deadline, "the probes are gone");
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!((metric(&gateway, "refusals_total", ""), metric(&gateway, "accepts_total", "") >= 80), (0, true));
    let _client = Raw::upgraded(&gateway, "/ws/a");
    assert_eq!((metric(&gateway, "clients", "role=\"subscriber\""), metric(&gateway, "clients", "")), (1, 1));
    assert_eq!(gateway.said(), before);
}
