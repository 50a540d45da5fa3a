//! Proof 1: nobody misses anything in silence. Fifty foreign clients are cut at random bytes while a recorded feed plays at
//! twenty times its pace and another feed of binary publications goes on; each comes back with its last position, and what it
//! was given in all is the recording, without a hole or a repeat. Only where a topic's ring was too short, and then it is said.

use std::borrow::Cow;
use std::io::ErrorKind;
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::Value;
use tungstenite::client::ClientRequestBuilder;
use tungstenite::error::{Error, ProtocolError};
use tungstenite::{HandshakeError, Message, WebSocket};

use crate::common::{Client, Gateway, PATIENCE, PUBLISHING, Recording, data_of, position_of};
use crate::relay::{PLACES, Place, Relay};

/// The binary feed.
pub(crate) const BYTES: &str = "feed.bytes";

/// Clients at once.
const CLIENTS: usize = 50;

/// What a topic's ring holds, by the configuration below.
const RING: u64 = 100_000;
/// Too short for a client that was away for a moment.
const SHORT_RING: u64 = 16;
pub(crate) const SHORT: &str = "btcusdt@depth@0ms";

pub(crate) const FEED: &str = "
[[topic]]
pattern = \"btcusdt@depth@0ms\"
ring_publications = 16
ring_bytes = 67108864

[[topic]]
pattern = \">\"
ring_publications = 100000
ring_bytes = 134217728

[limits]
half_open_per_address_max = 4096

[[source]]
kind = \"replay\"
topic = \"{/stream}\"
payload = \"/data\"
speed = 20.0
loop = true
";

#[test]
fn five_hundred_cuts_leave_no_gap_in_silence() {
    check_cuts("five_hundred_cuts_leave_no_gap_in_silence", 500, 3);
}

#[test]
#[ignore = "the whole proof: half a minute of two cores"]
fn ten_thousand_cuts_leave_no_gap_in_silence() {
    check_cuts("ten_thousand_cuts_leave_no_gap_in_silence", 10_000, 1);
}

/// Each client is cut until there were so many cuts, and until it has seen the recording, or so small a part of it.
fn check_cuts(test: &str, cuts: usize, part: usize) {
    let Some(recording) = Recording::find(test) else { return };
    let feeds = Feeds::of(&recording);
    let file = format!("file = \"{}\"\n", recording.file.display());
    let gateway = Gateway::configured(&format!("{PUBLISHING}{FEED}{file}"));
    let relay = Relay::start(gateway.clients, cuts);
    relay.begin();
    let over = AtomicBool::new(false);
    let subscribers = std::thread::scope(|scope| {
        scope.spawn(|| publish_bytes(&gateway, &feeds, &over));
        let threads: Vec<_> = (0..CLIENTS).map(|_| scope.spawn(|| Subscriber::new(&feeds, part).follow(&relay))).collect();
        // All are joined before one's failure is told, so that the publisher ends too.
        let ended: Vec<_> = threads.into_iter().map(|thread| thread.join()).collect();
        over.store(true, Ordering::Relaxed);
        ended.into_iter().map(|ended| ended.expect("a subscriber got what was recorded")).collect::<Vec<_>>()
    });
    let places: Vec<_> = PLACES.iter().map(|place| format!("{place:?} {}", relay.made_in(*place))).collect();
    println!("{} cuts: {}", relay.made(), places.join(", "));
    let sum = |count: fn(&Topic) -> u64| subscribers.iter().flat_map(|subscriber| &subscriber.topics).map(count).sum::<u64>();
    let (seen, resumed, lost) = (sum(|topic| topic.seen), sum(|topic| topic.resumed), sum(|topic| topic.lost));
    println!("{seen} publications; went on without a gap {resumed} times, with one that was said {lost} times");
    assert_eq!(relay.made(), cuts);
    // Between two frames it is cut as rarely as chance would have it.
    for place in PLACES.into_iter().filter(|place| *place != Place::Border) {
        assert!(relay.made_in(place) > 0, "no cut was {place:?}");
    }
    assert!(resumed > lost && lost > 0, "both happened often");
    gateway.stop();
}

/// What was published, by topic and offset; the judge knows nothing else.
pub(crate) struct Feeds<'a> {
    recorded: Vec<(&'a str, Vec<&'a str>)>,
}

impl<'a> Feeds<'a> {
    pub(crate) fn of(recording: &'a Recording) -> Feeds<'a> {
        let payloads = |(topic, messages): (&'a str, Vec<&'a str>)| (topic, messages.into_iter().map(data_of).collect());
        Feeds { recorded: recording.by_topic().into_iter().map(payloads).collect() }
    }

    /// A topic's number, as [`Feeds::payload`] takes it.
    pub(crate) fn number(&self, topic: &str) -> usize {
        self.recorded.iter().position(|(name, _)| *name == topic).unwrap_or(self.recorded.len())
    }

    /// The payload of an offset: recordings are played in a loop.
    pub(crate) fn payload(&self, topic: usize, offset: u64) -> Cow<'a, [u8]> {
        let of = |topic: usize| {
            let payloads = &self.recorded[topic].1;
            payloads[((offset - 1) % payloads.len() as u64) as usize].as_bytes()
        };
        if topic < self.recorded.len() { of(topic).into() } else { [&offset.to_be_bytes()[..], of(0)].concat().into() }
    }
}

/// Publishes without a pause, until all is over.
pub(crate) fn publish_bytes(gateway: &Gateway, feeds: &Feeds<'_>, over: &AtomicBool) {
    let mut publisher = Client::connect(gateway, &format!("/publish/{BYTES}"));
    for offset in 1.. {
        if over.load(Ordering::Relaxed) {
            return;
        }
        publisher.send_binary(&feeds.payload(feeds.recorded.len(), offset));
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
}

/// A client, over all its connections.
struct Subscriber<'a> {
    feeds: &'a Feeds<'a>,
    topics: Vec<Topic<'a>>,
}

/// How far it is in one topic.
struct Topic<'a> {
    name: &'a str,
    ring: u64,
    /// Epoch and offset; none before the first reply.
    position: Option<(String, u64)>,
    /// What is to be seen at least.
    wanted: u64,
    seen: u64,
    /// How often it went on with nothing missed, and with a gap that was said.
    resumed: u64,
    lost: u64,
}

/// The connection ended in a way that a cut explains.
struct Cut;

impl<'a> Subscriber<'a> {
    fn new(feeds: &'a Feeds<'a>, part: usize) -> Subscriber<'a> {
        let topic = |(name, wanted): (&'a str, usize)| Topic {
            name,
            ring: if name == SHORT { SHORT_RING } else { RING },
            position: None,
            // Where gaps may be, less of it comes.
            wanted: if name == SHORT { 1 } else { wanted.div_ceil(part) as u64 },
            seen: 0,
            resumed: 0,
            lost: 0,
        };
        let names = feeds.recorded.iter().map(|(name, payloads)| (*name, payloads.len())).chain([(BYTES, 1)]);
        Subscriber { feeds, topics: names.map(topic).collect() }
    }

    /// Comes back until no cut is left and it has seen the whole recording.
    fn follow(mut self, relay: &Relay) -> Subscriber<'a> {
        while !self.is_done(relay) {
            if self.connect(relay).is_err() {
                // Away for a moment, as a client is.
                std::thread::sleep(std::time::Duration::from_millis(rand::random_range(0..20)));
            }
        }
        self
    }

    fn is_done(&self, relay: &Relay) -> bool {
        relay.is_done() && self.topics.iter().all(|topic| topic.seen >= topic.wanted)
    }

    /// One connection, from its handshake to its cut.
    fn connect(&mut self, relay: &Relay) -> Result<(), Cut> {
        let (by_url, last) = (rand::random(), rand::random());
        let streams: Vec<String> = self.topics.iter().map(|topic| topic.stream(last)).collect();
        let path = if by_url { format!("/stream?streams={}", streams.join("/")) } else { String::from("/stream") };
        let mut socket = shake_hands(relay, &path)?;
        if !by_url {
            let request = serde_json::json!({"method": "SUBSCRIBE", "params": streams, "id": 1});
            socket.send(Message::text(request.to_string())).map_err(cut)?;
        }
        let Message::Text(reply) = message(&mut socket)? else { panic!("the first message is the reply") };
        let reply: Value = serde_json::from_str(&reply).expect("a reply is JSON");
        let entries = reply["result"].as_array().unwrap_or_else(|| panic!("not a result: {reply}"));
        assert_eq!(entries.len(), self.topics.len());
        for (topic, entry) in self.topics.iter_mut().zip(entries) {
            topic.begin(entry, last);
        }
        while !self.is_done(relay) {
            match message(&mut socket)? {
                Message::Text(text) => self.take_text(&text),
                Message::Binary(bytes) => self.take_binary(&bytes),
                other => panic!("no publication: {other:?}"),
            }
        }
        Ok(())
    }

    /// `{"stream":"<topic>","o":<offset>,"data":<payload>}`.
    fn take_text(&mut self, text: &str) {
        let parts = text.strip_prefix("{\"stream\":\"").and_then(|rest| rest.strip_suffix('}')?.split_once("\",\"o\":"));
        let parts = parts.and_then(|(name, rest)| Some((name, rest.split_once(",\"data\":")?)));
        let Some((name, (offset, payload))) = parts else { panic!("no publication: {text}") };
        self.take(name, offset.parse().expect("an offset is a number"), payload.as_bytes());
    }

    /// `u8` 1, `u8` 0, `u16` length, topic, `u64` offset, payload.
    fn take_binary(&mut self, bytes: &[u8]) {
        let (head, rest) = bytes.split_at(4);
        let (name, rest) = rest.split_at(usize::from(u16::from_be_bytes([head[2], head[3]])));
        let (offset, payload) = rest.split_first_chunk::<8>().expect("an offset follows");
        assert_eq!(head[..2], [1, 0]);
        self.take(std::str::from_utf8(name).expect("a topic is UTF-8"), u64::from_be_bytes(*offset), payload);
    }

    fn take(&mut self, name: &str, offset: u64, payload: &[u8]) {
        let number =
            self.topics.iter().position(|topic| topic.name == name).unwrap_or_else(|| panic!("{name} was not asked for"));
        let topic = &mut self.topics[number];
        let (_, position) = topic.position.as_mut().expect("the reply comes before the first publication");
        assert_eq!(offset, *position + 1, "{name}: a hole or a repeat after {position}");
        assert!(self.feeds.payload(number, offset) == payload, "{name} {offset} is not what was published");
        *position = offset;
        topic.seen += 1;
    }
}

impl Topic<'_> {
    /// As it is asked for: first the newest, then from the position on.
    fn stream(&self, last: bool) -> String {
        match &self.position {
            None => format!("{};last", self.name),
            Some((epoch, offset)) => format!("{};since={epoch}:{offset}{}", self.name, if last { ";last" } else { "" }),
        }
    }

    /// What the reply says of it: where the count stands, and whether all that was missed will come.
    fn begin(&mut self, entry: &Value, last: bool) {
        assert_eq!(entry["stream"], self.name);
        let (epoch, newest) = position_of(entry);
        let Some((epoch_before, offset)) = &self.position else {
            // `last`: the newest is the first that comes.
            self.position = Some((epoch, newest.saturating_sub(1)));
            return;
        };
        let recovered = entry["recovered"].as_bool().unwrap_or_else(|| panic!("`since` is answered: {entry}"));
        if epoch == *epoch_before {
            let missed = newest.checked_sub(*offset).unwrap_or_else(|| panic!("{offset} was given already: {entry}"));
            assert_eq!(recovered, missed <= self.ring, "{}: {missed} were missed, the ring holds {}", self.name, self.ring);
        } else {
            // A topic is forgotten with its last subscriber, but not once it was published on.
            assert!(*offset == 0 && !recovered, "{}: nothing was restarted after {offset}: {entry}", self.name);
        }
        if recovered {
            self.resumed += 1;
        } else {
            self.lost += 1;
            self.position = Some((epoch, newest.saturating_sub(last.into())));
        }
    }
}

fn shake_hands(relay: &Relay, path: &str) -> Result<WebSocket<TcpStream>, Cut> {
    let stream = TcpStream::connect(relay.address).map_err(|_| Cut)?;
    stream.set_read_timeout(Some(PATIENCE)).expect("a socket takes a time-out");
    let uri = format!("ws://{}{path}", relay.address).parse().expect("a stream is a part of a URL");
    match tungstenite::client(ClientRequestBuilder::new(uri), stream) {
        Ok((socket, _)) => Ok(socket),
        Err(HandshakeError::Failure(error)) => Err(cut(error)),
        Err(HandshakeError::Interrupted(_)) => panic!("no answer came for {PATIENCE:?}"),
    }
}

/// The next message that is no control frame.
fn message(socket: &mut WebSocket<TcpStream>) -> Result<Message, Cut> {
    loop {
        match socket.read().map_err(cut)? {
            Message::Ping(_) | Message::Pong(_) => {}
            // Too slow, on a machine that has other work: a subscriber comes back as after a cut.
            Message::Close(Some(frame)) if u16::from(frame.code) == 1013 => return Err(Cut),
            Message::Close(frame) => panic!("closed: {frame:?}"),
            message => return Ok(message),
        }
    }
}

/// A cut is a reset or an early end and nothing else.
fn cut(error: Error) -> Cut {
    match error {
        Error::Io(error) if !matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => Cut,
        Error::Protocol(ProtocolError::ResetWithoutClosingHandshake | ProtocolError::HandshakeIncomplete) => Cut,
        error => panic!("no cut does this: {error:?}"),
    }
}
