//! The replay proof: what was recorded is what each subscriber gets, byte for byte, whoever comes and goes meanwhile.

use std::collections::BTreeMap;
use std::rc::Rc;

use tempfile::TempDir;

use crate::common::{Client, Gateway, Recording, data_of};
use crate::crowd::Crowd;

/// What a subscriber must see of a recording that is played in a loop: offset `o` of a topic bears the payload
/// `(o - 1) modulo length` of that topic, and offsets follow one another.
pub(crate) struct Expected<'a> {
    topics: BTreeMap<&'a str, Topic<'a>>,
}

#[derive(Clone)]
struct Topic<'a> {
    /// Shared by all readers.
    payloads: Rc<[&'a str]>,
    /// The offset that comes next; `None` before the first.
    next: Option<u64>,
    seen: usize,
}

impl<'a> Expected<'a> {
    /// Of a recording whose payload is the message's `data`.
    pub(crate) fn new(recording: &'a Recording) -> Expected<'a> {
        let topics = recording.by_topic().into_iter().map(|(name, messages)| {
            let payloads = messages.into_iter().map(data_of).collect();
            (name, Topic { payloads, next: None, seen: 0 })
        });
        Expected { topics: topics.collect() }
    }

    /// Holds one combined message to it.
    pub(crate) fn check_combined(&mut self, message: &[u8]) {
        let shown = || String::from_utf8_lossy(&message[..message.len().min(300)]);
        let not_one = || -> ! { panic!("not a publication: {}", shown()) };
        // By bytes, and by single ones where something is looked for: there are a thousand readers, and one core that reads for them.
        let rest = message.strip_prefix(b"{\"stream\":\"").and_then(|rest| rest.strip_suffix(b"}")).unwrap_or_else(|| not_one());
        let (name, rest) = cut(rest, b'"').unwrap_or_else(|| not_one());
        let (offset, rest) = rest.strip_prefix(b",\"o\":").and_then(|rest| cut(rest, b',')).unwrap_or_else(|| not_one());
        let payload = rest.strip_prefix(b"\"data\":").unwrap_or_else(|| panic!("no data in {}", shown()));
        let name = std::str::from_utf8(name).unwrap_or_else(|_| not_one());
        let offset = std::str::from_utf8(offset).ok().and_then(|offset| offset.parse().ok());
        let offset: u64 = offset.unwrap_or_else(|| panic!("no offset in {}", shown()));
        let topic = self.topics.get_mut(name).unwrap_or_else(|| panic!("no such topic was recorded: {}", shown()));
        let next = topic.next.unwrap_or(offset);
        assert_eq!(offset, next, "{name}: offset {next} was to come: {}", shown());
        let index = usize::try_from((offset - 1) % topic.payloads.len() as u64).expect("it is an index");
        assert!(payload == topic.payloads[index].as_bytes(), "{name} {offset}: not what was recorded: {}", shown());
        topic.next = Some(offset + 1);
        topic.seen += 1;
    }

    /// A reader of its own with the same payloads, which has seen nothing.
    pub(crate) fn afresh(&self) -> Expected<'a> {
        let fresh =
            |(name, topic): (&&'a str, &Topic<'a>)| (*name, Topic { payloads: Rc::clone(&topic.payloads), next: None, seen: 0 });
        Expected { topics: self.topics.iter().map(fresh).collect() }
    }

    /// True when every topic was seen whole at least once.
    pub(crate) fn is_complete(&self) -> bool {
        self.topics.values().all(|topic| topic.seen >= topic.payloads.len())
    }

    /// Topics of which something came.
    pub(crate) fn topics_seen(&self) -> Vec<&'a str> {
        self.topics.iter().filter(|(_, topic)| topic.seen > 0).map(|(name, _)| *name).collect()
    }
}

/// What stands before a byte and what behind it, where it is first.
fn cut(bytes: &[u8], at: u8) -> Option<(&[u8], &[u8])> {
    let place = memchr::memchr(at, bytes)?;
    Some((&bytes[..place], &bytes[place + 1..]))
}

const STREAMS: &str = "/stream?streams=btcusdt@trade/btcusdt@bookTicker/btcusdt@depth@0ms";

/// A gateway that plays a recording in a loop, as fast as its subscribers take it. One thread reads for a thousand of them, so a busy machine
/// has their pongs late.
fn playing(recording: &Recording) -> Gateway {
    let file = recording.file.display();
    Gateway::configured(&format!(
        "[[source]]\nkind = \"replay\"\nfile = \"{file}\"\ntopic = \"{{/stream}}\"\npayload = \"/data\"\nspeed = \"max\"\nloop = true\n[limits]\n\
         pong_timeout_ms = 60000\n"
    ))
}

/// How many messages of the recording a thousand subscribers get. All of it is 28 GB, a minute on two cores;
/// `TIDEGATE_REPLAY_MESSAGES` makes it shorter.
fn messages_for_a_thousand() -> usize {
    let count = std::env::var("TIDEGATE_REPLAY_MESSAGES").ok();
    count.map_or(usize::MAX, |count| count.parse().expect("TIDEGATE_REPLAY_MESSAGES is a number of messages"))
}

#[test]
fn a_thousand_subscribers_on_two_shards_get_the_recording_while_a_dozen_join_and_leave() {
    let Some(recording) = Recording::find("a_thousand_subscribers_on_two_shards_get_the_recording") else { return };
    let directory = TempDir::new().expect("a temporary directory can be made");
    let share = recording.share(messages_for_a_thousand(), &directory.path().join("share"));
    let gateway = playing(&share);
    let mut crowd = Crowd::new(&gateway, STREAMS, Expected::new(&share));
    crowd.join(1000);
    for round in 0.. {
        crowd.read_for_a_while();
        match round {
            0..12 => crowd.visitor_joins(),
            12..24 => crowd.oldest_visitor_leaves(),
            _ if crowd.is_complete() => break,
            _ => {}
        }
    }
    drop(crowd);
    gateway.stop();
}

#[test]
fn at_its_own_pace_the_recording_comes_in_order() {
    let Some(recording) = Recording::find("at_its_own_pace_the_recording_comes_in_order") else { return };
    let gateway = Gateway::demo(&["--shards", "2", "--replay", &recording.file.to_string_lossy(), "--speed", "1.0"]);
    let expected = Expected::new(&recording);
    let mut clients: Vec<_> = (0..8).map(|_| (Client::connect(&gateway, STREAMS), expected.afresh())).collect();
    for _ in 0..400 {
        for (client, expected) in &mut clients {
            expected.check_combined(client.text().as_bytes());
        }
    }
    gateway.stop();
}
