//! Receive buffers in ordinary memory, incremental: a receive takes of one what came, the next one goes on behind it.
//!
//! Without: the sockets. Invariant: there is room until every buffer is full or has pieces out to its end. A buffer whose
//! pieces are all back is filled from its beginning, and it is the next one: the memory that is still in the cache.

use crate::reactor::BufferId;
use crate::reactor::pieces::Pieces;

/// All buffers of a reactor.
#[derive(Debug)]
pub(super) struct Pool {
    bytes: Box<[u8]>,
    pieces: Pieces,
    /// Buffers that can be filled; the last one is.
    open: Vec<u16>,
}

impl Pool {
    pub(super) fn new(count: u16, buffer_bytes: u32) -> Self {
        let pieces = Pieces::new(count, buffer_bytes, true);
        let bytes = vec![0; pieces.total_bytes()].into_boxed_slice();
        Self { bytes, open: (0..pieces.count()).rev().collect(), pieces }
    }

    /// Whether anything can be received.
    pub(super) fn has_room(&self) -> bool {
        !self.open.is_empty()
    }

    /// Where the next bytes go to. Not empty while there is room.
    pub(super) fn room(&mut self) -> &mut [u8] {
        match self.open.last() {
            Some(index) => &mut self.bytes[self.pieces.room(*index)],
            None => &mut [],
        }
    }

    /// So many bytes of the room were filled, at least one.
    pub(super) fn taken(&mut self, len: usize) -> BufferId {
        let index = *self.open.last().expect("what was filled is open");
        let piece = self.pieces.taken(index, len as u32).expect("at least one byte came");
        if self.pieces.is_done(index) {
            self.open.pop();
        }
        piece
    }

    pub(super) fn slice(&mut self, buffer: BufferId) -> &mut [u8] {
        &mut self.bytes[self.pieces.range(buffer)]
    }

    pub(super) fn release(&mut self, buffer: BufferId) {
        if self.pieces.release(buffer) {
            if self.pieces.is_done(buffer.index) {
                self.open.push(buffer.index);
            }
            self.pieces.renew(buffer.index);
        }
    }

    /// Buffers of which nothing is out, counted as they were asked for.
    pub(super) fn free(&self) -> usize {
        self.pieces.free()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fill(pool: &mut Pool, bytes: &[u8]) -> BufferId {
        pool.room()[..bytes.len()].copy_from_slice(bytes);
        pool.taken(bytes.len())
    }

    /// 16 buffers of 8 bytes are four of 32.
    #[test]
    fn a_buffer_is_filled_anew_once_all_of_its_pieces_are_back() {
        let mut pool = Pool::new(16, 8);
        let (one, two) = (fill(&mut pool, b"first"), fill(&mut pool, b"second"));
        assert_eq!((one.start, two.start, two.index == one.index), (0, 5, true));
        assert_eq!((pool.slice(one).to_vec(), pool.slice(two).to_vec()), (b"first".to_vec(), b"second".to_vec()));
        assert_eq!((pool.room().len(), pool.free()), (21, 12));
        pool.release(one);
        assert_eq!((pool.room().len(), pool.free()), (21, 12), "the second piece is still out");
        pool.release(two);
        assert_eq!((pool.room().len(), pool.free()), (32, 16));
        let full: Vec<_> = (0..4).map(|_| fill(&mut pool, &[7; 32])).collect();
        assert!(!pool.has_room() && pool.room().is_empty() && pool.free() == 0);
        pool.release(full[2]);
        assert_eq!((pool.has_room(), pool.room().len(), pool.free()), (true, 32, 4));
        assert_eq!(fill(&mut pool, b"again"), BufferId { index: full[2].index, start: 0, len: 5 });
    }
}
