//! What the tests of the generator stand on: the real gateway, in this process.
#![allow(dead_code, reason = "each test binary uses its own share of this")]

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

/// How long a gateway may take to listen.
const PATIENCE: Duration = Duration::from_secs(20);

/// A gateway on a thread of its own until this process ends; where clients connect.
pub(crate) fn gateway(toml: &str) -> SocketAddr {
    gateway_with("", toml)
}

/// The same, with more keys for the listener.
pub(crate) fn gateway_with(listener: &str, toml: &str) -> SocketAddr {
    let address = free_port();
    let publish = "[publish]\nallow = \"loopback\"\ntopics = [\">\"]\n";
    let text = format!("[[listener]]\naddress = \"{address}\"\n{listener}{publish}{toml}");
    let mut config = tidegate::config::parse(&text, Path::new("test.toml")).expect("the configuration is right");
    config.shards.count = Some(2);
    thread::spawn(move || tidegate::gateway::run(config, tidegate::gateway::Reloading::default()).expect("the gateway starts"));
    let deadline = Instant::now() + PATIENCE;
    while TcpStream::connect(address).is_err() {
        assert!(Instant::now() < deadline, "the gateway does not listen");
        thread::sleep(Duration::from_millis(10));
    }
    // The gateway ends its process on a panic, which here would be a test's that has something to tell.
    drop(std::panic::take_hook());
    address
}

/// A port that nobody has, as of now.
pub(crate) fn free_port() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("there is a free port")
}
