//! The embedded broker: a task on the control thread that passes publications to their topics' homes, and gathers what the
//! shards tell.
//!
//! Without: storage. The positions of topics without a journal are lost with the process; the epoch says so. It is the home of
//! topics with one ([`journaled`](super::journaled)), and mails to itself as to any other home.
//!
//! One gateway in the place of another is `feeding` on the side that comes, `handing` on the one that leaves.
//!
//! One request at a time is in hand, so the order of each handle is kept; while it waits for credits the next is not taken,
//! and the queue behind it holds its senders back.

mod feeding;
mod handing;
mod settings;
mod shards;
mod stopping;
mod topics;

use std::collections::{HashMap, VecDeque};
use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::Instant;

use self::feeding::Feeding;
use self::handing::{Following, Holding};
use self::shards::Rights;
use self::stopping::{Barrier, Then};
use self::topics::{Report, Told, Wanted};
use super::bell::Bell;
use super::inquiries::{Awaited, Inquiries};
use super::journaled::{Done, Journaled};
use super::{Asked, Handle, PublishError, Request};
use crate::config::{Config, Limits};
use crate::hub::{NewPublication, Position};
use crate::metrics::ControlMetrics;
use crate::shard::inquiry::{Finding, Inquiry};
use crate::shard::mail::{Mail, NotPublished, Outbox, Place, Post, Ticket};
use crate::shard::succession::Succession;

/// Least time between two lines of the log about publications of sources that are refused.
const COMPLAIN: Duration = Duration::from_secs(1);
/// Where a mailbox was full: how soon to look again.
const RETRY: Duration = Duration::from_micros(200);

/// The broker's state.
pub struct Memory {
    outbox: Outbox,
    bell: Bell,
    journaled: Option<Journaled>,
    /// What sources may still hand over to it.
    permits: Arc<Semaphore>,
    requests: mpsc::Receiver<Request>,
    limits: Limits,
    credits: Box<[u32]>,
    in_hand: VecDeque<Unsent>,
    /// When the batch in hand is given up.
    give_up: Option<Instant>,
    tickets_given: u64,
    tickets: HashMap<u64, Asker>,
    batches: HashMap<u64, Batch>,
    batches_begun: u64,
    tokens_given: u64,
    barriers: HashMap<u64, Barrier>,
    report: Option<Report>,
    topics_told: Option<Told>,
    topics_wanted: Vec<Wanted>,
    inquiries: Inquiries,
    /// Shards that do not accept yet, and who wants to know when they do.
    accepting: Option<(u16, oneshot::Sender<()>)>,
    rights: Rights,
    /// Shards that have ended; counted once the stop is under way.
    finished: u16,
    stopped: Option<oneshot::Sender<()>>,
    /// All was delivered; what is published elsewhere is to be answered before the shards end.
    finishing: bool,
    /// Times that this gateway's place was asked for.
    attempts: u64,
    holding: Option<Holding>,
    following: Option<Following>,
    /// The gateway before, while it has clients.
    feeding: Option<Feeding>,
    metrics: Arc<ControlMetrics>,
    /// When a source was last complained of.
    complained: Option<Instant>,
}

/// A publication that has no credit yet.
struct Unsent {
    publication: NewPublication,
    /// Where its position is wanted.
    asker: Option<Asker>,
}

/// Who awaits a position.
#[derive(Clone, Copy)]
enum Asker {
    /// A batch, at this place of it.
    Batch(u64, usize),
    /// The gateway before, by its number.
    Forwarded(u64),
}

/// A batch whose positions are awaited.
struct Batch {
    results: Vec<Option<Result<Position, PublishError>>>,
    missing: usize,
    answer: oneshot::Sender<Vec<Result<Position, PublishError>>>,
}

impl Memory {
    /// The broker and its first handle. To be made within the control runtime; `journaled` where the post has journals.
    ///
    /// # Errors
    /// Where the process has no descriptor left.
    pub fn new(
        post: Arc<Post>,
        config: &Config,
        journaled: Option<Journaled>,
        metrics: Arc<ControlMetrics>,
    ) -> io::Result<(Memory, Handle)> {
        assert_eq!(post.has_journals(), journaled.is_some(), "topics with a journal have their home here");
        let (bell, waker) = Bell::new()?;
        post.mailbox(post.control()).set_waker(waker);
        // Half of the credits, so that those that wait for a journal leave some to those that are answered.
        let limits = &config.limits;
        let permits = Arc::new(Semaphore::new((limits.publish_credits as usize).div_ceil(2)));
        let shared = journaled.is_some().then(|| (post.clone(), permits.clone()));
        let (handle, requests) = Handle::new(limits.broker_requests_max, shared);
        let credits = vec![limits.publish_credits; usize::from(post.shards()) + 1].into();
        let memory = Memory {
            outbox: Outbox::new(post),
            bell,
            journaled,
            permits,
            requests,
            limits: limits.clone(),
            credits,
            in_hand: VecDeque::new(),
            give_up: None,
            tickets_given: 0,
            tickets: HashMap::new(),
            batches: HashMap::new(),
            batches_begun: 0,
            tokens_given: 0,
            barriers: HashMap::new(),
            report: None,
            topics_told: None,
            topics_wanted: Vec::new(),
            inquiries: Inquiries::default(),
            accepting: None,
            rights: Rights::new(&handle, &config.tokens),
            finished: 0,
            stopped: None,
            finishing: false,
            attempts: 0,
            holding: None,
            following: None,
            feeding: None,
            metrics,
            complained: None,
        };
        Ok((memory, handle))
    }

    /// Serves until all shards have ended.
    ///
    /// # Errors
    /// Where the bell fails.
    pub async fn run(mut self) -> io::Result<()> {
        let mut finish_by = None;
        while self.finished < self.outbox.post().shards() {
            self.take_mail();
            if self.finished == self.outbox.post().shards() {
                break;
            }
            self.pass_on();
            self.succeed().await;
            if let Some(journaled) = &mut self.journaled {
                journaled.step(&mut self.outbox);
                journaled.walk(&mut self.outbox);
                self.permits.add_permits(journaled.take_handed_over());
            }
            if self.stopped.is_some() && finish_by.is_none() {
                finish_by = Some(Instant::now() + Duration::from_millis(self.limits.stop_timeout_ms.into()));
            }
            let post = self.outbox.post_shared();
            if !post.mailbox(post.control()).may_sleep() {
                continue;
            }
            let far = Instant::now() + Duration::from_secs(3600);
            let is_walking = self.journaled.as_ref().is_some_and(|journaled| journaled.is_walking());
            let retry = match (self.outbox.is_congested(), is_walking) {
                (true, _) => Instant::now() + RETRY,
                (false, true) => Instant::now(),
                (false, false) => far,
            };
            let takes_forwarded = self.in_hand.is_empty() && self.holding.is_none();
            tokio::select! {
                rung = self.bell.rung() => rung?,
                taken = handing::judged(&mut self.holding) => self.judge(taken),
                moved = handing::moved(&mut self.following) => {
                    if let Err(error) = moved {
                        self.left_alone(&error);
                    }
                }
                moved = feeding::moved(&mut self.feeding, takes_forwarded) => self.feeding_moved(moved),
                request = self.requests.recv(), if self.takes_requests() => match request {
                    Some(request) => self.begin(request),
                    None => self.begin_stop(None),
                },
                done = done(&mut self.journaled) => {
                    if let (Some(journaled), Some(done)) = (&mut self.journaled, done) {
                        journaled.finish(done, &mut self.outbox);
                    }
                }
                () = tokio::time::sleep_until(self.give_up.unwrap_or(far)), if self.give_up.is_some() => self.give_up(),
                () = tokio::time::sleep_until(retry), if retry < far => {}
                // Subscribers that do not take what they lack hold the stop up only so long.
                () = tokio::time::sleep_until(finish_by.unwrap_or(far)), if self.barrier_holds_stop() => self.finish(),
            }
            post.mailbox(post.control()).wake_up();
        }
        if let Some(journaled) = self.journaled.take() {
            journaled.close(&mut self.outbox).await;
        }
        if let Some(stopped) = self.stopped.take() {
            // Whoever asked for the stop may be gone.
            stopped.send(()).ok();
        }
        Ok(())
    }

    fn takes_requests(&self) -> bool {
        self.in_hand.is_empty() && self.stopped.is_none() && self.holding.is_none()
    }

    /// What one gateway in the place of another makes of this turn.
    async fn succeed(&mut self) {
        if self.feeding.is_some() && self.in_hand.is_empty() && self.holding.is_none() {
            self.take_forwarded();
            self.pass_on();
        }
        self.hand_over().await;
        self.follow();
        if self.finishing && !self.is_forwarding() {
            self.finish();
        }
    }

    fn begin(&mut self, request: Request) {
        match request {
            Request::Send(publication) => self.in_hand.push_back(Unsent { publication, asker: None }),
            Request::Publish { batch, answer } if batch.is_empty() => {
                // Whoever asked may be gone.
                answer.send(Vec::new()).ok();
            }
            Request::Publish { batch, answer } => {
                self.batches_begun += 1;
                let number = self.batches_begun;
                let missing = batch.len();
                let unsent = batch.into_iter().enumerate();
                self.in_hand
                    .extend(unsent.map(|(at, publication)| Unsent { publication, asker: Some(Asker::Batch(number, at)) }));
                self.batches.insert(number, Batch { results: vec![None; missing], missing, answer });
                self.give_up = Some(Instant::now() + Duration::from_millis(self.limits.publish_wait_ms.into()));
            }
            // All before it was passed on, so each home hears of it behind the feed's publications.
            Request::Feed { topics, since_ms } => shards::tell_homes(&mut self.outbox, topics, since_ms),
            Request::Drained(answer) => self.send_barrier(Then::Answer(answer)),
            Request::Topics(answer) => self.want_topics(Wanted::Handle(answer)),
            Request::Inquire { place, inquiry, awaited } => self.inquire(place, inquiry, awaited),
            Request::Settings(settings) => self.go_by(&settings),
            Request::Accept(answer) => self.accept(answer),
            Request::Adopt { topics, revocations, bytes_max, answer } => {
                revocations.iter().for_each(|revocation| self.revoke_too(revocation));
                self.adopt(topics, bytes_max, answer);
            }
            Request::FeedGateway(line) => self.feed(line),
            Request::HandOver(asked) => self.hold(asked),
            Request::Resume(answer) => self.resume(answer),
            Request::Drain { window_ms } => self.tell_shards(|| Mail::Drain { window_ms }),
            Request::Callout(questions) => self.rights.take_questions(questions),
            Request::Keys(keys) => self.tell_shards(|| Mail::Keys(keys.clone())),
            Request::Revoke { revocation, answer } => {
                let added = self.revoke(revocation);
                // Whoever asked may be gone.
                answer.send(added).ok();
            }
            Request::Stop(answer) => self.begin_stop(Some(answer)),
        }
    }

    fn inquire(&mut self, place: Place, inquiry: Inquiry, awaited: Awaited) {
        if place == self.outbox.post().control() {
            let finding = self.journaled.as_mut().map(|journaled| journaled.find(&inquiry));
            return awaited.tell(finding.unwrap_or(Finding::Topic(None)));
        }
        self.tokens_given += 1;
        self.inquiries.began(self.tokens_given, awaited);
        self.outbox.send(place, Mail::Inquire { token: self.tokens_given, inquiry });
    }

    /// Sends what is in hand, as far as credits go.
    fn pass_on(&mut self) {
        self.outbox.flush();
        while let Some(unsent) = self.in_hand.front() {
            // This thread has what is published elsewhere.
            let home = match self.following {
                Some(_) => self.outbox.post().control(),
                None => self.outbox.post().home(&unsent.publication.topic),
            };
            let credits = &mut self.credits[usize::from(home)];
            if *credits == 0 || self.outbox.is_congested() {
                return;
            }
            *credits -= 1;
            let Unsent { publication, asker } = self.in_hand.pop_front().expect("it was looked at above");
            self.tickets_given += 1;
            let ticket = Ticket::Control(self.tickets_given);
            if let Some(asker) = asker {
                self.tickets.insert(self.tickets_given, asker);
            }
            let from = self.outbox.post().control();
            self.outbox.send(home, Mail::Publish { from, ticket, answer: asker.is_some(), publication });
        }
        self.give_up = None;
    }

    /// The batch in hand found no place in time: what is unsent of it is refused.
    fn give_up(&mut self) {
        self.give_up = None;
        for unsent in std::mem::take(&mut self.in_hand) {
            if let Some(Asker::Batch(number, at)) = unsent.asker {
                self.resolve(number, at, Err(PublishError::Busy));
            }
        }
    }

    fn resolve(&mut self, number: u64, at: usize, result: Result<Position, PublishError>) {
        let batch = self.batches.get_mut(&number).expect("a batch stays until it is whole");
        batch.results[at] = Some(result);
        batch.missing -= 1;
        if batch.missing == 0 {
            let batch = self.batches.remove(&number).expect("it was looked at above");
            let results = batch.results.into_iter().map(|result| result.expect("none is missing")).collect();
            // Whoever asked may be gone; what was published stays published.
            batch.answer.send(results).ok();
        }
    }

    fn take_mail(&mut self) {
        let post = self.outbox.post_shared();
        while let Some(mail) = post.mailbox(post.control()).take() {
            match mail {
                Mail::Published { ticket: Ticket::Control(ticket), result } => self.position_came(ticket, result),
                Mail::Taken { home, count } => self.credits[usize::from(home)] += count,
                Mail::Drained { token } => self.drained(token),
                Mail::Reported { token, topics, last } => self.reported(token, topics, last),
                Mail::TopicsWanted { from, client } => self.want_topics(Wanted::Client { place: from, client }),
                Mail::Found { token, finding } => self.inquiries.found(token, finding),
                Mail::Accepts => self.shard_accepts(),
                Mail::Callout { from, client, question } => self.pass_question_on(Asked { place: from, client, question }),
                Mail::KeyWanted => self.rights.want_key(),
                Mail::Finished => self.finished += 1,
                Mail::Publish { from, ticket, answer, publication } if self.following.is_some() => {
                    self.forward((from, ticket, answer), publication);
                }
                Mail::Succession(Succession::Handed { attempt, topics }) => self.handed(attempt, topics),
                mail @ (Mail::Attached { .. }
                | Mail::Append { .. }
                | Mail::Watched { .. }
                | Mail::Detached { .. }
                | Mail::Kept { .. }
                | Mail::ReplicaFeed { .. }) => self.take_fed(mail),
                other => {
                    let journaled = self.journaled.as_mut().expect("a home's mail comes only where there are journals");
                    journaled.take(other, &mut self.outbox);
                }
            }
        }
    }

    fn position_came(&mut self, ticket: u64, result: Result<Position, NotPublished>) {
        match (self.tickets.remove(&ticket), result) {
            (Some(Asker::Batch(number, at)), result) => self.resolve(number, at, result.map_err(PublishError::from)),
            (Some(Asker::Forwarded(id)), result) => self.answer_forwarded(id, result),
            (None, Err(refusal)) => self.source_refused(refusal),
            (None, Ok(_)) => unreachable!("a position is told only to who asked for it"),
        }
    }

    /// A source has no reply to wait for: it is counted, and said now and then.
    fn source_refused(&mut self, refusal: NotPublished) {
        self.metrics.source_refused.add(1);
        if self.complained.is_none_or(|at| at.elapsed() >= COMPLAIN) {
            self.complained = Some(Instant::now());
            tracing::warn!("a source's publication was refused (all are counted in source_refused): {refusal}");
        }
    }
}

/// What the home of journaled topics has done; never where there is none.
async fn done(journaled: &mut Option<Journaled>) -> Option<Done> {
    match journaled {
        Some(journaled) => journaled.done().await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests;
