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

use super::epochs::Epochs;
use super::publication::Epoch;
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
    /// What follows is of this epoch.
    Epoch {
        /// Of which topic.
        topic: TopicId,
        /// Which.
        epoch: Epoch,
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

    /// Leaves out what the ring gave up: a notice for each epoch of it, which are told between. The epoch whose first publication
    /// the ring holds is told with that.
    pub(super) fn drop_oldest(&mut self, id: u32, head: u64, notices: &mut Vec<Notice>) {
        let subscription = self.registry.get_mut(id);
        let topic = subscription.topic;
        let mut from = std::mem::replace(&mut subscription.cursor, head);
        self.left_out.dropped += head - from;
        let epochs = self.epochs_of(id);
        let mut told = epochs.at(from - 1).epoch;
        if from < epochs.oldest() {
            // Of epochs that nobody remembers there is nothing to tell but that they are over.
            from = epochs.oldest().min(head);
            told = epochs.at(from).epoch;
            notices.push(Notice::Epoch { topic, epoch: told });
        }
        while from < head {
            let first = epochs.at(from);
            if first.epoch != told {
                told = first.epoch;
                notices.push(Notice::Epoch { topic, epoch: told });
            }
            let last = epochs.end(told).map_or(head - 1, |(end, _)| end.min(head - 1));
            notices.push(Notice::Gap { topic, from: first.offset, to: epochs.at(last).offset });
            from = last + 1;
        }
    }

    /// From now on the subscription gets the newest only, until it lacks nothing.
    pub(super) fn conflate(&mut self, id: u32) {
        let subscription = self.registry.get(id);
        let told = subscription.cursor;
        let epoch = self.epochs_of(id).at(told - 1).epoch;
        self.registry.walk_over(id, Mode::Conflated, Walk { told, ..Walk::new(u64::MAX, epoch) });
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
        let subscription = self.registry.get(id);
        let (encoding, mut at) = (subscription.encoding(), subscription.cursor);
        let removals = subscription.mode == Mode::Conflated;
        let mut is_first = true;
        let has_all = loop {
            let (view, Walk { end, epoch, .. }) = (self.view(id), *self.registry.walk(id));
            let topic = self.topics.get(view);
            let next = topic.next_newest(at, removals).filter(|offset| *offset <= end);
            let reached = next.unwrap_or(end.min(topic.log().next() - 1));
            if self.epochs_of(id).at(reached).epoch != epoch {
                // What is told stands before what the visit sends.
                if !is_first {
                    break false;
                }
                self.begin_epoch(id, reached, notices);
                at = self.registry.get(id).cursor;
                continue;
            }
            let Some(offset) = next else { break true };
            let is_own = view == self.registry.get(id).topic;
            let bytes = self.topics.get_mut(view).make_frame(encoding, offset, is_own, encoder);
            if bytes > visit.bytes_left && spans.len() > visit.spans_before {
                break false;
            }
            visit.bytes_left = visit.bytes_left.saturating_sub(bytes);
            spans.push(Span::newest(visit.slot, id, offset, bytes));
            (at, is_first) = (offset + 1, false);
        };
        if removals {
            let to = if has_all { self.topics.get(self.view(id)).log().next() } else { at };
            notices.extend(self.account(id, to));
        }
        if has_all && is_first {
            self.end_walk(id);
        }
        has_all
    }

    /// A walk comes to another epoch: that of this number. What is behind it in the one before is accounted for first, and so is
    /// all of an epoch between.
    fn begin_epoch(&mut self, id: u32, reached: u64, notices: &mut Vec<Notice>) {
        let (topic, epoch) = (self.registry.get(id).topic, self.epochs_of(id).at(reached).epoch);
        while self.registry.get(id).mode == Mode::Conflated && self.registry.walk(id).epoch != epoch {
            let told = self.registry.walk(id).epoch;
            let (end, next) = self.epochs_of(id).end(told).expect("a slow subscriber is in an epoch that is past");
            notices.extend(self.account(id, end + 1));
            let subscription = self.registry.get_mut(id);
            subscription.cursor = subscription.cursor.max(end + 1);
            self.registry.walk_mut(id).epoch = next;
            notices.extend((next != epoch).then_some(Notice::Epoch { topic, epoch: next }));
        }
        self.registry.walk_mut(id).epoch = epoch;
        notices.push(Notice::Epoch { topic, epoch });
    }

    /// The topic whose newest a subscription walks over: a snapshot for a rate variant is its parent's.
    pub(super) fn view(&self, id: u32) -> TopicId {
        let subscription = self.registry.get(id);
        let parent = self.topics.get(subscription.topic).parent().filter(|_| subscription.mode == Mode::Snapshot);
        parent.unwrap_or(subscription.topic)
    }

    /// The epochs of a row's topic: a rate variant's are its parent's, which may be ahead of what it was given.
    pub(super) fn epochs_of(&self, id: u32) -> &Epochs {
        let topic = self.topics.get(self.registry.get(id).topic);
        &topic.parent().map_or(topic, |parent| self.topics.get(parent)).epochs
    }

    /// The newest below `to` are taken: gives how many more of those below will not be sent.
    fn account(&mut self, id: u32, to: u64) -> Option<Notice> {
        let (cursor, topic) = (self.registry.get(id).cursor, self.registry.get(id).topic);
        let newest = self.topics.get(topic);
        let walk = self.registry.walk_mut(id);
        let to = to.max(walk.told);
        let (still, fresh) = (newest.count_newest(cursor, walk.told), newest.count_newest(walk.told, to));
        let count = (walk.promised - still) + (to - walk.told - fresh);
        *walk = Walk { told: to, promised: still + fresh, ..*walk };
        self.left_out.culled += count;
        let epoch = walk.epoch;
        let offset = self.epochs_of(id).told(epoch, to - 1).offset;
        (count > 0).then_some(Notice::Culled { topic, offset, count })
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
        // Where this was all that it lacked, its row is not noted for it any more: what is owed is the client's.
        self.registry.due.mark(slot);
    }

    /// A snapshot that has been sent, and a slow subscriber that lacks nothing, read the ring from now on.
    pub(super) fn end_walk(&mut self, id: u32) {
        let subscription = self.registry.get(id);
        let (cursor, topic) = (subscription.cursor, self.topics.get(self.view(id)));
        let end = match subscription.mode {
            Mode::Log => return,
            Mode::Conflated => topic.log().next() - 1,
            Mode::Snapshot => self.registry.walk(id).end,
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
        // What its ring holds is of the epoch that it was told last.
        if is_over && !inside && self.registry.walk(id).epoch == self.epochs_of(id).at(end).epoch {
            self.registry.get_mut(id).cursor = end + 1;
            self.registry.read_ring(id);
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
