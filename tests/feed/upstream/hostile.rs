//! Upstreams that refuse, babble, flood, fall silent: counted and outlived.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, mpsc};
use std::thread;

use tungstenite::{Message, WebSocket};

use super::exchange::{Exchange, Live, binance, futures_gateway, wait_until};
use crate::common::{Authority, Client, Gateway, PATIENCE};

/// A server that does something else with each connection, counted from 0.
fn server(serve: impl Fn(usize, TcpStream) + Send + Sync + 'static) -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let address = listener.local_addr().expect("a listener has an address");
    let count = Arc::new(AtomicUsize::new(0));
    let (serve, counted) = (Arc::new(serve), Arc::clone(&count));
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            stream.set_read_timeout(Some(PATIENCE)).expect("a socket takes a time-out");
            let number = counted.fetch_add(1, SeqCst);
            let serve = Arc::clone(&serve);
            thread::spawn(move || serve(number, stream));
        }
    });
    (address, count)
}

fn accept(stream: TcpStream) -> WebSocket<TcpStream> {
    tungstenite::accept(stream).expect("the gateway shakes hands")
}

/// A feed of one topic, `all`, without numbers.
fn plain_gateway(address: SocketAddr, more: &str) -> Gateway {
    Gateway::configured(&format!(
        "[[source]]\nkind = \"upstream\"\nurls = [\"ws://{address}\"]\ntopic = \"all\"\nbackoff_min_ms = 1\nbackoff_max_ms = 20\n{more}"
    ))
}

#[test]
fn refusals_are_counted_and_tried_again() {
    let live = Live::new(vec![r#"{"stream":"btcusdt@trade","data":{"t":1}}"#.into()]);
    let exchange = Exchange::new(&live, binance);
    exchange.refuse(3);
    let gateway = futures_gateway(&[&exchange], "");
    let mut client = Client::connect(&gateway, "/ws/btcusdt@trade");
    exchange.wait_for_subscription(1);
    live.go_on(1);
    assert_eq!(client.text(), r#"{"t":1}"#);
    assert_eq!((gateway.counter("upstream_connect_failures"), gateway.counter("upstream_connects")), (3, 1));
    let said = gateway.said();
    assert!(said.contains("403") && said.contains(&exchange.address.to_string()), "{said}");
    drop(client);
    gateway.stop();
}

#[test]
fn what_is_no_websocket_is_counted_and_tried_again() {
    let (address, _) = server(|number, mut stream| match number {
        0 => drop(stream.write_all(b"SSH-2.0-OpenSSH_9.6\r\n")),
        1 => drop(stream),
        2 => {
            drop(stream.read(&mut [0; 4096]));
            drop(stream.write_all(&[b'x'; 100_000]));
        }
        // Frames with bits that nobody agreed on.
        3 => {
            let mut socket = accept(stream);
            drop(socket.send(Message::text("1")));
            drop(socket.get_mut().write_all(&[0xff; 64]));
            drop(socket.get_mut().read(&mut [0; 4096]));
        }
        _ => {
            let mut socket = accept(stream);
            drop(socket.send(Message::text("2")));
            while socket.read().is_ok() {}
        }
    });
    let gateway = plain_gateway(address, "");
    let mut client = Client::connect(&gateway, "/ws/all");
    wait_until("it is through", || gateway.counter("upstream_connects") == 2);
    assert_eq!(gateway.counter("upstream_disconnects"), 1);
    assert_eq!(gateway.counter("upstream_connect_failures"), 3);
    // The first may have come before the subscription.
    while client.text() != "2" {}
    assert_eq!(gateway.counter("upstream_gaps"), 1, "without numbers a lost connection is a gap");
    drop(client);
    gateway.stop();
}

#[test]
fn garbage_and_what_is_too_long_are_left_out_and_the_connection_stays() {
    let (go, wait) = mpsc::channel::<()>();
    let wait = std::sync::Mutex::new(wait);
    let (address, connections) = server(move |_, stream| {
        let mut socket = accept(stream);
        wait.lock().expect("one at a time").recv().ok();
        for text in [
            "not json",
            "{\"a\":",
            "\"first\"",
            &format!("\"{}\"", "x".repeat(1500)),
            &format!("\"{}\"", "x".repeat(5000)),
            "[2]",
        ] {
            drop(socket.send(Message::text(text)));
        }
        drop(socket.send(Message::binary(vec![0, 255, 1])));
        while socket.read().is_ok() {}
    });
    let gateway = plain_gateway(address, "[limits]\npublication_bytes_max = 1000\n");
    let mut client = Client::connect(&gateway, "/ws/all");
    go.send(()).expect("the server waits");
    assert_eq!((client.text(), client.text()), ("\"first\"".into(), "[2]".into()));
    assert_eq!(client.binary(), [0, 255, 1]);
    assert_eq!((gateway.counter("upstream_unparsable"), gateway.counter("upstream_refused")), (2, 2));
    assert_eq!((gateway.counter("upstream_messages"), gateway.counter("upstream_gaps")), (7, 1));
    assert_eq!((connections.load(SeqCst), gateway.counter("upstream_disconnects")), (1, 0));
    drop(client);
    gateway.stop();
}

#[test]
fn a_flood_makes_no_more_topics_than_allowed_and_little_noise() {
    let (address, _) = server(|_, stream| {
        let mut socket = accept(stream);
        for number in 0..50_000 {
            drop(socket.send(Message::text(format!("{{\"s\":\"t{number}\"}}"))));
        }
        while socket.read().is_ok() {}
    });
    let gateway = Gateway::configured(&format!(
        "[[source]]\nkind = \"upstream\"\nurls = [\"ws://{address}\"]\ntopic = \"{{/s}}\"\ntopics_max = 100\n"
    ));
    wait_until("all is read", || gateway.counter("upstream_messages") == 50_000);
    assert_eq!((gateway.counter("source_publications"), gateway.counter("upstream_refused")), (100, 49_900));
    let lines = gateway.said().lines().filter(|line| line.contains("topics_max")).count();
    assert!((1..10).contains(&lines), "{}", gateway.said());
    gateway.stop();
}

#[test]
fn a_silent_connection_is_ended_and_a_quiet_one_is_not() {
    let (pings, pinged) = mpsc::channel();
    let pings = std::sync::Mutex::new(pings);
    let (address, connections) = server(move |number, stream| {
        let mut socket = accept(stream);
        if number == 0 {
            // It takes what comes and says nothing.
            while socket.get_mut().read(&mut [0; 4096]).is_ok_and(|count| count > 0) {}
            return;
        }
        while let Ok(message) = socket.read() {
            drop(socket.flush());
            if let Message::Ping(_) = message {
                pings.lock().expect("one at a time").send(()).ok();
            }
        }
    });
    let gateway = plain_gateway(address, "silent_timeout_ms = 200\n");
    for _ in 0..5 {
        pinged.recv_timeout(PATIENCE).expect("a quiet connection is pinged");
    }
    // One that was silent, and one that is quiet.
    assert_eq!((connections.load(SeqCst), gateway.counter("upstream_disconnects")), (2, 1));
    assert!(gateway.said().contains("silent_timeout_ms"), "{}", gateway.said());
    gateway.stop();
}

#[test]
fn with_tls_the_certificate_must_be_believed() {
    let authority = Authority::new();
    authority.sign_valid("exchange");
    let certificates = vec![crate::common::certificate_in(&authority.path("exchange.pem"))];
    let key = rustls::pki_types::pem::PemObject::from_pem_file(authority.path("exchange.key")).expect("a key");
    let config = rustls::ServerConfig::builder_with_provider(rustls::crypto::aws_lc_rs::default_provider().into())
        .with_safe_default_protocol_versions()
        .expect("the provider knows them")
        .with_no_client_auth()
        .with_single_cert(certificates, key)
        .expect("they are a pair");
    let config = Arc::new(config);
    let (address, _) = server(move |_, stream| {
        let connection = rustls::ServerConnection::new(config.clone()).expect("it can be made");
        let Ok(mut socket) = tungstenite::accept(rustls::StreamOwned::new(connection, stream)) else { return };
        drop(socket.send(Message::text("\"sealed\"")));
        while socket.read().is_ok() {}
    });
    let source = |ca: &str| {
        format!(
            "[[source]]\nkind = \"upstream\"\nurls = [\"wss://localhost:{}\"]\ntopic = \"all\"\nbackoff_max_ms = 500\n{ca}",
            address.port()
        )
    };
    let gateway = Gateway::configured(&source(""));
    wait_until("it is told", || gateway.said().contains("with `ca`"));
    assert_eq!(gateway.counter("upstream_connects"), 0);
    gateway.stop();
    let gateway = Gateway::configured(&source(&format!("ca = {:?}\n", authority.path("ca.pem").display().to_string())));
    wait_until("it is published", || gateway.counter("source_publications") == 1);
    assert_eq!(gateway.counter("upstream_connects"), 1);
    gateway.stop();
}
