//! Proof 2: readers at a fiftieth of a feed's pace, with ordinary receive buffers, beside fast ones. What `slow=conflate` gives
//! was the newest of its key when it was sent, what `slow=drop` leaves out is named; notices and metrics add up to what was
//! published, fast readers get all of it, and the gateway's memory does not grow with how far anybody is behind.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::Value;
use socket2::SockRef;

use crate::common::figures::{mib, resident_bytes};
use crate::common::members::{Came, Member, Then};
use crate::common::{Client, Gateway, PATIENCE, PUBLISHING, frame, position_of};
use crate::played::{PRODUCTS, Played, QUOTES, Topic, publication};

const TOPICS: [&str; 2] = [QUOTES, PRODUCTS];
/// Fast readers and slow ones. As many slow ones as make a queue for each of them show.
const FAST: usize = 4;
const SLOW: usize = 8;
/// Of a slow reader, as the kernel is asked for it (it takes twice that).
const RECEIVE_BYTES: usize = 16 << 10;
/// What the kernel takes of a conflated reader's: `conflate_unsent_bytes`, doubled.
const SEND_BYTES: usize = 32 << 10;
/// By which the gateway's memory may move while the second half of the feed plays. A queue for each slow reader would take
/// some 8 MB each of it.
const MEMORY_BYTES: u64 = 16 << 20;
/// Read at once by a slow reader.
const SIP_BYTES: usize = 1024;

#[test]
fn a_slow_reader_gets_the_newest_and_is_told_what_it_did_not() {
    check_conflate("a_slow_reader_gets_the_newest_and_is_told_what_it_did_not", 4);
}

#[test]
#[ignore = "the whole proof: a minute"]
fn a_reader_that_is_slow_for_a_minute_gets_the_newest_and_is_told_what_it_did_not() {
    check_conflate("a_reader_that_is_slow_for_a_minute_gets_the_newest_and_is_told_what_it_did_not", 60);
}

#[test]
fn a_slow_reader_that_drops_is_told_of_each_publication_it_did_not_get() {
    check_drop("a_slow_reader_that_drops_is_told_of_each_publication_it_did_not_get", 4);
}

#[test]
#[ignore = "the whole proof: a minute"]
fn a_reader_that_drops_for_a_minute_is_told_of_each_publication_it_did_not_get() {
    check_drop("a_reader_that_drops_for_a_minute_is_told_of_each_publication_it_did_not_get", 60);
}

fn check_conflate(test: &str, seconds: u32) {
    let Some(played) = Played::find(test) else { return };
    // Who reads nothing is reset after this; here one is to read nothing until the end. Readers here answer no pings.
    let patient = format!("[limits]\nsend_timeout_ms = {}\nidle_ping_ms = 3600000\n", 1000 * (seconds + 120));
    let gateway = Gateway::configured(&format!("{}{patient}", played.config(seconds, 16384)));
    let mut slow: Vec<_> = (0..SLOW).map(|_| Reader::join(&gateway, &played, &TOPICS, "conflate")).collect();
    let mut stalled = Reader::join(&gateway, &played, &[QUOTES], "conflate");
    play(&gateway, &played, seconds, &mut slow);
    stalled.read_to_end();
    let told: u64 = slow.iter().chain([&stalled]).map(Reader::left_out).sum();
    assert_eq!(gateway.counter("culled"), told, "the metric and the notices");
    assert!(slow.iter().all(|reader| reader.judge.topics.iter().all(|topic| topic.left_out > 0)), "all were slow in each topic");
    // Who read nothing until nothing was published any more: all that is old is what the kernel had taken by then.
    let kernel = SockRef::from(&stalled.member.stream).recv_buffer_size().expect("a socket has one") + SEND_BYTES;
    let old = stalled.judge.old_bytes;
    let given: u64 = slow.iter().flat_map(|reader| &reader.judge.topics).map(|topic| topic.given).sum();
    println!("{SLOW} slow readers were given {given} values and told of {told} others");
    println!("who stalled had {old} bytes of old values, of {} in the kernel's buffers", kernel);
    assert!(old <= kernel, "{old} bytes were old, more than the {kernel} of the kernel's buffers");
    let mut ages_ms: Vec<u64> = slow.iter().flat_map(|reader| reader.judge.ages_ms.clone()).collect();
    ages_ms.sort_unstable();
    let (median, most) = (ages_ms[ages_ms.len() / 2], ages_ms[ages_ms.len() - 1]);
    let pace = bytes_per_second(&played, seconds);
    let explained = kernel * 1000 / pace;
    println!(
        "age at reading: median {median} ms, most {most} ms; {kernel} bytes of buffers at {pace} bytes/s are {explained} ms"
    );
    drop((slow, stalled));
    gateway.stop();
}

fn check_drop(test: &str, seconds: u32) {
    let Some(played) = Played::find(test) else { return };
    let gateway = Gateway::configured(&played.config(seconds, 16384));
    let mut slow: Vec<_> = (0..SLOW).map(|_| Reader::join(&gateway, &played, &TOPICS, "drop")).collect();
    play(&gateway, &played, seconds, &mut slow);
    let told: u64 = slow.iter().map(Reader::left_out).sum();
    assert!(slow.iter().all(|reader| reader.judge.topics[0].left_out > 0), "all were too slow for the ring");
    assert_eq!(gateway.counter("dropped"), told, "the metric and the notices");
    drop(slow);
    gateway.stop();
}

/// A raw connection cannot be told: where it did not ask itself to be conflated, it is closed.
#[test]
fn a_raw_reader_that_is_slow_is_closed_unless_it_asked_for_the_newest() {
    let Some(played) = Played::find("a_raw_reader_that_is_slow_is_closed_unless_it_asked_for_the_newest") else { return };
    let topic =
        format!("[[topic]]\npattern = \"{QUOTES}\"\nkind = \"state\"\nslow_default = \"conflate\"\nring_publications = 1024\n");
    let gateway = Gateway::configured(&format!("{PUBLISHING}{topic}slow_allowed = [\"close\", \"conflate\"]\n"));
    let recorded = played.topic(QUOTES);
    let mut plain = Member::join(&gateway, &format!("/ws/{QUOTES}"), Some(RECEIVE_BYTES));
    let mut conflated = Member::join(&gateway, &format!("/ws/{QUOTES};slow=conflate"), Some(RECEIVE_BYTES));
    let mut publisher = Client::connect(&gateway, &format!("/publish/{QUOTES}"));
    (1..=recorded.end()).for_each(|offset| publisher.send(recorded.payload(offset)));
    let newest = || position_of(&Client::connect(&gateway, "/stream").subscribe(&[&format!("{QUOTES};ts=1")])[0]).1;
    while newest() < recorded.end() {
        std::thread::sleep(Duration::from_millis(20));
    }
    let (mut at, mut conflated_at) = (0, 0);
    let code = read_raw(&mut plain, recorded, &mut at).expect("it is closed");
    assert_eq!(code, 1013);
    assert!(at < recorded.end(), "it was not given all");
    assert_eq!(read_raw(&mut conflated, recorded, &mut conflated_at), None, "it is not closed");
    assert!(gateway.counter("culled") > 0, "it was not given all");
    drop((publisher, plain, conflated));
    gateway.stop();
}

/// Reads payloads, each found in the recording behind the one before, up to the last one or to a close frame, whose code it gives.
fn read_raw(member: &mut Member, recorded: &Topic, at: &mut u64) -> Option<u16> {
    let (deadline, mut code) = (Instant::now() + PATIENCE, None);
    while code.is_none() && *at < recorded.end() {
        assert!(Instant::now() < deadline, "nothing comes behind {at}");
        member.read(&mut vec![0; 64 << 10], &mut |came| {
            let Came::Frame(first, payload) = came else { panic!("no close frame came before the end, behind {at}") };
            if first == 0x88 {
                code = Some(u16::from_be_bytes([payload[0], payload[1]]));
                return Then::Stop;
            }
            let behind = (*at + 1..=recorded.end()).find(|offset| recorded.payload(*offset).as_bytes() == payload);
            *at = behind.unwrap_or_else(|| panic!("not recorded behind {at}: {:?}", String::from_utf8_lossy(payload)));
            Then::Read
        });
        std::thread::sleep(Duration::from_millis(1));
    }
    code
}

/// Bytes that a slow reader reads in a second: a fiftieth of what is published.
fn bytes_per_second(played: &Played, seconds: u32) -> usize {
    TOPICS.iter().map(|name| played.topic(name).bytes()).sum::<usize>() / seconds as usize / 50
}

/// Reads slowly until the feed has ended, which fast readers see, and then up to its end; watches the gateway's memory.
fn play(gateway: &Gateway, played: &Played, seconds: u32, slow: &mut [Reader<'_>]) {
    let over = AtomicBool::new(false);
    let sip_every = Duration::from_secs_f64(SIP_BYTES as f64 / bytes_per_second(played, seconds) as f64);
    std::thread::scope(|scope| {
        let fast: Vec<_> = (0..FAST).map(|_| scope.spawn(|| read_all(gateway, played))).collect();
        let slow = scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                slow.iter_mut().for_each(|reader| reader.read(SIP_BYTES));
                std::thread::sleep(sip_every);
            }
            slow.iter_mut().for_each(Reader::read_to_end);
        });
        std::thread::sleep(Duration::from_secs(seconds.into()) / 2);
        let (mut least, mut most) = (u64::MAX, 0);
        while !fast.iter().all(|reader| reader.is_finished()) {
            let bytes = resident_bytes(gateway);
            (least, most) = (least.min(bytes), most.max(bytes));
            std::thread::sleep(Duration::from_millis(20));
        }
        over.store(true, Ordering::Relaxed);
        fast.into_iter().for_each(|reader| reader.join().expect("a fast reader got every publication"));
        slow.join().expect("the slow readers got what they were told");
        println!("the gateway had {:.1} to {:.1} MiB in the second half", mib(least), mib(most));
        assert!(most - least <= MEMORY_BYTES, "its memory is not flat: {least} to {most} bytes");
    });
}

/// A fast reader: every publication, to the end.
fn read_all(gateway: &Gateway, played: &Played) {
    let mut client = Client::connect(gateway, "/stream");
    let reply = client.subscribe(&TOPICS.map(|name| format!("{name};slow=close")).each_ref().map(String::as_str));
    let mut positions = [0, 1].map(|index| (played.topic(TOPICS[index]), position_of(&reply[index]).1));
    while positions.iter().any(|(topic, position)| *position < topic.end()) {
        let text = client.text();
        let publication = publication(&text).unwrap_or_else(|| panic!("no publication: {text}"));
        let known = positions.iter_mut().find(|(topic, _)| topic.name == publication.topic);
        let (topic, position) = known.expect("it was asked for");
        assert_eq!(publication.offset, *position + 1, "{}: a hole or a repeat", topic.name);
        topic.check(publication.offset, publication.payload);
        *position = publication.offset;
    }
}

/// A reader that decides how many bytes it reads.
struct Reader<'a> {
    member: Member,
    judge: Judge<'a>,
}

/// What it was given and told.
struct Judge<'a> {
    played: &'a Played,
    topics: Vec<Seen<'a>>,
    bytes: usize,
    /// Bytes that came before the last `culled` notice.
    old_bytes: usize,
    /// Of best prices, from when it was first slow.
    ages_ms: Vec<u64>,
}

struct Seen<'a> {
    recorded: &'a Topic,
    joined_at: u64,
    /// The last offset that was given or named in a gap.
    position: u64,
    given: u64,
    left_out: u64,
    /// Up to where `culled` notices told.
    told: u64,
}

impl<'a> Reader<'a> {
    fn join(gateway: &Gateway, played: &'a Played, topics: &[&str], slow: &str) -> Reader<'a> {
        let mut member = Member::join(gateway, "/stream", Some(RECEIVE_BYTES));
        let streams: Vec<_> = topics.iter().map(|name| format!("{name};slow={slow};ts=1")).collect();
        let request = serde_json::json!({"method": "SUBSCRIBE", "params": streams, "id": 1});
        member.send(&frame(0x81, request.to_string().as_bytes()));
        Reader { member, judge: Judge { played, topics: Vec::new(), bytes: 0, old_bytes: 0, ages_ms: Vec::new() } }
    }

    fn read(&mut self, bytes_max: usize) {
        let Reader { member, judge } = self;
        member.read(&mut vec![0; bytes_max], &mut |came| {
            let Came::Frame(first, payload) = came else { panic!("a slow reader is not cut off") };
            assert_eq!(first, 0x81, "not a text message: {payload:?}");
            judge.take(std::str::from_utf8(payload).expect("a text message is UTF-8"));
            Then::Read
        });
    }

    /// Reads on to the last publications, and insists that all is accounted for.
    fn read_to_end(&mut self) {
        let deadline = Instant::now() + PATIENCE;
        while self.judge.topics.is_empty() || self.judge.topics.iter().any(|topic| topic.position < topic.recorded.end()) {
            assert!(Instant::now() < deadline, "the newest does not come");
            self.read(64 << 10);
            std::thread::sleep(Duration::from_millis(1));
        }
        for topic in &self.judge.topics {
            let Seen { recorded, joined_at, given, left_out, .. } = topic;
            assert_eq!(joined_at + given + left_out, recorded.end(), "{}: what came and what was told", recorded.name);
        }
    }

    fn left_out(&self) -> u64 {
        self.judge.topics.iter().map(|topic| topic.left_out).sum()
    }
}

impl<'a> Judge<'a> {
    fn take(&mut self, text: &str) {
        let Some(publication) = publication(text) else {
            let told: Value = serde_json::from_str(text).expect("notices and replies are JSON");
            match told["e"].as_str() {
                None => self.topics = entries(self.played, &told),
                Some("gap") => self.topic(&told).take_gap(&told),
                Some("culled") => {
                    self.topic(&told).take_culled(&told);
                    self.old_bytes = self.bytes;
                }
                Some(_) => panic!("nothing else happened: {text}"),
            }
            return;
        };
        let topic = self.topics.iter_mut().find(|topic| topic.recorded.name == publication.topic).expect("it was asked for");
        topic.recorded.check(publication.offset, publication.payload);
        topic.take(publication.offset);
        self.bytes += text.len();
        if topic.recorded.name == QUOTES && topic.left_out > 0 {
            let now_us = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is later than 1970").as_micros() as u64;
            self.ages_ms.push(now_us.saturating_sub(publication.ingest_us.expect("it was asked for")) / 1000);
        }
    }

    fn topic(&mut self, told: &Value) -> &mut Seen<'a> {
        self.topics.iter_mut().find(|topic| told["s"] == topic.recorded.name).expect("it was asked for")
    }
}

/// What a reply says of where each topic's count stands.
fn entries<'a>(played: &'a Played, reply: &Value) -> Vec<Seen<'a>> {
    let entries = reply["result"].as_array().unwrap_or_else(|| panic!("not a result: {reply}")).iter();
    let seen = entries.map(|entry| {
        let recorded = played.topic(entry["stream"].as_str().expect("a topic is text"));
        let (_, offset) = position_of(entry);
        Seen { recorded, joined_at: offset, position: offset, given: 0, left_out: 0, told: 0 }
    });
    seen.collect()
}

impl Seen<'_> {
    fn take(&mut self, offset: u64) {
        let name = self.recorded.name;
        assert!(offset > self.position, "{name}: {offset} comes behind {}", self.position);
        (self.position, self.given) = (offset, self.given + 1);
        let missed = offset - self.joined_at - self.given;
        assert!(missed <= self.left_out, "{name}: up to {offset} {missed} did not come, and {} were told", self.left_out);
        // The notice was made when the value was sent or before; then what it counts up to was all that there was.
        let is_newest = offset > self.told || self.recorded.is_newest(offset, self.told);
        assert!(is_newest, "{name}: {offset} was replaced before {}, which was told first", self.told);
    }

    fn take_culled(&mut self, told: &Value) {
        let (up_to, count) = (number(told, "o"), number(told, "n"));
        assert!(count > 0 && up_to >= self.told, "a notice says more than the one before: {told}");
        (self.told, self.left_out) = (up_to, self.left_out + count);
    }

    fn take_gap(&mut self, told: &Value) {
        let (from, to) = (number(told, "from"), number(told, "to"));
        assert!(from == self.position + 1 && to >= from, "a gap begins behind {}: {told}", self.position);
        (self.position, self.left_out) = (to, self.left_out + to - from + 1);
    }
}

fn number(told: &Value, member: &str) -> u64 {
    told[member].as_u64().unwrap_or_else(|| panic!("no {member} in {told}"))
}
