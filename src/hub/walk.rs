//! Subscribers that do not read their ring frame by frame: snapshots, and those that cannot keep up.
//!
//! A snapshot, and a slow subscriber of `slow=conflate`, walk over the newest of each key in offset order. What is taken is the
//! newest at that moment; what was replaced meanwhile is not seen any more. Both end by reading the ring again: a snapshot behind
//! its last offset, a slow subscriber once it lacks nothing. There is no timer and no queue: a visit looks at the cursor, and a
//! visit comes when the socket takes bytes.
//!
//! Without: sockets, clocks, how notices are written.
//!
//! Invariant: over a subscription's life, frames sent and publications told of as left out are all that was published, each
//! once. A notice is told with a visit whose frames may not all be sent; those are promised, and counted when they are
//! replaced before they went.

use super::registry::Rest;
use super::row::{Mode, Walk};
use super::store::TopicId;
use super::visit::{Fallen, Span, Visit};
use super::{Encoder, Hub};
use crate::config::Slow;

/// What a subscriber is told of what it is not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notice {
    /// The publications of these offsets.
    Gap {
        /// Of which topic.
        topic: TopicId,
        /// The first.
        from: u64,
        /// The last.
        to: u64,
    },
    /// So many of those up to an offset, beyond what was told before.
    Culled {
        /// Of which topic.
        topic: TopicId,
        /// The offset.
        offset: u64,
        /// How many.
        count: u64,
    },
}

/// What slow subscribers were not sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LeftOut {
    /// Publications of `slow=drop`.
    pub dropped: u64,
    /// Publications of `slow=conflate`.
    pub culled: u64,
    /// Times that a subscriber began to be sent the newest only.
    pub conflations: u64,
}

/// Whether a subscription keeps up.
pub(super) enum Pressure {
    /// It does.
    None,
    /// It is to be closed.
    Fallen(Fallen),
    /// What is below the head of its ring is left out.
    Drop { head: u64 },
    /// From now on it gets the newest only.
    Conflate,
}

impl Hub {
    /// Whether a subscription that reads its ring keeps up.
    pub(super) fn pressure(&self, visit: &Visit, id: u32) -> Pressure {
        let subscription = self.registry.get(id);
        let topic = self.topics.get(subscription.topic);
        let ring = topic.ring(subscription.encoding());
        let from = subscription.cursor + u64::from(visit.torn == id);
        let slow = subscription.slow(visit.visiting.tells);
        match slow {
            Slow::Close if from < ring.head() => Pressure::Fallen(Fallen { topic: subscription.topic }),
            Slow::Drop if from < ring.head() => Pressure::Drop { head: ring.head() },
            Slow::Conflate if from < ring.head().max(topic.log().head()) => Pressure::Conflate,
            Slow::Conflate if from < ring.next() => {
                let lag_us = visit.visiting.unix_us.saturating_sub(topic.ingest_us(from));
                let lags = ring.len_bytes(from, ring.next()) > topic.settings.slow_lag_bytes as usize
                    || lag_us > u64::from(topic.settings.slow_lag_ms) * 1000;
                if lags { Pressure::Conflate } else { Pressure::None }
            }
            _ => Pressure::None,
        }
    }

    /// Leaves out what the ring gave up.
    pub(super) fn drop_oldest(&mut self, id: u32, head: u64) -> Notice {
        let subscription = self.registry.get_mut(id);
        let from = std::mem::replace(&mut subscription.cursor, head);
        self.left_out.dropped += head - from;
        Notice::Gap { topic: subscription.topic, from, to: head - 1 }
    }

    /// From now on the subscription gets the newest only, until it lacks nothing.
    pub(super) fn conflate(&mut self, id: u32) {
        let told = self.registry.get(id).cursor;
        self.registry.set_mode(id, Mode::Conflated, Walk { end: u64::MAX, told, promised: 0 });
        self.left_out.conflations += 1;
    }

    /// Takes of the newest of each key what the subscription lacks; false where the visit is full before all.
    pub(super) fn take_newest(
        &mut self,
        visit: &mut Visit,
        id: u32,
        encoder: &mut dyn Encoder,
        spans: &mut Vec<Span>,
        notices: &mut Vec<Notice>,
    ) -> bool {
        let (subscription, end) = (self.registry.get(id), self.registry.walk_end(id));
        let (encoding, mut at) = (subscription.encoding(), subscription.cursor);
        let removals = subscription.mode == Mode::Conflated;
        let topic = self.topics.get_mut(self.view(id));
        let has_all = loop {
            let Some(offset) = topic.next_newest(at, removals).filter(|offset| *offset <= end) else { break true };
            let bytes = topic.make_frame(encoding, offset, encoder);
            if bytes > visit.bytes_left && spans.len() > visit.spans_before {
                break false;
            }
            visit.bytes_left = visit.bytes_left.saturating_sub(bytes);
            spans.push(Span::newest(visit.slot, id, offset, bytes));
            at = offset + 1;
        };
        if removals {
            let to = if has_all { topic.log().next() } else { at };
            notices.extend(self.account(id, to));
        }
        has_all
    }

    /// The topic whose newest a subscription walks over: a snapshot for a rate variant is its parent's.
    pub(super) fn view(&self, id: u32) -> TopicId {
        let subscription = self.registry.get(id);
        let parent = self.topics.get(subscription.topic).parent().filter(|_| subscription.mode == Mode::Snapshot);
        parent.unwrap_or(subscription.topic)
    }

    /// The newest below `to` are taken: gives how many more of those below will not be sent.
    fn account(&mut self, id: u32, to: u64) -> Option<Notice> {
        let (cursor, topic) = (self.registry.get(id).cursor, self.registry.get(id).topic);
        let newest = self.topics.get(topic);
        let walk = self.registry.walk(id);
        let to = to.max(walk.told);
        let (still, fresh) = (newest.count_newest(cursor, walk.told), newest.count_newest(walk.told, to));
        let count = (walk.promised - still) + (to - walk.told - fresh);
        *walk = Walk { told: to, promised: still + fresh, ..*walk };
        self.left_out.culled += count;
        (count > 0).then_some(Notice::Culled { topic, offset: to - 1, count })
    }

    /// As [`Hub::advance`], of a subscription that does not read its ring.
    pub(super) fn advance_newest(&mut self, slot: u32, span: &Span, bytes_sent: usize) -> u64 {
        let (id, whole) = (span.subscription, bytes_sent == span.bytes());
        let subscription = self.registry.get(id);
        let (topic_id, encoding) = (subscription.topic, subscription.encoding());
        if bytes_sent > 0 {
            let topic = self.topics.get_mut(topic_id);
            let was_inside = span.skip_bytes > 0;
            if whole {
                if was_inside {
                    topic.encoded_mut(encoding).expect("it is inside a frame of it").remove_torn(slot);
                }
                self.registry.pass(id, span.from);
                self.registry.client_mut(slot).expect("it is there").rest = Rest::None;
            } else {
                self.tear(slot, span, bytes_sent);
            }
        }
        self.end_walk(id);
        let topic = self.topics.get_mut(topic_id);
        if self.registry.get(id).cursor < topic.log().next() {
            topic.noted += u32::from(self.registry.note(id));
        } else {
            self.settle_passing(id);
        }
        u64::from(whole)
    }

    /// The client is inside the frame now. Where no ring holds it, its rest is the client's own.
    fn tear(&mut self, slot: u32, span: &Span, bytes_sent: usize) {
        let id = span.subscription;
        let (topic, view, encoding) = (self.registry.get(id).topic, self.view(id), self.registry.get(id).encoding());
        let is_own = topic == view;
        let topic = self.topics.get_mut(view);
        let sent = span.skip_bytes as usize + bytes_sent;
        if is_own
            && let Some(encoded) = topic.encoded_mut(encoding)
            && span.from >= encoded.ring.head()
        {
            if span.skip_bytes == 0 {
                encoded.add_torn(slot, span.from);
            }
            self.registry.get_mut(id).cursor = span.from;
            self.registry.client_mut(slot).expect("it is there").rest = Rest::InRing { subscription: id, sent: sent as u32 };
            return;
        }
        let (one, two) = topic.frame(encoding, span.from);
        let rest = self.rests.copied(slot, &[&one[sent.min(one.len())..], &two[sent.saturating_sub(one.len())..]]);
        self.registry.pass(id, span.from);
        self.registry.client_mut(slot).expect("it is there").rest = rest;
    }

    /// A snapshot that has been sent, and a slow subscriber that lacks nothing, read the ring from now on.
    pub(super) fn end_walk(&mut self, id: u32) {
        let subscription = self.registry.get(id);
        let (cursor, topic) = (subscription.cursor, self.topics.get(self.view(id)));
        let end = match subscription.mode {
            Mode::Log => return,
            Mode::Conflated => topic.log().next() - 1,
            Mode::Snapshot => self.registry.walk_end(id),
        };
        let is_over = match subscription.mode {
            Mode::Conflated => cursor > end,
            _ => topic.next_newest(cursor, false).is_none_or(|offset| offset > end),
        };
        // Inside a frame it stays until that is sent: the frame's offset is its cursor.
        let inside = matches!(
            self.registry.client(subscription.slot).map(|client| &client.rest),
            Some(Rest::InRing { subscription, .. }) if *subscription == id
        );
        if is_over && !inside {
            self.registry.get_mut(id).cursor = end + 1;
            self.registry.set_mode(id, Mode::Log, Walk::default());
        }
    }

    /// Whether the client's subscription gets the newest only.
    #[cfg(test)]
    pub(super) fn conflates(&self, slot: u32, topic: TopicId) -> bool {
        let members = &self.topics.get(topic).members;
        let place = self.registry.place_among(members, slot);
        place.is_ok_and(|place| self.registry.get(members[place]).mode == Mode::Conflated)
    }
}
