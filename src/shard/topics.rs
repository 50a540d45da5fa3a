//! The shard's topics: those it is home of, whose publications it orders, and replicas of other homes' topics.
//!
//! Without: clients' sessions and sockets; patterns, which are in `watches`. Invariant: a replica exists in the hub from [`Mail::Attached`] on, and is fed
//! in the home's order, so its newest offset is always the one before the next [`Mail::Append`].

use std::collections::HashMap;

use super::flush::Windows;
use super::heartbeat::Heartbeats;
use super::mail::{Mail, NotPublished, Outbox, Place, TopicShare, TopicsMax};
use super::replicas::{Past, Replica, ReplicaState};
use super::settings::Setting;
use super::staleness::Staleness;
use super::sweep::Told;
use super::watches::{Watchers, Watching};
use crate::config;
use crate::dialect::stream::StreamEncoder;
use crate::hub::{Epoch, Epochs, Hub, Key, Marks, NewPublication, Position, Publication, TopicId, TopicName};
use crate::reactor::{ClientKey, Now};

/// Rows of patterns' members that the ends of intervals give out in a turn: each is to be sent something, and freed by that.
const ROWS_A_TURN: usize = 1 << 18;
/// What a variant costs beside them.
const ROWS_A_REFRESH: usize = 256;

/// Topics, homes and replicas. The control thread has one too, as the home of journaled topics.
pub(crate) struct Topics {
    pub(super) hub: Hub,
    pub(super) encoder: StreamEncoder,
    pub(super) place: Place,
    /// In the configuration's order, and behind them what holds for topics that match none.
    pub(super) settings: Box<[Setting]>,
    /// By topic: which of the settings are its own, or [`CLASS_UNKNOWN`](super::settings::CLASS_UNKNOWN).
    pub(super) classes: Vec<u16>,
    pub(super) windows: Windows,
    pub(super) staleness: Staleness,
    pub(super) heartbeats: Heartbeats,
    /// Publications that became due, until the sweep has them.
    pub(super) told: Vec<Told>,
    pub(super) topics_max: usize,
    pub(super) homes: HashMap<TopicId, Home>,
    /// As a home: which patterns others watch.
    pub(super) watchers: Watchers,
    /// As a shard with clients: which patterns it watches.
    pub(super) watching: Watching,
    pub(super) replicas: Vec<Option<Replica>>,
    pub(super) replicas_free: Vec<u32>,
    pub(super) replica_of: HashMap<TopicName, u32>,
    /// By home and its number: the replica.
    pub(super) numbered: Box<[HashMap<u32, u32>]>,
    /// The last epoch given out, so that two topics made in one microsecond differ.
    epoch_last: u64,
    /// Replicas that have lost their last subscriber, and when.
    pub(super) lingering: Vec<(u64, u32)>,
}

#[derive(Default)]
pub(super) struct Home {
    /// Who is told of each publication.
    pub(super) replicas: Vec<Place>,
    rate: Rate,
    /// The next publication begins an epoch.
    pub(super) begins: bool,
    /// It has a journal, and stays.
    kept: bool,
}

impl Home {
    /// How much is published, with the topic's newest as it is now.
    pub(super) fn per_second(&mut self, newest: u64, now: Now) -> f32 {
        self.rate.tick(now.monotonic_us, newest);
        self.rate.per_second
    }
}

/// A client that waits for replicas, and which of its waits it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Waiter {
    pub(super) client: ClientKey,
    pub(super) number: u64,
}

/// Publications a second over the last full second.
#[derive(Default)]
struct Rate {
    window_us: u64,
    window_offset: u64,
    per_second: f32,
}

impl Rate {
    fn tick(&mut self, now_us: u64, offset: u64) {
        let elapsed_us = now_us.saturating_sub(self.window_us);
        if elapsed_us >= 1_000_000 {
            self.per_second = (offset - self.window_offset) as f32 * 1e6 / elapsed_us as f32;
            self.window_us = now_us;
            self.window_offset = offset;
        }
    }
}

/// Where a wanted topic stands.
pub(super) enum Wanted {
    Here(TopicId),
    /// Its replica is on the way; the client is woken when it is there.
    Awaited,
    Refused(TopicsMax),
}

impl Topics {
    pub(crate) fn new(place: Place, config: &config::Config, shards: u16) -> Topics {
        let mut topics = Topics {
            hub: Hub::new(0),
            encoder: StreamEncoder::new(config.limits.deflate_bytes_min),
            place,
            settings: Box::default(),
            classes: Vec::new(),
            windows: Windows::default(),
            staleness: Staleness::default(),
            heartbeats: Heartbeats::default(),
            told: Vec::new(),
            topics_max: 0,
            homes: HashMap::new(),
            watchers: Watchers::default(),
            watching: Watching::default(),
            replicas: Vec::new(),
            replicas_free: Vec::new(),
            replica_of: HashMap::new(),
            numbered: (0..=shards).map(|_| HashMap::new()).collect(),
            epoch_last: 0,
            lingering: Vec::new(),
        };
        topics.go_by(config, shards);
        topics
    }

    pub(super) fn open(&mut self, name: TopicName, epochs: Epochs, newest: u64) -> TopicId {
        let class = self.class(&name);
        let topic = self.hub.open_in(name, self.settings[class].hub(), epochs, newest);
        if self.classes.len() <= topic.index() {
            self.classes.resize(topic.index() + 1, 0);
        }
        self.classes[topic.index()] = class as u16;
        topic
    }

    pub(super) fn close(&mut self, topic: TopicId) {
        let variants: Vec<TopicId> = self.hub.variants(topic).iter().map(|(_, variant)| *variant).collect();
        variants.into_iter().for_each(|variant| self.close_variant(variant));
        self.windows.close(topic);
        self.staleness.close(topic);
        self.heartbeats.close(topic);
        self.hub.close(topic);
    }

    fn close_variant(&mut self, variant: TopicId) {
        self.windows.close(variant);
        self.heartbeats.close(variant);
        self.hub.close_variant(variant);
    }

    /// Appends a publication; its subscribers hear of it now, or when the topic's flush window ends.
    pub(super) fn append_to(&mut self, topic: TopicId, publication: &Publication, now: Now) {
        let class = self.class_of(topic);
        let (flush_us, is_heard) = (self.settings[usize::from(class)].topic.flush_us, self.hub.members(topic) > 0);
        // All windows of a length end together, so that what several topics bring one client leaves in one send.
        let end_us = |length_us: u64| (now.monotonic_us / length_us + 1) * length_us;
        self.hub.append(topic, publication, &mut self.encoder);
        for (rate_ms, variant) in self.hub.variants(topic) {
            self.windows.open(*variant, end_us(u64::from(*rate_ms) * 1000));
        }
        if flush_us == 0 || !is_heard {
            self.hub.note_members(topic);
            self.told.extend(is_heard.then_some(Told { unix_us: publication.unix_us, class }));
            return;
        }
        let unix_us = Some(publication.unix_us);
        let first = self.windows.add(topic, publication.offset, unix_us, end_us(flush_us.into()));
        // Whoever keeps up must not fall out of the ring for what was kept from it.
        if self.hub.fill_half(topic, first) {
            self.flush(topic);
        }
    }

    /// Ends the windows that are over by this moment; intervals only as many as a turn can send ([`ROWS_A_TURN`]), the others next turn.
    /// What is published meanwhile is in them, so that overload makes them longer and nothing else.
    pub(super) fn flush_until(&mut self, now_us: u64) {
        let mut rows = 0;
        while rows < ROWS_A_TURN
            && let Some(topic) = self.windows.over(now_us)
        {
            rows += self.flush(topic);
        }
    }

    /// Ends all windows, whenever they are over.
    pub(super) fn flush_whole(&mut self) {
        while let Some(topic) = self.windows.over(u64::MAX) {
            self.flush(topic);
        }
    }

    /// Closes the variants that only patterns heard and that are read.
    pub(super) fn close_unheard(&mut self) {
        self.hub.take_unheard().into_iter().for_each(|variant| self.close_variant(variant));
    }

    /// Ends all flush windows. The intervals of rate variants go on: they are the same for all who ask.
    pub(super) fn flush_all(&mut self) {
        let mut topics = self.windows.topics();
        topics.retain(|topic| self.hub.variant_of(*topic).is_none());
        for topic in topics {
            self.flush(topic);
        }
    }

    /// Gives what it costs, in rows: none for a flush window, whose rows are there.
    fn flush(&mut self, topic: TopicId) -> usize {
        let Some(window) = self.windows.close(topic) else { return 0 };
        if self.hub.variant_of(topic).is_some() {
            return self.hub.refresh(topic, &mut self.encoder) + ROWS_A_REFRESH;
        }
        let class = self.class_of(topic);
        self.told.extend(window.ingests_unix_us.into_iter().map(|unix_us| Told { unix_us, class }));
        self.hub.note_members(topic);
        0
    }

    /// Publishes on a topic whose home this is: gives the offset, tells the replicas.
    pub(super) fn publish(&mut self, new: NewPublication, now: Now, outbox: &mut Outbox) -> Result<Position, NotPublished> {
        let key = self.key(&new)?;
        let topic = self.home_topic(&new.topic, now)?;
        let offset = self.hub.newest(topic) + 1;
        let mut publication =
            Publication { offset, unix_us: now.unix_us, payload: new.payload, marks: Marks { key, ..new.marks } };
        let home = self.homes.get_mut(&topic).expect("a home topic has its home's part");
        if std::mem::take(&mut home.begins) && offset > 1 {
            publication.marks.begins = Some(Box::new(self.new_epoch(now)));
        }
        self.deliver(topic, &publication, now, outbox);
        Ok(self.hub.position(topic))
    }

    /// The key of a publication on a topic whose home this is.
    pub(crate) fn key(&self, new: &NewPublication) -> Result<Option<Key>, NotPublished> {
        self.setting(&new.topic).key(new).map_err(NotPublished::Key)
    }

    /// Appends the next publication of a topic whose home this is, and tells the replicas.
    pub(super) fn deliver(&mut self, topic: TopicId, publication: &Publication, now: Now, outbox: &mut Outbox) {
        if self.hub.newest(topic) == 0 {
            self.attach_watchers(topic, outbox);
        }
        self.append_to(topic, publication, now);
        let home = self.homes.get_mut(&topic).expect("a home topic has its home's part");
        home.rate.tick(now.monotonic_us, publication.offset);
        for &place in &home.replicas {
            let (home, number) = (self.place, topic.index() as u32);
            outbox.send(place, Mail::Append { home, number, publication: publication.clone() });
        }
    }

    /// The topic of which this is the home, made where it is not there.
    fn home_topic(&mut self, name: &TopicName, now: Now) -> Result<TopicId, TopicsMax> {
        if let Some(topic) = self.hub.find(name.as_str()) {
            return Ok(topic);
        }
        if self.homes.len() >= self.topics_max {
            return Err(TopicsMax);
        }
        let epochs = Epochs::new(self.new_epoch(now));
        let topic = self.open(name.clone(), epochs, 0);
        self.begin_home(topic, 0, now);
        Ok(topic)
    }

    /// This is the home of a topic that was just opened.
    pub(super) fn begin_home(&mut self, topic: TopicId, newest: u64, now: Now) {
        let rate = Rate { window_us: now.monotonic_us, window_offset: newest, ..Rate::default() };
        self.homes.insert(topic, Home { rate, ..Home::default() });
    }

    /// One that no topic had.
    pub(crate) fn new_epoch(&mut self, now: Now) -> Epoch {
        self.epoch_last = now.unix_us.max(self.epoch_last + 1);
        Epoch::from_number(self.epoch_last)
    }

    // --- a home that keeps journals ---

    /// Opens a topic as a journal holds it: empty behind `before`, to be filled by [`Topics::restore`].
    pub(crate) fn reopen(&mut self, name: TopicName, before: Position, now: Now) {
        let topic = self.open(name, Epochs::new(before.epoch), before.offset);
        let rate = Rate { window_us: now.monotonic_us, window_offset: before.offset, ..Rate::default() };
        self.homes.insert(topic, Home { rate, kept: true, ..Home::default() });
    }

    /// Appends what a journal holds; nobody is there to be told.
    pub(crate) fn restore(&mut self, name: &TopicName, publication: &Publication) {
        let topic = self.hub.find(name.as_str()).expect("it was reopened");
        self.hub.publish(topic, publication, &mut self.encoder);
    }

    /// The newest position of a topic that is about to be published on, and stays from now on.
    pub(crate) fn keep(&mut self, name: &TopicName, now: Now) -> Result<Position, TopicsMax> {
        let topic = self.home_topic(name, now)?;
        self.homes.get_mut(&topic).expect("a home topic has its home's part").kept = true;
        Ok(self.hub.position(topic))
    }

    /// Publishes what is written, or what is served without: it is the one after the newest. Gives its position.
    pub(crate) fn publish_kept(&mut self, name: &TopicName, new: Publication, now: Now, outbox: &mut Outbox) -> Position {
        let topic = self.hub.find(name.as_str()).expect("a kept topic stays");
        let publication = Publication { offset: self.hub.newest(topic) + 1, ..new };
        self.deliver(topic, &publication, now, outbox);
        self.hub.position(topic)
    }

    /// The newest position of a topic that is open here.
    pub(crate) fn position(&self, name: &TopicName) -> Option<Position> {
        self.hub.find(name.as_str()).map(|topic| self.hub.position(topic))
    }

    /// A topic that a client here wants to hear.
    ///
    /// Who wants to go on after a position gets a topic whose log goes back that far, or as far as the home's, and that has come
    /// as far as the position, or as far as the home was when it was asked. `again`: it was asked already.
    pub(super) fn want(
        &mut self,
        name: &TopicName,
        since: Option<Position>,
        again: bool,
        waiter: Waiter,
        now: Now,
        outbox: &mut Outbox,
    ) -> Wanted {
        let home = outbox.post().home(name);
        if home == self.place {
            return self.home_topic(name, now).map_or_else(Wanted::Refused, Wanted::Here);
        }
        let number = match self.replica_of.get(name) {
            Some(&number) => number,
            None => self.attach(name, home, outbox),
        };
        let replica = self.replicas[number as usize].as_mut().expect("a named replica exists");
        let lacks = |topic| since.is_some_and(|since| self.hub.lacks_after(topic, since));
        match replica.state {
            ReplicaState::Attached(topic) if replica.past != Past::Whole && lacks(topic) => {
                if replica.past == Past::Short {
                    replica.past = Past::Recalling;
                    outbox.send(home, Mail::Recall { from: self.place, number: replica.number });
                }
                replica.waiters.push(waiter);
                Wanted::Awaited
            }
            // The client heard it from another shard, which was given it earlier.
            ReplicaState::Attached(topic) if !again && since.is_some_and(|since| self.hub.is_ahead(topic, since)) => {
                outbox.send(home, Mail::CatchUp { from: self.place, client: waiter.client, number: waiter.number });
                Wanted::Awaited
            }
            ReplicaState::Attached(topic) => Wanted::Here(topic),
            ReplicaState::Attaching | ReplicaState::Detaching(_) => {
                replica.waiters.push(waiter);
                Wanted::Awaited
            }
        }
    }

    fn attach(&mut self, name: &TopicName, home: Place, outbox: &mut Outbox) -> u32 {
        outbox.send(home, Mail::Attach { from: self.place, topic: name.clone() });
        self.add_replica(name)
    }

    /// At the home: another shard wants the topic.
    pub(crate) fn attach_asked(&mut self, from: Place, name: &TopicName, now: Now, outbox: &mut Outbox) {
        match self.home_topic(name, now) {
            Ok(topic) => self.attach_place(from, topic, outbox),
            Err(TopicsMax) => outbox.send(from, Mail::AttachRefused { topic: name.clone() }),
        }
    }

    /// At the home: tells a shard of the topic from now on. Where it is told already, [`Mail::Attached`] is on its way there: it
    /// asked by name while it was attached by a pattern.
    pub(super) fn attach_place(&mut self, place: Place, topic: TopicId, outbox: &mut Outbox) {
        let home = self.homes.get_mut(&topic).expect("a home topic has its home's part");
        if home.replicas.contains(&place) {
            return;
        }
        home.replicas.push(place);
        let (epochs, newest) = (self.hub.epochs(topic).clone(), self.hub.newest(topic));
        // The control thread is no shard: it feeds another gateway, which has it.
        let state = if place == outbox.post().control() { Vec::new() } else { self.hub.state(topic) };
        let (home, number, name) = (self.place, topic.index() as u32, self.hub.name(topic).clone());
        let stale_since_ms = self.staleness.since_ms(topic);
        outbox.send(place, Mail::Attached { home, number, topic: name, epochs, newest, state, stale_since_ms });
    }

    /// At the home: who is told of each of its publications.
    pub(super) fn replicas_of(&self, topic: TopicId) -> &[Place] {
        self.homes.get(&topic).map_or(&[], |home| &home.replicas)
    }

    /// At the home: the topic of this number, which another shard is attached to.
    fn numbered_here(&self, number: u32) -> TopicId {
        self.hub.numbered(number).expect("a topic with a replica is kept")
    }

    /// At the home: another shard wants the past, too.
    pub(crate) fn recall_asked(&mut self, from: Place, number: u32, outbox: &mut Outbox) {
        let publications = self.hub.log(self.numbered_here(number));
        outbox.send(from, Mail::Recalled { home: self.place, number, publications });
    }

    /// At the home: another shard has no more use for the topic, as far as it knows.
    pub(crate) fn detach_asked(&mut self, from: Place, number: u32, outbox: &mut Outbox) {
        let (topic, home) = (self.numbered_here(number), self.place);
        if self.hub.position(topic).offset > 0 && self.watchers.watches(from, self.hub.name(topic)) {
            return outbox.send(from, Mail::Kept { home, number });
        }
        self.homes.get_mut(&topic).expect("a home topic has its home's part").replicas.retain(|place| *place != from);
        outbox.send(from, Mail::Detached { home, number });
        self.forget_unused(topic);
    }

    /// A topic that nobody hears and nobody ever published on is given up: a client's invention costs nothing lasting.
    fn forget_unused(&mut self, topic: TopicId) {
        let unused = self.homes.get(&topic).is_some_and(|home| home.replicas.is_empty() && !home.kept)
            && self.hub.members_by_name(topic) == 0
            && self.hub.position(topic).offset == 0;
        if unused {
            self.homes.remove(&topic);
            self.close(topic);
        }
    }

    /// Somebody left a topic: where nobody is left, it lingers (a replica) or may be forgotten (a home's).
    pub(super) fn left(&mut self, topic: TopicId, now: Now) {
        if let Some((parent, _)) = self.hub.variant_of(topic) {
            // Closed it is by and by; its number may be another's then.
            if self.hub.members_by_name(topic) == 0 {
                self.heartbeats.close(topic);
            }
            return self.left(parent, now);
        }
        if self.hub.members_by_name(topic) > 0 {
            return;
        }
        if self.homes.contains_key(&topic) {
            self.forget_unused(topic);
        } else if let Some(&number) = self.replica_of.get(self.hub.name(topic)) {
            self.lingering.push((now.monotonic_us, number));
        }
    }

    /// What this shard knows of its topics from number `next` on, at most `count_max`; and where to go on.
    pub(crate) fn report(&mut self, next: usize, count_max: usize, now: Now) -> (Vec<TopicShare>, Option<usize>) {
        let mut shares = Vec::new();
        let mut seen = 0;
        for topic in self.hub.topics().skip(next).take(count_max) {
            seen += 1;
            let (position, newest) = (self.hub.position(topic), self.hub.newest(topic));
            let rate = self.homes.get_mut(&topic).map(|home| home.per_second(newest, now));
            let subscribers = self.hub.members(topic) as u32;
            if rate.is_some() || subscribers > 0 {
                shares.push(TopicShare { name: self.hub.name(topic).clone(), position, rate, subscribers });
            }
        }
        (shares, (seen == count_max).then_some(next + seen))
    }
}
