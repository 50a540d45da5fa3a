//! What a server's process and the kernel hold, for telling what one client costs.
//!
//! Without: whose the kernel's memory is. On loopback both ends of a connection are the same kernel's, so it is told for both.

use std::collections::BTreeMap;
use std::io;

use serde_json::{Value, json};

use crate::process;

/// A look at memory.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Memory {
    /// The server's: resident, its share of what others have too, and what is of no file.
    resident: Option<[u64; 3]>,
    /// Buffers of all TCP sockets of the machine.
    tcp_bytes: Option<u64>,
    /// The kernel's own objects, sockets among them, of the whole machine.
    slab_bytes: Option<u64>,
}

/// proc(5): names in `smaps_rollup`, and what they are called here.
const RESIDENT: [(&str, &str); 3] = [("Rss:", "resident"), ("Pss:", "proportional"), ("Anonymous:", "anonymous")];

impl Memory {
    /// Looks now. Without a process only the kernel's.
    pub(crate) fn look(server_pid: Option<u32>) -> io::Result<Memory> {
        let resident = server_pid.map(resident).transpose()?;
        Ok(Memory { resident, tcp_bytes: process::tcp_bytes(), slab_bytes: slab_bytes() })
    }

    /// What came since an earlier look, and that by each of so many clients; by name.
    pub(crate) fn since(&self, earlier: &Memory, clients: u64) -> BTreeMap<String, Value> {
        let mut told = BTreeMap::new();
        let mut tell = |name: &str, before: u64, after: u64| {
            let grown = after as f64 - before as f64;
            told.insert(format!("{name}_bytes"), json!(after));
            told.insert(format!("{name}_bytes_per_client"), json!((grown / clients.max(1) as f64 * 10.0).round() / 10.0));
        };
        for (before, after) in earlier.resident.iter().zip(&self.resident) {
            for ((_, name), (before, after)) in RESIDENT.iter().zip(before.iter().zip(after)) {
                tell(&format!("server_{name}"), *before, *after);
            }
        }
        for (before, after) in earlier.tcp_bytes.iter().zip(&self.tcp_bytes) {
            tell("kernel_tcp_buffers_both_ends", *before, *after);
        }
        for (before, after) in earlier.slab_bytes.iter().zip(&self.slab_bytes) {
            tell("kernel_slab_both_ends", *before, *after);
        }
        told
    }
}

fn resident(pid: u32) -> io::Result<[u64; 3]> {
    let gone =
        |error: io::Error| io::Error::new(error.kind(), format!("the memory of process {pid} cannot be looked at: {error}"));
    let rollup = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).map_err(gone)?;
    let mut found = [0; 3];
    for (bytes, (name, _)) in found.iter_mut().zip(RESIDENT) {
        *bytes = kib_of(&rollup, name).ok_or_else(|| gone(io::Error::other(format!("smaps_rollup has no {name}"))))? << 10;
    }
    Ok(found)
}

fn slab_bytes() -> Option<u64> {
    kib_of(&std::fs::read_to_string("/proc/meminfo").ok()?, "Slab:").map(|kib| kib << 10)
}

/// The number behind a name at a line's beginning.
fn kib_of(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.trim().strip_suffix(" kB")?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_has_memory_and_what_came_is_by_client() {
        let before = Memory::look(Some(std::process::id())).expect("this process can be looked at");
        let held = vec![1_u8; 32 << 20];
        let after = Memory::look(Some(std::process::id())).expect("this process can be looked at");
        let told = after.since(&before, 1024);
        let each = told["server_anonymous_bytes_per_client"].as_f64().expect("a number");
        assert!((30_000.0..50_000.0).contains(&each), "32 MiB over 1,024 clients: {each}");
        assert_eq!(held.iter().map(|byte| u64::from(*byte)).sum::<u64>(), 32 << 20);
        assert!(told.contains_key("kernel_slab_both_ends_bytes"));
        let none = Memory::look(None).expect("the kernel can be looked at").since(&Memory::default(), 0);
        assert!(!none.contains_key("server_resident_bytes"));
    }

    #[test]
    fn names_are_found_at_the_beginning_of_a_line() {
        assert_eq!(kib_of("Rss:      1234 kB\nPss:  12 kB\nPss_Anon: 7 kB\n", "Pss:"), Some(12));
        assert_eq!(kib_of("Rss: many\n", "Rss:"), None);
    }
}
