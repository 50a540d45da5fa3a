//! The way in for feeds on the control thread: order and offsets are given by each topic's home.
//!
//! [`Handle`] is what sources and the admin API hold; [`memory`] is the embedded broker behind it, which keeps nothing and
//! passes on to the shards.

pub mod bell;
mod inquiries;
pub mod journaled;
pub mod memory;

use std::os::fd::OwnedFd;
use std::sync::Arc;

use tokio::sync::{Notify, Semaphore, mpsc, oneshot};

use self::inquiries::Awaited;
use crate::admission::{Keys, Question, Revocation, RevocationsMax};
use crate::hub::{KeyError, NewPublication, Position, TopicName};
use crate::reactor::ClientKey;
use crate::shard::inquiry::Inquiry;
use crate::shard::mail::{NotPublished, Place, Post, Settings};
use crate::shard::succession::HandedTopic;
use crate::takeover::Line;

/// Clonable, sendable handle to the broker; all calls are for the control runtime.
#[derive(Clone, Debug)]
pub struct Handle {
    requests: mpsc::Sender<Request>,
    /// Where there are journals: which topics have one, and how many of their publications may still be handed over.
    journaled: Option<(Arc<Post>, Arc<Semaphore>)>,
    /// How many inquiries may be under way beside.
    inquiries: Arc<Semaphore>,
    /// Rings where a client named a key that nobody knows.
    key_wanted: Arc<Notify>,
}

/// Why a publication was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PublishError {
    /// The gateway is stopping.
    #[error("the gateway is stopping; publish to another one or after the restart")]
    Stopping,
    /// No place within `publish_wait_ms`.
    #[error("the gateway could not take the publication within publish_wait_ms; try again later")]
    Busy,
    /// `topics_max` topics exist.
    #[error("the gateway holds topics_max topics already")]
    TopicsMax,
    /// Its topic's journal cannot be written.
    #[error("{}", NotPublished::Journal)]
    Journal,
    /// Who gives the offsets is gone.
    #[error("{}", NotPublished::Gone)]
    Gone,
    /// The topic's `key` finds something that cannot be one.
    #[error("{}", NotPublished::Key(*.0))]
    Key(KeyError),
}

/// A client of a shard waits to hear what it may do.
#[derive(Debug)]
pub struct Asked {
    /// Where the client is.
    pub place: Place,
    /// Which.
    pub client: ClientKey,
    /// What is asked.
    pub question: Box<Question>,
}

/// Why a revocation was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RevokeError {
    /// The gateway is stopping.
    Stopping,
    /// There are as many as may be.
    Full,
}

impl From<NotPublished> for PublishError {
    fn from(why: NotPublished) -> PublishError {
        match why {
            NotPublished::TopicsMax => PublishError::TopicsMax,
            NotPublished::Journal => PublishError::Journal,
            NotPublished::Gone => PublishError::Gone,
            NotPublished::Key(error) => PublishError::Key(error),
        }
    }
}

/// What is told of a topic.
#[derive(Clone, Debug, PartialEq)]
pub struct TopicReport {
    /// Its name.
    pub name: TopicName,
    /// Newest position.
    pub position: Position,
    /// Publications a second, over the last seconds.
    pub rate: f64,
    /// Subscribers over all shards.
    pub subscribers: u64,
}

/// What a handle asks of the broker; taken one at a time, in order.
#[derive(Debug)]
enum Request {
    Send(NewPublication),
    Publish {
        batch: Vec<NewPublication>,
        answer: oneshot::Sender<Vec<Result<Position, PublishError>>>,
    },
    Feed {
        topics: Vec<TopicName>,
        since_ms: Option<u64>,
    },
    Drained(oneshot::Sender<()>),
    Topics(oneshot::Sender<Arc<[TopicReport]>>),
    Inquire {
        place: Place,
        inquiry: Inquiry,
        awaited: Awaited,
    },
    Settings(Settings),
    Accept(oneshot::Sender<()>),
    /// This gateway comes: it goes on with these topics, and watches all for the gateway before.
    Adopt {
        topics: Vec<HandedTopic>,
        revocations: Vec<Revocation>,
        bytes_max: u64,
        answer: oneshot::Sender<()>,
    },
    /// The gateway before is told over this of all that is published.
    FeedGateway(Line),
    /// This gateway leaves, if the one that asks comes.
    HandOver(HandOver),
    /// The one that came is gone.
    Resume(oneshot::Sender<bool>),
    Drain {
        window_ms: u32,
    },
    Keys(Keys),
    Callout(mpsc::Sender<Asked>),
    Revoke {
        revocation: Revocation,
        answer: oneshot::Sender<Result<(), RevocationsMax>>,
    },
    Stop(oneshot::Sender<()>),
}

/// What another gateway needs to go on.
#[derive(Debug)]
pub struct Handed {
    /// Topics without a journal.
    pub topics: Vec<HandedTopic>,
    /// Tokens that are good no more.
    pub revocations: Vec<Revocation>,
    /// Of the journal, whose files are closed.
    pub lock: Option<OwnedFd>,
}

/// The other gateway gives the offsets now.
#[derive(Debug)]
pub struct Taken {
    /// The connection to it; none where it is gone since.
    pub line: Option<Line>,
    /// Told when it is lost. Until it is said what is to become of it ([`Handle::resume`], [`Handle::drain`]) publications are refused.
    pub lost: oneshot::Sender<()>,
}

#[derive(Debug)]
struct HandOver {
    bytes_max: u64,
    handed: oneshot::Sender<Handed>,
    judged: oneshot::Receiver<Taken>,
}

impl Handle {
    /// A handle, and the queue that the broker serves; where it is full, whoever asks waits.
    fn new(requests_max: u32, journaled: Option<(Arc<Post>, Arc<Semaphore>)>) -> (Handle, mpsc::Receiver<Request>) {
        let (requests, queue) = mpsc::channel(requests_max as usize);
        let inquiries = Arc::new(Semaphore::new(inquiries::UNDER_WAY_MAX));
        (Handle { requests, journaled, inquiries, key_wanted: Arc::default() }, queue)
    }

    /// A handle whose broker is gone: every call finds the gateway stopping.
    #[cfg(test)]
    pub(crate) fn stopped() -> Handle {
        Handle::new(1, None).0
    }

    async fn ask<T>(&self, request: impl FnOnce(oneshot::Sender<T>) -> Request) -> Result<T, PublishError> {
        let (answer, answered) = oneshot::channel();
        self.requests.send(request(answer)).await.map_err(|_| PublishError::Stopping)?;
        answered.await.map_err(|_| PublishError::Stopping)
    }

    /// Hands one publication over, in order with this handle's earlier ones to the same topic; waits for a place, not for its position.
    ///
    /// # Errors
    /// [`PublishError::Stopping`].
    pub async fn send(&self, publication: NewPublication) -> Result<(), PublishError> {
        // Each waits here by itself while a journal cannot be written; in the broker's queue it would hold up everybody else.
        if let Some((post, permits)) = &self.journaled
            && post.home(&publication.topic) == post.control()
        {
            permits.acquire().await.map_err(|_| PublishError::Stopping)?.forget();
        }
        self.requests.send(Request::Send(publication)).await.map_err(|_| PublishError::Stopping)
    }

    /// The feed behind these topics is gone since then (milliseconds since 1970), or back; in order with what this handle sent.
    ///
    /// # Errors
    /// [`PublishError::Stopping`].
    pub async fn feed(&self, topics: Vec<TopicName>, since_ms: Option<u64>) -> Result<(), PublishError> {
        self.requests.send(Request::Feed { topics, since_ms }).await.map_err(|_| PublishError::Stopping)
    }

    /// Publishes a batch in order and waits for the positions, one result for each.
    pub async fn publish(&self, batch: Vec<NewPublication>) -> Vec<Result<Position, PublishError>> {
        let count = batch.len();
        let answer = self.ask(|answer| Request::Publish { batch, answer }).await;
        answer.unwrap_or_else(|error| vec![Err(error); count])
    }

    /// Returns when all that this handle sent before has reached every subscriber that still takes bytes.
    ///
    /// # Errors
    /// [`PublishError::Stopping`].
    pub async fn drained(&self) -> Result<(), PublishError> {
        self.ask(Request::Drained).await
    }

    /// All topics of the gateway, sorted by name; perhaps some tenths of a second old.
    ///
    /// # Errors
    /// [`PublishError::Stopping`].
    pub async fn topics(&self) -> Result<Arc<[TopicReport]>, PublishError> {
        self.ask(Request::Topics).await
    }

    /// These hold from now on, here and on all shards.
    ///
    /// # Errors
    /// [`PublishError::Stopping`].
    pub async fn go_by(&self, settings: Settings) -> Result<(), PublishError> {
        self.requests.send(Request::Settings(settings)).await.map_err(|_| PublishError::Stopping)
    }

    /// Goes on with the topics of the gateway before, and revokes what it has revoked; from then on all publications are kept for it, so many
    /// bytes at most.
    ///
    /// # Errors
    /// [`PublishError::Stopping`].
    pub async fn adopt(
        &self,
        topics: Vec<HandedTopic>,
        revocations: Vec<Revocation>,
        bytes_max: u64,
    ) -> Result<(), PublishError> {
        self.ask(|answer| Request::Adopt { topics, revocations, bytes_max, answer }).await
    }

    /// The gateway before is told over this of all that is published since [`Handle::adopt`], and what still comes there is published here.
    ///
    /// # Errors
    /// [`PublishError::Stopping`].
    pub async fn feed_gateway(&self, line: Line) -> Result<(), PublishError> {
        self.requests.send(Request::FeedGateway(line)).await.map_err(|_| PublishError::Stopping)
    }

    /// Holds publishers back and gives all that another gateway needs to go on. If the verdict's sender is dropped, everything goes on as
    /// before; also where it is dropped, or this is, before there is an answer.
    ///
    /// # Errors
    /// [`PublishError::Stopping`].
    pub async fn hand_over(&self, bytes_max: u64) -> Result<(Handed, oneshot::Sender<Taken>), PublishError> {
        let (verdict, judged) = oneshot::channel();
        let handed = self.ask(|handed| Request::HandOver(HandOver { bytes_max, handed, judged })).await?;
        Ok((handed, verdict))
    }

    /// The gateway that gave the offsets is gone: this one does again, each topic in a new epoch, and takes clients. False where that
    /// cannot be: somebody else has the journal, or this gateway stops.
    pub async fn resume(&self) -> bool {
        self.ask(Request::Resume).await.unwrap_or(false)
    }

    /// Has the shards take clients; returns when all of them do, or the gateway stops.
    pub async fn accept(&self) {
        self.ask(Request::Accept).await.ok();
    }

    /// Has the shards take no more clients, and close those who are there one after the other within this time.
    ///
    /// # Errors
    /// [`PublishError::Stopping`]: they are closed already.
    pub async fn drain(&self, window_ms: u32) -> Result<(), PublishError> {
        self.requests.send(Request::Drain { window_ms }).await.map_err(|_| PublishError::Stopping)
    }

    /// Tokens may be signed with these from now on, on all shards.
    ///
    /// # Errors
    /// [`PublishError::Stopping`].
    pub async fn replace_keys(&self, keys: Keys) -> Result<(), PublishError> {
        self.requests.send(Request::Keys(keys)).await.map_err(|_| PublishError::Stopping)
    }

    /// What shards ask about clients goes there; where it is full, nobody knows.
    ///
    /// # Errors
    /// [`PublishError::Stopping`].
    pub async fn take_questions(&self, questions: mpsc::Sender<Asked>) -> Result<(), PublishError> {
        self.requests.send(Request::Callout(questions)).await.map_err(|_| PublishError::Stopping)
    }

    /// What rings where a client named a key that nobody knows.
    #[must_use]
    pub fn key_wanted(&self) -> Arc<Notify> {
        self.key_wanted.clone()
    }

    /// Tokens that are good no more, on all shards, and at a gateway that takes this one's place or whose place this one takes; those of
    /// clients who are there, too.
    ///
    /// # Errors
    /// [`RevokeError`]: nothing is revoked.
    pub async fn revoke(&self, revocation: Revocation) -> Result<(), RevokeError> {
        let answered = self.ask(|answer| Request::Revoke { revocation, answer }).await;
        answered.map_err(|_| RevokeError::Stopping)?.map_err(|RevocationsMax| RevokeError::Full)
    }

    /// Stops the shards: nothing more is taken, what was taken is delivered, clients are told and closed. Returns when all
    /// shards have ended.
    pub async fn stop(&self) {
        // An error means that the broker has stopped already.
        self.ask(Request::Stop).await.ok();
    }
}
