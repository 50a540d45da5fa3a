//! The admin port with keys: who bears one, and for what it is good.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Command, Stdio};

use tempfile::TempDir;

use crate::common::{Gateway, Response, http};
use crate::reload::{comes_true, reloaded};

const FEED: &str = "feed-0123456789abcdef0123456789abcdef";
const WATCHER: &str = "watch-0123456789abcdef0123456789abcdef";
const OTHER: &str = "other-0123456789abcdef0123456789abcdef";

/// The files of two keys, and the tables that name them; they follow `[admin]`.
struct Files(TempDir);

impl Files {
    fn new() -> Files {
        let files = Files(TempDir::new().expect("a temporary directory can be made"));
        files.write("feed", FEED);
        files.write("watcher", WATCHER);
        files
    }

    fn write(&self, name: &str, secret: &str) {
        std::fs::write(self.0.path().join(name), format!("{secret}\n")).expect("it can be written");
    }

    fn tables(&self) -> String {
        let file = |name: &str| format!("[[admin.key]]\nname = {name:?}\nsecret_file = {:?}\n", self.0.path().join(name));
        format!("{}publish = [\"md.>\"]\n{}read = true\n", file("feed"), file("watcher"))
    }
}

fn ask(admin: SocketAddr, method: &str, path: &str, key: Option<&str>, body: &str) -> Response {
    let bearer = key.map(|key| format!("Bearer {key}"));
    let authorization = bearer.iter().map(|value| ("Authorization", value.as_str()));
    let headers: Vec<(&str, &str)> = authorization.chain([("Content-Type", "application/json")]).collect();
    http(admin, method, path, &headers, body.as_bytes())
}

#[test]
fn each_key_is_good_for_what_it_is_for_and_the_log_alone_says_why() {
    let files = Files::new();
    let gateway = Gateway::configured(&files.tables());
    let ask = |method: &str, path: &str, key: Option<&str>, body: &str| ask(gateway.admin, method, path, key, body);
    let granted = "{\"topic\":\"md.a\",\"data\":1}";
    let foreign = "{\"topic\":\"secret.b\",\"data\":1}";
    for (method, path, key, body, status) in [
        ("GET", "/health/live", None, "", 200),
        ("GET", "/health/ready", None, "", 200),
        ("GET", "/metrics", None, "", 401),
        ("GET", "/metrics", Some(OTHER), "", 401),
        ("GET", "/metrics", Some(FEED), "", 403),
        ("GET", "/metrics", Some(WATCHER), "", 200),
        ("GET", "/api/topics", Some(WATCHER), "", 200),
        ("GET", "/", None, "", 200),
        ("GET", "/page/key.js", None, "", 200),
        ("GET", "/page/nothing", None, "", 404),
        ("GET", "/api/history", None, "", 401),
        ("GET", "/api/key", Some(OTHER), "", 401),
        ("GET", "/api/key", Some(FEED), "", 200),
        ("GET", "/nothing", None, "", 401),
        ("GET", "/nothing", Some(WATCHER), "", 404),
        ("POST", "/api/publish", None, granted, 401),
        ("POST", "/api/publish", Some(&FEED[1..]), granted, 401),
        ("POST", "/api/publish", Some(WATCHER), granted, 403),
        ("POST", "/api/publish", Some(FEED), granted, 200),
        ("POST", "/api/publish", Some(FEED), foreign, 403),
        ("POST", "/api/topics/md.a", Some(FEED), "2", 200),
        ("POST", "/api/topics/secret.b", Some(FEED), "2", 403),
        ("POST", "/api/topics/md.a", Some(WATCHER), "2", 403),
    ] {
        let answer = ask(method, path, key, body);
        assert_eq!(answer.status, status, "{method} {path} {key:?}: {answer:?}");
        assert_eq!(answer.header("www-authenticate").is_some(), status == 401, "{answer:?}");
        if status == 401 || status == 403 {
            let said = answer.text();
            assert!(said.contains("\"error\"") && !said.contains("secret.b") && !said.contains("feed"), "{said}");
        }
    }
    // Of several each is judged by itself; the others are published.
    let answer = ask("POST", "/api/publish", Some(FEED), &format!("[{granted},{foreign},{granted}]"));
    let lines: Vec<&str> = answer.text().lines().collect();
    assert!(answer.status == 200 && lines.len() == 3 && lines[1].contains("\"error\""), "{answer:?}");
    assert!(lines[0].contains("\"offset\":3") && lines[2].contains("\"offset\":4"), "{answer:?}");
    let said = gateway.said();
    assert!(said.contains("a request of the admin port is denied") && said.contains("why="), "{said}");
    assert!(![FEED, WATCHER, OTHER].iter().any(|key| said.contains(key)), "{said}");
    let metrics = ask("GET", "/metrics", Some(WATCHER), "");
    assert!(metrics.text().lines().any(|line| line == "tidegate_admin_denied_total 13"), "{}", metrics.text());
    gateway.stop();
}

#[test]
fn keys_are_changed_by_a_reload() {
    let files = Files::new();
    let gateway = Gateway::configured(&files.tables());
    let status = |key: &str| ask(gateway.admin, "GET", "/metrics", Some(key), "").status;
    assert_eq!((status(WATCHER), status(OTHER)), (200, 401));
    files.write("watcher", OTHER);
    reloaded(&gateway, "", &files.tables());
    assert_eq!((status(WATCHER), status(OTHER)), (401, 200));
    // As a hash; `sha256sum` is who made it.
    let hash = Command::new("sh").args(["-c", &format!("printf %s {WATCHER} | sha256sum")]).output().expect("there is a shell");
    let hash = String::from_utf8(hash.stdout).expect("it is hexadecimal");
    files.write("watcher", &format!("sha256:{}", hash.split(' ').next().expect("the hash comes first")));
    reloaded(&gateway, "", &files.tables());
    assert_eq!((status(WATCHER), status(OTHER)), (200, 401));
    files.write("watcher", "too short");
    gateway.rewrite("", &format!("{}[limits]\nsubscriptions_max = 1\n", files.tables()));
    let said = gateway.reload();
    assert!(said.contains("all stays as it was: the file ") && said.contains("holds no key"), "{said}");
    assert_eq!(status(WATCHER), 200);
    reloaded(&gateway, "", "");
    comes_true(|| gateway.get("/metrics").status == 200, "on loopback it may be without keys");
    gateway.stop();
}

/// Runs with a configuration whose admin port is on an address that others reach.
fn command(files: &Files, keys: &str) -> Command {
    let file = files.0.path().join("tidegate.toml");
    let toml = format!("[[listener]]\naddress = \"127.0.0.1:0\"\n[admin]\naddress = \"0.0.0.0:0\"\n{keys}");
    std::fs::write(&file, toml).expect("it can be written");
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
    command.args(["--shards", "1", "--config"]).arg(file).stdin(Stdio::null());
    command
}

#[test]
fn where_others_reach_it_every_name_is_served_and_nobody_without_a_key() {
    let files = Files::new();
    let mut child = command(&files, &files.tables()).stdout(Stdio::piped()).spawn().expect("the binary starts");
    let lines = BufReader::new(child.stdout.take().expect("it is piped")).lines();
    let admin = lines.map_while(Result::ok).find_map(|line| Some(line.split_once("http://0.0.0.0:")?.1.to_owned()));
    let port: u16 = admin.expect("it says where it is").parse().expect("a port");
    let admin = SocketAddr::from(([127, 0, 0, 1], port));
    let status = |key: &str| {
        let bearer = format!("Bearer {key}");
        http(admin, "GET", "/metrics", &[("Host", "feed.example"), ("Authorization", &bearer)], b"").status
    };
    let statuses = (status(WATCHER), status(OTHER), http(admin, "GET", "/health/live", &[("Host", "feed.example")], b"").status);
    child.kill().expect("it runs");
    child.wait().expect("it was killed");
    assert_eq!(statuses, (200, 401, 200));
}

#[test]
fn a_key_that_cannot_be_used_is_a_sentence_and_exit_code_2() {
    let files = Files::new();
    for (secret, sentence) in
        [(Some("short"), "holds no key; it must hold a line of 20 to 512"), (None, "cannot be read (No such file")]
    {
        match secret {
            Some(secret) => files.write("feed", secret),
            None => std::fs::remove_file(files.0.path().join("feed")).expect("it is there"),
        }
        let output = command(&files, &files.tables()).output().expect("the binary starts");
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains("of the admin.key \"feed\" ") && said.contains(sentence), "{said}");
    }
}
