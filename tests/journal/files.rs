//! The files by themselves: verified, dumped, replayed, refused.

use std::fs;
use std::process::{Command, Stdio};

use crate::common::{Client, Gateway};
use crate::{Journal, configuration, kill, publication, tidegate};

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("it is text")
}

#[test]
fn verify_says_what_a_file_holds_and_whether_it_is_whole() {
    let journal = Journal::new();
    let gateway = journal.gateway("");
    let (epoch, _) = gateway.publish("j.a", "{\"p\":1}");
    gateway.publish("j.a", "{\"p\":2}");
    kill(gateway);
    let file = journal.newest_file("j.a");
    let name = file.to_string_lossy().into_owned();
    let verify = || tidegate(&["journal", "verify", &name]);
    let expected = format!("{name}: j.a, epoch {epoch}, 2 publications from offset 1, ");
    let open = verify();
    assert_eq!((text(&open.stdout), open.status.code()), (format!("{expected}whole, not closed\n"), Some(0)));
    journal.gateway("").stop();
    let closed = verify();
    assert_eq!((text(&closed.stdout), closed.status.code()), (format!("{expected}closed in order\n"), Some(0)));
    let bytes = fs::read(&file).expect("it can be read");
    fs::write(&file, &bytes[..bytes.len() - 5]).expect("it can be written");
    let cut = verify();
    let at = bytes.len() - 36;
    assert_eq!(text(&cut.stdout), format!("{expected}whole up to byte {at}, where a record is cut off\n"));
    let mut rotten = bytes.clone();
    rotten[at - 2] ^= 4;
    fs::write(&file, &rotten).expect("it can be written");
    let damaged = verify();
    assert_eq!(damaged.status.code(), Some(2));
    assert!(text(&damaged.stdout).contains("1 publications from offset 1, damaged"), "{damaged:?}");
    let said = text(&damaged.stderr);
    assert!(said.contains(&name) && said.contains("a record's body does not match its checksum"), "{said}");
}

#[test]
fn what_is_no_journal_or_a_newer_one_is_refused_with_its_name_and_offset() {
    let journal = Journal::new();
    let gateway = journal.gateway("");
    gateway.publish("j.a", "1");
    gateway.stop();
    let file = journal.newest_file("j.a");
    let bytes = fs::read(&file).expect("it can be read");
    let mut newer = bytes.clone();
    newer[8] = 9;
    for (bytes, why) in [(&b"{\"a\":1}"[..], "at byte 0: it is no journal"), (&newer, "at byte 0: it is of version 9")] {
        fs::write(&file, bytes).expect("it can be written");
        let name = file.to_string_lossy().into_owned();
        let verified = tidegate(&["journal", "verify", &name]);
        let said = text(&verified.stderr);
        assert!(verified.status.code() == Some(2) && said.contains(&name) && said.contains(why), "{said}");
        let refused = start(&journal);
        let said = text(&refused.stderr);
        assert!(refused.status.code() == Some(2) && said.contains(&name) && said.contains(why), "{said}");
    }
}

/// A start that is to fail.
fn start(journal: &Journal) -> std::process::Output {
    let configuration = configuration(journal.path(), "");
    let file = journal.path().join("gateway.toml");
    fs::write(&file, format!("[[listener]]\naddress = \"127.0.0.1:0\"\n{configuration}")).expect("it can be written");
    let child = Command::new(env!("CARGO_BIN_EXE_tidegate")).arg("--config").arg(&file).stdin(Stdio::null()).output();
    child.expect("the binary starts")
}

#[test]
fn a_journal_has_one_gateway() {
    let journal = Journal::new();
    let gateway = journal.gateway("");
    let refused = start(&journal);
    assert_eq!(refused.status.code(), Some(2));
    assert!(text(&refused.stderr).contains("is in use by another gateway"), "{refused:?}");
    gateway.stop();
}

/// A journal of some kinds of payloads, and its directory's name.
fn recorded(journal: &Journal) -> String {
    let gateway = journal.gateway("journal_segment_bytes = 4096");
    for number in 0..100 {
        gateway.publish("j.a", &format!("{{\"n\": {number} , \"text\":\"{}\"}}", "é".repeat(50)));
    }
    let mut publisher = Client::connect(&gateway, "/publish/j.a");
    publisher.send("no JSON");
    publisher.send_binary(&[0, 255, 10]);
    // What a publisher's connection sent and nobody read is not published by a gateway that stops.
    let deadline = std::time::Instant::now() + crate::common::PATIENCE;
    while gateway.counter("journal_publications") < 102 {
        assert!(std::time::Instant::now() < deadline, "not all is taken: {}", gateway.said());
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    gateway.stop();
    assert!(journal.files("j.a").len() > 2, "it is in several files");
    journal.path().join("topics/j.a").to_string_lossy().into_owned()
}

#[test]
fn a_journal_is_a_recording() {
    let journal = Journal::new();
    let directory = recorded(&journal);
    let gateway = Gateway::demo(&["--replay", &directory, "--speed", "max"]);
    let mut client = Client::connect(&gateway, "/stream");
    let mut reply = client.subscribe(&["j.a;last"]);
    while reply[0]["offset"] != 102 {
        client = Client::connect(&gateway, "/stream");
        reply = client.subscribe(&["j.a;last"]);
    }
    gateway.stop();
    // Into a journal again: the same payloads and kinds, byte for byte.
    let again = Journal::new();
    let source = format!("[[source]]\nkind = \"replay\"\nfile = {directory:?}\nspeed = \"max\"");
    let gateway = again.gateway(&source);
    let deadline = std::time::Instant::now() + crate::common::PATIENCE;
    while gateway.counter("journal_publications") < 102 {
        assert!(std::time::Instant::now() < deadline, "it is not played to its end: {}", gateway.said());
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    gateway.stop();
    let dump = |journal: &Journal| {
        let output = tidegate(&["journal", "dump", &journal.path().join("topics/j.a").to_string_lossy()]);
        let lines = text(&output.stdout);
        let without_time = lines.lines().map(|line| line.split_once(' ').expect("a time").1.to_owned());
        without_time.collect::<Vec<_>>()
    };
    let (first, second) = (dump(&journal), dump(&again));
    assert_eq!(first, second);
    assert_eq!(first.len(), 102);
    assert_eq!(first[3], format!("{{\"stream\":\"j.a\",\"o\":4,\"data\":{{\"n\": 3 , \"text\":\"{}\"}}}}", "é".repeat(50)));
    assert_eq!(
        first[100..],
        ["{\"stream\":\"j.a\",\"o\":101,\"data\":\"no JSON\"}", "{\"stream\":\"j.a\",\"o\":102,\"b64\":\"AP8K\"}"]
    );
}

#[test]
fn a_dump_is_a_recording_too() {
    let journal = Journal::new();
    let directory = recorded(&journal);
    let dump = tidegate(&["journal", "dump", &directory]);
    let file = journal.path().join("dump");
    fs::write(&file, &dump.stdout).expect("it can be written");
    let gateway = Gateway::demo(&["--replay", &file.to_string_lossy(), "--speed", "max"]);
    let deadline = std::time::Instant::now() + crate::common::PATIENCE;
    while gateway.counter("replay_skipped") == 0 {
        assert!(std::time::Instant::now() < deadline, "it is not played to its end: {}", gateway.said());
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    let mut client = Client::connect(&gateway, "/stream?streams=j.a;last");
    client.text();
    assert_eq!(publication(&mut client), ("j.a".into(), 101, "\"no JSON\"".into()), "the binary one alone is left out");
    gateway.stop();
}
