//! Proof 4: whoever joins a feed that plays gets a snapshot, the newest of each key, and then what is live, with no hole and no
//! repeat between; on both shards. A ring that holds less than the snapshot's oldest keys does not matter.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::common::{Client, Gateway, position_of};
use crate::played::{PRODUCTS, Played, TRADES, on_both_shards, publication};

const TOPICS: [&str; 2] = [TRADES, PRODUCTS];
/// How often clients join meanwhile.
const WAVES: u32 = 6;

#[test]
fn who_joins_a_playing_feed_gets_the_newest_of_each_key_and_then_all() {
    check_joining("who_joins_a_playing_feed_gets_the_newest_of_each_key_and_then_all", 4);
}

#[test]
#[ignore = "the whole proof: a minute"]
fn who_joins_a_feed_that_plays_for_a_minute_gets_the_newest_of_each_key_and_then_all() {
    check_joining("who_joins_a_feed_that_plays_for_a_minute_gets_the_newest_of_each_key_and_then_all", 60);
}

fn check_joining(test: &str, seconds: u32) {
    let Some(played) = Played::find(test) else { return };
    let gateway = Gateway::configured(&played.config(seconds, 8192));
    let streams = TOPICS.map(|name| format!("{name};last"));
    let streams = streams.each_ref().map(String::as_str);
    let join = || {
        on_both_shards(&gateway, &streams).into_iter().map(|(client, reply)| {
            let offsets = TOPICS.iter().enumerate().map(|(index, _)| position_of(&reply[index]).1).collect::<Vec<_>>();
            Joined::new(&played, client, &offsets)
        })
    };
    let (mut given, mut left_out) = (0, 0);
    std::thread::scope(|scope| {
        let mut threads = Vec::new();
        for _ in 0..WAVES {
            threads.extend(join().map(|joined| scope.spawn(|| joined.follow())));
            std::thread::sleep(Duration::from_secs(seconds.into()) / (WAVES + 1));
        }
        for thread in threads {
            let (given_now, left_out_now) = thread.join().expect("a subscriber got what was recorded");
            given += given_now;
            left_out += left_out_now;
        }
    });
    println!("{given} of snapshots; {left_out} of them were replaced before they were sent, and the newer one came");
    // Nothing is published any more: what comes is the newest of each key and nothing else.
    for joined in join() {
        assert_eq!(joined.follow().1, 0, "nothing takes a place any more");
    }
    gateway.stop();
}

/// A client that came later, with one entry a topic.
struct Joined<'a> {
    client: Client,
    topics: Vec<Topic<'a>>,
}

struct Topic<'a> {
    recorded: &'a crate::played::Topic,
    /// The reply's offset: what comes up to it is old.
    joined_at: u64,
    /// The newest of each key that must come yet.
    snapshot: BTreeSet<u64>,
    given: usize,
    position: u64,
    left_out: Vec<u64>,
}

impl<'a> Joined<'a> {
    fn new(played: &'a Played, client: Client, offsets: &[u64]) -> Joined<'a> {
        let topic = |(name, offset): (&&str, &u64)| {
            let recorded = played.topic(name);
            let snapshot = recorded.newest_of_each(*offset);
            Topic { recorded, joined_at: *offset, snapshot, given: 0, position: 0, left_out: Vec::new() }
        };
        Joined { client, topics: TOPICS.iter().zip(offsets).map(topic).collect() }
    }

    /// Reads until the feed's end; gives how many the snapshots had, and how many more were replaced before they were sent.
    fn follow(mut self) -> (usize, usize) {
        while self.topics.iter().any(|topic| topic.position < topic.recorded.end()) {
            let text = self.client.text();
            let publication = publication(&text).unwrap_or_else(|| panic!("no publication: {text}"));
            let topic = self.topics.iter_mut().find(|topic| topic.recorded.name == publication.topic);
            let topic = topic.unwrap_or_else(|| panic!("not asked for: {text}"));
            topic.recorded.check(publication.offset, publication.payload);
            topic.take(publication.offset);
        }
        self.client.assert_silent();
        self.topics.iter_mut().for_each(Topic::end);
        (self.topics.iter().map(|topic| topic.given).sum(), self.topics.iter().map(|topic| topic.left_out.len()).sum())
    }
}

impl Topic<'_> {
    fn take(&mut self, offset: u64) {
        let name = self.recorded.name;
        if offset <= self.joined_at {
            assert!(offset > self.position, "{name}: {offset} comes behind {}", self.position);
            assert!(self.snapshot.remove(&offset), "{name}: {offset} is not the newest of its key at {}", self.joined_at);
            self.given += 1;
        } else {
            self.end();
            let wanted = self.position.max(self.joined_at) + 1;
            assert_eq!(offset, wanted, "{name}: a hole or a repeat after the snapshot at {}", self.joined_at);
        }
        self.position = offset;
    }

    /// What the snapshot left out was replaced meanwhile; the newer one is live, where a hole would be found.
    fn end(&mut self) {
        for offset in std::mem::take(&mut self.snapshot) {
            let newer = self.recorded.replaced_by(offset);
            assert!(newer.is_some(), "{} {offset} is the newest of its key and did not come", self.recorded.name);
            self.left_out.push(offset);
        }
    }
}
