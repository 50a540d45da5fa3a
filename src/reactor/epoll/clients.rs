//! The clients of an epoll reactor: which slots are taken, by which generation, and what is armed for each.
//!
//! Edge-triggered: an event says that something changed, and is told once. So a slot remembers that it may have bytes
//! (`readable`) until a receive came to the end of them. That is where it brought fewer than it had room for, which saves the
//! receive that would only say `EAGAIN`; not so once an end, an error or urgent data were seen (`doubtful`), which a receive
//! stops short of though there is more.

use std::io;
use std::net::Shutdown;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::event::epoll::{self, EventFlags};
use socket2::SockRef;

use super::watched;
use crate::reactor::unacknowledged::unacknowledged;
use crate::reactor::{ClientKey, ReactorSizes};
use crate::slots::Slots;

/// Generations count modulo this.
const GENERATIONS: u32 = 1 << 24;

/// What every client is watched for, from its first day on.
const INPUT: EventFlags = EventFlags::IN.union(EventFlags::RDHUP).union(EventFlags::PRI).union(EventFlags::ET);

/// What says that a receive may stop short of what is there.
const DOUBTFUL: EventFlags = EventFlags::RDHUP.union(EventFlags::HUP).union(EventFlags::ERR).union(EventFlags::PRI);

/// All slots of a reactor.
#[derive(Debug)]
pub(super) struct Clients {
    /// Made when the slot is first taken.
    slots: Slots<Slot>,
    free: Vec<u32>,
    bounded_send_bytes: u32,
}

#[derive(Debug, Default)]
struct Slot {
    generation: u32,
    /// None: nobody has the slot.
    descriptor: Option<OwnedFd>,
    receiving: bool,
    readable: bool,
    doubtful: bool,
    /// It stands among those that are read from.
    queued: bool,
    polling: bool,
    shut: bool,
    closing: bool,
    /// The turn under way has a send to it.
    sending: bool,
}

const _: () = assert!(size_of::<Slot>() <= 16);

/// What an event means for a client.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Happened {
    /// It stands among those that are read from, from now on.
    pub(super) queue: bool,
    /// Its poll fired.
    pub(super) writable: bool,
}

impl Clients {
    pub(super) fn new(sizes: &ReactorSizes) -> Self {
        Self { slots: Slots::new(), free: (0..sizes.slots()).rev().collect(), bounded_send_bytes: sizes.bounded_send_bytes }
    }

    /// Takes in a socket and has it watched. None: no slot is free, it is closed.
    pub(super) fn open(&mut self, socket: OwnedFd, set: &OwnedFd) -> io::Result<Option<ClientKey>> {
        let Some(&slot) = self.free.last() else { return Ok(None) };
        self.slots.reserve_with(slot, |_| Slot::default());
        let place = &mut self.slots[slot];
        let client = ClientKey { slot, generation: (place.generation + 1) % GENERATIONS };
        epoll::add(set, &socket, watched::client(client), INPUT)?;
        self.free.pop();
        assert!(place.descriptor.is_none(), "slot {slot} was given twice");
        *place = Slot { generation: client.generation, descriptor: Some(socket), ..Slot::default() };
        Ok(Some(client))
    }

    /// What an event says; nothing if it is of a client that is gone.
    pub(super) fn happened(&mut self, client: ClientKey, flags: EventFlags) -> Happened {
        let Some(slot) = self.slots.get_mut(client.slot) else { return Happened::default() };
        if slot.descriptor.is_none() || slot.generation != client.generation || slot.closing {
            return Happened::default();
        }
        if flags.intersects(INPUT.union(DOUBTFUL).difference(EventFlags::ET)) {
            slot.readable = true;
            slot.doubtful |= flags.intersects(DOUBTFUL);
        }
        let writable = slot.polling && flags.intersects(EventFlags::OUT | EventFlags::HUP | EventFlags::ERR);
        slot.polling &= !writable;
        Happened { queue: slot.queue(), writable }
    }

    /// Where a send of this turn goes to.
    pub(super) fn send_to(&mut self, client: ClientKey) -> BorrowedFd<'_> {
        let slot = self.active(client, "a send");
        assert!(!slot.sending, "a second send of {client:?} in one turn could overtake the first");
        slot.sending = true;
        slot.descriptor.as_ref().expect("an active client has one").as_fd()
    }

    /// The send of this turn is decided.
    pub(super) fn sent(&mut self, client: ClientKey) {
        self.slots[client.slot].sending = false;
    }

    /// True if it is to stand among those that are read from.
    pub(super) fn receive(&mut self, client: ClientKey) -> bool {
        let slot = self.active(client, "a receive");
        assert!(!slot.receiving, "a second receive of {client:?} would share its bytes with the first");
        slot.receiving = true;
        slot.queue()
    }

    /// False if the receive has ended meanwhile.
    pub(super) fn cancel_receive(&mut self, client: ClientKey) -> bool {
        std::mem::take(&mut self.active(client, "cancelling").receiving)
    }

    /// The socket of a client that is to be read from, now that it stands there no more. None: it is gone, or not wanted.
    pub(super) fn read_from(&mut self, client: ClientKey) -> Option<BorrowedFd<'_>> {
        let slot = self.slots.get_mut(client.slot).filter(|slot| slot.generation == client.generation)?;
        slot.queued = false;
        let wanted = slot.receiving && !slot.closing;
        slot.descriptor.as_ref().filter(|_| wanted).map(AsFd::as_fd)
    }

    /// A receive brought so many bytes of so many; true if there may be more, so that it stands among those that are read
    /// from again.
    pub(super) fn received(&mut self, client: ClientKey, len: usize, room: usize) -> bool {
        let slot = &mut self.slots[client.slot];
        slot.readable = len == room || slot.doubtful;
        slot.queue()
    }

    /// A receive found nothing.
    pub(super) fn found_nothing(&mut self, client: ClientKey) {
        self.slots[client.slot].readable = false;
    }

    /// A receive found the end.
    pub(super) fn receive_ended(&mut self, client: ClientKey) {
        self.slots[client.slot].receiving = false;
    }

    /// Marks what the next turn does.
    pub(super) fn poll_out(&mut self, client: ClientKey) {
        let slot = self.active(client, "a poll");
        assert!(!slot.polling, "a second poll of {client:?}");
        slot.polling = true;
    }

    /// Marks what the next turn does.
    pub(super) fn shutdown_send(&mut self, client: ClientKey) {
        let slot = self.active(client, "a shutdown");
        assert!(!slot.shut, "a second shutdown of {client:?}");
        slot.shut = true;
    }

    /// Marks what the next turn does.
    pub(super) fn close(&mut self, client: ClientKey) {
        self.active(client, "a close").closing = true;
    }

    /// Has its poll told as soon as the socket takes bytes, at once if it does. The kernel looks at the socket again each time
    /// that is asked for, so that no edge is missed. It stays watched for it: without a full socket before there is no event.
    pub(super) fn watch_output(&self, client: ClientKey, set: &OwnedFd) -> io::Result<()> {
        Ok(epoll::modify(set, self.socket(client), watched::client(client), INPUT | EventFlags::OUT)?)
    }

    pub(super) fn bound_send(&self, client: ClientKey) {
        let socket = SockRef::from(self.socket(client));
        socket.set_send_buffer_size(self.bounded_send_bytes as usize).expect("SO_SNDBUF can be set on every socket");
        match socket.set_tcp_notsent_lowat(self.bounded_send_bytes).map_err(|error| error.raw_os_error()) {
            // A Unix socket has no option of TCP's.
            Ok(()) | Err(Some(libc::EOPNOTSUPP)) => {}
            Err(errno) => panic!("TCP_NOTSENT_LOWAT can be set on every TCP socket: errno {errno:?}"),
        }
    }

    pub(super) fn unacknowledged(&self, client: ClientKey) -> Option<u32> {
        unacknowledged(self.socket(client))
    }

    pub(super) fn shut_down(&self, client: ClientKey) {
        // Of a connection that failed there is nothing to end; who reads or sends is told of that.
        let _may_be_gone = SockRef::from(self.socket(client)).shutdown(Shutdown::Write);
    }

    /// Closes; true if a receive was armed. The slot may be another's once [`Clients::forget`] was called.
    pub(super) fn end(&mut self, client: ClientKey, reset: bool) -> bool {
        if reset {
            let set = SockRef::from(self.socket(client)).set_linger(Some(Duration::ZERO));
            set.expect("SO_LINGER can be set on every socket");
        }
        let slot = &mut self.slots[client.slot];
        // Nothing else holds the file: it leaves the epoll set by that.
        slot.descriptor = None;
        std::mem::take(&mut slot.receiving)
    }

    /// The shard hears that the client is closed.
    pub(super) fn forget(&mut self, client: ClientKey) {
        self.free.push(client.slot);
    }

    /// Whether the shard is still to hear of it.
    pub(super) fn is_active(&self, client: ClientKey) -> bool {
        let slot = &self.slots[client.slot];
        slot.descriptor.is_some() && slot.generation == client.generation && !slot.closing
    }

    /// An operation that needs no mark is for a client that the shard may use.
    pub(super) fn check_active(&mut self, client: ClientKey, what: &str) {
        self.active(client, what);
    }

    fn socket(&self, client: ClientKey) -> &OwnedFd {
        let slot = &self.slots[client.slot];
        assert_eq!(slot.generation, client.generation, "an operation of a client that was closed before it");
        slot.descriptor.as_ref().expect("a client is open until its close is carried out")
    }

    /// The slot of a client that the shard may use.
    fn active(&mut self, client: ClientKey, what: &str) -> &mut Slot {
        let slot = self.slots.get_mut(client.slot).expect("a slot of this reactor");
        assert!(slot.descriptor.is_some() && slot.generation == client.generation, "{what} for {client:?}, which is closed");
        assert!(!slot.closing, "{what} for {client:?}, which is closing");
        slot
    }
}

impl Slot {
    /// True if it is to stand among those that are read from and does not yet.
    fn queue(&mut self) -> bool {
        let queue = self.receiving && self.readable && !self.queued;
        self.queued |= queue;
        queue
    }
}
