//! Rates, by names and by patterns, judged by what came: at the end of an interval the newest of each key, nothing twice, and the
//! newest always, however subscriptions take each other's place.
//!
//! The naive judge keeps everything that was published. While a client holds a topic, by whatever subscription, the offsets that
//! come must rise, and end with the newest of each key; while it holds it by one and the same, they are known exactly.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use proptest::prelude::*;

use super::twin::{TestEncoder, publication};
use super::*;
use crate::config::Slow;

const NAMES: [&str; 3] = ["a.0", "a.1", "b.0"];
const PATTERNS: [&str; 3] = [">", "a.*", "*.0"];
const RATES: [Option<u32>; 3] = [None, Some(100), Some(250)];
const CLIENTS: usize = 3;

#[derive(Clone, Debug)]
enum Step {
    Publish {
        topic: usize,
        key: usize,
        begins: bool,
    },
    Name {
        client: usize,
        topic: usize,
        rate: usize,
        last: bool,
    },
    Pattern {
        client: usize,
        pattern: usize,
        rate: usize,
        last: bool,
    },
    /// Unsubscribes the client's subscription of this number, where it has so many.
    End {
        client: usize,
        number: usize,
    },
    /// The interval of this rate is over.
    Interval {
        rate: usize,
    },
    Tour,
    Visit {
        client: usize,
        bytes_max: usize,
        sent_permille: usize,
    },
    Switch {
        client: usize,
    },
    Leave {
        client: usize,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let bytes = prop_oneof![3 => Just(usize::MAX), 1 => 0..100_usize];
    let permille = prop_oneof![3 => Just(1000_usize), 2 => 0..1000_usize];
    let (client, topic, rate) = (0..CLIENTS, 0..NAMES.len(), 0..RATES.len());
    prop_oneof![
        10 => (topic.clone(), 0..3_usize, prop::bool::weighted(0.2))
            .prop_map(|(topic, key, begins)| Step::Publish { topic, key, begins }),
        2 => (client.clone(), topic, rate.clone(), any::<bool>())
            .prop_map(|(client, topic, rate, last)| Step::Name { client, topic, rate, last }),
        4 => (client.clone(), 0..PATTERNS.len(), rate, any::<bool>())
            .prop_map(|(client, pattern, rate, last)| Step::Pattern { client, pattern, rate, last }),
        3 => (client.clone(), 0..4_usize).prop_map(|(client, number)| Step::End { client, number }),
        5 => (1..RATES.len()).prop_map(|rate| Step::Interval { rate }),
        3 => Just(Step::Tour),
        8 => (client.clone(), bytes, permille).prop_map(|(client, bytes_max, sent_permille)| Step::Visit { client, bytes_max, sent_permille }),
        1 => client.clone().prop_map(|client| Step::Switch { client }),
        1 => client.prop_map(|client| Step::Leave { client }),
    ]
}

/// One subscription of a client.
#[derive(Clone, Debug)]
struct Held {
    /// A topic's number, or a pattern.
    subject: Result<usize, &'static str>,
    rate_ms: Option<u32>,
    last: bool,
    /// Told from all others.
    number: u32,
}

/// A topic that a client holds without a break.
#[derive(Clone, Debug)]
struct Hold {
    number: u32,
    by: Held,
    /// By one and the same subscription all the while.
    is_simple: bool,
    /// One that it was held by has ended since.
    has_lost: bool,
    /// And one with `last` has begun after that.
    may_repeat: bool,
    /// The topic's newest offset when it began.
    begin: u64,
    /// What is to come in an interval that is not over.
    pending: Vec<u64>,
    expected: Vec<u64>,
    came: Vec<u64>,
    /// The epoch that the client was told last; of a pattern's topics none, before anything came.
    epoch: Option<Epoch>,
}

#[derive(Default)]
struct Listener {
    encoding: Option<Encoding>,
    held: Vec<Held>,
    holds: [Option<Hold>; NAMES.len()],
    begun: Vec<u8>,
    /// The frame that is under way: of which topic and hold, if any.
    torn: Option<(usize, u64)>,
}

struct Judge {
    hub: Hub,
    topics: Vec<TopicId>,
    published: Vec<Vec<Publication>>,
    /// Topics and rates whose interval is under way.
    open: BTreeSet<(usize, u32)>,
    clients: Vec<Listener>,
    numbers: u32,
}

impl Judge {
    fn new() -> Judge {
        let mut hub = Hub::new(1 << 20);
        let ring = RingLimits { publications: 1 << 10, bytes: 1 << 20, age_ms: 0 };
        let open = |(number, name): (usize, &&str)| {
            let (slow_default, keyed) = (Slow::Close, number == 1);
            let settings = TopicSettings { ring, slow_lag_bytes: 1, slow_lag_ms: 1, slow_default, keyed, keys_max: 100 };
            let name = TopicName::parse(name).expect("a name");
            hub.open(name, Arc::new(settings), Position { epoch: Epoch::from_number(7), offset: 0 })
        };
        let topics = NAMES.iter().enumerate().map(open).collect();
        let clients = (0..CLIENTS).map(|_| Listener::default()).collect();
        Judge { hub, topics, published: vec![Vec::new(); NAMES.len()], open: BTreeSet::new(), clients, numbers: 0 }
    }

    fn newest(&self, topic: usize) -> u64 {
        self.published[topic].len() as u64
    }

    fn at(&self, topic: usize, number: u64) -> Position {
        epoch_position(&self.published[topic], number)
    }

    /// Of these offsets, those whose key none of them has later.
    fn newest_of_each(&self, topic: usize, offsets: &[u64]) -> Vec<u64> {
        let keys: BTreeMap<_, u64> =
            offsets.iter().map(|offset| (self.published[topic][*offset as usize - 1].marks.key.clone(), *offset)).collect();
        let offsets: BTreeSet<u64> = keys.into_values().collect();
        offsets.into_iter().collect()
    }

    fn apply(&mut self, step: &Step) {
        match *step {
            Step::Publish { topic, key, begins } => self.publish(topic, key, begins),
            Step::Name { client, topic, rate, last } => self.name(client, topic, RATES[rate], last),
            Step::Pattern { client, pattern, rate, last } => self.pattern(client, PATTERNS[pattern], RATES[rate], last),
            Step::End { client, number } => self.end(client, number),
            Step::Interval { rate } => self.interval(RATES[rate].expect("a rate")),
            Step::Tour => self.hub.tour(2, &mut TestEncoder),
            Step::Visit { client, bytes_max, sent_permille } => self.visit(client, bytes_max, sent_permille),
            Step::Switch { client } => {
                let encoding = match self.clients[client].encoding {
                    Some(Encoding::Combined) => Encoding::Raw,
                    _ => Encoding::Combined,
                };
                self.clients[client].encoding = Some(encoding);
                self.hub.set_encoding(client as u32, encoding, &mut TestEncoder);
            }
            Step::Leave { client } => {
                self.hub.leave(client as u32);
                self.clients[client] = Listener::default();
            }
        }
        for variant in self.hub.take_unheard() {
            let (parent, rate_ms) = self.hub.variant_of(variant).expect("a variant");
            let topic = self.topics.iter().position(|id| *id == parent).expect("one of the topics");
            self.open.remove(&(topic, rate_ms));
            self.hub.close_variant(variant);
        }
        self.look_at_holds();
    }

    fn publish(&mut self, topic: usize, key: usize, begins: bool) {
        let offset = self.newest(topic) + 1;
        let mut new = publication(offset, PayloadKind::Text, format!("{topic}:{offset}").as_bytes());
        // Only the second topic has keys.
        let key = ["", "k", "l"].get(key).filter(|key| topic == 1 && !key.is_empty());
        new.marks.key = key.map(|key| Key::parse(key).expect("a key"));
        new.marks.begins = begins.then(|| Box::new(Epoch::from_number(1000 + offset)));
        self.hub.publish(self.topics[topic], &new, &mut TestEncoder);
        self.published[topic].push(new);
        self.open.extend(self.hub.variants(self.topics[topic]).iter().map(|(rate_ms, _)| (topic, *rate_ms)));
        for hold in self.clients.iter_mut().filter_map(|client| client.holds[topic].as_mut()) {
            if hold.by.rate_ms.is_some() { hold.pending.push(offset) } else { hold.expected.push(offset) }
        }
    }

    fn name(&mut self, client: usize, topic: usize, rate_ms: Option<u32>, last: bool) {
        let (slot, plain) = (client as u32, self.topics[topic]);
        if self.hub.held(slot, plain).is_some() {
            return;
        }
        let id = rate_ms.map_or(plain, |rate_ms| self.hub.variant(plain, rate_ms));
        let (start, encoding) = (if last { Start::Newest } else { Start::Live }, self.encoding(client));
        let told = self.hub.position_before_present(slot, plain).unwrap_or(self.hub.position(plain));
        let subscribed = self.hub.subscribe(slot, id, encoding, Terms::default(), start, &mut TestEncoder);
        assert_eq!(subscribed, Ok(()));
        if let Some(hold) = &mut self.clients[client].holds[topic] {
            hold.epoch = Some(told.epoch);
        }
        self.hold(client, Ok(topic), rate_ms, last);
    }

    fn pattern(&mut self, client: usize, text: &'static str, rate_ms: Option<u32>, last: bool) {
        let (pattern, encoding) = (Pattern::parse(text).expect("a pattern"), self.encoding(client));
        let known = self.clients[client].held.iter().find(|held| held.subject == Err(text)).map(|held| held.rate_ms);
        assert_eq!(self.hub.pattern_terms(client as u32, text).map(|(rate_ms, _)| rate_ms), known);
        let is_new = self.hub.subscribe_pattern(client as u32, &pattern, rate_ms, encoding, Terms::default(), last);
        assert_eq!(is_new, known.is_none());
        if is_new {
            self.hold(client, Err(text), rate_ms, last);
        }
    }

    fn encoding(&self, client: usize) -> Encoding {
        self.clients[client].encoding.unwrap_or(Encoding::Raw)
    }

    fn hold(&mut self, client: usize, subject: Result<usize, &'static str>, rate_ms: Option<u32>, last: bool) {
        self.numbers += 1;
        // `last` may give once more what a subscription brought that is gone by now.
        for hold in self.clients[client].holds.iter_mut().flatten() {
            hold.may_repeat |= last && hold.has_lost;
        }
        self.clients[client].held.push(Held { subject, rate_ms, last, number: self.numbers });
    }

    fn end(&mut self, client: usize, number: usize) {
        if number >= self.clients[client].held.len() {
            return;
        }
        let slot = client as u32;
        assert!(match self.clients[client].held.remove(number).subject {
            Ok(topic) => {
                let (held, _) = self.hub.held(slot, self.topics[topic]).expect("it is subscribed");
                self.hub.unsubscribe(slot, held, &mut TestEncoder)
            }
            Err(text) => self.hub.unsubscribe_pattern(slot, text, &mut TestEncoder),
        });
    }

    fn interval(&mut self, rate_ms: u32) {
        for topic in 0..NAMES.len() {
            let is_open = self.open.remove(&(topic, rate_ms));
            if is_open {
                let variants = self.hub.variants(self.topics[topic]);
                let (_, variant) = *variants.iter().find(|(rate, _)| *rate == rate_ms).expect("it has an interval");
                self.hub.refresh(variant, &mut TestEncoder);
            }
            for client in 0..CLIENTS {
                let Some(hold) = self.clients[client].holds[topic].as_mut().filter(|hold| hold.by.rate_ms == Some(rate_ms))
                else {
                    continue;
                };
                let pending = std::mem::take(&mut hold.pending);
                assert!(is_open || pending.is_empty() || !hold.is_simple, "what was published has an interval");
                let newest = self.newest_of_each(topic, &pending);
                self.clients[client].holds[topic].as_mut().expect("it is there").expected.extend(newest);
            }
        }
    }

    /// By which subscription each client holds each topic now.
    fn look_at_holds(&mut self) {
        for client in 0..CLIENTS {
            for (topic, name) in NAMES.into_iter().enumerate() {
                let held = &self.clients[client].held;
                let matches = |held: &&Held| held.subject.is_err_and(|text| Pattern::parse(text).expect("one").matches(name));
                let by = held.iter().find(|held| held.subject == Ok(topic)).or_else(|| held.iter().find(matches)).cloned();
                let numbers: Vec<u32> = held.iter().map(|held| held.number).collect();
                let is_held = |number: u32| numbers.contains(&number);
                let begin = self.newest(topic);
                let present = self.at(topic, begin).epoch;
                self.numbers += 1;
                let hold = &mut self.clients[client].holds[topic];
                match (by, &mut *hold) {
                    (None, _) => *hold = None,
                    (Some(by), Some(hold)) => {
                        hold.is_simple &= by.number == hold.by.number;
                        let is_lost = !is_held(hold.by.number);
                        hold.has_lost |= is_lost;
                        // One with `last` that has not come to the topic yet gives what that one brought once more.
                        hold.may_repeat |= is_lost && by.last;
                        hold.by = by;
                    }
                    (Some(by), None) => {
                        let (is_simple, has_lost, may_repeat, number) = (true, false, false, self.numbers);
                        let (pending, expected, came) = (Vec::new(), Vec::new(), Vec::new());
                        let epoch = by.subject.is_ok().then_some(present);
                        *hold = Some(Hold { number, by, is_simple, has_lost, may_repeat, begin, pending, expected, came, epoch });
                    }
                }
                let has = self.hub.has(client as u32, self.topics[topic]);
                assert_eq!(has, self.clients[client].holds[topic].is_some(), "client {client} has {name}");
            }
        }
    }

    fn visit(&mut self, client: usize, bytes_max: usize, sent_permille: usize) {
        let (mut spans, mut notices, slot) = (Vec::new(), Vec::new(), client as u32);
        let visiting = Visiting { bytes_max, unix_us: 0, tells: true };
        self.hub.take_due(slot, visiting, &mut TestEncoder, &mut spans, &mut notices).expect("nobody fell");
        assert!(notices.is_empty() || self.clients[client].begun.is_empty(), "no notice stands inside a frame");
        for notice in notices {
            let Notice::Epoch { topic, epoch } = notice else { panic!("nobody is slow: {notice:?}") };
            let topic = NAMES.iter().position(|name| *name == self.hub.name(topic).as_str()).expect("one of the topics");
            self.clients[client].holds[topic].as_mut().expect("it holds it").epoch = Some(epoch);
        }
        let bytes: Vec<u8> = spans
            .iter()
            .flat_map(|span| {
                let (one, two) = self.hub.resolve(span);
                [one, two].concat()
            })
            .collect();
        let sent = bytes.len() * sent_permille / 1000;
        let mut left = sent;
        for span in &spans {
            let part = left.min(span.bytes());
            left -= part;
            self.hub.advance(slot, span, part);
        }
        let published = &self.published;
        let listener = &mut self.clients[client];
        let mut stream = std::mem::take(&mut listener.begun);
        let (had, mut at) = (stream.len(), 0);
        stream.extend_from_slice(&bytes);
        // Whole frames are offered; of what went, the last may be cut.
        while at < had + sent {
            let (topic, offset, end) = frame(&stream, at);
            let of = match listener.torn.take() {
                Some((_, of)) => Some(of),
                None => listener.holds[topic].as_ref().map(|hold| u64::from(hold.number)),
            };
            if end > had + sent {
                listener.torn = Some((topic, of.unwrap_or(0)));
                break;
            }
            let hold = listener.holds[topic].as_mut().filter(|hold| of == Some(u64::from(hold.number)));
            assert!(hold.is_some() || at < had, "client {client} was sent {offset} of {}, which it does not hold", NAMES[topic]);
            if let Some(hold) = hold {
                let rises = hold.came.last().is_none_or(|last| *last < offset);
                assert!(rises || hold.may_repeat, "{offset} of {}: {hold:?}", NAMES[topic]);
                hold.came.push(offset);
                judge_epoch(hold, epoch_position(&published[topic], offset), &stream[at + 2..end]);
            }
            at = end;
        }
        listener.begun = stream[at.min(had + sent)..had + sent].to_vec();
    }

    /// Everybody takes all, and all intervals end: then who holds a topic has what it was to have.
    fn finish(&mut self) {
        for _ in 0..12 {
            RATES.into_iter().flatten().for_each(|rate_ms| self.interval(rate_ms));
            self.apply(&Step::Tour);
            (0..CLIENTS).for_each(|client| self.visit(client, usize::MAX, 1000));
        }
        assert!(!self.hub.is_touring());
        for (client, listener) in self.clients.iter().enumerate() {
            for (topic, hold) in listener.holds.iter().enumerate() {
                let Some(hold) = hold else { continue };
                let said = || format!("client {client}, {}, {} published: {hold:?}", NAMES[topic], self.newest(topic));
                if hold.is_simple && !hold.by.last {
                    assert_eq!(hold.came, hold.expected, "{}", said());
                }
                let begin = if hold.is_simple && hold.by.last { 0 } else { hold.begin };
                let all: Vec<u64> = (1..=self.newest(topic)).collect();
                let newest: Vec<u64> = self.newest_of_each(topic, &all).into_iter().filter(|offset| *offset > begin).collect();
                assert!(newest.iter().all(|offset| hold.came.contains(offset)), "{newest:?} of {}", said());
                let position = self.hub.position_of(client as u32, self.topics[topic]);
                assert_eq!(position, Some(self.at(topic, self.newest(topic))), "{}", said());
            }
        }
        // Who is behind in nothing keeps no variant.
        self.apply(&Step::Tour);
        for (topic, id) in self.topics.iter().enumerate() {
            let named = |(rate_ms, _): &(u32, TopicId)| {
                let is_it = |held: &Held| held.subject == Ok(topic) && held.rate_ms == Some(*rate_ms);
                self.clients.iter().any(|client| client.held.iter().any(is_it))
            };
            assert!(self.hub.variants(*id).iter().all(named), "a variant lives while somebody needs it");
        }
        for client in 0..CLIENTS {
            self.apply(&Step::Leave { client });
        }
        assert!(self.topics.iter().all(|id| self.hub.members(*id) == 0 && self.hub.variants(*id).is_empty()));
        assert_eq!((self.hub.torn_bytes(), self.hub.registry.walks()), (0, 0));
    }
}

/// Epoch and offset of a number: epochs are those that publications begin.
fn epoch_position(published: &[Publication], number: u64) -> Position {
    let begun = published[..number as usize].iter().rev().find(|publication| publication.marks.begins.is_some());
    let epoch = begun.and_then(|begun| begun.marks.begins.as_deref().copied()).unwrap_or(Epoch::from_number(7));
    Position { epoch, offset: number - begun.map_or(0, |begun| begun.offset - 1) }
}

/// A publication is of the epoch that its client was told last, by the frame itself among others; a raw one says so to nobody.
fn judge_epoch(hold: &mut Hold, position: Position, body: &[u8]) {
    let text = std::str::from_utf8(body).expect("the test's payloads are text");
    let Some(place) = text.rsplit(' ').nth(3) else {
        hold.epoch = Some(position.epoch);
        return;
    };
    assert_eq!(place, format!("{}:{}", position.epoch, position.offset));
    if text.starts_with("begins ") || hold.epoch.is_none() {
        hold.epoch = Some(position.epoch);
    }
    assert_eq!(hold.epoch, Some(position.epoch), "{text}: {hold:?}");
}

/// Topic and offset of the frame that begins at this byte, and where it ends.
fn frame(stream: &[u8], at: usize) -> (usize, u64, usize) {
    let end = at + 2 + usize::from(stream[at + 1]);
    let text = std::str::from_utf8(&stream[at + 2..end]).expect("the test's payloads are text");
    let (topic, offset) = text.rsplit(' ').next().and_then(|payload| payload.split_once(':')).expect("a payload");
    (topic.parse().expect("a number"), offset.parse().expect("an offset"), end)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3000, ..ProptestConfig::default() })]
    #[test]
    fn an_interval_brings_its_newest_whoever_asks_and_however(steps in prop::collection::vec(step(), 1..100)) {
        let mut judge = Judge::new();
        steps.iter().for_each(|step| judge.apply(step));
        judge.finish();
    }
}

/// Client 2 has had the first of `a.1` by a pattern that ends while another one, which is to give the newest of each key, is on tour.
#[test]
fn what_a_pattern_brought_that_ended_may_come_once_more_by_the_last_of_another() {
    let mut judge = Judge::new();
    let publish = |topic, key| Step::Publish { topic, key, begins: false };
    let pattern = |client, pattern, rate, last| Step::Pattern { client, pattern, rate, last };
    let steps = [
        pattern(2, 0, 0, false),
        publish(1, 0),
        pattern(2, 1, 2, true),
        Step::Visit { client: 2, bytes_max: usize::MAX, sent_permille: 1000 },
        Step::End { client: 2, number: 0 },
        publish(1, 1),
    ];
    steps.iter().for_each(|step| judge.apply(step));
    judge.finish();
}

/// Client 2 has had the first of `b.0` by a pattern that is gone, and has the others by the snapshot of one that is still on tour.
#[test]
fn a_snapshot_tells_of_the_epoch_that_began_since_another_subscription() {
    let mut judge = Judge::new();
    let publish = |topic, begins| Step::Publish { topic, key: 0, begins };
    let pattern = |client, pattern, rate, last| Step::Pattern { client, pattern, rate, last };
    let steps = [
        publish(0, false),
        Step::Switch { client: 2 },
        pattern(0, 2, 1, true),
        pattern(2, 2, 0, false),
        publish(2, false),
        pattern(2, 0, 1, true),
        Step::Visit { client: 2, bytes_max: usize::MAX, sent_permille: 44 },
        Step::Tour,
        Step::End { client: 2, number: 0 },
        publish(2, true),
        publish(2, false),
    ];
    steps.iter().for_each(|step| judge.apply(step));
    judge.finish();
}
