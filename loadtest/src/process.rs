//! What the kernel says of processes: how long their threads ran, their memory, how many descriptors we may hold.

use std::collections::HashMap;
use std::io;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// How long each thread of a process has run, in nanoseconds, with the soft interrupts that ran in it; by thread, with its name.
#[derive(Clone, Debug, Default)]
pub(crate) struct RunTimes(HashMap<u32, (String, u64)>);

impl RunTimes {
    /// Of all threads that there are now.
    pub(crate) fn of(pid: u32) -> io::Result<RunTimes> {
        let gone = |error: io::Error| io::Error::new(error.kind(), format!("process {pid} cannot be looked at: {error}"));
        let mut times = HashMap::new();
        for task in std::fs::read_dir(format!("/proc/{pid}/task")).map_err(gone)? {
            let path = task.map_err(gone)?.path();
            let thread = path.file_name().and_then(|name| name.to_str()).and_then(|name| name.parse().ok());
            // A thread may end while we look.
            let (Some(thread), Ok(name), Ok(run)) = (thread, std::fs::read_to_string(path.join("comm")), run_ns(&path)) else {
                continue;
            };
            times.insert(thread, (name.trim_end().to_owned(), run));
        }
        Ok(RunTimes(times))
    }

    /// The process has no thread any more.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How long each thread ran since an earlier look, the longest first.
    pub(crate) fn since(&self, earlier: &RunTimes) -> Vec<(String, u64)> {
        let before = |thread| earlier.0.get(thread).map_or(0, |(_, run)| *run);
        let mut ran: Vec<_> =
            self.0.iter().map(|(thread, (name, run))| (name.clone(), run.saturating_sub(before(thread)))).collect();
        ran.sort_by(|one, other| other.1.cmp(&one.1).then_with(|| one.0.cmp(&other.0)));
        ran
    }

    /// How long one thread ran since an earlier look.
    pub(crate) fn of_thread_since(&self, thread: u32, earlier: &RunTimes) -> u64 {
        let run = |times: &RunTimes| times.0.get(&thread).map_or(0, |(_, run)| *run);
        run(self).saturating_sub(run(earlier))
    }

    /// All threads together, since an earlier look.
    pub(crate) fn all_since(&self, earlier: &RunTimes) -> u64 {
        self.since(earlier).iter().map(|(_, run)| run).sum()
    }
}

/// proc(5), `schedstat`: "time spent on the CPU (in nanoseconds)" comes first.
fn run_ns(task: &std::path::Path) -> io::Result<u64> {
    let line = std::fs::read_to_string(task.join("schedstat"))?;
    let first = line.split(' ').next().and_then(|word| word.parse().ok());
    first.ok_or_else(|| io::Error::other("schedstat has a form that is not known"))
}

/// Bytes of a process's memory that are resident.
pub(crate) fn resident_bytes(pid: u32) -> io::Result<u64> {
    let gone = |error: io::Error| io::Error::new(error.kind(), format!("process {pid} cannot be looked at: {error}"));
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).map_err(gone)?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok());
    kib.map(|kib| kib << 10).ok_or_else(|| io::Error::other(format!("process {pid} tells no resident memory")))
}

/// Bytes that the kernel holds for all TCP sockets of this machine: what is sent and not acknowledged, received and not read.
pub(crate) fn tcp_bytes() -> Option<u64> {
    let sockstat = std::fs::read_to_string("/proc/net/sockstat").ok()?;
    let line = sockstat.lines().find_map(|line| line.strip_prefix("TCP:"))?;
    let pages: u64 = line.split(' ').skip_while(|word| *word != "mem").nth(1)?.parse().ok()?;
    Some(pages * rustix::param::page_size() as u64)
}

/// Raises the soft limit on descriptors to the hard one, and says what it is then.
pub(crate) fn raise_descriptor_limit() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    // A refusal leaves the limit as it was, which the caller compares with what it needs.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}
