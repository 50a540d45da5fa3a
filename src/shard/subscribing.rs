//! SUBSCRIBE, UNSUBSCRIBE, LIST_SUBSCRIPTIONS and POSITIONS, done: what a client asks for is held against the configuration and
//! what it holds, then had whole or not at all.
//!
//! Without: requests that need no topic.

use std::collections::{HashMap, HashSet};

use super::clients::Wait;
use super::core::Core;
use super::settings::Setting;
use super::topics::{Topics, Waiter, Wanted};
use super::watches::WantedPattern;
use crate::config::{Slow, TopicKind};
use crate::dialect::stream::reply::Subscribed;
use crate::dialect::stream::{Lasting, RequestId, Stream};
use crate::dialect::{ClientError, ErrorCode};
use crate::hub::{Held, Pattern, Position, Start, Subject, Terms, TopicId, TopicName};
use crate::reactor::{ClientKey, Op};
use crate::session::{Effect, Request};

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
    /// All or none. Without an id it came with the handshake. `again`: it waited for replicas.
    pub(super) fn subscribe(&mut self, key: ClientKey, id: Option<RequestId>, streams: Vec<Stream>, again: bool) {
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
        // Who has it already hears of the epoch before what is of it.
        let position = hub.position_before_present(key.slot, topic).unwrap_or_else(|| hub.position(topic));
        let mut recovered = false;
        if hub.held(key.slot, topic).is_none() {
            let since = options.since.and_then(|since| hub.epochs(topic).number(since));
            let topic = options.rate_ms.map_or(topic, |rate_ms| hub.variant(topic, rate_ms));
            if let Some(number) = since {
                let start = Start::After(number);
                recovered = hub.subscribe(key.slot, topic, encoding, terms, start, &mut self.topics.encoder).is_ok();
            }
            if !recovered {
                let start = if options.last { Start::Newest } else { Start::Live };
                let subscribed = hub.subscribe(key.slot, topic, encoding, terms, start, &mut self.topics.encoder);
                subscribed.expect("the newest and the next publication are always held");
            }
            self.metrics.subscriptions.add(1);
            let bytes = hub.lacks_bytes(key.slot, topic);
            if options.since.is_some() {
                let counter = if recovered { &self.metrics.recoveries } else { &self.metrics.recoveries_refused };
                counter.add(1);
            }
            self.charge_history(key.slot, bytes);
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
        if hub.subscribe_pattern(key.slot, pattern, options.rate_ms, encoding, terms, options.last) {
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
        let rate = |topic| hub.variant_of(topic).map(|(_, rate_ms)| rate_ms);
        let mut new: HashMap<&str, &Stream> = HashMap::new();
        for stream in streams {
            let name = stream.subject.as_str();
            let held = match &stream.subject {
                Subject::Topic(_) => {
                    hub.find(name).and_then(|topic| hub.held(key.slot, topic)).map(|(topic, terms)| lasting(rate(topic), terms))
                }
                Subject::Pattern(_) => hub.pattern_terms(key.slot, name).map(|(rate_ms, terms)| lasting(rate_ms, terms)),
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
        let client = self.clients.peek(key.slot).expect("effects come from clients that are there");
        let (count, max) = (hub.subscribed_to(key.slot).count() + new.len(), client.session.subscriptions_max(&self.rules));
        if count > max as usize {
            let first = streams.iter().find(|stream| new.contains_key(stream.subject.as_str())).expect("some are new");
            let message = format!("{}: more than {max} subscriptions on one connection", first.subject.as_str());
            return Err(ClientError::new(ErrorCode::Limit, message));
        }
        self.check_history(key, streams)?;
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

    pub(super) fn unsubscribe(&mut self, key: ClientKey, id: &RequestId, subjects: &[Subject]) {
        let hub = &self.topics.hub;
        let is_held = |subject: &&Subject| match subject {
            Subject::Topic(name) => hub.find(name.as_str()).is_some_and(|topic| hub.held(key.slot, topic).is_some()),
            Subject::Pattern(pattern) => hub.pattern_terms(key.slot, pattern.as_str()).is_some(),
        };
        if let Some(subject) = subjects.iter().find(|subject| !is_held(subject)) {
            let error = ClientError::new(ErrorCode::NotSubscribed, format!("{}: not subscribed", subject.as_str()));
            return self.fail(key, Some(id), &error);
        }
        self.end_subscriptions(key, subjects);
        self.session_mut(key).done(id);
    }

    /// Ends subscriptions that the client has.
    pub(super) fn end_subscriptions(&mut self, key: ClientKey, subjects: &[Subject]) {
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
                    let Topics { staleness, hub, .. } = &mut self.topics;
                    staleness.left_pattern(key.slot, |topic| hub.has(key.slot, topic));
                    self.topics.left_pattern(pattern, self.now);
                }
            }
            self.metrics.subscriptions.add(-1);
        }
    }

    pub(super) fn list(&mut self, key: ClientKey, id: &RequestId) {
        let hub = &self.topics.hub;
        let rate = |topic| hub.variant_of(topic).map(|(_, rate_ms)| rate_ms);
        let streams = hub.subscribed_to(key.slot).map(|held| match held {
            Held::Topic(topic, terms) => (hub.name(topic).as_str(), lasting(rate(topic), terms)),
            Held::Pattern(pattern, rate_ms, terms) => (pattern.as_str(), lasting(rate_ms, terms)),
        });
        let client = self.clients.get(key).expect("effects come from clients that are there");
        client.session.listed(id, streams);
    }

    /// How far this connection is, which is not how far its topics are: in those that it named, in order, then in those that its
    /// patterns bring.
    pub(super) fn positions(&mut self, key: ClientKey, id: &RequestId, names: Option<&[TopicName]>) {
        let hub = &mut self.topics.hub;
        let found: Result<Vec<(TopicId, Position)>, ClientError> = match names {
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
                let told = |(topic, position)| (hub.name(topic).clone(), position);
                let positions: Vec<_> = found.into_iter().map(told).collect();
                self.session_mut(key).positions(id, &positions);
            }
            Err(error) => self.fail(key, Some(id), &error),
        }
    }
}

/// What a subscription was asked for with.
fn lasting(rate_ms: Option<u32>, terms: Terms) -> Lasting {
    Lasting { rate_ms, slow: terms.slow_asked.then_some(terms.slow), timed: terms.timed }
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
