//! Against real loopback sockets: every check of the trait over each of the kernel's reactors, that is a ring with direct
//! descriptors and incremental buffers, one with neither, and an epoll set. Peers are blocking `std::net` sockets, in threads
//! where both sides must move.

mod accepting;
mod closing;
mod receiving;
mod sending;
mod stress;
mod unix;
mod waiting;

use std::collections::VecDeque;
use std::io::{self, IoSlice, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsFd, AsRawFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use super::epoll::Epoll;
use super::listener::{ListenSettings, Listener};
use super::uring::{Uring, UringSettings};
use super::*;

pub(super) const SIZES: ReactorSizes = ReactorSizes {
    entries: 64,
    connections_max: 256,
    accepts_max: 8,
    receive_buffers: 64,
    receive_buffer_bytes: 1024,
    bounded_send_bytes: 16 << 10,
};

const LISTEN: ListenSettings = ListenSettings { backlog: 1024, send_unsent_bytes_max: 0, send_timeout_ms: 0, nodelay: true };

/// Longer than anything here takes, however busy the machine: reaching it means that nothing happened.
pub(super) const PATIENCE_US: u64 = 120_000_000;

/// How the kernel is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    Uring { direct: bool, incremental: bool },
    Epoll,
}

/// A ring with all that a newer kernel has.
pub(super) const NEWER: Way = Way::Uring { direct: true, incremental: true };

/// A ring without it.
pub(super) const OLDER: Way = Way::Uring { direct: false, incremental: false };

const WAYS: [Way; 3] = [NEWER, OLDER, Way::Epoll];

/// One behaviour, whatever the way.
fn every(sizes: ReactorSizes, check: fn(Host)) {
    WAYS.into_iter().for_each(|way| check(Host::new(way, sizes, 1)));
}

/// One mistake of the shard: each reactor says this of it.
fn mistake(wanted: &str, make: fn(Host)) {
    for way in WAYS {
        let host = Host::new(way, SIZES, 1);
        let payload = catch_unwind(AssertUnwindSafe(|| make(host))).expect_err("a mistake that nobody saw");
        let said = payload.downcast::<String>().expect("a panic with a sentence");
        assert!(said.contains(wanted), "{said:?} of {way:?}");
    }
}

/// Any of the kernel's reactors.
pub(super) enum Kernel {
    Uring(Box<Uring>),
    Epoll(Box<Epoll>),
}

impl Kernel {
    pub(super) fn new(way: Way, sizes: ReactorSizes, listeners: Vec<Listener>) -> io::Result<Self> {
        Ok(match way {
            Way::Uring { direct, incremental } => {
                Kernel::Uring(Box::new(Uring::new(UringSettings { sizes, direct, incremental }, listeners)?))
            }
            Way::Epoll => Kernel::Epoll(Box::new(Epoll::new(sizes, listeners)?)),
        })
    }

    fn reactor(&mut self) -> &mut dyn Reactor {
        match self {
            Kernel::Uring(ring) => ring.as_mut(),
            Kernel::Epoll(set) => set.as_mut(),
        }
    }

    /// Completions that a ring's queue had no room for; an epoll set has no such queue.
    fn overflows(&self) -> u64 {
        match self {
            Kernel::Uring(ring) => ring.overflows(),
            Kernel::Epoll(_) => 0,
        }
    }
}

impl Reactor for Kernel {
    fn submit(&mut self, op: Op) -> Result<(), QueueFull> {
        self.reactor().submit(op)
    }

    fn turn(&mut self, sends: &[Send<'_>], wait: Wait, completions_max: usize, out: &mut Vec<Completion>) -> io::Result<Now> {
        self.reactor().turn(sends, wait, completions_max, out)
    }

    fn bytes(&mut self, buffer: BufferId) -> &mut [u8] {
        self.reactor().bytes(buffer)
    }

    fn release(&mut self, buffer: BufferId) {
        self.reactor().release(buffer);
    }

    fn buffers_free(&self) -> usize {
        match self {
            Kernel::Uring(ring) => ring.buffers_free(),
            Kernel::Epoll(set) => set.buffers_free(),
        }
    }

    fn accepts(&self) -> bool {
        match self {
            Kernel::Uring(ring) => ring.accepts(),
            Kernel::Epoll(set) => set.accepts(),
        }
    }

    fn waker(&self) -> Arc<dyn Waker> {
        match self {
            Kernel::Uring(ring) => ring.waker(),
            Kernel::Epoll(set) => set.waker(),
        }
    }
}

/// A reactor with the loop around it.
pub(super) struct Host {
    pub(super) reactor: Kernel,
    way: Way,
    addresses: Vec<SocketAddr>,
    pub(super) out: VecDeque<Completion>,
    pub(super) now: Now,
    completions_max: usize,
}

impl Host {
    pub(super) fn new(way: Way, sizes: ReactorSizes, listeners: usize) -> Self {
        let listeners: Vec<_> = (0..listeners)
            .map(|number| Listener::bind(([127, 0, 0, 1], 0).into(), &LISTEN).unwrap().numbered(number as u16))
            .collect();
        let addresses = listeners.iter().map(|listener| listener.address().unwrap()).collect();
        let reactor = Kernel::new(way, sizes, listeners).unwrap();
        Self { reactor, way, addresses, out: VecDeque::new(), now: clock::now(), completions_max: 16 }
    }

    /// The ring, for what only a ring can do.
    pub(super) fn ring(&mut self) -> &mut Uring {
        match &mut self.reactor {
            Kernel::Uring(ring) => ring.as_mut(),
            Kernel::Epoll(_) => panic!("asked for by a test of rings"),
        }
    }

    pub(super) fn submit(&mut self, op: Op) {
        while self.reactor.submit(op) == Err(QueueFull) {
            self.turn(&[], Wait::Poll);
        }
    }

    /// One turn; returns what the sends came to.
    pub(super) fn turn(&mut self, sends: &[Send<'_>], wait: Wait) -> Vec<SendOutcome> {
        let mut out = Vec::new();
        self.now = self.reactor.turn(sends, wait, self.completions_max, &mut out).unwrap();
        let mut others = out.split_off(sends.len());
        assert!(others.len() <= self.completions_max, "more than asked for: {others:?}");
        assert_eq!(self.reactor.overflows(), 0);
        self.out.extend(others.drain(..));
        let outcome = |(send, completion): (&Send<'_>, Completion)| match completion {
            Completion::Sent { client, outcome } if client == send.client => outcome,
            other => panic!("{other:?} for {send:?}"),
        };
        sends.iter().zip(out).map(outcome).collect()
    }

    /// The next completion; fails if none comes.
    pub(super) fn next(&mut self) -> Completion {
        let deadline = clock::monotonic_us() + PATIENCE_US;
        while self.out.is_empty() {
            self.turn(&[], Wait::Until { monotonic_us: deadline });
            assert!(self.now.monotonic_us < deadline, "nothing happened");
        }
        self.out.pop_front().unwrap()
    }

    /// What comes without waiting long.
    pub(super) fn quiet(&mut self) -> Option<Completion> {
        let deadline = clock::monotonic_us() + 50_000;
        self.turn(&[], Wait::Until { monotonic_us: deadline });
        self.out.pop_front()
    }

    /// A connected pair.
    pub(super) fn connect(&mut self) -> (ClientKey, TcpStream) {
        self.submit(Op::Accept { armed: 1 });
        let stream = TcpStream::connect(self.addresses[0]).unwrap();
        stream.set_read_timeout(Some(Duration::from_micros(PATIENCE_US))).unwrap();
        match self.next() {
            Completion::Accepted { client, peer, listener: 0 } => {
                assert_eq!(peer, Some(stream.local_addr().unwrap()));
                (client, stream)
            }
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn send(&mut self, client: ClientKey, bytes: &[u8]) -> SendOutcome {
        self.turn(&[Send { client, pieces: &[IoSlice::new(bytes)] }], Wait::Poll)[0]
    }

    /// The next completion must be bytes of this client; gives the buffer back.
    pub(super) fn received(&mut self, client: ClientKey) -> Vec<u8> {
        match self.next() {
            Completion::Received { client: whose, buffer } if whose == client => self.take(buffer),
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn take(&mut self, buffer: BufferId) -> Vec<u8> {
        let bytes = self.reactor.bytes(buffer).to_vec();
        self.reactor.release(buffer);
        bytes
    }

    pub(super) fn expect(&mut self, wanted: Completion) {
        assert_eq!(self.next(), wanted);
    }

    pub(super) fn close(&mut self, client: ClientKey) {
        self.submit(Op::Close { client, reset: false });
        self.expect(Completion::Closed(client));
    }
}

/// Bytes that tell their place, so that loss, repetition and reordering show.
pub(super) fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|place| (place ^ (place >> 8) ^ (place >> 16)) as u8).collect()
}
