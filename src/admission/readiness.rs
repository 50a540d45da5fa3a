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
    /// Clients of all shards that were let in: who only asks for health, or is refused, is none.
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

    /// A client was let in: it is a WebSocket or a stream of events.
    pub fn came(&self) {
        self.clients.fetch_add(1, Relaxed);
    }

    /// A client that was let in is gone.
    pub fn left(&self) {
        self.clients.fetch_sub(1, Relaxed);
    }

    /// Whether one more client would be too many, or there is no memory for more.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.is_short_of_memory() || self.clients.load(Relaxed) >= self.clients_max.load(Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn with_the_last_place_taken_it_is_full() {
        let readiness = Readiness::new(2);
        readiness.came();
        assert!(!readiness.is_full());
        readiness.came();
        assert!(readiness.is_full());
        readiness.left();
        assert!(!readiness.is_full());
        readiness.bound(1);
        assert!(readiness.is_full());
    }

    #[test]
    fn without_memory_for_more_nobody_more_is_let_in() {
        let readiness = Readiness::new(2);
        readiness.set_short_of_memory(true);
        assert!(readiness.is_full());
        readiness.set_short_of_memory(false);
        assert!(!readiness.is_full());
    }
}
