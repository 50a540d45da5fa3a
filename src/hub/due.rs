//! Which clients the sweep visits: those that want something and whose sockets take bytes.
//!
//! Two bitmaps by slot: a client is due while it is wanting and not blocked. Marking is an OR, walking in slot order is a
//! count of trailing zeros; both counts are kept, so that "is anyone due" costs nothing.
//!
//! Without: what a client wants, and why its socket is full.

/// Clients by slot: wanting, blocked, due.
#[derive(Debug, Default)]
pub struct DueSet {
    wanting: Vec<u64>,
    blocked: Vec<u64>,
    due_count: usize,
    blocked_count: usize,
}

impl DueSet {
    /// Makes room for the slot, so that marking it allocates nothing.
    pub fn reserve(&mut self, slot: u32) {
        let words = slot as usize / 64 + 1;
        if words > self.wanting.len() {
            self.wanting.resize(words, 0);
            self.blocked.resize(words, 0);
        }
    }

    /// The client wants something.
    pub fn mark(&mut self, slot: u32) {
        self.reserve(slot);
        self.mark_word(slot / 64, 1 << (slot % 64));
    }

    /// The clients whose bits are set want something: those of the slots `64 * word` and up, which were reserved.
    pub(super) fn mark_word(&mut self, word: u32, bits: u64) {
        let wanting = &mut self.wanting[word as usize];
        let fresh = bits & !*wanting;
        *wanting |= bits;
        self.due_count += (fresh & !self.blocked[word as usize]).count_ones() as usize;
    }

    /// The client wants nothing: a visit that leaves nothing due ends in it, and its end.
    pub fn unmark(&mut self, slot: u32) {
        let (word, bit) = place(slot);
        if let Some(wanting) = self.wanting.get_mut(word) {
            let gone = bit & *wanting;
            *wanting &= !bit;
            self.due_count -= usize::from(gone & !self.blocked[word] != 0);
        }
    }

    /// The client's socket is full: it is not due until [`DueSet::unblock`].
    pub fn block(&mut self, slot: u32) {
        self.reserve(slot);
        let (word, bit) = place(slot);
        let fresh = bit & !self.blocked[word];
        self.blocked[word] |= bit;
        self.blocked_count += usize::from(fresh != 0);
        self.due_count -= usize::from(fresh & self.wanting[word] != 0);
    }

    /// The client's socket takes bytes again.
    pub fn unblock(&mut self, slot: u32) {
        let (word, bit) = place(slot);
        if let Some(blocked) = self.blocked.get_mut(word) {
            let gone = bit & *blocked;
            *blocked &= !bit;
            self.blocked_count -= usize::from(gone != 0);
            self.due_count += usize::from(gone & self.wanting[word] != 0);
        }
    }

    /// Whether the client is marked.
    #[must_use]
    pub fn is_wanting(&self, slot: u32) -> bool {
        let (word, bit) = place(slot);
        self.wanting.get(word).is_some_and(|wanting| wanting & bit != 0)
    }

    /// Whether the client is blocked.
    #[must_use]
    pub fn is_blocked(&self, slot: u32) -> bool {
        let (word, bit) = place(slot);
        self.blocked.get(word).is_some_and(|blocked| blocked & bit != 0)
    }

    /// The first due client at this slot or above it; the caller wraps round.
    #[must_use]
    pub fn next_from(&self, slot: u32) -> Option<u32> {
        if self.due_count == 0 {
            return None;
        }
        let (first, bit) = place(slot);
        let mut above = !(bit - 1);
        for word in first..self.wanting.len() {
            let due = self.wanting[word] & !self.blocked[word] & above;
            if due != 0 {
                return Some((word * 64) as u32 + due.trailing_zeros());
            }
            above = u64::MAX;
        }
        None
    }

    /// The blocked clients in slot order.
    pub fn blocked(&self) -> impl Iterator<Item = u32> {
        self.blocked.iter().enumerate().flat_map(|(word, &bits)| {
            let without_lowest = |bits: &u64| Some(bits & bits.wrapping_sub(1));
            let rests = std::iter::successors(Some(bits), without_lowest).take_while(|bits| *bits != 0);
            rests.map(move |bits| (word * 64) as u32 + bits.trailing_zeros())
        })
    }

    /// How many clients are due.
    #[must_use]
    pub fn due_count(&self) -> usize {
        self.due_count
    }

    /// How many clients are blocked.
    #[must_use]
    pub fn blocked_count(&self) -> usize {
        self.blocked_count
    }
}

fn place(slot: u32) -> (usize, u64) {
    (slot as usize / 64, 1 << (slot % 64))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn equals_two_sets(operations in prop::collection::vec((0..5u8, 0..300u32), 1..200)) {
            let mut due = DueSet::default();
            let (mut wanting, mut blocked) = (BTreeSet::new(), BTreeSet::new());
            for (operation, slot) in operations {
                match operation {
                    0 => { due.mark(slot); wanting.insert(slot); }
                    1 => { due.unmark(slot); wanting.remove(&slot); }
                    2 => { due.block(slot); blocked.insert(slot); }
                    3 => { due.unblock(slot); blocked.remove(&slot); }
                    _ => {}
                }
                let both: BTreeSet<u32> = wanting.difference(&blocked).copied().collect();
                prop_assert_eq!(due.next_from(slot), both.range(slot..).next().copied());
                prop_assert_eq!(due.due_count(), both.len());
                prop_assert_eq!(due.blocked_count(), blocked.len());
                prop_assert!(due.blocked().eq(blocked.iter().copied()));
                prop_assert_eq!((due.is_wanting(slot), due.is_blocked(slot)), (wanting.contains(&slot), blocked.contains(&slot)));
            }
        }
    }
}
