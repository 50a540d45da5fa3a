//! One gateway in the place of another, as shards and homes see it.
//!
//! On the side that leaves: publishers wait, each home comes to rest and hands its topics over; then publications go to the control thread,
//! which has them numbered by the other gateway, and come back from there. A home goes on as it was but for giving offsets. On the side that
//! comes: homes begin with the topics that were handed over.
//!
//! Without: how the two talk, when what is said.
//!
//! Invariants: a home hands over when every thread has said `Quiet`, behind all that it published there, so nothing is under way to it.
//! From then to `Release`, `Follow` or `Resume` it gives no offset.

use super::core::Core;
use super::exchange::Numbering;
use super::mail::{Mail, Outbox};
use super::topics::Topics;
use crate::hub::{Epoch, Epochs, Hub, Marks, Publication, TopicId, TopicName};
use crate::reactor::Now;

/// What is said about it between threads.
#[derive(Debug)]
pub enum Succession {
    /// From the control thread to each shard: publishers wait from now on.
    Hold {
        /// Names the attempt.
        attempt: u64,
        /// Bytes of rings that this home hands over.
        bytes_max: u64,
    },
    /// From each thread to each home: nothing more comes from here.
    Quiet {
        /// Which attempt.
        attempt: u64,
    },
    /// From a home: what it has.
    Handed {
        /// Which attempt.
        attempt: u64,
        /// All that were published on.
        topics: Vec<HandedTopic>,
    },
    /// From the control thread to each shard: publishers go on.
    Release,
    /// From the control thread to each shard: publishers go on, and what they publish goes to the control thread.
    Follow,
    /// From the control thread to each shard: who gave the offsets is gone. Clients stay, more are taken, and each topic begins a new epoch.
    Resume,
    /// From the control thread to a home: this was published elsewhere. Costs a credit.
    Told {
        /// On which topic.
        topic: TopicName,
        /// In which of its epochs.
        epoch: Epoch,
        /// With its offset there.
        publication: Publication,
    },
    /// From the control thread to a home, before anything else: it goes on with these.
    Adopt {
        /// Whose home it is.
        topics: Vec<HandedTopic>,
    },
}

/// A topic on its way to another gateway.
#[derive(Clone, Debug)]
pub struct HandedTopic {
    /// Its name.
    pub name: TopicName,
    /// Its epochs.
    pub epochs: Epochs,
    /// The number of its newest publication.
    pub newest: u64,
    /// The newest of each key, in order; of a topic without keys its newest.
    pub state: Vec<Publication>,
    /// The newest of its log, in order, up to its newest publication.
    pub log: Vec<Publication>,
}

impl Topics {
    /// All topics of which this is the home and that were published on: the newest of each key, and as much of the logs as there is room
    /// for, dealt out so that no topic has less than another one where it would take more.
    pub(crate) fn hand_over(&self, bytes_max: u64) -> Vec<HandedTopic> {
        let hub = &self.hub;
        let published = self.homes.keys().copied().filter(|topic| hub.newest(*topic) > 0);
        let mut topics: Vec<(u64, TopicId)> = published.map(|topic| (hub.log_bytes(topic), topic)).collect();
        topics.sort_unstable();
        let mut left = bytes_max;
        let count = topics.len() as u64;
        let hand = |(place, (bytes, topic)): (u64, (u64, TopicId))| {
            let share = bytes.min(left / (count - place));
            left -= share;
            handed(hub, topic, share)
        };
        (0..).zip(topics).map(hand).collect()
    }

    /// Goes on with a topic of another gateway.
    pub(crate) fn adopt(&mut self, handed: HandedTopic, now: Now) {
        let HandedTopic { name, epochs, newest, state, log } = handed;
        let topic = self.open(name, epochs, newest);
        self.hub.seed(topic, &state, &mut self.encoder);
        self.hub.recall(topic, &log, &mut self.encoder);
        self.begin_home(topic, newest, now);
    }

    /// Who gave the offsets is gone, and nobody knows which it has given out: the next publication of each topic begins an epoch.
    pub(crate) fn begin_anew(&mut self) {
        self.homes.values_mut().for_each(|home| home.begins = true);
    }

    /// What another gateway has published, which gives the offsets.
    pub(crate) fn follow(&mut self, name: &TopicName, epoch: Epoch, publication: Publication, now: Now, outbox: &mut Outbox) {
        let topic = self.hub.find(name.as_str()).unwrap_or_else(|| {
            // Whether there is room for it was that one's to say.
            let topic = self.open(name.clone(), Epochs::new(epoch), 0);
            self.begin_home(topic, 0, now);
            topic
        });
        let position = self.hub.position(topic);
        let begins = epoch != position.epoch;
        let expected = if begins { 1 } else { position.offset + 1 };
        assert_eq!(publication.offset, expected, "what the other gateway publishes on {name} comes in order");
        let marks = Marks { begins: begins.then(|| Box::new(epoch)), ..publication.marks };
        let publication = Publication { offset: self.hub.newest(topic) + 1, marks, ..publication };
        self.deliver(topic, &publication, now, outbox);
    }
}

fn handed(hub: &Hub, topic: TopicId, bytes_max: u64) -> HandedTopic {
    HandedTopic {
        name: hub.name(topic).clone(),
        epochs: hub.epochs(topic).clone(),
        newest: hub.newest(topic),
        state: hub.state(topic),
        log: hub.log_newest(topic, bytes_max),
    }
}

impl Core {
    pub(super) fn succeed(&mut self, succession: Succession) {
        match succession {
            Succession::Hold { attempt, bytes_max } => {
                self.exchange.numbering = Numbering::Nobody;
                self.exchange.handing = (attempt, 0, bytes_max);
                for home in 0..self.outbox.post().homes() {
                    self.outbox.send(home, Mail::Succession(Succession::Quiet { attempt }));
                }
            }
            Succession::Release => self.let_publish(Numbering::Homes),
            Succession::Follow => self.let_publish(Numbering::Elsewhere),
            Succession::Resume => {
                self.topics.begin_anew();
                self.serve_again();
                self.let_publish(Numbering::Homes);
            }
            Succession::Adopt { topics } => topics.into_iter().for_each(|topic| self.topics.adopt(topic, self.now)),
            Succession::Quiet { attempt } => self.quiet(attempt),
            Succession::Told { topic, epoch, publication } => self.told(&topic, epoch, publication),
            Succession::Handed { .. } => unreachable!("this mail is the control thread's"),
        }
    }

    fn let_publish(&mut self, numbering: Numbering) {
        self.exchange.numbering = numbering;
        self.exchange.moved = true;
    }

    /// A thread's word, behind all that it published here. Another shard's may come before the control thread's own.
    fn quiet(&mut self, attempt: u64) {
        let (known, quiet, bytes_max) = &mut self.exchange.handing;
        // Before `Hold` came, or of an attempt that was given up.
        if *known != attempt {
            *self.exchange.early.entry(attempt).or_insert(0) += 1;
            return;
        }
        *quiet += 1;
        let early = self.exchange.early.remove(&attempt).unwrap_or(0);
        *quiet += early;
        if *quiet <= self.outbox.post().shards() {
            return;
        }
        let topics = self.topics.hand_over(*bytes_max);
        let control = self.outbox.post().control();
        self.outbox.send(control, Mail::Succession(Succession::Handed { attempt, topics }));
    }

    fn told(&mut self, name: &TopicName, epoch: Epoch, publication: Publication) {
        if self.topics.staleness.is_walking()
            && let Some(topic) = self.topics.hub.find(name.as_str())
        {
            self.end_walk_of(topic);
        }
        self.topics.follow(name, epoch, publication, self.now, &mut self.outbox);
        self.metrics.publications.add(1);
        let control = self.outbox.post().control();
        self.exchange.give_back(control);
    }
}
