//! The player against a double of the broker, on small files and on the recordings where they are.

use std::cell::{Cell, RefCell};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::disk::{Disk, start};

/// Keeps what is sent and judges batches: between two waits a topic may get at most its share.
#[derive(Default)]
struct Double {
    sent: RefCell<Vec<(String, String)>>,
    since_drained: RefCell<HashMap<String, (u32, usize)>>,
    largest: Cell<(u32, usize)>,
    drains: Cell<u32>,
    stop_after: Option<usize>,
}

impl Outlet for Double {
    async fn send(&self, publication: NewPublication) -> Result<(), PublishError> {
        if self.stop_after == Some(self.sent.borrow().len()) {
            return Err(PublishError::Stopping);
        }
        let topic = publication.topic.as_str().to_owned();
        let payload = String::from_utf8(publication.payload.bytes.to_vec()).expect("JSON");
        let mut since = self.since_drained.borrow_mut();
        let (publications, bytes) = since.entry(topic.clone()).or_default();
        *publications += 1;
        *bytes += payload.len();
        let (most, largest) = self.largest.get();
        self.largest.set((most.max(*publications), if *publications > 1 { largest.max(*bytes) } else { largest }));
        self.sent.borrow_mut().push((topic, payload));
        Ok(())
    }

    async fn drained(&self) -> Result<(), PublishError> {
        self.since_drained.borrow_mut().clear();
        self.drains.set(self.drains.get() + 1);
        Ok(())
    }

    async fn feed(&self, _: Vec<TopicName>, _: Option<u64>) -> Result<(), PublishError> {
        unreachable!("a recording that ends is not a feed that is gone")
    }
}

struct Played {
    double: Double,
    metrics: Arc<ControlMetrics>,
    result: Result<(), SourceError>,
}

impl Played {
    fn counts(&self) -> [u64; 5] {
        let m = &self.metrics;
        [&m.replay_lines, &m.replay_skipped, &m.replay_unparsable, &m.replay_refused, &m.source_publications].map(|c| c.get())
    }
}

fn settings(file: &Path, topic: &str, speed: Speed) -> config::Replay {
    config::Replay { file: file.to_owned(), topic: topic.into(), payload: None, speed, repeat: false }
}

const RING_PUBLICATIONS: u32 = 400;
const RING_BYTES: u32 = 1 << 20;

fn play(settings: &config::Replay, double: Double) -> Played {
    let (stop, stopping) = watch::channel(false);
    let ring = config::Topic { ring_publications: RING_PUBLICATIONS, ring_bytes: RING_BYTES, ..config::Topic::default() };
    let metrics = Arc::new(ControlMetrics::default());
    let context = SourceContext {
        broker: crate::broker::Handle::stopped(),
        stopping,
        publication_bytes_max: 256 * 1024,
        topics: Arc::new([ring]),
        metrics: metrics.clone(),
        goes_on: false,
        standing: std::rc::Rc::default(),
        feed: Arc::default(),
    };
    let result = start(Disk::Ring, run(settings, &double, &context)).unwrap();
    drop(stop);
    Played { double, metrics, result }
}

fn file(text: &[u8]) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), text).unwrap();
    file
}

#[test]
fn messages_are_mapped_and_the_rest_is_counted() {
    let text = "connected\n1.0: {\"s\":\"a\",\"data\": {\"p\" : 1.50 }}\n\n1.1: {\"s\":\"b\",\"data\":[2]}\n1.2: {\"s\":\n\
                1.3: {\"s\":\"a\"}\n1.4: {\"data\":1}\n1.5: {\"s\":\"a\",\"data\":\"x\"}";
    let file = file(text.as_bytes());
    let mut settings = settings(file.path(), "t.{/s}", Speed::Max);
    settings.payload = Some("/data".into());
    let played = play(&settings, Double::default());
    played.result.as_ref().expect("played");
    let sent = played.double.sent.borrow();
    let sent: Vec<(&str, &str)> = sent.iter().map(|(topic, payload)| (topic.as_str(), payload.as_str())).collect();
    assert_eq!(sent, [("t.a", "{\"p\" : 1.50 }"), ("t.b", "[2]"), ("t.a", "\"x\"")]);
    // Lines, skipped (log, empty, no data, no topic), unparsable, refused, published.
    assert_eq!(played.counts(), [8, 4, 1, 0, 3]);
}

#[test]
fn what_is_too_large_is_refused_and_counted() {
    let large = "x".repeat(256 * 1024);
    let text = format!("{{\"s\":\"a\",\"x\":\"{large}\"}}\n{{\"s\":\"b\"}}\n{{\"s\":\"{large}{large}{large}\"}}\n");
    let played = play(&settings(file(text.as_bytes()).path(), "{/s}", Speed::Max), Double::default());
    played.result.as_ref().expect("played");
    assert_eq!(played.counts(), [3, 0, 0, 2, 1]);
}

#[test]
fn a_file_without_a_message_for_the_template_is_an_error_and_no_endless_loop() {
    let mut settings = settings(file(b"{\"s\":1}\n").path(), "{/stream}", Speed::Max);
    let file = file(b"{\"s\":1}\n");
    settings.file = file.path().to_owned();
    settings.repeat = true;
    let error = play(&settings, Double::default()).result.expect_err("nothing to publish").to_string();
    assert!(error.contains("holds no message with a topic by the template \"{/stream}\""), "{error}");
}

#[test]
fn a_loop_plays_until_the_gateway_stops() {
    let file = file(b"{\"s\":1}\n{\"s\":2}\n{\"s\":3}\n");
    let mut settings = settings(file.path(), "{/s}", Speed::Max);
    settings.repeat = true;
    let played = play(&settings, Double { stop_after: Some(7), ..Double::default() });
    played.result.expect("a stop is no error");
    let topics: Vec<String> = played.double.sent.borrow().iter().map(|(topic, _)| topic.clone()).collect();
    assert_eq!(topics, ["1", "2", "3", "1", "2", "3", "1"]);
}

#[test]
fn a_wrong_setting_or_file_is_a_sentence() {
    let missing = play(&settings(Path::new("/none/such.gz"), "{/s}", Speed::Max), Double::default());
    let error = missing.result.expect_err("no file").to_string();
    assert!(error.contains("\"/none/such.gz\" cannot be opened: No such file"), "{error}");
    let template = play(&settings(Path::new("/none"), "{/s", Speed::Max), Double::default());
    assert!(matches!(template.result, Err(SourceError::Template(_))));
}

#[test]
fn at_its_own_pace_a_play_takes_as_long_as_the_recording() {
    let file = file(b"10.0 {\"s\":1}\n10.1 {\"s\":1}\n10.3 {\"s\":1}\n");
    let begun = std::time::Instant::now();
    let played = play(&settings(file.path(), "{/s}", Speed::Times(2.0)), Double::default());
    played.result.as_ref().expect("played");
    assert!(begun.elapsed() >= Duration::from_millis(150), "{:?}", begun.elapsed());
    assert_eq!((played.counts()[4], played.double.drains.get()), (3, 0));
}

proptest! {
    #[test]
    fn due_times_follow_the_recording_and_never_go_back(
        times in prop::collection::vec(0u64..100_000_000, 1..50),
        speed in 0.1f64..100.0,
        rounds in 1usize..4,
    ) {
        let mut pace = Pace::new(Speed::Times(speed));
        let mut newest = 0;
        for _ in 0..rounds {
            let round = newest;
            for &time in &times {
                let due = pace.due_us(Some(time)).expect("paced");
                let recorded = time.saturating_sub(times[0]) as f64 / speed;
                prop_assert!(due >= newest && due as f64 + 1.0 >= round as f64 + recorded);
                newest = due;
            }
            pace.next_round();
            newest = pace.newest_us;
        }
    }
}

#[test]
fn a_message_without_a_time_waits_for_subscribers_only() {
    assert_eq!(Pace::new(Speed::Times(1.0)).due_us(None), None);
    assert_eq!(Pace::new(Speed::Max).due_us(Some(5)), None);
}

#[test]
fn a_batch_takes_a_quarter_of_the_ring_of_the_first_pattern_that_matches() {
    let topic = |pattern: &str, ring_publications, ring_bytes| config::Topic {
        pattern: pattern.into(),
        ring_publications,
        ring_bytes,
        ..config::Topic::default()
    };
    let topics = [topic("few.*", 8, 1 << 20), topic("small.>", 1 << 10, 4 * 300), topic("few.>", 1 << 10, 1 << 20)];
    let taken = |name: &str, payload_bytes| {
        let name = TopicName::parse(name).unwrap();
        let mut batch = Batch::new(&topics);
        batch.begin_with(&name, payload_bytes);
        1 + (0..10_000).take_while(|_| batch.take(&name, payload_bytes)).count()
    };
    assert_eq!(taken("few.a", 1), 2);
    assert_eq!(taken("few.a.b", 1), 256);
    // A frame is counted as 100 bytes here: 64, the name, the payload.
    assert_eq!(taken("small.a", 29), 3);
    assert_eq!(taken("small.a", 2_000), 1);
    let default = config::Topic::default();
    assert_eq!(taken("other", 1), (default.ring_publications / 4) as usize);
}

#[test]
fn a_batch_holds_a_bounded_number_of_topics() {
    let mut batch = Batch::new(&[]);
    let topics = (0..).map(|n| TopicName::parse(&format!("t{n}")).unwrap());
    assert_eq!(topics.take_while(|topic| batch.take(topic, 1)).count(), BATCH_TOPICS_MAX);
}

/// A recording that lies beside the project on the machines that test it; elsewhere the test says that it is skipped.
fn recording(name: &str) -> Option<PathBuf> {
    let folder = std::env::var_os("TIDEGATE_DATA")
        .map_or_else(|| PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../shared/data")), PathBuf::from);
    let path = folder.join(name);
    if !path.exists() {
        eprintln!("skipped: {} is not there (set TIDEGATE_DATA to the folder with the recordings)", path.display());
        return None;
    }
    Some(path)
}

/// Each data line's message, cut out in the plainest way: behind the first space.
fn messages(path: &Path) -> Vec<String> {
    let mut text = String::new();
    flate2::read::MultiGzDecoder::new(std::fs::File::open(path).unwrap()).read_to_string(&mut text).unwrap();
    let data = text.lines().filter(|line| line.starts_with(|c: char| c.is_ascii_digit()));
    data.map(|line| line.split_once(' ').unwrap().1.to_owned()).collect()
}

#[track_caller]
fn check_recording(name: &str, template: &str, counts: [u64; 5]) {
    let Some(path) = recording(name) else { return };
    let played = play(&settings(&path, template, Speed::Max), Double::default());
    played.result.as_ref().expect("played");
    assert_eq!(played.counts(), counts);
    let sent = played.double.sent.borrow();
    let mut expected = messages(&path);
    expected.retain(|message| !message.starts_with("{\"lastUpdateId\""));
    if template.contains("product_id") {
        expected.retain(|message| message.contains("\"product_id\""));
    }
    assert!(sent.iter().map(|(_, payload)| payload).eq(&expected), "payloads are the recording's bytes in its order");
    let (publications, bytes) = played.double.largest.get();
    assert!(publications <= RING_PUBLICATIONS / 4 && bytes <= RING_BYTES as usize / 4, "{publications} {bytes}");
}

#[test]
fn the_binance_recording_is_played_whole() {
    check_recording("hft_usdm_btcusdt_20240808.gz", "{/stream}", [93_954, 1, 0, 0, 93_953]);
}

#[test]
fn the_hyperliquid_recording_is_played_whole() {
    check_recording("hft_hyperliquid_btcusd_20250126.gz", "hl.{/channel}", [55, 0, 0, 0, 55]);
}

#[test]
fn the_coinbase_recording_is_played_without_its_log_lines() {
    check_recording("cf_COINBASE.ws.28.0.gz", "cb.{/type}.{/product_id}", [9_952, 9, 0, 0, 9_943]);
}
