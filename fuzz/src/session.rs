//! One client's life: bytes from the wire to effects and owed bytes. Whatever comes, nothing panics; what is owed is whole
//! answers and then whole frames that a client can read; and however the bytes are torn, effects and answers are the same.

use std::net::{IpAddr, Ipv4Addr};

use tidegate::config::{Config, Echo, Page, ProxyProtocol, Publish, PublishAllow};
use tidegate::dialect::stream::Stream;
use tidegate::dialect::stream::reply::Subscribed;
use tidegate::http::{HeadReader, Progress};
use tidegate::hub::{Epoch, Position, Subject, TopicName};
use tidegate::session::{Answer, Arrival, Effect, Expiry, Introduction, Moment, Request, Rules, Session};
use tidegate::ws::deflate::Offer;
use tidegate::ws::frame::{self, Opcode};
use tidegate::ws::{Assembler, Connection, Event, Limits, Role};

use super::cuts::Cuts;

/// What a run begins with, so that the fuzzer need not find a handshake first.
const PATHS: [&str; 8] =
    ["/ws", "/ws/md.a", "/stream", "/stream?streams=md.a/md.b;last", "/publish", "/publish/pub.a", "/echo", "/publish?ack=1"];

/// The same for all inputs, in microseconds.
const NOW_US: u64 = 5_000_000;

/// How a run begins, cuts, then the client's bytes.
pub fn check(data: &[u8]) {
    let Some(([begin, high, low], bytes)) = data.split_first_chunk() else { return };
    let mut wire = Vec::new();
    // 0x80: a proxy speaks first, if with what the fuzzer found, or the client does.
    let is_proxied = begin & 0x80 != 0;
    // Without a path of ours the bytes are the head, too.
    if let Some(path) = PATHS.get(usize::from(begin & 0x0f)) {
        wire.extend_from_slice(head(path, begin & 0x40 != 0).as_bytes());
    }
    if begin & 0x10 == 0 {
        wire.extend_from_slice(bytes);
    } else {
        // Messages instead of frames: lines, each a text.
        for line in bytes.split(|byte| *byte == b'\n') {
            frame::write(&mut wire, Opcode::Text, line, Some([0; 4]));
        }
    }
    // 0x40: the client offers compression; 0x20: all limits are tight.
    let rules = rules(begin & 0x20 != 0, is_proxied);
    let cuts = Cuts::new(u16::from_be_bytes([*high, *low]).into());
    let whole = live(&rules, &wire, Cuts::new(0));
    let torn = live(&rules, &wire, cuts);
    assert_eq!(whole, torn, "however the bytes are torn");
}

fn head(path: &str, deflate: bool) -> String {
    let extensions = if deflate { "Sec-WebSocket-Extensions: permessage-deflate\r\n" } else { "" };
    format!(
        "GET {path} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n{extensions}\r\n"
    )
}

fn rules(tight: bool, is_proxied: bool) -> Rules {
    let mut config = Config {
        echo: Echo { enabled: true },
        page: Page { enabled: true },
        publish: Publish { allow: PublishAllow::Loopback, topics: vec!["pub.>".into()] },
        ..Config::default()
    };
    config.listeners[0].permessage_deflate = true;
    if is_proxied {
        config.listeners[0].trusted_proxies = vec!["127.0.0.1/32".parse().expect("a network")];
        config.listeners[0].proxy_protocol = ProxyProtocol::Optional;
    }
    if tight {
        let limits = &mut config.limits;
        (limits.head_bytes_max, limits.headers_max) = (300, 8);
        (limits.message_bytes_max, limits.fragments_max, limits.publication_bytes_max) = (200, 3, 150);
        (limits.requests_burst, limits.requests_per_second, limits.errors_in_a_row_max) = (6, 1, 3);
        (limits.reply_bytes_max, limits.subscriptions_max) = (100, 2);
    }
    Rules::new(&config)
}

/// All that a client's bytes came to.
#[derive(Debug, Default, PartialEq, Eq)]
struct Life {
    /// What the shard was asked, in words.
    effects: Vec<String>,
    /// What was answered, but for pongs: of those only the newest must be sent.
    answers: Vec<Vec<u8>>,
    ended: bool,
}

fn live(rules: &Rules, wire: &[u8], mut cuts: Cuts) -> Life {
    let arrival = Arrival { listener: 0, address: IpAddr::from(Ipv4Addr::LOCALHOST).into(), number: 0 };
    let mut session = Session::new(rules, arrival, NOW_US);
    let moment = Moment { now_us: NOW_US, unix_us: 1_700_000_000_000_000, ready: true, full: false };
    let (mut life, mut owed) = (Life::default(), Vec::new());
    let mut wire = wire.to_vec();
    let mut rest = &mut wire[..];
    while !rest.is_empty() {
        let (piece, behind) = rest.split_at_mut(cuts.next(rest.len()));
        rest = behind;
        let mut introduced;
        let mut piece = match introduce(&mut session, piece, rules, moment) {
            Some((kept, consumed)) => {
                introduced = [&kept, &piece[consumed..]].concat();
                &mut introduced[..]
            }
            None => piece,
        };
        while !piece.is_empty() {
            let (before, ended) = (piece.len(), session.is_ending());
            let effect = session.receive(&mut piece, rules, moment);
            assert!(piece.len() < before || session.is_ending() != ended, "each call takes something, or is the last");
            assert!(!ended || piece.is_empty() && effect.is_none(), "after the end all is thrown away");
            assert!(effect.is_some() || piece.is_empty() || session.is_congested(rules), "it stops for a reason");
            if let Some(effect) = effect {
                life.effects.push(format!("{effect:?}"));
                let effect = match effect {
                    Effect::Asked => session.proceed(rules, moment).inspect(|effect| life.effects.push(format!("{effect:?}"))),
                    effect => Some(effect),
                };
                if let Some(effect) = effect {
                    answer(&mut session, effect, rules);
                }
            }
            session.acknowledge(NOW_US);
            check_owed(&session, rules);
            // As the socket takes it: in any pieces.
            while !session.owed().is_empty() {
                let went = cuts.next(session.owed().len());
                owed.extend_from_slice(&session.owed()[..went]);
                session.owed_went(went);
            }
        }
        assert!(session.deadline_us(rules) > NOW_US, "nothing is late in no time");
    }
    life.ended = session.is_ending();
    outlive(&mut session, rules, &mut owed);
    life.answers = read_owed(&owed);
    life
}

/// What a proxy says first; none where nobody is between. Gives what is the client's: bytes that came before, and where it begins in
/// these.
fn introduce(session: &mut Session, piece: &[u8], rules: &Rules, moment: Moment) -> Option<(Vec<u8>, usize)> {
    if !session.awaits_proxy() {
        return None;
    }
    match session.receive_proxy(piece, IpAddr::from(Ipv4Addr::LOCALHOST).into(), rules, moment) {
        Introduction::Taken => Some((Vec::new(), piece.len())),
        Introduction::Over { kept, consumed, .. } => Some((kept, consumed)),
    }
}

/// The shard's part, the same for the same effect.
fn answer(session: &mut Session, effect: Effect, rules: &Rules) {
    let position = |topic: &TopicName| (topic.clone(), Position { epoch: Epoch::from_number(7), offset: 41 });
    let subscribed = |stream: &Stream| match &stream.subject {
        Subject::Topic(topic) => {
            let (topic, position) = position(topic);
            Subscribed::Topic { topic, position, recovered: stream.options.since.map(|since| since.offset > 7) }
        }
        Subject::Pattern(pattern) => Subscribed::Pattern { pattern: pattern.clone(), topics: 3 },
    };
    match effect {
        Effect::Asked | Effect::Callout(_) => unreachable!("it was answered already, and nobody is asked"),
        Effect::Admit { streams } => {
            let entries: Vec<_> = streams.iter().map(subscribed).collect();
            session.admit(&entries);
        }
        Effect::Topics => session.answer_topics(b"[]", rules, NOW_US),
        Effect::Publish { answer: Answer::None, .. } => {}
        Effect::Publish { answer: Answer::Count(number), .. } => session.taken(number, NOW_US),
        Effect::Publish { answer: Answer::Reply(id), publication } => session.published(&id, position(&publication.topic).1),
        Effect::Request { id, request } => match request {
            Request::Subscribe(streams) => {
                let entries: Vec<_> = streams.iter().map(subscribed).collect();
                session.subscribed(&id, Some(&entries));
            }
            Request::Unsubscribe(_) | Request::Renewed => session.done(&id),
            Request::List => session.listed(&id, std::iter::empty()),
            Request::Positions(topics) => {
                let positions: Vec<_> = topics.iter().flatten().map(position).collect();
                session.positions(&id, &positions);
            }
            Request::SetCombined(value) => {
                session.set_combined(&id, value);
            }
            Request::SetEvents(value) => {
                session.set_events(&id, value);
            }
            Request::SetHeartbeat(value) => session.set_heartbeat(&id, value),
        },
    }
}

/// One answer can come on top of what may be owed: the page's largest file, an echo, a reply that names every topic of its
/// request with its position.
fn check_owed(session: &Session, rules: &Rules) {
    let limits = &rules.limits;
    let one = (256 << 10) + 8 * limits.message_bytes_max as usize;
    assert!(session.owed().len() <= limits.reply_bytes_max as usize + one, "{} bytes are owed", session.owed().len());
}

/// The client is silent from now on: the session comes to its end, however often it is asked.
fn outlive(session: &mut Session, rules: &Rules, owed: &mut Vec<u8>) {
    let mut now_us = NOW_US;
    for _ in 0..8 {
        now_us = now_us.max(session.deadline_us(rules));
        let expiry = session.expire(rules, Moment { now_us, unix_us: 0, ready: false, full: false });
        owed.extend_from_slice(session.owed());
        session.owed_went(session.owed().len());
        match expiry {
            Expiry::Reset => return,
            Expiry::Asks { .. } => session.ping_acknowledged(now_us),
            Expiry::NotYet { due_us } | Expiry::Owes { due_us } => assert!(due_us >= now_us, "deadlines lie ahead"),
        }
    }
    panic!("a silent client is never reset");
}

/// Whole HTTP answers, then whole frames, as a client reads them; after a close frame nothing.
fn read_owed(owed: &[u8]) -> Vec<Vec<u8>> {
    let (mut answers, mut rest, mut open) = (Vec::new(), owed, None);
    while open.is_none() && !rest.is_empty() {
        let mut reader = HeadReader::new(1 << 16, 32);
        let Ok(Progress::Complete { consumed }) = reader.feed(rest) else {
            panic!("not a whole answer: {}", rest.escape_ascii())
        };
        let response = reader.response().expect("an answer is HTTP");
        if response.status == 101 {
            // Whatever was offered: the session answers nobody what he did not ask for, which `handshake` judges.
            let agreed = Offer { client_max_window_bits: Some(15), ..Offer::default() }
                .check(response.header_values("sec-websocket-extensions"));
            open = Some(match agreed.expect("an answer to an offer") {
                Some(agreed) => Connection::with_deflate(Role::Client, &agreed),
                None => Connection::new(Role::Client),
            });
        }
        let length = response.header("content-length").map_or(0, |length| {
            std::str::from_utf8(length).ok().and_then(|length| length.parse().ok()).expect("a length is a number")
        });
        // An answer to HEAD tells a length and has no body: then the next head, or nothing, follows at once.
        let behind = &rest[consumed..];
        let bodiless = behind.is_empty() || behind.starts_with(b"HTTP/1.1 ");
        let end = if bodiless { consumed } else { consumed + length };
        answers.push(rest[..end].to_vec());
        rest = &rest[end..];
    }
    if let Some(connection) = open {
        read_frames(connection, rest, &mut answers);
    }
    answers
}

fn read_frames(mut connection: Connection, frames: &[u8], answers: &mut Vec<Vec<u8>>) {
    let limits = Limits { message_bytes_max: u32::MAX, fragments_max: 1, inflate_ratio_max: u32::MAX };
    let mut assembler = Assembler::default();
    let mut frames = frames.to_vec();
    let mut rest = &mut frames[..];
    while let Some(event) = connection.next(&limits, &mut rest).expect("what we send is right") {
        match event {
            Event::Data { kind, bytes, first, last } => {
                let message = assembler.add(kind, bytes, first, last);
                answers.extend(message.map(|message| message.bytes.into_owned()));
            }
            Event::Ping(_) | Event::Pong(_) => {}
            Event::Close(body) => {
                answers.push(format!("{body:?}").into_bytes());
                break;
            }
        }
    }
    assert!(rest.is_empty() && !connection.inside_message(), "whole frames, and none after a close");
}
