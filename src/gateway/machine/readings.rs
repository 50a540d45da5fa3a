//! What the machine says of itself: `/proc`, the control group, limits of the process.
//!
//! Without: what it is compared with. Where a file is not there, or says something else than on Linux, that part is not known.

use std::fs;
use std::path::{Path, PathBuf};

use rustix::param::page_size;
use rustix::process::{Resource, getrlimit};

use super::{Giver, Machine, Memory};

/// What this machine gives now.
pub(in crate::gateway) fn machine() -> Machine {
    let meminfo = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let group = group();
    let space = getrlimit(Resource::As).current;
    let bounds = [
        kib_of("MemTotal:", &meminfo).map(|bytes| Memory { bytes, giver: Giver::Machine }),
        group.map(|(bytes, _)| Memory { bytes, giver: Giver::Group }),
        space.map(|bytes| Memory { bytes, giver: Giver::AddressSpace }),
    ];
    let free = [kib_of("MemAvailable:", &meminfo), group.map(|(max, used)| max.saturating_sub(used)), space];
    Machine {
        memory: bounds.into_iter().flatten().min_by_key(|memory| memory.bytes),
        available_bytes: free.into_iter().flatten().min(),
        descriptors_max: getrlimit(Resource::Nofile).maximum,
        tcp_bytes: three(&read("/proc/sys/net/ipv4/tcp_mem"))
            .map(|pages| pages.map(|count| count.saturating_mul(page_size() as u64))),
        backlog_max: read("/proc/sys/net/core/somaxconn").trim().parse().ok(),
        ports: ports(&read("/proc/sys/net/ipv4/ip_local_port_range")),
    }
}

/// Memory of this process that is in the machine's: what the machine, or the control group, counts against it, but for its sockets.
pub(in crate::gateway) fn resident_bytes() -> Option<u64> {
    let statm = read("/proc/self/statm");
    Some(statm.split(' ').nth(1)?.parse::<u64>().ok()?.saturating_mul(page_size() as u64))
}

fn read(path: impl AsRef<Path>) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

/// A line of `/proc/meminfo`, in bytes.
fn kib_of(name: &str, meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix(name))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? << 10)
}

fn three(text: &str) -> Option<[u64; 3]> {
    let numbers: Vec<u64> = text.split_whitespace().map(str::parse).collect::<Result<_, _>>().ok()?;
    numbers.try_into().ok()
}

fn ports(text: &str) -> Option<u32> {
    let mut ends = text.split_whitespace().map(|port| port.parse::<u32>().ok());
    let (first, last) = (ends.next()??, ends.next()??);
    Some((last + 1).saturating_sub(first))
}

/// The least memory that a control group around this process may have, and what is used of it.
fn group() -> Option<(u64, u64)> {
    let groups = read("/proc/self/cgroup");
    group_directories(&groups).into_iter().filter_map(|(directory, names)| bounded(&directory, names)).min()
}

/// Names of the files of a group: its bound, what is used.
type Names = [&'static str; 2];
const V2: Names = ["memory.max", "memory.current"];
const V1: Names = ["memory.limit_in_bytes", "memory.usage_in_bytes"];

/// Directories of this process' groups and of all around them; in a container its own is mounted at the root.
fn group_directories(groups: &str) -> Vec<(PathBuf, Names)> {
    let mut found = Vec::new();
    for line in groups.lines() {
        let mut parts = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else { continue };
        let (root, names) = match controllers {
            "" => ("/sys/fs/cgroup", V2),
            "memory" => ("/sys/fs/cgroup/memory", V1),
            _ => continue,
        };
        let path = Path::new(path.trim_start_matches('/'));
        found.extend(path.ancestors().map(|path| (Path::new(root).join(path), names)));
    }
    found
}

/// None where the group has no bound: `max`, or in version 1 a number beyond all memory.
fn bounded(directory: &Path, [max, used]: Names) -> Option<(u64, u64)> {
    const BEYOND: u64 = 1 << 60;
    let max: u64 = read(directory.join(max)).trim().parse().ok().filter(|max| *max < BEYOND)?;
    Some((max, read(directory.join(used)).trim().parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_proc_are_read() {
        let meminfo = "MemTotal:       16316412 kB\nMemFree:         1 kB\nMemAvailable:    8158206 kB\n";
        assert_eq!(kib_of("MemTotal:", meminfo), Some(16_316_412 << 10));
        assert_eq!(kib_of("MemAvailable:", meminfo), Some(8_158_206 << 10));
        assert_eq!(kib_of("SwapTotal:", meminfo), None);
        assert_eq!(three("287898\t383867\t575796\n"), Some([287_898, 383_867, 575_796]));
        assert_eq!((three("1 2"), three("a b c")), (None, None));
        assert_eq!(ports("32768\t60999\n"), Some(28_232));
        assert_eq!((ports(""), ports("9"), ports("9 1")), (None, None, Some(0)));
    }

    #[test]
    fn a_group_and_all_around_it_are_looked_at() {
        let paths = |groups: &str| -> Vec<String> {
            group_directories(groups).into_iter().map(|(path, names)| format!("{}/{}", path.display(), names[0])).collect()
        };
        assert_eq!(
            paths("0::/system.slice/tidegate.service\n"),
            [
                "/sys/fs/cgroup/system.slice/tidegate.service/memory.max",
                "/sys/fs/cgroup/system.slice/memory.max",
                "/sys/fs/cgroup//memory.max"
            ]
        );
        assert_eq!(
            paths("8:memory:/a\n1:cpu:/b\nnonsense\n"),
            ["/sys/fs/cgroup/memory/a/memory.limit_in_bytes", "/sys/fs/cgroup/memory//memory.limit_in_bytes"]
        );
    }

    #[test]
    fn a_group_without_a_bound_bounds_nothing() {
        let directory = tempfile::tempdir().expect("a temporary directory can be made");
        let write = |name: &str, text: &str| fs::write(directory.path().join(name), text).expect("it can be written");
        assert_eq!(bounded(directory.path(), V2), None);
        write("memory.current", "7\n");
        for (max, expected) in [("max\n", None), ("9223372036854771712\n", None), ("4096\n", Some((4096, 7)))] {
            write("memory.max", max);
            assert_eq!(bounded(directory.path(), V2), expected, "{max}");
        }
    }

    #[test]
    fn this_machine_tells() {
        let machine = machine();
        assert!(machine.memory.is_some_and(|memory| memory.bytes > 1 << 20) && machine.available_bytes.is_some());
        assert!(
            machine.descriptors_max.is_some_and(|most| most > 0) && machine.tcp_bytes.is_some_and(|[low, .., most]| low <= most)
        );
        assert!(machine.backlog_max.is_some() && machine.ports.is_some());
        let before = resident_bytes().expect("Linux tells it");
        let taken = vec![1u8; 32 << 20];
        assert!(resident_bytes().is_some_and(|now| now > before.min(32 << 20)), "{}", taken.len());
    }
}
