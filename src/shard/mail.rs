//! What threads say to each other, and how it travels: one bounded mailbox a thread, an outbox for what found it full.
//!
//! A *place* is a thread's number: the shards in order, then the control thread.
//!
//! Flow: a publication goes to its topic's home, which gives the offset and passes it on to the replicas. Whoever sends to
//! a home spends a credit, given back once the publication was passed on; so the mail that can wait anywhere is bounded, and
//! since every thread always takes its own mail, two full mailboxes cannot lock each other.

use std::collections::VecDeque;
use std::hash::{BuildHasher, DefaultHasher, Hash, Hasher, RandomState};
use std::sync::Arc;

use bytes::Bytes;

use super::inquiry::{Finding, Inquiry};
use super::mailbox::Mailbox;
use super::succession::Succession;
use crate::admission::{Keys, Question, Revocation, Verdict};
use crate::config::{self, Config};
use crate::hub::{Epochs, KeyError, NewPublication, Pattern, Position, Publication, TopicName};
use crate::reactor::ClientKey;
use crate::tls::Acceptors;

/// A thread's number.
pub type Place = u16;

/// One thing said to another thread.
#[derive(Debug)]
pub enum Mail {
    /// To a topic's home: publish this. Costs a credit.
    Publish {
        /// Who asks, and has its credit back.
        from: Place,
        /// Whom the answer is for.
        ticket: Ticket,
        /// Whether the position is wanted; a refusal is always told.
        answer: bool,
        /// What is published.
        publication: NewPublication,
    },
    /// From the home: the answer to a ticket.
    Published {
        /// Whose.
        ticket: Ticket,
        /// Its position, or why it has none.
        result: Result<Position, NotPublished>,
    },
    /// From a home: so many credits back.
    Taken {
        /// Which home.
        home: Place,
        /// How many.
        count: u32,
    },
    /// To a topic's home: send me its publications from now on.
    Attach {
        /// Who asks.
        from: Place,
        /// Which topic.
        topic: TopicName,
    },
    /// From the home: where the topic stands; what follows comes as [`Mail::Append`]. It comes once for each time of being
    /// attached, also where nobody asked by name but somebody watches a pattern that matches.
    Attached {
        /// Which home.
        home: Place,
        /// The home's number for the topic, good until [`Mail::Detached`].
        number: u32,
        /// Which topic.
        topic: TopicName,
        /// Its epochs.
        epochs: Epochs,
        /// The number of the newest publication.
        newest: u64,
        /// The newest publication of each key, in offset order, for `last`; of a topic without keys its newest, if any.
        state: Vec<Publication>,
        /// Since when its feed is gone, if it is: milliseconds since 1970.
        stale_since_ms: Option<u64>,
    },
    /// From the control thread to a home: the feed behind these topics is gone, or back.
    Feed {
        /// Which; those that the home does not know are passed over.
        topics: Vec<TopicName>,
        /// Since when it is gone, milliseconds since 1970; none: it is back.
        since_ms: Option<u64>,
    },
    /// From the home: the same of replicas.
    ReplicaFeed {
        /// Which home.
        home: Place,
        /// Its numbers for the topics.
        numbers: Vec<u32>,
        /// As in [`Mail::Feed`].
        since_ms: Option<u64>,
    },
    /// From the home: `topics_max` are there already.
    AttachRefused {
        /// Which topic.
        topic: TopicName,
    },
    /// From the home: the next publication.
    Append {
        /// Which home.
        home: Place,
        /// The home's number.
        number: u32,
        /// With its offset.
        publication: Publication,
    },
    /// To the home: send me all that your log holds, as somebody here wants to go back further than mine does.
    Recall {
        /// Who asks.
        from: Place,
        /// The home's number.
        number: u32,
    },
    /// From the home: what its log held when it was asked. Every [`Mail::Append`] before it is in there, none after it is.
    Recalled {
        /// Which home.
        home: Place,
        /// The home's number.
        number: u32,
        /// In order, without holes, up to the newest.
        publications: Vec<Publication>,
    },
    /// To the home: a client was given more elsewhere than has come here; say this back, behind all that is on its way.
    CatchUp {
        /// Who asks.
        from: Place,
        /// The client that waits for it.
        client: ClientKey,
        /// Which of its waits.
        number: u64,
    },
    /// From the home: every [`Mail::Append`] of what it had when it was asked came before this.
    CaughtUp {
        /// The client that waits for it.
        client: ClientKey,
        /// Which of its waits.
        number: u64,
    },
    /// To the home: send no more.
    Detach {
        /// Who asks.
        from: Place,
        /// The home's number.
        number: u32,
    },
    /// From the home: nothing more comes of this number.
    Detached {
        /// Which home.
        home: Place,
        /// The home's number.
        number: u32,
    },
    /// From the home, in place of [`Mail::Detached`]: it was published on, and you watch a pattern that it matches.
    Kept {
        /// Which home.
        home: Place,
        /// The home's number.
        number: u32,
    },
    /// To each home: attach me to every topic that matches and was published on, also to those to come, before their first
    /// publication.
    Watch {
        /// Who asks.
        from: Place,
        /// What is watched.
        pattern: Pattern,
    },
    /// From a home: it has attached you to all that there were.
    Watched {
        /// What is watched.
        pattern: Pattern,
    },
    /// To each home: no more of them. Said only after every home's [`Mail::Watched`].
    Unwatch {
        /// Who asks.
        from: Place,
        /// What was watched.
        pattern: Pattern,
    },
    /// From the control thread to each home: tell every shard when all before this was passed on.
    Barrier {
        /// Named in the answers.
        token: u64,
    },
    /// From a home to every shard: all that came before the barrier is in your mailbox before this.
    BarrierPassed {
        /// Which.
        token: u64,
    },
    /// To the control thread: all before the barrier has gone to every subscriber here that still takes bytes.
    Drained {
        /// Which.
        token: u64,
    },
    /// From the control thread: tell your topics.
    Report {
        /// Named in the answers.
        token: u64,
    },
    /// To the control thread: some topics, several times where there are many.
    Reported {
        /// Which report.
        token: u64,
        /// What this shard knows.
        topics: Vec<TopicShare>,
        /// Nothing more comes from this shard.
        last: bool,
    },
    /// From the control thread, for those who watch over the gateway.
    Inquire {
        /// Named in the answer.
        token: u64,
        /// What is asked.
        inquiry: Inquiry,
    },
    /// To the control thread: the one answer.
    Found {
        /// Which inquiry.
        token: u64,
        /// The answer.
        finding: Finding,
    },
    /// To the control thread: a client asked for the list of topics.
    TopicsWanted {
        /// Where the client is.
        from: Place,
        /// Which.
        client: ClientKey,
    },
    /// From the control thread: the list, as JSON.
    TopicsAnswer {
        /// Who asked.
        client: ClientKey,
        /// The body.
        body: Bytes,
    },
    /// One gateway takes the place of another.
    Succession(Succession),
    /// From the control thread: these hold from now on.
    Settings(Settings),
    /// From the control thread: tokens may be signed with these from now on.
    Keys(Keys),
    /// To the control thread: what may this client do?
    Callout {
        /// Where the client is.
        from: Place,
        /// Which.
        client: ClientKey,
        /// What is asked.
        question: Box<Question>,
    },
    /// From the control thread: that.
    Verdict {
        /// Who asked.
        client: ClientKey,
        /// What it came to.
        verdict: Verdict,
    },
    /// To the control thread: a token named a key that is not known here.
    KeyWanted,
    /// From the control thread: tokens that are good no more, those of clients who are there included.
    Revoke(Box<Revocation>),
    /// From the control thread: take clients from now on.
    Accept,
    /// To the control thread: this shard takes clients.
    Accepts,
    /// From the control thread: take no more clients, close those who are there one after the other within this time.
    Drain {
        /// Milliseconds.
        window_ms: u32,
    },
    /// From the control thread: take no more clients and publishers, announce the stop.
    Pause,
    /// From the control thread: close all clients and end.
    Finish,
    /// To the control thread: this shard has ended.
    Finished,
}

/// What a shard goes by, and may be given anew while it runs.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The whole configuration; what is made at start is in it as it was made.
    pub config: Arc<Config>,
    /// By listener: what new clients are accepted with.
    pub acceptors: Acceptors,
}

/// Who waits for a publication's position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ticket {
    /// A client of the asking shard.
    Client(ClientKey),
    /// The same, for its message of this number; its publication waits where it cannot be taken at once.
    Message(ClientKey, u64),
    /// The control thread, by its own count.
    Control(u64),
}

/// The gateway holds `topics_max` topics already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TopicsMax;

/// Why a publication has no position.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotPublished {
    /// There is no room for its topic.
    #[error("the gateway holds topics_max topics already")]
    TopicsMax,
    /// Its topic's journal cannot be written.
    #[error("the topic's journal cannot be written (is its disk full?); try again later")]
    Journal,
    /// The gateway that took this one's place, and gives the offsets, is gone.
    #[error("the gateway that took this one's place is gone, perhaps with this; publish again to the next one")]
    Gone,
    /// The topic's `key` finds something in the payload that cannot be a key.
    #[error("what the topic's `key` finds in the payload is none: {0}")]
    Key(KeyError),
}

impl From<TopicsMax> for NotPublished {
    fn from(TopicsMax: TopicsMax) -> NotPublished {
        NotPublished::TopicsMax
    }
}

/// What one shard knows of a topic.
#[derive(Clone, Debug)]
pub struct TopicShare {
    /// Which.
    pub name: TopicName,
    /// The newest position here.
    pub position: Position,
    /// At its home: publications a second.
    pub rate: Option<f32>,
    /// Subscribers on this shard.
    pub subscribers: u32,
}

/// All mailboxes, and which shard is a topic's home. Shared by all threads.
pub struct Post {
    mailboxes: Box<[Mailbox<Mail>]>,
    /// Hashed in front of each name: random, so that nobody outside can choose names that all live on one shard.
    key: u64,
    /// Patterns of the configuration up to the last journaled one, and whether they are; the first match counts.
    journaled: Box<[(Pattern, bool)]>,
}

impl std::fmt::Debug for Post {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Post").field("shards", &self.shards()).finish_non_exhaustive()
    }
}

impl Post {
    /// For so many shards and the control thread, which is home of the topics with a journal.
    #[must_use]
    pub fn new(shards: u16, mailbox_places: usize, topics: &[config::Topic]) -> Arc<Post> {
        let pattern = |topic: &config::Topic| Pattern::parse(&topic.pattern).expect("the configuration was validated");
        let count = topics.iter().rposition(|topic| topic.journal.is_some()).map_or(0, |last| last + 1);
        let journaled = topics[..count].iter().map(|topic| (pattern(topic), topic.journal.is_some())).collect();
        Post::made(shards, mailbox_places, RandomState::new().hash_one(shards), journaled)
    }

    /// Without journals, and with homes that the caller's key decides.
    #[cfg(test)]
    pub(super) fn with_key(shards: u16, mailbox_places: usize, key: u64) -> Arc<Post> {
        Post::made(shards, mailbox_places, key, Box::default())
    }

    fn made(shards: u16, mailbox_places: usize, key: u64, journaled: Box<[(Pattern, bool)]>) -> Arc<Post> {
        let mailboxes = (0..=shards).map(|_| Mailbox::new(mailbox_places)).collect();
        Arc::new(Post { mailboxes, key, journaled })
    }

    /// How many shards there are.
    #[must_use]
    pub fn shards(&self) -> u16 {
        self.control()
    }

    /// How many threads are home of some topics.
    #[must_use]
    pub fn homes(&self) -> u16 {
        self.shards() + u16::from(self.has_journals())
    }

    /// Whether some topics have a journal.
    #[must_use]
    pub fn has_journals(&self) -> bool {
        !self.journaled.is_empty()
    }

    /// The control thread's place.
    #[must_use]
    pub fn control(&self) -> Place {
        (self.mailboxes.len() - 1) as Place
    }

    /// The mailbox of a place.
    #[must_use]
    pub fn mailbox(&self, place: Place) -> &Mailbox<Mail> {
        &self.mailboxes[usize::from(place)]
    }

    /// The thread that orders a topic's publications: the control thread where it has a journal, else a shard.
    #[must_use]
    pub fn home(&self, topic: &TopicName) -> Place {
        let matching = self.journaled.iter().find(|(pattern, _)| pattern.matches(topic.as_str()));
        if matching.is_some_and(|(_, is_journaled)| *is_journaled) {
            return self.control();
        }
        let mut hasher = DefaultHasher::new();
        (self.key, topic.as_str()).hash(&mut hasher);
        (hasher.finish() % u64::from(self.shards())) as Place
    }
}

/// One thread's way to send: straight into the mailbox, or behind what is waiting for it already.
///
/// Its length is bounded: a home that has anything waiting takes no more publications (credits bound those under way), and
/// what else is sent answers something: one client's subscription in hand, or a report's part a turn.
pub struct Outbox {
    post: Arc<Post>,
    waiting: Box<[VecDeque<Mail>]>,
    waiting_count: usize,
    /// Times that a mailbox was found full.
    full: u64,
}

impl Outbox {
    /// Of one thread.
    #[must_use]
    pub fn new(post: Arc<Post>) -> Outbox {
        let waiting = (0..=post.shards()).map(|_| VecDeque::new()).collect();
        Outbox { post, waiting, waiting_count: 0, full: 0 }
    }

    /// The mailboxes behind it.
    #[must_use]
    pub fn post(&self) -> &Post {
        &self.post
    }

    /// The mailboxes, for whoever changes this while it looks at them.
    #[must_use]
    pub fn post_shared(&self) -> Arc<Post> {
        self.post.clone()
    }

    /// Sends, now or by a later [`Outbox::flush`], in order.
    pub fn send(&mut self, to: Place, mail: Mail) {
        let waiting = &mut self.waiting[usize::from(to)];
        if waiting.is_empty() {
            let Err(back) = self.post.mailbox(to).send(mail) else { return };
            self.full += 1;
            waiting.push_back(back);
        } else {
            waiting.push_back(mail);
        }
        self.waiting_count += 1;
    }

    /// Sends what waits, as far as there is room.
    pub fn flush(&mut self) {
        if self.waiting_count == 0 {
            return;
        }
        for (to, waiting) in self.waiting.iter_mut().enumerate() {
            while let Some(mail) = waiting.pop_front() {
                if let Err(back) = self.post.mailbox(to as Place).send(mail) {
                    waiting.push_front(back);
                    break;
                }
                self.waiting_count -= 1;
            }
        }
    }

    /// Whether anything waits for room: then this thread takes no more publications.
    #[must_use]
    pub fn is_congested(&self) -> bool {
        self.waiting_count > 0
    }

    /// Whether anything waits for room in this place's mailbox.
    #[must_use]
    pub fn is_waiting(&self, place: Place) -> bool {
        !self.waiting[usize::from(place)].is_empty()
    }

    /// Times that a mailbox was found full, since last asked.
    pub fn take_full(&mut self) -> u64 {
        std::mem::take(&mut self.full)
    }
}
