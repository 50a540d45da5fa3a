//! Subscriptions: one small record each, chained by client, listed by topic, and noted where something is due.
//!
//! A subscription is *noted* while it stands in its client's due chain; every subscription whose cursor is behind is noted
//! (or taken by a visit under way). The chain is a queue made of two stacks: publishing pushes onto `fresh`, in a dense
//! array of its own because every publication writes there; a visit pops from `oldest`, and turns `fresh` over when that
//! is empty. So noting touches one record and one word, and no topic of a client waits behind a busier one.
//!
//! Without: rings, what a cursor points at, sends.

use super::due::DueSet;
use super::store::TopicId;
use super::{Encoding, TopicMember};

/// No subscription: the end of a chain.
pub(super) const NONE: u32 = u32::MAX;
/// In `next_due`: the subscription stands in no due chain.
const NOT_NOTED: u32 = u32::MAX - 1;

/// One client's subscription of one topic.
#[derive(Debug)]
pub(super) struct Subscription {
    /// Offset of the first publication that is not wholly sent.
    pub(super) cursor: u64,
    pub(super) topic: TopicId,
    pub(super) encoding: Encoding,
    next_due: u32,
    /// Chain of the client's subscriptions, in the order subscribed; the free list uses `next`.
    next: u32,
    previous: u32,
}

const _: () = assert!(size_of::<Subscription>() <= 32);

/// What is left of the one frame that a client is inside of.
#[derive(Debug, Default)]
pub(super) enum Rest {
    /// It is inside none.
    #[default]
    None,
    /// It is `sent` bytes into the frame at the subscription's cursor.
    InRing { subscription: u32, sent: u32 },
    /// The ring gave the frame up; these are its bytes that were not sent then, of which `sent` went since.
    Copied { bytes: Box<[u8]>, sent: u32 },
    /// There was no room to copy it: nothing more can be sent, the client is to be reset.
    Lost,
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

impl Client {
    const NEW: Client = Client { first: NONE, last: NONE, oldest: NONE, taken: 0, rest: Rest::None };
}

/// All subscriptions of a shard.
#[derive(Debug)]
pub(super) struct Registry {
    subscriptions: Vec<Subscription>,
    free: u32,
    /// By slot: noted subscriptions, the one noted last first.
    fresh: Vec<u32>,
    clients: Vec<Client>,
    pub(super) due: DueSet,
}

impl Registry {
    pub(super) fn new() -> Registry {
        Registry { subscriptions: Vec::new(), free: NONE, fresh: Vec::new(), clients: Vec::new(), due: DueSet::default() }
    }

    /// Appends a subscription to the client's; it is not noted.
    pub(super) fn add(&mut self, slot: u32, topic: TopicId, encoding: Encoding, cursor: u64) -> u32 {
        if slot as usize >= self.clients.len() {
            self.clients.resize_with(slot as usize + 1, || Client::NEW);
            self.fresh.resize(slot as usize + 1, NONE);
            self.due.reserve(slot);
        }
        let client = &mut self.clients[slot as usize];
        let subscription = Subscription { cursor, topic, encoding, next_due: NOT_NOTED, next: NONE, previous: client.last };
        let id = if self.free == NONE {
            let id = u32::try_from(self.subscriptions.len()).ok().filter(|id| *id < NOT_NOTED);
            self.subscriptions.push(subscription);
            id.expect("a shard's memory ends before four billion subscriptions")
        } else {
            let id = self.free;
            self.free = self.subscriptions[id as usize].next;
            self.subscriptions[id as usize] = subscription;
            id
        };
        let client = &mut self.clients[slot as usize];
        let before = std::mem::replace(&mut client.last, id);
        match before {
            NONE => client.first = id,
            before => self.subscriptions[before as usize].next = id,
        }
        id
    }

    /// Takes a subscription out of its client's chains and frees it; gives whether it was noted.
    pub(super) fn remove(&mut self, slot: u32, id: u32) -> bool {
        let was_noted = self.unlink_due(slot, id);
        let Subscription { next, previous, .. } = self.subscriptions[id as usize];
        match previous {
            NONE => self.clients[slot as usize].first = next,
            previous => self.subscriptions[previous as usize].next = next,
        }
        match next {
            NONE => self.clients[slot as usize].last = previous,
            next => self.subscriptions[next as usize].previous = previous,
        }
        self.subscriptions[id as usize].next = self.free;
        self.free = id;
        was_noted
    }

    pub(super) fn get(&self, id: u32) -> &Subscription {
        &self.subscriptions[id as usize]
    }

    pub(super) fn get_mut(&mut self, id: u32) -> &mut Subscription {
        &mut self.subscriptions[id as usize]
    }

    /// The client; `None` where it never had a subscription.
    pub(super) fn client(&self, slot: u32) -> Option<&Client> {
        self.clients.get(slot as usize)
    }

    pub(super) fn client_mut(&mut self, slot: u32) -> Option<&mut Client> {
        self.clients.get_mut(slot as usize)
    }

    /// The client's subscriptions in the order subscribed.
    pub(super) fn of_client(&self, slot: u32) -> impl Iterator<Item = u32> {
        self.chain(self.first_of_client(slot).unwrap_or(NONE), |subscription| subscription.next)
    }

    pub(super) fn first_of_client(&self, slot: u32) -> Option<u32> {
        self.client(slot).map(|client| client.first).filter(|first| *first != NONE)
    }

    /// The client's noted subscriptions.
    pub(super) fn noted(&self, slot: u32) -> impl Iterator<Item = u32> {
        let (oldest, fresh) = self.client(slot).map_or((NONE, NONE), |client| (client.oldest, self.fresh[slot as usize]));
        self.chain(oldest, |subscription| subscription.next_due).chain(self.chain(fresh, |subscription| subscription.next_due))
    }

    /// Notes all of a topic's members that are not yet noted; gives how many those were. This is the loop that every
    /// publication pays for each subscriber: members come in slot order, so marks are gathered to one OR for 64 slots.
    pub(super) fn note_all(&mut self, members: &[TopicMember]) -> u32 {
        let (subscriptions, fresh) = (&mut self.subscriptions[..], &mut self.fresh[..]);
        let (mut noted, mut word, mut bits) = (0, 0, 0);
        for member in members {
            let subscription = &mut subscriptions[member.subscription as usize];
            if subscription.next_due != NOT_NOTED {
                continue;
            }
            noted += 1;
            let before = std::mem::replace(&mut fresh[member.slot as usize], member.subscription);
            subscription.next_due = before;
            if before == NONE {
                if word != member.slot / 64 {
                    self.due.mark_word(word, bits);
                    (word, bits) = (member.slot / 64, 0);
                }
                bits |= 1 << (member.slot % 64);
            }
        }
        self.due.mark_word(word, bits);
        noted
    }

    /// Notes a subscription and marks its client; false where it was noted already.
    pub(super) fn note(&mut self, slot: u32, id: u32) -> bool {
        self.note_all(&[TopicMember { slot, subscription: id }]) == 1
    }

    /// The subscription that was noted longest ago.
    pub(super) fn oldest_noted(&mut self, slot: u32) -> Option<u32> {
        let client = self.clients.get_mut(slot as usize)?;
        let mut fresh = if client.oldest == NONE { std::mem::replace(&mut self.fresh[slot as usize], NONE) } else { NONE };
        while fresh != NONE {
            let subscription = &mut self.subscriptions[fresh as usize];
            let newer = client.oldest;
            client.oldest = fresh;
            fresh = std::mem::replace(&mut subscription.next_due, newer);
        }
        Some(client.oldest).filter(|id| *id != NONE)
    }

    /// Takes the subscription that [`Registry::oldest_noted`] gave out of the due chain.
    pub(super) fn pop_noted(&mut self, slot: u32) {
        let client = &mut self.clients[slot as usize];
        let subscription = &mut self.subscriptions[client.oldest as usize];
        client.oldest = std::mem::replace(&mut subscription.next_due, NOT_NOTED);
    }

    /// Whether none of the client's subscriptions is noted.
    pub(super) fn is_quiet(&self, slot: u32) -> bool {
        self.fresh[slot as usize] == NONE && self.clients[slot as usize].oldest == NONE
    }

    /// Empties the client's due chain; `noted` is told each topic whose subscription stood in it.
    pub(super) fn clear_noted(&mut self, slot: u32, mut noted: impl FnMut(TopicId)) {
        while let Some(id) = self.oldest_noted(slot) {
            noted(self.subscriptions[id as usize].topic);
            self.pop_noted(slot);
        }
    }

    fn unlink_due(&mut self, slot: u32, id: u32) -> bool {
        let next = self.subscriptions[id as usize].next_due;
        if next == NOT_NOTED {
            return false;
        }
        let follower = self.noted(slot).find(|other| self.subscriptions[*other as usize].next_due == id);
        match follower {
            Some(before) => self.subscriptions[before as usize].next_due = next,
            None if self.fresh[slot as usize] == id => self.fresh[slot as usize] = next,
            None => self.clients[slot as usize].oldest = next,
        }
        self.subscriptions[id as usize].next_due = NOT_NOTED;
        true
    }

    fn chain(&self, first: u32, next: impl Fn(&Subscription) -> u32) -> impl Iterator<Item = u32> {
        let some = |id: u32| Some(id).filter(|id| *id != NONE);
        std::iter::successors(some(first), move |id| some(next(&self.subscriptions[*id as usize])))
    }
}
