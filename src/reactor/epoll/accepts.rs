//! Accepts: so many clients as were asked for, over all listeners in turn.
//!
//! Without: the slots that clients get. Invariants: no more clients come than were asked for; a listener is asked only while
//! somebody may wait there, which its event said and `EAGAIN` ends; after an error that lasts all of them rest.

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;

use crate::reactor::accepting::{PAUSE_US, lasts};
use crate::reactor::listener::Listener;

/// All listeners of a reactor.
#[derive(Debug)]
pub(super) struct Accepts {
    listeners: Vec<Listener>,
    /// By listener: somebody may wait.
    waiting: Vec<bool>,
    /// By listener: it brought a client in this turn, and has other shards, which are to have the next ones.
    resting: Vec<bool>,
    /// Most that can be asked for.
    accepts_max: u16,
    /// How many more clients may come.
    wanted: usize,
    /// The listener that is asked next.
    next: usize,
    /// Until when accepting rests.
    paused_us: Option<u64>,
}

/// What an accept brought.
#[derive(Debug)]
pub(super) enum Accepted {
    Client {
        socket: OwnedFd,
        peer: Option<SocketAddr>,
        listener: u16,
    },
    /// An errno.
    Failed(i32),
}

impl Accepts {
    pub(super) fn new(listeners: Vec<Listener>, accepts_max: u16) -> io::Result<Self> {
        for listener in &listeners {
            listener.never_wait()?;
        }
        let waiting = vec![false; listeners.len()];
        let resting = waiting.clone();
        Ok(Self { listeners, waiting, resting, accepts_max, wanted: 0, next: 0, paused_us: None })
    }

    pub(super) fn listeners(&self) -> &[Listener] {
        &self.listeners
    }

    /// Has so many more clients come, none with 0.
    pub(super) fn want(&mut self, armed: u16) {
        assert!(armed <= self.accepts_max, "{armed} accepts wanted of accepts_max {}", self.accepts_max);
        self.wanted = usize::from(armed);
        if armed == 0 {
            self.paused_us = None;
        }
    }

    /// Whether any client is to come.
    pub(super) fn are_wanted(&self) -> bool {
        self.wanted > 0
    }

    /// A client that came could not be kept: another may come in its place.
    pub(super) fn want_one_more(&mut self) {
        self.wanted += 1;
    }

    /// Somebody may wait at a listener.
    pub(super) fn happened(&mut self, listener: u32) {
        self.waiting[listener as usize] = true;
    }

    /// A turn begins.
    pub(super) fn begin_turn(&mut self) {
        self.resting.fill(false);
    }

    /// Whether there is somebody to accept now.
    pub(super) fn is_due(&self, now_us: u64) -> bool {
        let awaits = self.waiting.iter().zip(&self.resting).any(|(waiting, resting)| *waiting && !resting);
        self.wanted > 0 && awaits && self.paused_us.is_none_or(|until_us| until_us <= now_us)
    }

    /// When the rest ends.
    pub(super) fn resume_us(&self) -> Option<u64> {
        self.paused_us
    }

    /// The next client, or why there is none. None: nobody is wanted or nobody waits.
    pub(super) fn accept(&mut self, now_us: u64) -> Option<Accepted> {
        while self.is_due(now_us) {
            self.paused_us = None;
            let listener = self.next;
            self.next = (self.next + 1) % self.listeners.len();
            if !self.waiting[listener] || self.resting[listener] {
                continue;
            }
            let error = match self.listeners[listener].accept() {
                Ok((socket, peer)) => {
                    self.wanted -= 1;
                    self.resting[listener] = self.listeners[listener].is_shared();
                    return Some(Accepted::Client { socket, peer, listener: self.listeners[listener].number() });
                }
                Err(error) => error.raw_os_error().expect("an accept fails with an errno"),
            };
            match error {
                libc::EAGAIN => self.waiting[listener] = false,
                libc::EINTR => {}
                errno => {
                    self.paused_us = lasts(errno).then_some(now_us + PAUSE_US);
                    return Some(Accepted::Failed(errno));
                }
            }
        }
        None
    }
}
