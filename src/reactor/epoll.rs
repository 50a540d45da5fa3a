//! The reactor for where no ring may be made (a container's default seccomp profile, `kernel.io_uring_disabled`, a kernel
//! before 6.1): one epoll set per shard, and a system call for each send and each receive.
//!
//! Without: any knowledge of what the bytes mean, and any thread but its own. No `unsafe`.
//!
//! How a turn goes: the sends, each `MSG_DONTWAIT`, so that it is decided when it returns; what was queued; then one
//! `epoll_wait`, which sleeps only if there is nothing else to do. What it told is carried out as far as the shard has room:
//! accepts, and one receive after the other.
//!
//! Edge-triggered, because a client then costs one `epoll_ctl` in its life (and one for each time that its socket was full),
//! a client that is not read from wakes nobody, and a turn's events are only what changed. Level-triggered, each of these would
//! be an `epoll_ctl` or a shard that does not sleep. What is told once must be remembered: `clients` does.
//!
//! Invariants, asserted: every send of a turn is decided when [`Reactor::turn`] returns; at most one per client. Receives only
//! as far as there are buffers; who found none stays in the queue, so that nobody is left out, and is never told so.

mod accepts;
mod clients;
mod pool;
mod watched;

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::Arc;

use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, CreateFlags, Event, EventFlags};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendAncillaryBuffer, SendFlags, recv, send, sendmsg};

use self::accepts::{Accepted, Accepts};
use self::clients::Clients;
use self::pool::Pool;
use self::watched::Watched;
use super::listener::Listener;
use super::waker::EventWaker;
use super::{
    BufferId, ClientKey, Completion, Now, Op, PIECES_MAX, QueueFull, Reactor, ReactorSizes, ReceiveEnd, Send, SendOutcome, Wait,
    Waker, clock,
};

/// Sleeps at least so long are counted in milliseconds, rounded up: `epoll_pwait2`, which takes less, came with Linux 5.11, and
/// older seccomp profiles forbid it.
const COARSE_US: u64 = 10_000;

/// Decided at once; no signal for a peer that left.
const SEND_FLAGS: SendFlags = SendFlags::DONTWAIT.union(SendFlags::NOSIGNAL);

/// An epoll set as a [`Reactor`].
pub struct Epoll {
    set: OwnedFd,
    clients: Clients,
    accepts: Accepts,
    pool: Pool,
    waker: Arc<EventWaker>,
    /// Operations for the next turn.
    queued: Vec<Op>,
    /// What happened and needs no buffer, in order. At most four a client: its poll, an answer, its receive's end, its close.
    happened: VecDeque<Completion>,
    /// Clients that may have bytes, in the order in which they are read from.
    readable: VecDeque<ClientKey>,
    events: Vec<Event>,
    entries: usize,
}

impl Epoll {
    /// Makes the set.
    ///
    /// # Errors
    /// `InvalidInput` for sizes out of their range; else what the kernel refuses.
    pub fn new(sizes: ReactorSizes, listeners: Vec<Listener>) -> io::Result<Self> {
        sizes.check(listeners.len())?;
        let set = epoll::create(CreateFlags::CLOEXEC)?;
        let accepts = Accepts::new(listeners, sizes.accepts_max)?;
        for (index, listener) in accepts.listeners().iter().enumerate() {
            epoll::add(&set, listener, watched::listener(index as u32), EventFlags::IN | EventFlags::ET)?;
        }
        let waker = Arc::new(EventWaker::new()?);
        // Each write to it is an edge, so that nobody needs to read it.
        epoll::add(&set, &*waker, watched::waker(), EventFlags::IN | EventFlags::ET)?;
        let entries = usize::from(sizes.entries);
        Ok(Self {
            set,
            clients: Clients::new(&sizes),
            accepts,
            pool: Pool::new(sizes.receive_buffers, sizes.receive_buffer_bytes),
            waker,
            queued: Vec::with_capacity(entries),
            happened: VecDeque::new(),
            readable: VecDeque::new(),
            events: Vec::with_capacity(entries),
            entries,
        })
    }

    /// Carries out what was queued.
    fn perform(&mut self) -> io::Result<()> {
        let mut queued = std::mem::take(&mut self.queued);
        for op in queued.drain(..) {
            match op {
                Op::PollOut(client) => self.clients.watch_output(client, &self.set)?,
                Op::BoundSend(client) => self.clients.bound_send(client),
                Op::AskUnacknowledged(client) => {
                    let bytes = self.clients.unacknowledged(client);
                    self.happened.push_back(Completion::Unacknowledged { client, bytes });
                }
                Op::ShutdownSend(client) => self.clients.shut_down(client),
                Op::Close { client, reset } => {
                    if self.clients.end(client, reset) {
                        self.happened.push_back(Completion::ReceiveEnded { client, reason: ReceiveEnd::Cancelled });
                    }
                    self.happened.push_back(Completion::Closed(client));
                }
                Op::Accept { .. } | Op::Receive(_) | Op::CancelReceive(_) => unreachable!("these are not queued"),
            }
        }
        self.queued = queued;
        Ok(())
    }

    /// Learns what happened, having slept for it if there is nothing else to do.
    fn learn(&mut self, sends: usize, wait: Wait) -> io::Result<()> {
        let sleep_us = match wait {
            Wait::Until { monotonic_us } if sends == 0 && self.happened.is_empty() => {
                let now_us = clock::monotonic_us();
                let busy = self.accepts.is_due(now_us) || self.pool.has_room() && !self.readable.is_empty();
                let until_us = self.accepts.resume_us().map_or(monotonic_us, |resume_us| resume_us.min(monotonic_us));
                if busy { 0 } else { until_us.saturating_sub(now_us) }
            }
            _ => 0,
        };
        self.sleep(sleep_us)?;
        for event in self.events.drain(..) {
            match watched::read(event.data) {
                Watched::Client(client) => {
                    let happened = self.clients.happened(client, event.flags);
                    if happened.writable {
                        self.happened.push_back(Completion::Writable(client));
                    }
                    if happened.queue {
                        self.readable.push_back(client);
                    }
                }
                Watched::Listener(index) => self.accepts.happened(index),
                Watched::Waker => self.happened.push_back(Completion::Woken),
            }
        }
        Ok(())
    }

    /// Waits for events, at most as long as told, and takes in as many as one call brings.
    fn sleep(&mut self, sleep_us: u64) -> io::Result<()> {
        let timeout = |us: u64| Timespec { tv_sec: (us / 1_000_000) as i64, tv_nsec: (us % 1_000_000 * 1_000) as i64 };
        let mut coarse_us = sleep_us;
        if (1..COARSE_US).contains(&sleep_us) {
            match poll(&mut [PollFd::new(&self.set, PollFlags::IN)], Some(&timeout(sleep_us))) {
                Ok(_) | Err(Errno::INTR) => coarse_us = 0,
                Err(error) => return Err(failed("ppoll", error)),
            }
        }
        // A day and no more: so many milliseconds are a number of the kernel's.
        let coarse = timeout(coarse_us.min(86_400_000_000));
        match epoll::wait(&self.set, spare_capacity(&mut self.events), Some(&coarse)) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(error) => Err(failed("epoll_wait", error)),
        }
    }

    /// Tells what happened, accepts and receives, until `out` is as long as `end`.
    fn deliver(&mut self, end: usize, now: Now, out: &mut Vec<Completion>) -> io::Result<()> {
        while out.len() < end
            && let Some(completion) = self.happened.pop_front()
        {
            match completion {
                Completion::Closed(client) => self.clients.forget(client),
                // It was cancelled by a close meanwhile.
                Completion::Writable(client) if !self.clients.is_active(client) => continue,
                _ => {}
            }
            out.push(completion);
        }
        while out.len() < end
            && let Some(accepted) = self.accepts.accept(now.monotonic_us)
        {
            out.push(self.accepted(accepted)?);
        }
        while out.len() < end
            && self.pool.has_room()
            && let Some(client) = self.readable.pop_front()
        {
            out.extend(self.receive(client));
        }
        Ok(())
    }

    fn accepted(&mut self, accepted: Accepted) -> io::Result<Completion> {
        let (socket, peer, listener) = match accepted {
            Accepted::Failed(errno) => return Ok(Completion::AcceptFailed { errno }),
            Accepted::Client { socket, peer, listener } => (socket, peer, listener),
        };
        let errno = match self.clients.open(socket, &self.set) {
            Ok(Some(client)) => return Ok(Completion::Accepted { client, peer, listener }),
            Ok(None) => libc::ENFILE,
            // Memory for what is watched, or `fs.epoll.max_user_watches`.
            Err(error) => error.raw_os_error().expect("epoll_ctl fails with an errno"),
        };
        self.accepts.want_one_more();
        Ok(Completion::AcceptFailed { errno })
    }

    /// One receive of a client that may have bytes.
    fn receive(&mut self, client: ClientKey) -> Option<Completion> {
        let socket = self.clients.read_from(client)?;
        let room = self.pool.room();
        let size = room.len();
        let reason = match recv(socket, room, RecvFlags::DONTWAIT) {
            Ok((len, _)) if len > 0 => {
                if self.clients.received(client, len, size) {
                    self.readable.push_back(client);
                }
                return Some(Completion::Received { client, buffer: self.pool.taken(len) });
            }
            Ok(_) => ReceiveEnd::Eof,
            Err(Errno::AGAIN) => {
                self.clients.found_nothing(client);
                return None;
            }
            // It is not armed any more, and what is there stays there.
            Err(Errno::INTR) => ReceiveEnd::Ended,
            Err(error) => ReceiveEnd::Failed(error.raw_os_error()),
        };
        self.clients.receive_ended(client);
        Some(Completion::ReceiveEnded { client, reason })
    }
}

impl Reactor for Epoll {
    fn submit(&mut self, op: Op) -> Result<(), QueueFull> {
        if self.queued.len() >= self.entries {
            return Err(QueueFull);
        }
        match op {
            // These ask the kernel nothing.
            Op::Accept { armed } => {
                self.accepts.want(armed);
                return Ok(());
            }
            Op::Receive(client) => {
                if self.clients.receive(client) {
                    self.readable.push_back(client);
                }
                return Ok(());
            }
            Op::CancelReceive(client) => {
                if self.clients.cancel_receive(client) {
                    self.happened.push_back(Completion::ReceiveEnded { client, reason: ReceiveEnd::Cancelled });
                }
                return Ok(());
            }
            Op::PollOut(client) => self.clients.poll_out(client),
            Op::BoundSend(client) => self.clients.check_active(client, "a bound"),
            Op::AskUnacknowledged(client) => self.clients.check_active(client, "a question"),
            Op::ShutdownSend(client) => self.clients.shutdown_send(client),
            Op::Close { client, .. } => self.clients.close(client),
        }
        self.queued.push(op);
        Ok(())
    }

    fn turn(&mut self, sends: &[Send<'_>], wait: Wait, completions_max: usize, out: &mut Vec<Completion>) -> io::Result<Now> {
        assert!(completions_max > 0, "a turn that takes nothing in never ends");
        assert!(sends.len() <= self.entries, "{} sends in one turn of at most {}", sends.len(), self.entries);
        let before = out.len();
        for send in sends {
            let outcome = send_now(self.clients.send_to(send.client), send.pieces);
            out.push(Completion::Sent { client: send.client, outcome });
        }
        sends.iter().for_each(|send| self.clients.sent(send.client));
        let end = out.len() + completions_max;
        self.accepts.begin_turn();
        self.perform()?;
        loop {
            self.learn(sends.len(), wait)?;
            let now = clock::now();
            self.deliver(end, now, out)?;
            // What concerns us alone is not worth waking the shard.
            match wait {
                Wait::Until { monotonic_us } if out.len() == before && now.monotonic_us < monotonic_us => {}
                _ => return Ok(now),
            }
        }
    }

    fn bytes(&mut self, buffer: BufferId) -> &mut [u8] {
        self.pool.slice(buffer)
    }

    fn release(&mut self, buffer: BufferId) {
        self.pool.release(buffer);
    }

    fn buffers_free(&self) -> usize {
        self.pool.free()
    }

    fn accepts(&self) -> bool {
        self.accepts.are_wanted()
    }

    fn waker(&self) -> Arc<dyn Waker> {
        self.waker.clone()
    }
}

fn send_now(socket: BorrowedFd<'_>, pieces: &[IoSlice<'_>]) -> SendOutcome {
    assert!((1..=PIECES_MAX).contains(&pieces.len()), "{} pieces in a send of at most {PIECES_MAX}", pieces.len());
    assert!(pieces.iter().all(|piece| !piece.is_empty()), "an empty piece in a send");
    let result = match pieces {
        [piece] => send(socket, piece, SEND_FLAGS),
        pieces => sendmsg(socket, pieces, &mut SendAncillaryBuffer::default(), SEND_FLAGS),
    };
    match result {
        Ok(count) => SendOutcome::Sent(count as u32),
        Err(Errno::AGAIN | Errno::INTR) => SendOutcome::Full,
        Err(error) => SendOutcome::Failed(error.raw_os_error()),
    }
}

/// The same error with what was tried before it.
fn failed(what: &str, error: Errno) -> io::Error {
    let error = io::Error::from(error);
    io::Error::new(error.kind(), format!("{what} failed: {error}"))
}
