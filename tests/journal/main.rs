//! Journaled topics in the real binary: positions that go on after a stop, a kill and a lost tail, nothing acknowledged lost, a full
//! disk, and what `tidegate journal` and a replay make of the files.

#[path = "../common/mod.rs"]
mod common;

mod acknowledged;
mod continuing;
mod disk;
mod faults;
mod files;
mod full;
mod restarts;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use common::{Client, Gateway, PATIENCE, PUBLISHING};
use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;

/// What is logged comes through a pipe, and a little later.
pub(crate) fn wait_for_words(gateway: &Gateway, words: &str) {
    let deadline = std::time::Instant::now() + PATIENCE;
    while !gateway.said().contains(words) {
        assert!(std::time::Instant::now() < deadline, "{words:?} is not said: {}", gateway.said());
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
}

/// A journal that outlives the gateways that use it.
pub(crate) struct Journal {
    directory: TempDir,
}

impl Journal {
    pub(crate) fn new() -> Journal {
        Journal { directory: TempDir::new().expect("a temporary directory can be made") }
    }

    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    /// A gateway on it: topics below `j.` are journaled with these keys, all others are not.
    pub(crate) fn gateway(&self, keys: &str) -> Gateway {
        Gateway::configured(&configuration(self.path(), keys))
    }

    /// The files of a topic, oldest first.
    pub(crate) fn files(&self, topic: &str) -> Vec<PathBuf> {
        let directory = self.path().join("topics").join(topic);
        let entries = std::fs::read_dir(directory).expect("it has a directory");
        let paths = entries.map(|entry| entry.expect("it can be read").path());
        let mut files: Vec<_> = paths.filter(|path| path.extension().is_some()).collect();
        files.sort();
        files
    }

    pub(crate) fn newest_file(&self, topic: &str) -> PathBuf {
        self.files(topic).pop().expect("something was published")
    }

    /// Offset and payload of all that is in a topic's files.
    pub(crate) fn dump(&self, topic: &str) -> Vec<(u64, String)> {
        dump(self.path(), topic)
    }
}

/// The same of the journal in this directory.
pub(crate) fn dump(journal: &Path, topic: &str) -> Vec<(u64, String)> {
    let output = tidegate(&["journal", "dump", &journal.join("topics").join(topic).to_string_lossy()]);
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).expect("it is text");
    let entry = |line: &str| {
        let (_, message) = line.split_once(' ').expect("the time stands in front");
        let message: Value = serde_json::from_str(message).expect("the rest is JSON");
        assert_eq!(message["stream"], topic);
        (message["o"].as_u64().expect("an offset"), message["data"].to_string())
    };
    text.lines().map(entry).collect()
}

pub(crate) fn configuration(directory: &Path, keys: &str) -> String {
    format!(
        "{PUBLISHING}[journal]\ndirectory = {:?}\n[[topic]]\npattern = \"j.>\"\njournal = true\n{keys}\n",
        directory.to_string_lossy()
    )
}

pub(crate) const ALWAYS: &str = "journal_flush = \"always\"";

/// The gateway ends as if it had never been.
pub(crate) fn kill(mut gateway: Gateway) {
    gateway.signal(Signal::KILL);
    gateway.wait();
}

/// The real binary, run to its end.
pub(crate) fn tidegate(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_tidegate")).args(arguments).output().expect("the binary starts")
}

/// Where a topic stands, asked over a subscription on whatever shard takes it.
pub(crate) fn position(gateway: &Gateway, topic: &str) -> (String, u64) {
    let mut client = Client::connect(gateway, "/stream");
    let reply = client.subscribe(&[&format!("{topic};last")]);
    (reply[0]["epoch"].as_str().expect("an epoch").to_owned(), reply[0]["offset"].as_u64().expect("an offset"))
}

/// What stands in the header of a file: another start of the machine wrote it.
pub(crate) fn write_by_another_boot(file: &Path) {
    let mut bytes = std::fs::read(file).expect("it can be read");
    let length = usize::from(u16::from_le_bytes([bytes[10], bytes[11]]));
    bytes[32..48].copy_from_slice(b"another start...");
    let checksum = crc32fast::hash(&bytes[16..length]);
    bytes[12..16].copy_from_slice(&checksum.to_le_bytes());
    std::fs::write(file, bytes).expect("it can be written");
}

/// The next publication on a combined connection: topic, offset, payload as it stands there.
pub(crate) fn publication(client: &mut Client) -> (String, u64, String) {
    let (topic, (offset, data)) = publication_in(&client.text());
    (topic, offset, data)
}

/// A publication as a combined connection gives it out.
pub(crate) fn publication_in(text: &str) -> (String, (u64, String)) {
    let parts = text.strip_prefix("{\"stream\":\"").and_then(|rest| rest.split_once("\",\"o\":"));
    let (topic, rest) = parts.unwrap_or_else(|| panic!("not a publication: {text}"));
    let (offset, data) = rest.split_once(",\"data\":").unwrap_or_else(|| panic!("not a publication: {text}"));
    let data = data.strip_suffix('}').expect("it ends so");
    (topic.into(), (offset.parse().expect("an offset is a number"), data.into()))
}
