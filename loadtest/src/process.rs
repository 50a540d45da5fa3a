//! What the kernel says of processes: their CPU time, their memory, how many descriptors we may hold.

use std::io;
use std::time::Duration;

use rustix::param::clock_ticks_per_second;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// User and system time of a process so far, all its threads, with the soft interrupts that ran in it.
pub(crate) fn cpu_time(pid: u32) -> io::Result<Duration> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // proc(5): the second field is the name in parentheses, which may hold anything; utime and stime are the 14th and 15th.
    let after_name = stat.rfind(')').map_or("", |at| &stat[at + 1..]);
    let mut fields = after_name.split_ascii_whitespace().skip(11).map_while(|field| field.parse::<u64>().ok());
    let (Some(user), Some(system)) = (fields.next(), fields.next()) else {
        return Err(io::Error::other("/proc/PID/stat has a form that is not known"));
    };
    Ok(Duration::from_nanos((user + system) * 1_000_000_000 / clock_ticks_per_second()))
}

/// Raises the soft limit on descriptors to the hard one, and says what it is then.
pub(crate) fn raise_descriptor_limit() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    // A refusal leaves the limit as it was, which the caller compares with what it needs.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}
