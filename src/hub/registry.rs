//! Subscriptions: one small record each, chained by client, listed by topic, and noted where something is due.
//!
//! A subscription is *noted* while it stands in its client's due chain; every subscription whose cursor is behind is noted
//! (or taken by a visit under way). The chain is a queue made of two stacks: publishing pushes onto `fresh`, in a dense
//! array of its own because every publication writes there; a visit pops from `oldest`, and turns `fresh` over when that
//! is empty. So noting touches one record and one word, and no topic of a client waits behind a busier one.
//!
//! A row of a pattern ([`Kind::Pattern`]) stands for all topics that match; it is never noted. What it brings is in passing rows
//! ([`Kind::Passing`]), one for each topic that the client is behind in. One that is *idle* is in no chain and nobody's: it keeps
//! its slot's place in its topic's list until the list is swept, or until the slot's client is behind again.
//!
//! Without: rings, what a cursor points at, sends.

use std::collections::HashMap;

use super::Encoding;
use super::due::DueSet;
use super::row::{Kind, Mode, Packed, Subscription, Terms, Walk};
use super::store::TopicId;
use crate::slots::Slots;

/// Heads of chains that are made at once: a page of them.
const HEADS: usize = 1024;

/// No subscription: the end of a chain.
pub(super) const NONE: u32 = u32::MAX;
/// In `next_due`: the subscription stands in no due chain.
const NOT_NOTED: u32 = u32::MAX - 1;
/// In `next_due`: a passing row that is idle. Noting passes over it.
const IDLE: u32 = u32::MAX - 2;

/// What is left of the one frame that a client is inside of.
#[derive(Debug, Default)]
pub(super) enum Rest {
    /// It is inside none.
    #[default]
    None,
    /// It is `sent` bytes into the frame at the subscription's cursor.
    InRing { subscription: u32, sent: u32 },
    /// The ring gave the frame up.
    Copied(Box<CopiedRest>),
    /// There was no room to copy it: nothing more can be sent, the client is to be reset.
    Lost,
}

/// The bytes of a frame that were not sent when its ring gave it up, of which `sent` went since.
#[derive(Debug)]
pub(super) struct CopiedRest {
    pub(super) bytes: Box<[u8]>,
    pub(super) sent: u32,
}

impl CopiedRest {
    pub(super) fn unsent(&self) -> &[u8] {
        &self.bytes[self.sent as usize..]
    }
}

/// What the hub knows of a client beside its `fresh` chain.
#[derive(Debug)]
pub(super) struct Client {
    /// The client's subscriptions in the order subscribed.
    first: u32,
    last: u32,
    /// Noted subscriptions, the one noted longest ago first.
    oldest: u32,
    /// Spans taken and not yet advanced.
    pub(super) taken: u32,
    pub(super) rest: Rest,
}

const _: () = assert!(size_of::<Client>() <= 32);

impl Client {
    const NEW: Client = Client { first: NONE, last: NONE, oldest: NONE, taken: 0, rest: Rest::None };
}

/// All subscriptions of a shard.
#[derive(Debug)]
pub(super) struct Registry {
    subscriptions: Slots<Subscription>,
    /// The first row that is free.
    free: u32,
    /// By slot: noted subscriptions, the one noted last first.
    fresh: Slots<u32, HEADS>,
    clients: Slots<Client>,
    /// Passing rows that are not idle.
    passing: u32,
    /// Of the subscriptions that do not read their ring.
    walks: HashMap<u32, Walk>,
    pub(super) due: DueSet,
}

impl Registry {
    pub(super) fn new() -> Registry {
        Registry {
            subscriptions: Slots::new(),
            free: NONE,
            fresh: Slots::new(),
            clients: Slots::new(),
            passing: 0,
            walks: HashMap::new(),
            due: DueSet::default(),
        }
    }

    /// Appends a subscription to the client's; it is not noted.
    pub(super) fn add(&mut self, kind: Kind, slot: u32, topic: TopicId, encoding: Encoding, terms: Terms, cursor: u64) -> u32 {
        self.clients.reserve_with(slot, |_| Client::NEW);
        self.fresh.reserve_with(slot, |_| NONE);
        self.due.reserve(slot);
        if self.free == NONE {
            self.make_free();
        }
        let id = self.free;
        let (terms, mode) = (Packed::new(terms), Mode::Log);
        let (next_due, next, previous) = (NOT_NOTED, NONE, NONE);
        let subscription = Subscription { cursor, topic, slot, encoding, terms, kind, mode, next_due, next, previous };
        self.free = std::mem::replace(&mut self.subscriptions[id], subscription).next;
        self.passing += u32::from(kind == Kind::Passing);
        self.link(id);
        id
    }

    /// Puts the row at the end of its client's chain.
    fn link(&mut self, id: u32) {
        let client = &mut self.clients[self.subscriptions[id].slot];
        let previous = std::mem::replace(&mut client.last, id);
        match previous {
            NONE => client.first = id,
            previous => self.subscriptions[previous].next = id,
        }
        let subscription = &mut self.subscriptions[id];
        (subscription.next, subscription.previous) = (NONE, previous);
    }

    /// Takes the row out of its client's chain.
    fn unlink(&mut self, id: u32) {
        let Subscription { slot, next, previous, .. } = self.subscriptions[id];
        match previous {
            NONE => self.clients[slot].first = next,
            previous => self.subscriptions[previous].next = next,
        }
        match next {
            NONE => self.clients[slot].last = previous,
            next => self.subscriptions[next].previous = previous,
        }
    }

    /// From now on the client's newest.
    pub(super) fn make_newest(&mut self, id: u32) {
        self.unlink(id);
        self.link(id);
    }

    /// Makes a passing row idle, which is not noted.
    pub(super) fn make_idle(&mut self, id: u32) {
        self.unlink(id);
        self.read_ring(id);
        let subscription = &mut self.subscriptions[id];
        debug_assert!(subscription.kind == Kind::Passing && subscription.next_due == NOT_NOTED, "{subscription:?}");
        subscription.next_due = IDLE;
        self.passing -= 1;
    }

    /// A topic that a pattern brought is named, or the other way round.
    pub(super) fn set_passing(&mut self, id: u32, is_passing: bool) {
        let (before, kind) = if is_passing { (Kind::Name, Kind::Passing) } else { (Kind::Passing, Kind::Name) };
        assert_eq!(std::mem::replace(&mut self.subscriptions[id].kind, kind), before, "only a topic's row changes what it is");
        self.passing = if is_passing { self.passing + 1 } else { self.passing - 1 };
    }

    /// Passing rows that are not idle, over all clients.
    pub(super) fn passing(&self) -> u32 {
        self.passing
    }

    /// Those of one client.
    pub(super) fn passing_of(&self, slot: u32) -> impl Iterator<Item = u32> {
        self.of_client(slot).filter(|id| self.subscriptions[*id].kind == Kind::Passing)
    }

    pub(super) fn is_idle(&self, id: u32) -> bool {
        self.subscriptions[id].next_due == IDLE
    }

    /// Whether the row stands in its client's due chain.
    pub(super) fn is_noted(&self, id: u32) -> bool {
        !matches!(self.subscriptions[id].next_due, NOT_NOTED | IDLE)
    }

    /// An idle row is behind again: its slot's client is given it.
    pub(super) fn revive(&mut self, id: u32, encoding: Encoding, terms: Terms, cursor: u64) -> u32 {
        let subscription = &mut self.subscriptions[id];
        (subscription.encoding, subscription.cursor, subscription.next_due) = (encoding, cursor, NOT_NOTED);
        subscription.set_terms(terms);
        self.passing += 1;
        self.link(id);
        id
    }

    /// Frees a row that is in no chain.
    pub(super) fn free(&mut self, id: u32) {
        let subscription = &mut self.subscriptions[id];
        (subscription.next_due, subscription.next) = (NOT_NOTED, self.free);
        self.free = id;
    }

    /// Makes rows for subscriptions, and chains them as free.
    fn make_free(&mut self) {
        let first = self.subscriptions.len();
        let free = |id| Subscription {
            cursor: 0,
            topic: TopicId::NONE,
            slot: NONE,
            encoding: Encoding::Raw,
            terms: Packed::new(Terms::default()),
            kind: Kind::Name,
            mode: Mode::Log,
            next_due: NOT_NOTED,
            next: id + 1,
            previous: NONE,
        };
        self.subscriptions.reserve_with(first, free);
        let last = self.subscriptions.len() - 1;
        assert!(last < IDLE, "a shard's memory ends before four billion subscriptions");
        self.subscriptions[last].next = NONE;
        self.free = first;
    }

    /// Takes a subscription out of its client's chains and frees it; gives whether it was noted.
    pub(super) fn remove(&mut self, id: u32) -> bool {
        let was_noted = self.unlink_due(id);
        self.read_ring(id);
        self.unlink(id);
        self.free(id);
        was_noted
    }

    /// Where the client's subscription stands among a topic's members, or where it would stand.
    pub(super) fn place_among(&self, members: &[u32], slot: u32) -> Result<usize, usize> {
        members.binary_search_by_key(&slot, |member| self.subscriptions[*member].slot)
    }

    pub(super) fn get(&self, id: u32) -> &Subscription {
        &self.subscriptions[id]
    }

    pub(super) fn get_mut(&mut self, id: u32) -> &mut Subscription {
        &mut self.subscriptions[id]
    }

    /// From now on the subscription reads this, which is not its ring.
    pub(super) fn walk_over(&mut self, id: u32, mode: Mode, walk: Walk) {
        self.walks.insert(id, walk);
        self.subscriptions[id].mode = mode;
    }

    /// From now on the subscription reads its ring.
    pub(super) fn read_ring(&mut self, id: u32) {
        if std::mem::replace(&mut self.subscriptions[id].mode, Mode::Log) != Mode::Log {
            self.walks.remove(&id);
        }
    }

    /// The frame of this offset is sent, or will be whatever comes: it is behind the subscription.
    pub(super) fn pass(&mut self, id: u32, offset: u64) {
        self.subscriptions[id].cursor = offset + 1;
        if let Some(walk) = self.walks.get_mut(&id).filter(|walk| offset < walk.told) {
            walk.promised -= 1;
        }
    }

    /// How many subscriptions do not read their ring.
    #[cfg(test)]
    pub(super) fn walks(&self) -> usize {
        self.walks.len()
    }

    /// Where a subscription is that does not read its ring.
    pub(super) fn walk(&self, id: u32) -> &Walk {
        &self.walks[&id]
    }

    pub(super) fn walk_mut(&mut self, id: u32) -> &mut Walk {
        self.walks.get_mut(&id).expect("a subscription that does not read its ring walks")
    }

    /// The client; `None` where it never had a subscription.
    pub(super) fn client(&self, slot: u32) -> Option<&Client> {
        self.clients.get(slot)
    }

    pub(super) fn client_mut(&mut self, slot: u32) -> Option<&mut Client> {
        self.clients.get_mut(slot)
    }

    /// The client's subscriptions in the order subscribed.
    pub(super) fn of_client(&self, slot: u32) -> impl Iterator<Item = u32> + '_ {
        self.chain(self.first_of_client(slot).unwrap_or(NONE), |subscription| subscription.next)
    }

    pub(super) fn first_of_client(&self, slot: u32) -> Option<u32> {
        self.client(slot).map(|client| client.first).filter(|first| *first != NONE)
    }

    /// The client's noted subscriptions.
    pub(super) fn noted(&self, slot: u32) -> impl Iterator<Item = u32> {
        let (oldest, fresh) = self.client(slot).map_or((NONE, NONE), |client| (client.oldest, self.fresh[slot]));
        self.chain(oldest, |subscription| subscription.next_due).chain(self.chain(fresh, |subscription| subscription.next_due))
    }

    /// Notes all of a topic's members that are not yet noted; gives how many those were. This is the loop that every
    /// publication pays for each subscriber: members come in slot order, so marks are gathered to one OR for 64 slots.
    pub(super) fn note_all(&mut self, members: &[u32]) -> u32 {
        let (subscriptions, fresh) = (&mut self.subscriptions, &mut self.fresh);
        let (mut noted, mut word, mut bits) = (0, 0, 0);
        for &member in members {
            let subscription = &mut subscriptions[member];
            if subscription.next_due != NOT_NOTED {
                continue;
            }
            noted += 1;
            let (slot, before) = (subscription.slot, std::mem::replace(&mut fresh[subscription.slot], member));
            subscription.next_due = before;
            if before == NONE {
                if word != slot / 64 {
                    self.due.mark_word(word, bits);
                    (word, bits) = (slot / 64, 0);
                }
                bits |= 1 << (slot % 64);
            }
        }
        self.due.mark_word(word, bits);
        noted
    }

    /// Notes a subscription and marks its client; false where it was noted already.
    pub(super) fn note(&mut self, id: u32) -> bool {
        self.note_all(&[id]) == 1
    }

    /// The subscription that was noted longest ago.
    pub(super) fn oldest_noted(&mut self, slot: u32) -> Option<u32> {
        let client = self.clients.get_mut(slot)?;
        let mut fresh = if client.oldest == NONE { std::mem::replace(&mut self.fresh[slot], NONE) } else { NONE };
        while fresh != NONE {
            let subscription = &mut self.subscriptions[fresh];
            let newer = client.oldest;
            client.oldest = fresh;
            fresh = std::mem::replace(&mut subscription.next_due, newer);
        }
        Some(client.oldest).filter(|id| *id != NONE)
    }

    /// Takes the subscription that [`Registry::oldest_noted`] gave out of the due chain.
    pub(super) fn pop_noted(&mut self, slot: u32) {
        let client = &mut self.clients[slot];
        let subscription = &mut self.subscriptions[client.oldest];
        client.oldest = std::mem::replace(&mut subscription.next_due, NOT_NOTED);
    }

    /// Whether none of the client's subscriptions is noted.
    pub(super) fn is_quiet(&self, slot: u32) -> bool {
        self.fresh[slot] == NONE && self.clients[slot].oldest == NONE
    }

    /// Empties the client's due chain; `noted` is told each topic whose subscription stood in it.
    pub(super) fn clear_noted(&mut self, slot: u32, mut noted: impl FnMut(TopicId)) {
        while let Some(id) = self.oldest_noted(slot) {
            noted(self.subscriptions[id].topic);
            self.pop_noted(slot);
        }
    }

    /// Takes the row out of its client's due chain; gives whether it stood there.
    pub(super) fn unlink_due(&mut self, id: u32) -> bool {
        if !self.is_noted(id) {
            return false;
        }
        let Subscription { slot, next_due: next, .. } = self.subscriptions[id];
        let follower = self.noted(slot).find(|other| self.subscriptions[*other].next_due == id);
        match follower {
            Some(before) => self.subscriptions[before].next_due = next,
            None if self.fresh[slot] == id => self.fresh[slot] = next,
            None => self.clients[slot].oldest = next,
        }
        self.subscriptions[id].next_due = NOT_NOTED;
        true
    }

    fn chain(&self, first: u32, next: impl Fn(&Subscription) -> u32) -> impl Iterator<Item = u32> {
        let some = |id: u32| Some(id).filter(|id| *id != NONE);
        std::iter::successors(some(first), move |id| some(next(&self.subscriptions[*id])))
    }
}
