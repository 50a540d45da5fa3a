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

use std::collections::VecDeque;
use std::io::IoSlice;
use std::ops::Range;

use super::clients::Clients;
use crate::hub::{Hub, Span};
use crate::reactor::{ClientKey, PIECES_MAX, SendOutcome};

/// Spans up to this size are copied together where a send has several: a copy of a small frame costs less than a vector's
/// entry (measured: none at 8, 1.19 times at 32).
const COPIED_SPAN_BYTES_MAX: usize = 4096;

/// A turn prepares no further visit beyond so many copied bytes, which bounds the scratch.
const SCRATCH_BYTES_MAX: usize = 1 << 20;

/// One send of the turn.
pub(super) struct Visit {
    pub(super) client: ClientKey,
    /// What is owed goes before the spans, or behind the first of them (a frame's rest).
    owed_bytes: usize,
    owed_after_rest: bool,
    spans: Range<usize>,
    pieces: Range<usize>,
    bytes: usize,
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
    pieces: Vec<Piece>,
    scratch: Vec<u8>,
    visit_bytes_max: usize,
    sends_max: usize,
    /// Adapted to the turn's time.
    sends_now: usize,
    turn_us: u64,
    /// Publications that some subscriber may not have been given yet: round and hand when it came, and its ingest time.
    open: VecDeque<(u64, u32, u64)>,
}

/// Publications whose last submission is still watched for; beyond, some are not measured.
const WATCHED_MAX: usize = 4096;

impl Sweep {
    pub(super) fn new(sends_per_turn: u16, turn_us: u32, visit_bytes_max: u32) -> Sweep {
        Sweep {
            hand: 0,
            round: 0,
            owing: VecDeque::new(),
            early: Vec::new(),
            visits: Vec::new(),
            spans: Vec::new(),
            pieces: Vec::new(),
            scratch: Vec::new(),
            visit_bytes_max: visit_bytes_max as usize,
            sends_max: usize::from(sends_per_turn),
            sends_now: usize::from(sends_per_turn),
            turn_us: u64::from(turn_us),
            open: VecDeque::new(),
        }
    }

    /// Chooses the turn's visits. Gives clients that fell out of a ring; they are not visited.
    pub(super) fn plan(&mut self, hub: &mut Hub, clients: &mut Clients, fallen: &mut Vec<ClientKey>) {
        self.visits.clear();
        self.spans.clear();
        self.pieces.clear();
        self.scratch.clear();
        self.visit_owing(hub, clients, fallen);
        // Each client at most once a turn, as each send must be decided before the next: a full round ends the turn.
        let (first, mut wrapped) = (self.hand, false);
        while self.visits.len() < self.sends_now && self.scratch.len() < SCRATCH_BYTES_MAX {
            let Some(slot) = hub.due().next_from(self.hand) else {
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
                Some(client) => {
                    let (key, owed_bytes) = (client.key, client.session.owed().len());
                    if !self.visit(hub, key, owed_bytes) {
                        fallen.push(key);
                    }
                }
                None => hub.due().unmark(slot),
            }
        }
    }

    /// A client is owed something that it was not owed before.
    pub(super) fn owe(&mut self, client: ClientKey) {
        self.owing.push_back(client);
    }

    /// The turn's beginning: clients that are owed something. Who is blocked waits for its socket, and for the hand.
    fn visit_owing(&mut self, hub: &mut Hub, clients: &mut Clients, fallen: &mut Vec<ClientKey>) {
        self.early.clear();
        while self.visits.len() < self.sends_now.div_ceil(2)
            && let Some(key) = self.owing.pop_front()
        {
            let Some(client) = clients.get(key).filter(|client| !client.closing) else { continue };
            client.owing = false;
            let owed_bytes = client.session.owed().len();
            if owed_bytes > 0 && !hub.due().is_blocked(key.slot) {
                self.early.push(key.slot);
                if !self.visit(hub, key, owed_bytes) {
                    fallen.push(key);
                }
            }
        }
    }

    /// Prepares one send; false where the client fell out of a ring.
    fn visit(&mut self, hub: &mut Hub, client: ClientKey, owed_bytes: usize) -> bool {
        let spans_before = self.spans.len();
        // What is owed goes right behind a frame's rest; the publications then wait for the next visit, so that the order
        // of a short send is plain.
        let owed_after_rest = owed_bytes > 0 && hub.torn(client.slot).is_some();
        let bytes_max = if owed_after_rest { 0 } else { self.visit_bytes_max };
        if hub.take_due(client.slot, bytes_max, &mut self.spans).is_err() {
            return false;
        }
        let spans = spans_before..self.spans.len();
        let bytes = owed_bytes + self.spans[spans.clone()].iter().map(Span::bytes).sum::<usize>();
        if bytes == 0 {
            return true;
        }
        let pieces_before = self.pieces.len();
        if owed_bytes > 0 && !owed_after_rest {
            self.pieces.push(Piece::Owed(client.slot));
        }
        self.lay_out(hub, spans.clone(), pieces_before);
        if owed_bytes > 0 && owed_after_rest {
            self.pieces.push(Piece::Owed(client.slot));
        }
        let pieces = pieces_before..self.pieces.len();
        self.visits.push(Visit { client, owed_bytes, owed_after_rest, spans, pieces, bytes });
        true
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
        for piece in &self.pieces[visit.pieces.clone()] {
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
        let slot = visit.client.slot;
        let went = match outcome {
            SendOutcome::Sent(bytes) => bytes as usize,
            SendOutcome::Full | SendOutcome::Failed(_) => 0,
        };
        let mut progress = Progress { bytes: went as u64, deliveries: 0 };
        let mut left = went;
        let mut owed = |left: &mut usize| {
            let part = visit.owed_bytes.min(*left);
            *left -= part;
            if part > 0 {
                let client = clients.at(slot).expect("a client that is visited is there");
                client.session.owed_went(part);
            }
        };
        if !visit.owed_after_rest {
            owed(&mut left);
        }
        for span in &self.spans[visit.spans.clone()] {
            let part = span.bytes().min(left);
            left -= part;
            progress.deliveries += hub.advance(slot, span, part);
        }
        if visit.owed_after_rest {
            owed(&mut left);
        }
        let visited = match outcome {
            SendOutcome::Failed(_) => Visited::Failed,
            _ if went == visit.bytes => Visited::Whole,
            _ => Visited::Full,
        };
        (visit.client, visited, progress)
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
    pub(super) fn watch(&mut self, unix_us: u64) {
        if self.open.len() < WATCHED_MAX {
            self.open.push_back((self.round, self.hand, unix_us));
        }
    }

    /// Publications that everyone due has now been given: those for which the hand has gone round once, or all where nobody
    /// is due any more.
    pub(super) fn completed(&mut self, nobody_due: bool) -> impl Iterator<Item = u64> {
        let (round, hand) = (self.round, self.hand);
        let over = move |&(since_round, since_hand, _): &(u64, u32, u64)| {
            nobody_due || round > since_round + 1 || (round == since_round + 1 && hand >= since_hand)
        };
        let count = self.open.iter().take_while(|entry| over(entry)).count();
        self.open.drain(..count).map(|(_, _, unix_us)| unix_us)
    }
}
