//! When a slow reader reads: in stretches between which it stalls, or so many bytes a second.
//!
//! Without: sockets. It says until when a reader is to be left alone, and the load stalls and resumes it.

use super::Arguments;

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Reading {
    Stretches {
        stall_ns: u64,
        /// None: once it stalls it reads no more before the end.
        read_ns: Option<u64>,
    },
    Pace {
        bytes_per_second: f64,
    },
}

impl Reading {
    pub(super) fn of(arguments: &Arguments) -> Reading {
        let ns = |seconds: f64| (seconds * 1e9) as u64;
        match arguments.pace {
            Some(bytes_per_second) => Reading::Pace { bytes_per_second },
            None => Reading::Stretches {
                stall_ns: ns(arguments.stall),
                read_ns: Some(ns(arguments.read)).filter(|read_ns| *read_ns > 0),
            },
        }
    }

    /// When the first turn of one of so many readers is, after the beginning: they do not all stall at the same moment. None: not
    /// before it has read too much.
    pub(super) fn first_turn_ns(self, reader: usize, readers: usize) -> Option<u64> {
        let Reading::Stretches { stall_ns, read_ns } = self else { return None };
        let cycle_ns = (stall_ns + read_ns.unwrap_or(0)) as f64;
        Some((cycle_ns * reader as f64 / readers as f64) as u64)
    }

    /// How long it reads once it does; none if that depends on what comes.
    pub(super) fn reads_ns(self) -> Option<u64> {
        match self {
            Reading::Stretches { read_ns, .. } => Some(read_ns.unwrap_or(u64::MAX / 2)),
            Reading::Pace { .. } => None,
        }
    }

    /// How long it stalls once a stretch is over.
    pub(super) fn stalls_ns(self) -> u64 {
        match self {
            Reading::Stretches { stall_ns, read_ns: Some(_) } => stall_ns,
            Reading::Stretches { read_ns: None, .. } => u64::MAX / 2,
            Reading::Pace { .. } => 0,
        }
    }

    /// It had so many bytes, being due to read until `due_ns` for what it had before; until when is it due now? Time in which
    /// nothing came is not made up for.
    pub(super) fn due_ns(self, due_ns: u64, now_ns: u64, bytes: usize) -> u64 {
        match self {
            Reading::Stretches { .. } => now_ns,
            Reading::Pace { bytes_per_second } => due_ns.max(now_ns) + (bytes as f64 / bytes_per_second * 1e9) as u64,
        }
    }

    /// `SO_RCVBUF` of a slow reader's socket, where the kernel's own choice would hide that it is slow: a fifth of a second of what
    /// it reads, so that it reads in small pieces.
    pub(super) fn receive_buffer_bytes(self) -> Option<u32> {
        match self {
            Reading::Stretches { .. } => None,
            Reading::Pace { bytes_per_second } => Some((bytes_per_second / 5.0).clamp(4096.0, 1_048_576.0) as u32),
        }
    }
}

#[test]
fn a_pace_is_kept_on_the_average() {
    let pace = Reading::Pace { bytes_per_second: 1000.0 };
    let mut due_ns = 0;
    for bytes in [100, 300, 600] {
        due_ns = pace.due_ns(due_ns, 0, bytes);
    }
    assert_eq!(due_ns, 1_000_000_000);
    assert_eq!(pace.due_ns(due_ns, 5_000_000_000, 1), 5_001_000_000, "nothing came for four seconds");
    assert_eq!((pace.first_turn_ns(3, 5), pace.reads_ns()), (None, None));
}

#[test]
fn stretches_take_turns() {
    let stretches = Reading::Stretches { stall_ns: 30, read_ns: Some(10) };
    assert_eq!((stretches.reads_ns(), stretches.stalls_ns()), (Some(10), 30));
    assert_eq!([0, 1, 3].map(|reader| stretches.first_turn_ns(reader, 4)), [Some(0), Some(10), Some(30)]);
    let never = Reading::Stretches { stall_ns: 30, read_ns: None };
    assert!(never.stalls_ns() > 1 << 60, "it reads no more");
}
