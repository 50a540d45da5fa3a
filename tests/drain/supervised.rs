//! Under a supervisor: listening sockets that it holds are taken by address, and it is told how far the gateway is. systemd's own
//! program hands them over.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use tempfile::TempDir;

use crate::common::{Client, Gateway, PATIENCE, http, skipped};

const ACTIVATE: &str = "/usr/bin/systemd-socket-activate";

fn is_there(test: &str) -> bool {
    let is_there = Path::new(ACTIVATE).exists();
    let must = ["TIDEGATE_TEST_PARTS", "CI"].iter().any(|promise| std::env::var_os(promise).is_some());
    assert!(is_there || !must, "{ACTIVATE} is not there; scripts/install-test-parts installs systemd");
    if !is_there {
        skipped(test, "systemd is not installed (scripts/test installs it)");
    }
    is_there
}

fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a port is free")
}

/// The gateway is started by the first who connects, who is served, too.
#[test]
fn sockets_that_the_supervisor_holds_are_taken_and_it_is_told_how_far_the_gateway_is() {
    if !is_there("socket activation") {
        return;
    }
    let directory = TempDir::new().expect("a temporary directory can be made");
    let told = UnixDatagram::bind(directory.path().join("notify")).expect("a socket can be bound");
    told.set_read_timeout(Some(PATIENCE)).expect("a socket takes a time-out");
    let notify = format!("NOTIFY_SOCKET={}", directory.path().join("notify").display());
    let address = free_address().to_string();
    let script = format!("exec \"$@\" --listen {address}");
    let first = thread::spawn({
        let address = address.clone();
        move || {
            let deadline = Instant::now() + PATIENCE;
            while TcpStream::connect(&address).is_err() {
                assert!(Instant::now() < deadline, "systemd's program does not listen");
                thread::sleep(Duration::from_millis(20));
            }
            let target = address.parse().expect("an address");
            http(target, "GET", "/health/live", &[], &[]).status
        }
    });
    let mut gateway = Gateway::under(&[ACTIVATE, "-l", &address, "-E", &notify, "sh", "-c", &script, "sh"], "");
    assert_eq!(first.join().expect("who connected first is served"), 200);
    assert_eq!(gateway.clients.to_string(), address);
    Client::connect(&gateway, "/stream").say(r#"{"method":"PING"}"#);
    let hear = || {
        let mut bytes = [0; 1024];
        let count = told.recv(&mut bytes).expect("it is told something");
        String::from_utf8_lossy(&bytes[..count]).into_owned()
    };
    let ready = hear();
    assert!(ready.contains("READY=1") && ready.contains(&format!("MAINPID={}", gateway.pid())), "{ready}");
    gateway.signal(Signal::HUP);
    let reloading = hear();
    assert!(reloading.contains("RELOADING=1") && reloading.contains("MONOTONIC_USEC="), "{reloading}");
    assert!(hear().contains("READY=1"));
    gateway.terminate();
    assert!(hear().contains("STOPPING=1"));
    assert_eq!(gateway.wait().code(), Some(0), "it said:\n{}", gateway.said());
}

/// Its file stays as the supervisor made it.
#[test]
fn a_unix_socket_that_the_supervisor_holds_is_taken() {
    if !is_there("socket activation by a Unix socket") {
        return;
    }
    let directory = TempDir::new().expect("a temporary directory can be made");
    let socket = directory.path().join("clients");
    let path = socket.to_str().expect("temporary paths are UTF-8");
    let first = thread::spawn({
        let socket = socket.clone();
        move || {
            let deadline = Instant::now() + PATIENCE;
            while UnixStream::connect(&socket).is_err() {
                assert!(Instant::now() < deadline, "systemd's program does not listen");
                thread::sleep(Duration::from_millis(20));
            }
            let made = std::fs::metadata(&socket).expect("it is there").permissions();
            Client::connect_by(&socket, "/stream").say(r#"{"method":"PING"}"#);
            made
        }
    });
    let gateway = Gateway::under(&[ACTIVATE, "-l", path], &format!("[[listener]]\naddress = \"unix:{path}\"\nmode = \"0600\"\n"));
    let made = first.join().expect("who connected first is served");
    assert_eq!(std::fs::metadata(&socket).expect("it is there").permissions(), made);
    Client::connect_by(&socket, "/stream").say(r#"{"method":"PING"}"#);
    gateway.stop();
}

/// Whoever connected there would wait for ever.
#[test]
fn a_socket_that_no_listener_has_is_an_error_at_the_start() {
    if !is_there("socket activation without a listener") {
        return;
    }
    let address = free_address().to_string();
    let mut child = Command::new(ACTIVATE)
        .args(["-l", &address, env!("CARGO_BIN_EXE_tidegate"), "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    let deadline = Instant::now() + PATIENCE;
    let _stream = loop {
        match TcpStream::connect(&address) {
            Ok(stream) => break stream,
            Err(_) => assert!(Instant::now() < deadline, "systemd's program does not listen"),
        }
        thread::sleep(Duration::from_millis(20));
    };
    while child.try_wait().expect("a child can be waited for").is_none() {
        if Instant::now() > deadline {
            child.kill().expect("a child can be killed");
            panic!("it serves");
        }
        thread::sleep(Duration::from_millis(20));
    }
    let output = child.wait_with_output().expect("it has ended");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains(&address) && said.contains("no [[listener]]"), "{said}");
}
