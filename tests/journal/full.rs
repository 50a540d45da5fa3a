//! A full disk: said, refused, healed. Needs a file system of its own, so it is left out where this user cannot mount one.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::common::{Client, Gateway, PATIENCE};
use crate::{configuration, publication, wait_for_words};

/// A file system of 1 MiB; unmounted when dropped.
pub(crate) struct SmallDisk {
    directory: TempDir,
}

impl SmallDisk {
    pub(crate) fn mount() -> Option<SmallDisk> {
        let directory = TempDir::new().expect("a temporary directory can be made");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "size=1m", "tmpfs"]).arg(directory.path()).output();
        if mounted.is_ok_and(|mounted| mounted.status.success()) {
            return Some(SmallDisk { directory });
        }
        eprintln!("left out: a file system of its own cannot be mounted here (that takes root)");
        None
    }

    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Takes all room that is left but for some.
    fn fill(&self) -> PathBuf {
        let path = self.path().join("ballast");
        fs::write(&path, vec![0; 900 << 10]).expect("there is room for the ballast");
        path
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        Command::new("umount").arg("-l").arg(self.path()).output().ok();
    }
}

fn publish(gateway: &Gateway, topic: &str, number: u64) -> (u16, String) {
    let body = format!("{{\"topic\":\"{topic}\",\"data\":{{\"n\":{number},\"room\":\"{}\"}}}}", "x".repeat(4000));
    let answer = gateway.post("/api/publish", "application/json", body);
    (answer.status, answer.text().to_owned())
}

#[test]
fn a_full_disk_refuses_and_heals() {
    let Some(disk) = SmallDisk::mount() else { return };
    let gateway = Gateway::configured(&configuration(&disk.path().join("journal"), "journal_segment_bytes = 65536"));
    let ballast = disk.fill();
    let mut subscriber = Client::connect(&gateway, "/stream?streams=j.a");
    let mut publisher = Client::connect(&gateway, "/publish/j.a");
    let mut published = 0;
    let refusal = loop {
        match publish(&gateway, "j.a", published) {
            (200, _) => published += 1,
            refused => break refused,
        }
        assert!(published < 1000, "the disk does not get full");
    };
    assert!(published > 0 && refusal.0 == 503, "{published}, {refusal:?}");
    assert!(refusal.1.contains("the topic's journal cannot be written"), "{refusal:?}");
    wait_for_words(&gateway, "make room on the disk");
    assert!(gateway.get("/health/ready").text().contains("the journals of 1 topics cannot be written"));
    let metrics = gateway.get("/metrics");
    assert!(metrics.text().contains("tidegate_journals_failing 1"), "{}", metrics.text());
    // Publishers' connections wait, also where their messages are counted, and are not told anything before.
    let mut counted = Client::connect(&gateway, "/publish/j.b?ack=1");
    counted.send(&format!("\"{}\"", "c".repeat(8000)));
    // A publisher that is not answered waits, and what has no journal is served as ever. It is larger than what was refused, so
    // that it has no room either.
    let held = format!("\"{}\"", "h".repeat(8000));
    publisher.send(&held);
    let deadline = Instant::now() + PATIENCE;
    while gateway.counter("journal_errors") < 3 {
        assert!(Instant::now() < deadline, "it is tried again and again: {}", gateway.said());
        std::thread::sleep(Duration::from_millis(20));
    }
    gateway.publish("other", "1");
    let mut client = Client::connect(&gateway, "/stream");
    assert_eq!(client.error("PUBLISH", &format!("[\"j.a\",{held}]")), 10);
    fs::remove_file(ballast).expect("the ballast can be removed");
    let deadline = Instant::now() + PATIENCE;
    while gateway.counter("journal_publications") < published + 2 {
        assert!(Instant::now() < deadline, "it does not heal: {}", gateway.said());
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(counted.text(), "{\"ack\":1}");
    let (_, offset) = gateway.publish("j.a", "\"last\"");
    assert_eq!(offset, published + 2, "no offset was given to what was refused");
    for expected in 1..=published {
        assert_eq!(publication(&mut subscriber).1, expected);
    }
    assert_eq!(publication(&mut subscriber), ("j.a".into(), published + 1, held));
    assert_eq!(publication(&mut subscriber), ("j.a".into(), published + 2, "\"last\"".into()));
    wait_for_words(&gateway, "can be written again");
    assert_eq!(gateway.get("/health/ready").text(), "ready\n");
    gateway.stop();
}

#[test]
fn old_segments_make_room_where_that_is_configured() {
    let Some(disk) = SmallDisk::mount() else { return };
    let keys = "journal_segment_bytes = 65536\njournal_full = \"forget\"";
    let gateway = Gateway::configured(&configuration(&disk.path().join("journal"), keys));
    for number in 0..600 {
        let (status, answer) = publish(&gateway, "j.a", number);
        assert_eq!(status, 200, "{number}: {answer}");
    }
    assert!(gateway.get("/metrics").text().contains("tidegate_journals_failing 0"));
    gateway.stop();
}

/// A feed that waits for its journal holds up nobody else.
#[test]
fn a_feed_that_waits_holds_up_no_other() {
    let Some(disk) = SmallDisk::mount() else { return };
    let feeds = "[[source]]\nkind = \"synthetic\"\nprefix = \"j\"\npublications_per_second = 100000\n\
                 [[source]]\nkind = \"synthetic\"\nprefix = \"other\"\npublications_per_second = 1000";
    let keys = format!("journal_segment_bytes = 65536\n{feeds}");
    let gateway = Gateway::configured(&configuration(&disk.path().join("journal"), &keys));
    let deadline = Instant::now() + PATIENCE;
    while gateway.counter("journal_errors") < 3 {
        assert!(Instant::now() < deadline, "the disk does not get full");
        std::thread::sleep(Duration::from_millis(20));
    }
    let mut subscriber = Client::connect(&gateway, "/stream?streams=other.bbo.BTC-USD");
    for _ in 0..20 {
        publication(&mut subscriber);
    }
    gateway.publish("more", "1");
    assert_eq!(publish(&gateway, "j.a", 1).0, 503);
    gateway.stop();
}
