//! One worker's ring with the connections on it: they connect, open, receive and send, many at once, and a [`Handler`] hears of
//! what comes.
//!
//! Without: threads, a schedule, figures. The caller's loop says what is to be said and until when a turn may sleep.
//!
//! Invariant: a connection's number is its own for as long as the engine lives; a slot of the ring is used again.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Instant;

use tidegate::reactor::probe;
use tidegate::reactor::uring::{Uring, UringSettings, WakeAfter};
use tidegate::reactor::{
    ClientKey, Completion, Op, QueueFull, Reactor, ReactorSizes, ReceiveEnd, Send, SendOutcome, Wait, Waker,
};

use crate::inflated::Inflated;
use crate::keys::Keys;
use crate::link::{Handler, Kit, Link, Outgoing, Route, Trouble};
use crate::source::{Source, connecting};

/// Most sends of a turn, and most entries of the submission queue.
const ENTRIES: u16 = 256;

/// Most completions of a turn: so few that what is to be published meanwhile leaves in time.
const COMPLETIONS_MAX: usize = 64;

/// Sizes of an engine.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sizes {
    /// Most connections at once.
    pub(crate) connections_max: u32,
    /// How much one receive may bring.
    pub(crate) receive_bytes: u32,
    /// Receive buffers.
    pub(crate) buffers: u16,
    /// For how much a sleep waits.
    pub(crate) wake_after: WakeAfter,
    /// Addresses that connections come from, where the server is on loopback.
    pub(crate) sources: u32,
}

pub(crate) struct Engine {
    ring: Uring,
    links: Vec<Link>,
    /// Whose each slot is.
    by_slot: Vec<usize>,
    /// Who has something to send and a socket that takes it.
    due: Vec<usize>,
    /// Whose receive ended for want of buffers.
    starved: VecDeque<usize>,
    /// What the ring had no room for.
    refused: VecDeque<Op>,
    completions: Vec<Completion>,
    kit: Kit,
    /// The moment from which all times count.
    base: Instant,
    /// The same on the ring's clock.
    base_us: u64,
    opening: usize,
    connected: usize,
    /// Places of the ring that are taken, by connections and by what is left of them.
    taken: usize,
    receives: u64,
    sources: u32,
}

impl Engine {
    /// Makes the ring, on the thread that is to use it. Times count from `base`.
    pub(crate) fn new(sizes: &Sizes, base: Instant) -> io::Result<Engine> {
        let capabilities =
            probe::probe().map_err(|error| io::Error::other(format!("the load generator has no way but io_uring: {error}")))?;
        let ring_sizes = ReactorSizes {
            entries: ENTRIES,
            connections_max: sizes.connections_max,
            accepts_max: 0,
            receive_buffers: sizes.buffers,
            receive_buffer_bytes: sizes.receive_bytes,
            bounded_send_bytes: 16 << 10,
        };
        let settings = UringSettings { sizes: ring_sizes, direct: capabilities.direct, incremental: capabilities.incremental };
        let mut ring = Uring::new(settings, Vec::new())?;
        let mut completions = Vec::with_capacity(COMPLETIONS_MAX + usize::from(ENTRIES));
        let now = ring.turn(&[], Wait::Poll, COMPLETIONS_MAX, &mut completions)?;
        let base_us = now.monotonic_us - u64::try_from(base.elapsed().as_micros()).expect("a run is short");
        ring.wake_after(sizes.wake_after);
        Ok(Engine {
            ring,
            links: Vec::new(),
            by_slot: vec![usize::MAX; sizes.connections_max as usize],
            due: Vec::new(),
            starved: VecDeque::new(),
            refused: VecDeque::new(),
            completions,
            kit: Kit { keys: Keys::new(), inflated: Inflated::new() },
            base,
            base_us,
            opening: 0,
            connected: 0,
            taken: 0,
            receives: 0,
            sources: sizes.sources,
        })
    }

    /// Nanoseconds since the base.
    pub(crate) fn now_ns(&self) -> u64 {
        self.base.elapsed().as_nanos() as u64
    }

    /// Connections whose handshake is under way.
    pub(crate) fn opening(&self) -> usize {
        self.opening
    }

    /// How often something was received: one receive may bring many messages, or a part of one.
    pub(crate) fn receives(&self) -> u64 {
        self.receives
    }

    /// Ends a sleep, from another thread.
    pub(crate) fn waker(&self) -> Arc<dyn Waker> {
        self.ring.waker()
    }

    /// Begins a connection; its number. `nth` counts the connections of all workers, for the choice of a source address.
    pub(crate) fn connect(&mut self, route: &Arc<Route>, nth: usize) -> io::Result<usize> {
        let to = route.address;
        let from = Source { nth, of: self.sources, receive_buffer_bytes: route.receive_buffer_bytes };
        let explained = |error: io::Error| io::Error::new(error.kind(), format!("connecting to {to}: {error}"));
        let socket = connecting(to, from).map_err(explained)?;
        let key = self.ring.adopt(OwnedFd::from(socket)).map_err(explained)?;
        let client = self.links.len();
        self.links.push(Link::new(key, route.clone())?);
        self.by_slot[key.slot as usize] = client;
        self.opening += 1;
        self.connected += 1;
        self.taken += 1;
        self.submit(Op::PollOut(key));
        Ok(client)
    }

    /// Lets one say something on a connection that is open.
    pub(crate) fn say(&mut self, client: usize, what: impl FnOnce(&mut Outgoing<'_>)) {
        let link = &mut self.links[client];
        if link.is_open() {
            what(&mut link.outgoing(client, &mut self.kit.keys));
            self.note(client);
        }
    }

    /// Closes a connection from here: with RST, or with FIN. Its handler hears nothing more of it.
    pub(crate) fn close(&mut self, client: usize, reset: bool) {
        let link = &mut self.links[client];
        if link.is_over() {
            return;
        }
        self.opening -= usize::from(link.is_opening());
        self.connected -= 1;
        link.end();
        let key = link.key;
        self.submit(Op::Close { client: key, reset });
    }

    /// Connections that are connecting, opening or open.
    pub(crate) fn connected(&self) -> usize {
        self.connected
    }

    /// Whether another connection finds a place: one that is closed has its own until the kernel is done with it.
    pub(crate) fn has_place(&self) -> bool {
        self.taken < self.by_slot.len()
    }

    /// Stops reading: the server finds the socket full after a while.
    pub(crate) fn stall(&mut self, client: usize) {
        let link = &mut self.links[client];
        if !link.is_over() && !std::mem::replace(&mut link.is_stalled, true) {
            let key = link.key;
            self.submit(Op::CancelReceive(key));
        }
    }

    /// Reads on.
    pub(crate) fn resume(&mut self, client: usize) {
        self.links[client].is_stalled = false;
        self.read(client);
    }

    /// Arms a receive where none is.
    fn read(&mut self, client: usize) {
        let link = &mut self.links[client];
        if !link.is_over() && !link.is_stalled && !std::mem::replace(&mut link.is_reading, true) {
            let key = link.key;
            self.submit(Op::Receive(key));
        }
    }

    /// Sends what is due, sleeps until something comes or `until_ns`, and handles it.
    pub(crate) fn turn<H: Handler>(&mut self, until_ns: u64, handler: &mut H) -> io::Result<()> {
        let submitted = self.hand_over_refused();
        self.send_and_wait(if submitted { Wait::Poll } else { self.wait(until_ns) }, handler)?;
        let now_ns = self.now_ns();
        let mut completions = std::mem::take(&mut self.completions);
        let done = completions.drain(..).try_for_each(|completion| self.handle(completion, now_ns, handler));
        self.completions = completions;
        done?;
        while self.ring.buffers_free() > 0
            && let Some(client) = self.starved.pop_front()
        {
            self.read(client);
        }
        Ok(())
    }

    fn wait(&self, until_ns: u64) -> Wait {
        Wait::Until { monotonic_us: self.base_us.saturating_add(until_ns.div_ceil(1_000)) }
    }

    fn send_and_wait<H: Handler>(&mut self, wait: Wait, handler: &mut H) -> io::Result<()> {
        let count = self.due.len().min(ENTRIES.into());
        let due: Vec<usize> = self.due.drain(..count).collect();
        let mut sealed = Vec::with_capacity(count);
        for client in due {
            let link = &mut self.links[client];
            link.is_queued = false;
            if link.is_over() {
                continue;
            }
            match link.seal() {
                Ok(()) => sealed.push(client),
                Err(error) => self.lost(client, error, handler)?,
            }
        }
        let links = &self.links;
        let pieces: Vec<(ClientKey, [IoSlice<'_>; 1])> = sealed
            .iter()
            .filter(|client| !links[**client].is_over() && !links[**client].wire().is_empty())
            .map(|client| (links[*client].key, [IoSlice::new(links[*client].wire())]))
            .collect();
        let sends: Vec<Send<'_>> = pieces.iter().map(|(client, pieces)| Send { client: *client, pieces }).collect();
        self.ring.turn(&sends, wait, COMPLETIONS_MAX, &mut self.completions).map(drop)
    }

    fn handle<H: Handler>(&mut self, completion: Completion, now_ns: u64, handler: &mut H) -> io::Result<()> {
        match completion {
            Completion::Received { client: key, buffer } => {
                let client = self.by_slot[key.slot as usize];
                let link = &mut self.links[client];
                let was_opening = link.is_opening();
                self.receives += 1;
                let done = link.receive(client, self.ring.bytes(buffer), &mut self.kit, now_ns, handler);
                self.ring.release(buffer);
                self.opening -= usize::from(was_opening && link.is_open());
                self.note(client);
                done.or_else(|trouble| match trouble {
                    Trouble::Lost(why) => self.lost(client, why, handler),
                    Trouble::Verdict(sentence) => Err(sentence),
                })
            }
            Completion::Sent { client: key, outcome } => self.sent(self.by_slot[key.slot as usize], outcome, handler),
            Completion::ReceiveEnded { client: key, reason } => {
                let client = self.by_slot[key.slot as usize];
                if self.links[client].is_over() {
                    return Ok(());
                }
                self.links[client].is_reading = false;
                match reason {
                    ReceiveEnd::NoBuffers => self.starved.push_back(client),
                    // Cancelled to stall; it may be read again since.
                    ReceiveEnd::Ended | ReceiveEnd::Cancelled => self.read(client),
                    ReceiveEnd::Eof => self.lost(client, eof(&self.links[client]), handler)?,
                    ReceiveEnd::Failed(errno) => self.lost(client, io::Error::from_raw_os_error(errno), handler)?,
                }
                Ok(())
            }
            Completion::Writable(key) => {
                let client = self.by_slot[key.slot as usize];
                let link = &mut self.links[client];
                if link.is_connecting() {
                    link.begin(&mut self.kit.keys);
                    self.read(client);
                }
                self.links[client].is_blocked = false;
                self.note(client);
                Ok(())
            }
            Completion::Closed(_) => {
                self.taken -= 1;
                Ok(())
            }
            Completion::Woken => Ok(()),
            Completion::Accepted { .. } | Completion::AcceptFailed { .. } => unreachable!("nothing listens here"),
            Completion::Unacknowledged { .. } => unreachable!("nobody asks"),
        }
    }

    fn sent<H: Handler>(&mut self, client: usize, outcome: SendOutcome, handler: &mut H) -> io::Result<()> {
        let link = &mut self.links[client];
        if link.is_over() {
            return Ok(());
        }
        match outcome {
            SendOutcome::Sent(bytes) => link.went(bytes as usize),
            SendOutcome::Full => {}
            SendOutcome::Failed(errno) => return self.lost(client, io::Error::from_raw_os_error(errno), handler),
        }
        if !link.wire().is_empty() {
            link.is_blocked = true;
            let key = link.key;
            self.submit(Op::PollOut(key));
        }
        self.note(client);
        Ok(())
    }

    /// A connection that is of no use any more: closed, and its handler asked what that means.
    fn lost<H: Handler>(&mut self, client: usize, why: io::Error, handler: &mut H) -> io::Result<()> {
        let was_opening = self.links[client].is_opening();
        self.close(client, false);
        let why = if was_opening { io::Error::new(why.kind(), format!("the handshake failed: {why}")) } else { why };
        handler.ended(client, why, self.now_ns())
    }

    /// Notes that a connection may have something to send.
    fn note(&mut self, client: usize) {
        let link = &mut self.links[client];
        if !link.is_queued && link.is_due() {
            link.is_queued = true;
            self.due.push(client);
        }
    }

    fn submit(&mut self, op: Op) {
        if !self.refused.is_empty() || self.ring.submit(op) == Err(QueueFull) {
            self.refused.push_back(op);
        }
    }

    /// True if something is left for the next turn.
    fn hand_over_refused(&mut self) -> bool {
        while let Some(op) = self.refused.front()
            && self.ring.submit(*op).is_ok()
        {
            self.refused.pop_front();
        }
        !self.refused.is_empty()
    }
}

fn eof(link: &Link) -> io::Error {
    let when =
        if link.is_opening() { "the server closed it before it was open" } else { "the server closed it without a close frame" };
    io::Error::new(io::ErrorKind::UnexpectedEof, when)
}
