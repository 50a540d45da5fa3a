//! The clients of `docs/clients/`, and `tidegate tail`, against cuts: each gets the whole feed, and says where it could not.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Lines};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::Value;

use crate::common::{Events, Gateway, PUBLISHING, Recording, skipped};
use crate::relay::Relay;
use crate::resume::{BYTES, FEED, Feeds, SHORT, publish_bytes};

#[rustfmt::skip]
#[path = "../../docs/clients/stream.rs"]
#[allow(unreachable_pub, missing_docs, reason = "it is written to be copied")]
mod stream;

/// What is asked for: whose ring is long, whose is too short, and bytes.
const STREAMS: [&str; 3] = ["btcusdt@trade;last", "btcusdt@depth@0ms;last", "feed.bytes"];

/// Cuts of all clients of one kind.
const CUTS: usize = 40;

/// Holds one client to what was published.
struct Judge<'a> {
    feeds: &'a Feeds<'a>,
    /// By topic, what has to come next; none before the first.
    next: BTreeMap<String, u64>,
    seen: u64,
    gaps: u64,
}

impl<'a> Judge<'a> {
    fn new(feeds: &'a Feeds<'a>) -> Judge<'a> {
        Judge { feeds, next: BTreeMap::new(), seen: 0, gaps: 0 }
    }

    fn is_new(&self) -> bool {
        self.seen + self.gaps == 0
    }

    fn take(&mut self, topic: &str, offset: u64, payload: &[u8]) {
        let next = *self.next.get(topic).unwrap_or(&offset);
        assert_eq!(offset, next, "{topic}: {next} was to come");
        let number = self.feeds.number(topic);
        assert!(self.feeds.payload(number, offset) == payload, "{topic} {offset} is not what was published");
        self.next.insert(topic.to_owned(), offset + 1);
        self.seen += 1;
    }

    fn gap(&mut self, topic: &str, from: u64, to: Option<u64>) {
        let to = to.expect("nothing was restarted");
        if let Some(next) = self.next.insert(topic.to_owned(), to + 1) {
            assert_eq!(from, next, "{topic}: a gap begins where the client was");
        }
        assert!(from <= to && topic == SHORT, "{topic}: {from} to {to} were held all the time");
        self.gaps += 1;
    }
}

/// A gateway with the feeds, and a relay that cuts; `follow` is a client that takes what comes until it is told to stop.
fn check_client(test: &str, clients: usize, follow: impl Fn(&Relay, &mut dyn FnMut(Came<'_>) -> ControlFlow<()>) + Sync) {
    let Some(recording) = Recording::find(test) else { return };
    let feeds = Feeds::of(&recording);
    let file = format!("file = \"{}\"\n", recording.file.display());
    let gateway = Gateway::configured(&format!("{PUBLISHING}{FEED}{file}"));
    let relay = Relay::start(gateway.clients, CUTS);
    let (over, begun) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        scope.spawn(|| publish_bytes(&gateway, &feeds, &over));
        let one = || {
            let (mut judge, mut after, _begins) = (Judge::new(&feeds), 0, Begins(&relay));
            follow(&relay, &mut |came| {
                if judge.is_new() && begun.fetch_add(1, Ordering::Relaxed) + 1 == clients {
                    relay.begin();
                }
                match came {
                    Came::Publication { topic, offset, payload } => judge.take(topic, offset, payload),
                    Came::Gap { topic, from, to } => judge.gap(topic, from, to),
                }
                // Once more of everything, after the last cut.
                after = if relay.is_done() { after + 1 } else { 0 };
                if after == 1000 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            });
            (judge.seen, judge.gaps)
        };
        let threads: Vec<_> = (0..clients).map(|_| scope.spawn(one)).collect();
        let ended: Vec<_> = threads.into_iter().map(|thread| thread.join()).collect();
        over.store(true, Ordering::Relaxed);
        let judged: Vec<(u64, u64)> = ended.into_iter().map(|ended| ended.expect("a client got what was published")).collect();
        println!("{test}: {} cuts; publications and gaps: {judged:?}", relay.made());
        assert_eq!(relay.made(), CUTS);
        assert!(judged.iter().map(|(_, gaps)| gaps).sum::<u64>() > 0, "where the ring is short a gap is said");
    });
    gateway.stop();
}

/// A client that fails before it began keeps no other from going on.
struct Begins<'a>(&'a Relay);

impl Drop for Begins<'_> {
    fn drop(&mut self) {
        self.0.begin();
    }
}

/// What a client was given.
enum Came<'a> {
    Publication { topic: &'a str, offset: u64, payload: &'a [u8] },
    Gap { topic: &'a str, from: u64, to: Option<u64> },
}

#[test]
fn the_rust_client_misses_nothing_in_silence() {
    check_client("the_rust_client_misses_nothing_in_silence", 12, |relay, take| {
        let ended = stream::follow(&format!("ws://{}/stream", relay.address), &STREAMS, |item| match item {
            stream::Item::Publication { topic, offset, data } => {
                take(Came::Publication { topic: &topic, offset, payload: &data })
            }
            stream::Item::Gap { topic, from, to } => take(Came::Gap { topic: &topic, from, to }),
            stream::Item::Refused(sentence) => panic!("{sentence}"),
        });
        ended.expect("nothing is refused");
    });
}

#[test]
fn the_python_client_misses_nothing_in_silence() {
    let test = "the_python_client_misses_nothing_in_silence";
    let Some(parts) = parts(test) else { return };
    check_client(test, 3, |relay, take| {
        let mut command = Command::new(parts.join("venv/bin/python"));
        follow_lines(command.arg("-u").arg(script("stream_client.py")), relay, take);
    });
}

#[test]
fn the_javascript_client_misses_nothing_in_silence() {
    let test = "the_javascript_client_misses_nothing_in_silence";
    let Some(parts) = parts(test) else { return };
    check_client(test, 3, |relay, take| {
        let mut command = Command::new("node");
        follow_lines(command.arg(script("stream_client.mjs")).env("NODE_PARTS", parts.join("node/node_modules")), relay, take);
    });
}

/// A client that prints `["topic",offset,"data"]` and `{"topic","from","to"}`, one a line; bytes in hexadecimal.
fn follow_lines(command: &mut Command, relay: &Relay, take: &mut dyn FnMut(Came<'_>) -> ControlFlow<()>) {
    let mut program = Program::start(command.arg(format!("ws://{}/stream", relay.address)).args(STREAMS));
    loop {
        let line = program.line();
        let value: Value = serde_json::from_str(&line).unwrap_or_else(|_| panic!("it prints JSON, not {line}"));
        let flow = if let Some(topic) = value["topic"].as_str() {
            take(Came::Gap { topic, from: value["from"].as_u64().expect("a number"), to: value["to"].as_u64() })
        } else {
            let (topic, data) = (value[0].as_str().expect("a topic"), value[2].as_str().expect("data"));
            let bytes = if topic == BYTES { from_hex(data) } else { data.as_bytes().to_vec() };
            take(Came::Publication { topic, offset: value[1].as_u64().expect("an offset"), payload: &bytes })
        };
        if flow.is_break() {
            return;
        }
    }
}

fn from_hex(text: &str) -> Vec<u8> {
    let digits = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).expect("ASCII"), 16).expect("two digits");
    text.as_bytes().chunks(2).map(digits).collect()
}

#[test]
fn server_sent_events_go_on_after_the_last_id() {
    let calls = AtomicUsize::new(0);
    check_client("server_sent_events_go_on_after_the_last_id", 8, |relay, take| {
        // One topic whose ring is long, and one whose ring is short.
        let topic = ["btcusdt@trade", SHORT][calls.fetch_add(1, Ordering::Relaxed) % 2];
        let mut last_id = String::new();
        // What comes next. An id is a publication's: after a gap the id stays the old one until a publication comes.
        let mut next = 0;
        loop {
            let header = if last_id.is_empty() { String::new() } else { format!("Last-Event-ID: {last_id}\r\n") };
            let request = format!("GET /sse?streams={topic} HTTP/1.1\r\nHost: {}\r\n{header}\r\n", relay.address);
            let Some(mut events) = Events::try_ask(relay.address, &request) else { continue };
            while let Some(event) = events.next() {
                let flow = if event.starts_with("{\"result\":") {
                    let reply: Value = serde_json::from_str(&event).expect("a reply is JSON");
                    let entry = &reply["result"][0];
                    let newest = entry["offset"].as_u64().expect("an offset is a number");
                    match entry["recovered"].as_bool().expect("a position is answered") {
                        true => ControlFlow::Continue(()),
                        false => take(Came::Gap { topic, from: std::mem::replace(&mut next, newest + 1), to: Some(newest) }),
                    }
                } else {
                    last_id.clone_from(&events.last_id);
                    let (head, payload) = event.split_once(",\"data\":").expect("a publication");
                    let offset = head.rsplit_once(':').and_then(|(_, offset)| offset.parse().ok()).expect("an offset");
                    next = offset + 1;
                    assert!(last_id.ends_with(&format!(":{offset}")), "the id is the position");
                    let payload = payload.strip_suffix('}').expect("an object").as_bytes();
                    take(Came::Publication { topic, offset, payload })
                };
                if flow.is_break() {
                    return;
                }
            }
            // Away for a moment, as a client is: longer than the short ring bears.
            std::thread::sleep(Duration::from_millis(100));
        }
    });
}

#[test]
fn tail_goes_on_where_it_was() {
    check_client("tail_goes_on_where_it_was", 4, |relay, take| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
        command.args(["tail", "--json", &format!("ws://{}", relay.address), STREAMS[0], SHORT]);
        let mut program = Program::start(command.stderr(Stdio::piped()));
        let notes = BufReader::new(program.child.stderr.take().expect("stderr is piped")).lines().map_while(Result::ok);
        let notes = std::thread::spawn(move || notes.filter(|note| note.contains("(recovered:false)")).count());
        let mut newest: BTreeMap<String, u64> = BTreeMap::new();
        let mut gaps = 0;
        loop {
            let line = program.line();
            let (head, data) = line.strip_suffix('}').and_then(|line| line.split_once(",\"data\":")).expect("a publication");
            let head: Value = serde_json::from_str(&format!("{head}}}")).expect("it is JSON");
            let (topic, offset) = (head["stream"].as_str().expect("a topic"), head["o"].as_u64().expect("an offset"));
            let next = newest.insert(topic.to_owned(), offset).unwrap_or(offset - 1) + 1;
            // It says so elsewhere, which is counted.
            let over = topic == SHORT && offset > next && take(Came::Gap { topic, from: next, to: Some(offset - 1) }).is_break();
            gaps += usize::from(topic == SHORT && offset > next);
            if take(Came::Publication { topic, offset, payload: data.as_bytes() }).is_break() || over {
                break;
            }
        }
        drop(program);
        assert!(notes.join().expect("it reads to the end") >= gaps, "{gaps} gaps were said");
    });
}

/// A program whose output is read; killed when dropped.
struct Program {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Program {
    fn start(command: &mut Command) -> Program {
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().expect("an installed program starts");
        let lines = BufReader::new(child.stdout.take().expect("stdout is piped")).lines();
        Program { child, lines }
    }

    fn line(&mut self) -> String {
        self.lines.next().expect("the program goes on").expect("its output is UTF-8")
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/feed").join(name)
}

/// Installed by scripts/install-test-parts; see tests/foreign.
fn parts(test: &str) -> Option<PathBuf> {
    let promised = std::env::var_os("TIDEGATE_TEST_PARTS").map(PathBuf::from);
    let parts = promised.clone().unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("target/test-parts"));
    if parts.join("venv/requirements.txt").exists() && parts.join("node/node_modules").exists() {
        return Some(parts);
    }
    assert!(promised.is_none(), "{} lacks the foreign clients; scripts/install-test-parts installs them", parts.display());
    skipped(test, "the foreign clients are not installed (scripts/test installs them)");
    None
}
