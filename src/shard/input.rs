//! What clients send: to the session where it can take it, else held back; and the receives that bring it.
//!
//! A session that waits (for another thread, for a credit, for its client to take what it is owed) takes no input. Its
//! receive is cancelled, and what was under way by then is held back: at most two turns' completions a client, at most
//! `held_bytes_max` over the shard's clients but publishers.

use super::clients::{Pending, Receive, Wait as Awaiting};
use super::core::Core;
use crate::metrics::CloseClass;
use crate::reactor::{ClientKey, Op, ReceiveEnd};
use crate::ws::CloseCode;

impl Core {
    /// Takes plain input: to the session, or held back.
    pub(super) fn take_input(&mut self, key: ClientKey, bytes: &mut [u8]) {
        let Some(client) = self.clients.get(key).filter(|client| !client.closing) else { return };
        if client.pending.is_some() {
            // What was under way when the receive is cancelled still comes.
            if client.receive == Receive::Armed {
                client.receive = Receive::Cancelling;
                self.ops.push_back(Op::CancelReceive(key));
            }
            self.hold(key, bytes);
            return;
        }
        self.feed(key, bytes);
    }

    /// Gives input to a session, and does what it asks, as far as it goes.
    pub(super) fn feed(&mut self, key: ClientKey, bytes: &mut [u8]) {
        let moment = self.moment();
        let mut input = bytes;
        loop {
            let Some(client) = self.clients.get(key).filter(|client| !client.closing) else { return };
            if client.pending.is_none() && client.session.is_congested(&self.rules) {
                client.pending = Some(Box::new(Pending { wait: Awaiting::Owed, held: Vec::new() }));
            }
            if client.pending.is_some() {
                self.hold(key, input);
                break;
            }
            match client.session.receive(&mut input, &self.rules, moment) {
                Some(effect) => self.execute(key, effect),
                None if input.is_empty() => break,
                None => {}
            }
        }
        self.settle(key);
    }

    /// Keeps input for later. Beyond the bound whoever sends on without waiting for answers is closed; a publisher's
    /// messages are never dropped, and its socket is no longer read.
    fn hold(&mut self, key: ClientKey, bytes: &[u8]) {
        let now_us = self.now.monotonic_us;
        let Some(client) = self.clients.get(key) else { return };
        let Some(pending) = &mut client.pending else { return };
        if self.held_bytes + bytes.len() > self.rules.limits.held_bytes_max as usize && !client.session.is_publisher() {
            self.held_bytes -= pending.held.len();
            client.pending = None;
            let reason = "more is sent than is answered: wait for replies";
            client.session.close(CloseCode::TRY_AGAIN_LATER, reason, CloseClass::Policy, now_us);
            self.settle(key);
            return;
        }
        self.held_bytes += bytes.len();
        pending.held.extend_from_slice(bytes);
    }

    pub(super) fn receive_ended(&mut self, key: ClientKey, reason: ReceiveEnd) {
        let Some(client) = self.clients.get(key).filter(|client| !client.closing) else { return };
        match reason {
            ReceiveEnd::Eof => {
                client.receive = Receive::Over;
                client.eof = true;
                self.settle(key);
            }
            ReceiveEnd::Failed(_) => {
                client.receive = Receive::Over;
                self.close(key, CloseClass::Reset, true);
            }
            ReceiveEnd::NoBuffers | ReceiveEnd::Ended => {
                if reason == ReceiveEnd::NoBuffers {
                    self.metrics.buffer_shortages.add(1);
                }
                self.metrics.receives_ended.add(1);
                if client.pending.is_some() {
                    client.receive = Receive::Paused;
                } else {
                    client.receive = Receive::Queued;
                    self.unarmed.push_back(key);
                }
            }
            ReceiveEnd::Cancelled => {
                client.receive = Receive::Paused;
                if client.pending.is_none() {
                    client.receive = Receive::Queued;
                    self.unarmed.push_back(key);
                }
            }
        }
    }
}
