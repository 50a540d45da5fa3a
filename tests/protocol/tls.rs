//! TLS over the wire: what goes over it, with curl and OpenSSL as clients, and clients that mean no good.

use std::io::{Read, Write};
use std::process::{Command, Stdio};
use std::sync::Arc;

use crate::common::{Authority, Client, Gateway, PUBLISHING, Raw, Secure, frame, skipped};

/// A gateway with a plain listener and one with TLS, and what its clients believe.
fn secure_gateway(toml: &str) -> (Gateway, Authority) {
    let authority = Authority::new();
    authority.sign_valid("feed");
    let gateway = Gateway::configured(&format!("{PUBLISHING}{toml}{}", authority.listener("feed")));
    (gateway, authority)
}

/// Runs a program that every machine for development has; where it is missing the test is skipped, unless the parts of the
/// tests are promised.
pub(crate) fn run(test: &str, program: &str, arguments: &[&str], input: &str) -> Option<String> {
    let started =
        Command::new(program).args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let Ok(mut child) = started else {
        let must = std::env::var_os("TIDEGATE_TEST_PARTS").is_some() || std::env::var_os("CI").is_some();
        assert!(!must, "{program} is missing; scripts/install-test-parts installs it");
        skipped(test, &format!("{program} is not installed"));
        return None;
    };
    // A client that was refused may have ended before it reads this.
    child.stdin.take().expect("stdin is piped").write_all(input.as_bytes()).ok();
    let output = child.wait_with_output().expect("a child can be waited for");
    Some(format!("{}\n{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr)))
}

const LIVE: &str = "GET /health/live HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";

#[test]
fn curl_gets_the_page_and_believes_the_certificate() {
    let (gateway, authority) = secure_gateway("[page]\nenabled = true\n");
    let url = format!("https://localhost:{}/", gateway.secure().port());
    let ca = authority.path("ca.pem").display().to_string();
    let test = "curl_gets_the_page_and_believes_the_certificate";
    let Some(page) = run(test, "curl", &["--silent", "--show-error", "--cacert", &ca, &url], "") else { return };
    assert!(page.contains("<!doctype html>"), "{page}");
    let plain = Raw::open(gateway.clients).handshake("/", &[("Upgrade", ""), ("Connection", "")]);
    assert!(page.starts_with(plain.text()), "the same page as without TLS");
    gateway.stop();
}

#[test]
fn openssl_speaks_both_versions_and_comes_back_with_a_ticket() {
    let (gateway, authority) = secure_gateway("");
    let connect = gateway.secure().to_string();
    for (version, named) in [("-tls1_2", "TLSv1.2"), ("-tls1_3", "TLSv1.3")] {
        let session = authority.path(named).display().to_string();
        let ca = authority.path("ca.pem").display().to_string();
        let usual = ["s_client", "-connect", &connect, "-servername", "localhost", "-CAfile", &ca, "-ign_eof", version];
        let talk = |more: &[&str]| {
            run("openssl_speaks_both_versions_and_comes_back_with_a_ticket", "openssl", &[&usual, more].concat(), LIVE)
        };
        let Some(first) = talk(&["-alpn", "h2,http/1.1", "-sess_out", &session]) else { return };
        for part in [&format!("New, {named}"), "ALPN protocol: http/1.1", "Verify return code: 0 (ok)", "HTTP/1.1 200 OK"] {
            assert!(first.contains(part), "{version} says {part:?}: {first}");
        }
        let second = talk(&["-sess_in", &session]).expect("it was there before");
        assert!(second.contains(&format!("Reused, {named}")) && second.contains("HTTP/1.1 200 OK"), "{second}");
        let foreign = talk(&["-alpn", "h2"]).expect("it was there before");
        assert!(!foreign.contains("HTTP/1.1 200") && foreign.contains("alert"), "only http/1.1 is spoken: {foreign}");
    }
    let old = ["s_client", "-connect", &connect, "-tls1_1", "-cipher", "DEFAULT@SECLEVEL=0"];
    let refused = run("openssl_speaks_both_versions_and_comes_back_with_a_ticket", "openssl", &old, LIVE);
    assert!(refused.is_some_and(|said| !said.contains("HTTP/1.1 200")), "TLS 1.1 is not spoken");
    gateway.stop();
}

#[test]
fn the_same_bytes_come_with_tls_and_without() {
    let (gateway, authority) = secure_gateway("");
    // One topic: between two no order is promised.
    let mut plain = Raw::upgraded(&gateway, "/stream?streams=a");
    let mut secure = Secure::upgraded(&gateway, &authority.client_config(), "/stream?streams=a");
    let mut publisher = Client::connect(&gateway, "/ws");
    for (number, bytes) in [1, 100, 1400, 16_000, 16_384, 17_000, 200_000, 7, 60_000].into_iter().enumerate() {
        publisher.publish("a", &format!("\"{}{number}\"", "x".repeat(bytes % 60_001)));
    }
    for _ in 0..9 {
        assert_eq!(secure.frame(), plain.frame());
    }
    secure.send(&frame(0x89, b"there?"));
    assert_eq!(secure.frame().map(|frame| (frame.first, frame.payload)), Some((0x8A, b"there?".to_vec())));
    secure.send(&frame(0x88, &1000u16.to_be_bytes()));
    assert_eq!(secure.frame().and_then(|frame| frame.close_code()), Some(1000));
    assert_eq!(secure.frame(), None, "close_notify follows the close frame");
    gateway.stop();
}

#[test]
fn plain_http_on_the_tls_port_is_told_what_to_do() {
    let (gateway, _authority) = secure_gateway("");
    let answer = Raw::open(gateway.secure()).handshake("/ws", &[]);
    assert_eq!(answer.status, 400);
    assert!(answer.text().contains("plain HTTP was sent to a TLS port; use https:// or wss://"), "{answer:?}");
    gateway.stop();
}

#[test]
fn garbage_gets_an_alert_and_is_counted() {
    let (gateway, _authority) = secure_gateway("");
    for garbage in [&[0x80; 40][..], &[22, 3, 1, 0, 5, 9, 0, 0, 1, 0], &[0; 100]] {
        let mut raw = Raw::open(gateway.secure());
        raw.send(garbage);
        let mut said = Vec::new();
        raw.stream.shutdown(std::net::Shutdown::Write).ok();
        raw.stream.read_to_end(&mut said).ok();
        // RFC 8446 5.1, 6: a record of type 21 with a fatal (2) alert.
        assert_eq!((said.first(), said.get(5)), (Some(&21), Some(&2)), "{garbage:?}: {said:?}");
    }
    let metrics = gateway.get("/metrics");
    let refused = metrics.text().lines().filter(|line| line.starts_with("tidegate_refusals_total") && line.contains("\"tls\""));
    let count: u32 = refused.filter_map(|line| line.rsplit(' ').next()?.parse::<u32>().ok()).sum();
    assert_eq!(count, 3);
    gateway.stop();
}

#[test]
fn a_handshake_may_come_byte_by_byte() {
    let (gateway, authority) = secure_gateway("[limits]\nhandshake_timeout_ms = 60000\n");
    let mut secure = Secure::open(gateway.secure(), &authority.client_config());
    let (client, socket) = (&mut secure.stream.conn, &mut secure.stream.sock);
    while client.is_handshaking() || client.wants_write() {
        let mut bytes = Vec::new();
        client.write_tls(&mut bytes).expect("a vector takes it");
        for byte in bytes {
            socket.write_all(&[byte]).expect("the gateway listens");
        }
        if client.wants_read() && client.is_handshaking() {
            client.read_tls(socket).expect("the gateway answers");
            client.process_new_packets().expect("it speaks TLS");
        }
    }
    assert!(secure.ask("/health/live", "").starts_with("HTTP/1.1 200 "));
    gateway.stop();
}

#[test]
fn a_handshake_takes_no_longer_than_its_deadline_and_who_can_be_told_is_told() {
    let (gateway, authority) = secure_gateway("[limits]\nhandshake_timeout_ms = 2000\n");
    // One says nothing at all, one half a hello, one ends the handshake of TLS and says half a request.
    let mut silent = Raw::open(gateway.secure());
    let mut half = Raw::open(gateway.secure());
    half.send([22, 3, 1, 2, 0, 1, 0, 1]);
    let mut slow = Secure::open(gateway.secure(), &authority.client_config());
    slow.send(b"GET /");
    let told = slow.answer();
    assert!(told.starts_with("HTTP/1.1 408 "), "{told}");
    for raw in [&mut silent, &mut half] {
        let mut said = Vec::new();
        raw.stream.read_to_end(&mut said).ok();
        assert!(said.is_empty(), "reset or ended without a word: {said:?}");
    }
    gateway.stop();
}

#[test]
fn no_more_than_the_bound_is_kept_before_the_handshake_is_done() {
    let (gateway, _authority) = secure_gateway("");
    let mut raw = Raw::open(gateway.secure());
    // A hello of 60,000 bytes, by its own words.
    raw.send([22, 3, 1, 0x3f, 0, 1, 0, 0xEA, 0x60]);
    raw.send([0; 0x3f00 - 4]);
    let mut said = Vec::new();
    raw.stream.shutdown(std::net::Shutdown::Write).ok();
    raw.stream.read_to_end(&mut said).ok();
    let metrics = gateway.get("/metrics");
    assert!(metrics.text().lines().any(|line| line.contains("reason=\"tls\"") && line.ends_with(" 1")), "{}", metrics.text());
    gateway.stop();
}

#[test]
fn a_slow_reader_over_tls_has_every_byte_right_and_nobody_else_notices() {
    let toml = "[[topic]]\npattern = \">\"\nring_publications = 64\nring_bytes = 1048576\n";
    let (gateway, authority) = secure_gateway(toml);
    let config = authority.client_config();
    let mut slow = Secure::upgraded(&gateway, &config, "/ws/t");
    let mut quick: Vec<Secure> = (0..3).map(|_| Secure::upgraded(&gateway, &config, "/ws/t")).collect();
    let mut publisher = Client::connect(&gateway, "/publish/t");
    const COUNT: usize = 1500;
    let payload = |number: usize| format!("\"{number}{}\"", "y".repeat(9_000 + number % 777));
    for number in 0..COUNT {
        publisher.send(&payload(number));
        for client in &mut quick {
            let frame = client.frame().expect("the quick ones are served");
            assert!(frame.payload == payload(number).as_bytes(), "publication {number}");
        }
    }
    // What the kernel took for it, one record that was sealed, and the rest of a frame; then the close.
    let mut received = 0;
    let close = loop {
        let frame = slow.frame().expect("a close frame comes before the end");
        if frame.first == 0x88 {
            break frame.close_code();
        }
        assert!(frame.payload == payload(received).as_bytes(), "publication {received}");
        received += 1;
    };
    assert_eq!(close, Some(1013));
    assert!(received < COUNT, "it fell out of the ring");
    gateway.stop();
}

#[test]
fn a_stop_ends_tls_clients_with_1001_and_close_notify() {
    let (mut gateway, authority) = secure_gateway("");
    let mut secure = Secure::upgraded(&gateway, &authority.client_config(), "/ws/t");
    gateway.terminate();
    assert_eq!(secure.frame().and_then(|frame| frame.close_code()), Some(1001));
    secure.send(&frame(0x88, &1001u16.to_be_bytes()));
    assert_eq!(secure.frame(), None);
    drop(secure);
    gateway.stop();
}

#[test]
fn clients_show_certificates_where_an_authority_is_named() {
    let (authority, others) = (Authority::new(), Authority::new());
    authority.sign_valid("feed");
    authority.sign("client", &["client.example"], (2020, 4000));
    others.sign("client", &["client.example"], (2020, 4000));
    let ca = authority.path("ca.pem").display().to_string();
    for demand in ["required", "optional"] {
        let tls = format!("{}client_ca = {ca:?}\nclient_certificates = \"{demand}\"\n", authority.listener("feed"));
        let gateway = Gateway::configured(&tls);
        let url = format!("https://localhost:{}/health/live", gateway.secure().port());
        let asked = |owner: Option<&Authority>| {
            let files = owner.map(|owner| ["pem", "key"].map(|ending| owner.path(&format!("client.{ending}"))));
            let files = files.map(|files| files.map(|file| file.display().to_string()));
            let mut arguments = vec!["--silent", "--show-error", "--cacert", &ca, &url];
            if let Some([certificate, key]) = &files {
                arguments.extend(["--cert", certificate, "--key", key]);
            }
            let said = run("clients_show_certificates_where_an_authority_is_named", "curl", &arguments, "");
            said.map(|said| said.contains("{\"live\":true}"))
        };
        let Some(own) = asked(Some(&authority)) else { return };
        assert!(own, "{demand}: one of the authority's clients");
        assert_eq!(asked(Some(&others)), Some(false), "{demand}: a certificate of somebody else");
        assert_eq!(asked(None), Some(demand == "optional"), "{demand}: none");
        gateway.stop();
    }
}

/// The hosts' own certificates, by the name that is asked for.
#[test]
fn the_certificate_is_chosen_by_the_name_that_is_asked_for() {
    let authority = Authority::new();
    authority.sign("first", &["first.example"], (2020, 4000));
    authority.sign("second", &["*.b.example", "localhost"], (2020, 4000));
    let tls = format!("{}[[listener.tls.sni]]\n{}", authority.listener("first"), authority.keys("second"));
    let gateway = Gateway::configured(&tls);
    let connect = gateway.secure().to_string();
    let test = "the_certificate_is_chosen_by_the_name_that_is_asked_for";
    for (name, subject) in [("first.example", "first"), ("a.b.example", "second"), ("unknown.example", "first")] {
        let Some(said) = run(test, "openssl", &["s_client", "-connect", &connect, "-servername", name], "") else { return };
        assert!(said.contains(&format!("subject=CN = {subject}\n")), "{name}: {said}");
    }
    let said = run(test, "openssl", &["s_client", "-connect", &connect, "-noservername"], "").expect("it was there before");
    assert!(said.contains("subject=CN = first\n"), "no name: {said}");
    let config = authority.client_config();
    let mut secure = Secure::open(gateway.secure(), &Arc::clone(&config));
    assert!(secure.ask("/health/live", "").starts_with("HTTP/1.1 200 "));
    gateway.stop();
}

#[test]
fn tail_and_publish_speak_tls_and_say_what_is_missing() {
    let (gateway, authority) = secure_gateway("");
    let url = format!("wss://localhost:{}", gateway.secure().port());
    let ca = authority.path("ca.pem").display().to_string();
    let test = "tail_and_publish_speak_tls_and_say_what_is_missing";
    let tidegate = |arguments: &[&str], input: &str| {
        run(test, env!("CARGO_BIN_EXE_tidegate"), arguments, input).expect("the binary is built with its tests")
    };
    let lines: String = (0..2000).map(|number| format!("{{\"n\":{number},\"x\":\"{}\"}}\n", "x".repeat(number))).collect();
    let published = tidegate(&["publish", "t", "--url", &url, "--ca", &ca], &lines);
    assert!(published.contains("2000 publications on t"), "{published}");
    let printed = tidegate(&["tail", "--ca", &ca, "--count", "1", &url, "t;last"], "");
    assert!(printed.starts_with("t {\"n\":1999,\"x\":\"xxx"), "{printed}");
    let untrusted = tidegate(&["tail", "--count", "1", &url, "t;last"], "");
    assert!(untrusted.contains("invalid peer certificate") && untrusted.contains("with --ca FILE"), "{untrusted}");
    gateway.stop();
}
