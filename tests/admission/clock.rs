//! A wall clock that is set while the gateway runs: libfaketime stands between it and the real binary and reads its offset from a file. The
//! monotonic clock goes on as it is, as on a machine whose clock is set.

use std::fs;
use std::path::PathBuf;

use serde_json::json;
use tempfile::TempDir;

use crate::common::{Client, Gateway, Raw, skipped};
use crate::keys::{Keys, now_s};

struct WallClock {
    library: PathBuf,
    directory: TempDir,
}

impl WallClock {
    /// None where Debian's `libfaketime` is not installed.
    fn new(test: &str) -> Option<WallClock> {
        let here = |folder: fs::DirEntry| folder.path().join("faketime/libfaketimeMT.so.1");
        let library = fs::read_dir("/usr/lib").ok()?.filter_map(Result::ok).map(here).find(|library| library.exists());
        let Some(library) = library else {
            let must = std::env::var_os("CI").is_some() || std::env::var_os("TIDEGATE_TEST_PARTS").is_some();
            assert!(!must, "libfaketime is not installed; scripts/install-test-parts does that");
            skipped(test, "libfaketime is not installed (scripts/test installs it)");
            return None;
        };
        let clock = WallClock { library, directory: TempDir::new().expect("a temporary directory can be made") };
        clock.set(0);
        Some(clock)
    }

    /// From now on it differs by so much from the machine's.
    fn set(&self, ahead_s: i64) {
        let (new, file) = (self.directory.path().join("new"), self.directory.path().join("offset"));
        fs::write(&new, format!("{ahead_s:+}\n")).expect("a temporary file can be written");
        fs::rename(new, file).expect("it can be renamed");
    }

    fn gateway(&self, toml: &str) -> Gateway {
        let text = |path: PathBuf| path.to_str().expect("temporary paths are UTF-8").to_owned();
        let (library, file) = (text(self.library.clone()), text(self.directory.path().join("offset")));
        let environment = [
            ("LD_PRELOAD", library.as_str()),
            ("FAKETIME_TIMESTAMP_FILE", &file),
            // Looked at for each question.
            ("FAKETIME_NO_CACHE", "1"),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
        ];
        Gateway::configured_with("", toml, &environment)
    }
}

#[test]
fn a_clock_that_is_set_ends_what_is_over_by_it_and_nothing_else() {
    let Some(clock) = WallClock::new("a_clock_that_is_set_ends_what_is_over_by_it_and_nothing_else") else { return };
    let (keys, journal) = (Keys::new(), TempDir::new().expect("a temporary directory can be made"));
    // A token is looked at when one of its client's deadlines comes up: here each second.
    let gateway = clock.gateway(&format!(
        "{}[anonymous]\nsubscribe = [\"open\"]\n[limits]\nidle_ping_ms = 1000\n[journal]\ndirectory = {:?}\n\
         [[topic]]\npattern = \"j.>\"\njournal = true\n",
        keys.shared(),
        journal.path(),
    ));
    let good_for = |seconds: u64| keys.token(json!({"exp": now_s() + seconds, "subscribe": ">"}));
    let (short, long) = (good_for(1800), good_for(4 * 3600));
    let door = |token: &str| Raw::open(gateway.clients).handshake(&format!("/ws/j.a?token={token}"), &[]).status;
    let mut ends = Client::connect(&gateway, &format!("/ws/j.a?token={short}"));
    let mut stays = Client::connect(&gateway, &format!("/ws/j.a?token={long}"));
    let mut nobody = Client::connect(&gateway, "/ws/open");
    let (epoch, _) = gateway.publish("j.a", "1");
    assert_eq!([ends.text(), stays.text()], ["1", "1"]);

    clock.set(3600);
    assert_eq!(ends.close_code(), Some(1008), "its token was over half an hour ago");
    assert_eq!([door(&short), door(&long)], [401, 101]);
    assert_eq!(gateway.publish("j.a", "2"), (epoch.clone(), 2));
    assert_eq!(stays.text(), "2");

    clock.set(-3600);
    assert_eq!([door(&short), door(&long)], [101, 101]);
    assert_eq!(gateway.publish("j.a", "3"), (epoch.clone(), 3));
    assert_eq!(stays.text(), "3");
    let mut back = Client::connect(&gateway, &format!("/stream?streams=j.a;since={epoch}:1&token={short}"));
    assert!(back.text().contains("\"recovered\":true"));
    let missed: Vec<String> = (2..=3).map(|offset| format!("{{\"stream\":\"j.a\",\"o\":{offset},\"data\":{offset}}}")).collect();
    assert_eq!([back.text(), back.text()], *missed);
    // Pings went and were answered over both jumps.
    gateway.publish("open", "4");
    assert_eq!(nobody.text(), "4");
    let metrics = gateway.get("/metrics").text().to_owned();
    let mut closed_late =
        metrics.lines().filter(|line| line.starts_with("tidegate_closes_total") && line.contains("\"timeout\""));
    assert!(closed_late.all(|line| line.ends_with(" 0")), "{metrics}");
    gateway.stop();
}
