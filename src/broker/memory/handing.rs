//! The gateway that leaves: it holds its publishers back until all topics are handed over, then has the other one give the offsets.
//!
//! What is published here goes there, what is published there comes back here in its order, with the answers. Invariants: a publication is
//! answered only when it is answered there; what comes is passed to its home for a credit, and while there is none nothing is read.

use std::collections::{HashMap, VecDeque};
use std::os::fd::OwnedFd;

use tokio::sync::oneshot;

use super::Memory;
use super::shards::tell_homes;
use crate::broker::{HandOver, Handed, Taken};
use crate::hub::{Epoch, NewPublication, Position, Publication, TopicName};
use crate::metrics::TakeoverOutcome;
use crate::shard::mail::{Mail, NotPublished, Place, Ticket};
use crate::shard::succession::{HandedTopic, Succession};
use crate::takeover::{LineError, Message, Pipe, Word};

/// Publishers are held back.
pub(super) struct Holding {
    attempt: u64,
    /// Shards that have not handed their topics over.
    missing: u16,
    topics: Vec<HandedTopic>,
    /// The journal's files are closed, with its lock; or there is none.
    journal: Option<Option<OwnedFd>>,
    /// Until it was told.
    handed: Option<oneshot::Sender<Handed>>,
    judged: oneshot::Receiver<Taken>,
}

/// The offsets are given elsewhere.
pub(super) struct Following {
    /// None once the other one is gone.
    pipe: Option<Pipe>,
    /// Who wants to know that.
    lost: Option<oneshot::Sender<()>>,
    /// Publications without an answer, by their numbers.
    forwarded: HashMap<u64, (Place, Ticket, bool)>,
    given: u64,
    /// Came and found no credit.
    told: VecDeque<Told>,
}

/// What is for homes, in its order.
enum Told {
    /// Costs a credit.
    Publication { topic: TopicName, epoch: Epoch, publication: Publication },
    /// A feed is gone, or back.
    Feed { topics: Vec<TopicName>, since_ms: Option<u64> },
}

impl Memory {
    pub(super) fn hold(&mut self, HandOver { bytes_max, handed, judged }: HandOver) {
        self.attempts += 1;
        let attempt = self.attempts;
        let (shards, homes) = (self.outbox.post().shards(), self.outbox.post().homes());
        let bytes_max = bytes_max / u64::from(shards);
        for shard in 0..shards {
            self.outbox.send(shard, Mail::Succession(Succession::Hold { attempt, bytes_max }));
        }
        for home in 0..homes {
            self.outbox.send(home, Mail::Succession(Succession::Quiet { attempt }));
        }
        let journal = if self.journaled.is_some() { None } else { Some(None) };
        self.holding = Some(Holding { attempt, missing: shards, topics: Vec::new(), journal, handed: Some(handed), judged });
    }

    /// A home has come to rest.
    pub(super) fn handed(&mut self, attempt: u64, topics: Vec<HandedTopic>) {
        // It may be of an attempt that was given up.
        if let Some(holding) = self.holding.as_mut().filter(|holding| holding.attempt == attempt) {
            holding.topics.extend(topics);
            holding.missing -= 1;
        }
    }

    /// Closes the journal's files once nothing is written there any more, and answers once all is there.
    pub(super) async fn hand_over(&mut self) {
        let Some(holding) = &mut self.holding else { return };
        if holding.journal.is_none()
            && let Some(journaled) = &mut self.journaled
            && journaled.is_quiet(holding.attempt, self.outbox.post().shards() + 1)
        {
            holding.journal = Some(journaled.end_segments().await);
        }
        if holding.missing == 0
            && let Some(lock) = holding.journal.take_if(|_| holding.handed.is_some())
            && let Some(handed) = holding.handed.take()
        {
            // Where whoever asked is gone the verdict says so.
            let (topics, revocations) = (std::mem::take(&mut holding.topics), self.rights.revocations());
            handed.send(Handed { topics, revocations, lock }).ok();
            holding.journal = Some(None);
        }
    }

    pub(super) fn judge(&mut self, taken: Option<Taken>) {
        self.holding = None;
        let shards = 0..self.outbox.post().shards();
        let Some(Taken { line, lost }) = taken else {
            shards.for_each(|shard| self.outbox.send(shard, Mail::Succession(Succession::Release)));
            return;
        };
        if let Some(journaled) = &mut self.journaled {
            journaled.give_up();
        }
        self.metrics.takeovers.add(TakeoverOutcome::Given, 1);
        self.metrics.takeover_following.set(1);
        let is_gone = line.is_none();
        let pipe = line.map(Pipe::new);
        self.following = Some(Following { pipe, lost: Some(lost), forwarded: HashMap::new(), given: 0, told: VecDeque::new() });
        shards.for_each(|shard| self.outbox.send(shard, Mail::Succession(Succession::Follow)));
        if is_gone {
            self.metrics.takeovers.add(TakeoverOutcome::Lost, 1);
            self.left_alone(&LineError::Gone);
        }
    }

    /// A publication that came here is published there.
    pub(super) fn forward(&mut self, (from, ticket, answer): (Place, Ticket, bool), publication: NewPublication) {
        let following = self.following.as_mut().expect("it was looked at before");
        let Some(pipe) = &mut following.pipe else {
            return self.answer(from, ticket, answer, Err(NotPublished::Gone));
        };
        self.metrics.takeover_forwarded.add(1);
        following.given += 1;
        following.forwarded.insert(following.given, (from, ticket, answer));
        pipe.put(&Message::Forward { id: following.given, publication });
    }

    fn answer(&mut self, from: Place, ticket: Ticket, answer: bool, result: Result<Position, NotPublished>) {
        let home = self.outbox.post().control();
        self.outbox.send(from, Mail::Taken { home, count: 1 });
        if answer || result.is_err() {
            self.outbox.send(from, Mail::Published { ticket, result });
        }
    }

    /// What the other one says, as far as there is room for it.
    pub(super) fn follow(&mut self) {
        self.pass_told();
        loop {
            let Some(following) = self.following.as_mut().filter(|following| following.told.is_empty()) else { return };
            let Some(pipe) = &mut following.pipe else { return };
            match pipe.heard() {
                Ok(None) => return,
                Ok(Some(Message::Told { topic, epoch, publication })) => {
                    following.told.push_back(Told::Publication { topic, epoch, publication });
                    self.pass_told();
                }
                Ok(Some(Message::Word(Word::Stale { topics, since_ms }))) => {
                    let topics = topics.iter().filter_map(|topic| TopicName::parse(topic).ok()).collect();
                    following.told.push_back(Told::Feed { topics, since_ms });
                    self.pass_told();
                }
                Ok(Some(Message::Word(Word::Revoked(revocation)))) => {
                    self.revoke_too(&revocation);
                    self.tell_before(Message::Word(Word::Revoked(revocation)));
                }
                Ok(Some(Message::Word(Word::Answer { id, result }))) => {
                    let position = |(epoch, offset): (String, u64)| Epoch::parse(&epoch).map(|epoch| Position { epoch, offset });
                    let result = result.map_err(NotPublished::from).and_then(|told| position(told).ok_or(NotPublished::Gone));
                    if let Some((from, ticket, answer)) = following.forwarded.remove(&id) {
                        self.answer(from, ticket, answer, result);
                    }
                }
                Ok(Some(other)) => tracing::error!("the other gateway said what nobody expects: {other:?}"),
                Err(error) => return self.left_alone(&error),
            }
        }
    }

    fn pass_told(&mut self) {
        let Some(following) = &mut self.following else { return };
        while let Some(told) = following.told.pop_front() {
            match told {
                told if self.outbox.is_congested() => return following.told.push_front(told),
                Told::Publication { topic, epoch, publication } => {
                    let home = self.outbox.post().home(&topic);
                    let credits = &mut self.credits[usize::from(home)];
                    if *credits == 0 {
                        return following.told.push_front(Told::Publication { topic, epoch, publication });
                    }
                    *credits -= 1;
                    self.outbox.send(home, Mail::Succession(Succession::Told { topic, epoch, publication }));
                }
                Told::Feed { topics, since_ms } => tell_homes(&mut self.outbox, topics, since_ms),
            }
        }
    }

    /// To the gateway that took this one's place, if there is one.
    pub(super) fn tell_after(&mut self, message: &Message) {
        if let Some(pipe) = self.following.as_mut().and_then(|following| following.pipe.as_mut()) {
            pipe.put(message);
        }
    }

    /// Whether something that was published here has no answer yet.
    pub(super) fn is_forwarding(&self) -> bool {
        self.following.as_ref().is_some_and(|following| !following.forwarded.is_empty())
    }

    /// Nothing more comes from there. What becomes of the clients is for whoever knows whether somebody else has the place.
    pub(super) fn left_alone(&mut self, error: &LineError) {
        tracing::error!("the gateway that took this one's place: {error}");
        let Some(following) = &mut self.following else { return };
        if following.pipe.take().is_some() {
            self.metrics.takeovers.add(TakeoverOutcome::Lost, 1);
        }
        if let Some(lost) = following.lost.take() {
            // Whoever wanted to know may be gone.
            lost.send(()).ok();
        }
        for (_, (from, ticket, answer)) in std::mem::take(&mut following.forwarded) {
            self.answer(from, ticket, answer, Err(NotPublished::Gone));
        }
    }

    /// Nobody else gives the offsets: this gateway does again.
    pub(super) fn resume(&mut self, answer: oneshot::Sender<bool>) {
        let is_gone = self.following.as_ref().is_some_and(|following| following.pipe.is_none());
        if !is_gone || self.journaled.as_mut().is_some_and(|journaled| !journaled.resume()) {
            // Whoever asked may be gone.
            answer.send(false).ok();
            return;
        }
        // What was numbered over there and had not reached its home is of the epochs that end now.
        self.following = None;
        self.metrics.takeover_following.set(0);
        answer.send(true).ok();
        let shards = 0..self.outbox.post().shards();
        shards.for_each(|shard| self.outbox.send(shard, Mail::Succession(Succession::Resume)));
    }
}

/// The verdict; never while nobody is held back.
pub(super) async fn judged(holding: &mut Option<Holding>) -> Option<Taken> {
    match holding {
        Some(holding) => (&mut holding.judged).await.ok(),
        None => std::future::pending().await,
    }
}

/// Returns when something went to the other one or came from there; never where there is none.
pub(super) async fn moved(following: &mut Option<Following>) -> Result<(), LineError> {
    match following {
        Some(Following { pipe: Some(pipe), told, .. }) => pipe.moved(told.is_empty()).await,
        _ => std::future::pending().await,
    }
}
