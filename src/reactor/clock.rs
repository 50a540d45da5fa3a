//! The two clocks, read together once a turn.
#![allow(unsafe_code, reason = "clock_gettime")]

use super::Now;

/// Reads both clocks (through the vDSO: no system call).
pub(super) fn now() -> Now {
    Now { monotonic_us: read_us(libc::CLOCK_MONOTONIC), unix_us: read_us(libc::CLOCK_REALTIME) }
}

/// The monotonic clock alone.
pub(super) fn monotonic_us() -> u64 {
    read_us(libc::CLOCK_MONOTONIC)
}

fn read_us(clock: libc::clockid_t) -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is valid for a write of a timespec.
    let result = unsafe { libc::clock_gettime(clock, &raw mut time) };
    assert_eq!(result, 0, "both clocks exist on every Linux");
    let seconds = u64::try_from(time.tv_sec).expect("neither clock is before its epoch");
    seconds * 1_000_000 + u64::try_from(time.tv_nsec).expect("below a second") / 1_000
}
