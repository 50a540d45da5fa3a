//! Figures from outside: the gateway's metrics, its process, the machine's TCP.

use std::time::{Duration, Instant};

use crate::common::{Gateway, PATIENCE};

/// The sum of a metric over all shards; of those lines only that bear `label`, as in `class="lag"`.
pub(crate) fn metric(gateway: &Gateway, name: &str, label: &str) -> i64 {
    let answer = gateway.get("/metrics");
    assert_eq!(answer.status, 200, "{answer:?}");
    let samples: Vec<i64> = answer.text().lines().filter_map(|line| sample(line, name, label)).collect();
    assert!(!samples.is_empty(), "there is no metric {name} with {label:?}");
    samples.iter().sum()
}

/// The value on one line of the text format: `name{labels} value`.
fn sample(line: &str, name: &str, label: &str) -> Option<i64> {
    let rest = line.strip_prefix("tidegate_")?.strip_prefix(name)?;
    let (labels, value) = rest.rsplit_once(' ')?;
    ((labels.is_empty() || labels.starts_with('{')) && labels.contains(label)).then(|| value.parse().expect("a whole number"))
}

/// Waits for a metric to have a value.
pub(crate) fn comes_to(gateway: &Gateway, name: &str, label: &str, wanted: i64) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let value = metric(gateway, name, label);
        if value == wanted {
            return;
        }
        assert!(Instant::now() < deadline, "{name} {label} stays at {value}, not {wanted}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Bytes of the gateway's memory that are resident.
pub(crate) fn resident_bytes(gateway: &Gateway) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", gateway.pid())).expect("a running process has a status");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a process has resident memory");
    let kib: u64 = line.trim().trim_end_matches(" kB").parse().expect("it is a number of kB");
    kib << 10
}

/// Bytes that the kernel holds for all TCP sockets of this machine, both ends of ours among them.
pub(crate) fn tcp_bytes() -> u64 {
    let sockstat = std::fs::read_to_string("/proc/net/sockstat").expect("Linux has it");
    let line = sockstat.lines().find_map(|line| line.strip_prefix("TCP:")).expect("there is TCP");
    let pages: u64 = line.split(' ').skip_while(|word| *word != "mem").nth(1).and_then(|word| word.parse().ok()).expect("pages");
    pages * rustix::param::page_size() as u64
}

/// MiB with a digit, for what a test prints.
pub(crate) fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}
