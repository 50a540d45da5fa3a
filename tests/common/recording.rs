//! The recorded exchange feed that the tests replay, where it is there.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use flate2::read::GzDecoder;
use serde::Deserialize;
use serde_json::value::RawValue;

/// Binance futures, recorded; see the data's own README.
const FILE: &str = "hft_usdm_btcusdt_20240808.gz";

/// A recording and what it holds, read by the tests' own few lines.
pub(crate) struct Recording {
    /// Where it lies.
    pub(crate) file: PathBuf,
    /// Its messages in order: topic, whole message.
    pub(crate) messages: Vec<(String, String)>,
}

#[derive(Deserialize)]
struct Named<'a> {
    stream: Option<&'a str>,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
}

impl Recording {
    /// Looks in `TIDEGATE_DATA`, else in `../shared/data` beside the checkout. Where it is not: says so, and the test is skipped.
    pub(crate) fn find(test: &str) -> Option<Recording> {
        let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data");
        let directory = std::env::var_os("TIDEGATE_DATA").map_or(beside, PathBuf::from);
        let file = directory.join(FILE);
        if !file.exists() {
            skipped(test, &format!("{} is not there (set TIDEGATE_DATA to the directory that holds it)", file.display()));
            return None;
        }
        let mut text = String::new();
        let compressed = std::fs::File::open(&file).expect("the recording can be opened");
        GzDecoder::new(compressed).read_to_string(&mut text).expect("the recording can be unpacked");
        let messages = text.lines().filter_map(|line| line.split_once(' ')).filter_map(|(_, message)| {
            let named: Named = serde_json::from_str(message).ok()?;
            Some((named.stream?.to_owned(), message.to_owned()))
        });
        Some(Recording { file, messages: messages.collect() })
    }

    /// Writes the first so many messages as a recording of their own.
    pub(crate) fn share(&self, messages: usize, file: &Path) -> Recording {
        let messages = self.messages[..messages.min(self.messages.len())].to_vec();
        let lines: String = messages
            .iter()
            .enumerate()
            .map(|(index, (_, message))| format!("{} {message}\n", 1_723_161_255_000_000_000 + index))
            .collect();
        std::fs::write(file, lines).expect("a temporary file can be written");
        Recording { file: file.to_path_buf(), messages }
    }

    /// The payload sequence of each topic.
    pub(crate) fn by_topic(&self) -> BTreeMap<&str, Vec<&str>> {
        let mut topics: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for (topic, message) in &self.messages {
            topics.entry(topic).or_default().push(message);
        }
        topics
    }
}

/// The bytes of a message's `data`, as they stand.
pub(crate) fn data_of(message: &str) -> &str {
    let named: Named = serde_json::from_str(message).expect("it was read before");
    named.data.expect("a message of a combined stream bears data").get()
}

/// Says that a test was skipped and why, past the test runner's capture, so that a green run does not hide it.
pub(crate) fn skipped(test: &str, why: &str) {
    writeln!(std::io::stderr(), "{test}: skipped, {why}").expect("stderr can be written");
}
