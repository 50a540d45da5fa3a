//! Receive buffers that the kernel picks from when bytes arrive, so that an idle client lends it none.
//!
//! Where the kernel can (Linux 6.12) they are incremental (`pieces`): each receive takes only the bytes that came.
//!
//! Invariant: a buffer goes back once the kernel is done with it and all of its pieces were released, and not before.
#![allow(unsafe_code, reason = "memory that the kernel reads and writes")]

use std::io;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::IoUring;
use io_uring::types::BufRingEntry;

use super::BufferId;
use super::pieces::Pieces;

/// The only group of buffers of a ring.
pub(super) const GROUP: u16 = 0;

/// `IOU_PBUF_RING_INC`; the crate keeps it to itself.
const INCREMENTAL: u16 = 2;

/// A ring of provided buffers and the memory that they lie in.
#[derive(Debug)]
pub(super) struct Buffers {
    entries: Mapping,
    bytes: Mapping,
    pieces: Pieces,
    tail: u16,
}

impl Buffers {
    /// Makes `count` (a power of two) buffers and registers them, joined to larger ones if they are to be incremental. They
    /// must be dropped after the ring.
    pub(super) fn register(ring: &IoUring, count: u16, buffer_bytes: u32, incremental: bool) -> io::Result<Self> {
        let pieces = Pieces::new(count, buffer_bytes, incremental);
        let count = pieces.count();
        let entries = Mapping::new(usize::from(count) * size_of::<BufRingEntry>())?;
        let bytes = Mapping::new(pieces.total_bytes())?;
        let flags = if incremental { INCREMENTAL } else { 0 };
        // SAFETY: the mapping is page-aligned, has room for `count` entries, and outlives the ring (the owner drops it after).
        unsafe { ring.submitter().register_buf_ring_with_flags(entries.start.as_ptr() as u64, count, GROUP, flags)? };
        let mut buffers = Self { entries, bytes, pieces, tail: 0 };
        (0..count).for_each(|index| buffers.give_back(index));
        Ok(buffers)
    }

    /// The kernel filled so many bytes of a buffer: the piece that is out from now on. `more`: as it says, it fills more of
    /// that buffer. To be called in the order in which it filled them. None: it took nothing.
    pub(super) fn taken(&mut self, index: u16, len: u32, more: bool) -> Option<BufferId> {
        let piece = self.pieces.taken(index, len)?;
        assert!(self.pieces.is_done(index) != more, "the kernel and we agree where buffer {index} ends");
        Some(piece)
    }

    pub(super) fn slice(&mut self, buffer: BufferId) -> &mut [u8] {
        let range = self.pieces.range(buffer);
        // SAFETY: inside the mapping (asserted: what was filled of a buffer is at most its size); anonymous memory is
        // initialised; the kernel writes only behind what it filled until it has the buffer anew, and `&mut self` keeps every
        // other slice away.
        unsafe { std::slice::from_raw_parts_mut(self.bytes.start.as_ptr().add(range.start), range.len()) }
    }

    pub(super) fn release(&mut self, buffer: BufferId) {
        if self.pieces.release(buffer) && self.pieces.is_done(buffer.index) {
            self.give_back(buffer.index);
        }
    }

    /// Buffers of which nothing is out, counted as they were asked for.
    pub(super) fn free(&self) -> usize {
        self.pieces.free()
    }

    fn give_back(&mut self, index: u16) {
        self.pieces.renew(index);
        let buffer_bytes = self.pieces.buffer_bytes();
        let place = usize::from(self.tail & (self.pieces.count() - 1));
        let entries = self.entries.start.as_ptr().cast::<BufRingEntry>();
        // SAFETY: `place` is below `count`, so inside the mapping; the kernel does not read entries at or beyond the tail, and
        // is done with the one that stood there.
        // The setters leave the first entry's reserved field alone, which is the tail.
        unsafe {
            let entry = &mut *entries.add(place);
            entry.set_addr(self.bytes.start.as_ptr() as u64 + u64::from(index) * u64::from(buffer_bytes));
            entry.set_len(buffer_bytes);
            entry.set_bid(index);
        }
        self.tail = self.tail.wrapping_add(1);
        // SAFETY: the tail lies in the first entry, is aligned, and only we write it; the kernel reads it with acquire.
        let tail = unsafe { AtomicU16::from_ptr(BufRingEntry::tail(entries).cast_mut()) };
        tail.store(self.tail, Ordering::Release);
    }
}

/// Anonymous memory of whole pages, resident from the start: the kernel goes through all of it sooner or later, so what is seen
/// to grow is the clients', and no first use waits for a page.
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
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_POPULATE,
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
