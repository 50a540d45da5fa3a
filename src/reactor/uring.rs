//! The kernel's reactor: one io_uring per shard.
//!
//! Without: any knowledge of what the bytes mean, and any thread but its own.
//!
//! How a turn goes: the sends enter the submission queue first, so that one `io_uring_enter` decides them all, then what
//! was queued. Each send is `MSG_WAITALL | MSG_DONTWAIT`: the kernel tries it while it is submitted and never keeps it, so
//! its completion is there when the call returns. Other completions wait in `backlog` until the shard has room for them.
//!
//! Invariants, asserted: every send of a turn is decided when [`Reactor::turn`] returns; at most one per client; a
//! descriptor is closed after all that is armed on it was reaped; a buffer goes back once.
#![allow(unsafe_code, reason = "the kernel reads and writes our memory")]

mod accepts;
mod clients;
mod setup;
mod sleep;
mod tag;
#[cfg(test)]
mod tests;

use std::cell::UnsafeCell;
use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;

use io_uring::types::{Fd, SubmitArgs, Timespec};
use io_uring::{IoUring, cqueue, opcode, squeue};

use self::accepts::{Accepted, Accepts};
use self::clients::{Clients, Target};
pub use self::setup::UringSettings;
pub(super) use self::setup::make_ring;
use self::setup::{choose_from_first, explain, table_error};
use self::sleep::Sleep;
pub use self::sleep::WakeAfter;
use self::tag::{Kind, Tag};
use super::buffers::Buffers;
use super::listener::Listener;
use super::waker::EventWaker;
use super::{BufferId, ClientKey, Completion, Now, Op, PIECES_MAX, QueueFull, Reactor, Send, SendOutcome, Wait, Waker, clock};

/// `io_uring_enter` flags; the crate keeps them to itself.
const ENTER_GETEVENTS: u32 = 1;
const ENTER_EXT_ARG: u32 = 1 << 3;

/// What one call brings of the kernel's deferred work unless it waits for more.
const TASK_WORK_DEFAULT: usize = 20;

/// Calls that may fail in a row for want of memory before the ring counts as broken.
const REFUSALS_MAX: u32 = 1_000;

/// Calls that may be needed to reap a turn's sends: one, more if completions overflowed.
const REAPS_MAX: u32 = 1_000;

/// Decided at once, and whole if the socket takes it; no signal for a peer that left.
const SEND_FLAGS: i32 = libc::MSG_WAITALL | libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;

/// A send whose completion has not been seen. No errno and no count is that small.
const UNDECIDED: i32 = i32::MIN;

/// The kernel's io_uring as a [`Reactor`]. Lives on the thread that made it.
pub struct Uring {
    // First, so that it is closed before the memory that it uses goes.
    ring: IoUring,
    buffers: Buffers,
    accepts: Accepts,
    clients: Clients,
    waker: Arc<EventWaker>,
    /// The kernel writes the eventfd's count here.
    wakes: Box<UnsafeCell<u64>>,
    /// Operations for the next turn.
    queued: Vec<squeue::Entry>,
    /// Completions that the shard had no room for. Bounded, since each armed request has at most one without a buffer.
    backlog: VecDeque<Event>,
    /// One for each send of the turn.
    results: Vec<i32>,
    undecided: usize,
    /// Slots were freed since the kernel was told to choose from the first one on.
    freed: bool,
    /// Headers of this turn's vectored sends. Never grows beyond its capacity: the kernel has their addresses.
    messages: Vec<libc::msghdr>,
    /// The ring failed: entries that were not handed over point to bytes that may be gone.
    broken: bool,
    /// Completions but for sends that the latest call brought.
    brought: usize,
    overflows: u64,
    entries: usize,
    wake_after: WakeAfter,
}

/// A completion but for sends.
#[derive(Clone, Copy, Debug)]
struct Event {
    tag: Tag,
    result: i32,
    flags: u32,
    /// Where received bytes lie.
    buffer: Option<BufferId>,
}

impl Uring {
    /// Makes the ring, on the calling thread: it can be used on no other.
    ///
    /// # Errors
    /// `InvalidInput` for settings out of their range; else what the kernel refuses, with the limit that it ran into.
    pub fn new(settings: UringSettings, listeners: Vec<Listener>) -> io::Result<Self> {
        let UringSettings { sizes, direct, incremental } = settings;
        sizes.check(listeners.len())?;
        let ring = make_ring(&sizes).map_err(|error| explain("a ring cannot be made", error))?;
        let slots = sizes.slots();
        if direct {
            ring.submitter().register_files_sparse(slots).map_err(|error| table_error(slots, error))?;
        }
        let buffers = Buffers::register(&ring, sizes.receive_buffers, sizes.receive_buffer_bytes, incremental)
            .map_err(|error| explain("the ring of receive buffers cannot be made", error))?;
        let entries = usize::from(sizes.entries);
        let clients = Clients::new(&settings, !listeners.is_empty());
        let mut uring = Self {
            ring,
            buffers,
            accepts: Accepts::new(listeners, sizes.accepts_max, direct),
            clients,
            waker: Arc::new(EventWaker::new()?),
            wakes: Box::new(UnsafeCell::new(0)),
            queued: Vec::with_capacity(entries),
            backlog: VecDeque::with_capacity(entries),
            results: Vec::with_capacity(entries),
            undecided: 0,
            freed: false,
            messages: Vec::with_capacity(entries),
            broken: false,
            brought: 0,
            overflows: 0,
            entries,
            wake_after: WakeAfter::NONE,
        };
        uring.arm_wake();
        Ok(uring)
    }

    /// How often completions did not fit into their queue. Nothing is lost then (the kernel keeps them), but the queue is
    /// made so large that it should not happen.
    #[must_use]
    pub fn overflows(&self) -> u64 {
        self.overflows
    }

    /// Makes a socket of this process a client, as an accept does with one that came: nothing is armed for it yet. A connect may
    /// still be under way: [`Completion::Writable`] tells its end, and the first send how it ended. With direct descriptors the
    /// socket moves into the ring's table and no longer counts against `RLIMIT_NOFILE`.
    ///
    /// Only a ring without listeners adopts direct descriptors: where one accepts, the kernel chooses the slots.
    ///
    /// # Errors
    /// `ENFILE` if `connections_max` clients are there; else what the kernel says.
    pub fn adopt(&mut self, socket: OwnedFd) -> io::Result<ClientKey> {
        let slot = self.clients.free_slot().ok_or(io::Error::from_raw_os_error(libc::ENFILE))?;
        // io_uring waits by itself, and would give `EAGAIN` on a non-blocking socket.
        rustix::io::ioctl_fionbio(&socket, false)?;
        if !self.clients.are_direct() {
            return Ok(self.clients.adopt(Some(socket)));
        }
        self.ring.submitter().register_files_update(slot, &[socket.as_raw_fd()])?;
        Ok(self.clients.adopt(None))
    }

    /// For how much a turn that sleeps waits from now on; [`WakeAfter::NONE`] at first. Who serves answers at once; who measures
    /// waits for several, since being woken for each packet costs both sides of a loopback more than the packet.
    pub fn wake_after(&mut self, wake_after: WakeAfter) {
        assert!((1..=self.entries).contains(&wake_after.completions.into()), "a sleep waits for one completion to `entries`");
        let is_able = self.ring.params().is_feature_min_timeout();
        self.wake_after = if is_able { wake_after } else { WakeAfter::NONE };
    }

    fn arm_wake(&mut self) {
        let entry = opcode::Read::new(Fd(self.waker.as_raw_fd()), self.wakes.get().cast(), size_of::<u64>() as u32).build();
        self.queued.push(entry.user_data(Tag { kind: Kind::Wake, generation: 0, slot: 0 }.encode()));
    }

    /// Puts the turn's sends into the (empty) submission queue.
    fn push_sends(&mut self, sends: &[Send<'_>]) {
        assert!(sends.len() <= self.entries, "{} sends in one turn of at most {}", sends.len(), self.entries);
        self.results.clear();
        self.results.resize(sends.len(), UNDECIDED);
        self.undecided = sends.len();
        self.messages.clear();
        for (index, send) in sends.iter().enumerate() {
            let target = self.clients.send_to(send.client);
            let tag = Tag { kind: Kind::Send, generation: index as u32, slot: send.client.slot };
            let entry = send_entry(send, target, &mut self.messages).user_data(tag.encode());
            // SAFETY: the bytes, the pieces and the header live until `turn` returns, and the send is decided by then.
            unsafe { self.ring.submission().push(&entry) }.expect("the queue is empty between turns and holds a turn's sends");
        }
    }

    /// Hands everything over, and takes in completions until the shard has enough of them or there are no more. Sleeps only
    /// if there is nothing else to do.
    fn take_in(&mut self, sends: usize, wait: Wait, completions_max: usize) -> io::Result<()> {
        if self.backlog.len() >= completions_max {
            // Sends and what else is decided at once complete all the same; deferred work stays in the kernel.
            self.hand_over()?;
            self.call(Sleep::default(), 0)?;
            self.drain();
            return Ok(());
        }
        match wait {
            Wait::Until { monotonic_us } if sends == 0 && self.backlog.is_empty() => {
                let until_us = self.accepts.resume_us().map_or(monotonic_us, |resume_us| resume_us.min(monotonic_us));
                self.enter(self.wake_after.sleep(until_us.saturating_sub(clock::monotonic_us())))?;
            }
            // The sends' completions fulfil it without waiting.
            _ => self.enter(Sleep { want: sends, ..Sleep::default() })?,
        }
        // A call brings at most 20, or as many as it waits for. To wait for more and for no time would bring them in one call,
        // but where there are fewer it arms a timer that costs ten times a call (9 us against 0.9 us on Linux 6.18).
        while self.brought >= TASK_WORK_DEFAULT && self.backlog.len() < completions_max {
            self.enter(Sleep::default())?;
        }
        Ok(())
    }

    /// Hands everything over and takes in completions, having slept for them.
    fn enter(&mut self, sleep: Sleep) -> io::Result<()> {
        self.hand_over()?;
        self.call(sleep, ENTER_GETEVENTS)?;
        self.drain();
        Ok(())
    }

    /// Puts what is queued into the submission queue behind the sends.
    fn hand_over(&mut self) -> io::Result<()> {
        // All of them, so that the next turn's begin where these did, in memory that is warm.
        let mut queued = std::mem::take(&mut self.queued);
        for entry in queued.drain(..) {
            if self.ring.submission().is_full() {
                self.call(Sleep::default(), 0)?;
                self.drain();
            }
            // SAFETY: what an entry points to is owned by `self` (addresses, the wake count) or static, and outlives the ring.
            unsafe { self.ring.submission().push(&entry) }.expect("there is room after a submission");
        }
        self.queued = queued;
        Ok(())
    }

    /// `io_uring_enter` until the submission queue is empty.
    fn call(&mut self, sleep: Sleep, flags: u32) -> io::Result<()> {
        let Sleep { want, first_us, wait_us } = sleep;
        let timeout = Timespec::new().sec(wait_us / 1_000_000).nsec((wait_us % 1_000_000) as u32 * 1_000);
        let args = SubmitArgs::new().timespec(&timeout).min_wait_usec(first_us);
        let mut refusals = 0;
        loop {
            let pending = self.ring.submission().len();
            if pending == 0 && flags & ENTER_GETEVENTS == 0 {
                return Ok(());
            }
            // SAFETY: `args` and `timeout` live through the call; EXT_ARG says that the argument is of this type.
            let result = unsafe { self.ring.submitter().enter(pending as u32, want as u32, flags | ENTER_EXT_ARG, Some(&args)) };
            match result {
                Ok(submitted) if submitted == pending => return Ok(()),
                Ok(_) => {}
                Err(error) => match error.raw_os_error() {
                    Some(libc::ETIME | libc::EINTR) if pending == 0 => return Ok(()),
                    Some(libc::ETIME | libc::EINTR) => {}
                    // No memory for a request, or completions overflowed: room is made, then it goes on.
                    Some(libc::EAGAIN | libc::EBUSY) if refusals < REFUSALS_MAX => {
                        refusals += 1;
                        self.drain();
                    }
                    _ => {
                        self.broken = true;
                        return Err(explain("io_uring_enter failed", error));
                    }
                },
            }
        }
    }

    /// Empties the completion queue.
    fn drain(&mut self) {
        let before = self.backlog.len();
        for entry in self.ring.completion() {
            let tag = Tag::decode(entry.user_data());
            if tag.kind == Kind::Send {
                let result = &mut self.results[tag.generation as usize];
                assert_eq!(*result, UNDECIDED, "one completion a send");
                *result = entry.result();
                self.undecided -= 1;
                continue;
            }
            let (result, flags) = (entry.result(), entry.flags());
            // Here and not when it is handed over: pieces of a buffer follow each other in the order of completions.
            let buffer = cqueue::buffer_select(flags)
                .and_then(|index| self.buffers.taken(index, result.max(0) as u32, cqueue::buffer_more(flags)));
            self.backlog.push_back(Event { tag, result, flags, buffer });
        }
        self.brought = self.backlog.len() - before;
        self.overflows += u64::from(self.ring.submission().cq_overflow());
    }

    /// Translates completions, oldest first, until `out` has `completions_max` more.
    fn deliver(&mut self, completions_max: usize, now: Now, out: &mut Vec<Completion>) {
        let end = out.len() + completions_max;
        while out.len() < end {
            let Some(event) = self.backlog.pop_front() else {
                // It begins anew where it began, and does not go through all of its memory.
                self.backlog.clear();
                return;
            };
            out.extend(self.settle(event, now));
        }
    }

    /// What a completion means to us and, perhaps, to the shard.
    fn settle(&mut self, event: Event, now: Now) -> Option<Completion> {
        let Event { tag, result, .. } = event;
        let client = ClientKey { slot: tag.slot, generation: tag.generation };
        match tag.kind {
            Kind::Send => unreachable!("sends are decided in their turn"),
            Kind::Accept => match self.accepts.done(tag.slot, result, now.monotonic_us, &mut self.queued) {
                Accepted::Client { descriptor, peer, listener } => match self.clients.open(descriptor) {
                    Some(client) => return Some(Completion::Accepted { client, peer, listener }),
                    None => {
                        self.accepts.want_one_more(&mut self.queued);
                        return Some(Completion::AcceptFailed { errno: libc::ENFILE });
                    }
                },
                Accepted::Failed(errno) => return Some(Completion::AcceptFailed { errno }),
                Accepted::Cancelled => {}
            },
            Kind::AcceptCancel => self.accepts.cancel_done(tag.slot, result, &mut self.queued),
            Kind::Receive => return self.settle_receive(client, event),
            Kind::PollOut => {
                if self.clients.poll_done(client, &mut self.queued) {
                    return Some(Completion::Writable(client));
                }
            }
            Kind::ReceiveCancel | Kind::PollOutCancel => self.clients.cancel_done(tag.kind, client, result, &mut self.queued),
            Kind::Shutdown => self.clients.shutdown_done(client, &mut self.queued),
            // A Unix socket has no option of TCP's.
            Kind::Option => {
                assert!([0, -libc::EOPNOTSUPP].contains(&result), "an option that every socket has: errno {}", -result)
            }
            Kind::Unacknowledged => return Some(Completion::Unacknowledged { client, bytes: u32::try_from(result).ok() }),
            Kind::Close => {
                self.clients.closed(client, result);
                self.freed = true;
                return Some(Completion::Closed(client));
            }
            Kind::Wake => {
                assert!(result == 8 || matches!(-result, libc::EINTR | libc::EAGAIN), "reading our eventfd: errno {}", -result);
                self.arm_wake();
                return Some(Completion::Woken);
            }
        }
        None
    }

    fn settle_receive(&mut self, client: ClientKey, event: Event) -> Option<Completion> {
        let Event { tag, result, flags, buffer } = event;
        if !cqueue::more(flags) {
            if result <= 0 {
                if let Some(buffer) = buffer {
                    self.buffers.release(buffer);
                }
                let reason = self.clients.receive_ended(client, result, &mut self.queued);
                return Some(Completion::ReceiveEnded { client, reason });
            }
            // Bytes and the end in one: the end follows as a completion of its own.
            self.backlog.push_front(Event { tag, result: -libc::EAGAIN, flags: 0, buffer: None });
        }
        let buffer = buffer.expect("bytes that came lie in a buffer");
        if self.clients.wants_bytes(client) {
            return Some(Completion::Received { client, buffer });
        }
        self.buffers.release(buffer);
        None
    }

    /// Reaps what the turn's sends came to. They are decided already; the queue may only have been too short to say so.
    fn decide(&mut self, sends: &[Send<'_>], out: &mut Vec<Completion>) -> io::Result<()> {
        for _ in 0..REAPS_MAX {
            if self.undecided == 0 {
                break;
            }
            self.enter(Sleep::default())?;
        }
        assert_eq!(self.undecided, 0, "a send with MSG_DONTWAIT is decided when io_uring_enter returns");
        for (send, result) in sends.iter().zip(&self.results) {
            self.clients.sent(send.client);
            let outcome = match *result {
                0.. => SendOutcome::Sent(*result as u32),
                _ if matches!(-result, libc::EAGAIN | libc::EINTR) => SendOutcome::Full,
                _ => SendOutcome::Failed(-result),
            };
            out.push(Completion::Sent { client: send.client, outcome });
        }
        Ok(())
    }
}

impl Reactor for Uring {
    fn submit(&mut self, op: Op) -> Result<(), QueueFull> {
        if self.queued.len() >= self.entries {
            return Err(QueueFull);
        }
        match op {
            Op::Accept { armed } => self.accepts.want(armed, &mut self.queued),
            Op::Receive(client) => self.queued.push(self.clients.receive(client)),
            Op::CancelReceive(client) => self.queued.extend(self.clients.cancel_receive(client)),
            Op::PollOut(client) => self.queued.push(self.clients.poll_out(client)),
            Op::BoundSend(client) => self.clients.bound_send(client, &mut self.queued),
            Op::AskUnacknowledged(client) => self.queued.push(self.clients.ask_unacknowledged(client)),
            Op::ShutdownSend(client) => self.queued.push(self.clients.shutdown_send(client)),
            Op::Close { client, reset } => self.clients.close(client, reset, &mut self.queued),
        }
        Ok(())
    }

    fn turn(&mut self, sends: &[Send<'_>], wait: Wait, completions_max: usize, out: &mut Vec<Completion>) -> io::Result<Now> {
        assert!(completions_max > 0, "a turn that takes nothing in never ends");
        if self.broken {
            return Err(io::Error::other("the ring failed in an earlier turn"));
        }
        if std::mem::take(&mut self.freed) && self.clients.kernel_chooses() {
            // Low slots, so that what is kept for every slot that was ever taken is as much as the most clients need, and not
            // as much as the table has after enough of them came and left.
            choose_from_first(&self.ring, self.clients.len())?;
        }
        self.push_sends(sends);
        let before = out.len();
        loop {
            self.take_in(sends.len(), wait, completions_max)?;
            self.decide(sends, out)?;
            let now = clock::now();
            self.accepts.resume(now.monotonic_us, &mut self.queued);
            self.deliver(completions_max, now, out);
            // What concerns us alone is not worth waking the shard.
            match wait {
                Wait::Until { monotonic_us } if out.len() == before && now.monotonic_us < monotonic_us => {}
                _ => return Ok(now),
            }
        }
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
        self.accepts.are_under_way()
    }

    fn waker(&self) -> Arc<dyn Waker> {
        self.waker.clone()
    }
}

/// The operation of one send.
fn send_entry(send: &Send<'_>, target: Target, messages: &mut Vec<libc::msghdr>) -> squeue::Entry {
    assert!((1..=PIECES_MAX).contains(&send.pieces.len()), "{} pieces in a send of at most {PIECES_MAX}", send.pieces.len());
    assert!(send.pieces.iter().all(|piece| !piece.is_empty()), "an empty piece in a send");
    let Target(descriptor, flags) = target;
    let entry = match send.pieces {
        [piece] => {
            let len = u32::try_from(piece.len()).expect("a send is far below 4 GiB");
            opcode::Send::new(descriptor, piece.as_ptr(), len).flags(SEND_FLAGS).build()
        }
        pieces => {
            assert!(messages.len() < messages.capacity(), "a header that moves leaves its address behind");
            // SAFETY: a msghdr is plain old data for which all zeroes mean nothing.
            let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
            // `IoSlice` is an iovec by its documentation; a send reads it only.
            message.msg_iov = pieces.as_ptr().cast_mut().cast();
            message.msg_iovlen = pieces.len();
            messages.push(message);
            let message = messages.last().expect("pushed above");
            opcode::SendMsg::new(descriptor, message).flags(SEND_FLAGS as u32).build()
        }
    };
    entry.flags(flags)
}
