//! A client whose window closes in the middle of frames.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::alone;
use crate::common::{Gateway, PUBLISHING, Raw, frame};
use crate::figures::{comes_to, metric};
use crate::members::{Came, Member, Then, read_all};

const ROUNDS: usize = 12;
/// With a mean of 10 kB: more than the slow client's window and what is unsent before it.
const PUBLICATIONS: usize = 30;
const PAYLOAD_BYTES_MAX: usize = 20_000;

/// One client and all that it got, by what it is.
struct Listener {
    member: Member,
    got: Got,
}

#[derive(Debug, Default, PartialEq)]
struct Got {
    /// Whole messages, by topic.
    publications: BTreeMap<String, Vec<Vec<u8>>>,
    pongs: Vec<Vec<u8>>,
    replies: Vec<String>,
}

/// A seeded sequence (Knuth's MMIX constants).
struct Dice(u64);

#[test]
fn a_client_whose_window_closes_in_mid_frame_gets_the_bytes_that_its_twin_gets() {
    let _alone = alone();
    let gateway = Gateway::configured(PUBLISHING);
    let mut publisher = Raw::upgraded(&gateway, "/publish");
    let mut dice = Dice(0x5EED_CAFE);
    let join = |receive_bytes| Listener {
        member: Member::join(&gateway, "/stream?streams=md.a/md.b", receive_bytes),
        got: Got::default(),
    };
    let (mut slow, mut twin) = (join(Some(4096)), join(None));
    for round in 0..ROUNDS {
        let own = format!("md.own{round}");
        // The window closes somewhere in these.
        publish(&mut publisher, &mut dice, &["md.a", "md.b"]);
        // The twin has them all, so they lie before the slow one's socket when it asks.
        twin.read_until(|got| got.count() == round * 2 * PUBLICATIONS + PUBLICATIONS);
        for listener in [&mut slow, &mut twin] {
            listener.member.send(&frame(0x89, format!("ping {round}").as_bytes()));
            let subscribe = format!("{{\"method\":\"SUBSCRIBE\",\"params\":[\"{own};last\"],\"id\":{round}}}");
            listener.member.send(&frame(0x81, subscribe.as_bytes()));
        }
        comes_to(&gateway, "subscriptions", "", 4 + 2 * (round as i64 + 1));
        publish(&mut publisher, &mut dice, &["md.a", "md.b", &own]);
        // Some bytes at a time: the window opens, and closes again in mid-frame.
        for _ in 0..50 {
            let mut bytes = vec![0; 1 + dice.below(9_000)];
            slow.member.read(&mut bytes, &mut |came| slow.got.take(came));
        }
        for listener in [&mut slow, &mut twin] {
            listener.read_until(|got| {
                got.count() == (round + 1) * 2 * PUBLICATIONS && got.pongs.len() > round && got.replies.len() > round
            });
        }
    }
    assert_eq!(slow.got.publications.len(), 2 + ROUNDS);
    assert!(slow.got == twin.got, "the two got other bytes");
    let short = metric(&gateway, "sends_short_total", "");
    println!("a window that closes in mid-frame: {short} sends went in part or not at all");
    assert!(short >= ROUNDS as i64, "the window closed in every round");
}

/// As fast as the publisher is read, on these topics in turn.
fn publish(publisher: &mut Raw, dice: &mut Dice, topics: &[&str]) {
    for number in 0..PUBLICATIONS {
        let topic = topics[number % topics.len()];
        let letter = char::from(b'a' + dice.below(26) as u8);
        let data = letter.to_string().repeat(1 + dice.below(PAYLOAD_BYTES_MAX));
        publisher.send_text(&format!("{{\"stream\":\"{topic}\",\"data\":\"{number}{data}\"}}"));
    }
}

impl Listener {
    fn read_until(&mut self, enough: impl Fn(&Got) -> bool) {
        let Listener { member, got } = self;
        // It may have been read to the end of what comes.
        if enough(got) {
            return;
        }
        read_all(std::slice::from_mut(member), |_, came| {
            got.take(came);
            if enough(got) { Then::Stop } else { Then::Read }
        });
    }
}

impl Got {
    fn count(&self) -> usize {
        self.publications.values().map(Vec::len).sum()
    }

    fn take(&mut self, came: Came<'_>) -> Then {
        let Came::Frame(first, payload) = came else { panic!("closed") };
        match first {
            0x89 => {}
            0x8A => self.pongs.push(payload.to_vec()),
            0x81 if payload.starts_with(b"{\"result\":") => {
                self.replies.push(String::from_utf8(payload.to_vec()).expect("a reply is UTF-8"));
            }
            0x81 => {
                let message: Value = serde_json::from_slice(payload).expect("a publication is JSON");
                let topic = message["stream"].as_str().expect("it names its topic").to_owned();
                let own = topic.strip_prefix("md.own").map(|round| round.parse::<usize>().expect("it is a round"));
                assert!(own.is_none_or(|round| self.replies.len() > round), "the reply comes before what it promises");
                self.publications.entry(topic).or_default().push(payload.to_vec());
            }
            _ => panic!("a frame {first:#x}"),
        }
        Then::Read
    }
}

impl Dice {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % bound
    }
}
