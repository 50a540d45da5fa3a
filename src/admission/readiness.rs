//! Whether new clients are taken: what `/health/ready` says, and what a client that comes all the same is told.
//!
//! One value for all shards and the control thread. Without: why a single client may not come; `arrivals` knows that.
//!
//! Invariant: clients that are there are never touched by it.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};

/// Shared by the shards, which count their clients, and the control thread.
#[derive(Debug)]
pub struct Readiness {
    serves: AtomicBool,
    /// Clients of all shards, those that are refused among them.
    clients: AtomicU32,
    clients_max: AtomicU32,
    short_of_memory: AtomicBool,
}

impl Readiness {
    /// Of a gateway that does not serve yet, and will have at most so many clients (`connections_max`).
    #[must_use]
    pub fn new(clients_max: u32) -> Readiness {
        Readiness {
            serves: AtomicBool::new(false),
            clients: AtomicU32::new(0),
            clients_max: clients_max.into(),
            short_of_memory: AtomicBool::new(false),
        }
    }

    /// There may be so many clients from now on.
    pub fn bound(&self, clients_max: u32) {
        self.clients_max.store(clients_max, Relaxed);
    }

    /// The process has more memory than it may (`memory_bytes_max`), or not any more.
    pub fn set_short_of_memory(&self, short: bool) {
        self.short_of_memory.store(short, Relaxed);
    }

    /// Whether it has: then nobody more is served.
    #[must_use]
    pub fn is_short_of_memory(&self) -> bool {
        self.short_of_memory.load(Relaxed)
    }

    /// The gateway serves from now on, or does not any more.
    pub fn serve(&self, serves: bool) {
        self.serves.store(serves, Relaxed);
    }

    /// Whether it serves.
    #[must_use]
    pub fn serves(&self) -> bool {
        self.serves.load(Relaxed)
    }

    /// A client was accepted.
    pub fn came(&self) {
        self.clients.fetch_add(1, Relaxed);
    }

    /// A client's descriptor is closed.
    pub fn left(&self) {
        self.clients.fetch_sub(1, Relaxed);
    }

    /// Whether there are more clients than may be, whoever asks among them, or no memory for more: then that one is not served.
    #[must_use]
    pub fn is_overfull(&self) -> bool {
        self.is_short_of_memory() || self.clients.load(Relaxed) > self.clients_max.load(Relaxed)
    }

    /// Whether one more client would be too many.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.is_short_of_memory() || self.clients.load(Relaxed) >= self.clients_max.load(Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_place_is_taken_and_who_comes_then_is_one_too_many() {
        let readiness = Readiness::new(2);
        readiness.came();
        assert!(!readiness.is_full() && !readiness.is_overfull());
        readiness.came();
        assert!(readiness.is_full() && !readiness.is_overfull());
        readiness.came();
        assert!(readiness.is_overfull());
        readiness.left();
        readiness.left();
        assert!(!readiness.is_full());
        readiness.bound(1);
        assert!(readiness.is_full() && !readiness.is_overfull());
    }

    #[test]
    fn without_memory_for_more_nobody_more_is_served() {
        let readiness = Readiness::new(2);
        readiness.set_short_of_memory(true);
        assert!(readiness.is_full() && readiness.is_overfull());
        readiness.set_short_of_memory(false);
        assert!(!readiness.is_full() && !readiness.is_overfull());
    }
}
