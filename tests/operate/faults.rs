//! Calls of the kernel that fail now and then (`strace -e inject`): the gateway serves on, and nobody misses what was published.

use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::NamedTempFile;

use crate::common::{Client, Gateway, PATIENCE, PUBLISHING, skipped};

const CLIENTS: usize = 12;
const PUBLICATIONS: u64 = 60;

/// A gateway whose calls fail as these say, with the file that tells of each; none where `strace` cannot be had.
fn failing(test: &str, reactor: &str, faults: &[&str]) -> Option<(Gateway, NamedTempFile)> {
    let has_it = Command::new("strace").arg("-V").stdout(Stdio::null()).status();
    if !has_it.is_ok_and(|status| status.success()) {
        assert!(std::env::var_os("CI").is_none(), "strace is not installed; scripts/install-test-parts installs it");
        skipped(test, "strace is not installed (scripts/test installs it)");
        return None;
    }
    // The gateway is the child, and strace its grandchild, so signals go to the gateway.
    let told = NamedTempFile::new().expect("a temporary file can be made");
    let file = told.path().to_str().expect("temporary paths are UTF-8").to_owned();
    let mut command = vec!["strace", "-D", "-f", "-qq", "-o", &file];
    let calls: Vec<&str> = faults.iter().filter_map(|fault| fault.split(':').next()).collect();
    let traced = format!("trace={}", calls.join(","));
    command.extend(["-e", &traced]);
    let injected: Vec<String> = faults.iter().map(|fault| format!("inject={fault}")).collect();
    injected.iter().for_each(|fault| command.extend(["-e", fault]));
    Some((Gateway::under(&command, &format!("{PUBLISHING}[shards]\nreactor = {reactor:?}\n")), told))
}

/// Each of the calls has failed, as was wanted.
fn have_failed(told: &NamedTempFile, faults: &[&str]) {
    let deadline = Instant::now() + PATIENCE;
    for call in faults.iter().filter_map(|fault| fault.split(':').next()) {
        let has_failed = || {
            let lines = std::fs::read_to_string(told.path()).expect("it is there");
            lines.lines().any(|line| line.contains(call) && line.contains("(INJECTED)"))
        };
        while !has_failed() {
            assert!(Instant::now() < deadline, "{call} has never failed");
            thread::sleep(Duration::from_millis(20));
        }
    }
}

fn nobody_misses_anything(gateway: &Gateway) {
    let mut clients: Vec<Client> = (0..CLIENTS).map(|_| Client::connect(gateway, "/ws/md.a")).collect();
    for number in 1..=PUBLICATIONS {
        assert_eq!(gateway.publish("md.a", &number.to_string()).1, number);
    }
    for client in &mut clients {
        for number in 1..=PUBLICATIONS {
            assert_eq!(client.text(), number.to_string());
        }
    }
}

#[test]
fn calls_that_fail_now_and_then_are_made_again() {
    let test = "calls_that_fail_now_and_then_are_made_again";
    let interrupted = ["accept4:error=EINTR:when=2+3", "epoll_wait:error=EINTR:when=5+7"];
    let rings = ["EINTR", "EAGAIN", "EBUSY"].map(|error| [format!("io_uring_enter:error={error}:when=20+11")]);
    let rings = rings.each_ref().map(|[fault]| [fault.as_str()]);
    let rings = rings.iter().map(|faults| ("io_uring", &faults[..]));
    thread::scope(|scope| {
        for (reactor, faults) in rings.chain([("epoll", &interrupted[..])]) {
            scope.spawn(move || {
                let Some((gateway, told)) = failing(test, reactor, faults) else { return };
                nobody_misses_anything(&gateway);
                gateway.stop();
                have_failed(&told, faults);
            });
        }
    });
}

/// What the machine has not got any more is waited for, counted, and told a line a second.
#[test]
fn clients_that_cannot_be_accepted_now_are_accepted_later() {
    let test = "clients_that_cannot_be_accepted_now_are_accepted_later";
    thread::scope(|scope| {
        for error in ["EMFILE", "ENFILE", "ENOBUFS", "ENOMEM"] {
            scope.spawn(move || {
                let fault = format!("accept4:error={error}:when=1+3");
                let Some((gateway, _told)) = failing(test, "epoll", &[&fault]) else { return };
                nobody_misses_anything(&gateway);
                assert!(gateway.counter("accept_failures") > 0, "{error}");
                let told = gateway.said().lines().filter(|line| line.contains("clients could not be accepted")).count();
                let failed = gateway.counter("accept_failures") as usize;
                assert!((1..=failed).contains(&told), "{error}: {told} lines of {failed}");
                gateway.stop();
            });
        }
    });
}
