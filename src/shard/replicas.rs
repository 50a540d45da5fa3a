//! Replicas: topics of other homes, from the first word of their home to the last.
//!
//! Without: what the home does for them (`topics`), patterns that want them (`watches`).
//!
//! Invariants: a replica is named by its home's number from [`Mail::Attached`] to [`Mail::Detached`], and stands under its name until
//! then; it is given up only by this shard, and its home's answer to that is the last word or [`Mail::Kept`].

use super::mail::{Mail, Outbox, Place};
use super::topics::{Topics, Waiter};
use crate::hub::{Epochs, Publication, TopicId, TopicName};
use crate::reactor::Now;

/// Replicas given up in one tick.
const DETACHED_A_TICK: usize = 1024;

/// A topic of another home, as this shard has it.
pub(super) struct Replica {
    pub(super) name: TopicName,
    pub(super) state: ReplicaState,
    /// The home's number for it, once that is known.
    pub(super) number: u32,
    /// Clients that wait for it to be attached, or for its past.
    pub(super) waiters: Vec<Waiter>,
    pub(super) past: Past,
}

/// How far back a replica's log goes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Past {
    /// To the publication that was the newest when it was attached.
    Short,
    /// The home was asked for all of its log.
    Recalling,
    /// As far as the home's.
    Whole,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum ReplicaState {
    Attaching,
    Attached(TopicId),
    /// Detach was sent; `Append`s that were under way are still taken.
    Detaching(TopicId),
}

impl Topics {
    pub(super) fn add_replica(&mut self, name: &TopicName) -> u32 {
        let (state, past) = (ReplicaState::Attaching, Past::Short);
        let replica = Replica { name: name.clone(), state, number: u32::MAX, waiters: Vec::new(), past };
        let own = self.replicas_free.pop().unwrap_or_else(|| {
            self.replicas.push(None);
            (self.replicas.len() - 1) as u32
        });
        self.replicas[own as usize] = Some(replica);
        self.replica_of.insert(name.clone(), own);
        own
    }

    /// The home's answer, or its own doing for a pattern; gives the clients that waited.
    pub(super) fn attached(
        &mut self,
        (home, number): (Place, u32),
        name: &TopicName,
        (epochs, newest): (Epochs, u64),
        state: &[Publication],
        now: Now,
    ) -> Vec<Waiter> {
        let own = self.replica_of.get(name).copied().unwrap_or_else(|| self.add_replica(name));
        let topic = self.open(name.clone(), epochs, newest);
        self.hub.seed(topic, state, &mut self.encoder);
        let replica = replica_mut(&mut self.replicas, own);
        assert!(replica.state == ReplicaState::Attaching, "a topic is attached once");
        (replica.state, replica.number) = (ReplicaState::Attached(topic), number);
        // Of an epoch without publications, or with one, there is no more.
        if self.hub.position(topic).offset <= 1 {
            replica.past = Past::Whole;
        }
        let waiters = std::mem::take(&mut replica.waiters);
        self.numbered[usize::from(home)].insert(number, own);
        // Until somebody subscribes it is unused; the linger looks at it then.
        self.lingering.push((now.monotonic_us, own));
        waiters
    }

    /// The home refused; gives the clients that waited.
    pub(super) fn attach_refused(&mut self, name: &TopicName) -> Vec<Waiter> {
        self.free_replica(self.replica_of[name]).waiters
    }

    /// The next publication of a replica.
    pub(super) fn append(&mut self, home: Place, number: u32, publication: &Publication, now: Now) {
        let replica = replica_mut(&mut self.replicas, self.numbered[usize::from(home)][&number]);
        match replica.state {
            ReplicaState::Attached(topic) | ReplicaState::Detaching(topic) => {
                self.append_to(topic, publication, now);
            }
            ReplicaState::Attaching => unreachable!("Attached comes before the first Append"),
        }
    }

    /// The home's answer; gives the clients that waited.
    pub(super) fn recalled(&mut self, home: Place, number: u32, publications: &[Publication]) -> Vec<Waiter> {
        let replica = replica_mut(&mut self.replicas, self.numbered[usize::from(home)][&number]);
        replica.past = Past::Whole;
        let waiters = std::mem::take(&mut replica.waiters);
        if let ReplicaState::Attached(topic) = replica.state {
            self.hub.recall(topic, publications, &mut self.encoder);
        }
        waiters
    }

    /// The topic of a home's number, from `Attached` on.
    pub(super) fn replica_topic(&self, home: Place, number: u32) -> Option<TopicId> {
        match self.replicas[self.numbered[usize::from(home)][&number] as usize].as_ref()?.state {
            ReplicaState::Attached(topic) | ReplicaState::Detaching(topic) => Some(topic),
            ReplicaState::Attaching => None,
        }
    }

    /// Whether anyone here wants a replica's publications.
    pub(super) fn is_wanted(&self, topic: TopicId) -> bool {
        let is_watched = || self.hub.position(topic).offset > 0 && self.watching.wants(self.hub.name(topic));
        self.hub.members_by_name(topic) > 0 || is_watched()
    }

    /// Gives up replicas that had no subscriber for `linger_us`, some at a time.
    pub(super) fn detach_unused(&mut self, now: Now, linger_us: u64, outbox: &mut Outbox) {
        self.unwatch_unused(now, linger_us, outbox);
        if outbox.is_congested() {
            return;
        }
        let due = self.lingering.iter().take(DETACHED_A_TICK);
        let due = due.take_while(|(since, _)| since + linger_us <= now.monotonic_us).count();
        let ripe: Vec<u32> = self.lingering.drain(..due).map(|(_, number)| number).collect();
        for own in ripe {
            let Some(replica) = &self.replicas[own as usize] else { continue };
            let ReplicaState::Attached(topic) = replica.state else { continue };
            if !self.is_wanted(topic) {
                let replica = replica_mut(&mut self.replicas, own);
                replica.state = ReplicaState::Detaching(topic);
                let home = outbox.post().home(&replica.name);
                outbox.send(home, Mail::Detach { from: self.place, number: replica.number });
            }
        }
    }

    /// Whether replicas or patterns wait to be given up.
    pub(super) fn is_lingering(&self) -> bool {
        !self.lingering.is_empty() || self.watching.is_lingering()
    }

    /// The home's last word on a number. Clients that came meanwhile ask anew.
    pub(super) fn detached(&mut self, home: Place, number: u32) -> Vec<Waiter> {
        let own = self.numbered[usize::from(home)].remove(&number).expect("the home answers a number that is in use");
        let replica = self.free_replica(own);
        let ReplicaState::Detaching(topic) = replica.state else { unreachable!("only what was given up is confirmed") };
        self.close(topic);
        replica.waiters
    }

    /// The home goes on with a number, as a pattern wants it. Clients that came meanwhile ask anew.
    pub(super) fn kept(&mut self, home: Place, number: u32) -> Vec<Waiter> {
        let replica = replica_mut(&mut self.replicas, self.numbered[usize::from(home)][&number]);
        let ReplicaState::Detaching(topic) = replica.state else { unreachable!("only what was given up is kept") };
        replica.state = ReplicaState::Attached(topic);
        std::mem::take(&mut replica.waiters)
    }

    fn free_replica(&mut self, number: u32) -> Replica {
        let replica = self.replicas[number as usize].take().expect("the home answers a number that is in use");
        self.replica_of.remove(&replica.name);
        self.replicas_free.push(number);
        replica
    }
}

pub(super) fn replica_mut(replicas: &mut [Option<Replica>], own: u32) -> &mut Replica {
    replicas[own as usize].as_mut().expect("a number is freed after the home's last word")
}
