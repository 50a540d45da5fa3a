//! The embedded broker: a task on the control thread that passes publications to their topics' homes, and gathers what the
//! shards tell.
//!
//! Without: storage. The positions of topics without a journal are lost with the process; the epoch says so. It is the home of
//! topics with one ([`journaled`](super::journaled)), and mails to itself as to any other home.
//!
//! One request at a time is in hand, so the order of each handle is kept; while it waits for credits the next is not taken,
//! and the queue behind it holds its senders back.

mod settings;
mod shards;

use std::collections::{HashMap, VecDeque};
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::Instant;

use self::shards::Rights;
use super::bell::Bell;
use super::inquiries::{Awaited, Inquiries};
use super::journaled::{Done, Journaled};
use super::{Asked, Handle, PublishError, Request, TopicReport};
use crate::config::Limits;
use crate::hub::{NewPublication, Position, TopicName};
use crate::metrics::ControlMetrics;
use crate::shard::inquiry::{Finding, Inquiry};
use crate::shard::mail::{Mail, NotPublished, Outbox, Place, Post, Ticket, TopicShare};

/// Least time between two lines of the log about publications of sources that are refused.
const COMPLAIN: Duration = Duration::from_secs(1);
/// A gathered list of topics is told again for so long.
const TOPICS_FRESH: Duration = Duration::from_millis(200);
/// Topics in the list for clients.
const TOPICS_TOLD_MAX: usize = 1000;
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
    tickets: HashMap<u64, (u64, usize)>,
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
    metrics: Arc<ControlMetrics>,
    /// When a source was last complained of.
    complained: Option<Instant>,
}

/// A publication that has no credit yet.
struct Unsent {
    publication: NewPublication,
    /// Its batch and place there, if its position is wanted.
    batch: Option<(u64, usize)>,
}

/// A batch whose positions are awaited.
struct Batch {
    results: Vec<Option<Result<Position, PublishError>>>,
    missing: usize,
    answer: oneshot::Sender<Vec<Result<Position, PublishError>>>,
}

/// A barrier that some shards have not confirmed.
struct Barrier {
    missing: u16,
    then: Then,
}

enum Then {
    Answer(oneshot::Sender<()>),
    /// Behind it no shard takes publications any more, but some that a shard took before may still be on the way to their
    /// home: a second barrier goes behind those.
    Settle,
    Finish,
}

/// A list of topics that is being gathered.
struct Report {
    token: u64,
    missing: u16,
    topics: HashMap<TopicName, TopicReport>,
}

/// The newest list of topics.
struct Told {
    at: Instant,
    topics: Arc<[TopicReport]>,
    /// For clients, made when the first of them asks: they may ask as often as they like, and feeds run on this thread.
    json: Option<Bytes>,
}

enum Wanted {
    Handle(oneshot::Sender<Arc<[TopicReport]>>),
    Client { place: Place, client: crate::reactor::ClientKey },
}

impl Memory {
    /// The broker and its first handle. To be made within the control runtime; `journaled` where the post has journals.
    ///
    /// # Errors
    /// Where the process has no descriptor left.
    pub fn new(
        post: Arc<Post>,
        limits: &Limits,
        journaled: Option<Journaled>,
        metrics: Arc<ControlMetrics>,
    ) -> io::Result<(Memory, Handle)> {
        assert_eq!(post.has_journals(), journaled.is_some(), "topics with a journal have their home here");
        let (bell, waker) = Bell::new()?;
        post.mailbox(post.control()).set_waker(waker);
        // Half of the credits, so that those that wait for a journal leave some to those that are answered.
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
            rights: Rights::new(&handle),
            finished: 0,
            stopped: None,
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
            tokio::select! {
                rung = self.bell.rung() => rung?,
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
        self.in_hand.is_empty() && self.stopped.is_none()
    }

    fn begin(&mut self, request: Request) {
        match request {
            Request::Send(publication) => self.in_hand.push_back(Unsent { publication, batch: None }),
            Request::Publish { batch, answer } if batch.is_empty() => {
                // Whoever asked may be gone.
                answer.send(Vec::new()).ok();
            }
            Request::Publish { batch, answer } => {
                self.batches_begun += 1;
                let number = self.batches_begun;
                let missing = batch.len();
                let unsent = batch.into_iter().enumerate();
                self.in_hand.extend(unsent.map(|(at, publication)| Unsent { publication, batch: Some((number, at)) }));
                self.batches.insert(number, Batch { results: vec![None; missing], missing, answer });
                self.give_up = Some(Instant::now() + Duration::from_millis(self.limits.publish_wait_ms.into()));
            }
            Request::Feed { topics, since_ms } => self.tell_homes(topics, since_ms),
            Request::Drained(answer) => self.send_barrier(Then::Answer(answer)),
            Request::Topics(answer) => self.want_topics(Wanted::Handle(answer)),
            Request::Inquire { place, inquiry, awaited } => self.inquire(place, inquiry, awaited),
            Request::Settings(settings) => self.go_by(&settings),
            Request::Accept(answer) => self.accept(answer),
            Request::Drain { window_ms } => self.tell_shards(|| Mail::Drain { window_ms }),
            Request::Callout(questions) => self.rights.take_questions(questions),
            Request::Keys(keys) => self.tell_shards(|| Mail::Keys(keys.clone())),
            Request::Revoke { revocation, revocations_max, unix_s, answer } => {
                let added = self.revoke(&revocation, revocations_max, unix_s);
                // Whoever asked may be gone.
                answer.send(added).ok();
            }
            Request::Stop(answer) => self.begin_stop(Some(answer)),
        }
    }

    /// All before it was passed on, so each home hears of it behind the feed's publications.
    fn tell_homes(&mut self, topics: Vec<TopicName>, since_ms: Option<u64>) {
        let mut by_home: HashMap<Place, Vec<TopicName>> = HashMap::new();
        for topic in topics {
            by_home.entry(self.outbox.post().home(&topic)).or_default().push(topic);
        }
        for (home, topics) in by_home {
            self.outbox.send(home, Mail::Feed { topics, since_ms });
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
            let home = self.outbox.post().home(&unsent.publication.topic);
            let credits = &mut self.credits[usize::from(home)];
            if *credits == 0 || self.outbox.is_congested() {
                return;
            }
            *credits -= 1;
            let Unsent { publication, batch } = self.in_hand.pop_front().expect("it was looked at above");
            self.tickets_given += 1;
            let ticket = Ticket::Control(self.tickets_given);
            if let Some(place) = batch {
                self.tickets.insert(self.tickets_given, place);
            }
            let from = self.outbox.post().control();
            self.outbox.send(home, Mail::Publish { from, ticket, answer: batch.is_some(), publication });
        }
        self.give_up = None;
    }

    /// The batch in hand found no place in time: what is unsent of it is refused.
    fn give_up(&mut self) {
        self.give_up = None;
        for unsent in std::mem::take(&mut self.in_hand) {
            if let Some((number, at)) = unsent.batch {
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
                other => {
                    let journaled = self.journaled.as_mut().expect("a home's mail comes only where there are journals");
                    journaled.take(other, &mut self.outbox);
                }
            }
        }
    }

    fn position_came(&mut self, ticket: u64, result: Result<Position, NotPublished>) {
        match (self.tickets.remove(&ticket), result) {
            (Some((number, at)), result) => self.resolve(number, at, result.map_err(PublishError::from)),
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

    // --- barriers and the stop ---

    fn send_barrier(&mut self, then: Then) {
        self.tokens_given += 1;
        let token = self.tokens_given;
        let shards = self.outbox.post().shards();
        self.barriers.insert(token, Barrier { missing: shards, then });
        (0..self.outbox.post().homes()).for_each(|home| self.outbox.send(home, Mail::Barrier { token }));
    }

    fn drained(&mut self, token: u64) {
        // A stop that was held up too long goes on without its barrier.
        let Some(barrier) = self.barriers.get_mut(&token) else { return };
        barrier.missing -= 1;
        if barrier.missing == 0 {
            match self.barriers.remove(&token).expect("it was looked at above").then {
                // Whoever asked may be gone.
                Then::Answer(answer) => drop(answer.send(())),
                Then::Settle => self.send_barrier(Then::Finish),
                Then::Finish => self.finish(),
            }
        }
    }

    fn barrier_holds_stop(&self) -> bool {
        self.barriers.values().any(|barrier| matches!(barrier.then, Then::Settle | Then::Finish))
    }

    fn begin_stop(&mut self, answer: Option<oneshot::Sender<()>>) {
        if self.stopped.is_some() {
            return;
        }
        self.stopped = Some(answer.unwrap_or_else(|| oneshot::channel().0));
        // Closed, so that every other request finds the gateway stopping; those in the queue are dropped, which says the same.
        self.requests.close();
        self.permits.close();
        while self.requests.try_recv().is_ok() {}
        (0..self.outbox.post().shards()).for_each(|shard| self.outbox.send(shard, Mail::Pause));
        self.send_barrier(Then::Settle);
    }

    fn finish(&mut self) {
        self.barriers.retain(|_, barrier| !matches!(barrier.then, Then::Settle | Then::Finish));
        (0..self.outbox.post().shards()).for_each(|shard| self.outbox.send(shard, Mail::Finish));
    }

    // --- topics ---

    fn want_topics(&mut self, wanted: Wanted) {
        if self.topics_told.as_ref().is_some_and(|told| told.at.elapsed() < TOPICS_FRESH) {
            return self.tell_topics(wanted);
        }
        self.topics_wanted.push(wanted);
        if self.report.is_none() {
            self.tokens_given += 1;
            let (token, missing) = (self.tokens_given, self.outbox.post().homes());
            self.report = Some(Report { token, missing, topics: HashMap::new() });
            (0..missing).for_each(|shard| self.outbox.send(shard, Mail::Report { token }));
        }
    }

    fn reported(&mut self, token: u64, shares: Vec<TopicShare>, last: bool) {
        let report = self.report.as_mut().filter(|report| report.token == token).expect("one report is gathered at a time");
        for TopicShare { name, position, rate, subscribers } in shares {
            let known = report.topics.entry(name.clone()).or_insert(TopicReport { name, position, rate: 0.0, subscribers: 0 });
            known.subscribers += u64::from(subscribers);
            // Replicas are behind their home by what is in the mail.
            if let Some(rate) = rate {
                known.position = position;
                known.rate = f64::from(rate);
            }
        }
        report.missing -= u16::from(last);
        if report.missing > 0 {
            return;
        }
        let report = self.report.take().expect("it was looked at above");
        let mut topics: Vec<TopicReport> = report.topics.into_values().collect();
        topics.sort_by(|one, other| one.name.cmp(&other.name));
        self.topics_told = Some(Told { at: Instant::now(), topics: topics.into(), json: None });
        for wanted in std::mem::take(&mut self.topics_wanted) {
            self.tell_topics(wanted);
        }
    }

    fn tell_topics(&mut self, wanted: Wanted) {
        let told = self.topics_told.as_mut().expect("a list is there when it is told");
        match wanted {
            // Whoever asked may be gone.
            Wanted::Handle(answer) => drop(answer.send(told.topics.clone())),
            Wanted::Client { place, client } => {
                let body = told.json.get_or_insert_with(|| topics_json(&told.topics)).clone();
                self.outbox.send(place, Mail::TopicsAnswer { client, body });
            }
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

/// The list for clients: names and positions of the first thousand.
fn topics_json(topics: &[TopicReport]) -> Bytes {
    let entry = |topic: &TopicReport| {
        serde_json::json!({
            "topic": topic.name.as_str(),
            "epoch": topic.position.epoch.as_str(),
            "offset": topic.position.offset,
        })
    };
    let entries: Vec<_> = topics.iter().take(TOPICS_TOLD_MAX).map(entry).collect();
    serde_json::json!({ "topics": entries }).to_string().into()
}

#[cfg(test)]
mod tests;
