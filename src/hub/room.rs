//! The bound on the rows that patterns give to clients that are behind: one for each of them and topic, so clients that take nothing
//! would have as many as there are topics.
//!
//! Whoever takes bytes frees them with each visit, and is never chosen. At the bound a client whose socket is full is not given one
//! more: all that it has is freed, and it is to be reset ([`Hub::take_overflowed`]). What that frees the others may use, so no more
//! clients are reset than it takes.
//!
//! Without: who is to be given a row. Freed rows are used again; their memory stays the registry's.
//!
//! Invariant: what is over the bound was given to clients whose sockets took bytes then, or by a client's own request.

use super::Hub;
use super::registry::{Registry, Rest};

/// The room for one publication's rows.
pub(super) struct Room {
    rows_max: u64,
    /// Clients that are not given theirs.
    pub(super) lost: Vec<u32>,
}

impl Room {
    pub(super) fn new(rows_max: u32) -> Room {
        Room { rows_max: rows_max.into(), lost: Vec::new() }
    }

    /// Whether the client is not given one more row.
    pub(super) fn is_none_for(&mut self, registry: &Registry, slot: u32) -> bool {
        if !registry.due.is_blocked(slot) {
            return false;
        }
        if matches!(registry.client(slot).map(|client| &client.rest), Some(Rest::Lost)) {
            return true;
        }
        if u64::from(registry.passing()) < self.rows_max {
            return false;
        }
        // Its rows are freed when all who are to hear have theirs.
        self.rows_max += registry.passing_of(slot).count() as u64;
        self.lost.push(slot);
        true
    }
}

impl Hub {
    /// Bounds the rows that patterns give to clients that are behind, over all of them. Beyond, a client whose socket is full
    /// ([`DueSet::block`](super::DueSet::block)) is to be reset in place of being given one more: see [`Hub::take_overflowed`].
    pub fn bound_pattern_rows(&mut self, rows_max: u32) {
        self.pattern_rows_max = rows_max;
    }

    /// Rows that patterns gave to clients that are behind.
    #[must_use]
    pub fn pattern_rows(&self) -> u32 {
        self.registry.passing()
    }

    /// Frees what patterns gave the client, which is to be reset: nothing is sent to it any more.
    pub(super) fn give_up(&mut self, slot: u32) {
        self.forget_rest(slot);
        self.registry.client_mut(slot).expect("it is subscribed").rest = Rest::Lost;
        self.rests.overflowed.push(slot);
        // Off the due chain all at once: unlinking each row from it would be quadratic.
        let topics = &mut self.topics;
        self.registry.clear_noted(slot, |topic| topics.get_mut(topic).noted -= 1);
        let rows: Vec<u32> = self.registry.passing_of(slot).collect();
        rows.into_iter().for_each(|row| self.retire(row));
    }
}
