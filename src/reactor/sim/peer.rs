//! The other end of a simulated connection.

use std::collections::VecDeque;
use std::net::SocketAddr;

/// The other end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerId(pub(super) u32);

/// How a connection ended, as the peer sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PeerEnd {
    /// The gateway sent FIN: by a close or by ending its direction.
    Finished,
    /// The gateway sent RST: by a close with reset, or, as Linux does, by a close while bytes of the peer were unread.
    Reset,
    /// The net broke it ([`super::SimSettings::reset`], [`super::SimSettings::aborted`]), not the gateway.
    Lost,
}

/// A peer and what is under way to and from it.
#[derive(Debug)]
pub(super) struct Peer {
    pub(super) address: SocketAddr,
    /// To the gateway, not yet received.
    pub(super) sent: VecDeque<u8>,
    /// From the gateway, not yet read.
    pub(super) unread: Vec<u8>,
    pub(super) window_bytes: usize,
    /// Of the bytes sent to it, how many its TCP has not acknowledged.
    pub(super) unacknowledged: usize,
    pub(super) finished: bool,
    /// RST, by the peer or by the net.
    pub(super) broken: bool,
    /// The gateway heard of it: an error is told once.
    pub(super) told: bool,
    pub(super) end: Option<PeerEnd>,
}

impl Peer {
    pub(super) fn new(address: SocketAddr, window_bytes: usize) -> Self {
        let (sent, unread) = (VecDeque::new(), Vec::new());
        Self { address, sent, unread, window_bytes, unacknowledged: 0, finished: false, broken: false, told: false, end: None }
    }

    pub(super) fn room(&self) -> usize {
        self.window_bytes.saturating_sub(self.unread.len())
    }

    pub(super) fn lose(&mut self) {
        self.broken = true;
        self.sent.clear();
        self.end = Some(PeerEnd::Lost);
    }
}
