//! Which bytes of which receive buffer are out.
//!
//! Where buffers are *incremental*, neighbouring ones are joined, each receive takes only the bytes that came, and the next
//! one goes on behind them. So a message of 16 KiB lies in one piece, and a thousand short ones share what each had a buffer
//! of its own for. Else a receive takes a whole buffer, however little came.
//!
//! Without: the memory itself, and who fills it. Invariants:
//! - each byte of a buffer is either to be filled or in one piece that is out (waiting to be handed over, or with the shard);
//! - a buffer is renewed once all of its pieces were released, and not before.

use std::ops::Range;

use super::BufferId;

/// Most buffers of a reactor: a ring counts them in 16 bits.
pub(super) const BUFFERS_MAX: u16 = 1 << 15;

/// Buffers are joined up to this size: a message of 16 KiB then meets a buffer's end one time in eight.
const JOINED_BYTES: u32 = 128 << 10;

/// But so many are left: while the pieces of one are out there are others.
const JOINED_COUNT_MIN: u16 = 4;

/// Where each buffer stands.
#[derive(Debug)]
pub(super) struct Pieces {
    count: u16,
    buffer_bytes: u32,
    incremental: bool,
    /// How many of the buffers that were asked for one of these is.
    joined: u16,
    /// Buffers of which nothing is out.
    free: usize,
    states: Box<[State]>,
}

/// Where one buffer stands.
#[derive(Clone, Copy, Debug, Default)]
struct State {
    /// How many of its bytes were filled since it was new.
    filled: u32,
    /// Pieces that are out.
    pieces: u32,
    /// No more of it is filled.
    done: bool,
}

impl Pieces {
    /// Of `count` (a power of two) buffers, joined to larger ones if they are to be incremental.
    pub(super) fn new(count: u16, buffer_bytes: u32, incremental: bool) -> Self {
        assert!(count.is_power_of_two() && count <= BUFFERS_MAX && buffer_bytes > 0, "checked with the sizes");
        let mut joined = 1;
        while incremental && count / joined > JOINED_COUNT_MIN && u32::from(joined) * buffer_bytes < JOINED_BYTES {
            joined *= 2;
        }
        let (count, buffer_bytes) = (count / joined, u32::from(joined) * buffer_bytes);
        let states = vec![State::default(); usize::from(count)].into_boxed_slice();
        Self { count, buffer_bytes, incremental, joined, free: usize::from(count), states }
    }

    /// How many buffers there are, joined.
    pub(super) fn count(&self) -> u16 {
        self.count
    }

    /// Size of each.
    pub(super) fn buffer_bytes(&self) -> u32 {
        self.buffer_bytes
    }

    /// Of all buffers.
    pub(super) fn total_bytes(&self) -> usize {
        usize::from(self.count) * self.buffer_bytes as usize
    }

    /// So many bytes of a buffer were filled: the piece that is out from now on. To be called in the order in which they
    /// were filled. None: nothing was taken.
    pub(super) fn taken(&mut self, index: u16, len: u32) -> Option<BufferId> {
        let state = &mut self.states[usize::from(index)];
        assert!(!state.done, "buffer {index} was filled while the shard held it");
        if self.incremental && len == 0 {
            return None;
        }
        let start = state.filled;
        assert!(len <= self.buffer_bytes - start, "buffer {index} was filled beyond its end");
        state.filled += len;
        state.done = !self.incremental || state.filled == self.buffer_bytes;
        self.free -= usize::from(state.pieces == 0);
        state.pieces += 1;
        Some(BufferId { index, start, len })
    }

    /// Whether no more of a buffer is filled before it is renewed.
    pub(super) fn is_done(&self, index: u16) -> bool {
        self.states[usize::from(index)].done
    }

    /// What of a buffer can be filled: a part of all buffers' bytes, one behind the other.
    pub(super) fn room(&self, index: u16) -> Range<usize> {
        let start = usize::from(index) * self.buffer_bytes as usize;
        start + self.states[usize::from(index)].filled as usize..start + self.buffer_bytes as usize
    }

    /// Where a piece lies: a part of all buffers' bytes, one behind the other.
    pub(super) fn range(&self, buffer: BufferId) -> Range<usize> {
        let State { filled, pieces, .. } = self.states[usize::from(buffer.index)];
        assert!(pieces > 0, "bytes of buffer {} after its release", buffer.index);
        let end = u64::from(buffer.start) + u64::from(buffer.len);
        assert!(end <= u64::from(filled), "a piece beyond what was filled of buffer {}", buffer.index);
        let start = usize::from(buffer.index) * self.buffer_bytes as usize + buffer.start as usize;
        start..start + buffer.len as usize
    }

    /// Takes a piece back; true where it was the last of its buffer that was out.
    pub(super) fn release(&mut self, buffer: BufferId) -> bool {
        let state = &mut self.states[usize::from(buffer.index)];
        assert!(state.pieces > 0, "a piece of buffer {} was released twice", buffer.index);
        state.pieces -= 1;
        self.free += usize::from(state.pieces == 0);
        state.pieces == 0
    }

    /// It is filled from its beginning on.
    pub(super) fn renew(&mut self, index: u16) {
        let state = &mut self.states[usize::from(index)];
        assert_eq!(state.pieces, 0, "buffer {index} is filled anew while a piece of it is out");
        *state = State::default();
    }

    /// Buffers of which nothing is out, counted as they were asked for.
    pub(super) fn free(&self) -> usize {
        self.free * usize::from(self.joined)
    }
}
