//! The shard's topics: those it is home of, whose publications it orders, and replicas of other homes' topics.
//!
//! Without: clients' sessions and sockets. Invariant: a replica exists in the hub from [`Mail::Attached`] on, and is fed
//! in the home's order, so its newest offset is always the one before the next [`Mail::Append`].

use std::collections::HashMap;

use super::flush::Windows;
use super::mail::{Mail, NotPublished, Outbox, Place, TopicShare, TopicsMax};
use super::settings::Setting;
use crate::config;
use crate::dialect::stream::StreamEncoder;
use crate::hub::{Epoch, Hub, Key, Marks, NewPublication, Position, Publication, TopicId, TopicName};
use crate::reactor::{ClientKey, Now};

/// Topics, homes and replicas. The control thread has one too, as the home of journaled topics.
pub(crate) struct Topics {
    pub(super) hub: Hub,
    pub(super) encoder: StreamEncoder,
    place: Place,
    /// In the configuration's order, and behind them what holds for topics that match none.
    settings: Box<[Setting]>,
    /// By topic: which of the settings are its own.
    classes: Vec<u16>,
    pub(super) windows: Windows,
    /// Times of ingest of publications that became due, until the sweep has them.
    pub(super) told_unix_us: Vec<u64>,
    topics_max: usize,
    homes: HashMap<TopicId, Home>,
    replicas: Vec<Option<Replica>>,
    replicas_free: Vec<u32>,
    replica_of: HashMap<TopicName, u32>,
    /// The last epoch given out, so that two topics made in one microsecond differ.
    epoch_last: u64,
    /// Replicas that have lost their last subscriber, and when.
    lingering: Vec<(u64, u32)>,
}

#[derive(Default)]
struct Home {
    /// Who is told of each publication: place and number there.
    replicas: Vec<(Place, u32)>,
    rate: Rate,
    /// It has a journal, and stays.
    kept: bool,
}

struct Replica {
    name: TopicName,
    state: ReplicaState,
    /// Clients that wait for it to be attached, or for its past.
    waiters: Vec<Waiter>,
    past: Past,
}

/// How far back a replica's log goes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Past {
    /// To the publication that was the newest when it was attached.
    Short,
    /// The home was asked for all of its log.
    Recalling,
    /// As far as the home's.
    Whole,
}

/// A client that waits for replicas, and which of its waits it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Waiter {
    pub(super) client: ClientKey,
    pub(super) number: u64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum ReplicaState {
    Attaching,
    Attached(TopicId),
    /// Detach was sent; `Append`s that were under way are still taken.
    Detaching(TopicId),
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
        let settings = config.topics.iter().chain([&config::Topic::default()]).map(Setting::new).collect();
        Topics {
            hub: Hub::new(config.limits.torn_bytes_max as usize),
            encoder: StreamEncoder::new(config.limits.deflate_bytes_min),
            place,
            settings,
            classes: Vec::new(),
            windows: Windows::default(),
            told_unix_us: Vec::new(),
            // Homes are dealt out by a hash: an eighth more than the even share leaves the whole bound reachable.
            topics_max: (config.limits.topics_max as usize).div_ceil(usize::from(shards)) * 9 / 8 + 1,
            homes: HashMap::new(),
            replicas: Vec::new(),
            replicas_free: Vec::new(),
            replica_of: HashMap::new(),
            epoch_last: 0,
            lingering: Vec::new(),
        }
    }

    fn open(&mut self, name: TopicName, position: Position) -> TopicId {
        let class = self.class(&name);
        let topic = self.hub.open(name, self.settings[class].hub(), position);
        if self.classes.len() <= topic.index() {
            self.classes.resize(topic.index() + 1, 0);
        }
        self.classes[topic.index()] = class as u16;
        topic
    }

    /// Which of the settings hold for topics of this name: the first whose pattern matches.
    fn class(&self, name: &TopicName) -> usize {
        let matching = self.settings.iter().position(|setting| setting.matches(name));
        matching.expect("the last pattern matches every topic")
    }

    /// What the configuration says of topics of this name.
    pub(super) fn setting(&self, name: &TopicName) -> &Setting {
        &self.settings[self.class(name)]
    }

    fn setting_of(&self, topic: TopicId) -> &Setting {
        &self.settings[usize::from(self.classes[topic.index()])]
    }

    fn close(&mut self, topic: TopicId) {
        self.windows.close(topic);
        self.hub.close(topic);
    }

    /// Appends a publication; its subscribers hear of it now, or when the topic's flush window ends.
    fn append_to(&mut self, topic: TopicId, publication: &Publication, now: Now) {
        let (flush_us, is_heard) = (self.setting_of(topic).topic.flush_us, self.hub.members(topic) > 0);
        if flush_us == 0 || !is_heard {
            self.hub.publish(topic, publication, &mut self.encoder);
            self.told_unix_us.extend(is_heard.then_some(publication.unix_us));
            return;
        }
        self.hub.append(topic, publication, &mut self.encoder);
        // All windows of a length end together, so that what several topics bring one client leaves in one send.
        let until_us = (now.monotonic_us / u64::from(flush_us) + 1) * u64::from(flush_us);
        let first = self.windows.add(topic, publication.offset, publication.unix_us, until_us);
        // Whoever keeps up must not fall out of the ring for what was kept from it.
        if self.hub.fill_half(topic, first) {
            self.flush(topic);
        }
    }

    /// Ends the windows that are over by this moment.
    pub(super) fn flush_until(&mut self, now_us: u64) {
        while let Some(topic) = self.windows.over(now_us) {
            self.flush(topic);
        }
    }

    /// Ends all windows.
    pub(super) fn flush_all(&mut self) {
        self.flush_until(u64::MAX);
    }

    fn flush(&mut self, topic: TopicId) {
        if let Some(window) = self.windows.close(topic) {
            self.told_unix_us.extend(window.ingests_unix_us);
            self.hub.note_members(topic);
        }
    }

    /// Publishes on a topic whose home this is: gives the offset, tells the replicas.
    pub(super) fn publish(&mut self, new: NewPublication, now: Now, outbox: &mut Outbox) -> Result<Position, NotPublished> {
        let key = self.key(&new)?;
        let topic = self.home_topic(&new.topic, now)?;
        let Position { epoch, offset } = self.hub.position(topic);
        let publication =
            Publication { offset: offset + 1, unix_us: now.unix_us, payload: new.payload, marks: Marks { key, ..new.marks } };
        self.deliver(topic, &publication, now, outbox);
        Ok(Position { epoch, offset: publication.offset })
    }

    /// The key of a publication on a topic whose home this is.
    pub(crate) fn key(&self, new: &NewPublication) -> Result<Option<Key>, NotPublished> {
        self.setting(&new.topic).key(new).map_err(NotPublished::Key)
    }

    /// Appends the next publication of a topic whose home this is, and tells the replicas.
    fn deliver(&mut self, topic: TopicId, publication: &Publication, now: Now, outbox: &mut Outbox) {
        self.append_to(topic, publication, now);
        let home = self.homes.get_mut(&topic).expect("a home topic has its home's part");
        home.rate.tick(now.monotonic_us, publication.offset);
        for &(place, replica) in &home.replicas {
            outbox.send(place, Mail::Append { replica, publication: publication.clone() });
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
        self.epoch_last = now.unix_us.max(self.epoch_last + 1);
        let position = Position { epoch: Epoch::from_number(self.epoch_last), offset: 0 };
        let topic = self.open(name.clone(), position);
        let rate = Rate { window_us: now.monotonic_us, ..Rate::default() };
        self.homes.insert(topic, Home { rate, ..Home::default() });
        Ok(topic)
    }

    // --- a home that keeps journals ---

    /// Opens a topic as a journal holds it: empty behind `before`, to be filled by [`Topics::restore`].
    pub(crate) fn reopen(&mut self, name: TopicName, before: Position, now: Now) {
        let topic = self.open(name, before);
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

    /// Publishes what is written: it has the offset after the newest.
    pub(crate) fn publish_kept(&mut self, name: &TopicName, publication: &Publication, now: Now, outbox: &mut Outbox) {
        let topic = self.hub.find(name.as_str()).expect("a kept topic stays");
        self.deliver(topic, publication, now, outbox);
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
                    outbox.send(home, Mail::Recall { from: self.place, replica: number, topic: name.clone() });
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
        let replica = Replica { name: name.clone(), state: ReplicaState::Attaching, waiters: Vec::new(), past: Past::Short };
        let number = self.replicas_free.pop().unwrap_or_else(|| {
            self.replicas.push(None);
            (self.replicas.len() - 1) as u32
        });
        self.replicas[number as usize] = Some(replica);
        self.replica_of.insert(name.clone(), number);
        outbox.send(home, Mail::Attach { from: self.place, replica: number, topic: name.clone() });
        number
    }

    /// At the home: another shard wants the topic.
    pub(crate) fn attach_asked(&mut self, from: Place, replica: u32, name: &TopicName, now: Now, outbox: &mut Outbox) {
        let Ok(topic) = self.home_topic(name, now) else {
            outbox.send(from, Mail::AttachRefused { replica });
            return;
        };
        self.homes.get_mut(&topic).expect("a home topic has its home's part").replicas.push((from, replica));
        let (position, state) = (self.hub.position(topic), self.hub.state(topic));
        outbox.send(from, Mail::Attached { replica, position, state });
    }

    /// At the home: another shard wants the past, too.
    pub(crate) fn recall_asked(&mut self, from: Place, replica: u32, name: &TopicName, outbox: &mut Outbox) {
        let topic = self.hub.find(name.as_str()).expect("a topic with a replica is kept");
        outbox.send(from, Mail::Recalled { replica, publications: self.hub.held(topic) });
    }

    /// The home's answer; gives the clients that waited.
    pub(super) fn recalled(&mut self, number: u32, publications: &[Publication]) -> Vec<Waiter> {
        let replica = self.replicas[number as usize].as_mut().expect("a number is freed after the home's last word");
        replica.past = Past::Whole;
        if let ReplicaState::Attached(topic) = replica.state {
            self.hub.recall(topic, publications, &mut self.encoder);
        }
        std::mem::take(&mut replica.waiters)
    }

    /// At the home: another shard has no more use for the topic.
    pub(crate) fn detach_asked(&mut self, from: Place, replica: u32, name: &TopicName, outbox: &mut Outbox) {
        let topic = self.hub.find(name.as_str()).expect("a topic with a replica is kept");
        let home = self.homes.get_mut(&topic).expect("a home topic has its home's part");
        home.replicas.retain(|entry| *entry != (from, replica));
        outbox.send(from, Mail::Detached { replica });
        self.forget_unused(topic);
    }

    /// A topic that nobody hears and nobody ever published on is given up: a client's invention costs nothing lasting.
    fn forget_unused(&mut self, topic: TopicId) {
        let unused = self.homes.get(&topic).is_some_and(|home| home.replicas.is_empty() && !home.kept)
            && self.hub.members(topic) == 0
            && self.hub.position(topic).offset == 0;
        if unused {
            self.homes.remove(&topic);
            self.close(topic);
        }
    }

    /// The home's answer; gives the clients that waited.
    pub(super) fn attached(&mut self, number: u32, position: Position, state: &[Publication], now: Now) -> Vec<Waiter> {
        let replica = self.replicas[number as usize].as_mut().expect("the home answers a number that is in use");
        let name = replica.name.clone();
        let waiters = std::mem::take(&mut replica.waiters);
        // Of a topic without publications, or with one, there is no more.
        if position.offset <= 1 {
            replica.past = Past::Whole;
        }
        let topic = self.open(name, position);
        self.hub.seed(topic, state, &mut self.encoder);
        self.replicas[number as usize].as_mut().expect("it is there").state = ReplicaState::Attached(topic);
        // Until somebody subscribes it is unused; the linger looks at it then.
        self.lingering.push((now.monotonic_us, number));
        waiters
    }

    /// The home refused; gives the topic and the clients that waited.
    pub(super) fn attach_refused(&mut self, number: u32) -> (TopicName, Vec<Waiter>) {
        let replica = self.free_replica(number);
        (replica.name, replica.waiters)
    }

    /// The next publication of a replica.
    pub(super) fn append(&mut self, number: u32, publication: &Publication, now: Now) {
        let replica = self.replicas[number as usize].as_ref().expect("a number is freed after the home's last word");
        match replica.state {
            ReplicaState::Attached(topic) | ReplicaState::Detaching(topic) => {
                self.append_to(topic, publication, now);
            }
            ReplicaState::Attaching => unreachable!("Attached comes before the first Append"),
        }
    }

    /// Somebody left a topic: where nobody is left, it lingers (a replica) or may be forgotten (a home's).
    pub(super) fn left(&mut self, topic: TopicId, now: Now) {
        if self.hub.members(topic) > 0 {
            return;
        }
        if self.homes.contains_key(&topic) {
            self.forget_unused(topic);
        } else if let Some(&number) = self.replica_of.get(self.hub.name(topic)) {
            self.lingering.push((now.monotonic_us, number));
        }
    }

    /// Gives up replicas that had no subscriber for `linger_us`.
    pub(super) fn detach_unused(&mut self, now: Now, linger_us: u64, outbox: &mut Outbox) {
        let due = self.lingering.iter().position(|(since, _)| since + linger_us > now.monotonic_us);
        let ripe: Vec<u32> = self.lingering.drain(..due.unwrap_or(self.lingering.len())).map(|(_, number)| number).collect();
        for number in ripe {
            let Some(replica) = self.replicas[number as usize].as_mut() else { continue };
            let ReplicaState::Attached(topic) = replica.state else { continue };
            if self.hub.members(topic) == 0 {
                replica.state = ReplicaState::Detaching(topic);
                let home = outbox.post().home(&replica.name);
                outbox.send(home, Mail::Detach { from: self.place, replica: number, topic: replica.name.clone() });
            }
        }
    }

    /// Whether replicas wait to be given up.
    pub(super) fn is_lingering(&self) -> bool {
        !self.lingering.is_empty()
    }

    /// The home's last word on a number. Clients that came meanwhile ask anew.
    pub(super) fn detached(&mut self, number: u32) -> Vec<Waiter> {
        let replica = self.free_replica(number);
        let ReplicaState::Detaching(topic) = replica.state else { unreachable!("only what was given up is confirmed") };
        self.close(topic);
        replica.waiters
    }

    fn free_replica(&mut self, number: u32) -> Replica {
        let replica = self.replicas[number as usize].take().expect("the home answers a number that is in use");
        self.replica_of.remove(&replica.name);
        self.replicas_free.push(number);
        replica
    }

    /// What this shard knows of its topics from number `next` on, at most `count_max`; and where to go on.
    pub(crate) fn report(&mut self, next: usize, count_max: usize, now: Now) -> (Vec<TopicShare>, Option<usize>) {
        let mut shares = Vec::new();
        let mut seen = 0;
        for topic in self.hub.topics().skip(next).take(count_max) {
            seen += 1;
            let position = self.hub.position(topic);
            let rate = self.homes.get_mut(&topic).map(|home| {
                home.rate.tick(now.monotonic_us, position.offset);
                home.rate.per_second
            });
            let subscribers = self.hub.members(topic) as u32;
            if rate.is_some() || subscribers > 0 {
                shares.push(TopicShare { name: self.hub.name(topic).clone(), position, rate, subscribers });
            }
        }
        (shares, (seen == count_max).then_some(next + seen))
    }
}
