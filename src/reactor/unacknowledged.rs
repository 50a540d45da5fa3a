//! How many bytes a peer's TCP has not acknowledged, asked by a call of its own: what a ring asks by an operation.
#![allow(unsafe_code, reason = "the kernel writes the number into our memory")]

use std::ffi::c_int;
use std::os::fd::AsFd;

use rustix::ioctl::{Getter, ioctl};

/// `SIOCOUTQ` of Linux is `TIOCOUTQ`.
const SIOCOUTQ: u32 = libc::TIOCOUTQ as u32;

/// None: the kernel cannot tell.
pub(super) fn unacknowledged(socket: impl AsFd) -> Option<u32> {
    // SAFETY: SIOCOUTQ writes one int (tcp(7)), which is what `Getter` gives it room for.
    let asked = unsafe { ioctl(socket, Getter::<SIOCOUTQ, c_int>::new()) };
    asked.ok().and_then(|bytes| u32::try_from(bytes).ok())
}
