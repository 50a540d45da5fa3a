//! The real binary where io_uring is forbidden, as in a container with the default seccomp profile: it serves by epoll, plays,
//! journals and goes on after a restart, and says once why. What it serves then is the other tests' (`TIDEGATE_REACTOR=epoll`).

#[path = "../common/mod.rs"]
mod common;

use std::path::Path;
use std::process::{Command, Output, Stdio};

use common::{Client, Gateway, PUBLISHING};
use serde_json::Value;
use tempfile::TempDir;

/// What refuses io_uring to a command.
const FILTER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/confined/without_io_uring.py");

/// A line that begins like this is said of a gateway that had to do without.
const WARNING: &str = "serving by epoll";

fn confined(toml: &str) -> Gateway {
    Gateway::under(&["python3", FILTER], &format!("{PUBLISHING}{toml}"))
}

/// What the kernel made for a process besides files: `[io_uring]`, `[eventpoll]`, ...
fn made_for(gateway: &Gateway) -> Vec<String> {
    let directory = std::fs::read_dir(format!("/proc/{}/fd", gateway.pid())).expect("a running process has descriptors");
    let links = directory.filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok());
    links.filter_map(|link| Some(link.to_str()?.strip_prefix("anon_inode:")?.to_owned())).collect()
}

fn is_confined(gateway: &Gateway) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{}/status", gateway.pid())).expect("a running process has a status");
    status.lines().any(|line| line == "Seccomp:\t2")
}

fn said_once(gateway: &Gateway, words: &str) {
    assert_eq!(gateway.said().matches(words).count(), 1, "{words:?} in {}", gateway.said());
}

/// A client that hears these streams.
fn subscribed(gateway: &Gateway, streams: &[&str]) -> Client {
    let mut client = Client::connect(gateway, "/stream");
    client.subscribe(streams);
    client
}

/// The data of a combined message on `topic`, and its offset.
fn publication(client: &mut Client, topic: &str) -> (u64, Value) {
    let message: Value = serde_json::from_str(&client.text()).expect("a message is JSON");
    assert_eq!(message["stream"], topic, "{message}");
    (message["o"].as_u64().expect("an offset"), message["data"].clone())
}

#[test]
fn a_gateway_without_io_uring_serves_journals_and_goes_on_and_says_once_why() {
    let journal = TempDir::new().expect("a temporary directory can be made");
    let toml = format!(
        "[journal]\ndirectory = {:?}\n[[topic]]\npattern = \"j.>\"\njournal = true\njournal_flush = \"always\"\n",
        journal.path().to_string_lossy()
    );
    let gateway = confined(&toml);
    assert!(is_confined(&gateway));
    let made = made_for(&gateway);
    assert!(!made.iter().any(|kind| kind == "[io_uring]"), "{made:?}");
    assert!(made.iter().filter(|kind| *kind == "[eventpoll]").count() >= 3, "two shards and the control thread: {made:?}");
    let mut clients: Vec<_> = (0..20).map(|_| subscribed(&gateway, &["j.a", "plain"])).collect();
    let (epoch, first) = gateway.publish("j.a", "{\"n\":1}");
    let mut publisher = Client::connect(&gateway, "/stream");
    assert_eq!(publisher.publish("j.a", "{\"n\":2}"), (epoch.clone(), first + 1));
    let long = "x".repeat(100_000);
    gateway.publish("plain", &format!("{long:?}"));
    for client in &mut clients {
        let mut seen: Vec<_> = (0..3).map(|_| client.text()).collect();
        seen.sort_by_key(String::len);
        assert!(seen[0].contains("\"o\":1,\"data\":{\"n\":1}") && seen[1].contains("\"o\":2,\"data\":{\"n\":2}"), "{seen:?}");
        assert!(seen[2].contains(&long));
    }
    said_once(&gateway, WARNING);
    said_once(&gateway, "io_uring is forbidden to this process, as a container's seccomp profile does by default");
    said_once(&gateway, "`--reactor epoll`");
    gateway.stop();
    // The positions go on, and what was missed is there.
    let gateway = confined(&toml);
    let mut client = subscribed(&gateway, &[&format!("j.a;since={epoch}:1")]);
    assert_eq!(publication(&mut client, "j.a"), (2, serde_json::json!({"n": 2})));
    assert_eq!(gateway.publish("j.a", "{\"n\":3}"), (epoch, 3));
    assert_eq!(publication(&mut client, "j.a"), (3, serde_json::json!({"n": 3})));
    gateway.stop();
}

#[test]
fn a_recording_is_played_without_io_uring() {
    let directory = TempDir::new().expect("a temporary directory can be made");
    let file = directory.path().join("recording");
    let line = |number: u32| format!("{number} {{\"stream\":\"r.a\",\"data\":{{\"n\":{number}}}}}\n");
    std::fs::write(&file, (1..=5_000).map(line).collect::<String>()).expect("a file can be written");
    let gateway = confined(&format!(
        "[[source]]\nkind = \"replay\"\nfile = {:?}\ntopic = \"{{/stream}}\"\npayload = \"/data\"\nspeed = \"max\"\nloop = true\n",
        file.to_string_lossy()
    ));
    let mut client = subscribed(&gateway, &["r.a"]);
    let (first, _) = publication(&mut client, "r.a");
    for offset in first + 1..first + 6_000 {
        let (told, data) = publication(&mut client, "r.a");
        assert_eq!((told, data["n"].as_u64()), (offset, Some((offset - 1) % 5_000 + 1)));
    }
    gateway.stop();
}

/// A start that is to fail.
fn refused(wrapper: &[&str], flags: &[&str]) -> (Option<i32>, String) {
    let binary = env!("CARGO_BIN_EXE_tidegate");
    let words: Vec<&str> = wrapper.iter().copied().chain([binary]).chain(flags.iter().copied()).collect();
    let output: Output = Command::new(words[0]).args(&words[1..]).stdin(Stdio::null()).output().expect("the command can be run");
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn io_uring_that_was_asked_for_and_is_forbidden_is_an_error_with_its_remedy() {
    let flags = ["--reactor", "io_uring", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"];
    let (code, said) = refused(&["python3", FILTER], &flags);
    assert_eq!(code, Some(2), "{said}");
    assert!(
        said.contains("allow io_uring_setup, io_uring_enter and io_uring_register") && said.contains("--reactor auto"),
        "{said}"
    );
}

#[test]
fn epoll_that_was_asked_for_needs_no_warning_and_makes_no_ring() {
    let configured = Gateway::under(&["env"], "[shards]\nreactor = \"epoll\"\n");
    let flagged = Gateway::demo(&["--reactor", "epoll"]);
    for gateway in [configured, flagged] {
        assert!(!is_confined(&gateway));
        subscribed(&gateway, &["none"]);
        let made = made_for(&gateway);
        assert!(!made.iter().any(|kind| kind == "[io_uring]") && made.iter().any(|kind| kind == "[eventpoll]"), "{made:?}");
        assert!(!gateway.said().contains(WARNING), "{}", gateway.said());
        gateway.stop();
    }
}

/// Each client is a descriptor of the process then, however many shards there are.
#[test]
fn epoll_is_held_to_the_limit_of_descriptors() {
    let directory = TempDir::new().expect("a temporary directory can be made");
    let check = |connections_max: u32, wanted: &str| {
        let file = directory.path().join("tidegate.toml");
        let toml = format!("[[listener]]\naddress = \"192.0.2.1:1\"\n[limits]\nconnections_max = {connections_max}\n");
        std::fs::write(&file, toml).expect("a file can be written");
        let limited = ["sh", "-c", "ulimit -n 1000 && exec \"$@\"", "sh"];
        let flags = ["--reactor", "epoll", "--shards", "4", "--config", path(&file)];
        let (code, said) = refused(&limited, &flags);
        assert!(code == Some(2) && said.contains(wanted), "{said}");
    };
    check(800, "descriptors are needed but RLIMIT_NOFILE is 1000: raise it (`ulimit -n`");
    // What is refused then is the address, which comes after.
    check(100, "192.0.2.1:1");
}

fn path(path: &Path) -> &str {
    path.to_str().expect("a temporary path is text")
}
