//! A shard's clients, each at its slot.
//!
//! Invariant: an idle client has its row and nothing else here; what it needs at times only stands in boxes.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};

use super::timer::{Filed, Place};
use crate::admission::ClientAddress;
use crate::dialect::stream::RequestId;
use crate::hub::NewPublication;
use crate::metrics::ClientRole;
use crate::reactor::ClientKey;
use crate::session::{Answer, Effect, Rules, Session};
use crate::slots::Slots;
use crate::tls::Tls;

/// One client as the shard sees it: the session, and what is armed for its socket.
pub(super) struct Client {
    pub(super) key: ClientKey,
    pub(super) session: Session,
    /// Its TLS, on a listener that speaks it: what the session sees and owes is inside.
    pub(super) tls: Option<Box<Tls>>,
    /// What the session waits for; input is held back until then.
    pub(super) pending: Option<Box<Pending>>,
    /// Its place in the wheel of deadlines.
    timer: Place,
    /// When its socket last took bytes, while it is blocked: milliseconds, of which only the low 32 bits are kept.
    progress_ms: u32,
    pub(super) receive: Receive,
    /// How it is counted with its address.
    pub(super) counted: Counted,
    /// It has had a subscription since it was last without any.
    pub(super) subscribed: bool,
    /// The peer sends no more.
    pub(super) eof: bool,
    /// Our sending side is shut.
    pub(super) shut: bool,
    /// The descriptor is being closed; the slot stays taken until that is done.
    pub(super) closing: bool,
    /// The socket said that it takes bytes and then took none.
    pub(super) woke_full: bool,
    /// It stands in the sweep's queue of those who are owed something.
    pub(super) owing: bool,
}

// A gateway holds a quarter of a million of them idle. A row has two cache lines, and a chunk of them a size that the allocator
// has: where rows are a little smaller, chunks are rounded up to the same again.
const _: () = assert!(size_of::<Option<Client>>() <= 128);

impl Client {
    /// A client that was just accepted.
    pub(super) fn new(key: ClientKey, session: Session, now_us: u64) -> Client {
        Client {
            key,
            session,
            tls: None,
            pending: None,
            timer: Place::default(),
            progress_ms: (now_us / 1000) as u32,
            receive: Receive::Armed,
            counted: Counted::No,
            subscribed: false,
            eof: false,
            shut: false,
            closing: false,
            woke_full: false,
            owing: false,
        }
    }

    /// Its socket takes bytes, or did so until now.
    pub(super) fn progressed(&mut self, now_us: u64) {
        self.progress_ms = (now_us / 1000) as u32;
    }

    /// For how long its socket has taken nothing, while it is blocked. The difference is right for 49 days, and no peer's
    /// silence is borne that long (`TCP_USER_TIMEOUT`).
    pub(super) fn stalled_ms(&self, now_us: u64) -> u32 {
        ((now_us / 1000) as u32).wrapping_sub(self.progress_ms)
    }

    /// Whether anything but publications is to be sent to it, and can be.
    pub(super) fn owes(&self) -> bool {
        let owed = !self.session.owed().is_empty();
        self.tls.as_ref().map_or(owed, |tls| !tls.pending().is_empty() || tls.is_open() && owed)
    }

    /// Whether its TLS is of no use any more: a frame that is half sealed stays so.
    pub(super) fn is_broken(&self) -> bool {
        self.tls.as_ref().is_some_and(|tls| !tls.is_open())
    }

    /// Ciphertext that must go before anything else.
    pub(super) fn pending_sealed(&self) -> &[u8] {
        self.tls.as_ref().map_or(&[], |tls| tls.pending())
    }

    /// So many bytes of it went.
    pub(super) fn pending_sealed_went(&mut self, bytes: usize) {
        self.sealed_tls().pending_went(bytes);
    }

    /// Keeps ciphertext that the socket did not take.
    pub(super) fn keep_sealed(&mut self, sealed: &[u8]) {
        self.sealed_tls().keep(sealed);
    }

    fn sealed_tls(&mut self) -> &mut Tls {
        self.tls.as_deref_mut().expect("sealed bytes are a TLS client's")
    }
}

/// What is seldom asked of a client: where it comes from, as far as it is known, since when it is here and when that has been for long
/// enough, what went over its connection.
#[derive(Debug)]
struct Origin {
    /// One of IPv4 is mapped.
    address: Ipv6Addr,
    /// What is true of it, of [`TOLD`] and [`UNIX`].
    marks: u8,
    /// 0: not known.
    port: u16,
    received: Bytes,
    sent: Bytes,
    came_tick: u32,
    /// 0: never.
    leaves_tick: u32,
    /// What it is, since it was let in.
    role: Option<ClientRole>,
}

const _: () = assert!(size_of::<Origin>() <= 40);

/// It was told that it has been here for long enough.
const TOLD: u8 = 1;

/// It came by a Unix socket, and nobody said from where.
const UNIX: u8 = 2;

impl Origin {
    fn new(came_tick: u32) -> Origin {
        let (received, sent) = (Bytes::default(), Bytes::default());
        Origin { address: Ipv6Addr::UNSPECIFIED, marks: UNIX, port: 0, received, sent, came_tick, leaves_tick: 0, role: None }
    }
}

impl Origin {
    fn is(&self, mark: u8) -> bool {
        self.marks & mark != 0
    }

    fn mark(&mut self, mark: u8, is: bool) {
        self.marks = if is { self.marks | mark } else { self.marks & !mark };
    }
}

fn mapped(address: IpAddr) -> Ipv6Addr {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped(),
        IpAddr::V6(address) => address,
    }
}

/// A count of bytes in the six that a row has for it: up to 281 TB, then it begins anew.
#[derive(Clone, Copy, Debug, Default)]
struct Bytes([u16; 3]);

impl Bytes {
    fn get(self) -> u64 {
        let [low, middle, high] = self.0.map(u64::from);
        low | middle << 16 | high << 32
    }

    fn add(&mut self, count: u64) {
        let sum = self.get().wrapping_add(count);
        self.0 = [sum as u16, (sum >> 16) as u16, (sum >> 32) as u16];
    }
}

/// When a client is to leave because it has been here for long. Moments are ticks of the wheel of deadlines since the machine's start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Leaving {
    Never,
    /// It is told at this tick.
    At(u32),
    /// It was told, and is closed at this tick.
    Told(u32),
}

/// How a client is counted with its address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Counted {
    /// A proxy of which nobody knows yet whom it speaks for, or who is turned away.
    No,
    /// As one that is not yet a WebSocket.
    HalfOpen,
    Open,
    /// A proxy that is a WebSocket itself, for nobody else.
    OpenProxy,
}

/// What is armed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Receive {
    Armed,
    /// A cancel is under way; bytes may still come.
    Cancelling,
    /// Not armed, as input is held back.
    Paused,
    /// Not armed, and in the queue to be armed again.
    Queued,
    /// The peer ended or failed.
    Over,
}

/// Why a session takes no input now.
pub(super) struct Pending {
    pub(super) wait: Wait,
    /// Input that came in the meantime, still masked.
    pub(super) held: Vec<u8>,
}

/// What a session waits for.
pub(super) enum Wait {
    /// Replicas that an effect needs: so many are still to come; then it is tried again. The number tells this wait from
    /// the client's earlier ones, which topics that came to nothing may still be told of.
    Replicas { effect: Effect, number: u64, missing: u32 },
    /// A credit or room in a mailbox for a publication; then it is tried again.
    Credit { answer: Answer, publication: NewPublication },
    /// The position of its publication.
    Position { id: RequestId },
    /// The list of topics.
    Topics,
    /// What the operator's endpoint says of it.
    Callout,
    /// That it takes what it is owed.
    Owed,
}

impl Wait {
    /// Whether the effect may be tried again, or input taken; an answer that is awaited comes by itself.
    pub(super) fn is_over(&self, session: &Session, rules: &Rules) -> bool {
        match self {
            Wait::Replicas { missing, .. } => *missing == 0,
            Wait::Credit { .. } => true,
            Wait::Owed => !session.is_congested(rules),
            Wait::Position { .. } | Wait::Topics | Wait::Callout => false,
        }
    }
}

/// The rows; slots are the reactor's.
#[derive(Default)]
pub(super) struct Clients {
    slots: Slots<Option<Client>>,
    origins: Slots<Origin>,
    /// By slot: what names the request by which a client came, where that is not made from the client's number.
    request_ids: HashMap<u32, Box<str>>,
    count: usize,
}

impl Filed for Clients {
    fn place(&mut self, slot: u32) -> &mut Place {
        &mut self.slots[slot].as_mut().expect("only a client that is there is filed").timer
    }
}

impl Clients {
    /// A client that came at this tick.
    pub(super) fn insert(&mut self, client: Client, (address, port): (ClientAddress, u16), came_tick: u32) {
        let slot = client.key.slot;
        self.origins.reserve_with(slot, |_| Origin::new(0));
        self.origins[slot] = Origin::new(came_tick);
        self.set_address(slot, address, port);
        self.slots.reserve_with(slot, |_| None);
        assert!(self.slots[slot].is_none(), "the reactor gives a slot out again only after Closed");
        self.slots[slot] = Some(client);
        self.count += 1;
    }

    pub(super) fn remove(&mut self, key: ClientKey) -> Option<Client> {
        self.get(key)?;
        self.count -= 1;
        self.request_ids.remove(&key.slot);
        self.slots[key.slot].take()
    }

    /// The client, where this is still the same one.
    pub(super) fn get(&mut self, key: ClientKey) -> Option<&mut Client> {
        self.at(key.slot).filter(|client| client.key == key)
    }

    pub(super) fn at(&mut self, slot: u32) -> Option<&mut Client> {
        self.slots.get_mut(slot)?.as_mut()
    }

    pub(super) fn peek(&self, slot: u32) -> Option<&Client> {
        self.slots.get(slot)?.as_ref()
    }

    /// Where the client at this slot comes from: its connection's other end, or whom a trusted proxy speaks for.
    pub(super) fn address(&self, slot: u32) -> ClientAddress {
        let origin = &self.origins[slot];
        if origin.is(UNIX) { ClientAddress::Unix } else { origin.address.to_canonical().into() }
    }

    /// Its port, where that is known.
    pub(super) fn port(&self, slot: u32) -> Option<u16> {
        Some(self.origins[slot].port).filter(|port| *port > 0)
    }

    /// With port 0 where that is not known.
    pub(super) fn set_address(&mut self, slot: u32, address: ClientAddress, port: u16) {
        let origin = &mut self.origins[slot];
        origin.mark(UNIX, address == ClientAddress::Unix);
        origin.port = port;
        if let ClientAddress::Ip(address) = address {
            origin.address = mapped(address);
        }
    }

    /// Since when it is here.
    pub(super) fn came_tick(&self, slot: u32) -> u32 {
        self.origins[slot].came_tick
    }

    pub(super) fn leaving(&self, slot: u32) -> Leaving {
        let origin = &self.origins[slot];
        match origin.leaves_tick {
            0 => Leaving::Never,
            tick if origin.is(TOLD) => Leaving::Told(tick),
            tick => Leaving::At(tick),
        }
    }

    pub(super) fn set_leaving(&mut self, slot: u32, leaving: Leaving) {
        let origin = &mut self.origins[slot];
        origin.mark(TOLD, matches!(leaving, Leaving::Told(_)));
        origin.leaves_tick = match leaving {
            Leaving::Never => 0,
            Leaving::At(tick) | Leaving::Told(tick) => tick,
        };
    }

    pub(super) fn set_role(&mut self, slot: u32, role: ClientRole) {
        self.origins[slot].role = Some(role);
    }

    /// What it was, if it was let in; once.
    pub(super) fn take_role(&mut self, slot: u32) -> Option<ClientRole> {
        self.origins[slot].role.take()
    }

    /// So many bytes came from it.
    pub(super) fn count_received(&mut self, slot: u32, bytes: u64) {
        self.origins[slot].received.add(bytes);
    }

    /// The kernel took so many bytes for it.
    pub(super) fn count_sent(&mut self, slot: u32, bytes: u64) {
        self.origins[slot].sent.add(bytes);
    }

    /// Bytes received and sent.
    pub(super) fn traffic(&self, slot: u32) -> (u64, u64) {
        (self.origins[slot].received.get(), self.origins[slot].sent.get())
    }

    /// What named the request by which it came, where that was kept.
    pub(super) fn request_id(&self, slot: u32) -> Option<&str> {
        self.request_ids.get(&slot).map(|id| &**id)
    }

    pub(super) fn keep_request_id(&mut self, slot: u32, id: Box<str>) {
        self.request_ids.insert(slot, id);
    }

    pub(super) fn count(&self) -> usize {
        self.count
    }

    /// More than the highest slot ever taken.
    pub(super) fn slots(&self) -> u32 {
        self.slots.len()
    }
}
