//! One thread of the data plane: one ring, the clients it accepted, its view of the topics. Completions in, submissions
//! out; synchronous, without locks.
//!
//! [`Shard`] has the reactor and the loop. All that happens between two calls of the kernel is in `Core`, which knows
//! neither: it takes completions and mail, and leaves operations and a sweep's plan behind. So the whole of it runs on the
//! simulator as it stands.
//!
//! TLS stands at the entry (`opening`) and at the exit (`sweep/sealing`): everything between sees plain bytes.
//!
//! A turn: operations and the sweep's sends go to the kernel in one call; then completions, mail, deadlines; then what was
//! held back is tried again. Each part is bounded.

mod ageing;
mod arriving;
mod clients;
mod core;
mod effects;
mod exchange;
mod flush;
mod heartbeat;
mod history;
mod housekeeping;
mod input;
pub mod inquiry;
mod inspection;
pub mod mail;
pub mod mailbox;
mod opening;
mod reloading;
mod renewing;
mod replicas;
mod settings;
mod shared;
mod staleness;
mod stopping;
mod subscribing;
pub mod succession;
mod sweep;
mod telling;
#[cfg(test)]
mod tests;
pub mod timer;
pub(crate) mod topics;
mod unanswered;
mod waiting;
mod watches;

use std::io;
use std::sync::Arc;

use self::core::Core;
use self::mail::{Place, Post};
use crate::admission::Keys;
use crate::admission::Readiness;
use crate::config::Config;
use crate::metrics::ShardMetrics;
use crate::reactor::{Completion, Now, Reactor, Send, Wait};
use crate::tls::Acceptors;

/// A shard: reactor and core, and the loop that joins them.
pub struct Shard<R> {
    reactor: R,
    core: Core,
    completions: Vec<Completion>,
    now: Now,
    completions_max: usize,
}

/// What a shard is given at its start.
pub struct ShardContext {
    /// Its number.
    pub place: Place,
    /// The whole configuration.
    pub config: Arc<Config>,
    /// All mailboxes.
    pub post: Arc<Post>,
    /// Its own counters.
    pub metrics: Arc<ShardMetrics>,
    /// Whether new clients are taken; shared by all shards.
    pub readiness: Arc<Readiness>,
    /// Drawn at random; names this shard's requests.
    pub nonce: u64,
    /// By listener; newer ones come as [`mail::Mail::Settings`].
    pub acceptors: Acceptors,
    /// Keys that tokens are signed with.
    pub keys: Keys,
    /// It accepts nobody before [`mail::Mail::Accept`].
    pub waits: bool,
}

/// Most clients of one shard.
#[must_use]
pub fn connections_max(config: &Config, shards: u16) -> u32 {
    share(config.limits.connections_max, shards)
}

/// Descriptors of one shard: its clients', and those of clients beyond them, who are told so.
#[must_use]
pub fn places(config: &Config, shards: u16) -> u32 {
    connections_max(config, shards) + u32::from(config.shards.accepts_armed)
}

/// One shard's share of a number of clients. The kernel deals clients out by a hash: an eighth more than the even share leaves
/// the whole number reachable.
fn share(max: u32, shards: u16) -> u32 {
    if shards == 1 { max } else { (max.div_ceil(u32::from(shards)) * 9 / 8 + 1).min(max) }
}

impl<R: Reactor> Shard<R> {
    /// A shard on this thread's reactor; it accepts from its first turn on, unless it is to wait.
    ///
    /// # Errors
    /// Where the reactor fails.
    pub fn new(mut reactor: R, context: ShardContext) -> io::Result<Shard<R>> {
        context.post.mailbox(context.place).set_waker(reactor.waker());
        let completions_max = usize::from(context.config.shards.completions_max);
        let mut completions = Vec::with_capacity(completions_max + usize::from(context.config.shards.sends_per_turn));
        let now = reactor.turn(&[], Wait::Poll, 1, &mut completions)?;
        Ok(Shard { reactor, core: Core::new(context, now), completions, now, completions_max })
    }

    /// Turns until the gateway stops.
    ///
    /// # Errors
    /// Where the reactor fails.
    pub fn run(&mut self) -> io::Result<()> {
        while self.turn()? {}
        Ok(())
    }

    /// One turn; false once the shard has ended.
    ///
    /// # Errors
    /// Where the reactor fails.
    pub fn turn(&mut self) -> io::Result<bool> {
        while let Some(&op) = self.core.ops.front() {
            if self.reactor.submit(op).is_err() {
                break;
            }
            self.core.ops.pop_front();
        }
        self.core.plan();
        let wait = if self.core.ops.is_empty() { self.core.wait() } else { Wait::Poll };
        let before = self.now;
        self.now = self.submit(wait)?;
        self.core.begin(self.now);
        if wait == Wait::Poll {
            self.core.sweep.adapt(self.now.monotonic_us - before.monotonic_us);
        }
        self.take_completions();
        self.core.take_mail();
        self.core.walk_revocations();
        self.core.expire();
        self.core.resume();
        self.core.arm_again(self.reactor.buffers_free());
        if self.core.is_leaving() {
            // Behind those that came in this turn.
            self.core.metrics.accepting.set(self.reactor.accepts().into());
        }
        Ok(!self.core.has_ended())
    }

    /// The one call of the kernel, with the turn's sends as slices of the rings themselves.
    fn submit(&mut self, wait: Wait) -> io::Result<Now> {
        let core = &self.core;
        let visits = core.sweep.visits();
        let mut slices = Vec::new();
        let mut ends = Vec::with_capacity(visits.len());
        for visit in visits {
            core.sweep.resolve(visit, &core.topics.hub, &core.clients, &mut slices);
            ends.push(slices.len());
        }
        let mut start = 0;
        let sends: Vec<Send<'_>> = visits
            .iter()
            .zip(ends)
            .map(|(visit, end)| Send { client: visit.client, pieces: &slices[std::mem::replace(&mut start, end)..end] })
            .collect();
        self.completions.clear();
        self.reactor.turn(&sends, wait, self.completions_max, &mut self.completions)
    }

    fn take_completions(&mut self) {
        let mut sends = 0;
        for &completion in &self.completions {
            match completion {
                Completion::Sent { client: _, outcome } => {
                    self.core.sent(sends, outcome);
                    sends += 1;
                }
                Completion::Received { client, buffer } => {
                    self.core.received(client, self.reactor.bytes(buffer));
                    self.reactor.release(buffer);
                }
                Completion::ReceiveEnded { client, reason } => self.core.receive_ended(client, reason),
                Completion::Writable(client) => self.core.writable(client),
                Completion::Accepted { client, peer, listener } => self.core.accepted(client, peer, listener),
                Completion::AcceptFailed { errno } => self.core.accept_failed(errno),
                Completion::Unacknowledged { client, bytes } => self.core.unacknowledged(client, bytes),
                Completion::Closed(client) => self.core.closed(client),
                Completion::Woken => self.core.woken(),
            }
        }
        assert_eq!(sends, self.core.sweep.visits().len(), "every send of a turn is decided in it");
        self.core.swept(self.completions.len());
    }
}
