//! Receive buffers in memory. Each piece is remembered, so that one which is released twice, read after its release or
//! never given back shows.

use std::collections::VecDeque;

use crate::reactor::BufferId;

/// All buffers of a reactor.
#[derive(Debug)]
pub(super) struct Pool {
    buffers: Box<[Buffer]>,
    buffer_bytes: usize,
    incremental: bool,
    /// Buffers that can be filled, in the order in which they are.
    given: VecDeque<u16>,
}

#[derive(Clone, Debug, Default)]
struct Buffer {
    bytes: Vec<u8>,
    /// The first byte of each piece that is out.
    pieces: Vec<u32>,
}

impl Pool {
    pub(super) fn new(count: u16, buffer_bytes: u32, incremental: bool) -> Self {
        let buffers = vec![Buffer::default(); usize::from(count)].into();
        Self { buffers, buffer_bytes: buffer_bytes as usize, incremental, given: (0..count).collect() }
    }

    /// Most bytes that the next piece can have; 0: no buffer is left.
    pub(super) fn room(&self) -> usize {
        self.given.front().map_or(0, |index| self.buffer_bytes - self.buffers[usize::from(*index)].bytes.len())
    }

    /// Fills a piece with at least one byte, and at most the room there is.
    pub(super) fn fill(&mut self, bytes: impl Iterator<Item = u8>) -> BufferId {
        let index = *self.given.front().expect("there is room");
        let buffer = &mut self.buffers[usize::from(index)];
        let start = buffer.bytes.len();
        buffer.bytes.extend(bytes);
        let end = buffer.bytes.len();
        assert!((start + 1..=self.buffer_bytes).contains(&end), "a piece of {} bytes", end - start);
        buffer.pieces.push(start as u32);
        if !self.incremental || end == self.buffer_bytes {
            self.given.pop_front();
        }
        BufferId { index, start: start as u32, len: (end - start) as u32 }
    }

    pub(super) fn slice(&mut self, piece: BufferId) -> &mut [u8] {
        let buffer = &mut self.buffers[usize::from(piece.index)];
        assert!(buffer.pieces.contains(&piece.start), "bytes of a buffer after its release");
        &mut buffer.bytes[piece.start as usize..][..piece.len as usize]
    }

    /// Takes a piece back. A buffer is given anew once none of its pieces is out and nothing more is filled into it.
    pub(super) fn release(&mut self, piece: BufferId) {
        let buffer = &mut self.buffers[usize::from(piece.index)];
        let place = buffer.pieces.iter().position(|start| *start == piece.start);
        buffer.pieces.swap_remove(place.unwrap_or_else(|| panic!("buffer {} was released twice", piece.index)));
        // What reads on in spite of that reads nonsense.
        buffer.bytes[piece.start as usize..][..piece.len as usize].fill(0xdd);
        if buffer.pieces.is_empty() && !self.given.contains(&piece.index) {
            buffer.bytes.clear();
            self.given.push_back(piece.index);
        }
    }

    /// Buffers of which no piece is out.
    pub(super) fn free(&self) -> usize {
        self.buffers.iter().filter(|buffer| buffer.pieces.is_empty()).count()
    }
}
