//! What clients are told beside publications while one gateway takes the place of another, whichever of the two they are at: that their
//! token was revoked, that the feed behind their topic is gone or back.

use std::io::{BufReader, Write};
use std::net::TcpStream;
use std::path::Path;

use rustix::process::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::common::{Client, Gateway, PATIENCE, Raw};
use crate::exchange::{Exchange, Live, binance, futures_source};
use crate::keys::Keys;
use crate::succession::read_answer;

/// Old ones stay until they are ended.
const STAYING: &str = "[drain]\nwindow_ms = 3600000\n";

fn is_refused(gateway: &Gateway, token: &str) -> bool {
    match Raw::open(gateway.clients).handshake(&format!("/ws?token={token}"), &[]).status {
        401 => true,
        101 => false,
        other => panic!("neither let in nor refused: {other}"),
    }
}

fn revoke(gateway: &Gateway, subject: &str) {
    let answer = gateway.post("/api/revoke", "application/json", json!({"sub": subject}).to_string());
    assert_eq!(answer.status, 200, "{answer:?}");
}

/// The code that it is closed with, behind whatever it is told before.
fn closed(client: &mut Client) -> Option<u16> {
    loop {
        let message = client.socket.read().expect("it is not lost before it is closed");
        if let tungstenite::Message::Close(close) = message {
            client.socket.flush().expect("the close is answered");
            return close.map(|close| close.code.into());
        }
    }
}

#[test]
fn what_is_revoked_at_one_gateway_is_revoked_at_the_other() {
    let keys = Keys::new();
    let directory = TempDir::new().expect("a temporary directory can be made");
    let socket = directory.path().join("takeover");
    let toml = format!("{}{STAYING}", keys.shared());
    let token = |subject: &str| keys.token(json!({"sub": subject, "subscribe": ">"}));
    let connect = |gateway: &Gateway, subject: &str| Client::connect(gateway, &format!("/stream?token={}", token(subject)));
    let first = Gateway::taking_over(&socket, "2", &[], &toml);
    revoke(&first, "alice");
    let [mut bob, mut carol, mut dave] = ["bob", "carol", "dave"].map(|subject| connect(&first, subject));
    let erin = connect(&first, "erin");
    let old_admin = TcpStream::connect(first.admin).expect("the admin port is there");
    let second = Gateway::taking_over(&socket, "1", &[], &toml);
    assert_eq!(["alice", "bob"].map(|subject| is_refused(&second, &token(subject))), [true, false]);
    revoke(&second, "bob");
    assert_eq!(closed(&mut bob), Some(1008), "at the gateway before");
    // Where the old one can still be reached.
    let mut carols = connect(&second, "carol");
    let body = json!({"sub": "carol"}).to_string();
    let mut old_admin = BufReader::new(old_admin);
    let head = "POST /api/revoke HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n";
    old_admin.get_mut().set_read_timeout(Some(PATIENCE)).expect("a socket takes a time-out");
    write!(old_admin.get_mut(), "{head}Content-Length: {}\r\n\r\n{body}", body.len()).expect("it is taken");
    let (answer, stays) = read_answer(old_admin);
    assert!(answer.len() == 1 && answer[0]["until"].is_u64() && stays.is_none(), "{answer:?}");
    assert_eq!([closed(&mut carol), closed(&mut carols)], [Some(1008); 2]);
    assert!(is_refused(&second, &token("carol")));
    // In a chain, too: all that was revoked before, and what is while three of them run.
    let mut daves = connect(&second, "dave");
    let third = Gateway::taking_over(&socket, "2", &[], &toml);
    for subject in ["alice", "bob", "carol"] {
        assert!((0..4).all(|_| is_refused(&third, &token(subject))), "{subject}");
    }
    assert!(!is_refused(&third, &token("dave")));
    revoke(&third, "dave");
    assert_eq!([closed(&mut dave), closed(&mut daves)], [Some(1008); 2]);
    drop((erin, daves));
    for mut old in [first, second] {
        assert_eq!(old.wait().code(), Some(0), "it said:\n{}", old.said());
    }
    third.stop();
}

fn trade(number: u64) -> String {
    format!(r#"{{"stream":"btcusdt@trade","data":{{"t":{number}}}}}"#)
}

const TOPIC: &str = "btcusdt@trade";

/// The next of these events of the topic, or the next publication of it: its name, and since when.
fn event(client: &mut Client) -> (String, Option<u64>) {
    loop {
        let told: Value = serde_json::from_str(&client.text()).expect("what comes is JSON");
        match told["e"].as_str() {
            Some(name @ ("stale" | "fresh")) if told["s"] == TOPIC => return (name.to_owned(), told["since"].as_u64()),
            Some(_) => {}
            None if told["o"].is_u64() => return ("publication".to_owned(), None),
            None => {}
        }
    }
}

#[test]
fn clients_of_both_gateways_hear_that_a_feed_is_gone() {
    let directory = TempDir::new().expect("a temporary directory can be made");
    goes_and_comes_back(directory.path(), "");
}

#[test]
fn so_do_those_of_topics_with_a_journal() {
    let directory = TempDir::new().expect("a temporary directory can be made");
    let journal = directory.path().join("journal");
    goes_and_comes_back(
        directory.path(),
        &format!("[[topic]]\npattern = \">\"\njournal = true\n[journal]\ndirectory = {journal:?}\n"),
    );
}

fn goes_and_comes_back(directory: &Path, more: &str) {
    let live = Live::new((1..=9).map(trade).collect());
    let exchange = Exchange::new(&live, binance);
    let socket = directory.join("takeover");
    let toml = format!("{}{more}{STAYING}", futures_source(&[exchange.url()], ""));
    // Who comes in the moment of a takeover may still be accepted by the gateway before.
    let come = |gateway: &Gateway, clients: &mut Vec<Client>| {
        (0..4).for_each(|_| clients.push(Client::connect(gateway, &format!("/stream?streams={TOPIC}"))));
    };
    let publication = ("publication".to_owned(), None);
    let fresh = ("fresh".to_owned(), None);

    let first = Gateway::taking_over(&socket, "2", &[], &toml);
    let mut clients = Vec::new();
    come(&first, &mut clients);
    exchange.wait_for_subscription(1);
    live.go_on(1);
    clients.iter_mut().for_each(|client| assert_eq!(event(client), publication));

    // It goes while the second one has it.
    let second = Gateway::taking_over(&socket, "1", &[], &toml);
    exchange.wait_for_subscription(2);
    come(&second, &mut clients);
    live.go_on(1);
    clients.iter_mut().for_each(|client| assert_eq!(event(client), publication));
    exchange.refuse(usize::MAX);
    exchange.cut_after(5);
    live.go_on(1);
    let stale = event(&mut clients[0]);
    assert!(stale.0 == "stale" && stale.1.is_some(), "{stale:?}");
    clients[1..].iter_mut().for_each(|client| assert_eq!(event(client), stale));

    // The third one knows it before it has heard anything of the feed; and has it back.
    let third = Gateway::taking_over(&socket, "2", &[], &toml);
    let mut late = Vec::new();
    come(&third, &mut late);
    late.iter_mut().for_each(|client| assert_eq!(event(client), stale));
    clients.append(&mut late);
    exchange.refuse(0);
    clients.iter_mut().for_each(|client| assert_eq!(event(client), fresh));
    exchange.wait_for_subscription(3);
    live.go_on(1);
    clients.iter_mut().for_each(|client| assert_eq!(event(client), publication));

    // The fourth one never has it.
    exchange.refuse(usize::MAX);
    let fourth = Gateway::taking_over(&socket, "2", &[], &toml);
    let at_fourth = clients.len();
    come(&fourth, &mut clients);
    let stale = event(&mut clients[0]);
    assert!(stale.0 == "stale" && stale.1.is_some(), "{stale:?}");
    clients[1..].iter_mut().for_each(|client| assert_eq!(event(client), stale));

    // The third one serves again, with a feed that is back.
    exchange.refuse(0);
    clients.iter_mut().for_each(|client| assert_eq!(event(client), fresh));
    exchange.wait_for_subscription(4);
    clients.truncate(at_fourth);
    exchange.refuse(usize::MAX);
    fourth.signal(Signal::KILL);
    clients.iter_mut().for_each(|client| assert_eq!(event(client).0, "stale"));
    exchange.refuse(0);
    clients.iter_mut().for_each(|client| assert_eq!(event(client), fresh));
    exchange.wait_for_subscription(5);
    live.go_on(1);
    clients.iter_mut().for_each(|client| assert_eq!(event(client), publication));
    drop(clients);
    for mut old in [first, second] {
        assert_eq!(old.wait().code(), Some(0), "it said:\n{}", old.said());
    }
    counts_its_takeovers(&third);
    assert!(third.counter("takeover_fed_publications") > 0, "what it published went to the one before");
    third.stop();
}

/// It took a place, gave it, and has it back.
fn counts_its_takeovers(gateway: &Gateway) {
    let metrics = gateway.get("/metrics");
    for line in [
        "tidegate_takeovers_total{outcome=\"taken\"} 1",
        "tidegate_takeovers_total{outcome=\"given\"} 1",
        "tidegate_takeovers_total{outcome=\"failed\"} 0",
        "tidegate_takeovers_total{outcome=\"lost\"} 1",
        "tidegate_takeover_feeding 0",
        "tidegate_takeover_following 0",
    ] {
        assert!(metrics.text().lines().any(|found| found == line), "{line} is not in\n{}", metrics.text());
    }
}
