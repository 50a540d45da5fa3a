//! Proof 6: a dead feed is told from a quiet one. While a recorded feed plays, each topic that sent nothing has one heartbeat in
//! each beat, with the position that the client has, and a topic that spoke has none. A feed that is cut off, or falls silent
//! for longer than it may, is `stale` before anything else is said of it, and `fresh` before it goes on. Order and counts, no time.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::mpsc;

use serde_json::{Value, json};

use crate::common::{Client, Gateway, PATIENCE, PUBLISHING, Recording, data_of, position_of};
use crate::played::{on_both_shards, publication};
use crate::upstream::exchange::{Exchange, Live, binance, futures_source, wait_until};

/// Topics on which nobody publishes any more.
const QUIET: usize = 90;
/// Topics of the recorded feed.
const PLAYED: [&str; 3] = ["btcusdt@trade", "btcusdt@bookTicker", "btcusdt@depth@0ms"];

#[test]
fn while_a_feed_plays_each_quiet_topic_has_one_heartbeat_a_beat_with_its_position() {
    check_beats("while_a_feed_plays_each_quiet_topic_has_one_heartbeat_a_beat_with_its_position", 4);
}

#[test]
#[ignore = "the whole proof: a minute"]
fn for_a_minute_each_quiet_topic_has_one_heartbeat_a_beat_with_its_position() {
    check_beats("for_a_minute_each_quiet_topic_has_one_heartbeat_a_beat_with_its_position", 60);
}

fn check_beats(test: &str, beats: usize) {
    let Some(recording) = Recording::find(test) else { return };
    // At its own pace and in a loop: some of its topics have seconds without a message.
    let source = format!("[[source]]\nkind = \"replay\"\nfile = {:?}\nloop = true\n", recording.file);
    let gateway = Gateway::configured(&format!("{PUBLISHING}{source}"));
    let quiet: Vec<String> = (0..QUIET).map(|number| format!("quiet.{number}")).collect();
    // Half of them were published on, once or more.
    for (number, topic) in quiet.iter().enumerate().step_by(2) {
        (0..=number % 5).for_each(|_| drop(gateway.publish(topic, "1")));
    }
    let streams: Vec<String> = quiet.iter().map(String::as_str).chain(PLAYED).map(|topic| format!("{topic};ts=1")).collect();
    let streams: Vec<&str> = streams.iter().map(String::as_str).collect();
    let listeners = on_both_shards(&gateway, &streams);
    let count = listeners.len() as u64;
    let told: u64 = std::thread::scope(|scope| {
        let listen = |(client, reply)| scope.spawn(move || Listener::new(client, &reply).listen(beats));
        let threads: Vec<_> = listeners.into_iter().map(listen).collect();
        threads.into_iter().map(|thread| thread.join().expect("a client heard what the protocol says")).sum()
    });
    assert!(told >= count * (beats * QUIET) as u64, "{told} heartbeats");
    assert!(gateway.counter("heartbeats") >= told, "all of them are counted");
    println!("{count} clients heard {told} heartbeats in {beats} beats");
    gateway.stop();
}

/// A client with the property.
struct Listener {
    client: Client,
    /// By topic, as the client has them.
    positions: BTreeMap<String, (String, u64)>,
    /// Quiet topics that were told in this beat.
    told: BTreeSet<String>,
    /// Those that were told when the beat's last one had come, and of which something came well behind it.
    spoke: BTreeSet<String>,
    /// PINGs answered since the beat. Behind the second, all that comes was published after the beat: what an answer
    /// overtakes, as answers go before publications, goes before the next one.
    answered: usize,
}

impl Listener {
    fn new(mut client: Client, reply: &Value) -> Listener {
        let entries = reply.as_array().expect("where an option stands the reply is a list").iter();
        let position = |entry: &Value| (entry["stream"].as_str().expect("a topic is text").to_owned(), position_of(entry));
        let positions = entries.map(position).collect();
        client.send(&json!({"method": "SET_PROPERTY", "params": ["heartbeat", true], "id": "on"}).to_string());
        Listener { client, positions, told: BTreeSet::new(), spoke: BTreeSet::new(), answered: 0 }
    }

    /// Hears so many whole beats; gives how many heartbeats there were.
    fn listen(mut self, beats: usize) -> u64 {
        let (mut count, mut whole) = (0, 0);
        while whole < beats {
            let text = self.client.text();
            if let Some(publication) = publication(&text) {
                let (_, offset) = self.positions.get_mut(publication.topic).expect("it was asked for");
                assert_eq!(publication.offset, *offset + 1, "{}: a hole or a repeat", publication.topic);
                *offset = publication.offset;
                if self.answered == 2 {
                    self.spoke.insert(publication.topic.to_owned());
                }
                continue;
            }
            let said: Value = serde_json::from_str(&text).expect("replies and events are JSON");
            match (said["e"].as_str(), said["id"].as_str()) {
                (Some("heartbeat"), _) => {
                    count += 1;
                    whole += usize::from(self.take(&said));
                }
                (None, Some("ping")) => {
                    self.answered += 1;
                    if self.answered < 2 {
                        self.ping();
                    }
                }
                (None, Some("on")) => assert!(said["result"].is_null() && said.get("error").is_none(), "{text}"),
                _ => panic!("nothing else happened: {text}"),
            }
        }
        count
    }

    /// A heartbeat; true where the beat has all quiet topics now.
    fn take(&mut self, said: &Value) -> bool {
        let topic = said["s"].as_str().expect("a topic is text");
        assert_eq!(self.positions.get(topic), Some(&position_of_event(said)), "{topic} is where the client has it");
        assert!(!self.spoke.contains(topic), "{topic} sent something since the last beat");
        if PLAYED.contains(&topic) {
            return false;
        }
        // A topic's second heartbeat comes when all others had their first.
        assert!(self.told.insert(topic.to_owned()), "{topic} has two in a beat: {said}");
        let whole = self.told.len() == QUIET;
        if whole {
            self.told.clear();
            self.spoke.clear();
            self.answered = 0;
            self.ping();
        }
        whole
    }

    fn ping(&mut self) {
        self.client.send("{\"method\":\"PING\",\"id\":\"ping\"}");
    }
}

/// Epoch and offset of a heartbeat.
fn position_of_event(said: &Value) -> (String, u64) {
    position_of(&json!({"epoch": said["epoch"], "offset": said["o"]}))
}

#[test]
fn a_recorded_feed_that_is_cut_off_is_stale_until_it_is_back() {
    check_stale("a_recorded_feed_that_is_cut_off_is_stale_until_it_is_back", "", |exchange| {
        exchange.refuse(usize::MAX);
        // Somewhere in the messages of `AT_ONCE`.
        exchange.cut_after(rand::random_range(1..100_000));
    });
}

#[test]
fn a_recorded_feed_that_falls_silent_is_stale_until_it_goes_on() {
    // Its exchange answers no pings while it waits for the feed to go on.
    check_stale("a_recorded_feed_that_falls_silent_is_stale_until_it_goes_on", "silent_timeout_ms = 500\n", |_| {});
}

/// Messages that happen at once, before the feed is gone and while it goes.
const AT_ONCE: usize = 2_000;

fn check_stale(test: &str, more: &str, go: fn(&Exchange)) {
    let Some(recording) = Recording::find(test) else { return };
    let live = Live::new(recording.messages.iter().map(|(_, message)| message.clone()).collect());
    let exchange = Exchange::new(&live, binance);
    // Another feed, which is there all the time.
    let other = "[[source]]\nkind = \"synthetic\"\nprefix = \"other\"\n";
    let gateway = Gateway::configured(&format!("{}{other}", futures_source(&[exchange.url()], more)));
    let streams = PLAYED.into_iter().chain(["other.bbo.BTC-USD"]).collect::<Vec<_>>();
    let streams: Vec<String> = streams.iter().map(|topic| format!("{topic};ts=1")).collect();
    let streams: Vec<&str> = streams.iter().map(String::as_str).collect();
    let listeners: Vec<Client> = on_both_shards(&gateway, &streams).into_iter().map(|(client, _)| client).collect();
    let (stale, told_stale) = mpsc::channel();
    let recording = &recording;
    std::thread::scope(|scope| {
        let follow = |client| {
            let stale = stale.clone();
            scope.spawn(move || {
                let mut watcher = Watcher::new(client, recording);
                watcher.read_until(|feed| feed.stale > feed.fresh);
                stale.send(()).expect("the test waits for it");
                watcher.read_until(|feed| feed.fresh > 0 && feed.came > feed.came_when_fresh);
            })
        };
        let threads: Vec<_> = listeners.into_iter().map(follow).collect();
        exchange.wait_for_subscription(1);
        live.go_on(AT_ONCE);
        // Who published nothing yet is not stale.
        wait_until("all of it came", || gateway.counter("upstream_messages") > AT_ONCE as u64);
        go(&exchange);
        live.go_on(AT_ONCE);
        threads.iter().for_each(|_| told_stale.recv_timeout(PATIENCE).expect("each client is told"));
        exchange.refuse(0);
        exchange.wait_for_subscription(2);
        live.play();
        threads.into_iter().for_each(|thread| thread.join().expect("a client heard what the protocol says"));
    });
    gateway.stop();
}

/// A client that is told of a feed.
struct Watcher<'a> {
    client: Client,
    feeds: BTreeMap<&'a str, Feed<'a>>,
}

/// A topic of the feed, as its client sees it.
#[derive(Default)]
struct Feed<'a> {
    recorded: Vec<&'a str>,
    /// How often it was told to be gone, and to be back.
    stale: usize,
    /// How many of it happened before it was gone.
    before: usize,
    fresh: usize,
    came: usize,
    came_when_fresh: usize,
    /// The next one in the recording.
    next: usize,
}

impl<'a> Watcher<'a> {
    fn new(client: Client, recording: &'a Recording) -> Watcher<'a> {
        let feed = |topic| {
            let messages = recording.messages.iter();
            let before = messages.clone().take(2 * AT_ONCE).filter(|(name, _)| name == topic).count();
            let recorded = messages.filter(|(name, _)| name == topic).map(|(_, message)| data_of(message)).collect();
            (topic, Feed { recorded, before, ..Feed::default() })
        };
        Watcher { client, feeds: PLAYED.into_iter().map(feed).collect() }
    }

    fn read_until(&mut self, done: impl Fn(&Feed<'_>) -> bool) {
        while !self.feeds.values().all(&done) {
            let text = self.client.text();
            if let Some(publication) = publication(&text) {
                if let Some(feed) = self.feeds.get_mut(publication.topic) {
                    feed.take(publication.payload);
                }
                continue;
            }
            let said: Value = serde_json::from_str(&text).expect("events are JSON");
            let topic = said["s"].as_str().unwrap_or_else(|| panic!("an event of a topic: {text}"));
            let feed = self.feeds.get_mut(topic).unwrap_or_else(|| panic!("the other feed is there all the time: {text}"));
            match said["e"].as_str() {
                Some("stale") => feed.stale += 1,
                Some("fresh") => {
                    feed.fresh += 1;
                    feed.came_when_fresh = feed.came;
                }
                Some("sourceGap") => {}
                _ => panic!("nothing else happened: {text}"),
            }
            let turns = feed.stale - feed.fresh.min(feed.stale);
            assert!(turns <= 1 && feed.fresh <= feed.stale, "{topic} is told in turns: {text}");
        }
    }
}

impl Feed<'_> {
    /// What comes is the recording's; what was lost with a connection is left out.
    fn take(&mut self, payload: &str) {
        let behind = self.recorded[self.next..].iter().position(|recorded| *recorded == payload);
        self.next += 1 + behind.unwrap_or_else(|| panic!("not in the recording behind {}: {payload}", self.next));
        self.came += 1;
        // An event goes before what was published earlier and not sent yet.
        let is_fresh = self.fresh > 0 && self.stale == self.fresh;
        assert!(is_fresh || self.next <= self.before, "it went on and is not fresh: {payload}");
    }
}
