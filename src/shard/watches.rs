//! Patterns between shards. A shard whose clients hear a pattern *watches* it at every other home: each attaches it to the topics
//! that match and were published on, those to come before their first publication.
//!
//! Without: the patterns' subscribers, and what they are sent.
//!
//! Invariants. Mail between two threads keeps its order; so
//! - when all homes have said `Watched`, a replica of every topic that matches is here, and none of its later publications passes
//!   this shard by: a pattern's first subscription waits for that;
//! - a home attaches a place once, whoever asks: what is asked by name crosses `Attached`, and is not answered again;
//! - a replica that a watched pattern wants is not given up. One that was never published on is: if it was published on before its
//!   home heard of that, and the home knows of the pattern, it answers `Kept`;
//! - `Unwatch` is said only after every home's `Watched`, so no answer is ever an earlier watch's.

use std::collections::{HashMap, VecDeque};

use super::mail::{Mail, Outbox, Place};
use super::replicas::ReplicaState;
use super::topics::{Topics, Waiter};
use crate::hub::{Pattern, TopicId, TopicName, Trie};
use crate::reactor::Now;

/// Topics that a home looks at in one turn for those who watch.
const LOOKED_AT_A_TURN: usize = 4096;
/// Topics that it attaches somebody to in one turn.
const ATTACHED_A_TURN: usize = 128;
/// Replicas that are looked at in one tick after a pattern was given up.
const GLEANED_A_TICK: usize = 4096;

/// As a home: who watches what.
#[derive(Default)]
pub(super) struct Watchers {
    places: Trie<Vec<Place>>,
    walks: VecDeque<Walk>,
}

/// A way over the topics, for one who began to watch.
struct Walk {
    from: Place,
    pattern: Pattern,
    next: u32,
}

impl Watchers {
    /// Whether the place watches a pattern that the name matches.
    pub(super) fn watches(&self, place: Place, name: &TopicName) -> bool {
        let mut any = false;
        self.places.each(name.as_str(), |places| any |= places.contains(&place));
        any
    }
}

/// As a shard with clients: what it watches.
#[derive(Default)]
pub(super) struct Watching {
    patterns: HashMap<Pattern, Watch>,
    /// The same, to find by name.
    wanted: Trie<()>,
    /// Patterns that have lost their last subscriber, and when.
    lingering: Vec<(u64, Pattern)>,
    /// The replica that is looked at next, since a pattern was given up.
    gleaning: Option<usize>,
    pub(super) patterns_max: usize,
}

#[derive(Default)]
struct Watch {
    /// Homes that have not said `Watched`.
    missing: u16,
    waiters: Vec<Waiter>,
}

/// Where a wanted pattern stands.
pub(super) enum WantedPattern {
    /// Every topic that matches is here.
    Here,
    /// The client is woken when they are.
    Awaited,
    /// There are `patterns_max`.
    Refused,
}

impl Watching {
    /// Whether a watched pattern matches.
    pub(super) fn wants(&self, name: &TopicName) -> bool {
        self.wanted.matches(name.as_str())
    }

    pub(super) fn is_lingering(&self) -> bool {
        !self.lingering.is_empty() || self.gleaning.is_some()
    }
}

impl Topics {
    /// A pattern that a client here wants to hear.
    pub(super) fn want_pattern(&mut self, pattern: &Pattern, waiter: Waiter, outbox: &mut Outbox) -> WantedPattern {
        if let Some(watch) = self.watching.patterns.get_mut(pattern) {
            if watch.missing == 0 {
                return WantedPattern::Here;
            }
            watch.waiters.push(waiter);
            return WantedPattern::Awaited;
        }
        if self.watching.patterns.len() >= self.watching.patterns_max {
            return WantedPattern::Refused;
        }
        let homes: Vec<Place> = (0..outbox.post().homes()).filter(|home| *home != self.place).collect();
        let mut watch = Watch { missing: homes.len() as u16, waiters: Vec::new() };
        for home in &homes {
            outbox.send(*home, Mail::Watch { from: self.place, pattern: pattern.clone() });
        }
        if !homes.is_empty() {
            watch.waiters.push(waiter);
        }
        *self.watching.wanted.entry(pattern.as_str()) = Some(());
        self.watching.patterns.insert(pattern.clone(), watch);
        if homes.is_empty() { WantedPattern::Here } else { WantedPattern::Awaited }
    }

    /// A home has attached this shard to all that match; gives the clients that waited, once all homes have.
    pub(super) fn watched(&mut self, pattern: &Pattern, now: Now) -> Vec<Waiter> {
        let watch = self.watching.patterns.get_mut(pattern).expect("a pattern is watched until all homes have answered");
        watch.missing -= 1;
        if watch.missing > 0 {
            return Vec::new();
        }
        let waiters = std::mem::take(&mut watch.waiters);
        // Until somebody subscribes it is unused; the linger looks at it then.
        self.watching.lingering.push((now.monotonic_us, pattern.clone()));
        waiters
    }

    /// Somebody left a pattern: where nobody is left, it lingers.
    pub(super) fn left_pattern(&mut self, pattern: &Pattern, now: Now) {
        if !self.hub.is_pattern_used(pattern.as_str()) {
            self.watching.lingering.push((now.monotonic_us, pattern.clone()));
        }
    }

    /// Gives up patterns that had no subscriber for `linger_us`, and looks for the replicas that only they wanted.
    pub(super) fn unwatch_unused(&mut self, now: Now, linger_us: u64, outbox: &mut Outbox) {
        let watching = &mut self.watching;
        let due = watching.lingering.iter().take_while(|(since, _)| since + linger_us <= now.monotonic_us).count();
        for (_, pattern) in watching.lingering.drain(..due) {
            let is_over = watching.patterns.get(&pattern).is_some_and(|watch| watch.missing == 0);
            if !is_over || self.hub.is_pattern_used(pattern.as_str()) {
                continue;
            }
            watching.patterns.remove(&pattern);
            watching.wanted.remove(pattern.as_str());
            watching.gleaning = Some(0);
            for home in (0..outbox.post().homes()).filter(|home| *home != self.place) {
                outbox.send(home, Mail::Unwatch { from: self.place, pattern: pattern.clone() });
            }
        }
        let Some(first) = self.watching.gleaning else { return };
        let last = self.replicas.len().min(first + GLEANED_A_TICK);
        for own in first..last {
            if let Some(replica) = &self.replicas[own]
                && let ReplicaState::Attached(topic) = replica.state
                && !self.is_wanted(topic)
            {
                self.lingering.push((now.monotonic_us, own as u32));
            }
        }
        self.watching.gleaning = Some(last).filter(|last| *last < self.replicas.len());
    }

    // --- as a home ---

    /// Another shard watches a pattern from now on.
    pub(crate) fn watch_asked(&mut self, from: Place, pattern: Pattern) {
        let places = self.watchers.places.entry(pattern.as_str()).get_or_insert_default();
        assert!(!places.contains(&from), "a pattern is watched once");
        places.push(from);
        self.watchers.walks.push_back(Walk { from, pattern, next: 0 });
    }

    /// Another shard watches a pattern no more.
    pub(crate) fn unwatch_asked(&mut self, from: Place, pattern: &Pattern) {
        let places = self.watchers.places.entry(pattern.as_str()).as_mut().expect("what is given up was watched");
        places.retain(|place| *place != from);
        if places.is_empty() {
            self.watchers.places.remove(pattern.as_str());
        }
    }

    /// Whether somebody waits to be attached to what there is.
    pub(crate) fn is_walking(&self) -> bool {
        !self.watchers.walks.is_empty()
    }

    /// Attaches those who began to watch, some topics a turn and not while mail waits for room.
    pub(crate) fn walk(&mut self, outbox: &mut Outbox) {
        let (mut looks, mut attaches) = (LOOKED_AT_A_TURN, ATTACHED_A_TURN);
        while looks > 0
            && attaches > 0
            && !outbox.is_congested()
            && let Some(walk) = self.watchers.walks.front_mut()
        {
            if walk.next >= self.hub.numbers() {
                let Walk { from, pattern, .. } = self.watchers.walks.pop_front().expect("it was looked at");
                outbox.send(from, Mail::Watched { pattern });
                continue;
            }
            let (number, from) = (walk.next, walk.from);
            walk.next += 1;
            looks -= 1;
            let Some(topic) = self.hub.numbered(number).filter(|topic| self.homes.contains_key(topic)) else { continue };
            if self.hub.position(topic).offset > 0 && walk.pattern.matches(self.hub.name(topic).as_str()) {
                attaches -= 1;
                self.attach_place(from, topic, outbox);
            }
        }
    }

    /// A topic is about to be published on for the first time: attaches those who watch it.
    pub(super) fn attach_watchers(&mut self, topic: TopicId, outbox: &mut Outbox) {
        let mut places = Vec::new();
        self.watchers.places.each(self.hub.name(topic).as_str(), |watching| places.extend(watching));
        places.into_iter().for_each(|place| self.attach_place(place, topic, outbox));
    }
}
