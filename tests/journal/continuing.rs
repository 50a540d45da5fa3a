//! A topic that is served without its journal: under publishing that never pauses, on two shards, killed and started again at each
//! point of it. Needs a file system of its own, as `full.rs` does.
//!
//! The judge is one map over all runs and all listeners: a position names one publication.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::Value;
use tungstenite::Message;

use crate::common::{Client, Events, Gateway, PATIENCE};
use crate::full::SmallDisk;
use crate::{configuration, kill, position, publication_in, wait_for_words};

const KEYS: &str = "journal_full = \"continue\"\njournal_segment_bytes = 65536\njournal_keep_bytes = 131072\n[shards]\ncount = 2";
const TOPIC: &str = "j.a";

type Position = (String, u64);
/// Epoch, offset and payload, in the order heard.
type Heard = Vec<(Position, String)>;

/// What was ever told under which position.
#[derive(Default)]
struct Told(BTreeMap<Position, String>);

impl Told {
    fn add(&mut self, heard: Heard) {
        for (position, payload) in heard {
            let before = self.0.insert(position.clone(), payload.clone());
            assert!(before.is_none_or(|before| before == payload), "{position:?} was told twice, the second time of {payload}");
        }
    }

    fn newest(&self, epoch: &str) -> u64 {
        let of_epoch = self.0.keys().filter(|(other, _)| other == epoch);
        of_epoch.map(|(_, offset)| *offset).max().expect("something was heard of it")
    }
}

/// Judges what a combined connection says of one topic, from the reply to its subscription on.
struct Judge {
    epoch: String,
    /// None: whatever comes first.
    offset: Option<u64>,
    heard: Heard,
}

impl Judge {
    fn new(epoch: &str) -> Judge {
        Judge { epoch: epoch.to_owned(), offset: None, heard: Vec::new() }
    }

    fn hear(&mut self, text: &str) {
        if text.starts_with("{\"e\":") {
            let event: Value = serde_json::from_str(text).expect("an event is JSON");
            assert_eq!((event["e"].as_str(), event["s"].as_str()), (Some("epoch"), Some(TOPIC)), "{text}");
            (self.epoch, self.offset) = (event["epoch"].as_str().expect("an epoch").to_owned(), Some(0));
            return;
        }
        let (_, (offset, payload)) = publication_in(text);
        assert!(self.offset.is_none_or(|before| offset == before + 1), "{offset} behind {:?} of {}", self.offset, self.epoch);
        self.offset = Some(offset);
        self.heard.push(((self.epoch.clone(), offset), payload));
    }
}

/// Listens until the gateway is gone.
fn listen(gateway: &Gateway) -> JoinHandle<Heard> {
    let mut client = Client::connect(gateway, "/stream");
    let reply = client.subscribe(&[&format!("{TOPIC};last")]);
    let mut judge = Judge::new(reply[0]["epoch"].as_str().expect("an epoch"));
    std::thread::spawn(move || {
        while let Ok(message) = client.socket.read() {
            if let Message::Text(text) = message
                && !text.starts_with("{\"e\":\"serverShutdown\"")
            {
                judge.hear(&text);
            }
        }
        judge.heard
    })
}

/// The same over server-sent events, whose ids are positions.
fn listen_to_events(gateway: &Gateway) -> JoinHandle<Heard> {
    let mut events = Events::open(gateway, &format!("/sse?streams={TOPIC};last"), "");
    std::thread::spawn(move || {
        let reply: Value = serde_json::from_str(&events.data()).expect("a reply is JSON");
        let mut judge = Judge::new(reply["result"][0]["epoch"].as_str().expect("an epoch"));
        while let Some(data) = events.next() {
            if data.starts_with("{\"e\":\"serverShutdown\"") {
                continue;
            }
            judge.hear(&data);
            if let Some(((epoch, offset), _)) = judge.heard.last().filter(|_| data.starts_with("{\"stream\"")) {
                assert_eq!(events.last_id, format!("{epoch}:{offset}"));
            }
        }
        judge.heard
    })
}

/// What a raw connection hears, with events among the payloads.
fn listen_raw(gateway: &Gateway) -> JoinHandle<Vec<String>> {
    let mut client = Client::connect(gateway, "/ws");
    client.result("SET_PROPERTY", "[\"events\",true]");
    client.subscribe(&[TOPIC]);
    std::thread::spawn(move || {
        let mut heard = Vec::new();
        while let Ok(message) = client.socket.read() {
            if let Message::Text(text) = message {
                heard.push(text.as_str().to_owned());
            }
        }
        heard
    })
}

/// Publishes without a pause until it is dropped or the gateway is gone, each payload once in all runs.
struct Publisher {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Publisher {
    fn start(gateway: &Gateway, numbers: &Arc<AtomicU64>) -> Publisher {
        let (stop, numbers) = (Arc::new(AtomicBool::new(false)), numbers.clone());
        let mut client = Client::connect(gateway, &format!("/publish/{TOPIC}"));
        let stopped = stop.clone();
        let thread = std::thread::spawn(move || {
            while !stopped.load(Relaxed) {
                let number = numbers.fetch_add(1, Relaxed);
                let payload = format!("{{\"n\":{number},\"room\":\"{}\"}}", "x".repeat(200));
                if client.socket.send(Message::text(payload)).is_err() {
                    break;
                }
                std::thread::sleep(Duration::from_micros(300));
            }
        });
        Publisher { stop, thread: Some(thread) }
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        self.stop.store(true, Relaxed);
        self.thread.take().map(JoinHandle::join);
    }
}

/// One run of the gateway, with a publisher and listeners on both shards.
struct Run {
    gateway: Gateway,
    publisher: Publisher,
    listeners: Vec<JoinHandle<Heard>>,
    raw: JoinHandle<Vec<String>>,
}

impl Run {
    fn start(directory: &Path, numbers: &Arc<AtomicU64>) -> Run {
        let gateway = Gateway::configured(&configuration(directory, KEYS));
        let mut listeners: Vec<_> = (0..5).map(|_| listen(&gateway)).collect();
        listeners.push(listen_to_events(&gateway));
        let raw = listen_raw(&gateway);
        Run { publisher: Publisher::start(&gateway, numbers), gateway, listeners, raw }
    }

    fn wait(&self, what: &str, is_there: impl Fn(&Gateway) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !is_there(&self.gateway) {
            assert!(Instant::now() < deadline, "{what} does not come: {}", self.gateway.said());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn is_left(gateway: &Gateway) -> bool {
        let metrics = gateway.get("/metrics");
        let left = metrics.text().contains("\ntidegate_journals_left 1\n");
        assert!(left || metrics.text().contains("\ntidegate_journals_left 0\n"), "{}", metrics.text());
        left
    }

    fn wait_until_left(&self) {
        self.wait("a new epoch", Run::is_left);
        let before = self.gateway.counter("journal_unwritten");
        self.wait("more without a journal", |gateway| gateway.counter("journal_unwritten") > before + 200);
    }

    fn wait_for_written(&self) {
        let before = self.gateway.counter("journal_publications");
        self.wait("more in the journal", |gateway| gateway.counter("journal_publications") > before + 200);
    }

    /// Ends it; what its listeners heard is judged.
    fn end(self, told: &mut Told, end: fn(Gateway)) {
        let Run { gateway, publisher, listeners, raw } = self;
        end(gateway);
        drop(publisher);
        for listener in listeners {
            told.add(listener.join().expect("a listener judges"));
        }
        let raw = raw.join().expect("a listener judges");
        for pair in raw.windows(2).filter(|pair| pair[0].starts_with("{\"e\":\"epoch\"")) {
            let event: Value = serde_json::from_str(&pair[0]).expect("an event is JSON");
            let first = (event["epoch"].as_str().expect("an epoch").to_owned(), 1);
            // Where no other listener came so far, nobody knows.
            assert!(told.0.get(&first).is_none_or(|payload| *payload == pair[1]), "{pair:?}");
        }
    }
}

/// Takes all room that is left, to the last byte.
fn fill_up(disk: &SmallDisk) -> std::path::PathBuf {
    let path = disk.path().join("ballast");
    let mut file = File::create(&path).expect("a file needs no room");
    while file.write_all(&[0; 4096]).is_ok() {}
    path
}

/// Goes on after a position: all that was ever told behind it in its epoch comes, or nothing does.
fn resume(gateway: &Gateway, told: &Told, (epoch, offset): &Position) -> bool {
    let mut client = Client::connect(gateway, "/stream");
    let reply = client.subscribe(&[&format!("{TOPIC};since={epoch}:{offset}")]);
    let recovered = reply[0]["recovered"].as_bool().expect("it says whether");
    let newest = reply[0]["offset"].as_u64().expect("an offset");
    if !recovered {
        let text = client.text();
        let is_live = text.starts_with("{\"e\":\"epoch\"") || publication_in(&text).1.0 == newest + 1;
        assert!(is_live, "nothing old is sent: {text}");
        return false;
    }
    assert_eq!(reply[0]["epoch"].as_str(), Some(epoch.as_str()));
    assert!(newest >= told.newest(epoch), "what was told is there: {newest}");
    for expected in offset + 1..=newest {
        let (_, (offset, payload)) = publication_in(&client.text());
        assert_eq!(offset, expected);
        let before = told.0.get(&(epoch.clone(), offset));
        assert!(before.is_none_or(|before| *before == payload), "{epoch}:{offset} is {payload}, and was {before:?}");
    }
    true
}

#[test]
fn no_position_is_told_twice_and_no_hole_is_gone_over_whatever_happens_without_the_disk() {
    let Some(disk) = SmallDisk::mount() else { return };
    let (directory, numbers, mut told) = (disk.path().join("journal"), Arc::new(AtomicU64::new(0)), Told::default());

    // Killed while it is served without.
    let run = Run::start(&directory, &numbers);
    run.wait_for_written();
    let written = position(&run.gateway, TOPIC);
    let ballast = fill_up(&disk);
    run.wait_until_left();
    let unwritten = position(&run.gateway, TOPIC);
    assert_ne!(unwritten.0, written.0);
    wait_for_words(&run.gateway, "is served without it");
    assert_eq!(run.gateway.publish(TOPIC, "1").0, unwritten.0, "nobody is refused");
    run.end(&mut told, kill);
    let last_written = (written.0.clone(), told.newest(&written.0));

    // The disk is still full at the next start, and then it is not; killed behind that.
    let run = Run::start(&directory, &numbers);
    wait_for_words(&run.gateway, "was served without it");
    for old in [&written, &last_written, &unwritten] {
        assert!(!resume(&run.gateway, &told, old), "{old:?} is followed by a hole");
    }
    run.wait_until_left();
    let unwritten = position(&run.gateway, TOPIC);
    std::fs::remove_file(ballast).expect("the ballast can be removed");
    run.wait("the journal", |gateway| !Run::is_left(gateway));
    run.wait_for_written();
    let written = position(&run.gateway, TOPIC);
    assert_eq!(written.0, unwritten.0, "the journal goes on with the epoch that it finds");
    run.wait_for_written();
    run.end(&mut told, kill);

    // What came behind the hole is there, the rest is not.
    let run = Run::start(&directory, &numbers);
    assert!(resume(&run.gateway, &told, &(written.0.clone(), told.newest(&written.0))));
    assert!(resume(&run.gateway, &told, &written));
    assert!(!resume(&run.gateway, &told, &(written.0.clone(), 1)), "that is behind the hole");
    run.wait_for_written();
    assert_eq!(position(&run.gateway, TOPIC).0, written.0);

    // Stopped in order while it is served without.
    fill_up(&disk);
    run.wait_until_left();
    let unwritten = position(&run.gateway, TOPIC);
    assert_ne!(unwritten.0, written.0);
    run.end(&mut told, Gateway::stop);
    let run = Run::start(&directory, &numbers);
    assert!(!resume(&run.gateway, &told, &unwritten));
    assert!(!resume(&run.gateway, &told, &(written.0.clone(), told.newest(&written.0))));
    run.wait_until_left();
    run.end(&mut told, kill);
    let epochs: std::collections::BTreeSet<&String> = told.0.keys().map(|(epoch, _)| epoch).collect();
    assert_eq!(epochs.len(), 5, "the first, and one for each time without the disk");
}
