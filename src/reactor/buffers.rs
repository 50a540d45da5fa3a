//! Receive buffers that the kernel picks from when bytes arrive, so that an idle client lends it none.
//!
//! Where the kernel can (Linux 6.12) they are *incremental*: neighbouring buffers are joined, each receive takes only the
//! bytes that came, and the next one goes on behind them. So a message of 16 KiB lies in one piece, and a thousand short
//! ones share what each had a buffer of its own for. Elsewhere a receive takes a whole buffer, however little came.
//!
//! Invariants:
//! - each byte of a buffer is either the kernel's or in one piece that is out (waiting to be handed over, or with the shard);
//! - a buffer goes back once the kernel is done with it and all of its pieces were released, and not before.
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

/// `IOU_PBUF_RING_INC`; the crate keeps it to itself.
const INCREMENTAL: u16 = 2;

/// Buffers are joined up to this size: a message of 16 KiB then meets a buffer's end one time in eight.
const JOINED_BYTES: u32 = 128 << 10;

/// But so many are left: while the pieces of one are out there are others.
const JOINED_COUNT_MIN: u16 = 4;

/// A ring of provided buffers and the memory that they lie in.
#[derive(Debug)]
pub(super) struct Buffers {
    entries: Mapping,
    bytes: Mapping,
    count: u16,
    buffer_bytes: u32,
    incremental: bool,
    /// How many of the buffers that were asked for one of these is.
    joined: u16,
    tail: u16,
    /// Buffers of which nothing is out.
    free: usize,
    states: Box<[State]>,
}

/// Where one buffer stands.
#[derive(Clone, Copy, Debug, Default)]
struct State {
    /// How many of its bytes the kernel has filled since it had the buffer.
    filled: u32,
    /// Pieces that are out.
    pieces: u32,
    /// The kernel fills no more of it.
    done: bool,
}

impl Buffers {
    /// Makes `count` (a power of two) buffers and registers them, joined to larger ones if they are to be incremental. They
    /// must be dropped after the ring.
    pub(super) fn register(ring: &IoUring, count: u16, buffer_bytes: u32, incremental: bool) -> io::Result<Self> {
        assert!(count.is_power_of_two() && count <= BUFFERS_MAX && buffer_bytes > 0, "checked with the settings");
        let mut joined = 1;
        while incremental && count / joined > JOINED_COUNT_MIN && u32::from(joined) * buffer_bytes < JOINED_BYTES {
            joined *= 2;
        }
        let (count, buffer_bytes) = (count / joined, u32::from(joined) * buffer_bytes);
        let entries = Mapping::new(usize::from(count) * size_of::<BufRingEntry>())?;
        let bytes = Mapping::new(usize::from(count) * buffer_bytes as usize)?;
        let flags = if incremental { INCREMENTAL } else { 0 };
        // SAFETY: the mapping is page-aligned, has room for `count` entries, and outlives the ring (the owner drops it after).
        unsafe { ring.submitter().register_buf_ring_with_flags(entries.start.as_ptr() as u64, count, GROUP, flags)? };
        let states = vec![State::default(); usize::from(count)].into_boxed_slice();
        let free = usize::from(count);
        let mut buffers = Self { entries, bytes, count, buffer_bytes, incremental, joined, tail: 0, free, states };
        for index in 0..count {
            buffers.give_back(index);
        }
        Ok(buffers)
    }

    /// The kernel filled so many bytes of a buffer: the piece that is out from now on. `more`: as it says, it fills more of
    /// that buffer. To be called in the order in which it filled them. None: it took nothing.
    pub(super) fn taken(&mut self, index: u16, len: u32, more: bool) -> Option<BufferId> {
        let state = &mut self.states[usize::from(index)];
        assert!(!state.done, "buffer {index} was filled while the shard held it");
        if self.incremental && len == 0 {
            return None;
        }
        let start = state.filled;
        assert!(len <= self.buffer_bytes - start, "buffer {index} was filled beyond its end");
        state.filled += len;
        state.done = !self.incremental || state.filled == self.buffer_bytes;
        assert!(state.done != more, "the kernel and we agree where buffer {index} ends");
        self.free -= usize::from(state.pieces == 0);
        state.pieces += 1;
        Some(BufferId { index, start, len })
    }

    pub(super) fn slice(&mut self, buffer: BufferId) -> &mut [u8] {
        let State { filled, pieces, .. } = self.states[usize::from(buffer.index)];
        assert!(pieces > 0, "bytes of buffer {} after its release", buffer.index);
        let end = u64::from(buffer.start) + u64::from(buffer.len);
        assert!(end <= u64::from(filled), "a piece beyond what was filled of buffer {}", buffer.index);
        let offset = usize::from(buffer.index) * self.buffer_bytes as usize + buffer.start as usize;
        // SAFETY: inside the mapping (asserted: `filled` is at most a buffer's size); anonymous memory is initialised; the
        // kernel writes only behind what it filled until it has the buffer anew, and `&mut self` keeps every other slice away.
        unsafe { std::slice::from_raw_parts_mut(self.bytes.start.as_ptr().add(offset), buffer.len as usize) }
    }

    pub(super) fn release(&mut self, buffer: BufferId) {
        let state = &mut self.states[usize::from(buffer.index)];
        assert!(state.pieces > 0, "a piece of buffer {} was released twice", buffer.index);
        state.pieces -= 1;
        if state.pieces > 0 {
            return;
        }
        self.free += 1;
        if state.done {
            self.give_back(buffer.index);
        }
    }

    /// Buffers of which nothing is out, counted as they were asked for.
    pub(super) fn free(&self) -> usize {
        self.free * usize::from(self.joined)
    }

    fn give_back(&mut self, index: u16) {
        self.states[usize::from(index)] = State::default();
        let place = usize::from(self.tail & (self.count - 1));
        let entries = self.entries.start.as_ptr().cast::<BufRingEntry>();
        // SAFETY: `place` is below `count`, so inside the mapping; the kernel does not read entries at or beyond the tail, and
        // is done with the one that stood there.
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
