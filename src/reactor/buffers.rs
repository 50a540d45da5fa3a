//! Receive buffers that the kernel picks from when bytes arrive, so that an idle client lends it none.
//!
//! Invariant: a buffer is either the kernel's (free, or filled and not yet reaped) or held by the shard, and goes back
//! exactly once.
#![allow(unsafe_code, reason = "memory that the kernel reads and writes")]

use std::io;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::IoUring;
use io_uring::types::BufRingEntry;

use super::BufferId;

/// The only group of buffers of a ring.
pub(super) const GROUP: u16 = 0;

/// Most buffers of a ring: the kernel counts them in 16 bits.
pub(super) const BUFFERS_MAX: u16 = 1 << 15;

/// A ring of provided buffers and the memory that they lie in.
#[derive(Debug)]
pub(super) struct Buffers {
    entries: Mapping,
    bytes: Mapping,
    count: u16,
    buffer_bytes: u32,
    tail: u16,
    free: usize,
    held: Box<[bool]>,
}

impl Buffers {
    /// Makes `count` (a power of two) buffers and registers them. They must be dropped after the ring.
    pub(super) fn register(ring: &IoUring, count: u16, buffer_bytes: u32) -> io::Result<Self> {
        assert!(count.is_power_of_two() && count <= BUFFERS_MAX && buffer_bytes > 0, "checked with the settings");
        let entries = Mapping::new(usize::from(count) * size_of::<BufRingEntry>())?;
        let bytes = Mapping::new(usize::from(count) * buffer_bytes as usize)?;
        // SAFETY: the mapping is page-aligned, has room for `count` entries, and outlives the ring (the owner drops it after).
        unsafe { ring.submitter().register_buf_ring_with_flags(entries.start.as_ptr() as u64, count, GROUP, 0)? };
        let held = vec![true; usize::from(count)].into_boxed_slice();
        let mut buffers = Self { entries, bytes, count, buffer_bytes, tail: 0, free: 0, held };
        for index in 0..count {
            buffers.give_back(index);
        }
        Ok(buffers)
    }

    /// Notes that the kernel filled one; it stays unavailable until released.
    pub(super) fn taken(&mut self) {
        self.free = self.free.checked_sub(1).expect("the kernel fills only buffers that it was given");
    }

    /// Hands a filled buffer to the shard.
    pub(super) fn hold(&mut self, index: u16, len: u32) -> BufferId {
        let held = &mut self.held[usize::from(index)];
        assert!(!*held, "buffer {index} was filled while the shard held it");
        *held = true;
        assert!(len <= self.buffer_bytes, "buffer {index} was filled beyond its end");
        BufferId { index, start: 0, len }
    }

    pub(super) fn slice(&mut self, buffer: BufferId) -> &mut [u8] {
        assert!(self.held[usize::from(buffer.index)], "bytes of buffer {} after its release", buffer.index);
        let end = u64::from(buffer.start) + u64::from(buffer.len);
        assert!(end <= u64::from(self.buffer_bytes), "a piece beyond the end of buffer {}", buffer.index);
        let offset = usize::from(buffer.index) * self.buffer_bytes as usize + buffer.start as usize;
        // SAFETY: inside the mapping (asserted); anonymous memory is initialised; the kernel writes only buffers that are
        // not held, and `&mut self` keeps every other slice away.
        unsafe { std::slice::from_raw_parts_mut(self.bytes.start.as_ptr().add(offset), buffer.len as usize) }
    }

    pub(super) fn release(&mut self, buffer: BufferId) {
        assert!(self.held[usize::from(buffer.index)], "buffer {} was released twice", buffer.index);
        self.give_back(buffer.index);
    }

    pub(super) fn free(&self) -> usize {
        self.free
    }

    fn give_back(&mut self, index: u16) {
        self.held[usize::from(index)] = false;
        self.free += 1;
        let place = usize::from(self.tail & (self.count - 1));
        let entries = self.entries.start.as_ptr().cast::<BufRingEntry>();
        // SAFETY: `place` is below `count`, so inside the mapping; the kernel does not read entries at or beyond the tail.
        // The setters leave the first entry's reserved field alone, which is the tail.
        unsafe {
            let entry = &mut *entries.add(place);
            entry.set_addr(self.bytes.start.as_ptr() as u64 + u64::from(index) * u64::from(self.buffer_bytes));
            entry.set_len(self.buffer_bytes);
            entry.set_bid(index);
        }
        self.tail = self.tail.wrapping_add(1);
        // SAFETY: the tail lies in the first entry, is aligned, and only we write it; the kernel reads it with acquire.
        let tail = unsafe { AtomicU16::from_ptr(BufRingEntry::tail(entries).cast_mut()) };
        tail.store(self.tail, Ordering::Release);
    }
}

/// Anonymous memory of whole pages.
#[derive(Debug)]
struct Mapping {
    start: NonNull<u8>,
    len: usize,
}

impl Mapping {
    fn new(len: usize) -> io::Result<Self> {
        // SAFETY: a new anonymous mapping touches no memory of ours.
        let start = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                len,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        Ok(Self { start: NonNull::new(start.cast()).expect("mmap gives no null without MAP_FIXED"), len })
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: mapped by `new` with this length; the owner drops it after the ring, so the kernel uses it no more.
        let result = unsafe { libc::munmap(self.start.as_ptr().cast(), self.len) };
        assert_eq!(result, 0, "a mapping of ours can be unmapped");
    }
}
