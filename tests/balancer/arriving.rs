//! How fast clients may come: who is too many is told when to come again, before anything is read of it.

use std::io::ErrorKind;
use std::io::Read;

use crate::common::{Authority, Gateway, Raw, Secure};
use crate::parts::connect_from;

fn gateway(arrivals: &str) -> Gateway {
    Gateway::of_one_shard("", &format!("[arrivals]\n{arrivals}"))
}

/// Says nothing, and is answered all the same.
fn told_unasked(client: &mut Raw, status: u16) {
    let answer = client.response();
    assert_eq!(answer.status, status, "{answer:?}");
    assert!(answer.header("retry-after").is_some_and(|after| (1..=5).contains(&after.parse().unwrap_or(0))), "{answer:?}");
    assert!(answer.text().contains("\"error\""), "{answer:?}");
    assert_eq!(client.frame(), None, "and then it ends");
}

#[test]
fn clients_of_one_address_come_no_faster_than_they_may() {
    let gateway = gateway("per_address_per_second = 1\nper_address_burst = 3\nexempt = []\n");
    let mut clients: Vec<Raw> = (0..3).map(|_| connect_from(2, gateway.clients)).collect();
    let mut late = connect_from(2, gateway.clients);
    told_unasked(&mut late, 429);
    assert_eq!(connect_from(3, gateway.clients).handshake("/stream", &[]).status, 101, "another address");
    assert!(clients.iter_mut().all(|client| client.handshake("/stream", &[]).status == 101));
    assert_eq!(gateway.counter("refusals"), 1);
}

#[test]
fn this_machine_is_exempt_by_default() {
    let gateway = gateway("per_address_per_second = 1\nper_address_burst = 1\nper_address_max = 1\n");
    let mut clients: Vec<Raw> = (0..20).map(|_| Raw::open(gateway.clients)).collect();
    assert!(clients.iter_mut().all(|client| client.handshake("/stream", &[]).status == 101));
}

#[test]
fn all_together_come_no_faster_than_they_may() {
    let gateway = gateway("per_second = 1\nburst = 3\n");
    let mut clients: Vec<Raw> = (0..3).map(|_| Raw::open(gateway.clients)).collect();
    told_unasked(&mut Raw::open(gateway.clients), 503);
    assert!(clients.iter_mut().all(|client| client.handshake("/stream", &[]).status == 101), "who came before stays");
}

#[test]
fn with_tls_who_is_too_many_is_cut_off_before_the_handshake() {
    let authority = Authority::new();
    authority.sign_valid("server");
    let tls = authority.listener("server");
    let gateway = gateway(&format!("per_address_per_second = 1\nper_address_burst = 1\nexempt = []\n{tls}"));
    let config = authority.client_config();
    let mut first = Secure::open(gateway.secure(), &config);
    assert!(first.ask("/health/live", "").starts_with("HTTP/1.1 200 "));
    let mut late = Raw::open(gateway.secure());
    let error = late.stream.read(&mut [0; 1]).expect_err("nothing can be said to it");
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
}
