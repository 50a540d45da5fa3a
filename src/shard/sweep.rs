//! The late-binding sweep: who is visited in this turn, and what each send carries.
//!
//! Nothing is decided when a publication comes; a visit takes all that its client lacks at that moment, over all its
//! topics, and what it is owed (replies, control frames), in one send. The hand goes round over due clients in slot order,
//! so no message waits for more than one round, whatever the load.
//!
//! A turn begins with clients that are owed something, oldest first, for at most half its sends: a ping or a request is
//! answered in the middle of a fan-out, and a flood of them leaves half of each turn to publications.
//!
//! Order within a send: the rest of a frame that is under way, then what is owed, then publications.
//!
//! A TLS client's send is made when it is planned, in `sweep/sealing.rs`.

mod sealing;

use std::collections::VecDeque;
use std::io::IoSlice;
use std::ops::Range;

use self::sealing::Sealing;
use super::clients::{Client, Clients};
use super::topics::Topics;
use crate::config::{Limits, Shards};
use crate::dialect::stream::event;
use crate::hub::{Hub, Notice, Span, Visiting};
use crate::reactor::{ClientKey, PIECES_MAX, SendOutcome};

/// Spans up to this size are copied together where a send has several: a copy of a small frame costs less than a vector's
/// entry (measured: none at 8, 1.19 times at 32).
const COPIED_SPAN_BYTES_MAX: usize = 4096;

/// A turn prepares no further visit beyond so many copied bytes, which bounds the scratch.
const SCRATCH_BYTES_MAX: usize = 1 << 20;

/// While so much is owed to a client, it is sent that alone.
const OWED_BEFORE_PUBLICATIONS_MAX: usize = 16 << 10;

/// One send of the turn.
pub(super) struct Visit {
    pub(super) client: ClientKey,
    load: Load,
    bytes: usize,
}

/// What a send carries.
enum Load {
    /// Bytes as they lie; what they are of moves on once the send is decided.
    Plain { parts: Parts, pieces: Range<usize> },
    /// Sealed bytes in the turn's scratch; what they are of has moved on already.
    Sealed { range: Range<usize>, deliveries: u64 },
    /// What a TLS client's connection had pending.
    Pending,
}

/// What of a client's own a visit takes.
struct Parts {
    /// What is owed goes before the spans, or behind the first of them (a frame's rest).
    owed_bytes: usize,
    owed_after_rest: bool,
    spans: Range<usize>,
}

/// Why a client cannot be visited any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Loss {
    /// It fell out of a ring.
    Fallen,
    /// Nothing can be sealed for it.
    Broken,
}

/// A piece of a send, resolved to bytes only when the turn's buffers lie still.
enum Piece {
    Owed(u32),
    Span(usize),
    Scratch(Range<usize>),
}

/// What a visit's outcome means for the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Visited {
    /// All went.
    Whole,
    /// The socket is full.
    Full,
    /// The connection failed.
    Failed,
}

/// What a send brought, for the counters.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Progress {
    pub(super) bytes: u64,
    pub(super) deliveries: u64,
    /// The send carried publications and nothing of the client's own.
    pub(super) shared: bool,
}

/// The sweep's state.
pub(super) struct Sweep {
    /// The next slot to look at.
    hand: u32,
    /// How often the hand went round.
    round: u64,
    /// Clients that are owed something, oldest first; each stands here once.
    owing: VecDeque<ClientKey>,
    /// Slots that were visited at the turn's beginning.
    early: Vec<u32>,
    visits: Vec<Visit>,
    spans: Vec<Span>,
    notices: Vec<Notice>,
    pieces: Vec<Piece>,
    scratch: Vec<u8>,
    sealing: Sealing,
    visit_bytes_max: usize,
    sends_max: usize,
    /// Adapted to the turn's time.
    sends_now: usize,
    turn_us: u64,
    /// Of the turn.
    unix_us: u64,
    /// Publications that some subscriber may not have been given yet: round and hand when it came, and what it was.
    open: VecDeque<(u64, u32, Told)>,
}

/// A publication that became due: when it came in, and the class of its topic.
#[derive(Clone, Copy, Debug)]
pub(super) struct Told {
    pub(super) unix_us: u64,
    pub(super) class: u16,
}

/// Publications whose last submission is still watched for; beyond, some are not measured.
const WATCHED_MAX: usize = 4096;

impl Sweep {
    pub(super) fn new(shards: &Shards, limits: &Limits) -> Sweep {
        Sweep {
            hand: 0,
            round: 0,
            owing: VecDeque::new(),
            early: Vec::new(),
            visits: Vec::new(),
            spans: Vec::new(),
            notices: Vec::new(),
            pieces: Vec::new(),
            scratch: Vec::new(),
            sealing: Sealing::new(limits.tls_visit_bytes_max),
            visit_bytes_max: limits.visit_bytes_max as usize,
            sends_max: usize::from(shards.sends_per_turn),
            sends_now: usize::from(shards.sends_per_turn),
            turn_us: u64::from(shards.turn_us),
            unix_us: 0,
            open: VecDeque::new(),
        }
    }

    /// Chooses the turn's visits. Gives clients that cannot be visited any more.
    pub(super) fn plan(&mut self, topics: &mut Topics, clients: &mut Clients, unix_us: u64, lost: &mut Vec<(ClientKey, Loss)>) {
        self.unix_us = unix_us;
        self.visits.clear();
        self.spans.clear();
        self.pieces.clear();
        self.scratch.clear();
        self.sealing.clear();
        self.visit_owing(topics, clients, lost);
        // Each client at most once a turn, as each send must be decided before the next: a full round ends the turn.
        let (first, mut wrapped) = (self.hand, false);
        while self.visits.len() < self.sends_now && self.scratch.len() + self.sealing.bytes() < SCRATCH_BYTES_MAX {
            let Some(slot) = topics.hub.due().next_from(self.hand) else {
                if wrapped || self.hand == 0 {
                    break;
                }
                self.hand = 0;
                self.round += 1;
                wrapped = true;
                continue;
            };
            if wrapped && slot >= first {
                break;
            }
            self.hand = slot + 1;
            if self.early.contains(&slot) {
                continue;
            }
            match clients.at(slot).filter(|client| !client.closing) {
                Some(client) => self.visit(topics, client, lost),
                None => topics.hub.due().unmark(slot),
            }
        }
    }

    /// A client is owed something that it was not owed before.
    pub(super) fn owe(&mut self, client: ClientKey) {
        self.owing.push_back(client);
    }

    /// The turn's beginning: clients that are owed something. Who is blocked waits for its socket, and for the hand.
    fn visit_owing(&mut self, topics: &mut Topics, clients: &mut Clients, lost: &mut Vec<(ClientKey, Loss)>) {
        self.early.clear();
        while self.visits.len() < self.sends_now.div_ceil(2)
            && let Some(key) = self.owing.pop_front()
        {
            let Some(client) = clients.get(key).filter(|client| !client.closing) else { continue };
            client.owing = false;
            if client.owes() && !topics.hub.due().is_blocked(key.slot) {
                self.early.push(key.slot);
                self.visit(topics, client, lost);
            }
        }
    }

    /// Prepares one send.
    fn visit(&mut self, topics: &mut Topics, client: &mut Client, lost: &mut Vec<(ClientKey, Loss)>) {
        let key = client.key;
        let visited = if client.tls.is_some() { self.visit_sealed(topics, client) } else { self.visit_plain(topics, client) };
        if let Err(loss) = visited {
            lost.push((key, loss));
        }
    }

    fn visit_plain(&mut self, topics: &mut Topics, client: &mut Client) -> Result<(), Loss> {
        let (key, spans_before) = (client.key, self.spans.len());
        // What is owed goes right behind a frame's rest; the publications then wait for the next visit, so that the order
        // of a short send is plain.
        let owed_after_rest = !client.session.owed().is_empty() && topics.hub.torn(key.slot).is_some();
        let bytes_max = if owed_after_rest { 0 } else { self.visit_bytes_max };
        self.take_due(topics, client, bytes_max)?;
        let (hub, owed_bytes) = (&topics.hub, client.session.owed().len());
        let spans = spans_before..self.spans.len();
        let bytes = owed_bytes + self.spans[spans.clone()].iter().map(Span::bytes).sum::<usize>();
        if bytes == 0 {
            return Ok(());
        }
        let pieces_before = self.pieces.len();
        if owed_bytes > 0 && !owed_after_rest {
            self.pieces.push(Piece::Owed(key.slot));
        }
        self.lay_out(hub, spans.clone(), pieces_before);
        if owed_bytes > 0 && owed_after_rest {
            self.pieces.push(Piece::Owed(key.slot));
        }
        let load = Load::Plain { parts: Parts { owed_bytes, owed_after_rest, spans }, pieces: pieces_before..self.pieces.len() };
        self.visits.push(Visit { client: key, load, bytes });
        Ok(())
    }

    /// Takes what a client lacks; what it is not sent is told among what is owed to it.
    fn take_due(&mut self, topics: &mut Topics, client: &mut Client, bytes_max: usize) -> Result<(), Loss> {
        // Notices are not heaped up for a socket that takes only them.
        if client.session.owed().len() > OWED_BEFORE_PUBLICATIONS_MAX && topics.hub.torn(client.key.slot).is_none() {
            return Ok(());
        }
        let visiting = Visiting { bytes_max, unix_us: self.unix_us, tells: client.session.hears_events() };
        let Topics { hub, encoder, .. } = topics;
        hub.take_due(client.key.slot, visiting, encoder, &mut self.spans, &mut self.notices).map_err(|_| Loss::Fallen)?;
        for notice in self.notices.drain(..).filter(|_| visiting.tells) {
            client.session.notify(|out| match notice {
                Notice::Gap { topic, from, to } => event::gap(out, hub.name(topic), from, to),
                Notice::Epoch { topic, epoch } => event::epoch(out, hub.name(topic).as_str(), epoch),
                Notice::Culled { topic, offset, count } => event::culled(out, hub.name(topic), offset, count),
            });
        }
        Ok(())
    }

    /// One span goes from its ring as it lies there; of several the small ones are copied together.
    fn lay_out(&mut self, hub: &Hub, spans: Range<usize>, pieces_before: usize) {
        let alone = spans.len() == 1;
        for span in spans {
            // A span may wrap: two pieces. One place more is kept for what is owed.
            let room = self.pieces.len() - pieces_before + 3 <= PIECES_MAX;
            if alone || (self.spans[span].bytes() > COPIED_SPAN_BYTES_MAX && room) {
                self.pieces.push(Piece::Span(span));
                continue;
            }
            let (one, two) = hub.resolve(&self.spans[span]);
            let start = self.scratch.len();
            self.scratch.extend_from_slice(one);
            self.scratch.extend_from_slice(two);
            let end = self.scratch.len();
            match self.pieces[pieces_before..].last_mut() {
                Some(Piece::Scratch(range)) => range.end = end,
                _ => self.pieces.push(Piece::Scratch(start..end)),
            }
        }
    }

    /// The turn's visits.
    pub(super) fn visits(&self) -> &[Visit] {
        &self.visits
    }

    /// The bytes of one visit's send, appended to `slices`.
    pub(super) fn resolve<'a>(&'a self, visit: &Visit, hub: &'a Hub, clients: &'a Clients, slices: &mut Vec<IoSlice<'a>>) {
        let pieces = match &visit.load {
            Load::Plain { pieces, .. } => pieces.clone(),
            Load::Sealed { range, .. } => return slices.push(IoSlice::new(self.sealing.sealed(range))),
            Load::Pending => {
                let client = clients.peek(visit.client.slot).expect("a client that is visited is there");
                return slices.push(IoSlice::new(client.pending_sealed()));
            }
        };
        for piece in &self.pieces[pieces] {
            match piece {
                Piece::Owed(slot) => {
                    let client = clients.peek(*slot).expect("a client that is visited is there");
                    slices.push(IoSlice::new(client.session.owed()));
                }
                Piece::Scratch(range) => slices.push(IoSlice::new(&self.scratch[range.clone()])),
                Piece::Span(span) => {
                    let (one, two) = hub.resolve(&self.spans[*span]);
                    slices.push(IoSlice::new(one));
                    if !two.is_empty() {
                        slices.push(IoSlice::new(two));
                    }
                }
            }
        }
    }

    /// Visit `number` was decided: moves cursors and what is owed by what went.
    pub(super) fn sent(
        &mut self,
        number: usize,
        outcome: SendOutcome,
        hub: &mut Hub,
        clients: &mut Clients,
    ) -> (ClientKey, Visited, Progress) {
        let visit = &self.visits[number];
        let went = match outcome {
            SendOutcome::Sent(bytes) => bytes as usize,
            SendOutcome::Full | SendOutcome::Failed(_) => 0,
        };
        let client = clients.at(visit.client.slot).expect("a client that is visited is there");
        let shared = matches!(&visit.load, Load::Plain { parts, .. } if parts.owed_bytes == 0);
        let deliveries = match &visit.load {
            Load::Plain { parts, .. } => parts.move_on(&self.spans, went, hub, client),
            Load::Sealed { range, deliveries } => {
                if went < visit.bytes {
                    client.keep_sealed(&self.sealing.sealed(range)[went..]);
                }
                *deliveries
            }
            Load::Pending => {
                client.pending_sealed_went(went);
                0
            }
        };
        let visited = match outcome {
            SendOutcome::Failed(_) => Visited::Failed,
            _ if went == visit.bytes => Visited::Whole,
            _ => Visited::Full,
        };
        (visit.client, visited, Progress { bytes: went as u64, deliveries, shared })
    }

    /// Keeps a turn within its time: fewer sends where they were large, more again where they were small.
    pub(super) fn adapt(&mut self, turn_took_us: u64) {
        if self.visits.len() < self.sends_now {
            return;
        }
        let least = (self.sends_max / 8).max(1);
        self.sends_now = if turn_took_us > self.turn_us {
            (self.sends_now / 2).max(least)
        } else {
            (self.sends_now + self.sends_max / 8 + 1).min(self.sends_max)
        };
    }

    /// A publication came in at this moment, for subscribers here.
    pub(super) fn watch(&mut self, told: Told) {
        if self.open.len() < WATCHED_MAX {
            self.open.push_back((self.round, self.hand, told));
        }
    }

    /// Other limits hold from now on. What was watched for is not told any more: its classes are numbered by the earlier settings.
    pub(super) fn go_by(&mut self, limits: &Limits) {
        self.visit_bytes_max = limits.visit_bytes_max as usize;
        self.sealing.visit_bytes_max = limits.tls_visit_bytes_max as usize;
        self.open.clear();
    }

    /// Publications that everyone due has now been given: those for which the hand has gone round once, or all where nobody
    /// is due any more.
    pub(super) fn completed(&mut self, nobody_due: bool) -> impl Iterator<Item = Told> {
        let (round, hand) = (self.round, self.hand);
        let over = move |&(since_round, since_hand, _): &(u64, u32, Told)| {
            nobody_due || round > since_round + 1 || (round == since_round + 1 && hand >= since_hand)
        };
        let count = self.open.iter().take_while(|entry| over(entry)).count();
        self.open.drain(..count).map(|(_, _, told)| told)
    }
}

impl Parts {
    /// So many bytes of these went, in their order: moves cursors and what is owed. Gives the deliveries.
    fn move_on(&self, all: &[Span], went: usize, hub: &mut Hub, client: &mut Client) -> u64 {
        let (mut left, mut deliveries, slot) = (went, 0, client.key.slot);
        let mut owed = |left: &mut usize| {
            let part = self.owed_bytes.min(*left);
            *left -= part;
            if part > 0 {
                client.session.owed_went(part);
            }
        };
        if !self.owed_after_rest {
            owed(&mut left);
        }
        for span in &all[self.spans.clone()] {
            let part = span.bytes().min(left);
            left -= part;
            deliveries += hub.advance(slot, span, part);
        }
        if self.owed_after_rest {
            owed(&mut left);
        }
        deliveries
    }
}
