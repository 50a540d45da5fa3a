//! The eventfd by which other threads wake a shard.
//!
//! Without: how the shard hears of it. A ring has a read armed on it, an epoll set has it among what it watches.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use rustix::event::{EventfdFlags, eventfd};

use super::Waker;

/// An eventfd.
#[derive(Debug)]
pub(super) struct EventWaker(OwnedFd);

impl EventWaker {
    pub(super) fn new() -> io::Result<Self> {
        // Blocking, since io_uring would give `EAGAIN` on a non-blocking one in place of waiting.
        Ok(Self(eventfd(0, EventfdFlags::CLOEXEC)?))
    }
}

impl Waker for EventWaker {
    fn wake(&self) {
        rustix::io::write(&self.0, &1_u64.to_ne_bytes()).expect("an eventfd counts to 2^64 - 2");
    }
}

impl AsFd for EventWaker {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl AsRawFd for EventWaker {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}
