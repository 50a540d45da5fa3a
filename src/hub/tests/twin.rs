//! The naive twin: every subscriber has a queue of its own with a copy of each frame. It is the judge of what a client is
//! sent, byte for byte, and of who fell behind.
//!
//! Without: where the operations come from. The fuzzer includes this file as well, so it sees the hub from outside only.

#[path = "twin/comparing.rs"]
mod comparing;
#[path = "twin/given.rs"]
pub(super) mod given;
#[path = "twin/patterns.rs"]
mod patterns;
#[path = "twin/topic.rs"]
mod topic;

use std::collections::VecDeque;

pub(super) use self::given::{TestEncoder, open, publication, visiting};
pub(super) use self::patterns::PATTERNS;
use self::patterns::TwinPattern;
use self::topic::TwinTopic;
use super::*;

/// The log's first.
pub(super) const ALL_ENCODINGS: [Encoding; ENCODINGS] =
    [Encoding::Raw, Encoding::Combined, Encoding::Timed, Encoding::RawDeflate, Encoding::CombinedDeflate, Encoding::TimedDeflate];
const ENCODINGS: usize = 6;

pub(super) const TOPICS: usize = 3;
pub(super) const CLIENTS: usize = 4;

#[derive(Clone, Debug)]
pub(super) enum Operation {
    Publish { topic: usize, kind: PayloadKind, size: usize, begins: bool },
    Subscribe { client: usize, topic: usize, start: u64 },
    Unsubscribe { client: usize, topic: usize },
    SubscribePattern { client: usize, pattern: usize, last: bool },
    UnsubscribePattern { client: usize, pattern: usize },
    Tour { rows_max: u32 },
    UnsubscribeAll { client: usize },
    Leave { client: usize },
    SwitchEncoding { client: usize, encoding: Encoding },
    Block { client: usize, blocked: bool },
    Reopen { topic: usize },
    Turn { visits: Vec<Visit> },
}

/// One client's visit in a turn: how much it may take, and how much of that the socket takes (`None`: it is reset).
#[derive(Clone, Debug)]
pub(super) struct Visit {
    pub(super) client: usize,
    pub(super) bytes_max: usize,
    pub(super) sent_permille: Option<usize>,
}

/// Offsets and frames that a subscriber still lacks.
pub(super) type Queue = VecDeque<(u64, Vec<u8>)>;

pub(super) struct TwinClient {
    pub(super) encoding: Encoding,
    /// By topic: those that it named, and those that a pattern brings and of which it lacks something.
    pub(super) queues: Vec<(usize, Queue)>,
    /// Topics that it named, in order.
    pub(super) named: Vec<usize>,
    patterns: Vec<TwinPattern>,
    /// Names and patterns in the order subscribed.
    order: Vec<String>,
    rest: Option<TwinRest>,
}

/// What a client still must be sent of the frame that it is inside of.
struct TwinRest {
    bytes: Vec<u8>,
    /// Topic and offset, while the ring holds the frame and the client is subscribed as it was.
    in_ring: Option<(usize, u64)>,
    /// How much was copied when the ring gave it up.
    copied: usize,
}

impl TwinClient {
    fn new() -> TwinClient {
        let (queues, named, patterns, order) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        TwinClient { encoding: Encoding::Raw, queues, named, patterns, order, rest: None }
    }

    fn queue(&mut self, topic: usize) -> Option<&mut Queue> {
        self.queues.iter_mut().find(|(of, _)| *of == topic).map(|(_, queue)| queue)
    }

    /// Nothing more of the topic, but the rest of a frame.
    fn end(&mut self, topic: usize) {
        self.queues.retain(|(of, _)| *of != topic);
        if self.rest.as_ref().and_then(|rest| rest.in_ring).is_some_and(|(of, _)| of == topic) {
            self.keep_rest();
        }
    }

    fn keep_rest(&mut self) {
        if let Some(rest) = self.rest.as_mut().filter(|rest| rest.in_ring.is_some()) {
            rest.in_ring = None;
            rest.copied = rest.bytes.len();
        }
    }

    fn is_behind(&self) -> bool {
        self.rest.is_some() || self.queues.iter().any(|(_, queue)| !queue.is_empty())
    }
}

/// The hub and its twin, side by side.
pub(super) struct Pair {
    pub(super) hub: Hub,
    pub(super) ids: Vec<TopicId>,
    topics: Vec<TwinTopic>,
    pub(super) clients: Vec<TwinClient>,
    /// Counts publications and subscriptions of patterns.
    clock: u64,
    /// Client and pattern, in the order begun.
    tours: Vec<(usize, &'static str)>,
    torn_bytes_max: usize,
}

/// Spread over two words of the bitmaps.
fn slot(client: usize) -> u32 {
    client as u32 * 30
}

impl Pair {
    pub(super) fn new(limits: &[RingLimits], torn_bytes_max: usize) -> Pair {
        let mut hub = Hub::new(torn_bytes_max);
        let topic = |(number, limits): (usize, &RingLimits)| TwinTopic {
            name: format!("topic.{number}"),
            limits: *limits,
            published: Vec::new(),
            published_at: 0,
            held: Default::default(),
        };
        let topics: Vec<TwinTopic> = limits.iter().enumerate().map(topic).collect();
        let ids = topics.iter().map(|topic| open(&mut hub, &topic.name, topic.limits, 0)).collect();
        let clients = (0..CLIENTS).map(|_| TwinClient::new()).collect();
        Pair { hub, ids, topics, clients, clock: 0, tours: Vec::new(), torn_bytes_max }
    }

    pub(super) fn apply(&mut self, operation: Operation) {
        match operation {
            Operation::Publish { topic, kind, size, begins } => self.publish(topic, kind, size, begins),
            Operation::Subscribe { client, topic, start } => self.subscribe(client, topic, start),
            Operation::Unsubscribe { client, topic } => {
                let was = self.clients[client].named.contains(&topic);
                assert_eq!(self.hub.is_subscribed(slot(client), self.ids[topic]), was);
                assert_eq!(self.hub.unsubscribe(slot(client), self.ids[topic], &mut TestEncoder), was);
                let client = &mut self.clients[client];
                client.named.retain(|of| *of != topic);
                client.order.retain(|held| *held != self.topics[topic].name);
                if was {
                    client.name_ended(topic);
                }
                if client.owner(&self.topics[topic].name).is_none() {
                    client.end(topic);
                }
            }
            Operation::SubscribePattern { client, pattern, last } => self.subscribe_pattern(client, PATTERNS[pattern], last),
            Operation::UnsubscribePattern { client, pattern } => self.unsubscribe_pattern(client, PATTERNS[pattern]),
            Operation::Tour { rows_max } => self.tour(rows_max),
            Operation::UnsubscribeAll { client } => self.unsubscribe_all(client),
            Operation::Leave { client } => self.leave(client),
            Operation::SwitchEncoding { client, encoding } => self.switch_encoding(client, encoding),
            Operation::Block { client, blocked: true } => self.hub.due().block(slot(client)),
            Operation::Block { client, blocked: false } => self.hub.due().unblock(slot(client)),
            Operation::Reopen { topic } => self.reopen(topic),
            Operation::Turn { visits } => self.turn(visits),
        }
        self.reset_overflowed();
        self.clients.iter_mut().for_each(TwinClient::prune);
        self.drop_unused();
        self.compare();
        self.compare_patterns();
    }

    /// Whoever is still owed anything and fell not gets all of it; then all leave, and nothing stays behind.
    pub(super) fn finish(&mut self) {
        let all = |client| Visit { client, bytes_max: usize::MAX, sent_permille: Some(1000) };
        for _ in 0..2 {
            self.apply(Operation::Turn { visits: (0..CLIENTS).map(all).collect() });
        }
        assert!(self.clients.iter().all(|client| !client.is_behind()));
        for client in 0..CLIENTS {
            self.leave(client);
        }
        assert!(self.ids.iter().all(|id| self.hub.members(*id) == 0));
        assert_eq!(self.hub.torn_bytes(), 0);
    }

    fn publish(&mut self, number: usize, kind: PayloadKind, size: usize, begins: bool) {
        let topic = &mut self.topics[number];
        let offset = topic.newest() + 1;
        let mut payload = format!("{number}:{offset}:").into_bytes();
        payload.extend((0..size).map(|at| b'a' + (at % 26) as u8));
        let mut new = publication(offset, kind, &payload);
        new.marks.begins = if begins { topic.next_epoch() } else { None };
        topic.published.push(new);
        topic.hold_newest();
        self.clock += 1;
        topic.published_at = self.clock;
        self.hub.publish(self.ids[number], &topic.published[offset as usize - 1], &mut TestEncoder);
        for client in &mut self.clients {
            let encoding = client.encoding;
            if client.named.contains(&number) || client.owner(&topic.name).is_some() {
                if client.queue(number).is_none() {
                    topic.derive(encoding, offset);
                }
                client.queue_or_new(number).push_back((offset, topic.frame(encoding, offset)));
            }
            let torn = client.rest.as_ref().and_then(|rest| rest.in_ring);
            if torn.is_some_and(|(of, torn)| of == number && torn < topic.head(encoding)) {
                client.keep_rest();
            }
        }
    }

    fn subscribe(&mut self, number: usize, topic_number: usize, start: u64) {
        let heard = self.next_heard(number, topic_number);
        let client = &mut self.clients[number];
        let is_named = client.named.contains(&topic_number);
        let topic = &mut self.topics[topic_number];
        let newest = topic.newest();
        let (start, first) = match start {
            0..3 => (Start::Live, newest + 1),
            3 => (Start::Newest, newest.max(1)),
            // From one ahead of the newest down to below the ring's head.
            back => (Start::After((newest + 5).saturating_sub(back)), (newest + 6).saturating_sub(back).max(1)),
        };
        if heard.is_none() && !is_named && first <= newest + 1 {
            topic.derive(client.encoding, first);
        }
        let head = topic.head(client.encoding);
        let expected = match start {
            _ if is_named => Err(HubError::Subscribed),
            Start::After(after) if after > newest => Err(HubError::Ahead { after, newest }),
            Start::After(after) if heard.is_some_and(|next| next != after + 1) => {
                Err(HubError::Heard { after, next: heard.expect("a pattern brought something") })
            }
            _ if heard.is_some() => Ok(()),
            Start::After(after) if first < head => Err(HubError::NotHeld { after, oldest: head }),
            _ => Ok(()),
        };
        let result =
            self.hub.subscribe(slot(number), self.ids[topic_number], client.encoding, Terms::default(), start, &mut TestEncoder);
        assert_eq!(result, expected, "{start:?}");
        if result.is_ok() {
            let encoding = client.encoding;
            client.named.push(topic_number);
            client.order.push(topic.name.clone());
            if heard.is_some() {
                topic.derive(encoding, newest + 1);
                client.queue_or_new(topic_number);
                return;
            }
            let queue = (first..=newest).map(|offset| (offset, topic.frame(encoding, offset))).collect();
            client.queues.push((topic_number, queue));
        }
    }

    fn unsubscribe_all(&mut self, client: usize) {
        self.hub.unsubscribe_all(slot(client));
        let TwinClient { queues, named, patterns, order, .. } = &mut self.clients[client];
        queues.clear();
        named.clear();
        patterns.clear();
        order.clear();
        self.tours.retain(|(of, _)| *of != client);
        self.clients[client].keep_rest();
    }

    fn leave(&mut self, client: usize) {
        self.hub.leave(slot(client));
        self.tours.retain(|(of, _)| *of != client);
        self.clients[client] = TwinClient::new();
    }

    fn switch_encoding(&mut self, number: usize, encoding: Encoding) {
        let client = &mut self.clients[number];
        client.keep_rest();
        client.encoding = encoding;
        for (topic, queue) in &mut client.queues {
            let next = queue.front().map_or(self.topics[*topic].newest() + 1, |(offset, _)| *offset);
            self.topics[*topic].derive(encoding, next);
            for (offset, frame) in queue {
                *frame = self.topics[*topic].frame(encoding, *offset);
            }
        }
        self.hub.set_encoding(slot(number), encoding, &mut TestEncoder);
    }

    /// The replica is given up and made again with the newest publication.
    fn reopen(&mut self, number: usize) {
        let topic = &mut self.topics[number];
        if self.hub.members(self.ids[number]) > 0 {
            return;
        }
        let epochs = self.hub.epochs(self.ids[number]).clone();
        self.hub.close(self.ids[number]);
        assert_eq!(self.hub.find(&topic.name), None);
        let name = self::given::name(&topic.name);
        self.ids[number] = self.hub.open_in(name, self::given::settings(topic.limits), epochs, topic.newest());
        topic.held = Default::default();
        if let Some(newest) = topic.published.last() {
            self.hub.seed(self.ids[number], std::slice::from_ref(newest), &mut TestEncoder);
            topic.hold_newest();
        }
    }

    /// Takes for several clients first and advances them after, as a turn of the sweep does.
    fn turn(&mut self, visits: Vec<Visit>) {
        let mut visited = Vec::new();
        let mut fell = Vec::new();
        for visit in visits {
            if visited.iter().any(|(before, ..): &(Visit, Vec<Span>, Vec<u8>)| before.client == visit.client) {
                continue;
            }
            let mut spans = Vec::new();
            match self.hub.take_due(slot(visit.client), visiting(visit.bytes_max), &mut TestEncoder, &mut spans, &mut Vec::new())
            {
                Ok(()) => {
                    let offered = self.offered(&visit, &spans);
                    visited.push((visit, spans, offered));
                }
                Err(Fallen { topic }) => {
                    assert!(spans.is_empty(), "nothing is taken for a client that fell");
                    let number = self.ids.iter().position(|id| *id == topic).expect("one of the topics");
                    assert!(self.has_fallen(visit.client, number));
                    fell.push(visit.client);
                }
            }
        }
        for client in fell {
            if visited.iter().all(|(visit, ..)| visit.client != client) {
                self.unsubscribe_all(client);
            }
        }
        self.reset_overflowed();
        for (visit, spans, offered) in visited {
            match visit.sent_permille {
                Some(permille) => self.advance(visit.client, &spans, &offered, offered.len() * permille / 1000),
                None => self.leave(visit.client),
            }
        }
    }

    /// The bytes that a visit offers, judged: the rest, then whole frames of the queues, each queue's in order.
    fn offered(&self, visit: &Visit, spans: &[Span]) -> Vec<u8> {
        let mut offered = Vec::new();
        for span in spans {
            let (one, two) = self.hub.resolve(span);
            assert_eq!(one.len() + two.len(), span.bytes());
            assert!(span.bytes() > 0);
            offered.extend_from_slice(one);
            offered.extend_from_slice(two);
        }
        let client = &self.clients[visit.client];
        let rest = client.rest.as_ref().map_or(&[][..], |rest| &rest.bytes);
        assert!(offered.starts_with(rest), "an unfinished frame's rest goes first");
        let mut fronts = vec![0; client.queues.len()];
        let (mut left, mut frames) = (&offered[rest.len()..], 0);
        while !left.is_empty() {
            let (which, frame) = client.next_frame(&fronts, left);
            assert!(!self.has_fallen(visit.client, client.queues[which].0));
            fronts[which] += 1;
            frames += 1;
            left = &left[frame.len()..];
        }
        let is_one = frames + u64::from(!rest.is_empty()) <= 1;
        assert!(offered.len() <= visit.bytes_max || is_one, "a visit keeps its bound");
        let mut waiting = client.queues.iter().zip(&fronts).filter_map(|((_, queue), front)| queue.get(*front)).peekable();
        let room = visit.bytes_max.saturating_sub(offered.len());
        let is_full = waiting.peek().is_none() || waiting.any(|(_, frame)| frame.len() > room);
        assert!(is_full, "a visit takes all that it may");
        assert!(!offered.is_empty() || !client.is_behind(), "and always something, if there is anything");
        offered
    }

    fn advance(&mut self, number: usize, spans: &[Span], offered: &[u8], sent: usize) {
        let (mut left, mut told, mut ended) = (sent, 0, 0);
        for span in spans {
            let of_span = left.min(span.bytes());
            told += self.hub.advance(slot(number), span, of_span);
            left -= of_span;
        }
        let client = &mut self.clients[number];
        let mut done = 0;
        if let Some(mut rest) = client.rest.take() {
            done = sent.min(rest.bytes.len());
            rest.bytes.drain(..done);
            ended += u64::from(rest.bytes.is_empty());
            client.rest = Some(rest).filter(|rest| !rest.bytes.is_empty());
        }
        while done < sent {
            let (which, frame) = client.next_frame(&vec![0; client.queues.len()], &offered[done..]);
            let (topic, queue) = &mut client.queues[which];
            let (offset, _) = queue.pop_front().expect("it was at the front");
            let of_frame = frame.len().min(sent - done);
            if of_frame < frame.len() {
                let in_ring = Some((*topic, offset));
                client.rest = Some(TwinRest { bytes: frame[of_frame..].to_vec(), in_ring, copied: 0 });
            } else {
                ended += 1;
            }
            done += of_frame;
        }
        assert_eq!(told, ended, "each frame is counted once, when its last byte went");
    }

    /// Clients over the bound on copied rests are reset, as the shard does it; rightly?
    fn reset_overflowed(&mut self) {
        let overflowed: Vec<u32> = self.hub.take_overflowed().collect();
        for over in overflowed {
            let client = (0..CLIENTS).find(|client| slot(*client) == over).expect("one of the clients");
            let rest = self.clients[client].rest.as_ref().expect("only a client inside a frame overflows");
            assert!(rest.in_ring.is_none() && self.hub.torn_bytes() + rest.copied > self.torn_bytes_max);
            self.leave(client);
        }
    }

    fn has_fallen(&self, client: usize, topic: usize) -> bool {
        let client = &self.clients[client];
        let queue = client.queues.iter().find(|(of, _)| *of == topic).map(|(_, queue)| queue);
        let front = queue.and_then(|queue| queue.front());
        front.is_some_and(|(offset, _)| *offset < self.topics[topic].head(client.encoding))
    }
}

impl TwinClient {
    /// The queue whose frame after the first `fronts` these bytes begin with, and that frame.
    fn next_frame(&self, fronts: &[usize], bytes: &[u8]) -> (usize, Vec<u8>) {
        let begins = |(which, (_, queue)): (usize, &(usize, Queue))| {
            let (_, frame) = queue.get(fronts[which])?;
            bytes.starts_with(frame).then(|| (which, frame.clone()))
        };
        self.queues.iter().enumerate().find_map(begins).expect("a visit offers whole frames of its client's queues, in order")
    }
}
