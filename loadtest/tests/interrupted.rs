//! What is told when a run does not go on as it began: a signal ends it, or handshakes fail and are tried again.

mod common;

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use self::common::gateway;

fn start(arguments: &str) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate-loadtest"));
    let command = command.args(arguments.split_whitespace()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().expect("the program starts")
}

/// Sends a signal once standard error has a line that begins like this. Status, standard output, and the rest of standard error.
fn interrupted(mut child: Child, at: &str, signal: Signal) -> (ExitStatus, String, String) {
    let mut stderr = BufReader::new(child.stderr.take().expect("it is piped"));
    let mut before = String::new();
    while !before.lines().next_back().is_some_and(|line| line.starts_with(at)) {
        assert!(stderr.read_line(&mut before).expect("lines are text") > 0, "it ended without {at:?}: {before}");
    }
    kill(Pid::from_raw(child.id() as i32), signal).expect("it runs");
    let mut said = String::new();
    stderr.read_to_string(&mut said).expect("text");
    let output = child.wait_with_output().expect("it ends");
    (output.status, String::from_utf8(output.stdout).expect("text"), said)
}

#[test]
fn a_signal_ends_every_scenario_with_its_figures() {
    let address = gateway("[limits]\nrequests_per_second = 1000\nrequests_burst = 1000\n");
    let root = format!("ws://{address}");
    let scenarios = [
        ("fanout", format!("--url {root}/ws/demo.load0 --clients 20 --rate 200")),
        ("fanout", format!("--url {root}/ws/demo.load0 --clients 20 --ping-url {root}/ws")),
        ("storm", format!("--url {root}/ws --clients 20 --rate 100")),
        ("storm", format!("--url {root}/ws --clients 20 --waves 1000000")),
        ("idle", format!("--url {root}/ws --clients 20 --settle 0")),
        ("slow", format!("--url {root}/ws/demo.slow --clients 20")),
        ("slow", format!("--url {root}/ws/demo.paced --clients 20 --pace 1000")),
        ("churn", format!("--url {root}/stream --clients 20 --rate 100")),
    ];
    for (scenario, flags) in scenarios {
        let seconds = if flags.contains("--waves") { "" } else { "--seconds 600" };
        for signal in [Signal::SIGINT, Signal::SIGTERM] {
            let child = start(&format!("{scenario} {flags} {seconds}"));
            let (status, told, said) = interrupted(child, "measuring", signal);
            assert_eq!(status.code(), Some(130), "{scenario} {flags}: {said}");
            assert!(told.starts_with(&format!("{scenario}: ws://")) && told.contains("| deliveries/s |"), "{told}");
            assert!(said.contains("interrupted after"), "{said}");
        }
    }
}

#[test]
fn a_signal_before_anything_is_measured_is_told_in_json_too() {
    // It takes connections and says nothing.
    let silent = TcpListener::bind("127.0.0.1:0").expect("there is a free port");
    let address = silent.local_addr().expect("it listens");
    let child = start(&format!("idle --url ws://{address}/ws --clients 7 --json"));
    let (_came, _) = silent.accept().expect("a client comes");
    kill(Pid::from_raw(child.id() as i32), Signal::SIGTERM).expect("it runs");
    let output = child.wait_with_output().expect("it ends");
    assert_eq!(output.status.code(), Some(130), "{output:?}");
    let told: Value = serde_json::from_slice(&output.stdout).expect("one line of JSON");
    let why = told["ended_early"].as_str().expect("it says why");
    assert!(why.contains("0 of 7 connections") && why.contains("nothing was measured yet"), "{told}");
    assert_eq!((told["deliveries"].as_u64(), told["extra"]["alive"].as_u64()), (Some(0), Some(0)), "{told}");
}

#[test]
fn the_floor_tells_the_rounds_that_are_over() {
    let child = start("floor --clients 20 --rounds 1000 --seconds 0.1 --server-core 0 --generator-core 0 --json");
    let (status, told, said) = interrupted(child, "round 3", Signal::SIGINT);
    assert_eq!(status.code(), Some(130), "{said}");
    let runs: Vec<Value> = told.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert!(runs.len() >= 4 && runs.iter().all(|run| run["ended_early"].is_null()), "{told}");
}

/// In front of a server: so many connections are answered with 408, all others go on to it.
fn refusing(refusals: usize, server: SocketAddr) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("there is a free port");
    let address = listener.local_addr().expect("it listens");
    thread::spawn(move || {
        for (nth, client) in listener.incoming().enumerate() {
            let mut client = client.expect("a connection comes");
            if nth < refusals {
                // The request first, or its arrival after the close would reset the answer.
                assert!(client.read(&mut [0; 4096]).expect("it asks") > 0);
                client.write_all(b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n").expect("it listens");
                continue;
            }
            let server = TcpStream::connect(server).expect("the gateway listens");
            pass_on(client.try_clone().expect("a descriptor"), server.try_clone().expect("a descriptor"));
            pass_on(server, client);
        }
    });
    address
}

fn pass_on(mut from: TcpStream, mut to: TcpStream) {
    thread::spawn(move || {
        // Either end may be gone by now.
        let _ = io::copy(&mut from, &mut to);
        let _ = to.shutdown(Shutdown::Write);
    });
}

#[test]
fn a_refused_idle_client_comes_again() {
    let address = refusing(3, gateway(""));
    let flags = "--clients 12 --topics-per-subscriber 2 --topics 5 --settle 0.1 --seconds 0.2 --json";
    let output = start(&format!("idle --url ws://{address}/stream {flags}")).wait_with_output().expect("it ends");
    let told: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"));
    let extra = &told["extra"];
    assert_eq!(
        (extra["alive"].as_u64(), extra["ended"].as_u64(), extra["retries"].as_u64()),
        (Some(12), Some(0), Some(3)),
        "{told}"
    );
    assert!(extra["first_retry"].as_str().is_some_and(|why| why.contains("408")), "{told}");
    // As often as is said and no more.
    let address = refusing(2, gateway(""));
    let output = start(&format!("idle --url ws://{address}/ws --clients 1 --retries 1")).wait_with_output().expect("it ends");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(2) && said.contains("408") && said.contains("tried 2 times"), "{said}");
}
