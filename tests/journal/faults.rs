//! Writes and syncs that fail now and then (`strace -e inject`): what was accepted is in the files, and nothing stands there twice.

use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::NamedTempFile;

use crate::common::{Gateway, PATIENCE, skipped};
use crate::{ALWAYS, Journal, configuration, kill};

const ACCEPTED: u64 = 40;

/// By epoll: strace sees what a pool's threads ask of the kernel, and not what a ring does.
fn accepted_under(fault: &str, refuses: bool) {
    let journal = Journal::new();
    let told = NamedTempFile::new().expect("a temporary file can be made");
    let file = told.path().to_str().expect("temporary paths are UTF-8");
    let call = fault.split(':').next().expect("a fault begins with its call");
    let (trace, inject) = (format!("trace={call}"), format!("inject={fault}"));
    let toml = format!("{}[shards]\nreactor = \"epoll\"\n", configuration(journal.path(), ALWAYS));
    let gateway = Gateway::under(&["strace", "-D", "-f", "-qq", "-o", file, "-e", &trace, "-e", &inject], &toml);
    let (mut accepted, mut refused) = (Vec::new(), 0);
    let deadline = Instant::now() + PATIENCE;
    while accepted.len() < ACCEPTED as usize {
        let data = format!("{}", accepted.len() + 1000 * refused);
        let answer = gateway.post("/api/publish", "application/json", format!("{{\"topic\":\"j.a\",\"data\":{data}}}"));
        match answer.status {
            200 => accepted.push((accepted.len() as u64 + 1, data)),
            503 => {
                refused += 1;
                thread::sleep(Duration::from_millis(20));
            }
            other => panic!("{fault}: {other}: {}", answer.text()),
        }
        assert!(Instant::now() < deadline, "{fault}: {} accepted, {refused} refused: {}", accepted.len(), gateway.said());
    }
    let happened = std::fs::read_to_string(told.path()).expect("strace writes it");
    assert!(happened.contains("(INJECTED)"), "{fault}: {happened}");
    assert_eq!([refused > 0, gateway.counter("journal_errors") > 0], [refuses; 2], "{fault}: {refused} refused");
    kill(gateway);
    assert_eq!(journal.dump("j.a"), accepted, "{fault}");
}

#[test]
fn what_was_accepted_is_in_the_files_though_calls_fail_now_and_then() {
    let has_it = Command::new("strace").arg("-V").stdout(Stdio::null()).status();
    if !has_it.is_ok_and(|status| status.success()) {
        assert!(std::env::var_os("CI").is_none(), "strace is not installed; scripts/install-test-parts installs it");
        return skipped("what_was_accepted_is_in_the_files", "strace is not installed (scripts/test installs it)");
    }
    thread::scope(|scope| {
        // Counted for each thread of the pool. A call that was interrupted is made again.
        for (fault, refuses) in [
            ("fdatasync:error=EIO:when=4+5", true),
            ("pwrite64:error=ENOSPC:when=6+7", true),
            ("pwrite64:error=EINTR:when=5+3", false),
        ] {
            scope.spawn(move || accepted_under(fault, refuses));
        }
    });
}
