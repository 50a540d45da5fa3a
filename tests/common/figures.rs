//! Figures from outside: the gateway's metrics, its process, the machine's TCP.

use std::time::{Duration, Instant};

use super::{Gateway, PATIENCE};

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

/// Bytes that lie in the kernel for the gateway's clients: sent and not acknowledged, or received and not read. Without what
/// the kernel adds for its own bookkeeping.
pub(crate) fn kernel_bytes(gateway: &Gateway) -> u64 {
    let sockets = std::fs::read_to_string("/proc/net/tcp").expect("Linux has it");
    let port = format!(":{:04X}", gateway.clients.port());
    let queued = |line: &str| {
        // `sl: local remote state tx:rx ...`; a listening socket's are numbers of clients.
        let mut words = line.split_whitespace().skip(1);
        let (local, _, state, queues) = (words.next()?, words.next()?, words.next()?, words.next()?);
        let (sent, received) = queues.split_once(':').filter(|_| local.ends_with(&port) && state != "0A")?;
        let bytes = |hex| u64::from_str_radix(hex, 16).expect("a queue's length is hexadecimal");
        Some(bytes(sent) + bytes(received))
    };
    sockets.lines().filter_map(queued).sum()
}

/// CPU time that the gateway's threads have used so far, nanoseconds.
pub(crate) fn cpu_ns(gateway: &Gateway) -> u64 {
    let tasks = std::fs::read_dir(format!("/proc/{}/task", gateway.pid())).expect("a running process has threads");
    let used = |task: std::fs::DirEntry| {
        let line = std::fs::read_to_string(task.path().join("schedstat")).expect("Linux tells how long a thread ran");
        line.split(' ').next().and_then(|word| word.parse::<u64>().ok()).expect("nanoseconds come first")
    };
    tasks.map(|task| used(task.expect("a thread has a directory"))).sum()
}

/// MiB with a digit, for what a test prints.
pub(crate) fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}
