//! The gateway's way: its own reactor, so direct descriptors, deferred task work, and sends that one call decides together.

use std::io::{self, IoSlice};
use std::net::SocketAddr;

use tidegate::reactor::listener::{ListenSettings, Listener};
use tidegate::reactor::probe;
use tidegate::reactor::uring::{Uring, UringSettings};
use tidegate::reactor::{ClientKey, Completion, Op, Reactor, ReactorSizes, ReceiveEnd, Send, SendOutcome, Wait};

use super::server::{Heard, Place, Way};

/// Sends of one call: the batch that measured best for a bare fan-out.
const SENDS_PER_TURN: usize = 256;

const ACCEPTS: u16 = 64;

/// As long as a machine is up.
const FOR_EVER: Wait = Wait::Until { monotonic_us: u64::MAX };

pub(super) struct Ring {
    reactor: Uring,
    address: SocketAddr,
    /// By slot.
    clients: Vec<Option<ClientKey>>,
    completions: Vec<Completion>,
    /// Sends of a turn that took less than all: whose, and how much.
    short: Vec<(ClientKey, usize)>,
}

impl Ring {
    pub(super) fn listen(address: SocketAddr, connections_max: u32) -> io::Result<Ring> {
        let capabilities = probe::probe().map_err(io::Error::other)?;
        let settings = ListenSettings { backlog: 4096, send_unsent_bytes_max: 0, send_timeout_ms: 0, nodelay: true };
        let listener = Listener::bind(address, &settings)?;
        let address = listener.address().expect("it is bound to an address and a port");
        let sizes = ReactorSizes {
            entries: SENDS_PER_TURN as u16,
            connections_max,
            accepts_max: ACCEPTS,
            receive_buffers: 256,
            receive_buffer_bytes: 16 << 10,
            bounded_send_bytes: 16 << 10,
        };
        let settings = UringSettings { sizes, direct: capabilities.direct, incremental: capabilities.incremental };
        let slots = connections_max + u32::from(ACCEPTS);
        let mut reactor = Uring::new(settings, vec![listener])?;
        reactor.submit(Op::Accept { armed: ACCEPTS }).map_err(io::Error::other)?;
        Ok(Ring { reactor, address, clients: vec![None; slots as usize], completions: Vec::new(), short: Vec::new() })
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    fn submit(&mut self, op: Op) -> io::Result<()> {
        if self.reactor.submit(op).is_err() {
            self.reactor.turn(&[], Wait::Poll, SENDS_PER_TURN, &mut self.completions)?;
            self.reactor.submit(op).map_err(io::Error::other)?;
        }
        Ok(())
    }

    fn take(&mut self, completion: Completion, heard: &mut dyn FnMut(Place, Heard<'_>)) -> io::Result<()> {
        match completion {
            Completion::Accepted { client, .. } => {
                self.clients[client.slot as usize] = Some(client);
                self.submit(Op::Receive(client))?;
                self.submit(Op::Accept { armed: ACCEPTS })?;
            }
            Completion::Received { client, buffer } => {
                heard(client.slot, Heard::Bytes(self.reactor.bytes(buffer)));
                self.reactor.release(buffer);
            }
            Completion::ReceiveEnded { client, reason: ReceiveEnd::NoBuffers | ReceiveEnd::Ended } => {
                self.submit(Op::Receive(client))?;
            }
            Completion::ReceiveEnded { client, .. } => {
                if self.clients[client.slot as usize].take().is_some() {
                    heard(client.slot, Heard::End);
                    self.submit(Op::Close { client, reset: false })?;
                }
            }
            Completion::AcceptFailed { .. }
            | Completion::Writable(_)
            | Completion::Sent { .. }
            | Completion::Closed(_)
            | Completion::Unacknowledged { .. }
            | Completion::Woken => {}
        }
        Ok(())
    }

    /// One turn of sends of the same bytes. What comes in meanwhile stays for [`Way::wait`].
    fn send_turn(&mut self, to: impl Iterator<Item = ClientKey>, bytes: &[u8]) -> io::Result<()> {
        let piece = [IoSlice::new(bytes)];
        let sends: Vec<Send<'_>> = to.map(|client| Send { client, pieces: &piece }).collect();
        let before = self.completions.len();
        self.reactor.turn(&sends, Wait::Poll, SENDS_PER_TURN, &mut self.completions)?;
        for completion in self.completions.drain(before..before + sends.len()) {
            match completion {
                Completion::Sent { outcome: SendOutcome::Sent(length), .. } if length as usize == bytes.len() => {}
                Completion::Sent { client, outcome: SendOutcome::Sent(length) } => self.short.push((client, length as usize)),
                Completion::Sent { client, outcome: SendOutcome::Full } => self.short.push((client, 0)),
                // Who left is heard of by its receive's end.
                _ => {}
            }
        }
        Ok(())
    }
}

impl Way for Ring {
    fn wait(&mut self, heard: &mut dyn FnMut(Place, Heard<'_>)) -> io::Result<()> {
        if self.completions.is_empty() {
            self.reactor.turn(&[], FOR_EVER, SENDS_PER_TURN, &mut self.completions)?;
        }
        for completion in std::mem::take(&mut self.completions) {
            self.take(completion, heard)?;
        }
        Ok(())
    }

    fn send(&mut self, to: &[Place], bytes: &[u8]) -> io::Result<()> {
        for places in to.chunks(SENDS_PER_TURN) {
            let clients: Vec<ClientKey> = places.iter().filter_map(|place| self.clients[*place as usize]).collect();
            self.send_turn(clients.into_iter(), bytes)?;
            // A full socket is asked again at once: the floor's receivers read without pause.
            while let Some((client, sent)) = self.short.pop() {
                if self.clients[client.slot as usize].is_some() {
                    self.send_turn(std::iter::once(client), &bytes[sent..])?;
                }
            }
        }
        Ok(())
    }
}
