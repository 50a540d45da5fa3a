//! What proofs 2, 3 and 4 play: the recordings of Binance futures and of Coinbase, once, at a pace that is asked for. What each
//! offset of a topic is, and which one takes its place, is told by the tests' own few lines out of the recordings.

use std::collections::{BTreeSet, HashMap};
use std::io::Read;
use std::path::PathBuf;

use flate2::read::GzDecoder;
use serde_json::Value;

use crate::common::figures::metric;
use crate::common::{Client, Gateway, Recording, data_of, skipped};

/// Best prices of one instrument: each publication replaces the one before.
pub(crate) const QUOTES: &str = "btcusdt@bookTicker";
/// Trades by their price: the last one at each.
pub(crate) const TRADES: &str = "btcusdt@trade";
/// Whatever Coinbase said last of each of ten products.
pub(crate) const PRODUCTS: &str = "cb";

const COINBASE: &str = "cf_COINBASE.ws.28.0.gz";
/// How long the recordings are.
const BINANCE_SECONDS: f64 = 344.8;
const COINBASE_SECONDS: f64 = 30.8;

/// The recordings and what is in them.
pub(crate) struct Played {
    binance: PathBuf,
    coinbase: PathBuf,
    topics: Vec<Topic>,
}

/// What a topic was given.
pub(crate) struct Topic {
    pub(crate) name: &'static str,
    payloads: Vec<String>,
    /// Of each offset the next one with the same key; 0: it stays the newest.
    replaced_by: Vec<u64>,
}

impl Played {
    /// Where a recording is not there it says so, and the test is skipped.
    pub(crate) fn find(test: &str) -> Option<Played> {
        let binance = Recording::find(test)?;
        let coinbase = binance.file.with_file_name(COINBASE);
        let Ok(compressed) = std::fs::File::open(&coinbase) else {
            skipped(test, &format!("{} is not there", coinbase.display()));
            return None;
        };
        let mut text = String::new();
        GzDecoder::new(compressed).read_to_string(&mut text).expect("the recording can be unpacked");
        let products = text.lines().filter(|line| line.starts_with(|first: char| first.is_ascii_digit()));
        let products = products.filter_map(|line| line.split_once(": ")).map(|(_, message)| message.to_owned()).collect();
        let of = |topic: &str| {
            let messages = binance.messages.iter().filter(|(name, _)| name == topic);
            messages.map(|(_, message)| data_of(message).to_owned()).collect()
        };
        let topics = vec![
            Topic::of(QUOTES, of(QUOTES), None),
            Topic::of(TRADES, of(TRADES), Some("p")),
            Topic::of(PRODUCTS, products, Some("product_id")),
        ];
        Some(Played { binance: binance.file.clone(), coinbase, topics })
    }

    pub(crate) fn topic(&self, name: &str) -> &Topic {
        self.topics.iter().find(|topic| topic.name == name).unwrap_or_else(|| panic!("{name} was not asked for"))
    }

    /// A configuration that plays both in so many seconds; the rings of best prices and of trades hold so many publications.
    pub(crate) fn config(&self, seconds: u32, ring: u32) -> String {
        let topic = |name: &str, ring: u32, key: &str| {
            format!(
                "[[topic]]\npattern = \"{name}\"\nkind = \"state\"\nslow_allowed = [\"close\", \"drop\", \"conflate\"]\n\
                 ring_publications = {ring}\n{key}\n"
            )
        };
        let speed = |recorded: f64| recorded / f64::from(seconds);
        [
            topic(QUOTES, ring, ""),
            topic(TRADES, ring, "key = \"/p\"\n"),
            topic(PRODUCTS, 2048, "key = \"/product_id\"\n"),
            format!("[[source]]\nkind = \"replay\"\nfile = {:?}\nspeed = {:.3}\n\n", self.binance, speed(BINANCE_SECONDS)),
            format!("[[source]]\nkind = \"replay\"\nfile = {:?}\ntopic = \"cb\"\n", self.coinbase),
            format!("speed = {:.3}\n", speed(COINBASE_SECONDS)),
        ]
        .concat()
    }
}

impl Topic {
    fn of(name: &'static str, payloads: Vec<String>, key: Option<&str>) -> Topic {
        let mut replaced_by = vec![0; payloads.len()];
        let mut newest: HashMap<Option<String>, usize> = HashMap::new();
        for (index, payload) in payloads.iter().enumerate() {
            let payload: Value = serde_json::from_str(payload).expect("exchanges send JSON");
            let key = key.and_then(|key| Some(payload.get(key)?.as_str()?.to_owned()));
            if let Some(before) = newest.insert(key, index) {
                replaced_by[before] = index as u64 + 1;
            }
        }
        Topic { name, payloads, replaced_by }
    }

    /// The last offset.
    pub(crate) fn end(&self) -> u64 {
        self.payloads.len() as u64
    }

    /// All bytes of it.
    pub(crate) fn bytes(&self) -> usize {
        self.payloads.iter().map(String::len).sum()
    }

    pub(crate) fn payload(&self, offset: u64) -> &str {
        &self.payloads[offset as usize - 1]
    }

    /// Insists on the very bytes of an offset.
    pub(crate) fn check(&self, offset: u64, payload: &str) {
        assert_eq!(self.payload(offset), payload, "{} {offset} is not what was recorded", self.name);
    }

    /// The next offset of the same key.
    pub(crate) fn replaced_by(&self, offset: u64) -> Option<u64> {
        Some(self.replaced_by[offset as usize - 1]).filter(|next| *next > 0)
    }

    /// Whether nothing up to `at` took its place.
    pub(crate) fn is_newest(&self, offset: u64, at: u64) -> bool {
        self.replaced_by(offset).is_none_or(|next| next > at)
    }

    /// The newest of each key, once `at` was the newest offset.
    pub(crate) fn newest_of_each(&self, at: u64) -> BTreeSet<u64> {
        (1..=at).filter(|offset| self.is_newest(*offset, at)).collect()
    }
}

/// `{"stream":"<topic>","o":<offset>,"t":<us>,"data":<payload>}`, the time where it was asked for.
pub(crate) struct Publication<'a> {
    pub(crate) topic: &'a str,
    pub(crate) offset: u64,
    pub(crate) ingest_us: Option<u64>,
    pub(crate) payload: &'a str,
}

/// A publication, or none where the text is something else.
pub(crate) fn publication(text: &str) -> Option<Publication<'_>> {
    let (topic, rest) = text.strip_prefix("{\"stream\":\"")?.strip_suffix('}')?.split_once("\",\"o\":")?;
    let (numbers, payload) = rest.split_once(",\"data\":")?;
    let (offset, ingest_us) = match numbers.split_once(",\"t\":") {
        Some((offset, us)) => (offset, Some(us.parse().expect("a time is a number"))),
        None => (numbers, None),
    };
    Some(Publication { topic, offset: offset.parse().expect("an offset is a number"), ingest_us, payload })
}

/// Subscribers of the same streams with their replies, as many as it takes to have one on each shard: the kernel deals clients
/// out as it likes.
pub(crate) fn on_both_shards(gateway: &Gateway, streams: &[&str]) -> Vec<(Client, Value)> {
    let counts = || [0, 1].map(|shard| metric(gateway, "subscriptions", &format!("shard=\"{shard}\"")));
    let before = counts();
    let mut subscribers = Vec::new();
    while before.iter().zip(counts()).any(|(before, now)| now == *before) {
        let mut client = Client::connect(gateway, "/stream");
        let reply = client.subscribe(streams);
        subscribers.push((client, reply));
    }
    subscribers
}
