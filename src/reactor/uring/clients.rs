//! The clients of a ring: which slots are taken, by which generation, and what the kernel holds armed for each.
//!
//! Invariant: a slot is closed only when nothing is armed for it. An armed request holds the file, so that closing alone
//! would send no FIN.

use std::os::fd::{AsRawFd, FromRawFd, IntoRawFd, OwnedFd};

use io_uring::types::{Fd, Fixed};
use io_uring::{opcode, squeue};

use super::UringSettings;
use super::tag::{GENERATIONS, Kind, Tag};
use crate::reactor::buffers::GROUP;
use crate::reactor::{ClientKey, ReceiveEnd};
use crate::slots::Slots;

/// All slots of a ring.
#[derive(Debug)]
pub(super) struct Clients {
    /// Made when the slot is first taken.
    slots: Slots<Slot>,
    /// Free slots, where they are chosen here.
    free: Vec<u32>,
    direct: bool,
    /// The kernel chooses the slot: that of an accepted direct descriptor.
    kernel_chooses: bool,
    /// Of the table.
    len: u32,
    /// What [`Op::BoundSend`](crate::reactor::Op::BoundSend) leaves a client.
    bounded_send_bytes: &'static libc::c_int,
}

#[derive(Debug, Default)]
struct Slot {
    generation: u32,
    open: bool,
    receiving: bool,
    polling: bool,
    shutting: bool,
    /// The turn under way has a send to it.
    sending: bool,
    closing: Option<Closing>,
    /// None with direct descriptors.
    descriptor: Option<OwnedFd>,
}

const _: () = assert!(size_of::<Slot>() <= 16);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Closing {
    /// Something armed is still to be reaped.
    Reaping { reset: bool },
    /// The descriptor is handed over for closing.
    Closing,
}

/// `SOCKET_URING_OP_SIOCOUTQ`; the crate keeps it to itself.
const SIOCOUTQ: u32 = 1;

/// SO_LINGER of zero: a close sends RST. Static, since the kernel reads it when it runs the operation.
static RESET: libc::linger = libc::linger { l_onoff: 1, l_linger: 0 };

impl Clients {
    pub(super) fn new(settings: &UringSettings, accepts: bool) -> Self {
        let UringSettings { sizes, direct, .. } = *settings;
        let slots = sizes.slots();
        let kernel_chooses = direct && accepts;
        let free = if kernel_chooses { Vec::new() } else { (0..slots).rev().collect() };
        let bounded_send_bytes = libc::c_int::try_from(sizes.bounded_send_bytes).unwrap_or(libc::c_int::MAX);
        // Few bytes for each ring of a process, and the kernel may read them as long as that runs.
        let bounded_send_bytes = Box::leak(Box::new(bounded_send_bytes));
        Self { slots: Slots::new(), free, direct, kernel_chooses, len: slots, bounded_send_bytes }
    }

    pub(super) fn kernel_chooses(&self) -> bool {
        self.kernel_chooses
    }

    /// How many slots there are, taken or not.
    pub(super) fn len(&self) -> u32 {
        self.len
    }

    pub(super) fn are_direct(&self) -> bool {
        self.direct
    }

    /// A slot for a descriptor that the kernel did not bring. None: all are taken.
    pub(super) fn free_slot(&self) -> Option<u32> {
        assert!(!self.kernel_chooses, "a ring that accepts direct descriptors adopts none: the kernel chooses its slots");
        self.free.last().copied()
    }

    /// Takes the free slot; `descriptor` is none if it is in the ring's table.
    pub(super) fn adopt(&mut self, descriptor: Option<OwnedFd>) -> ClientKey {
        let slot = self.free.pop().expect("asked for a free slot before");
        self.fill(slot, descriptor)
    }

    /// Takes in an accepted descriptor (its index in the ring's table, if direct). None: no slot is free, it is closed.
    pub(super) fn open(&mut self, descriptor: u32) -> Option<ClientKey> {
        let (slot, descriptor) = if self.direct {
            (descriptor, None)
        } else {
            // SAFETY: the kernel gave this descriptor to us with the accept's completion, and nobody else knows it.
            let owned = unsafe { OwnedFd::from_raw_fd(descriptor as i32) };
            (self.free.pop()?, Some(owned))
        };
        Some(self.fill(slot, descriptor))
    }

    fn fill(&mut self, slot: u32, descriptor: Option<OwnedFd>) -> ClientKey {
        self.slots.reserve_with(slot, |_| Slot::default());
        let place = &mut self.slots[slot];
        assert!(!place.open, "slot {slot} was given twice");
        let generation = (place.generation + 1) % GENERATIONS;
        *place = Slot { generation, open: true, descriptor, ..Slot::default() };
        ClientKey { slot, generation }
    }

    /// Where a send of this turn goes to.
    pub(super) fn send_to(&mut self, client: ClientKey) -> Target {
        let slot = self.active(client, "a send");
        assert!(!slot.sending, "a second send of {client:?} in one turn could overtake the first");
        slot.sending = true;
        self.target(client.slot)
    }

    /// The send of this turn is decided.
    pub(super) fn sent(&mut self, client: ClientKey) {
        self.slots[client.slot].sending = false;
    }

    pub(super) fn receive(&mut self, client: ClientKey) -> squeue::Entry {
        let slot = self.active(client, "a receive");
        assert!(!slot.receiving, "a second receive of {client:?} would share its bytes with the first");
        slot.receiving = true;
        let Target(descriptor, flags) = self.target(client.slot);
        let entry = opcode::RecvMulti::new(descriptor, GROUP).build();
        entry.flags(flags).user_data(tag(Kind::Receive, client))
    }

    /// None if the receive has ended meanwhile.
    pub(super) fn cancel_receive(&mut self, client: ClientKey) -> Option<squeue::Entry> {
        self.active(client, "cancelling").receiving.then(|| cancel(Kind::Receive, Kind::ReceiveCancel, client))
    }

    pub(super) fn poll_out(&mut self, client: ClientKey) -> squeue::Entry {
        let slot = self.active(client, "a poll");
        assert!(!slot.polling, "a second poll of {client:?}");
        slot.polling = true;
        let Target(descriptor, flags) = self.target(client.slot);
        let entry = opcode::PollAdd::new(descriptor, libc::POLLOUT as u32).build();
        entry.flags(flags).user_data(tag(Kind::PollOut, client))
    }

    pub(super) fn bound_send(&mut self, client: ClientKey, entries: &mut impl Extend<squeue::Entry>) {
        self.active(client, "a bound");
        let value: &'static libc::c_int = self.bounded_send_bytes;
        let options = [(libc::SOL_SOCKET, libc::SO_SNDBUF), (libc::IPPROTO_TCP, libc::TCP_NOTSENT_LOWAT)];
        let Target(descriptor, flags) = self.target(client.slot);
        entries.extend(options.map(|(level, option)| {
            let length = size_of::<libc::c_int>() as u32;
            let value = std::ptr::from_ref(value).cast();
            let entry = opcode::SetSockOpt::new(descriptor, level as u32, option as u32, value, length);
            entry.build().flags(flags).user_data(tag(Kind::Option, client))
        }));
    }

    /// From Linux 6.7 on the kernel answers with the number.
    pub(super) fn ask_unacknowledged(&mut self, client: ClientKey) -> squeue::Entry {
        self.active(client, "a question");
        let Target(descriptor, flags) = self.target(client.slot);
        let entry = opcode::UringCmd16::new(descriptor, SIOCOUTQ).build();
        entry.flags(flags).user_data(tag(Kind::Unacknowledged, client))
    }

    pub(super) fn shutdown_send(&mut self, client: ClientKey) -> squeue::Entry {
        let slot = self.active(client, "a shutdown");
        assert!(!slot.shutting, "a second shutdown of {client:?}");
        slot.shutting = true;
        let Target(descriptor, flags) = self.target(client.slot);
        let entry = opcode::Shutdown::new(descriptor, libc::SHUT_WR).build();
        entry.flags(flags).user_data(tag(Kind::Shutdown, client))
    }

    /// Cancels what is armed; closes at once if nothing is.
    pub(super) fn close(&mut self, client: ClientKey, reset: bool, entries: &mut impl Extend<squeue::Entry>) {
        let slot = self.active(client, "a close");
        slot.closing = Some(Closing::Reaping { reset });
        if slot.receiving {
            entries.extend([cancel(Kind::Receive, Kind::ReceiveCancel, client)]);
        }
        if slot.polling {
            entries.extend([cancel(Kind::PollOut, Kind::PollOutCancel, client)]);
        }
        self.close_if_reaped(client, entries);
    }

    /// Whether bytes that came are still wanted.
    pub(super) fn wants_bytes(&self, client: ClientKey) -> bool {
        let slot = &self.slots[client.slot];
        slot.open && slot.generation == client.generation && slot.closing.is_none()
    }

    pub(super) fn receive_ended(
        &mut self,
        client: ClientKey,
        result: i32,
        entries: &mut impl Extend<squeue::Entry>,
    ) -> ReceiveEnd {
        let slot = self.armed(client);
        assert!(slot.receiving, "only an armed receive ends");
        slot.receiving = false;
        self.close_if_reaped(client, entries);
        match -result {
            0 => ReceiveEnd::Eof,
            libc::ENOBUFS => ReceiveEnd::NoBuffers,
            libc::ECANCELED => ReceiveEnd::Cancelled,
            libc::EAGAIN | libc::EINTR => ReceiveEnd::Ended,
            errno => ReceiveEnd::Failed(errno),
        }
    }

    /// True if the shard is to hear of it.
    pub(super) fn poll_done(&mut self, client: ClientKey, entries: &mut impl Extend<squeue::Entry>) -> bool {
        let slot = self.armed(client);
        assert!(slot.polling, "only an armed poll fires");
        slot.polling = false;
        let told = slot.closing.is_none();
        self.close_if_reaped(client, entries);
        told
    }

    pub(super) fn shutdown_done(&mut self, client: ClientKey, entries: &mut impl Extend<squeue::Entry>) {
        self.armed(client).shutting = false;
        self.close_if_reaped(client, entries);
    }

    /// The answer to a cancellation: where it did not find what is still armed, it is asked again. Else the close waits for ever.
    pub(super) fn cancel_done(&mut self, kind: Kind, client: ClientKey, result: i32, entries: &mut impl Extend<squeue::Entry>) {
        let slot = &self.slots[client.slot];
        if result >= 0 || !slot.open || slot.generation != client.generation {
            return;
        }
        match kind {
            Kind::ReceiveCancel if slot.receiving => entries.extend([cancel(Kind::Receive, kind, client)]),
            Kind::PollOutCancel if slot.polling => entries.extend([cancel(Kind::PollOut, kind, client)]),
            _ => {}
        }
    }

    pub(super) fn closed(&mut self, client: ClientKey, result: i32) {
        assert!(!self.direct || result == 0, "closing a direct descriptor of ours failed: errno {}", -result);
        let slot = self.armed(client);
        assert_eq!(slot.closing, Some(Closing::Closing), "closed by whom?");
        slot.open = false;
        if !self.kernel_chooses {
            self.free.push(client.slot);
        }
    }

    fn close_if_reaped(&mut self, client: ClientKey, entries: &mut impl Extend<squeue::Entry>) {
        let slot = &mut self.slots[client.slot];
        let Some(Closing::Reaping { reset }) = slot.closing else { return };
        if slot.receiving || slot.polling || slot.shutting {
            return;
        }
        slot.closing = Some(Closing::Closing);
        let close = match slot.descriptor.take() {
            None => {
                if reset {
                    entries.extend([linger_zero(client)]);
                }
                opcode::Close::new(Fixed(client.slot)).build()
            }
            Some(descriptor) => {
                if reset {
                    let option = socket2::SockRef::from(&descriptor).set_linger(Some(std::time::Duration::ZERO));
                    option.expect("SO_LINGER can be set on every socket");
                }
                opcode::Close::new(Fd(descriptor.into_raw_fd())).build()
            }
        };
        entries.extend([close.user_data(tag(Kind::Close, client))]);
    }

    fn target(&self, slot: u32) -> Target {
        match &self.slots[slot].descriptor {
            None => Target(Fd(slot as i32), squeue::Flags::FIXED_FILE),
            Some(descriptor) => Target(Fd(descriptor.as_raw_fd()), squeue::Flags::empty()),
        }
    }

    /// The slot of a client that the shard may use.
    fn active(&mut self, client: ClientKey, what: &str) -> &mut Slot {
        let slot = self.slots.get_mut(client.slot).expect("a slot of this ring");
        assert!(slot.open && slot.generation == client.generation, "{what} for {client:?}, which is closed");
        assert!(slot.closing.is_none(), "{what} for {client:?}, which is closing");
        slot
    }

    /// The slot of a client for which a completion came.
    fn armed(&mut self, client: ClientKey) -> &mut Slot {
        let slot = &mut self.slots[client.slot];
        assert!(slot.open && slot.generation == client.generation, "closed before all was reaped: {client:?}");
        slot
    }
}

/// A descriptor with the flag that says which kind it is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Target(pub(super) Fd, pub(super) squeue::Flags);

fn tag(kind: Kind, client: ClientKey) -> u64 {
    Tag { kind, generation: client.generation, slot: client.slot }.encode()
}

fn cancel(what: Kind, kind: Kind, client: ClientKey) -> squeue::Entry {
    opcode::AsyncCancel::new(tag(what, client)).build().user_data(tag(kind, client))
}

/// Hard-linked, so that the close comes after it, however it goes.
fn linger_zero(client: ClientKey) -> squeue::Entry {
    let value = (&raw const RESET).cast();
    let length = size_of::<libc::linger>() as u32;
    let entry = opcode::SetSockOpt::new(Fixed(client.slot), libc::SOL_SOCKET as u32, libc::SO_LINGER as u32, value, length);
    entry.build().flags(squeue::Flags::IO_HARDLINK).user_data(tag(Kind::Option, client))
}
