//! A peer and its judge: it asks, and holds what comes against the protocol's rules and the truth.

mod asking;
mod ending;
mod holding;

use std::collections::VecDeque;

pub(super) use self::asking::payload;
pub(super) use self::holding::PATTERNS;
use super::dice::Dice;
use super::secure::{self, Secure};
use super::truth::Truth;
use super::wire::{self, BINARY, CLOSE, Frame, Incoming, PING, PONG, TEXT};
use crate::reactor::sim::{PeerEnd, PeerId, SimNet};
use crate::ws::frame::Opcode;

/// What a peer is there for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Subscriber,
    /// On the topic of this number.
    PublisherOne(usize),
    PublisherMany,
}

/// A request whose reply is awaited.
#[derive(Debug)]
enum Asked {
    Subscribe(Vec<(String, bool)>),
    Unsubscribe(Vec<String>),
    List,
    Positions,
    SetCombined(bool),
    GetCombined,
    Publish(Vec<u8>),
    Time,
}

#[derive(Debug)]
struct Subscription {
    topic: String,
    /// The next offset must be this one, or (not yet known) at most this one.
    next: u64,
    known: bool,
    /// What came up to it is old: only `last` brings it.
    old: u64,
    /// Something of it must come: the newest at least.
    due: bool,
}

/// How far the connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Handshake,
    Open,
    /// A close frame came, with this code.
    Closed(u16),
}

/// One connection.
pub(super) struct Peer {
    pub(super) place: usize,
    pub(super) id: PeerId,
    number: usize,
    pub(super) role: Role,
    net: SimNet,
    /// Some speak TLS.
    secure: Option<Box<Secure>>,
    outgoing: VecDeque<u8>,
    incoming: Incoming,
    pub(super) phase: Phase,
    combined: bool,
    /// It offers compression, and compresses what is longer than a hundred bytes.
    deflate: bool,
    /// With the handshake, whose reply has no id.
    by_url: Option<Vec<(String, bool)>>,
    asked: VecDeque<(u64, Asked)>,
    ids: u64,
    /// Topics that it named.
    subscriptions: Vec<Subscription>,
    /// Topics that its patterns bring.
    heard: Vec<Subscription>,
    /// Publications that came by a pattern.
    pub(super) heard_count: usize,
    patterns: Vec<String>,
    /// Names and patterns, in order.
    order: Vec<String>,
    pings: VecDeque<Vec<u8>>,
    /// Its payloads in the order sent.
    published: Vec<(String, Vec<u8>)>,
    /// How many of them it was told are taken, where it asked for that.
    acknowledged: Option<usize>,
    pub(super) said_close: bool,
    pub(super) finished: bool,
    pub(super) reset: bool,
    pub(super) stalled: bool,
    shutdowns_told: u32,
}

/// Topics of the tests.
pub(super) fn topic(number: usize) -> String {
    ["md.a", "md.b@x", "t", "md.c.d"][number].to_owned()
}
pub(super) const TOPICS: usize = 4;

/// The gateway's serverShutdown is expected from now on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Expecting {
    pub(super) stop: bool,
    /// A ring holds so many publications; whoever falls behind may be closed.
    pub(super) ring: Option<u64>,
}

impl Peer {
    pub(super) fn connect(number: usize, place: usize, net: SimNet, role: Role, dice: &mut Dice) -> Peer {
        let combined = !dice.once_in(2);
        let mut by_url: Vec<(String, bool)> = Vec::new();
        let ack = if role != Role::Subscriber && dice.once_in(2) { "?ack=1" } else { "" };
        let path = match role {
            Role::PublisherOne(number) => format!("/publish/{}{ack}", topic(number)),
            Role::PublisherMany => format!("/publish{ack}"),
            Role::Subscriber => {
                let streams = if combined { dice.below(4) } else { dice.below(2) };
                by_url.extend((0..streams).map(|_| (subject(dice), dice.once_in(3))));
                let list: Vec<String> = by_url.iter().map(|(topic, last)| stream(topic, *last)).collect();
                match (combined, list.is_empty()) {
                    (true, true) => "/stream".into(),
                    (true, false) => format!("/stream?streams={}", list.join("/")),
                    (false, true) => "/ws".into(),
                    (false, false) => format!("/ws/{}", list[0]),
                }
            }
        };
        let combined = combined && role == Role::Subscriber;
        let deflate = dice.once_in(2);
        let secure = dice.once_in(3).then(|| Box::new(Secure::new(dice)));
        Peer { number, by_url: Some(by_url), ..Peer::with_path(place, net, secure, role, &path, combined, deflate) }
    }

    /// A subscriber of streams without options.
    pub(super) fn subscriber(place: usize, net: SimNet, combined: bool, topics: &[String]) -> Peer {
        let path = if combined { format!("/stream?streams={}", topics.join("/")) } else { format!("/ws/{}", topics[0]) };
        let by_url = topics.iter().map(|topic| (topic.clone(), false)).collect();
        Peer { by_url: Some(by_url), ..Peer::with_path(place, net, None, Role::Subscriber, &path, combined, false) }
    }

    fn with_path(
        place: usize,
        net: SimNet,
        secure: Option<Box<Secure>>,
        role: Role,
        path: &str,
        combined: bool,
        deflate: bool,
    ) -> Peer {
        let listener = if secure.is_some() { secure::LISTENER } else { 0 };
        Peer {
            place,
            id: net.connect(listener),
            number: 0,
            role,
            net,
            secure,
            outgoing: wire::handshake(path, deflate).into(),
            incoming: Incoming::default(),
            phase: Phase::Handshake,
            combined,
            deflate,
            by_url: None,
            asked: VecDeque::new(),
            ids: 0,
            subscriptions: Vec::new(),
            heard: Vec::new(),
            heard_count: 0,
            patterns: Vec::new(),
            order: Vec::new(),
            pings: VecDeque::new(),
            published: Vec::new(),
            acknowledged: path.ends_with("?ack=1").then_some(0),
            said_close: false,
            finished: false,
            reset: false,
            stalled: false,
            shutdowns_told: 0,
        }
    }

    fn who(&self) -> String {
        format!("peer {} ({:?}) on shard {}", self.number, self.role, self.place)
    }

    /// For the message of a failed assertion.
    pub(super) fn state(&self) -> String {
        let Peer { phase, stalled, subscriptions, heard, order, asked, incoming, .. } = self;
        format!("{}: {phase:?}, stalled {stalled}, {subscriptions:?}, {heard:?}, {order:?}, {asked:?}, {incoming:?}", self.who())
    }

    // --- what it does ---

    /// Whether it can still say anything.
    pub(super) fn can_speak(&self) -> bool {
        !self.said_close && !self.finished && !self.reset && !matches!(self.phase, Phase::Closed(_)) && self.end().is_none()
    }

    pub(super) fn end(&self) -> Option<PeerEnd> {
        self.net.is_closed(self.id)
    }

    fn say(&mut self, opcode: Opcode, payload: &[u8]) {
        const COMPRESSED_MIN: usize = 100;
        let is_compressed = self.deflate && !opcode.is_control() && payload.len() > COMPRESSED_MIN;
        let frame = if is_compressed { wire::compressed_frame } else { wire::client_frame };
        self.outgoing.extend(frame(opcode, payload));
    }

    /// Sends what is waiting to be sent, or a piece of it.
    pub(super) fn write(&mut self, bytes_max: usize) {
        if self.finished || self.reset {
            return;
        }
        let bytes: Vec<u8> = match &mut self.secure {
            None => self.outgoing.drain(..self.outgoing.len().min(bytes_max)).collect(),
            Some(secure) => secure.say(&mut self.outgoing, bytes_max),
        };
        if !bytes.is_empty() {
            self.net.write(self.id, &bytes);
        }
    }

    fn has_said_all(&self) -> bool {
        self.outgoing.is_empty() && self.secure.as_ref().is_none_or(|secure| secure.is_all_said())
    }

    pub(super) fn close(&mut self) {
        self.say(Opcode::Close, &1000u16.to_be_bytes());
        self.said_close = true;
    }

    /// Ends its direction, perhaps in the middle of a frame.
    pub(super) fn finish(&mut self) {
        if !self.finished && !self.reset {
            let last = self.secure.as_mut().map_or_else(Vec::new, |secure| secure.close_notify());
            self.net.write(self.id, &last);
            self.net.finish(self.id);
            self.finished = true;
        }
    }

    pub(super) fn break_off(&mut self) {
        self.net.reset(self.id);
        self.reset = true;
    }

    pub(super) fn window(&mut self, bytes: usize) {
        self.net.window(self.id, bytes);
        self.stalled = bytes == 0;
    }

    // --- what comes, judged ---

    /// Reads what was delivered and judges it.
    pub(super) fn read(&mut self, truth: &Truth, expecting: Expecting) {
        let bytes = self.net.read(self.id);
        match &mut self.secure {
            None => self.incoming.extend(&bytes),
            Some(secure) => self.incoming.extend(&secure.hear(&bytes)),
        }
        if self.phase == Phase::Handshake
            && let Some(head) = self.incoming.head()
        {
            assert!(head.starts_with("HTTP/1.1 101 "), "{}: {head}", self.who());
            let granted = "permessage-deflate; server_no_context_takeover; client_no_context_takeover\r\n";
            assert_eq!(head.contains(granted), self.deflate, "{}: {head}", self.who());
            self.incoming.deflate = self.deflate;
            self.phase = Phase::Open;
            let streams = self.by_url.take().expect("there is one handshake");
            // On a combined connection a reply follows where a stream had an option; it tells the positions.
            if self.combined && streams.iter().any(|(_, last)| *last) {
                self.asked.push_front((0, Asked::Subscribe(streams)));
            } else {
                self.subscribe(&streams, None, truth);
            }
        }
        while self.phase != Phase::Handshake
            && let Some(frame) = self.incoming.frame()
        {
            assert!(!matches!(self.phase, Phase::Closed(_)), "{}: {frame:?} behind a close frame", self.who());
            self.judge(&frame, truth, expecting);
        }
        if let Phase::Closed(_) = self.phase {
            assert!(self.incoming.is_empty(), "{}: half a frame behind a close frame", self.who());
        }
    }

    fn judge(&mut self, frame: &Frame, truth: &Truth, expecting: Expecting) {
        let text = std::str::from_utf8(&frame.payload).unwrap_or("");
        match frame.first {
            PING => self.say(Opcode::Pong, &frame.payload),
            PONG => {
                let place = self.pings.iter().position(|ping| *ping == frame.payload);
                let place = place.unwrap_or_else(|| panic!("{}: a pong without its ping: {text}", self.who()));
                self.pings.drain(..=place);
            }
            CLOSE => self.judge_close(&frame.payload, truth, expecting),
            TEXT if text.starts_with("{\"result\":") || text.starts_with("{\"error\":") => {
                self.judge_reply(text, truth, expecting)
            }
            TEXT if text.starts_with("{\"ack\":") => self.judge_ack(text, truth),
            TEXT if text.starts_with("{\"e\":\"serverShutdown\",") => {
                self.shutdowns_told += 1;
                assert!(expecting.stop && self.combined && self.shutdowns_told == 1, "{}: {text}", self.who());
            }
            TEXT | BINARY => {
                let (topic, offset) = truth.identify(frame, self.combined);
                let who = self.who();
                self.heard_count += usize::from(self.heard.iter().any(|held| held.topic == topic));
                let mut held = self.subscriptions.iter_mut().chain(&mut self.heard);
                let subscription = held.find(|subscription| subscription.topic == topic);
                let subscription = subscription.unwrap_or_else(|| panic!("{who}: {topic} {offset}, not subscribed"));
                let Subscription { next, known, .. } = subscription;
                let fits = if *known { offset == *next } else { offset <= *next };
                assert!(fits, "{who}: {topic} {offset} in place of {next} ({known})");
                (*next, *known) = (offset + 1, true);
            }
            other => unreachable!("the reader knows no {other:#x}"),
        }
    }

    fn judge_close(&mut self, body: &[u8], truth: &Truth, expecting: Expecting) {
        let code = body.first_chunk().map_or(0, |code| u16::from_be_bytes(*code));
        let reason = String::from_utf8_lossy(&body[2.min(body.len())..]).into_owned();
        let behind = |subscription: &Subscription| truth.newest(&subscription.topic) + 1 - subscription.next;
        let fits = match code {
            1000 => self.said_close,
            1001 => expecting.stop,
            1013 => expecting.ring.is_some_and(|ring| {
                let mut held = self.subscriptions.iter().chain(&self.heard);
                held.any(|subscription| !subscription.known || behind(subscription) >= ring)
            }),
            _ => false,
        };
        assert!(fits, "{}: closed with {code}: {reason}; {:?}", self.who(), self.subscriptions);
        self.phase = Phase::Closed(code);
        if !self.said_close && !self.finished && !self.reset {
            self.outgoing.clear();
            self.say(Opcode::Close, &code.to_be_bytes());
            self.write(usize::MAX);
        }
    }

    fn judge_reply(&mut self, text: &str, truth: &Truth, expecting: Expecting) {
        let (id, asked) = self.asked.pop_front().unwrap_or_else(|| panic!("{}: a reply to nothing: {text}", self.who()));
        let who = format!("{}, request {id} {asked:?}", self.who());
        let id = if id == 0 { "null".into() } else { id.to_string() };
        let is = |expected: &str| {
            let whole = format!(r#"{{"result":{expected},"id":{id}}}"#);
            assert_eq!(text, whole, "{who}");
        };
        let value: serde_json::Value = serde_json::from_str(text).unwrap_or_else(|_| panic!("{who}: {text}"));
        assert!(text.ends_with(&format!(",\"id\":{id}}}")), "{who}: requests are answered in their order: {text}");
        match asked {
            Asked::Subscribe(streams) => {
                if !streams.iter().any(|(_, last)| *last) {
                    is("null");
                    return self.subscribe(&streams, None, truth);
                }
                let entries = value["result"].as_array().unwrap_or_else(|| panic!("{who}: {text}"));
                let names: Vec<_> = entries.iter().filter_map(|entry| entry["stream"].as_str()).collect();
                assert!(names.iter().eq(streams.iter().map(|(name, _)| name)), "{who}: {text}");
                let offsets: Vec<Option<u64>> = entries.iter().map(|entry| entry["offset"].as_u64()).collect();
                for ((name, offset), entry) in names.iter().zip(&offsets).zip(entries) {
                    let Some(offset) = *offset else {
                        let topics = entry["topics"].as_u64().unwrap_or_else(|| panic!("{who}: {text}"));
                        assert!(PATTERNS.contains(name) && topics <= TOPICS as u64, "{who}: {text}");
                        continue;
                    };
                    assert!(offset <= truth.newest(name), "{who}: {text}");
                    assert!(offset == 0 || entry["epoch"] == truth.epoch(name), "{who}: {text}");
                }
                self.subscribe(&streams, Some(&offsets), truth);
            }
            Asked::Unsubscribe(names) => match names.iter().find(|name| !self.order.contains(name)) {
                Some(name) => {
                    assert_eq!(value["error"]["code"], 6, "{who}: {text}");
                    assert!(value["error"]["msg"].as_str().is_some_and(|msg| msg.starts_with(name.as_str())), "{who}: {text}");
                }
                None => {
                    is("null");
                    self.unsubscribe(&names);
                }
            },
            Asked::List => {
                let names: Vec<String> = self.order.iter().map(|held| format!("{held:?}")).collect();
                is(&format!("[{}]", names.join(",")));
            }
            Asked::Positions => self.judge_positions(&value, truth, &who),
            Asked::SetCombined(combined) => {
                is("null");
                self.combined = combined;
            }
            Asked::GetCombined => is(if self.combined { "true" } else { "false" }),
            Asked::Time => assert!(value["result"]["time"].is_u64(), "{who}: {text}"),
            Asked::Publish(_) if value["error"]["code"] == 10 => assert!(expecting.stop, "{who}: {text}"),
            Asked::Publish(payload) => {
                let offset = value["result"]["offset"].as_u64().unwrap_or_else(|| panic!("{who}: {text}"));
                if let Some((topic, known)) = truth.place_of(&payload) {
                    assert_eq!((offset, value["result"]["epoch"].as_str()), (*known, Some(truth.epoch(topic))), "{who}");
                }
            }
        }
    }

    pub(super) fn shutdowns_told(&self) -> (bool, u32) {
        (self.combined, self.shutdowns_told)
    }
}

/// A topic, or now and then a pattern.
fn subject(dice: &mut Dice) -> String {
    if dice.once_in(4) { PATTERNS[dice.below(PATTERNS.len())].to_owned() } else { topic(dice.below(TOPICS)) }
}

fn stream(topic: &str, last: bool) -> String {
    if last { format!("{topic};last") } else { topic.to_owned() }
}
