//! The sweep's part of the [`Hub`]: what a client lacks, as spans of rings, and how far it came.
//!
//! Without: slots' sockets, how spans become a send, what stands between them (replies, control frames).

use super::registry::{CopiedRest, NONE, Registry, Rest};
use super::ring::Ring;
use super::row::Mode;
use super::store::{Encoded, TopicId};
use super::walk::{Notice, Pressure};
use super::{DueSet, Encoder, Hub};
use crate::config::Slow;

/// A run of bytes to send to one client: frames of one subscription, or the copied rest of a frame. It is good until it is
/// given to [`Hub::advance`]; no ring may change before that is done with all spans taken.
#[derive(Debug)]
pub struct Span {
    pub(super) slot: u32,
    /// [`NONE`]: the client's copied rest.
    pub(super) subscription: u32,
    pub(super) from: u64,
    to: u64,
    /// Below 4 GiB, as the limits of rings and of publications are.
    bytes: u32,
    pub(super) skip_bytes: u32,
    /// One frame of what is the newest of its key, which its ring may not hold.
    newest: bool,
}

impl Span {
    /// One whole frame of what is the newest of its key.
    pub(super) fn newest(slot: u32, subscription: u32, offset: u64, bytes: usize) -> Span {
        let bytes = u32::try_from(bytes).expect("a frame is below 4 GiB");
        Span { slot, subscription, from: offset, to: offset + 1, bytes, skip_bytes: 0, newest: true }
    }

    /// How many bytes it has; never 0.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes as usize
    }
}

/// A subscription fell off the ring's head: what it needs next is given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fallen {
    /// Of which topic.
    pub topic: TopicId,
}

/// The unfinished frame of a client. Nothing else may be sent to it before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TornRest {
    /// Bytes that are still to be sent of it.
    pub bytes: usize,
    /// Where they are.
    pub place: TornPlace,
}

/// Where the rest of an unfinished frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TornPlace {
    /// In the topic's ring.
    Ring,
    /// Copied for the client, since the ring gave it up.
    Copied,
    /// Nowhere, over `torn_bytes_max`: the client can only be reset.
    Lost,
}

/// Copied rests of all clients, and their bound.
#[derive(Debug)]
pub(super) struct Rests {
    bytes: usize,
    pub(super) bytes_max: usize,
    pub(super) overflowed: Vec<u32>,
    /// Rests copied since this was last asked.
    copies: u64,
}

impl Rests {
    pub(super) fn new(bytes_max: usize) -> Rests {
        Rests { bytes: 0, bytes_max, overflowed: Vec::new(), copies: 0 }
    }

    /// Before a frame of `frame_bytes` is appended: copies the rests of those frames that the ring will give up.
    pub(super) fn make_room(&mut self, registry: &mut Registry, encoded: &mut Encoded, frame_bytes: usize, young: u64) {
        if encoded.torn.is_empty() {
            return;
        }
        let head = encoded.ring.head_after(frame_bytes, young);
        if encoded.torn_from >= head {
            return;
        }
        encoded.torn_from = u64::MAX;
        let Encoded { ring, torn, torn_from, .. } = encoded;
        torn.retain(|&slot| {
            let offset = torn_subscription(registry, slot).map(|id| registry.get(id).cursor);
            let offset = offset.expect("a client on a ring's torn list is inside a frame of it");
            if offset >= head {
                *torn_from = offset.min(*torn_from);
                return true;
            }
            self.copy(registry, ring, slot);
            false
        });
    }

    /// Copies the rest of the frame that the client is inside of, and moves its cursor behind it.
    fn copy(&mut self, registry: &mut Registry, ring: &Ring, slot: u32) {
        let client = registry.client_mut(slot).expect("only a client that has subscriptions is inside a frame");
        let Rest::InRing { subscription, sent } = client.rest else {
            unreachable!("only the rest of a frame in a ring is copied");
        };
        let cursor = registry.get(subscription).cursor;
        let (one, two) = ring.range(cursor, sent as usize, cursor + 1);
        let rest = self.copied(slot, &[one, two]);
        registry.pass(subscription, cursor);
        registry.client_mut(slot).expect("it is there").rest = rest;
    }

    /// The rest of a frame for a client of its own, where there is room for it.
    pub(super) fn copied(&mut self, slot: u32, rest: &[&[u8]]) -> Rest {
        let bytes: usize = rest.iter().map(|piece| piece.len()).sum();
        if self.bytes + bytes > self.bytes_max {
            self.overflowed.push(slot);
            return Rest::Lost;
        }
        self.bytes += bytes;
        self.copies += 1;
        Rest::Copied(Box::new(CopiedRest { bytes: rest.concat().into_boxed_slice(), sent: 0 }))
    }

    pub(super) fn forget(&mut self, bytes: usize) {
        self.bytes -= bytes;
    }

    pub(super) fn forget_overflowed(&mut self, slot: u32) {
        self.overflowed.retain(|other| *other != slot);
    }
}

/// The subscription inside a frame of whose ring the client is.
fn torn_subscription(registry: &Registry, slot: u32) -> Option<u32> {
    match registry.client(slot)?.rest {
        Rest::InRing { subscription, .. } => Some(subscription),
        _ => None,
    }
}

impl Hub {
    /// Who is due.
    pub fn due(&mut self) -> &mut DueSet {
        &mut self.registry.due
    }

    /// How many clients are due.
    #[must_use]
    pub fn due_count(&self) -> usize {
        self.registry.due.due_count()
    }

    /// How many clients are blocked.
    #[must_use]
    pub fn blocked_count(&self) -> usize {
        self.registry.due.blocked_count()
    }

    /// The unfinished frame whose rest must be the first that is sent to the client.
    #[must_use]
    pub fn torn(&self, slot: u32) -> Option<TornRest> {
        match &self.registry.client(slot)?.rest {
            Rest::None => None,
            Rest::InRing { subscription, sent } => {
                let subscription = self.registry.get(*subscription);
                let ring = self.topics.get(subscription.topic).ring(subscription.encoding());
                let bytes = ring.len_bytes(subscription.cursor, subscription.cursor + 1) - *sent as usize;
                Some(TornRest { bytes, place: TornPlace::Ring })
            }
            Rest::Copied(rest) => Some(TornRest { bytes: rest.unsent().len(), place: TornPlace::Copied }),
            Rest::Lost => Some(TornRest { bytes: 0, place: TornPlace::Lost }),
        }
    }

    /// Clients whose unfinished frame was given up when copied rests were at `torn_bytes_max`, or whose rows at `pattern_rows_max`: they
    /// must be reset, and nothing more can be sent to them. Each is told once. Asked after publishing, unsubscribing and changes of encoding.
    pub fn take_overflowed(&mut self) -> impl Iterator<Item = u32> {
        self.rests.overflowed.drain(..)
    }

    /// Rests copied since this was last asked, for the counters.
    pub fn take_torn_copies(&mut self) -> u64 {
        std::mem::take(&mut self.rests.copies)
    }

    /// Bytes of copied rests, over all clients.
    #[must_use]
    pub fn torn_bytes(&self) -> usize {
        self.rests.bytes
    }

    /// Takes what the client lacks, up to the tails of this moment: appends spans in the order to send.
    ///
    /// The rest of an unfinished frame comes first; then each due subscription's frames from cursor to tail, the one noted
    /// longest ago first. At `bytes_max` it stops, at a frame's end, but one frame (or the rest) is always taken; what is not
    /// taken stays due. So with 0, a client inside a frame is given that frame's rest and nothing else.
    ///
    /// What a slow subscriber is not sent, by its terms, is told in `notices`: they are to be sent before the spans.
    ///
    /// # Errors
    /// [`Fallen`] where a subscription fell off the ring's head that is to be closed for it; nothing is taken then.
    pub fn take_due(
        &mut self,
        slot: u32,
        visiting: Visiting,
        encoder: &mut dyn Encoder,
        spans: &mut Vec<Span>,
        notices: &mut Vec<Notice>,
    ) -> Result<(), Fallen> {
        if self.registry.client(slot).is_none() {
            self.registry.due.unmark(slot);
            return Ok(());
        }
        let notices_before = notices.len();
        let mut visit =
            Visit { slot, spans_before: spans.len(), visiting, bytes_left: visiting.bytes_max, torn: NONE, inside: false };
        if !self.take_rest(&mut visit, spans) {
            self.registry.due.unmark(slot);
            return Ok(());
        }
        while let Some(id) = self.registry.oldest_noted(slot) {
            match self.take_subscription(&mut visit, id, encoder, spans, notices) {
                Ok(true) => {
                    self.registry.pop_noted(slot);
                    self.topics.get_mut(self.registry.get(id).topic).noted -= 1;
                    self.settle_passing(id);
                }
                Ok(false) => break,
                Err(fallen) => {
                    self.give_back(&visit, spans);
                    notices.truncate(notices_before);
                    return Err(fallen);
                }
            }
        }
        let taken = (spans.len() - visit.spans_before) as u32;
        self.registry.client_mut(slot).expect("it is there").taken += taken;
        self.taken += taken;
        if self.registry.is_quiet(slot) {
            self.registry.due.unmark(slot);
        }
        Ok(())
    }

    /// The span's bytes; the second slice is empty unless it wraps round the ring.
    #[must_use]
    pub fn resolve(&self, span: &Span) -> (&[u8], &[u8]) {
        if span.subscription == NONE {
            let client = self.registry.client(span.slot).expect("a client with a span is there until the span is advanced");
            let Rest::Copied(rest) = &client.rest else {
                unreachable!("a copied rest stays until its span is advanced");
            };
            return (rest.unsent(), &[]);
        }
        let subscription = self.registry.get(span.subscription);
        if span.newest {
            return self.topics.get(self.view(span.subscription)).frame(subscription.encoding(), span.from);
        }
        let topic = self.topics.get(subscription.topic);
        let ring = topic.ring(subscription.encoding());
        ring.range(span.from, span.skip_bytes as usize, span.to)
    }

    /// Says how much of a taken span went: all, some or nothing. Spans of one send are given in their order, each once. What
    /// is still lacking is due again. Gives how many frames (or copied rests of frames) came to their end: the deliveries.
    pub fn advance(&mut self, slot: u32, span: &Span, bytes_sent: usize) -> u64 {
        assert!(span.slot == slot && bytes_sent <= span.bytes(), "a client is sent the bytes of its own span");
        self.taken -= 1;
        let client = self.registry.client_mut(slot).expect("a client with a span is there until the span is advanced");
        client.taken -= 1;
        if span.subscription == NONE {
            return self.advance_copied(slot, bytes_sent);
        }
        if self.registry.get(span.subscription).mode != Mode::Log {
            return self.advance_newest(slot, span, bytes_sent);
        }
        let subscription = self.registry.get_mut(span.subscription);
        let topic = self.topics.get_mut(subscription.topic);
        let encoded = topic.encoded_mut(subscription.encoding()).expect("an encoding that someone is subscribed in has its ring");
        let next = encoded.ring.next();
        let (cursor, into) = match bytes_sent {
            0 => (span.from, span.skip_bytes as usize),
            whole if whole == span.bytes() => (span.to, 0),
            short => encoded.ring.offset_at(span.from, span.skip_bytes as usize + short),
        };
        if bytes_sent > 0 {
            subscription.cursor = cursor;
            let client = self.registry.client_mut(slot).expect("it is there");
            let was_inside = match client.rest {
                Rest::None => false,
                Rest::InRing { subscription, .. } => subscription == span.subscription,
                Rest::Copied(_) | Rest::Lost => unreachable!("a copied rest goes before all else"),
            };
            assert_eq!(was_inside, span.skip_bytes > 0, "an unfinished frame's rest goes before all else");
            if was_inside && cursor > span.from {
                encoded.remove_torn(slot);
            }
            if into > 0 && (!was_inside || cursor > span.from) {
                encoded.add_torn(slot, cursor);
            }
            client.rest = match into as u32 {
                0 => Rest::None,
                sent => Rest::InRing { subscription: span.subscription, sent },
            };
        }
        let ended = encoded.ring.count(span.from, cursor);
        if cursor < next {
            topic.noted += u32::from(self.registry.note(span.subscription));
        } else {
            self.settle_passing(span.subscription);
        }
        ended
    }

    /// Whether a subscription of the client fell off its ring's head and is to be closed for it, without visiting it. `tells`:
    /// see [`Visiting`].
    #[must_use]
    pub fn fallen(&self, slot: u32, tells: bool) -> Option<TopicId> {
        let fell = |id: &u32| {
            let subscription = self.registry.get(*id);
            let is_closed = subscription.mode == Mode::Log && subscription.slow(tells) == Slow::Close;
            is_closed && subscription.cursor < self.topics.get(subscription.topic).ring(subscription.encoding()).head()
        };
        self.registry.noted(slot).find(fell).map(|id| self.registry.get(id).topic)
    }

    /// Whether the client lacks anything that was published.
    #[must_use]
    pub fn is_behind(&self, slot: u32) -> bool {
        let lacks = |id: u32| {
            let subscription = self.registry.get(id);
            subscription.cursor < self.topics.get(subscription.topic).log().next()
        };
        self.torn(slot).is_some() || self.registry.noted(slot).any(lacks)
    }

    /// Copies the rest of the frame that the client is inside of, if that is in the ring of this subscription (or of any).
    pub(super) fn copy_rest_of(&mut self, slot: u32, only: Option<u32>) {
        let Some(torn) = torn_subscription(&self.registry, slot) else { return };
        if only.is_some_and(|only| only != torn) {
            return;
        }
        let subscription = self.registry.get(torn);
        let encoded = self.topics.get_mut(subscription.topic).encoded_mut(subscription.encoding());
        let encoded = encoded.expect("an encoding that someone is subscribed in has its ring");
        encoded.remove_torn(slot);
        self.rests.copy(&mut self.registry, &encoded.ring, slot);
    }

    /// Takes the rest of an unfinished frame; false where that is lost and nothing can be taken.
    fn take_rest(&self, visit: &mut Visit, spans: &mut Vec<Span>) -> bool {
        let Some(rest) = self.torn(visit.slot) else { return true };
        let span =
            Span { slot: visit.slot, subscription: NONE, from: 0, to: 0, skip_bytes: 0, bytes: rest.bytes as u32, newest: false };
        let span = match self.registry.client(visit.slot).map(|client| &client.rest) {
            Some(Rest::InRing { subscription, sent }) => {
                let cursor = self.registry.get(*subscription).cursor;
                visit.torn = *subscription;
                Span { subscription: *subscription, from: cursor, to: cursor + 1, skip_bytes: *sent, ..span }
            }
            Some(Rest::Copied(_)) => span,
            _ => return false,
        };
        visit.bytes_left = visit.bytes_left.saturating_sub(rest.bytes);
        visit.inside = true;
        spans.push(span);
        true
    }

    /// Takes what a noted subscription lacks; false where the visit is full before it has all.
    fn take_subscription(
        &mut self,
        visit: &mut Visit,
        id: u32,
        encoder: &mut dyn Encoder,
        spans: &mut Vec<Span>,
        notices: &mut Vec<Notice>,
    ) -> Result<bool, Fallen> {
        self.end_walk(id);
        if self.registry.get(id).mode == Mode::Log {
            match self.pressure(visit, id) {
                Pressure::None => return Ok(self.take_ring(visit, id, spans)),
                Pressure::Fallen(fallen) => return Err(fallen),
                // What is told stands between the frame that is under way and what follows.
                _ if visit.inside => return Ok(false),
                Pressure::Drop { head } => {
                    self.drop_oldest(id, head, notices);
                    return Ok(self.take_ring(visit, id, spans));
                }
                Pressure::Conflate => self.conflate(id),
            }
        }
        if visit.inside {
            return Ok(false);
        }
        let has_all = self.take_newest(visit, id, encoder, spans, notices);
        // A walk that ended with a notice alone leaves the rest to the ring.
        if has_all && self.registry.get(id).mode == Mode::Log {
            return self.take_subscription(visit, id, encoder, spans, notices);
        }
        Ok(has_all)
    }

    /// Takes what a subscription lacks of its ring.
    fn take_ring(&self, visit: &mut Visit, id: u32, spans: &mut Vec<Span>) -> bool {
        let subscription = self.registry.get(id);
        let ring = self.topics.get(subscription.topic).ring(subscription.encoding());
        let from = subscription.cursor + u64::from(visit.torn == id);
        let next = ring.next();
        let all = if from < next { ring.len_bytes(from, next) } else { 0 };
        if all == 0 {
            return true;
        }
        let is_first = spans.len() == visit.spans_before;
        let (to, bytes) = if all <= visit.bytes_left {
            (next, all)
        } else {
            let (to, _) = ring.offset_at(from, visit.bytes_left);
            let is_nothing = ring.count(from, to) == 0;
            let to = if is_nothing && is_first { ring.behind(from) } else { to };
            (to, ring.len_bytes(from, to))
        };
        if bytes == 0 {
            return false;
        }
        visit.bytes_left = visit.bytes_left.saturating_sub(bytes);
        match spans.last_mut() {
            Some(rest) if visit.torn == id && !is_first && rest.subscription == id => {
                // The unfinished frame's rest and what follows it in the ring are one piece.
                rest.to = to;
                rest.bytes += bytes as u32;
            }
            _ => {
                let (slot, bytes) = (visit.slot, bytes as u32);
                spans.push(Span { slot, subscription: id, from, to, skip_bytes: 0, bytes, newest: false });
            }
        }
        true
    }

    /// Undoes a visit's taking: its subscriptions are noted again.
    fn give_back(&mut self, visit: &Visit, spans: &mut Vec<Span>) {
        for span in spans.drain(visit.spans_before..).filter(|span| span.subscription != NONE) {
            let topic = self.topics.get_mut(self.registry.get(span.subscription).topic);
            topic.noted += u32::from(self.registry.note(span.subscription));
        }
    }

    /// Goes on in the client's copied rest, and frees it at its end.
    fn advance_copied(&mut self, slot: u32, bytes_sent: usize) -> u64 {
        let client = self.registry.client_mut(slot).expect("it is there");
        let Rest::Copied(rest) = &mut client.rest else {
            unreachable!("a copied rest stays until its span is advanced");
        };
        rest.sent += bytes_sent as u32;
        if rest.unsent().is_empty() {
            self.rests.forget(rest.bytes.len());
            client.rest = Rest::None;
            1
        } else {
            self.registry.due.mark(slot);
            0
        }
    }
}

/// What a visit may take, and what it needs to know for it.
#[derive(Clone, Copy, Debug)]
pub struct Visiting {
    /// Most bytes.
    pub bytes_max: usize,
    /// The time, microseconds since 1970: how old what a subscriber lacks is.
    pub unix_us: u64,
    /// Whether the client can be told what it is not sent. Who cannot is closed where it did not itself ask for another end.
    pub tells: bool,
}

/// A visit while it takes.
pub(super) struct Visit {
    pub(super) slot: u32,
    /// Spans of other visits, before this one's in the same vector.
    pub(super) spans_before: usize,
    pub(super) visiting: Visiting,
    pub(super) bytes_left: usize,
    /// The subscription whose unfinished frame was taken.
    pub(super) torn: u32,
    /// It began with the rest of an unfinished frame.
    inside: bool,
}
