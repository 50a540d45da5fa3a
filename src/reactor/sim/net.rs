//! The simulated net: peers, what is under way, and what the reactor has armed.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::rc::Rc;

use super::SimSettings;
use super::dice::Dice;
use super::peer::{Peer, PeerEnd, PeerId};
use super::pool::Pool;
use crate::reactor::{ClientKey, Completion, Now, Op, ReceiveEnd, SendOutcome};

/// The clock's beginning since 1970, so that wall and monotonic clock are not mixed up unnoticed.
const UNIX_START_US: u64 = 1_700_000_000_000_000;

/// How long accepts rest when no slot is free, as in the kernel's reactor.
const ACCEPT_PAUSE_US: u64 = 100_000;

/// The peers' side, for tests. A handle: clones are the same net.
#[derive(Clone, Debug)]
pub struct SimNet(Rc<RefCell<World>>);

impl SimNet {
    pub(super) fn new(world: Rc<RefCell<World>>) -> Self {
        Self(world)
    }

    /// A new connection from loopback. It waits until an accept is armed; bytes may be written before.
    pub fn connect(&self, listener: u16) -> PeerId {
        let port = 1024 + (self.0.borrow().peers.len() % 60_000) as u16;
        self.connect_from(listener, ([127, 0, 0, 1], port).into())
    }

    /// A new connection from an address.
    pub fn connect_from(&self, listener: u16, address: SocketAddr) -> PeerId {
        let world = &mut *self.0.borrow_mut();
        let peer = PeerId(world.peers.len() as u32);
        world.peers.push(Peer::new(address, world.settings.window_bytes));
        world.waiting[usize::from(listener)].push_back(peer);
        peer
    }

    /// The address that the gateway sees.
    #[must_use]
    pub fn address(&self, peer: PeerId) -> SocketAddr {
        self.0.borrow().peer(peer).address
    }

    /// The peer sends.
    pub fn write(&self, peer: PeerId, bytes: &[u8]) {
        let world = &mut *self.0.borrow_mut();
        let peer = world.peer_mut(peer);
        assert!(!peer.finished, "a peer that sent FIN sends no more");
        peer.sent.extend(bytes);
    }

    /// The peer reads all that was delivered, which opens its window again.
    #[must_use]
    pub fn read(&self, peer: PeerId) -> Vec<u8> {
        std::mem::take(&mut self.0.borrow_mut().peer_mut(peer).unread)
    }

    /// How many unread bytes the peer's socket holds from now on; 0 stalls it.
    pub fn window(&self, peer: PeerId, bytes: usize) {
        self.0.borrow_mut().peer_mut(peer).window_bytes = bytes;
    }

    /// Of the bytes sent to the peer its TCP has not acknowledged so many, from now on.
    pub fn unacknowledged(&self, peer: PeerId, bytes: usize) {
        self.0.borrow_mut().peer_mut(peer).unacknowledged = bytes;
    }

    /// The peer sends FIN; it still reads.
    pub fn finish(&self, peer: PeerId) {
        self.0.borrow_mut().peer_mut(peer).finished = true;
    }

    /// The peer sends RST. What it sent before may or may not have come through.
    pub fn reset(&self, peer: PeerId) {
        let world = &mut *self.0.borrow_mut();
        let lost = world.dice.chance(500);
        let peer = world.peer_mut(peer);
        peer.broken = true;
        peer.unread.clear();
        if lost {
            peer.sent.clear();
        }
    }

    /// How the connection ended, if the peer did not end it. Unread bytes can still be read.
    #[must_use]
    pub fn is_closed(&self, peer: PeerId) -> Option<PeerEnd> {
        self.0.borrow().peer(peer).end
    }

    /// Moves the clock on.
    pub fn advance(&self, us: u64) {
        self.0.borrow_mut().clock_us += us;
    }

    /// The clock.
    #[must_use]
    pub fn now(&self) -> Now {
        self.0.borrow().now()
    }
}

/// The gateway's side of a connection.
#[derive(Debug, Default)]
struct Slot {
    generation: u32,
    peer: Option<PeerId>,
    receive: Option<Armed>,
    poll: Option<Armed>,
    cancelled: bool,
    shutdown: bool,
    closing: Option<Closing>,
    /// The turn of its latest send, and how much was unread before it.
    sent_in_turn: (u64, usize),
}

/// Something armed, and when it may fire, once that is cast.
#[derive(Clone, Copy, Debug, Default)]
struct Armed {
    at_us: Option<u64>,
}

#[derive(Clone, Copy, Debug)]
struct Closing {
    reset: bool,
    due: Armed,
}

/// Everything.
#[derive(Debug)]
pub(super) struct World {
    settings: SimSettings,
    dice: Dice,
    clock_us: u64,
    turns: u64,
    peers: Vec<Peer>,
    waiting: Vec<VecDeque<PeerId>>,
    accepts: Vec<Armed>,
    accepts_armed: u16,
    slots: Vec<Slot>,
    free: Vec<u32>,
    shutdowns: Vec<ClientKey>,
    /// Answers to questions of this turn.
    answers: VecDeque<Completion>,
}

impl World {
    pub(super) fn new(settings: SimSettings) -> Self {
        let listeners = usize::from(settings.listeners);
        Self {
            settings,
            dice: Dice::new(settings.seed),
            clock_us: 1_000_000,
            turns: 0,
            peers: Vec::new(),
            waiting: vec![VecDeque::new(); listeners],
            accepts: vec![Armed::default(); listeners],
            accepts_armed: 0,
            slots: Vec::new(),
            free: Vec::new(),
            shutdowns: Vec::new(),
            answers: VecDeque::new(),
        }
    }

    pub(super) fn now(&self) -> Now {
        Now { monotonic_us: self.clock_us, unix_us: UNIX_START_US + self.clock_us }
    }

    pub(super) fn begin_turn(&mut self) {
        self.turns += 1;
    }

    pub(super) fn submit(&mut self, op: Op) {
        match op {
            Op::Accept { armed } => self.accepts_armed = armed,
            Op::Receive(client) => {
                let slot = self.active(client, "a receive");
                assert!(slot.receive.is_none(), "a second receive of {client:?} would share its bytes with the first");
                slot.receive = Some(Armed::default());
                slot.cancelled = false;
            }
            Op::CancelReceive(client) => {
                let slot = self.active(client, "cancelling");
                slot.cancelled = slot.receive.is_some();
            }
            Op::PollOut(client) => {
                let slot = self.active(client, "a poll");
                assert!(slot.poll.is_none(), "a second poll of {client:?}");
                slot.poll = Some(Armed::default());
            }
            Op::BoundSend(client) => drop(self.active(client, "a bound")),
            Op::AskUnacknowledged(client) => {
                let id = self.active(client, "a question").peer.expect("an active slot has a peer");
                let bytes = Some(self.peer(id).unacknowledged as u32);
                self.answers.push_back(Completion::Unacknowledged { client, bytes });
            }
            Op::ShutdownSend(client) => {
                assert!(!self.active(client, "a shutdown").shutdown, "a second shutdown of {client:?}");
                self.shutdowns.push(client);
            }
            Op::Close { client, reset } => {
                self.active(client, "a close").closing = Some(Closing { reset, due: Armed::default() });
            }
        }
    }

    /// Ends the directions for which that was asked, after the turn's sends.
    pub(super) fn shut_down(&mut self) {
        for client in std::mem::take(&mut self.shutdowns) {
            let slot = &mut self.slots[client.slot as usize];
            slot.shutdown = true;
            let peer = slot.peer.expect("a client that closes is still there in its turn");
            self.peer_mut(peer).end.get_or_insert(PeerEnd::Finished);
        }
    }

    pub(super) fn send(&mut self, client: ClientKey, bytes: &[u8]) -> SendOutcome {
        let turn = self.turns;
        let slot = self.active(client, "a send");
        let shutdown = slot.shutdown;
        let id = slot.peer.expect("an open slot has a peer");
        if self.dice.chance(self.settings.reset) {
            self.peer_mut(id).lose();
        }
        let (full, short) = (self.dice.chance(self.settings.full), self.dice.chance(self.settings.short_send));
        let peer = &mut self.peers[id.0 as usize];
        if peer.broken && !peer.told {
            peer.told = true;
            return SendOutcome::Failed(libc::ECONNRESET);
        }
        if peer.broken || shutdown {
            return SendOutcome::Failed(libc::EPIPE);
        }
        let room = peer.room().min(bytes.len());
        if full || room == 0 {
            return SendOutcome::Full;
        }
        let count = if short { self.dice.up_to(room) } else { room };
        let slot = &mut self.slots[client.slot as usize];
        if slot.sent_in_turn.0 == turn {
            // The mistake that corrupts streams: a second send while the first is not decided.
            let first = peer.unread.split_off(slot.sent_in_turn.1);
            peer.unread.extend(interleave(&first, &bytes[..count]));
        } else {
            slot.sent_in_turn = (turn, peer.unread.len());
            peer.unread.extend_from_slice(&bytes[..count]);
        }
        SendOutcome::Sent(count as u32)
    }

    /// Appends what has happened by now, up to `end`.
    pub(super) fn collect(&mut self, end: usize, buffers: &mut Pool, out: &mut Vec<Completion>) {
        self.collect_accepts(end, out);
        out.extend(self.answers.drain(..end.saturating_sub(out.len()).min(self.answers.len())));
        let count = self.slots.len();
        // Completions of different clients come in any order.
        let start = if count > 0 { self.dice.up_to(count) } else { 0 };
        for place in 0..count {
            let index = (start + place) % count;
            while out.len() < end && self.slots[index].peer.is_some() {
                let Some(completion) = self.collect_slot(index, buffers) else { break };
                out.push(completion);
            }
        }
    }

    /// Sleeps until the next event or the deadline. False: the deadline is over, or is never and nothing will happen.
    pub(super) fn sleep(&mut self, deadline_us: u64) -> bool {
        let slots = self.slots.iter().flat_map(|slot| [slot.receive, slot.poll, slot.closing.map(|closing| closing.due)]);
        let armed = slots.flatten().chain(self.accepts.iter().copied());
        let next = armed.filter_map(|armed| armed.at_us).filter(|at_us| *at_us > self.clock_us).min();
        let until_us = next.unwrap_or(u64::MAX).min(deadline_us);
        if until_us == u64::MAX || until_us <= self.clock_us {
            return false;
        }
        self.clock_us = until_us;
        true
    }

    /// Whether a client may come.
    pub(super) fn accepts(&self) -> bool {
        self.accepts_armed > 0
    }

    fn collect_accepts(&mut self, end: usize, out: &mut Vec<Completion>) {
        for listener in 0..self.waiting.len() {
            while out.len() < end && self.accepts_armed > 0 && !self.waiting[listener].is_empty() {
                let mut armed = self.accepts[listener];
                let due = self.due(&mut armed);
                self.accepts[listener] = armed;
                if !due {
                    break;
                }
                let id = self.waiting[listener].pop_front().expect("not empty");
                self.accepts[listener] = Armed::default();
                out.push(self.accept(id, listener as u16));
            }
        }
    }

    fn accept(&mut self, id: PeerId, listener: u16) -> Completion {
        if self.dice.chance(self.settings.aborted) {
            self.peer_mut(id).lose();
            return Completion::AcceptFailed { errno: libc::ECONNABORTED };
        }
        let slot = match self.free.pop() {
            Some(slot) => slot,
            None if self.slots.len() < self.settings.slots as usize => {
                self.slots.push(Slot::default());
                self.slots.len() as u32 - 1
            }
            None => {
                self.peer_mut(id).end = Some(PeerEnd::Reset);
                self.accepts[usize::from(listener)].at_us = Some(self.clock_us + ACCEPT_PAUSE_US);
                return Completion::AcceptFailed { errno: libc::ENFILE };
            }
        };
        let place = &mut self.slots[slot as usize];
        let generation = (place.generation + 1) % (1 << 24);
        *place = Slot { generation, peer: Some(id), ..Slot::default() };
        self.accepts_armed -= 1;
        Completion::Accepted { client: ClientKey { slot, generation }, peer: Some(self.peer(id).address), listener }
    }

    /// The next completion of a client, if there is one by now.
    fn collect_slot(&mut self, index: usize, buffers: &mut Pool) -> Option<Completion> {
        let slot = &mut self.slots[index];
        let client = ClientKey { slot: index as u32, generation: slot.generation };
        if let Some(mut closing) = slot.closing {
            slot.poll = None;
            if slot.receive.take().is_some() {
                return Some(Completion::ReceiveEnded { client, reason: ReceiveEnd::Cancelled });
            }
            let due = self.due(&mut closing.due);
            self.slots[index].closing = Some(closing);
            return due.then(|| self.close(client, closing.reset));
        }
        if let Some(mut poll) = slot.poll
            && self.takes_bytes(index)
        {
            let due = self.due(&mut poll);
            self.slots[index].poll = (!due).then_some(poll);
            if due {
                return Some(Completion::Writable(client));
            }
        }
        self.collect_receive(index, client, buffers)
    }

    fn collect_receive(&mut self, index: usize, client: ClientKey, buffers: &mut Pool) -> Option<Completion> {
        let mut receive = self.slots[index].receive?;
        let id = self.slots[index].peer.expect("an open slot has a peer");
        let peer = self.peer(id);
        let something = !peer.sent.is_empty() || peer.finished || peer.broken;
        if something && self.due(&mut receive) {
            self.slots[index].receive = Some(Armed::default());
            // What had arrived may come before a cancellation takes hold, or stay for the next receive.
            if !self.slots[index].cancelled || self.dice.chance(500) {
                return Some(self.receive(index, id, client, buffers));
            }
        } else {
            self.slots[index].receive = Some(receive);
        }
        self.slots[index].cancelled.then(|| self.end_receive(index, client, ReceiveEnd::Cancelled))
    }

    fn receive(&mut self, index: usize, id: PeerId, client: ClientKey, buffers: &mut Pool) -> Completion {
        if self.dice.chance(self.settings.reset) {
            self.peer_mut(id).lose();
        }
        if self.dice.chance(self.settings.ended) {
            return self.end_receive(index, client, ReceiveEnd::Ended);
        }
        let peer = &mut self.peers[id.0 as usize];
        if peer.sent.is_empty() {
            let reason = match peer.broken && !peer.told {
                true => ReceiveEnd::Failed(libc::ECONNRESET),
                false => ReceiveEnd::Eof,
            };
            peer.told |= peer.broken;
            return self.end_receive(index, client, reason);
        }
        if buffers.room() == 0 {
            return self.end_receive(index, client, ReceiveEnd::NoBuffers);
        }
        let mut len = peer.sent.len().min(buffers.room());
        if self.dice.chance(self.settings.short_receive) {
            len = self.dice.up_to(len);
        }
        Completion::Received { client, buffer: buffers.fill(peer.sent.drain(..len)) }
    }

    fn end_receive(&mut self, index: usize, client: ClientKey, reason: ReceiveEnd) -> Completion {
        self.slots[index].receive = None;
        self.slots[index].cancelled = false;
        Completion::ReceiveEnded { client, reason }
    }

    fn close(&mut self, client: ClientKey, reset: bool) -> Completion {
        let id = self.slots[client.slot as usize].peer.take().expect("a slot closes once");
        self.free.push(client.slot);
        let peer = self.peer_mut(id);
        // Linux answers with RST in place of FIN if bytes of the peer were never read.
        if peer.end != Some(PeerEnd::Lost) {
            peer.end = Some(if reset || !peer.sent.is_empty() { PeerEnd::Reset } else { PeerEnd::Finished });
        }
        Completion::Closed(client)
    }

    fn takes_bytes(&self, index: usize) -> bool {
        let peer = self.peer(self.slots[index].peer.expect("an open slot has a peer"));
        peer.room() > 0 || peer.broken
    }

    /// Casts a moment if that was not done, and tells whether it has come.
    fn due(&mut self, armed: &mut Armed) -> bool {
        let at_us = armed.at_us.unwrap_or_else(|| {
            let late = self.dice.chance(self.settings.delay) && self.settings.delay_us_max > 0;
            self.clock_us + if late { self.dice.up_to(self.settings.delay_us_max as usize) as u64 } else { 0 }
        });
        armed.at_us = Some(at_us);
        at_us <= self.clock_us
    }

    /// The slot of a client that the shard may use.
    fn active(&mut self, client: ClientKey, what: &str) -> &mut Slot {
        let slot = self.slots.get_mut(client.slot as usize).expect("a slot of this reactor");
        assert!(slot.peer.is_some() && slot.generation == client.generation, "{what} for {client:?}, which is closed");
        assert!(slot.closing.is_none(), "{what} for {client:?}, which is closing");
        slot
    }

    fn peer(&self, peer: PeerId) -> &Peer {
        &self.peers[peer.0 as usize]
    }

    fn peer_mut(&mut self, peer: PeerId) -> &mut Peer {
        &mut self.peers[peer.0 as usize]
    }
}

/// One byte of each in turn.
fn interleave(first: &[u8], second: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(first.len() + second.len());
    for place in 0..first.len().max(second.len()) {
        bytes.extend(second.get(place));
        bytes.extend(first.get(place));
    }
    bytes
}
