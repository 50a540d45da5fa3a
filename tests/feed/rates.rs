//! Proof 3: subscribers of `rate=100ms` on both shards get, while a feed plays, values with their own offsets, byte for byte what
//! was recorded there, of each key at most one an interval; and in the end the last one of each key.

use std::collections::HashMap;
use std::time::Instant;

use serde_json::Value;

use crate::common::{Client, Gateway, position_of};
use crate::played::{PRODUCTS, Played, QUOTES, on_both_shards, publication};

const TOPICS: [&str; 2] = [QUOTES, PRODUCTS];
const STREAMS: [&str; 2] = ["btcusdt@bookTicker;rate=100ms;last", "cb;rate=100ms;last"];
const RATE_MS: u128 = 100;

#[test]
fn a_rate_variant_gives_what_was_recorded_thinned_out_and_its_last_values() {
    check_rates("a_rate_variant_gives_what_was_recorded_thinned_out_and_its_last_values", 4);
}

#[test]
#[ignore = "the whole proof: a minute"]
fn a_rate_variant_of_a_minute_gives_what_was_recorded_thinned_out_and_its_last_values() {
    check_rates("a_rate_variant_of_a_minute_gives_what_was_recorded_thinned_out_and_its_last_values", 60);
}

fn check_rates(test: &str, seconds: u32) {
    let Some(played) = Played::find(test) else { return };
    let gateway = Gateway::configured(&played.config(seconds, 16384));
    let began = Instant::now();
    let subscribers: Vec<_> = (0..3).flat_map(|_| on_both_shards(&gateway, &STREAMS)).collect();
    let count = subscribers.len();
    let values: usize = std::thread::scope(|scope| {
        let follow = |(client, reply)| scope.spawn(|| follow(&played, client, reply, began));
        let threads: Vec<_> = subscribers.into_iter().map(follow).collect();
        threads.into_iter().map(|thread| thread.join().expect("a subscriber got what was recorded")).sum()
    });
    let published: u64 = TOPICS.iter().map(|name| played.topic(name).end()).sum();
    println!("{count} subscribers got {} values each of {published} publications", values / count);
    gateway.stop();
}

/// One subscriber, up to the last offsets; gives how many values came.
fn follow(played: &Played, mut client: Client, reply: Value, began: Instant) -> usize {
    let mut seen = [0, 1].map(|index| Seen::new(played, TOPICS[index], position_of(&reply[index]).1));
    while seen.iter().any(|topic| topic.position < topic.recorded.end()) {
        let text = client.text();
        let publication = publication(&text).unwrap_or_else(|| panic!("no publication: {text}"));
        let topic = seen.iter_mut().find(|topic| topic.recorded.name == publication.topic).expect("it was asked for");
        topic.recorded.check(publication.offset, publication.payload);
        topic.take(publication.offset);
    }
    // More than intervals that there were is too much of a key, whatever the machine's other work: one interval may have
    // begun before the subscription, one ends after the feed. The snapshot is told apart by its offsets.
    let intervals = began.elapsed().as_millis() / RATE_MS + 2;
    for topic in &seen {
        topic.check_end(intervals);
    }
    client.assert_silent();
    seen.iter().map(|topic| topic.values).sum()
}

/// What came of a topic.
struct Seen<'a> {
    recorded: &'a crate::played::Topic,
    /// The reply's offset.
    joined_at: u64,
    position: u64,
    values: usize,
    /// By the last offset of a key, which names it: how many values came, and the newest.
    keys: HashMap<u64, (u128, u64)>,
    /// Of each offset the last one of its key.
    last_of: Vec<u64>,
}

impl<'a> Seen<'a> {
    fn new(played: &'a Played, name: &str, joined_at: u64) -> Seen<'a> {
        let recorded = played.topic(name);
        let mut last_of = vec![0; recorded.end() as usize + 1];
        for offset in (1..=recorded.end()).rev() {
            last_of[offset as usize] = recorded.replaced_by(offset).map_or(offset, |next| last_of[next as usize]);
        }
        Seen { recorded, joined_at, position: 0, values: 0, keys: HashMap::new(), last_of }
    }

    fn take(&mut self, offset: u64) {
        let name = self.recorded.name;
        assert!(offset > self.position, "{name}: {offset} comes behind {}", self.position);
        self.position = offset;
        self.values += 1;
        let key = self.keys.entry(self.last_of[offset as usize]).or_default();
        key.0 += u128::from(offset > self.joined_at);
        key.1 = offset;
    }

    fn check_end(&self, intervals: u128) {
        let name = self.recorded.name;
        for last in self.recorded.newest_of_each(self.recorded.end()) {
            let (count, newest) = self.keys.get(&last).unwrap_or_else(|| panic!("{name}: no value of {last}'s key came"));
            assert_eq!(*newest, last, "{name}: the last value of a key");
            assert!(*count <= intervals, "{name}: {count} values of one key in {intervals} intervals");
        }
    }
}
