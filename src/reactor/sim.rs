//! The reactor in memory: the same seam, a clock that stands still unless moved, and misfortune from a seed.
//!
//! Without: sockets, threads, the machine's clock. The same seed and the same calls give the same run, byte for byte.
//!
//! What it does on purpose: sends stop short or find the socket full though there was room, receives bring a few bytes or
//! end for no reason, completions come late and in another order among clients, connections break. Two sends of a client
//! in one turn overtake each other (their bytes arrive interleaved), so that the mistake shows as a broken stream. Other
//! mistakes of the shard (a send to a closed client, a second receive, a buffer released twice) panic with the reason.

mod dice;
mod net;
mod peer;
mod pool;
#[cfg(test)]
mod tests;

use std::cell::RefCell;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

pub use self::net::SimNet;
use self::net::World;
pub use self::peer::{PeerEnd, PeerId};
use self::pool::Pool;
use super::{BufferId, Completion, Now, Op, PIECES_MAX, QueueFull, Reactor, Send, Wait, Waker};

/// Sizes and misfortunes. Chances are in thousandths.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SimSettings {
    /// The same seed gives the same run.
    pub seed: u64,
    /// Listeners.
    pub listeners: u16,
    /// Slots: clients at once. A connection beyond is dropped, as by a full table of descriptors.
    pub slots: u32,
    /// Operations that may be queued between two turns.
    pub entries: usize,
    /// Receive buffers.
    pub receive_buffers: u16,
    /// Size of each.
    pub receive_buffer_bytes: u32,
    /// A receive takes of a buffer what came, and the next one goes on behind it; else each takes a whole one.
    pub incremental: bool,
    /// Bytes that a peer's socket takes before the gateway's is full, until [`SimNet::window`] says otherwise.
    pub window_bytes: usize,
    /// Chance that a send stops short though there was room.
    pub short_send: u32,
    /// Chance that a send finds the socket full though there was room.
    pub full: u32,
    /// Chance that a receive brings fewer bytes than there are.
    pub short_receive: u32,
    /// Chance, for each delivery, that the receive ends for no reason of ours.
    pub ended: u32,
    /// Chance that a completion comes late.
    pub delay: u32,
    /// Longest delay.
    pub delay_us_max: u32,
    /// Chance, for each delivery, that the connection breaks ([`PeerEnd::Lost`]).
    pub reset: u32,
    /// Chance, for each accept, that the client was gone already (`ECONNABORTED`).
    pub aborted: u32,
}

impl SimSettings {
    /// No misfortune: whatever there is room for is done at once.
    pub const CALM: Self = Self {
        seed: 1,
        listeners: 1,
        slots: 1 << 16,
        entries: 1024,
        receive_buffers: 256,
        receive_buffer_bytes: 4096,
        incremental: true,
        window_bytes: 1 << 16,
        short_send: 0,
        full: 0,
        short_receive: 0,
        ended: 0,
        delay: 0,
        delay_us_max: 0,
        reset: 0,
        aborted: 0,
    };

    /// All that may happen to a connection that lives on: short and full sends, crumbs, ended receives, few buffers, delays.
    pub const ROUGH: Self = Self {
        receive_buffers: 4,
        receive_buffer_bytes: 64,
        window_bytes: 4096,
        short_send: 200,
        full: 100,
        short_receive: 300,
        ended: 100,
        delay: 300,
        delay_us_max: 5_000,
        ..Self::CALM
    };
}

/// The reactor in memory.
#[derive(Debug)]
pub struct Sim {
    world: Rc<RefCell<World>>,
    buffers: Pool,
    queued: usize,
    waker: Arc<SimWaker>,
    settings: SimSettings,
}

impl Sim {
    /// A reactor and the net around it.
    #[must_use]
    pub fn new(settings: SimSettings) -> (Self, SimNet) {
        let world = Rc::new(RefCell::new(World::new(settings)));
        let sim = Self {
            world: world.clone(),
            buffers: Pool::new(settings.receive_buffers, settings.receive_buffer_bytes, settings.incremental),
            queued: 0,
            waker: Arc::default(),
            settings,
        };
        (sim, SimNet::new(world))
    }
}

impl Reactor for Sim {
    fn submit(&mut self, op: Op) -> Result<(), QueueFull> {
        if self.queued >= self.settings.entries {
            return Err(QueueFull);
        }
        self.world.borrow_mut().submit(op);
        self.queued += 1;
        Ok(())
    }

    fn turn(&mut self, sends: &[Send<'_>], wait: Wait, completions_max: usize, out: &mut Vec<Completion>) -> io::Result<Now> {
        assert!(completions_max > 0, "a turn that takes nothing in never ends");
        assert!(sends.len() <= self.settings.entries, "{} sends in one turn of at most {}", sends.len(), self.settings.entries);
        let world = &mut *self.world.borrow_mut();
        world.begin_turn();
        for send in sends {
            assert!((1..=PIECES_MAX).contains(&send.pieces.len()), "{} pieces in a send", send.pieces.len());
            assert!(send.pieces.iter().all(|piece| !piece.is_empty()), "an empty piece in a send");
            let bytes: Vec<u8> = send.pieces.iter().flat_map(|piece| piece.iter().copied()).collect();
            let outcome = world.send(send.client, &bytes);
            out.push(Completion::Sent { client: send.client, outcome });
        }
        self.queued = 0;
        world.shut_down();
        let end = out.len() + completions_max;
        let mut collect = |world: &mut World, out: &mut Vec<Completion>| {
            if out.len() < end && self.waker.0.swap(false, Ordering::AcqRel) {
                out.push(Completion::Woken);
            }
            world.collect(end, &mut self.buffers, out);
        };
        let before = out.len();
        collect(world, out);
        if let Wait::Until { monotonic_us } = wait
            && sends.is_empty()
        {
            while out.len() == before && world.sleep(monotonic_us) {
                collect(world, out);
            }
        }
        Ok(world.now())
    }

    fn bytes(&mut self, buffer: BufferId) -> &mut [u8] {
        self.buffers.slice(buffer)
    }

    fn release(&mut self, buffer: BufferId) {
        self.buffers.release(buffer);
    }

    fn buffers_free(&self) -> usize {
        self.buffers.free()
    }

    fn accepts(&self) -> bool {
        self.world.borrow().accepts()
    }

    fn waker(&self) -> Arc<dyn Waker> {
        self.waker.clone()
    }
}

/// A flag that the next turn looks at.
#[derive(Debug, Default)]
struct SimWaker(AtomicBool);

impl Waker for SimWaker {
    fn wake(&self) {
        self.0.store(true, Ordering::Release);
    }
}
