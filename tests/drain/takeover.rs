//! One gateway takes another one's place: no connection is refused or reset meanwhile, and nothing happens where it does not come that far.

use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tungstenite::Message;

use crate::common::{Client, Gateway, PUBLISHING};

const LEAVING: &str = "[drain]\nwindow_ms = 400\n";

/// Where gateways ask each other.
struct Meeting(TempDir);

impl Meeting {
    fn new() -> Meeting {
        Meeting(TempDir::new().expect("a temporary directory can be made"))
    }

    fn socket(&self) -> PathBuf {
        self.0.path().join("takeover")
    }

    /// Where clients of this machine connect.
    fn clients(&self) -> PathBuf {
        self.0.path().join("clients")
    }
}

fn start(meeting: &Meeting, shards: &str, flags: &[&str]) -> Gateway {
    let unix = format!("[[listener]]\naddress = \"unix:{}\"\n", meeting.clients().display());
    Gateway::taking_over(&meeting.socket(), shards, flags, &format!("{PUBLISHING}{LEAVING}{unix}"))
}

/// Clients come at a steady pace, 500 a second, a fifth of them by a Unix socket, and each is answered; from one gateway to the next,
/// whatever the number of shards, and from one reactor to the other.
#[test]
fn nobody_is_refused_or_reset_while_one_takes_the_place_of_another() {
    const THREADS: u64 = 10;
    let meeting = Meeting::new();
    let mut gateway = start(&meeting, "2", &[]);
    let address = gateway.clients;
    let (over, came) = (AtomicBool::new(false), AtomicU64::new(0));
    thread::scope(|scope| {
        let began = Instant::now();
        for number in 0..THREADS {
            let (over, came, unix) = (&over, &came, meeting.clients());
            scope.spawn(move || {
                let gap = Duration::from_millis(2 * THREADS);
                for round in 0.. {
                    if over.load(Ordering::Relaxed) {
                        return;
                    }
                    let due = gap * round + Duration::from_millis(2 * number);
                    thread::sleep(due.saturating_sub(began.elapsed()));
                    // Fails the test where it is refused or reset.
                    match number % 5 {
                        0 => comes_and_goes(Client::connect_by(&unix, "/stream")),
                        _ => comes_and_goes(Client::connect_to(address, "/stream")),
                    }
                    came.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        let finish = OnDrop(|| over.store(true, Ordering::Relaxed));
        let after = |more: u64| {
            let from = came.load(Ordering::Relaxed);
            wait_until(|| came.load(Ordering::Relaxed) >= from + more);
        };
        after(200);
        for (shards, flags) in [("1", &[][..]), ("2", &[]), ("3", &["--reactor", "epoll"]), ("2", &[])] {
            let next = start(&meeting, shards, flags);
            assert_eq!((next.clients, next.admin), (address, gateway.admin), "the ports are the same");
            after(200);
            assert_eq!(gateway.wait().code(), Some(0), "it said:\n{}", gateway.said());
            after(100);
            gateway = next;
        }
        drop(finish);
    });
    gateway.stop();
    assert!(!meeting.socket().exists(), "the last one takes its socket along");
}

fn comes_and_goes<S: Read + Write>(mut client: Client<S>) {
    is_served(&mut client);
    client.socket.close(None).ok();
}

/// It is answered; or, where the old gateway has accepted it, told and closed as those who were there.
fn is_served<S: Read + Write>(client: &mut Client<S>) {
    client.send(r#"{"method":"PING"}"#);
    let mut is_told = false;
    loop {
        match client.socket.read().expect("it is neither reset nor left alone") {
            Message::Text(text) if text.as_str().contains("\"time\":") => return,
            Message::Text(text) => is_told |= text.as_str().contains("serverShutdown"),
            Message::Close(Some(close)) if is_told => return assert_eq!(u16::from(close.code), 1012),
            other => panic!("neither an answer nor an event: {other:?}"),
        }
    }
}

struct OnDrop<F: Fn()>(F);

impl<F: Fn()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

fn wait_until(is: impl Fn() -> bool) {
    let deadline = Instant::now() + crate::common::PATIENCE;
    while !is() {
        assert!(Instant::now() < deadline, "it does not come");
        thread::sleep(Duration::from_millis(5));
    }
}

/// One that dies after it has the sockets, one that says nothing to the point, one that cannot start: the one that runs goes on as if
/// nothing had been, and gives its place to the next.
#[test]
fn who_does_not_come_to_take_the_place_changes_nothing() {
    let meeting = Meeting::new();
    let mut gateway = start(&meeting, "2", &[]);
    let mode = std::fs::metadata(meeting.socket()).expect("it is there").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let mut there = Client::connect(&gateway, "/stream");
    for said in [&message(r#"{"hello":{"version":2}}"#)[..], &message("{}"), &[0xff; 64], b""] {
        let mut stream = UnixStream::connect(meeting.socket()).expect("it listens");
        stream.write_all(said).expect("it reads");
        let mut heard = [0; 4];
        if said.first() == Some(&24) {
            stream.read_exact(&mut heard).expect("it answers");
        }
    }
    let refused = UnixStream::connect(meeting.socket()).and_then(|mut stream| {
        stream.write_all(&message(r#"{"hello":{"version":9}}"#))?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).map(|_| answer)
    });
    assert!(refused.expect("it answers").contains("version 2"));
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let address = taken.local_addr().expect("it has an address").to_string();
    assert!(failing(&meeting.socket(), &address).contains("the port is in use"));
    assert!(there.say(r#"{"method":"PING"}"#).contains("\"time\""));
    assert!(Client::connect(&gateway, "/stream").say(r#"{"method":"PING"}"#).contains("\"time\""));
    assert!(!gateway.has_ended());
    let next = start(&meeting, "2", &[]);
    assert_eq!(gateway.wait().code(), Some(0), "it said:\n{}", gateway.said());
    next.stop();
}

/// A word, as it goes over the socket.
fn message(word: &str) -> Vec<u8> {
    let length = u32::try_from(word.len() + 1).expect("it is short");
    [&length.to_le_bytes()[..], &[0], word.as_bytes()].concat()
}

/// What a gateway says that wants the place and an address that somebody else has.
fn failing(socket: &Path, address: &str) -> String {
    let binary = env!("CARGO_BIN_EXE_tidegate");
    let output = std::process::Command::new(binary)
        .args(["--listen", address, "--admin", "127.0.0.1:0", "--takeover"])
        .arg(socket)
        .output()
        .expect("the binary runs");
    assert!(!output.status.success());
    String::from_utf8_lossy(&output.stderr).into_owned()
}
