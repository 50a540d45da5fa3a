//! SIGHUP: the file is read again; what can be in force is, all of it or nothing, and nobody is dropped for it.

use std::io::Write;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use crate::common::{Client, Gateway, PATIENCE, PUBLISHING, Raw, Response, frame, http};

/// Shards hear of it a moment after it is said.
#[track_caller]
pub(crate) fn comes_true(mut is_true: impl FnMut() -> bool, what: &str) {
    let deadline = Instant::now() + PATIENCE;
    while !is_true() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A reload of this file, which must be taken.
#[track_caller]
pub(crate) fn reloaded(gateway: &Gateway, listener: &str, toml: &str) -> String {
    gateway.rewrite(listener, toml);
    let said = gateway.reload();
    assert!(said.contains("SIGHUP: ") && !said.contains("all stays as it was"), "{said}");
    said
}

fn handshake(gateway: &Gateway, path: &str, headers: &[(&str, &str)]) -> Response {
    Raw::open(gateway.clients).handshake(path, headers)
}

pub(crate) fn status(gateway: &Gateway, path: &str, headers: &[(&str, &str)]) -> u16 {
    handshake(gateway, path, headers).status
}

/// Publications before, between and after many reloads, each once and in order.
#[test]
fn a_live_client_hears_everything_through_every_kind_of_change() {
    let gateway = Gateway::configured("");
    let mut listener = Client::connect(&gateway, "/ws/t");
    let changes = [
        ("origins = [\"https://a.example\"]\n", ""),
        ("path_prefix = \"/md\"\n", "[log]\nlevel = \"debug\"\n"),
        ("", "[limits]\nidle_ping_ms = 1000\npublication_bytes_max = 65536\n"),
        ("trusted_proxies = [\"10.0.0.0/8\"]\nproxy_protocol = \"optional\"\n", "[arrivals]\nper_second = 5\n"),
        ("permessage_deflate = true\n", "[[topic]]\npattern = \"t\"\nring_publications = 1\n"),
        (
            "",
            "[[topic]]\npattern = \"a.>\"\n[[topic]]\npattern = \"t\"\nkind = \"state\"\nkey = \"/k\"\n[drain]\nwindow_ms = 9\n",
        ),
        ("", "[limits]\nconnections_max = 1\n"),
    ];
    for (number, (keys, toml)) in changes.iter().enumerate() {
        gateway.publish("t", &format!("{{\"k\":{number}}}"));
        let said = reloaded(&gateway, keys, toml);
        assert!(said.contains("reloaded: ") && said.contains(" 0 wait for a restart"), "{said}");
        gateway.publish("t", &format!("{{\"k\":{number},\"after\":true}}"));
    }
    for number in 0..changes.len() {
        assert_eq!(listener.text(), format!("{{\"k\":{number}}}"));
        assert_eq!(listener.text(), format!("{{\"k\":{number},\"after\":true}}"));
    }
    listener.assert_silent();
    drop(listener);
    gateway.stop();
}

#[test]
fn who_comes_next_meets_the_new_door() {
    let gateway = Gateway::configured("");
    let foreign = [("Origin", "https://app.example")];
    assert_eq!(status(&gateway, "/ws/t", &foreign), 403);
    reloaded(&gateway, "origins = [\"https://app.example\"]\n", "");
    comes_true(|| status(&gateway, "/ws/t", &foreign) == 101, "the origin is let in");
    let named = [("Host", "feed.example")];
    assert_eq!(status(&gateway, "/ws/t", &named), 421);
    reloaded(&gateway, "hosts = [\"feed.example\"]\n", "");
    comes_true(|| status(&gateway, "/ws/t", &named) == 101, "the host is known");
    assert_eq!(status(&gateway, "/ws/t", &foreign), 403, "what is not in the file any more is not in force");
    reloaded(&gateway, "path_prefix = \"/md\"\n", "");
    comes_true(|| status(&gateway, "/md/ws/t", &[]) == 101, "the prefix is known");
    assert_eq!(status(&gateway, "/ws/t", &[]), 404);
    let offer = [("Sec-WebSocket-Extensions", "permessage-deflate")];
    assert_eq!(handshake(&gateway, "/md/ws/t", &offer).header("sec-websocket-extensions"), None);
    reloaded(&gateway, "permessage_deflate = true\n", "[page]\nenabled = true\n[echo]\nenabled = true\n");
    comes_true(|| handshake(&gateway, "/ws/t", &offer).header("sec-websocket-extensions").is_some(), "it compresses");
    comes_true(|| status(&gateway, "/echo", &[]) == 101, "there is an echo");
    comes_true(|| http(gateway.clients, "GET", "/", &[], &[]).status == 200, "there is a page");
    reloaded(&gateway, "trusted_proxies = [\"127.0.0.1\"]\nproxy_protocol = \"required\"\n", "");
    comes_true(
        || {
            let mut raw = Raw::open(gateway.clients);
            raw.send("PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n");
            raw.handshake("/ws/t", &[]).status == 101
        },
        "proxies are believed",
    );
    reloaded(&gateway, "", "[arrivals]\nexempt = []\nper_address_max = 1\n[shards]\n");
    let mut first = None;
    comes_true(
        || {
            // Two at once, one a shard: each shard has its share of one.
            let mut all: Vec<Raw> = (0..4).map(|_| Raw::open(gateway.clients)).collect();
            let refused = all.iter_mut().any(|raw| raw.handshake("/ws/t", &[]).status == 429);
            first = all.pop();
            refused
        },
        "an address has its bound",
    );
    drop(first);
    gateway.stop();
}

#[test]
fn who_is_here_goes_by_the_new_limits() {
    let gateway = Gateway::configured("[limits]\nidle_ping_ms = 3600000\n");
    let mut client = Client::connect(&gateway, "/stream");
    client.subscribe(&["a"]);
    reloaded(&gateway, "", "[limits]\nidle_ping_ms = 3600000\nsubscriptions_max = 1\n");
    let mut names = 0..;
    comes_true(
        || {
            let reply = client.ask("SUBSCRIBE", &format!("[\"b{}\"]", names.next().expect("there is no last one")));
            reply.contains("more than 1 subscriptions")
        },
        "it may have no more subscriptions",
    );
    // Whose deadline was an hour away is pinged within seconds.
    let mut idle = Raw::upgraded(&gateway, "/ws/a");
    reloaded(&gateway, "", "[limits]\nidle_ping_ms = 1000\nmessage_bytes_max = 125\n");
    assert_eq!(idle.frame().map(|frame| frame.first), Some(0x89), "a ping comes");
    // The second to hear of it, too: each shard has its share.
    comes_true(
        || {
            let mut raw = Raw::upgraded(&gateway, "/stream");
            raw.send(frame(0x81, "x".repeat(126).as_bytes()));
            raw.closed_with() == 1009
        },
        "messages are bounded anew",
    );
    drop((client, idle));
    gateway.stop();
}

#[test]
fn topics_that_are_there_go_by_their_new_settings() {
    let state = |more: &str| format!("{PUBLISHING}[[topic]]\npattern = \"t\"\nkind = \"state\"\n{more}");
    let gateway = Gateway::configured(&state(""));
    let positions: Vec<(String, u64)> =
        (0..10).map(|number| gateway.publish("t", &format!("{{\"k\":{},\"n\":{number}}}", number % 3))).collect();
    let mut client = Client::connect(&gateway, "/stream");
    assert_eq!(client.error("SUBSCRIBE", "[\"t;slow=drop\"]"), 4);
    reloaded(
        &gateway,
        "",
        &state("slow_allowed = [\"close\", \"drop\"]\nrates_ms = [50]\nring_publications = 2\nkey = \"/k\"\n"),
    );
    comes_true(|| client.ask("SUBSCRIBE", "[\"t;slow=drop\"]").starts_with("{\"result\""), "it may be dropped from");
    assert_eq!(client.error("SUBSCRIBE", "[\"u;rate=50ms\"]"), 4, "another topic may not");
    let mut slow = Client::connect(&gateway, "/stream");
    comes_true(|| slow.ask("SUBSCRIBE", "[\"t;rate=50ms\"]").starts_with("{\"result\""), "it has another rate");
    // The ring holds two from its next publication on, whoever publishes.
    let mut offset = positions.last().expect("ten").1;
    let (epoch, _) = &positions[0];
    for number in 0..3 {
        let (_, next) = gateway.publish("t", &format!("{{\"k\":{number},\"new\":true}}"));
        assert_eq!(next, offset + 1, "the offsets go on");
        offset = next;
    }
    let recovered = |since: u64| {
        let mut client = Client::connect(&gateway, "/stream");
        client.subscribe(&[&format!("t;since={epoch}:{since}")])[0]["recovered"] == Value::Bool(true)
    };
    assert!(recovered(offset - 2) && !recovered(offset - 5));
    // Every key has its newest.
    let mut last = Client::connect(&gateway, "/ws/t;last");
    let mut newest: Vec<String> = (0..3).map(|_| last.text()).collect();
    while newest.iter().any(|payload| !payload.contains("new")) {
        newest = newest.into_iter().chain([last.text()]).skip(1).collect();
    }
    assert_eq!(newest, (0..3).map(|number| format!("{{\"k\":{number},\"new\":true}}")).collect::<Vec<_>>());
    // A pattern that was added is one of the classes that are measured; the one that was there goes on counting.
    reloaded(&gateway, "", &format!("{}[[topic]]\npattern = \"v.*\"\n", state("")));
    let mut added = Client::connect(&gateway, "/ws/v.1");
    gateway.publish("v.1", "1");
    assert_eq!(added.text(), "1");
    comes_true(|| gateway.get("/metrics").text().contains("topics=\"v.*\""), "the class is there");
    drop((client, slow, last, added));
    gateway.stop();
}

#[test]
fn more_clients_than_may_be_from_now_on_stay_and_nobody_joins_them() {
    let with = |connections_max: u32| format!("[limits]\nconnections_max = {connections_max}\n");
    let gateway = Gateway::configured(&with(10));
    let mut clients: Vec<Client> = (0..3).map(|_| Client::connect(&gateway, "/ws/t")).collect();
    reloaded(&gateway, "", &with(2));
    comes_true(|| status(&gateway, "/ws/t", &[]) == 503, "there are as many as may be");
    assert_eq!(gateway.get("/health/ready").status, 503);
    gateway.publish("t", "1");
    assert!(clients.iter_mut().all(|client| client.text() == "1"));
    assert!(reloaded(&gateway, "", &with(20)).contains("waits for a restart: limits.connections_max 10 -> 20"));
    comes_true(|| status(&gateway, "/ws/t", &[]) == 101, "there is room up to what there was at start");
    assert_eq!(gateway.get("/health/ready").status, 200);
    drop(clients);
    gateway.stop();
}

/// A ring that shrinks while somebody is inside one of its frames: what that client is given is whole frames, or its end.
#[test]
fn a_ring_that_shrinks_under_a_slow_reader_tears_nothing() {
    let ring = |publications: u32| format!("{PUBLISHING}[[topic]]\npattern = \"t\"\nring_publications = {publications}\n");
    let gateway = Gateway::configured(&ring(10_000));
    let mut stalled = Raw::upgraded(&gateway, "/ws/t");
    let mut keeping = Client::connect(&gateway, "/ws/t");
    let payload = |number: u32| format!("\"{number:06}{}\"", "x".repeat(60_000));
    for number in 0..200 {
        gateway.publish("t", &payload(number));
        assert_eq!(keeping.text().len(), 60_008);
    }
    reloaded(&gateway, "", &ring(2));
    let goes_back = |(epoch, offset): (String, u64)| {
        let mut client = Client::connect(&gateway, "/stream");
        client.subscribe(&[&format!("t;since={epoch}:{}", offset - 5)])[0]["recovered"] == Value::Bool(true)
    };
    comes_true(
        || {
            let position = gateway.publish("t", &payload(999_999));
            keeping.text();
            // Both shards' rings: a client comes to either.
            !(0..8).any(|_| goes_back(position.clone()))
        },
        "the ring holds two",
    );
    let mut expected = 0;
    loop {
        match stalled.frame() {
            Some(frame) if frame.first == 0x88 => {
                assert_eq!(frame.close_code(), Some(1013));
                break;
            }
            Some(frame) => {
                assert_eq!(String::from_utf8_lossy(&frame.payload), payload(expected));
                expected += 1;
            }
            None => break,
        }
    }
    assert!(expected < 200, "it did not hear all");
    drop((stalled, keeping));
    gateway.stop();
}

#[test]
fn who_could_publish_cannot_where_nobody_may_any_more() {
    let gateway = Gateway::publishing();
    let mut client = Client::connect(&gateway, "/stream");
    client.publish("t", "1");
    reloaded(&gateway, "", "");
    comes_true(|| client.ask("PUBLISH", "[\"t\",1]").contains("\"error\""), "it may not publish");
    reloaded(&gateway, "", PUBLISHING);
    comes_true(|| client.ask("PUBLISH", "[\"t\",1]").contains("\"result\""), "it may again");
    drop(client);
    gateway.stop();
}

#[test]
fn the_admin_port_and_the_log_go_by_it_too() {
    let gateway = Gateway::configured("");
    let large = "[".repeat(70_000);
    assert_eq!(gateway.post("/api/topics/t", "application/octet-stream", &large).status, 200);
    reloaded(&gateway, "", "[limits]\npublication_bytes_max = 65536\n[log]\nlevel = \"debug\"\n");
    assert_eq!(gateway.post("/api/topics/t", "application/octet-stream", &large).status, 413);
    let debugged = || {
        let mut broken = TcpStream::connect(gateway.admin).expect("the admin port listens");
        broken.write_all(b"GET / HT").expect("it is taken");
        drop(broken);
        gateway.said().contains("DEBUG")
    };
    comes_true(debugged, "debugging lines come");
    // What tells less is put in force after it was told.
    assert!(reloaded(&gateway, "", "[log]\nlevel = \"error\"\n").contains("reloaded: log.level \"debug\" -> \"error\""));
    let before = gateway.said().len();
    comes_true(|| gateway.get("/metrics").status == 200, "it serves");
    gateway.rewrite("", "[limits]\ntopics_max = 0\n");
    let said = gateway.reload();
    assert!(said.contains("ERROR") && !gateway.said()[before..].contains("INFO"), "{said}");
    gateway.stop();
}

#[test]
fn a_file_that_is_wrong_changes_nothing() {
    let gateway = Gateway::configured(PUBLISHING);
    let mut client = Client::connect(&gateway, "/stream");
    let foreign = [("Origin", "https://app.example")];
    let opened = "origins = [\"https://app.example\"]\n";
    let missing = "[listener.tls]\ncertificate = \"/nowhere/a.pem\"\nkey = \"/nowhere/a.key\"\n";
    for (listener, toml, named) in [
        (
            opened.to_owned(),
            "[limits]\nsubscriptions_max = 1\ntopics_max = 0\n",
            "limits.topics_max is 0; expected a whole number",
        ),
        (opened.to_owned(), "[limits]\nsubscriptions_max = 1\n[nonsense]\n", "nonsense is not known"),
        (opened.to_owned(), "subscriptions_max =", "this is not TOML"),
        // Valid by itself, but for a file that it names.
        (format!("{opened}{missing}"), "[limits]\nsubscriptions_max = 1\n", "/nowhere/a.pem"),
    ] {
        gateway.rewrite(&listener, toml);
        let said = gateway.reload();
        assert!(said.contains("SIGHUP: all stays as it was: ") && said.contains(named), "{said}");
        assert_eq!(status(&gateway, "/ws/t", &foreign), 403);
        client.publish("t", "1");
        client.subscribe(&["a", "b", "c"]);
    }
    drop(client);
    gateway.stop();
}

#[test]
fn what_needs_a_restart_is_named_and_the_rest_is_in_force() {
    let gateway = Gateway::configured("[limits]\nconnections_max = 100\n");
    let toml = "[limits]\nconnections_max = 1000\naccept_backlog = 7\nsubscriptions_max = 1\n[shards]\nring_entries = 2048\n\
                [[source]]\nkind = \"synthetic\"\n[journal]\ndirectory = \"elsewhere\"\n[[listener]]\naddress = \"127.0.0.1:1\"\n";
    let said = reloaded(&gateway, "", toml);
    for (waits, key) in [
        (true, "limits.connections_max 100 -> 1000"),
        (true, "limits.accept_backlog 4096 -> 7"),
        (true, "shards.ring_entries 1024 -> 2048"),
        (true, "source \"synthetic\" none -> (not shown)"),
        (true, "journal.directory \"tidegate-journal\" -> \"elsewhere\""),
        (true, "listener \"127.0.0.1:1\" none -> (not shown)"),
        (false, "limits.subscriptions_max 1024 -> 1"),
    ] {
        let line = format!("{}: {key}", if waits { "waits for a restart" } else { "reloaded" });
        assert!(said.contains(&line), "{line}\n{said}");
    }
    assert!(said.contains("SIGHUP: 1 settings changed, 6 wait for a restart"), "{said}");
    comes_true(
        || Client::connect(&gateway, "/stream").ask("SUBSCRIBE", "[\"a\",\"b\"]").contains("more than 1 subscriptions"),
        "the rest is in force",
    );
    // They go on waiting, and are told again.
    assert!(gateway.reload().contains("SIGHUP: 0 settings changed, 6 wait for a restart"));
    gateway.stop();
}

#[test]
fn journaled_topics_go_by_it_but_for_their_journals() {
    let journal = TempDir::new().expect("a temporary directory can be made");
    let toml = |topics: &str| format!("{PUBLISHING}[journal]\ndirectory = {:?}\n{topics}", journal.path());
    let gateway = Gateway::configured(&toml("[[topic]]\npattern = \"j.*\"\njournal = true\n"));
    let (epoch, _) = gateway.publish("j.a", "1");
    let said = reloaded(
        &gateway,
        "",
        &toml("[[topic]]\npattern = \"j.*\"\njournal = true\njournal_flush = \"always\"\nslow_allowed = [\"close\", \"drop\"]\n"),
    );
    assert!(said.contains("waits for a restart: topic \"j.*\".journal.flush"), "{said}");
    let mut client = Client::connect(&gateway, "/stream");
    comes_true(|| client.ask("SUBSCRIBE", "[\"j.a;slow=drop\"]").starts_with("{\"result\""), "it may be dropped from");
    assert_eq!(gateway.publish("j.a", "2"), (epoch.clone(), 2));
    // Which topics have a journal is decided at start; until then all topics stay as they were.
    let said = reloaded(&gateway, "", &toml("[[topic]]\npattern = \"j.*\"\nring_publications = 5\n"));
    assert!(
        said.contains("SIGHUP: 0 settings changed") && said.contains("waits for a restart: topic \"j.*\".ring_publications"),
        "{said}"
    );
    assert_eq!(gateway.publish("j.a", "3"), (epoch, 3));
    drop(client);
    gateway.stop();
}

#[test]
fn without_a_file_there_is_nothing_to_read() {
    let gateway = Gateway::demo(&[]);
    let said = gateway.reload();
    assert!(said.contains("SIGHUP: there is nothing to read, as the gateway was started without --config"), "{said}");
    gateway.stop();
}
