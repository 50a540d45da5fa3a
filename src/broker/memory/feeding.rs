//! The gateway that comes: until the last client of the gateway before is gone, that one is told of all that is published, and what still
//! comes there is published here.
//!
//! Every home has this thread attached to all its topics, as a shard that watches `>` is. Invariant: that is so before the first offset is
//! given here, so the gateway before misses nothing; or it is left to itself, if it does not read, and then it closes its clients. What a
//! client is to hear between publications (a feed is gone, or back) goes in their order.

use std::collections::HashMap;

use tokio::sync::oneshot;

use super::{Asker, Memory, Unsent};
use crate::hub::{Epoch, Epochs, Pattern, Position, Publication, TopicName};
use crate::metrics::TakeoverOutcome;
use crate::shard::mail::{Mail, NotPublished, Place};
use crate::shard::succession::{HandedTopic, Succession};
use crate::takeover::{Line, LineError, Message, Pipe, Word};

/// Topics that are named in one message.
const TOPICS_AT_ONCE: usize = 1000;

/// What is kept for it.
pub(super) struct Feeding {
    /// Homes that have not attached this thread to all, and who waits for that.
    missing: u16,
    watched: Option<oneshot::Sender<()>>,
    /// By home and its number: the topic, its epoch, and the number before that.
    topics: HashMap<(Place, u32), Fed>,
    /// Before there is a line.
    early: Vec<Message>,
    pipe: Option<Pipe>,
    bytes_max: u64,
}

struct Fed {
    name: TopicName,
    epoch: Epoch,
    before: u64,
}

impl Memory {
    pub(super) fn adopt(&mut self, topics: Vec<HandedTopic>, bytes_max: u64, answer: oneshot::Sender<()>) {
        let post = self.outbox.post_shared();
        let mut by_home: HashMap<Place, Vec<HandedTopic>> = HashMap::new();
        for topic in topics {
            by_home.entry(post.home(&topic.name)).or_default().push(topic);
        }
        for (home, topics) in by_home {
            // What has a journal now and had none is for its journal to begin.
            if home != post.control() {
                self.outbox.send(home, Mail::Succession(Succession::Adopt { topics }));
            }
        }
        for home in 0..post.homes() {
            self.outbox.send(home, Mail::Watch { from: post.control(), pattern: everything() });
        }
        self.metrics.takeovers.add(TakeoverOutcome::Taken, 1);
        self.metrics.takeover_feeding.set(1);
        self.feeding = Some(Feeding {
            missing: post.homes(),
            watched: Some(answer),
            topics: HashMap::new(),
            early: Vec::new(),
            pipe: None,
            bytes_max,
        });
    }

    pub(super) fn feed(&mut self, line: Line) {
        let Some(feeding) = &mut self.feeding else { return };
        let mut pipe = Pipe::new(line);
        feeding.early.drain(..).for_each(|message| pipe.put(&message));
        feeding.pipe = Some(pipe);
    }

    /// Mail to who is attached.
    pub(super) fn take_fed(&mut self, mail: Mail) {
        let control = self.outbox.post().control();
        match (mail, &mut self.feeding) {
            (Mail::Attached { home, number, topic, epochs, newest, .. }, Some(feeding)) => {
                feeding.topics.insert((home, number), Fed::new(topic, &epochs, newest));
            }
            // It was on its way when the gateway before was gone.
            (Mail::Attached { home, number, .. }, None) => self.outbox.send(home, Mail::Detach { from: control, number }),
            (Mail::Append { home, number, publication }, Some(feeding)) => {
                let fed = feeding.topics.get_mut(&(home, number)).expect("Attached comes before the first Append");
                let message = fed.told(publication);
                self.metrics.takeover_fed.add(1);
                self.tell_before(message);
            }
            (Mail::ReplicaFeed { home, numbers, since_ms }, Some(feeding)) => {
                let name = |number: &u32| feeding.topics.get(&(home, *number)).map(|fed| fed.name.as_str().to_owned());
                let names: Vec<String> = numbers.iter().filter_map(name).collect();
                for topics in names.chunks(TOPICS_AT_ONCE) {
                    self.tell_before(Message::Word(Word::Stale { topics: topics.to_vec(), since_ms }));
                }
            }
            (Mail::Watched { .. }, Some(feeding)) => {
                feeding.missing -= 1;
                if feeding.missing == 0
                    && let Some(watched) = feeding.watched.take()
                {
                    // Whoever asked may be gone.
                    watched.send(()).ok();
                }
            }
            (
                Mail::Append { .. } | Mail::Watched { .. } | Mail::Detached { .. } | Mail::Kept { .. } | Mail::ReplicaFeed { .. },
                _,
            ) => {}
            (other, _) => unreachable!("this mail is not for who watches: {other:?}"),
        }
    }

    /// To the gateway before, if there is one; kept where there is no line to it yet. Who does not take what it is told is left to itself.
    pub(super) fn tell_before(&mut self, message: Message) {
        let Some(feeding) = &mut self.feeding else { return };
        let Some(pipe) = &mut feeding.pipe else { return feeding.early.push(message) };
        pipe.put(&message);
        if pipe.waiting_bytes() > feeding.bytes_max {
            tracing::warn!(
                "the gateway before does not take what is published here: more than takeover.feed_bytes_max waits for it, so it is left to \
                 itself and closes its clients"
            );
            self.end_feeding();
        }
    }

    /// What the gateway before says; only while nothing else is in hand, so that publications keep their order.
    pub(super) fn take_forwarded(&mut self) {
        loop {
            let Some(pipe) = self.feeding.as_mut().and_then(|feeding| feeding.pipe.as_mut()) else { return };
            match pipe.heard() {
                Ok(None) => return,
                Ok(Some(Message::Forward { id, publication })) => {
                    self.in_hand.push_back(Unsent { publication, asker: Some(Asker::Forwarded(id)) });
                }
                Ok(Some(Message::Word(Word::Revoked(revocation)))) => {
                    self.revoke_too(&revocation);
                    self.tell_after(&Message::Word(Word::Revoked(revocation)));
                }
                Ok(Some(other)) => tracing::error!("the gateway before said what nobody expects: {other:?}"),
                Err(error) => return self.feeding_moved(Err(error)),
            }
        }
    }

    /// What was published for the gateway before has its position, or none.
    pub(super) fn answer_forwarded(&mut self, id: u64, result: Result<Position, NotPublished>) {
        if let Some(pipe) = self.feeding.as_mut().and_then(|feeding| feeding.pipe.as_mut()) {
            pipe.put(&Message::Word(Word::answer(id, result)));
        }
    }

    pub(super) fn feeding_moved(&mut self, moved: Result<(), LineError>) {
        match moved {
            Ok(()) => {}
            Err(LineError::Gone) => {
                tracing::info!("the gateway before is gone");
                self.end_feeding();
            }
            Err(error) => {
                tracing::error!("the gateway before: {error}");
                self.end_feeding();
            }
        }
    }

    fn end_feeding(&mut self) {
        let Some(feeding) = self.feeding.take() else { return };
        self.metrics.takeover_feeding.set(0);
        let post = self.outbox.post_shared();
        let from = post.control();
        for home in 0..post.homes() {
            self.outbox.send(home, Mail::Unwatch { from, pattern: everything() });
        }
        for ((home, number), _) in feeding.topics {
            self.outbox.send(home, Mail::Detach { from, number });
        }
    }
}

impl Fed {
    fn new(name: TopicName, epochs: &Epochs, newest: u64) -> Fed {
        let Position { epoch, offset } = epochs.at(newest);
        Fed { name, epoch, before: newest - offset }
    }

    fn told(&mut self, mut publication: Publication) -> Message {
        if let Some(epoch) = publication.marks.begins.take() {
            (self.epoch, self.before) = (*epoch, publication.offset - 1);
        }
        publication.offset -= self.before;
        Message::Told { topic: self.name.clone(), epoch: self.epoch, publication }
    }
}

fn everything() -> Pattern {
    Pattern::parse(">").expect("it is a pattern")
}

/// Returns when something went to the gateway before or came from there; never where there is none.
pub(super) async fn moved(feeding: &mut Option<Feeding>, reads: bool) -> Result<(), LineError> {
    match feeding.as_mut().and_then(|feeding| feeding.pipe.as_mut()) {
        Some(pipe) => pipe.moved(reads).await,
        None => std::future::pending().await,
    }
}
