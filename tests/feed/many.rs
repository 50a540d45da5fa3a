//! Proof 5: two recorded feeds over some two thousand topics, most of which come while clients are there already. What a
//! client on patterns is given of each topic is what those are given who named it, a thousand in one SUBSCRIBE: the recording
//! from where it joined, without a hole or a repeat; on both shards. And a crowd on a pattern that matches all, with as many
//! topics as are asked for, within a bound of the gateway's memory.

use std::collections::{BTreeMap, HashMap};
use std::io::Read;
use std::path::PathBuf;
use std::time::Duration;

use flate2::read::GzDecoder;
use serde_json::Value;

use crate::common::figures::{mib, resident_bytes};
use crate::common::members::{self, Came, Member, Then};
use crate::common::{Client, Gateway, PUBLISHING, Recording, data_of, position_of, skipped};
use crate::played::{on_both_shards, publication};

const COINBASE: &str = "cf_COINBASE.ws.28.0.gz";
/// How long the recordings are.
const BINANCE_SECONDS: f64 = 344.8;
const COINBASE_SECONDS: f64 = 30.8;
/// Topics in one SUBSCRIBE.
const NAMES: usize = 1000;
/// What a client with several patterns asks for: some topics are matched by two of them, some by none.
const SEVERAL: [&str; 4] = ["md.*.61600.*", "md.trade.>", "cb.*.SKL-USD", "cb.l2update.*"];

#[test]
fn who_hears_patterns_gets_of_each_topic_what_those_get_who_named_it() {
    check_patterns("who_hears_patterns_gets_of_each_topic_what_those_get_who_named_it", 4);
}

#[test]
#[ignore = "the whole proof: a minute"]
fn who_hears_patterns_for_a_minute_gets_of_each_topic_what_those_get_who_named_it() {
    check_patterns("who_hears_patterns_for_a_minute_gets_of_each_topic_what_those_get_who_named_it", 60);
}

#[test]
fn a_pattern_of_four_thousand_topics_is_heard_by_fifty_clients() {
    check_crowd("a_pattern_of_four_thousand_topics_is_heard_by_fifty_clients", 4_000, 50, 48 << 20);
}

#[test]
#[ignore = "the whole proof: some minutes of two cores"]
fn a_pattern_of_a_hundred_thousand_topics_is_heard_by_a_thousand_clients() {
    check_crowd("a_pattern_of_a_hundred_thousand_topics_is_heard_by_a_thousand_clients", 100_000, 1_000, 500_000_000);
}

/// Trades of Binance by their price, and Coinbase's messages by type and product.
struct Recorded {
    binance: PathBuf,
    coinbase: PathBuf,
    /// By topic: payloads in order.
    topics: BTreeMap<String, Vec<String>>,
    /// Topics in the order in which they come, those of one recording first.
    names: Vec<String>,
}

impl Recorded {
    fn find(test: &str) -> Option<Recorded> {
        let recording = Recording::find(test)?;
        let coinbase = recording.file.with_file_name(COINBASE);
        let Ok(compressed) = std::fs::File::open(&coinbase) else {
            skipped(test, &format!("{} is not there", coinbase.display()));
            return None;
        };
        let mut recorded = Recorded { binance: recording.file, coinbase, topics: BTreeMap::new(), names: Vec::new() };
        for (_, message) in recording.messages.iter().filter(|(stream, _)| stream == "btcusdt@trade") {
            let data = data_of(message);
            let trade: Value = serde_json::from_str(data).expect("a recorded message is JSON");
            let price = trade["p"].as_str().expect("a trade has a price");
            recorded.add(format!("md.{}.{price}", trade["e"].as_str().expect("an event has a name")), data);
        }
        let mut text = String::new();
        GzDecoder::new(compressed).read_to_string(&mut text).expect("the recording can be unpacked");
        for message in text.lines().filter(|line| line.starts_with(|first: char| first.is_ascii_digit())) {
            let (_, message) = message.split_once(": ").expect("a time stands before it");
            let said: Value = serde_json::from_str(message).expect("a recorded message is JSON");
            if let (Some(kind), Some(product)) = (said["type"].as_str(), said["product_id"].as_str()) {
                recorded.add(format!("cb.{kind}.{product}"), message);
            }
        }
        Some(recorded)
    }

    fn add(&mut self, topic: String, payload: &str) {
        if !self.topics.contains_key(&topic) {
            self.names.push(topic.clone());
        }
        self.topics.entry(topic).or_default().push(payload.to_owned());
    }

    /// A configuration that plays both in so many seconds.
    fn config(&self, seconds: u32) -> String {
        let source = |file: &PathBuf, topic: &str, payload: &str, recorded_seconds: f64| {
            let speed = recorded_seconds / f64::from(seconds);
            format!(
                "[[source]]\nkind = \"replay\"\nfile = {file:?}\ntopic = {topic:?}\npayload = {payload:?}\nspeed = {speed:.3}\n\n"
            )
        };
        [
            source(&self.binance, "md.{/data/e}.{/data/p}", "/data", BINANCE_SECONDS),
            source(&self.coinbase, "cb.{/type}.{/product_id}", "", COINBASE_SECONDS),
        ]
        .concat()
    }

    /// How many publications a topic has.
    fn end(&self, topic: &str) -> u64 {
        self.topics[topic].len() as u64
    }

    /// How far each topic is: who names it is told.
    fn survey(&self, gateway: &Gateway) -> HashMap<&str, u64> {
        let mut offsets = HashMap::new();
        for names in self.names.chunks(NAMES) {
            let mut client = Client::connect(gateway, "/stream");
            offsets.extend(names.iter().map(String::as_str).zip(named(&mut client, names, "ts=1")));
        }
        offsets
    }
}

/// Subscribes to all at once; gives the offsets of the reply.
fn named(client: &mut Client, names: &[String], option: &str) -> Vec<u64> {
    let streams: Vec<String> = names.iter().map(|name| format!("{name};{option}")).collect();
    let streams: Vec<&str> = streams.iter().map(String::as_str).collect();
    let reply = client.subscribe(&streams);
    let entries = reply.as_array().expect("where an option stands the reply is a list");
    entries.iter().map(|entry| position_of(entry).1).collect()
}

/// NATS' rules, the naive way.
fn matches(pattern: &str, topic: &str) -> bool {
    let (mut levels, mut wanted) = (topic.split('.'), pattern.split('.'));
    loop {
        match (wanted.next(), levels.next()) {
            (Some(">"), Some(_)) | (None, None) => return true,
            (Some(level), Some(is)) if level == "*" || level == is => {}
            _ => return false,
        }
    }
}

fn check_patterns(test: &str, seconds: u32) {
    let Some(recorded) = Recorded::find(test) else { return };
    let gateway = Gateway::configured(&recorded.config(seconds));
    let patterns = |streams: &[&str]| {
        let with_last: Vec<String> = streams.iter().map(|pattern| format!("{pattern};last")).collect();
        let with_last: Vec<&str> = with_last.iter().map(String::as_str).collect();
        let before = recorded.survey(&gateway);
        let joined = on_both_shards(&gateway, &with_last);
        let after = recorded.survey(&gateway);
        let topics = recorded.names.iter().filter(|topic| streams.iter().any(|pattern| matches(pattern, topic)));
        // What is newest comes first, or the next one in its place.
        let first = |topic: &String| (topic.clone(), before[topic.as_str()].max(1)..=after[topic.as_str()] + 1);
        let firsts: HashMap<String, _> = topics.map(first).collect();
        joined.into_iter().map(|(client, _)| Follower::new(&recorded, client, firsts.clone())).collect::<Vec<_>>()
    };
    let by_name = |names: &[String]| {
        let mut client = Client::connect(&gateway, "/stream");
        let offsets = named(&mut client, names, "last");
        // Exactly the newest of the reply, or the first that comes at all.
        let firsts = names.iter().zip(offsets).map(|(name, offset)| (name.clone(), offset.max(1)..=offset.max(1)));
        Follower::new(&recorded, client, firsts.collect())
    };
    let (mut followers, mut publications) = (0, 0);
    std::thread::scope(|scope| {
        let mut threads = Vec::new();
        for _ in 0..2 {
            let named = recorded.names.chunks(NAMES).flat_map(|names| (0..2).map(|_| by_name(names)));
            let joined = named.chain(patterns(&[">"])).chain(patterns(&SEVERAL));
            threads.extend(joined.map(|follower| scope.spawn(|| follower.follow())));
            std::thread::sleep(Duration::from_secs(seconds.into()) / 3);
        }
        followers = threads.len();
        publications = threads.into_iter().map(|thread| thread.join().expect("a client got what was recorded")).sum::<u64>();
    });
    println!("{followers} clients on {} topics got {publications} publications", recorded.names.len());
    gateway.stop();
}

/// A client, by names or by patterns.
struct Follower<'a> {
    recorded: &'a Recorded,
    client: Client,
    /// Of each topic that it asked for, what may come first; then, what comes next.
    firsts: HashMap<String, std::ops::RangeInclusive<u64>>,
    /// Topics that are not at their end.
    going_on: usize,
}

impl<'a> Follower<'a> {
    fn new(recorded: &'a Recorded, client: Client, firsts: HashMap<String, std::ops::RangeInclusive<u64>>) -> Follower<'a> {
        Follower { recorded, client, going_on: firsts.len(), firsts }
    }

    /// Reads to the feeds' end; gives how many publications came.
    fn follow(mut self) -> u64 {
        let mut count = 0;
        while self.going_on > 0 {
            let text = self.client.text();
            let publication = publication(&text).unwrap_or_else(|| panic!("no publication: {text}"));
            let (topic, offset) = (publication.topic, publication.offset);
            let wanted = self.firsts.get_mut(topic).unwrap_or_else(|| panic!("{topic} was not asked for"));
            assert!(wanted.contains(&offset), "{topic}: {offset} in place of {wanted:?}");
            *wanted = offset + 1..=offset + 1;
            let payloads = &self.recorded.topics[topic];
            assert_eq!(payloads[offset as usize - 1], publication.payload, "{topic} {offset} is not what was recorded");
            self.going_on -= usize::from(offset == self.recorded.end(topic));
            count += 1;
        }
        self.client.assert_silent();
        count
    }
}

/// So many clients on `>` get one publication on each of so many topics, all of them new; the gateway never has more memory.
fn check_crowd(test: &str, topics: usize, clients: usize, memory_bytes_max: u64) {
    const AT_ONCE: usize = 1000;
    let Some(recording) = Recording::find(test) else { return };
    let payloads: Vec<&str> =
        recording.messages.iter().filter(|(topic, _)| topic == "btcusdt@trade").map(|(_, message)| data_of(message)).collect();
    let crowd = "[limits]\nhalf_open_per_address_max = 4096\nidle_ping_ms = 3600000\n";
    let gateway = Gateway::configured(&format!("{PUBLISHING}{crowd}"));
    let mut members = members::join(&gateway, "/stream?streams=%3E", clients, None);
    let before = resident_bytes(&gateway);
    let mut publisher = Client::connect(&gateway, "/publish");
    for first in (0..topics).step_by(AT_ONCE) {
        let bodies: Vec<(String, &str)> = (first..topics.min(first + AT_ONCE))
            .map(|number| (format!("{{\"stream\":\"md.trades.{number:06}-USD\","), payloads[number % payloads.len()]))
            .collect();
        bodies.iter().for_each(|(head, payload)| publisher.send(&format!("{head}\"data\":{payload}}}")));
        let messages: Vec<String> = bodies.iter().map(|(head, payload)| format!("{head}\"o\":1,\"data\":{payload}}}")).collect();
        take_each_once(&mut members, first, &messages);
    }
    let (after, most) = (resident_bytes(&gateway), gateway.memory_peak_bytes());
    println!(
        "{clients} clients, {topics} topics: {:.1} MiB before, {:.1} after, {:.1} at most",
        mib(before),
        mib(after),
        mib(most)
    );
    assert!(most <= memory_bytes_max, "{most} bytes were resident");
    drop((publisher, members));
    gateway.stop();
}

/// Each member gets each of these messages once, in whatever order; the topics' numbers begin with `first`.
fn take_each_once(members: &mut [Member], first: usize, messages: &[String]) {
    let mut came = vec![vec![false; messages.len()]; members.len()];
    let mut counts = vec![0; members.len()];
    let digits = "{\"stream\":\"md.trades.".len();
    members::read_all(members, |member, what| {
        let Came::Frame(_, payload) = what else { panic!("client {member} was closed") };
        let number = payload.get(digits..digits + 6).and_then(|digits| std::str::from_utf8(digits).ok()?.parse::<usize>().ok());
        let index = number.and_then(|number| number.checked_sub(first)).filter(|index| *index < messages.len());
        let index = index.unwrap_or_else(|| panic!("client {member}: {:?}", String::from_utf8_lossy(payload)));
        assert!(payload == messages[index].as_bytes(), "client {member}: {:?}", String::from_utf8_lossy(payload));
        assert!(!std::mem::replace(&mut came[member][index], true), "client {member}: {} came twice", messages[index]);
        counts[member] += 1;
        if counts[member] == messages.len() { Then::Stop } else { Then::Read }
    });
}
