//! A gateway that has as many clients as it may: it says so, to clients and to balancers, and serves on.

use crate::common::figures::comes_to;
use crate::common::{Authority, Client, Events, Gateway, PUBLISHING, Raw, Secure, http};

#[test]
fn who_comes_to_a_full_gateway_is_told_when_to_come_again() {
    let authority = Authority::new();
    authority.sign_valid("server");
    let tls = authority.listener("server");
    let gateway = Gateway::configured(&format!("{PUBLISHING}[limits]\nconnections_max = 3\n{tls}"));
    let ready = || (gateway.get("/health/ready").status, http(gateway.clients, "GET", "/health/ready", &[], b"").status);
    let mut clients: Vec<Client> = (0..2).map(|_| Client::connect(&gateway, "/stream?streams=md.a")).collect();
    assert_eq!(ready(), (200, 200), "there is room for one more");
    clients.push(Client::connect(&gateway, "/stream?streams=md.a"));
    comes_to(&gateway, "connections", "", 3);
    assert_eq!(ready(), (503, 503));
    assert!(gateway.get("/health/ready").text().contains("connections_max"));
    assert_eq!(http(gateway.clients, "GET", "/health/live", &[], b"").status, 200, "it lives all the same");

    let told = |status: u16, after: Option<&str>| {
        assert_eq!(status, 503);
        assert!(after.is_some_and(|after| (1..=5).contains(&after.trim().parse().unwrap_or(0))), "{after:?}");
    };
    let answer = Raw::open(gateway.clients).handshake("/stream", &[]);
    told(answer.status, answer.header("retry-after"));
    assert!(answer.header("x-request-id").is_some() && answer.text().contains("Retry-After"), "{answer:?}");
    let answer = http(gateway.clients, "GET", "/sse?streams=md.a", &[], b"");
    told(answer.status, answer.header("retry-after"));
    let answer = Secure::open(gateway.secure(), &authority.client_config()).ask("/health/ready", "");
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");

    // Who is there sees nothing of it.
    gateway.publish("md.a", "1");
    assert!(clients.iter_mut().all(|client| client.text().contains("\"data\":1}")));
    clients.pop();
    comes_to(&gateway, "connections", "", 2);
    assert_eq!(ready(), (200, 200));
    let mut events = Events::open(&gateway, "/sse?streams=md.a", "");
    gateway.publish("md.a", "2");
    assert!(events.data().contains("\"data\":2}"));
    gateway.stop();
}
