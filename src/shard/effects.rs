//! What sessions ask for, done: subscriptions, positions, publications.
//!
//! An effect that needs another thread (a replica, a credit, a position) suspends its session; once that is there the
//! effect is tried again from its beginning, so it either happens whole or not at all.

use std::collections::{HashMap, HashSet};

use super::clients::{Client, Pending, Receive, Wait};
use super::core::Core;
use super::mail::{Mail, NotPublished, Ticket};
use super::settings::Setting;
use super::stopping::Stop;
use super::topics::{Topics, Waiter, Wanted};
use super::watches::WantedPattern;
use crate::config::{Slow, TopicKind};
use crate::dialect::stream::reply::Subscribed;
use crate::dialect::stream::{Lasting, RequestId, Stream};
use crate::dialect::{ClientError, ErrorCode};
use crate::hub::{Held, Hub, NewPublication, Pattern, Position, Start, Subject, Terms, TopicId, TopicName};
use crate::metrics::CloseClass;
use crate::reactor::{ClientKey, Op};
use crate::session::{Effect, Request};
use crate::ws::CloseCode;

/// Most entries of a POSITIONS answer.
const POSITIONS_MAX: usize = 1024;

/// Where the topics of a subscription stand.
enum Asked {
    /// All here, in the order of the streams; none for a pattern.
    Here(Vec<Option<TopicId>>),
    /// So many are still to come, to this wait.
    Awaited { number: u64, missing: u32 },
}

impl Core {
    /// Does what a session asks.
    pub(super) fn execute(&mut self, key: ClientKey, effect: Effect) {
        match effect {
            Effect::Admit { streams } => self.subscribe(key, None, streams, false),
            Effect::Topics => {
                self.suspend(key, Wait::Topics);
                let control = self.outbox.post().control();
                self.outbox.send(control, Mail::TopicsWanted { from: self.exchange.place(), client: key });
            }
            Effect::Publish { id, publication } => self.publish(key, id, publication),
            Effect::Request { id, request } => match request {
                Request::Subscribe(streams) => self.subscribe(key, Some(id), streams, false),
                Request::Unsubscribe(topics) => self.unsubscribe(key, &id, &topics),
                Request::List => self.list(key, &id),
                Request::Positions(topics) => self.positions(key, &id, topics.as_deref()),
                Request::SetCombined(combined) => {
                    let encoding = self.session_mut(key).set_combined(&id, combined);
                    self.topics.hub.set_encoding(key.slot, encoding, &mut self.topics.encoder);
                    self.tell_of_feeds_to(key.slot);
                }
                Request::SetEvents(events) => {
                    self.session_mut(key).set_events(&id, events);
                    self.tell_of_feeds_to(key.slot);
                }
                Request::SetHeartbeat(heartbeat) => self.set_heartbeat(key, &id, heartbeat),
            },
        }
    }

    fn session_mut(&mut self, key: ClientKey) -> &mut crate::session::Session {
        &mut self.clients.get(key).expect("effects come from clients that are there").session
    }

    pub(super) fn fail(&mut self, key: ClientKey, id: Option<&RequestId>, error: &ClientError) {
        let now_us = self.now.monotonic_us;
        let client = self.clients.get(key).expect("effects come from clients that are there");
        match id {
            Some(id) => client.session.failed(id, error, &self.rules, now_us),
            None => client.session.refuse_entering(error, now_us),
        }
    }

    /// A subscription that cannot be had, refused as it was asked for.
    pub(super) fn refuse_subscribe(&mut self, key: ClientKey, effect: &Effect, error: &ClientError) {
        let id = match effect {
            Effect::Request { id, .. } => Some(id),
            _ => None,
        };
        self.fail(key, id, error);
    }

    fn suspend(&mut self, key: ClientKey, wait: Wait) {
        let client = self.clients.get(key).expect("effects come from clients that are there");
        client.pending = Some(Box::new(Pending { wait, held: Vec::new() }));
    }

    /// All or none. Without an id it came with the handshake. `again`: it waited for replicas.
    fn subscribe(&mut self, key: ClientKey, id: Option<RequestId>, streams: Vec<Stream>, again: bool) {
        let topics = match self.wanted_topics(key, &streams, again) {
            Ok(Asked::Here(topics)) => topics,
            Ok(Asked::Awaited { number, missing }) => {
                let effect = match id {
                    Some(id) => Effect::Request { id, request: Request::Subscribe(streams) },
                    None => Effect::Admit { streams },
                };
                return self.suspend(key, Wait::Replicas { effect, number, missing });
            }
            Err(error) => return self.fail(key, id.as_ref(), &error),
        };
        let told = streams.iter().any(|stream| stream.options.given);
        let subscribe_one = |(stream, topic): (&Stream, Option<TopicId>)| match (&stream.subject, topic) {
            (Subject::Topic(name), Some(topic)) => self.subscribe_topic(key, stream, name, topic),
            (Subject::Pattern(pattern), _) => self.subscribe_pattern(key, stream, pattern, told),
            (Subject::Topic(_), None) => unreachable!("a topic that is wanted by its name is here"),
        };
        let entries: Vec<Subscribed> = streams.iter().zip(topics.iter().copied()).map(subscribe_one).collect();
        // Once a request, however many subscriptions: it is not worth a word to know that it was done before.
        if streams.iter().any(|stream| self.may_conflate(stream)) {
            self.ops.push_back(Op::BoundSend(key));
        }
        let client = self.clients.get(key).expect("effects come from clients that are there");
        client.subscribed = true;
        let session = &mut client.session;
        match id {
            // "`null`; if any has an option: one entry a stream, in order".
            Some(id) => {
                session.subscribed(&id, told.then_some(&entries[..]));
            }
            None => session.admit(&entries),
        }
        // Behind the reply: "who subscribes to a stale topic is told at once".
        self.tell_of_feeds_to(key.slot);
    }

    /// A connection holds a topic once: what is there already is left as it is.
    fn subscribe_topic(&mut self, key: ClientKey, stream: &Stream, name: &TopicName, topic: TopicId) -> Subscribed {
        let options = &stream.options;
        let encoding = self.session_mut(key).encoding();
        let slow = options.slow.unwrap_or_else(|| self.topics.setting(name).topic.slow_default);
        let terms = Terms { timed: options.timed, slow, slow_asked: options.slow.is_some() };
        let hub = &mut self.topics.hub;
        let position = hub.position(topic);
        let mut recovered = false;
        if hub.held(key.slot, topic).is_none() {
            let topic = options.rate_ms.map_or(topic, |rate_ms| hub.variant(topic, rate_ms));
            if let Some(since) = options.since.filter(|since| since.epoch == position.epoch) {
                let start = Start::After(since.offset);
                recovered = hub.subscribe(key.slot, topic, encoding, terms, start, &mut self.topics.encoder).is_ok();
            }
            if !recovered {
                let start = if options.last { Start::Newest } else { Start::Live };
                let subscribed = hub.subscribe(key.slot, topic, encoding, terms, start, &mut self.topics.encoder);
                subscribed.expect("the newest and the next publication are always held");
            }
            self.metrics.subscriptions.add(1);
            if options.since.is_some() {
                let counter = if recovered { &self.metrics.recoveries } else { &self.metrics.recoveries_refused };
                counter.add(1);
            }
        }
        Subscribed::Topic { topic: name.clone(), position, recovered: options.since.map(|_| recovered) }
    }

    /// With the topics counted where the reply tells their number.
    fn subscribe_pattern(&mut self, key: ClientKey, stream: &Stream, pattern: &Pattern, told: bool) -> Subscribed {
        let options = &stream.options;
        let encoding = self.session_mut(key).encoding();
        let slow = options.slow.unwrap_or(Slow::Close);
        let terms = Terms { timed: options.timed, slow, slow_asked: options.slow.is_some() };
        let hub = &mut self.topics.hub;
        if hub.subscribe_pattern(key.slot, pattern, encoding, terms, options.last) {
            self.metrics.subscriptions.add(1);
        }
        let topics = if told { hub.pattern_topics(pattern.as_str()).unwrap_or(0) } else { 0 };
        Subscribed::Pattern { pattern: pattern.clone(), topics }
    }

    /// Whether a subscriber of this stream is sent the newest only where it cannot keep up.
    fn may_conflate(&self, stream: &Stream) -> bool {
        match (stream.options.slow, &stream.subject) {
            (Some(slow), _) => slow == Slow::Conflate,
            (None, Subject::Topic(name)) => self.topics.setting(name).topic.slow_default == Slow::Conflate,
            (None, Subject::Pattern(pattern)) => {
                let mut settings = self.topics.settings_of_pattern(pattern);
                settings.any(|setting| setting.topic.slow_default == Slow::Conflate)
            }
        }
    }

    fn wanted_topics(&mut self, key: ClientKey, streams: &[Stream], again: bool) -> Result<Asked, ClientError> {
        self.check_streams(key, streams)?;
        let (mut topics, mut missing) = (Vec::with_capacity(streams.len()), 0);
        self.waits += 1;
        let waiter = Waiter { client: key, number: self.waits };
        let mut refused = None;
        for stream in streams {
            match &stream.subject {
                Subject::Topic(name) => {
                    match self.topics.want(name, stream.options.since, again, waiter, self.now, &mut self.outbox) {
                        Wanted::Here(topic) => topics.push(Some(topic)),
                        Wanted::Awaited => missing += 1,
                        Wanted::Refused(_) => {
                            refused = Some(topics_max(name));
                            break;
                        }
                    }
                }
                Subject::Pattern(pattern) => match self.topics.want_pattern(pattern, waiter, &mut self.outbox) {
                    WantedPattern::Here => topics.push(None),
                    WantedPattern::Awaited => missing += 1,
                    WantedPattern::Refused => {
                        let message = format!("{}: the gateway holds patterns_max patterns already", pattern.as_str());
                        refused = Some(ClientError::new(ErrorCode::Limit, message));
                        break;
                    }
                },
            }
        }
        if refused.is_some() || missing > 0 {
            // What was made for this request and is not yet used is not kept for it; a name may stand there twice.
            let mut unused: Vec<TopicId> = topics.drain(..).flatten().collect();
            each_once(&mut unused);
            unused.into_iter().for_each(|topic| self.topics.left(topic, self.now));
            for stream in streams {
                if let Subject::Pattern(pattern) = &stream.subject {
                    let Topics { staleness, hub, .. } = &mut self.topics;
                    staleness.left_pattern(key.slot, |topic| hub.has(key.slot, topic));
                    self.topics.left_pattern(pattern, self.now);
                }
            }
        }
        match refused {
            Some(error) => Err(error),
            None if missing > 0 => Ok(Asked::Awaited { number: waiter.number, missing }),
            None => Ok(Asked::Here(topics)),
        }
    }

    /// Whether all of these may be had by this client, as far as can be told without their topics.
    fn check_streams(&self, key: ClientKey, streams: &[Stream]) -> Result<(), ClientError> {
        let hub = &self.topics.hub;
        let mut new: HashMap<&str, &Stream> = HashMap::new();
        for stream in streams {
            let name = stream.subject.as_str();
            let held = match &stream.subject {
                Subject::Topic(_) => {
                    hub.find(name).and_then(|topic| hub.held(key.slot, topic)).map(|(topic, terms)| lasting(hub, topic, terms))
                }
                Subject::Pattern(_) => hub.pattern_terms(key.slot, name).map(plain_lasting),
            };
            let lasting = match held {
                Some(lasting) => Some(lasting),
                None => new.insert(name, stream).map(|earlier| earlier.options.lasting()),
            };
            if lasting.is_some_and(|lasting| lasting != stream.options.lasting()) {
                let message = format!("{name}: subscribed here with other options; unsubscribe it first");
                return Err(ClientError::new(ErrorCode::OtherOptions, message));
            }
            self.check_options(stream)?;
        }
        let (count, max) = (hub.subscribed_to(key.slot).count() + new.len(), self.rules.limits.subscriptions_max);
        if count > max as usize {
            let first = streams.iter().find(|stream| new.contains_key(stream.subject.as_str())).expect("some are new");
            let message = format!("{}: more than {max} subscriptions on one connection", first.subject.as_str());
            return Err(ClientError::new(ErrorCode::Limit, message));
        }
        self.check_heartbeat(key, count)
    }

    /// Whether the configuration grants what the stream's options ask; for a pattern, on every topic that it could match.
    fn check_options(&self, stream: &Stream) -> Result<(), ClientError> {
        match &stream.subject {
            Subject::Topic(name) => check_setting(stream, self.topics.setting(name)),
            Subject::Pattern(_) if stream.options.slow.is_none() && stream.options.rate_ms.is_none() => Ok(()),
            Subject::Pattern(pattern) => {
                self.topics.settings_of_pattern(pattern).try_for_each(|setting| check_setting(stream, setting))
            }
        }
    }

    fn unsubscribe(&mut self, key: ClientKey, id: &RequestId, subjects: &[Subject]) {
        let hub = &self.topics.hub;
        let is_held = |subject: &&Subject| match subject {
            Subject::Topic(name) => hub.find(name.as_str()).is_some_and(|topic| hub.held(key.slot, topic).is_some()),
            Subject::Pattern(pattern) => hub.pattern_terms(key.slot, pattern.as_str()).is_some(),
        };
        if let Some(subject) = subjects.iter().find(|subject| !is_held(subject)) {
            let error = ClientError::new(ErrorCode::NotSubscribed, format!("{}: not subscribed", subject.as_str()));
            return self.fail(key, Some(id), &error);
        }
        // A topic may be forgotten with its last subscriber, so what stands there twice is looked at once.
        let mut seen = HashSet::new();
        for subject in subjects.iter().filter(|subject| seen.insert(subject.as_str())) {
            match subject {
                Subject::Topic(name) => {
                    let topic = self.topics.hub.find(name.as_str()).expect("it is subscribed");
                    let (held, _) = self.topics.hub.held(key.slot, topic).expect("it is subscribed");
                    self.topics.hub.unsubscribe(key.slot, held, &mut self.topics.encoder);
                    self.topics.staleness.left(key.slot, topic);
                    self.topics.left(held, self.now);
                }
                Subject::Pattern(pattern) => {
                    self.topics.hub.unsubscribe_pattern(key.slot, pattern.as_str(), &mut self.topics.encoder);
                    self.topics.left_pattern(pattern, self.now);
                }
            }
            self.metrics.subscriptions.add(-1);
        }
        self.session_mut(key).done(id);
    }

    fn list(&mut self, key: ClientKey, id: &RequestId) {
        let hub = &self.topics.hub;
        let streams = hub.subscribed_to(key.slot).map(|held| match held {
            Held::Topic(topic, terms) => (hub.name(topic).as_str(), lasting(hub, topic, terms)),
            Held::Pattern(pattern, terms) => (pattern.as_str(), plain_lasting(terms)),
        });
        let client = self.clients.get(key).expect("effects come from clients that are there");
        client.session.listed(id, streams);
    }

    /// How far this connection is, which is not how far its topics are: in those that it named, in order, then in those that its
    /// patterns bring.
    fn positions(&mut self, key: ClientKey, id: &RequestId, names: Option<&[TopicName]>) {
        let hub = &mut self.topics.hub;
        let found: Result<Vec<(TopicId, u64)>, ClientError> = match names {
            Some(names) if names.len() > POSITIONS_MAX => Err(too_many_positions()),
            None => {
                let mut all: Vec<_> = hub.positions(key.slot).collect();
                let room = POSITIONS_MAX.checked_sub(all.len());
                match room.and_then(|room| hub.pattern_positions(key.slot, room)) {
                    Some(heard) => {
                        all.extend(heard);
                        Ok(all)
                    }
                    None => Err(too_many_positions()),
                }
            }
            Some(names) => {
                let position = |name: &TopicName| {
                    let found = hub.find(name.as_str()).and_then(|topic| Some((topic, hub.position_of(key.slot, topic)?)));
                    let message = || format!("{}: not subscribed", name.as_str());
                    found.ok_or_else(|| ClientError::new(ErrorCode::NotSubscribed, message()))
                };
                names.iter().map(position).collect()
            }
        };
        match found {
            Ok(found) => {
                let told = |(topic, offset)| (hub.name(topic).clone(), Position { epoch: hub.position(topic).epoch, offset });
                let positions: Vec<_> = found.into_iter().map(told).collect();
                self.session_mut(key).positions(id, &positions);
            }
            Err(error) => self.fail(key, Some(id), &error),
        }
    }

    /// Publishes on the topic's home: here, or by mail for a credit.
    fn publish(&mut self, key: ClientKey, id: Option<RequestId>, publication: NewPublication) {
        if self.stop != Stop::Running {
            // A publisher's connection has no replies: that it is closed tells it what was not taken.
            let now_us = self.now.monotonic_us;
            match &id {
                Some(id) => self.fail(key, Some(id), &ClientError::new(ErrorCode::Internal, "the gateway is stopping")),
                None => {
                    let session = self.session_mut(key);
                    session.close(CloseCode::GOING_AWAY, "the gateway stops", CloseClass::GoingAway, now_us);
                }
            }
            return;
        }
        let home = self.outbox.post().home(&publication.topic);
        let here = home == self.exchange.place();
        let may = if here { !self.outbox.is_congested() } else { self.exchange.take_credit(home) };
        if !may {
            self.metrics.publisher_pauses.add(1);
            self.exchange.wait_for_credit(key);
            return self.suspend(key, Wait::Credit { id, publication });
        }
        if here {
            let result = self.publish_here(publication);
            return self.published(key, id, result);
        }
        let (from, answer) = (self.exchange.place(), id.is_some());
        self.outbox.send(home, Mail::Publish { from, ticket: Ticket::Client(key), answer, publication });
        if let Some(id) = id {
            self.suspend(key, Wait::Position { id });
        }
    }

    /// A publication has its position, or cannot have one.
    pub(super) fn published(&mut self, key: ClientKey, id: Option<RequestId>, result: Result<Position, NotPublished>) {
        let now_us = self.now.monotonic_us;
        let Some(client) = self.clients.get(key).filter(|client| !client.closing) else { return };
        match (id, result) {
            (Some(id), Ok(position)) => client.session.published(&id, position),
            (Some(id), Err(refusal)) => {
                let code = match refusal {
                    NotPublished::TopicsMax => ErrorCode::Limit,
                    NotPublished::Journal => ErrorCode::Internal,
                    NotPublished::Key(_) => ErrorCode::BadRequest,
                };
                client.session.failed(&id, &ClientError::new(code, refusal.to_string()), &self.rules, now_us);
            }
            (None, Ok(_)) => {}
            // A publisher's connection has no replies: what cannot be taken can only end it.
            (None, Err(refusal)) => {
                let code = match refusal {
                    NotPublished::Key(_) => CloseCode::POLICY,
                    NotPublished::TopicsMax | NotPublished::Journal => CloseCode::TRY_AGAIN_LATER,
                };
                client.session.close(code, &refusal.to_string(), CloseClass::Policy, now_us);
            }
        }
    }

    /// Lets clients go on whose waiting is over.
    pub(super) fn resume(&mut self) {
        for key in std::mem::take(&mut self.ready) {
            let Some(client) = self.clients.get(key).filter(|client| !client.closing) else { continue };
            // A client may stand here twice, and wait for something else by its second turn.
            let over = |pending: &mut Box<Pending>| pending.wait.is_over(&client.session, &self.rules);
            let Some(pending) = client.pending.take_if(over) else { continue };
            let Pending { wait, mut held } = *pending;
            if !client.session.is_ending() {
                match wait {
                    Wait::Replicas { effect: Effect::Admit { streams }, .. } => self.subscribe(key, None, streams, true),
                    Wait::Replicas { effect: Effect::Request { id, request: Request::Subscribe(streams) }, .. } => {
                        self.subscribe(key, Some(id), streams, true);
                    }
                    Wait::Replicas { .. } => unreachable!("only subscriptions wait for replicas"),
                    Wait::Credit { id, publication } => self.publish(key, id, publication),
                    Wait::Owed => {}
                    Wait::Position { .. } | Wait::Topics => unreachable!("these are answered, not tried again"),
                }
            }
            self.go_on(key, &mut held);
        }
    }

    /// After an answer: the input that was held back, then the socket again.
    pub(super) fn go_on(&mut self, key: ClientKey, held: &mut [u8]) {
        self.held_bytes -= held.len();
        self.feed(key, held);
        let Some(client) = self.clients.get(key).filter(|client| !client.closing) else { return };
        if client.pending.is_none() && client.receive == Receive::Paused {
            self.arm_receive(key);
        }
    }

    /// Takes a client out of its waiting to be answered; none where it is gone or waits for something else.
    pub(super) fn take_pending(&mut self, key: ClientKey, is: impl FnOnce(&Wait) -> bool) -> Option<(&mut Client, Pending)> {
        let client = self.clients.get(key).filter(|client| !client.closing)?;
        if !is(&client.pending.as_ref()?.wait) {
            return None;
        }
        let pending = *client.pending.take()?;
        Some((client, pending))
    }

    fn arm_receive(&mut self, key: ClientKey) {
        let client = self.clients.get(key).expect("it was looked up above");
        client.receive = Receive::Armed;
        self.ops.push_back(Op::Receive(key));
    }
}

/// What a subscription was asked for with.
fn lasting(hub: &Hub, topic: TopicId, terms: Terms) -> Lasting {
    Lasting { rate_ms: hub.variant_of(topic).map(|(_, rate_ms)| rate_ms), ..plain_lasting(terms) }
}

/// The same of one at the topic's own pace.
fn plain_lasting(terms: Terms) -> Lasting {
    Lasting { rate_ms: None, slow: terms.slow_asked.then_some(terms.slow), timed: terms.timed }
}

/// Whether these settings grant what the stream's options ask.
fn check_setting(stream: &Stream, setting: &Setting) -> Result<(), ClientError> {
    let (name, setting) = (stream.subject.as_str(), &setting.topic);
    let is_log = setting.kind == TopicKind::Log;
    let refused = |why: String| Err(ClientError::new(ErrorCode::NotAllowed, format!("{name}: {why}")));
    match (stream.options.slow, stream.options.rate_ms) {
        (Some(Slow::Conflate), _) if is_log => {
            refused("slow=conflate needs a topic of kind \"state\"; here every publication counts".into())
        }
        (Some(slow), _) if !setting.slow_allowed.contains(&slow) => {
            let name = format!("{slow:?}").to_lowercase();
            refused(format!("slow={name} is not among the slow_allowed of this topic"))
        }
        (_, Some(_)) if is_log => refused("rate needs a topic of kind \"state\"; here every publication counts".into()),
        (_, Some(rate_ms)) if !setting.rates_ms.contains(&rate_ms) => {
            let rates: Vec<String> = setting.rates_ms.iter().map(|rate_ms| format!("{rate_ms}ms")).collect();
            refused(format!("rate={rate_ms}ms is not offered on this topic; there are {}", rates.join(", ")))
        }
        (_, Some(_)) if matches!(stream.subject, Subject::Pattern(_)) => refused("rate on a pattern does not exist yet".into()),
        _ => Ok(()),
    }
}

fn too_many_positions() -> ClientError {
    let message = format!("more than {POSITIONS_MAX} positions in one answer: name some topics");
    ClientError::new(ErrorCode::Limit, message)
}

/// Drops repetitions, in order.
fn each_once(topics: &mut Vec<TopicId>) {
    let mut seen = HashSet::new();
    topics.retain(|&topic| seen.insert(topic));
}

/// Too many topics, named by the one at fault.
pub(super) fn topics_max(topic: &TopicName) -> ClientError {
    ClientError::new(ErrorCode::Limit, format!("{}: the gateway holds topics_max topics already", topic.as_str()))
}
