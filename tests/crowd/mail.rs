//! Publishers on two shards, with mailboxes and credits at their least.

use std::collections::{BTreeMap, HashMap};

use serde_json::Value;

use crate::alone;
use crate::common::{Gateway, PUBLISHING, Raw};
use crate::figures::metric;
use crate::members::{Came, Then, join, read_all};

const TOPICS: [&str; 4] = ["md.a", "md.b", "md.c", "md.d"];
/// On `/publish/<topic>`, each to one topic.
const PUBLISHERS: usize = 16;
const MESSAGES: usize = 1_000;
/// Over HTTP, each to all topics in turn.
const POSTERS: usize = 4;
const POSTS: usize = 150;
const SUBSCRIBERS: usize = 8;

/// What one subscriber got: of each topic the payloads, offsets from 1.
type Heard = BTreeMap<String, Vec<String>>;

#[test]
fn mailboxes_at_their_least_lose_nothing_and_keep_each_publishers_order() {
    let _alone = alone();
    let least = "[shards]\nmailbox_places = 64\n[limits]\npublish_credits = 1\npublish_wait_ms = 50\n";
    let gateway = Gateway::configured(&format!("{PUBLISHING}{least}"));
    let mut subscribers = join(&gateway, &format!("/stream?streams={}", TOPICS.join("/")), SUBSCRIBERS, None);
    let mut heard = vec![Heard::new(); SUBSCRIBERS];
    let posted = std::thread::scope(|scope| {
        for publisher in 0..PUBLISHERS {
            let gateway = &gateway;
            scope.spawn(move || {
                let mut raw = Raw::upgraded(gateway, &format!("/publish/{}", TOPICS[publisher % TOPICS.len()]));
                (0..MESSAGES).for_each(|number| raw.send_text(&format!("[{publisher},{number}]")));
                // Its end is read behind all that it sent.
                raw.send(crate::common::frame(0x88, &1000u16.to_be_bytes()));
                assert_eq!(raw.frame().expect("its close is answered").close_code(), Some(1000));
            });
        }
        let posters: Vec<_> = (PUBLISHERS..PUBLISHERS + POSTERS)
            .map(|poster| {
                let gateway = &gateway;
                scope.spawn(move || post(gateway, poster))
            })
            .collect();
        hear(&mut subscribers, &mut heard, PUBLISHERS * MESSAGES);
        posters.into_iter().flat_map(|poster| poster.join().expect("a poster ends")).collect::<Vec<_>>()
    });
    // Whatever was refused, what was given a position came, there.
    hear(&mut subscribers, &mut heard, PUBLISHERS * MESSAGES + posted.len());
    for (topic, offset, payload) in &posted {
        assert_eq!(&heard[0][*topic][offset - 1], payload, "{topic} {offset}");
    }
    assert!(heard.iter().all(|other| *other == heard[0]), "one order for all subscribers");
    check_order(&heard[0]);
    let [pauses, full] = ["publisher_pauses_total", "mailbox_full_total"].map(|name| metric(&gateway, name, ""));
    println!(
        "{} of {} posts were taken; publishers waited for credits {pauses} times, mailboxes were full {full} times",
        posted.len(),
        POSTERS * POSTS
    );
    assert!(pauses > 0, "the credits were never short");
    assert!(posted.len() >= POSTERS, "posts come through beside other publishers");
}

/// Posts one by one; gives those that were taken, each with topic, offset and payload.
fn post(gateway: &Gateway, poster: usize) -> Vec<(&'static str, usize, String)> {
    let mut taken = Vec::new();
    for number in 0..POSTS {
        let (topic, payload) = (TOPICS[number % TOPICS.len()], format!("[{poster},{number}]"));
        let answer = gateway.post(&format!("/api/topics/{topic}"), "application/json", &payload);
        match answer.status {
            200 => {
                let position: Value = serde_json::from_slice(&answer.body).expect("a position is JSON");
                let offset = position["offset"].as_u64().expect("a position has an offset");
                taken.push((topic, usize::try_from(offset).expect("it is small"), payload));
            }
            503 => {}
            _ => panic!("{answer:?}"),
        }
    }
    taken
}

/// Reads until each subscriber has at least so many publications.
fn hear(subscribers: &mut [crate::members::Member], heard: &mut [Heard], count: usize) {
    let counted = |heard: &Heard| heard.values().map(Vec::len).sum::<usize>();
    // Whoever has enough already is waited for at the next publication only.
    let mut missing: Vec<usize> = heard.iter().map(|heard| count.saturating_sub(counted(heard))).collect();
    if missing.iter().all(|&missing| missing == 0) {
        return;
    }
    read_all(subscribers, |index, came| {
        let Came::Frame(first, payload) = came else { panic!("subscriber {index} lost its connection") };
        if first == 0x89 {
            return Then::Read;
        }
        let message: Value = serde_json::from_slice(payload).expect("a publication is JSON");
        let payloads = heard[index].entry(message["stream"].as_str().expect("it names its topic").to_owned()).or_default();
        payloads.push(message["data"].to_string());
        assert_eq!(message["o"].as_u64(), Some(payloads.len() as u64), "offsets have no hole");
        missing[index] = missing[index].saturating_sub(1);
        if missing[index] == 0 { Then::Stop } else { Then::Read }
    });
}

/// Each publisher's messages are there, all of them, in the order sent; a poster's may have holes where it was refused.
fn check_order(heard: &Heard) {
    let mut newest: HashMap<(u64, &str), u64> = HashMap::new();
    let mut counts = [0; PUBLISHERS];
    for (topic, payloads) in heard {
        for payload in payloads {
            let [publisher, number]: [u64; 2] = serde_json::from_str(payload).expect("two numbers were sent");
            if let Some(before) = newest.insert((publisher, topic), number) {
                assert!(number > before, "{topic}: {publisher}'s {number} comes behind its {before}");
            }
            if let Some(count) = counts.get_mut(publisher as usize) {
                assert_eq!(*count, number, "{topic}: {publisher}'s messages have no hole");
                *count += 1;
            }
        }
    }
    assert_eq!(counts, [MESSAGES as u64; PUBLISHERS]);
}
