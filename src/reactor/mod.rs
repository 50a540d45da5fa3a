//! The kernel seam: operations in, completions out. The shard knows this trait and nothing of the kernel.
//!
//! [`uring`] is the kernel's, and [`epoll`] where the kernel may not be asked by a ring; [`sim`] is the same in memory, with
//! seeded misfortune.
//!
//! Invariants, asserted by all:
//! - at most one send per client and turn, and each send is decided when [`Reactor::turn`] returns: whole, short or failed.
//!   The kernel then holds no pointer of ours, which is why a send may borrow its bytes;
//! - a client's descriptor is closed only after its receive and poll have been cancelled and reaped;
//! - a completion names the client's generation, so that a late one never reaches the slot's next client.

mod accepting;
mod buffers;
mod clock;
#[cfg(test)]
mod echo;
pub mod epoll;
pub mod listener;
mod pieces;
pub mod probe;
pub mod sim;
mod sizes;
#[cfg(test)]
mod tests;
mod unacknowledged;
pub mod uring;
mod waker;

pub use self::sizes::ReactorSizes;

use std::io;
use std::net::SocketAddr;

/// A client's place and which of the place's many clients it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ClientKey {
    /// Index of the client's slot; with direct descriptors also its index in the ring's table.
    pub slot: u32,
    /// Counts the clients that this slot has had (24 bits).
    pub generation: u32,
}

/// What the shard asks for. Queued by [`Reactor::submit`], handed to the kernel by the next [`Reactor::turn`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// Have this many one-shot accepts armed over all listeners, at least one for each; 0 cancels them. One that brought a
    /// client is not armed again before it is asked for: so no more clients come than there is room for.
    Accept {
        /// How many.
        armed: u16,
    },
    /// Arm a receive. It goes on until [`Completion::ReceiveEnded`].
    Receive(ClientKey),
    /// End the receive; [`Completion::ReceiveEnded`] follows, after what had already arrived. Nothing if it has
    /// ended already.
    CancelReceive(ClientKey),
    /// Say once when the socket takes bytes again: [`Completion::Writable`].
    PollOut(ClientKey),
    /// Have the kernel take less for it from now on: `SO_SNDBUF` and `TCP_NOTSENT_LOWAT` (a Unix socket has the former only) of the size that the
    /// reactor was made with. For clients whose bytes are better decided late than sent early.
    BoundSend(ClientKey),
    /// Say once how many bytes its TCP has not acknowledged: [`Completion::Unacknowledged`].
    AskUnacknowledged(ClientKey),
    /// Send no more: FIN after what was sent.
    ShutdownSend(ClientKey),
    /// Cancel what is armed, reap it, close; [`Completion::Closed`] follows, after [`Completion::ReceiveEnded`] if a receive
    /// was armed. Bytes that come meanwhile are dropped and their buffers go back unseen. With `reset` the peer gets RST at
    /// once and unsent bytes are dropped. Without it Linux sends RST too if bytes of the peer are unread: who wants the last
    /// bytes to arrive ends its direction first ([`Op::ShutdownSend`]) and reads on until the peer ends its own.
    Close {
        /// Who.
        client: ClientKey,
        /// RST in place of FIN.
        reset: bool,
    },
}

/// One client's bytes of a turn: pieces that leave back to back.
#[derive(Clone, Copy, Debug)]
pub struct Send<'a> {
    /// To whom.
    pub client: ClientKey,
    /// At least one, none of them empty, at most [`PIECES_MAX`].
    pub pieces: &'a [io::IoSlice<'a>],
}

/// Most pieces of one send.
pub const PIECES_MAX: usize = 64;

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Completion {
    /// A client came. Nothing is armed for it yet.
    Accepted {
        /// Its slot and generation, chosen by the reactor.
        client: ClientKey,
        /// Where it came from; none: by a Unix socket, whose other end has no address.
        peer: Option<SocketAddr>,
        /// Which of the configuration's listeners.
        listener: u16,
    },
    /// An accept failed (`EMFILE`, `ENFILE`, `ECONNABORTED`, ...). It is armed again unasked, after a pause where the error
    /// lasts.
    AcceptFailed {
        /// The errno.
        errno: i32,
    },
    /// Bytes came: [`Reactor::bytes`], then [`Reactor::release`].
    Received {
        /// From whom.
        client: ClientKey,
        /// Where they lie.
        buffer: BufferId,
    },
    /// The receive is no longer armed.
    ReceiveEnded {
        /// Whose.
        client: ClientKey,
        /// Why.
        reason: ReceiveEnd,
    },
    /// The socket takes bytes again (or failed: the next send tells).
    Writable(ClientKey),
    /// A send was decided. One for each send of the turn, in the same turn.
    Sent {
        /// Whose.
        client: ClientKey,
        /// How it went.
        outcome: SendOutcome,
    },
    /// What was asked for by [`Op::AskUnacknowledged`]. It may come after the client's close was asked for.
    Unacknowledged {
        /// Whose.
        client: ClientKey,
        /// Bytes that were sent, and lie here or are under way. None: the kernel cannot tell (a ring before Linux 6.7, a Unix
        /// socket, a connection that failed).
        bytes: Option<u32>,
    },
    /// The descriptor is closed; the slot may be another's from now on.
    Closed(ClientKey),
    /// Another thread used the [`Waker`].
    Woken,
}

/// Bytes received, until released. Not `Clone`: whoever has it releases it once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BufferId {
    /// Index of the buffer.
    pub index: u16,
    /// First byte (incremental buffers).
    pub start: u32,
    /// How many bytes.
    pub len: u32,
}

/// Why a receive is no longer armed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReceiveEnd {
    /// The peer will send no more (FIN).
    Eof,
    /// No buffer was left; arm it again once some are back. (Only of a ring: an epoll reactor goes on by itself.)
    NoBuffers,
    /// The kernel ended it for a reason of its own; arm it again.
    Ended,
    /// [`Op::CancelReceive`] or [`Op::Close`].
    Cancelled,
    /// The connection failed: errno (`ECONNRESET`, `ETIMEDOUT`, ...).
    Failed(i32),
}

/// How a send went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SendOutcome {
    /// So many bytes went, perhaps fewer than given (then the socket is full, or a reset follows).
    Sent(u32),
    /// The socket was full: nothing went.
    Full,
    /// The connection failed: errno (`EPIPE`, `ECONNRESET`, ...).
    Failed(i32),
}

/// How long a turn waits for completions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// Not at all: there is work due.
    Poll,
    /// Until something happens, or this moment of the monotonic clock.
    Until {
        /// Microseconds on the clock of [`Now::monotonic_us`].
        monotonic_us: u64,
    },
}

/// The time at which a turn returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// Monotonic; only differences mean anything.
    pub monotonic_us: u64,
    /// Since 1970.
    pub unix_us: u64,
}

/// The submission queue is full; [`Reactor::turn`] empties it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the submission queue is full")]
pub struct QueueFull;

/// Wakes a shard that sleeps in [`Reactor::turn`]; for other threads.
pub trait Waker: std::marker::Send + Sync {
    /// The shard's turn returns with [`Completion::Woken`]. Costs a system call: call it only for a shard that said it sleeps.
    fn wake(&self);
}

/// The seam.
pub trait Reactor {
    /// Queues an operation.
    ///
    /// # Errors
    /// [`QueueFull`]: call [`Reactor::turn`], then submit again.
    fn submit(&mut self, op: Op) -> Result<(), QueueFull>;

    /// One `io_uring_enter` of a ring (more only where the kernel brings a burst in pieces): hands over `sends` and then the
    /// queued operations, waits as told, appends what completed to `out`: one [`Completion::Sent`] for each send, in their order and
    /// before all others, then at most `completions_max` others. A turn with sends does not sleep: what they came to has
    /// happened.
    ///
    /// # Errors
    /// Only where the machine fails (the ring itself, the epoll set); the shard cannot go on.
    fn turn(&mut self, sends: &[Send<'_>], wait: Wait, completions_max: usize, out: &mut Vec<Completion>) -> io::Result<Now>;

    /// The bytes of a [`Completion::Received`], to be unmasked in place.
    fn bytes(&mut self, buffer: BufferId) -> &mut [u8];

    /// Gives a buffer back.
    fn release(&mut self, buffer: BufferId);

    /// Receive buffers that are free now. Receives that ended with [`ReceiveEnd::NoBuffers`] are armed again when there are some.
    fn buffers_free(&self) -> usize;

    /// Whether a client may still come: accepts are armed, pause, or are being cancelled.
    fn accepts(&self) -> bool;

    /// A handle for other threads.
    fn waker(&self) -> std::sync::Arc<dyn Waker>;
}
