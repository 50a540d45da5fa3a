//! Rows by small, dense numbers (clients by their slots, subscriptions by theirs), in chunks that never move.
//!
//! A `Vec` that grows copies all that it has and leaves the old copy to the allocator, which keeps it for a while: of rows for a
//! hundred thousand clients that is as much memory again, and a pause. Here growing makes one more chunk.
//!
//! Without: who has which row. A row that nobody has is there too, as it was made or left.

use std::ops::{Index, IndexMut};

/// Rows of a chunk, where nothing else is said: some kilobytes of those that are kept for clients.
const CHUNK_ROWS: usize = 128;

/// Rows that are made when they are first wanted and stay until all go.
#[derive(Debug)]
pub struct Slots<T, const ROWS: usize = CHUNK_ROWS> {
    chunks: Vec<Box<[T; ROWS]>>,
}

impl<T, const ROWS: usize> Slots<T, ROWS> {
    /// No rows.
    #[must_use]
    pub const fn new() -> Self {
        Slots { chunks: Vec::new() }
    }

    /// Makes rows, a chunk at a time, until that of `slot` is there.
    pub fn reserve_with(&mut self, slot: u32, mut row: impl FnMut(u32) -> T) {
        while self.len() <= slot {
            let first = self.len();
            let rows: Box<[T]> = (first..first + ROWS as u32).map(&mut row).collect();
            self.chunks.push(rows.try_into().ok().expect("as many rows as a chunk has"));
        }
    }

    /// One more than the last row's number.
    #[must_use]
    pub fn len(&self) -> u32 {
        (self.chunks.len() * ROWS) as u32
    }

    /// Whether there are no rows.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.chunks.is_empty()
    }

    /// The row, where it is there.
    #[must_use]
    pub fn get(&self, slot: u32) -> Option<&T> {
        self.chunks.get(slot as usize / ROWS).map(|chunk| &chunk[slot as usize % ROWS])
    }

    /// The row, where it is there.
    pub fn get_mut(&mut self, slot: u32) -> Option<&mut T> {
        self.chunks.get_mut(slot as usize / ROWS).map(|chunk| &mut chunk[slot as usize % ROWS])
    }
}

impl<T, const ROWS: usize> Default for Slots<T, ROWS> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T, const ROWS: usize> Index<u32> for Slots<T, ROWS> {
    type Output = T;

    /// # Panics
    /// Where the row is not there.
    fn index(&self, slot: u32) -> &T {
        &self.chunks[slot as usize / ROWS][slot as usize % ROWS]
    }
}

impl<T, const ROWS: usize> IndexMut<u32> for Slots<T, ROWS> {
    fn index_mut(&mut self, slot: u32) -> &mut T {
        &mut self.chunks[slot as usize / ROWS][slot as usize % ROWS]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_made_once_and_stay_where_they_are() {
        let mut slots: Slots<u32> = Slots::new();
        assert!(slots.is_empty() && slots.get(0).is_none());
        slots.reserve_with(CHUNK_ROWS as u32, |slot| slot);
        assert_eq!(slots.len(), 2 * CHUNK_ROWS as u32);
        let first: *const u32 = &slots[0];
        slots[3] = 77;
        slots.reserve_with(10 * CHUNK_ROWS as u32, |slot| slot);
        slots.reserve_with(0, |_| unreachable!("it is there"));
        assert_eq!((first, slots[3]), (&raw const slots[0], 77));
        let others = (0..slots.len()).filter(|slot| *slot != 3).map(|slot| slots.get(slot).copied());
        assert!(others.eq((0..slots.len()).filter(|slot| *slot != 3).map(Some)));
        assert_eq!(slots.get_mut(slots.len()), None);
    }
}
