//! A small shard for the tests of both reactors.

use std::collections::{HashMap, VecDeque};
use std::io::IoSlice;

use super::*;

/// A small shard that does everything right: it echoes what its clients send, and stays within its buffers.
pub(super) struct Echo<R> {
    pub(super) reactor: R,
    pub(super) clients: HashMap<ClientKey, Client>,
    starved: VecDeque<ClientKey>,
    /// What the reactor had no room for, in order: it goes first after the next turn.
    refused: VecDeque<Op>,
    someone_came: bool,
}

#[derive(Default)]
pub(super) struct Client {
    owed: VecDeque<u8>,
    polling: bool,
    finished: bool,
    closing: bool,
}

impl Client {
    fn is_due(&self) -> bool {
        !self.owed.is_empty() && !self.polling && !self.closing
    }
}

impl<R: Reactor> Echo<R> {
    pub(super) fn new(mut reactor: R) -> Self {
        reactor.submit(Op::Accept { armed: 2 }).unwrap();
        Self { reactor, clients: HashMap::new(), starved: VecDeque::new(), refused: VecDeque::new(), someone_came: false }
    }

    /// One turn that sends what is owed.
    pub(super) fn turn(&mut self, deadline_us: u64) {
        let mut due: Vec<_> = self.clients.iter_mut().filter(|(_, client)| client.is_due()).collect();
        due.sort_by_key(|(key, _)| key.slot);
        let owed: Vec<_> = due.iter_mut().map(|(key, client)| (**key, [IoSlice::new(client.owed.make_contiguous())])).collect();
        let sends: Vec<_> = owed.iter().map(|(client, pieces)| Send { client: *client, pieces }).collect();
        let mut out = Vec::new();
        self.reactor.turn(&sends, Wait::Until { monotonic_us: deadline_us }, 8, &mut out).unwrap();
        assert!(out.len() <= sends.len() + 8);
        for op in std::mem::take(&mut self.refused) {
            self.submit(op);
        }
        out.into_iter().for_each(|completion| self.handle(completion));
        if std::mem::take(&mut self.someone_came) {
            self.submit(Op::Accept { armed: 2 });
        }
        while self.reactor.buffers_free() > 0
            && let Some(client) = self.starved.pop_front()
        {
            if self.clients.get(&client).is_some_and(|client| !client.closing) {
                self.submit(Op::Receive(client));
            }
        }
    }

    fn handle(&mut self, completion: Completion) {
        match completion {
            Completion::Accepted { client, .. } => {
                assert!(self.clients.insert(client, Client::default()).is_none());
                self.submit(Op::Receive(client));
                self.someone_came = true;
            }
            Completion::AcceptFailed { errno } => assert_eq!(errno, libc::ECONNABORTED),
            Completion::Received { client, buffer } => {
                self.clients.get_mut(&client).unwrap().owed.extend(self.reactor.bytes(buffer).iter());
                self.reactor.release(buffer);
            }
            // It failed to send in this very turn, before this was known.
            Completion::ReceiveEnded { client, .. } if self.clients[&client].closing => {}
            Completion::ReceiveEnded { client, reason } => match reason {
                ReceiveEnd::NoBuffers => self.starved.push_back(client),
                ReceiveEnd::Ended => self.submit(Op::Receive(client)),
                ReceiveEnd::Eof => {
                    self.clients.get_mut(&client).unwrap().finished = true;
                    self.close_if_done(client);
                }
                ReceiveEnd::Failed(_) => self.close(client),
                ReceiveEnd::Cancelled => panic!("nobody cancelled"),
            },
            Completion::Writable(client) => self.clients.get_mut(&client).unwrap().polling = false,
            Completion::Sent { client, outcome } => {
                let entry = self.clients.get_mut(&client).unwrap();
                let len = entry.owed.len();
                match outcome {
                    SendOutcome::Sent(count) => drop(entry.owed.drain(..count as usize)),
                    SendOutcome::Full => {}
                    SendOutcome::Failed(_) => return self.close(client),
                }
                if !entry.closing && outcome != SendOutcome::Sent(len as u32) {
                    entry.polling = true;
                    self.submit(Op::PollOut(client));
                }
                self.close_if_done(client);
            }
            Completion::Closed(client) => assert!(self.clients.remove(&client).unwrap().closing),
            Completion::Woken => {}
            Completion::Unacknowledged { .. } => panic!("nobody asked"),
        }
    }

    fn submit(&mut self, op: Op) {
        if !self.refused.is_empty() || self.reactor.submit(op) == Err(QueueFull) {
            self.refused.push_back(op);
        }
    }

    fn close_if_done(&mut self, client: ClientKey) {
        if self.clients[&client].finished && self.clients[&client].owed.is_empty() {
            self.close(client);
        }
    }

    fn close(&mut self, client: ClientKey) {
        let entry = self.clients.get_mut(&client).unwrap();
        if !std::mem::replace(&mut entry.closing, true) {
            entry.owed.clear();
            self.submit(Op::Close { client, reset: false });
        }
    }
}
