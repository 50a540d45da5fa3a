//! The one-shot accepts that are kept armed. Each has memory of its own for the peer's address: a multishot accept has one
//! for all, so that its addresses belong to nobody.
//!
//! A place that brought a client rests until more are wanted: armed again unasked, it would bring another before the shard
//! has counted the first, and `connections_max` would be passed. One that failed is armed again; at once after what
//! concerned one client only, after a pause where the error lasts (no descriptor, no memory).
//!
//! Of those who wait at a socket, in whatever process, the kernel wakes one for each client, and an accept that is cancelled before it has
//! looked takes that along. So each one that was cancelled asks once more, without waiting; else the client would stay in the queue until
//! another one comes.

use std::cell::UnsafeCell;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, IntoRawFd, RawFd};

use io_uring::types::{DestinationSlot, Fd};
use io_uring::{opcode, squeue};
use socket2::{SockAddr, SockAddrStorage};

use super::tag::{Kind, Tag};
use crate::reactor::accepting::{PAUSE_US, lasts, peer};
use crate::reactor::listener::Listener;

/// Of an accept (`IORING_ACCEPT_DONTWAIT`, Linux 6.10): it fails with `EAGAIN` where nobody waits.
const ACCEPT_DONTWAIT: u16 = 1 << 1;
/// Where an entry has its flags of that kind.
const IOPRIO_AT: usize = std::mem::offset_of!(EntryHead, ioprio);
const _: () = assert!(size_of::<squeue::Entry>() == 64);

/// How a `struct io_uring_sqe` begins.
#[repr(C)]
struct EntryHead {
    opcode: u8,
    flags: u8,
    ioprio: u16,
}

/// All places of a ring.
#[derive(Debug)]
pub(super) struct Accepts {
    listeners: Vec<Listener>,
    places: Box<[Place]>,
    /// Accepts that should be armed or pause; one fewer with each client that came.
    wanted: usize,
    paused: usize,
    direct: bool,
}

#[derive(Debug)]
struct Place {
    state: State,
    address: UnsafeCell<Address>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Idle,
    Armed,
    Cancelling,
    /// Cancelled: it asks once more and does not wait.
    Asking,
    Paused {
        until_us: u64,
    },
}

#[derive(Debug)]
struct Address {
    storage: SockAddrStorage,
    len: libc::socklen_t,
}

/// What became of an accept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Accepted {
    /// A client: the descriptor (or its index in the ring's table), where it came from, and at which listener.
    Client { descriptor: u32, peer: Option<SocketAddr>, listener: u16 },
    /// An errno.
    Failed(i32),
    /// As was asked.
    Cancelled,
}

impl Accepts {
    pub(super) fn new(listeners: Vec<Listener>, accepts_max: u16, direct: bool) -> Self {
        let place =
            || Place { state: State::Idle, address: UnsafeCell::new(Address { storage: SockAddrStorage::zeroed(), len: 0 }) };
        Self { listeners, places: (0..accepts_max).map(|_| place()).collect(), wanted: 0, paused: 0, direct }
    }

    /// Has so many armed, at least one for each listener unless none at all.
    pub(super) fn want(&mut self, armed: u16, entries: &mut impl Extend<squeue::Entry>) {
        assert!(usize::from(armed) <= self.places.len(), "{armed} accepts wanted of accepts_max {}", self.places.len());
        self.wanted = usize::from(armed);
        self.level(entries);
    }

    /// Whether any may still bring a client.
    pub(super) fn are_under_way(&self) -> bool {
        self.places.iter().any(|place| place.state != State::Idle)
    }

    /// An accept brought a client that could not be kept: another takes its place.
    pub(super) fn want_one_more(&mut self, entries: &mut impl Extend<squeue::Entry>) {
        self.wanted += 1;
        self.level(entries);
    }

    /// Cancels what is too many and arms what is missing. What is being cancelled may still bring a client and counts until
    /// that is known.
    fn level(&mut self, entries: &mut impl Extend<squeue::Entry>) {
        let mut staying = self.count(|state| matches!(state, State::Armed | State::Paused { .. }));
        for index in (0..self.places.len()).rev() {
            if staying <= self.wanted {
                break;
            }
            match self.places[index].state {
                State::Armed => entries.extend([self.cancel(index)]),
                State::Paused { .. } => {
                    self.places[index].state = State::Idle;
                    self.paused -= 1;
                }
                State::Idle | State::Cancelling | State::Asking => continue,
            }
            staying -= 1;
        }
        if self.wanted == 0 {
            return;
        }
        // The first place of each listener, where none of its places is in use.
        let listeners = self.listeners.len();
        for listener in 0..listeners {
            if self.places.iter().skip(listener).step_by(listeners).all(|place| place.state == State::Idle) {
                entries.extend([self.arm(listener)]);
            }
        }
        let mut used = self.count(|state| state != State::Idle);
        for index in 0..self.places.len() {
            // The kernel wakes those who wait at a socket in their order: each shard stands there once, or the first one has all clients.
            let is_shared = self.listeners[index % listeners].is_shared();
            if used < self.wanted && !is_shared && self.places[index].state == State::Idle {
                entries.extend([self.arm(index)]);
                used += 1;
            }
        }
    }

    fn count(&self, of: impl Fn(State) -> bool) -> usize {
        self.places.iter().filter(|place| of(place.state)).count()
    }

    /// Arms places whose pause is over.
    pub(super) fn resume(&mut self, now_us: u64, entries: &mut impl Extend<squeue::Entry>) {
        if self.paused == 0 {
            return;
        }
        for index in 0..self.places.len() {
            if matches!(self.places[index].state, State::Paused { until_us } if until_us <= now_us) {
                self.paused -= 1;
                entries.extend([self.arm(index)]);
            }
        }
    }

    /// When the next pause ends.
    pub(super) fn resume_us(&self) -> Option<u64> {
        if self.paused == 0 {
            return None;
        }
        let pauses = self.places.iter().filter_map(|place| match place.state {
            State::Paused { until_us } => Some(until_us),
            _ => None,
        });
        pauses.min()
    }

    /// An accept is done.
    pub(super) fn done(&mut self, slot: u32, result: i32, now_us: u64, entries: &mut impl Extend<squeue::Entry>) -> Accepted {
        let index = slot as usize;
        let listeners = self.listeners.len();
        let place = &mut self.places[index];
        let was = std::mem::replace(&mut place.state, State::Idle);
        assert!(matches!(was, State::Armed | State::Cancelling | State::Asking), "only an armed accept completes");
        let accepted = match result {
            0.. => {
                let listener = self.listeners[index % listeners].number();
                Accepted::Client { descriptor: result as u32, peer: place.peer(), listener }
            }
            _ if was == State::Cancelling && -result == libc::ECANCELED && self.direct => {
                entries.extend([self.ask(index)]);
                return Accepted::Cancelled;
            }
            _ if was == State::Cancelling && -result == libc::ECANCELED => self.ask_at_once(index),
            _ if was == State::Asking && -result == libc::EAGAIN => Accepted::Cancelled,
            _ => Accepted::Failed(-result),
        };
        match accepted {
            Accepted::Client { .. } => self.wanted = self.wanted.saturating_sub(1),
            Accepted::Failed(errno) if lasts(errno) && self.count(|state| state != State::Idle) < self.wanted => {
                self.places[index].state = State::Paused { until_us: now_us + PAUSE_US };
                self.paused += 1;
            }
            Accepted::Failed(_) | Accepted::Cancelled => self.level(entries),
        }
        accepted
    }

    /// The answer to a cancellation. It may have come too early to find the accept, or too late.
    pub(super) fn cancel_done(&mut self, slot: u32, result: i32, entries: &mut impl Extend<squeue::Entry>) {
        if result < 0 && self.places[slot as usize].state == State::Cancelling {
            entries.extend([self.cancel(slot as usize)]);
        }
    }

    /// Whoever waits, without waiting for them.
    fn ask(&mut self, index: usize) -> squeue::Entry {
        let mut entry = self.arm(index);
        self.places[index].state = State::Asking;
        // SAFETY: an entry is the kernel's `struct io_uring_sqe`, of which these two bytes are `ioprio`; any value may stand there.
        unsafe { (&raw mut entry).cast::<u8>().add(IOPRIO_AT).cast::<u16>().write(ACCEPT_DONTWAIT) };
        entry
    }

    /// The same without the ring, whose kernel may not know how (before Linux 6.10). Its clients are ordinary descriptors.
    fn ask_at_once(&mut self, index: usize) -> Accepted {
        let listener = &self.listeners[index % self.listeners.len()];
        match listener.never_wait().and_then(|()| listener.accept()) {
            Ok((socket, peer)) => Accepted::Client { descriptor: socket.into_raw_fd() as u32, peer, listener: listener.number() },
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => Accepted::Cancelled,
            Err(error) => Accepted::Failed(error.raw_os_error().expect("an accept fails with an errno")),
        }
    }

    fn arm(&mut self, index: usize) -> squeue::Entry {
        let descriptor: RawFd = self.listeners[index % self.listeners.len()].as_raw_fd();
        let place = &mut self.places[index];
        assert!(!matches!(place.state, State::Armed | State::Cancelling | State::Asking), "an address belongs to one accept");
        place.state = State::Armed;
        let address = place.address.get_mut();
        address.len = address.storage.size_of();
        let entry = opcode::Accept::new(Fd(descriptor), (&raw mut address.storage).cast(), &raw mut address.len);
        let entry = match self.direct {
            true => entry.file_index(Some(DestinationSlot::auto_target())),
            false => entry.flags(libc::SOCK_CLOEXEC),
        };
        entry.build().user_data(tag(Kind::Accept, index))
    }

    fn cancel(&mut self, index: usize) -> squeue::Entry {
        self.places[index].state = State::Cancelling;
        opcode::AsyncCancel::new(tag(Kind::Accept, index)).build().user_data(tag(Kind::AcceptCancel, index))
    }
}

impl Place {
    fn peer(&mut self) -> Option<SocketAddr> {
        let address = self.address.get_mut();
        let storage = std::mem::replace(&mut address.storage, SockAddrStorage::zeroed());
        // SAFETY: the accept is done, so the kernel has written an address of this length there, and writes no more until
        // the place is armed again.
        peer(&unsafe { SockAddr::new(storage, address.len) })
    }
}

fn tag(kind: Kind, index: usize) -> u64 {
    Tag { kind, generation: 0, slot: index as u32 }.encode()
}
