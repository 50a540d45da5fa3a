//! Ten thousand clients that do nothing, and ten thousand that say something at once.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;

use crate::alone;
use crate::common::{Gateway, PATIENCE, frame, is_epoll};
use crate::figures::{comes_to, metric, mib, resident_bytes};
use crate::members::{Came, Member, Then, join, read_all};

const CLIENTS: usize = 10_000;

/// Resident memory that an idle client with one subscription may take. Its rows have 256 bytes (asserted where they are
/// defined); the rest is for what the allocator keeps.
const IDLE_BYTES_MAX: u64 = 400;

/// The same of each further subscription, whose rows have 36.
const SUBSCRIPTION_BYTES_MAX: u64 = 64;

/// Topics of a client that hears many.
const TOPICS: usize = 51;

#[test]
fn an_idle_client_costs_its_rows_and_a_further_subscription_its_own() {
    let _alone = alone();
    let gateway = Gateway::configured("[shards]\nreceive_buffers = 64\n");
    // What the first clients bring into memory once and for all: receive buffers, code, the allocator's first pages.
    let first = join(&gateway, "/ws/idle", CLIENTS / 10, None);
    let before = resident_bytes(&gateway);
    let idle = join(&gateway, "/ws/idle", CLIENTS, None);
    let between = resident_bytes(&gateway);
    let each = between.saturating_sub(before) / CLIENTS as u64;
    println!("{CLIENTS} idle clients: {:.1} MiB resident before them, {each} bytes each", mib(before));

    let topics: Vec<String> = (0..TOPICS).map(|number| format!("idle.{number}")).collect();
    let members = CLIENTS / 10;
    let many = join(&gateway, &format!("/stream?streams={}", topics.join("/")), members, None);
    let grown = resident_bytes(&gateway).saturating_sub(between).saturating_sub(each * members as u64);
    let further = grown / (members * (TOPICS - 1)) as u64;
    println!("{members} clients with {TOPICS} subscriptions: {further} bytes for each but the first");

    comes_to(&gateway, "connections", "", (first.len() + idle.len() + many.len()) as i64);
    comes_to(&gateway, "subscriptions", "", (first.len() + idle.len() + many.len() * TOPICS) as i64);
    assert!(each <= IDLE_BYTES_MAX, "an idle client takes {each} bytes");
    assert!(further <= SUBSCRIPTION_BYTES_MAX, "a further subscription takes {further} bytes");
}

#[test]
fn a_subscriber_among_ten_thousand_idle_clients_gets_its_feed_whole() {
    let _alone = alone();
    let gateway = Gateway::configured("[[source]]\nkind = \"synthetic\"\nprefix = \"md\"\n");
    let topics = topics_of_the_feed(&gateway);
    let path = format!("/stream?streams={}", topics.join("/"));
    let mut subscriber = Member::join(&gateway, &path, None);
    let mut newest: BTreeMap<String, u64> = BTreeMap::new();
    read_feed(&mut subscriber, &mut newest, |newest| newest.len() == topics.len());

    let idle = join(&gateway, "/ws", CLIENTS, None);
    comes_to(&gateway, "connections", "", CLIENTS as i64 + 1);

    // Up to where the feed is now, without a hole since the first.
    let target = positions(&gateway);
    assert!(target.values().sum::<u64>() > newest.values().sum(), "the feed runs");
    read_feed(&mut subscriber, &mut newest, |newest| target.iter().all(|(topic, offset)| newest[topic] >= *offset));
    assert_eq!(metric(&gateway, "closes_total", ""), 0, "all are still there");
    drop(idle);
    comes_to(&gateway, "connections", "", 1);
}

#[test]
fn ten_thousand_clients_that_send_at_once_into_few_receive_buffers_are_all_answered() {
    let _alone = alone();
    // Also where a receive takes no more of a buffer than what came, that is room for some hundreds.
    let gateway = Gateway::configured("[shards]\nreceive_buffers = 16\nreceive_buffer_bytes = 512\n");
    let mut clients = join(&gateway, "/ws", CLIENTS, None);
    // At once indeed: the gateway finds all of them when it wakes.
    gateway.signal(Signal::STOP);
    for (number, client) in clients.iter_mut().enumerate() {
        let text = number.to_string();
        match number % 2 {
            0 => client.send(&frame(0x89, text.as_bytes())),
            _ => client.send(&frame(0x81, format!("{{\"method\":\"PING\",\"id\":{text}}}").as_bytes())),
        }
    }
    gateway.signal(Signal::CONT);
    let mut answered = 0;
    read_all(&mut clients, |number, came| {
        let Came::Frame(first, payload) = came else { panic!("client {number} lost its connection") };
        let payload = std::str::from_utf8(payload).expect("text was sent");
        match number % 2 {
            0 => assert_eq!((first, payload), (0x8A, number.to_string().as_str())),
            _ => assert!(payload.starts_with("{\"result\":{\"time\":") && payload.ends_with(&format!(",\"id\":{number}}}"))),
        }
        answered += 1;
        Then::Stop
    });
    assert_eq!(answered, CLIENTS);
    let shortages = metric(&gateway, "buffer_shortages_total", "");
    println!("{CLIENTS} clients that send at once: {shortages} found no buffer");
    // With epoll nobody is read from before there is a buffer.
    assert_eq!(shortages > 0, !is_epoll(), "there were buffers for all of them");
    assert_eq!(metric(&gateway, "connections", ""), CLIENTS as i64);
}

/// The topics once the feed has published on all of its twenty instruments.
fn topics_of_the_feed(gateway: &Gateway) -> Vec<String> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let topics: Vec<String> = positions(gateway).into_keys().collect();
        if topics.len() == 40 {
            return topics;
        }
        assert!(Instant::now() < deadline, "the feed has published on {topics:?} only");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Where each topic stands.
fn positions(gateway: &Gateway) -> BTreeMap<String, u64> {
    let answer: Value = serde_json::from_slice(&gateway.get("/api/topics").body).expect("the list is JSON");
    let topics = answer.as_array().expect("a list of topics");
    let position = |topic: &Value| Some((topic["topic"].as_str()?.to_owned(), topic["offset"].as_u64()?));
    topics.iter().map(|topic| position(topic).expect("a topic has a name and an offset")).collect()
}

/// Reads combined publications, each topic's without a hole after the first, until that is enough.
fn read_feed(subscriber: &mut Member, newest: &mut BTreeMap<String, u64>, enough: impl Fn(&BTreeMap<String, u64>) -> bool) {
    read_all(std::slice::from_mut(subscriber), |_, came| {
        let Came::Frame(first, payload) = came else { panic!("the subscriber lost its connection") };
        if first == 0x89 {
            return Then::Read;
        }
        assert_eq!(first, 0x81);
        let message: Value = serde_json::from_slice(payload).expect("a publication is JSON");
        let (topic, offset) = (message["stream"].as_str().expect("a topic"), message["o"].as_u64().expect("an offset"));
        if let Some(before) = newest.insert(topic.to_owned(), offset) {
            assert_eq!(offset, before + 1, "{topic}");
        }
        if enough(newest) { Then::Stop } else { Then::Read }
    });
}
