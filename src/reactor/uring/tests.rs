//! Against real loopback sockets; every check over direct descriptors and incremental buffers, and over neither. Peers are blocking `std::net`
//! sockets, in threads where both sides must move.

mod accepting;
mod adopting;
mod closing;
mod receiving;
mod sending;
mod stress;
mod waiting;

use std::io::{IoSlice, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use super::*;
use crate::reactor::listener::ListenSettings;
use crate::reactor::{Reactor, ReceiveEnd};

const SETTINGS: UringSettings = UringSettings {
    entries: 64,
    connections_max: 256,
    accepts_max: 8,
    receive_buffers: 64,
    receive_buffer_bytes: 1024,
    bounded_send_bytes: 16 << 10,
    direct: true,
    incremental: true,
};

const LISTEN: ListenSettings = ListenSettings { backlog: 1024, send_unsent_bytes_max: 0, send_timeout_ms: 0, nodelay: true };

/// Longer than anything here takes, however busy the machine: reaching it means that nothing happened.
const PATIENCE_US: u64 = 120_000_000;

/// One behaviour, with all that a newer kernel has and without it.
fn both(settings: UringSettings, check: fn(Host)) {
    for newer in [true, false] {
        check(Host::new(UringSettings { direct: newer, incremental: newer, ..settings }, 1));
    }
}

/// A reactor with the loop around it.
struct Host {
    reactor: Uring,
    addresses: Vec<SocketAddr>,
    out: VecDeque<Completion>,
    now: Now,
    completions_max: usize,
}

impl Host {
    fn new(settings: UringSettings, listeners: usize) -> Self {
        let listeners: Vec<_> = (0..listeners).map(|_| Listener::bind(([127, 0, 0, 1], 0).into(), &LISTEN).unwrap()).collect();
        let addresses = listeners.iter().map(Listener::address).collect();
        let reactor = Uring::new(settings, listeners).unwrap();
        Self { reactor, addresses, out: VecDeque::new(), now: clock::now(), completions_max: 16 }
    }

    fn submit(&mut self, op: Op) {
        while self.reactor.submit(op) == Err(QueueFull) {
            self.turn(&[], Wait::Poll);
        }
    }

    /// One turn; returns what the sends came to.
    fn turn(&mut self, sends: &[Send<'_>], wait: Wait) -> Vec<SendOutcome> {
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
    fn next(&mut self) -> Completion {
        let deadline = clock::monotonic_us() + PATIENCE_US;
        while self.out.is_empty() {
            self.turn(&[], Wait::Until { monotonic_us: deadline });
            assert!(self.now.monotonic_us < deadline, "nothing happened");
        }
        self.out.pop_front().unwrap()
    }

    /// What comes without waiting long.
    fn quiet(&mut self) -> Option<Completion> {
        let deadline = clock::monotonic_us() + 50_000;
        self.turn(&[], Wait::Until { monotonic_us: deadline });
        self.out.pop_front()
    }

    /// A connected pair.
    fn connect(&mut self) -> (ClientKey, TcpStream) {
        self.submit(Op::Accept { armed: 1 });
        let stream = TcpStream::connect(self.addresses[0]).unwrap();
        stream.set_read_timeout(Some(Duration::from_micros(PATIENCE_US))).unwrap();
        match self.next() {
            Completion::Accepted { client, peer, listener: 0 } => {
                assert_eq!(peer, stream.local_addr().unwrap());
                (client, stream)
            }
            other => panic!("{other:?}"),
        }
    }

    fn send(&mut self, client: ClientKey, bytes: &[u8]) -> SendOutcome {
        self.turn(&[Send { client, pieces: &[IoSlice::new(bytes)] }], Wait::Poll)[0]
    }

    /// The next completion must be bytes of this client; gives the buffer back.
    fn received(&mut self, client: ClientKey) -> Vec<u8> {
        match self.next() {
            Completion::Received { client: whose, buffer } if whose == client => self.take(buffer),
            other => panic!("{other:?}"),
        }
    }

    fn take(&mut self, buffer: BufferId) -> Vec<u8> {
        let bytes = self.reactor.bytes(buffer).to_vec();
        self.reactor.release(buffer);
        bytes
    }

    fn expect(&mut self, wanted: Completion) {
        assert_eq!(self.next(), wanted);
    }

    fn close(&mut self, client: ClientKey) {
        self.submit(Op::Close { client, reset: false });
        self.expect(Completion::Closed(client));
    }
}

/// Bytes that tell their place, so that loss, repetition and reordering show.
fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|place| (place ^ (place >> 8) ^ (place >> 16)) as u8).collect()
}
