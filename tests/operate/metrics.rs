//! `/metrics` by Prometheus' own tool, every metric with something in it, and a dashboard that asks for what there is.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::process::{Command, Stdio};
use std::time::Instant;

use serde_json::Value;
use tempfile::TempDir;

use crate::common::members::{Came, Member, Then};
use crate::common::{Authority, Client, Gateway, PATIENCE, Raw, Secure, http};
use crate::programs::{checkout, program};

/// Metrics that stay at nothing here, each with the test that feeds it or why none does.
const ELSEWHERE: &[(&str, &str)] = &[
    ("accept_failures", "the process must be out of descriptors, which its start rules out"),
    ("admin_denied", "tests/operate/keys.rs"),
    ("buffer_shortages", "tests/crowd/idle.rs"),
    ("callout_answers", "tests/admission/callout.rs"),
    ("callout_cached", "tests/admission/callout.rs"),
    ("callout_failures", "tests/admission/callout.rs"),
    ("clients_behind", "they are counted once a second, while sockets are full: src/metrics/lags.rs and the page's tests"),
    ("compressions", "tests/protocol/deflate.rs"),
    ("compression_input_bytes", "tests/protocol/deflate.rs"),
    ("compression_output_bytes", "tests/protocol/deflate.rs"),
    ("denials", "tests/admission/doors.rs"),
    ("feed_reconnects", "tests/feed/upstream/cuts.rs"),
    ("feed_notices", "tests/feed/upstream/stale.rs"),
    ("journal_epochs", "tests/journal/continuing.rs"),
    ("journal_errors", "tests/journal/full.rs"),
    ("journal_refused", "tests/journal/full.rs"),
    ("journal_unwritten", "tests/journal/continuing.rs"),
    ("journals_failing", "tests/journal/full.rs"),
    ("journals_left", "tests/journal/continuing.rs"),
    ("jwks_failures", "tests/admission/key_sets.rs"),
    ("jwks_refreshes", "tests/admission/key_sets.rs"),
    ("log_lines_lost", "tests/operate/logs.rs"),
    ("mailbox_full", "tests/crowd/mail.rs"),
    ("overflows", "tests/hostile/slow.rs"),
    ("pattern_rows", "tests/hostile/slow.rs"),
    ("publisher_pauses", "tests/crowd/mail.rs"),
    ("receives_ended", "tests/crowd/idle.rs, with the shortages"),
    ("source_refused", "tests/feed/upstream/hostile.rs, where topics_max is reached"),
    ("topics_stale", "tests/feed/upstream/stale.rs"),
    ("takeover_fed_publications", "tests/drain/told.rs"),
    ("takeover_feeding", "tests/drain/told.rs"),
    ("takeover_following", "it is told by the admin port of the gateway that has the place, for which it is 0"),
    (
        "takeover_forwarded_publications",
        "told by a gateway that serves again: tests/drain/succession.rs publishes at the old one",
    ),
    ("takeovers", "tests/drain/told.rs"),
    ("torn_copies", "tests/crowd/stalled.rs"),
    ("upstream_connect_failures", "tests/feed/upstream/hostile.rs"),
    ("upstream_disconnects", "tests/feed/upstream/cuts.rs"),
    ("upstream_gaps", "tests/feed/upstream/cuts.rs"),
    ("upstream_late", "tests/feed/upstream/arbitration.rs"),
    ("upstream_lost", "tests/feed/upstream/cuts.rs"),
    ("upstream_refused", "tests/feed/upstream/hostile.rs"),
    ("upstream_repeats", "tests/feed/upstream/arbitration.rs"),
    ("upstream_restarts", "tests/feed/upstream/futures.rs"),
    ("upstream_skipped", "tests/feed/upstream/coinbase.rs"),
    ("upstream_unparsable", "tests/feed/upstream/hostile.rs"),
];

/// Each metric with the sum of its samples, as Prometheus would have it: by its name without `_total`, `_count`.
fn families(text: &str) -> BTreeMap<String, f64> {
    let mut families = BTreeMap::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let (series, value) = line.rsplit_once(' ').expect("a sample has a value");
        let name = series.split('{').next().unwrap_or(series).strip_prefix("tidegate_").expect("all are ours");
        if name.ends_with("_bucket") || name.ends_with("_sum") {
            continue;
        }
        let name = name.strip_suffix("_total").or_else(|| name.strip_suffix("_count")).unwrap_or(name);
        *families.entry(name.to_owned()).or_default() += value.parse::<f64>().expect("a value is a number");
    }
    families
}

/// What `promtool` says, and whether it accepts the input; none where it is not installed and nobody promised it.
fn promtool(test: &str, arguments: &[&str], input: &str) -> Option<(bool, String)> {
    let mut command = Command::new(program(test, "promtool", &[])?);
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("an installed program starts");
    child.stdin.take().expect("it is piped").write_all(input.as_bytes()).expect("promtool reads");
    let output = child.wait_with_output().expect("promtool ends");
    let said = [output.stdout, output.stderr].concat();
    Some((output.status.success(), String::from_utf8_lossy(&said).into_owned()))
}

#[test]
fn promtool_accepts_what_metrics_says() {
    let gateway = Gateway::demo(&[]);
    let mut client = Client::connect(&gateway, "/stream");
    client.send(r#"{"method":"PING","id":1}"#);
    let answer = gateway.get("/metrics");
    assert_eq!(answer.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    let Some((accepts, said)) = promtool("promtool check metrics", &["check", "metrics"], answer.text()) else { return };
    assert!(accepts && said.trim().is_empty(), "{said}");
    // It is no formality: what the tool is to find, it finds.
    let (accepts, said) = promtool("", &["check", "metrics"], "# TYPE a counter\na 1\n").expect("it was there");
    assert!(!accepts && said.contains("_total"), "{said}");
    let asked = [("Accept", "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3")];
    let answer = http(gateway.admin, "GET", "/metrics", &asked, b"");
    assert!(answer.header("content-type").is_some_and(|kind| kind.starts_with("application/openmetrics-text")), "{answer:?}");
    assert!(answer.text().ends_with("# EOF\n"));
}

/// A gateway with feeds, journals, TLS and topics of all kinds, whose feed is another one.
struct Fed {
    gateway: Gateway,
    authority: Authority,
    _upstream: Gateway,
    _directory: TempDir,
}

fn fed() -> Fed {
    let directory = TempDir::new().expect("a temporary directory can be made");
    let write = |name: &str, bytes: &[u8]| {
        let file = directory.path().join(name);
        std::fs::write(&file, bytes).expect("a temporary file can be written");
        file
    };
    let long = "x".repeat(700_000);
    let recording = format!(
        "1723161255000000000 {{\"stream\":\"r.a\",\"data\":1}}\n1723161255000000001 {{\"no\":1}}\n1723161255000000002 {{\"stream\":\n\
         1723161255000000003 {{\"stream\":\"r.a\",\"data\":\"{long}\"}}\n"
    );
    let (played, broken) =
        (write("played", recording.as_bytes()), write("broken.gz", b"\x1f\x8b\x08\0nothing that can be unpacked"));
    let upstream = Gateway::demo(&[]);
    let authority = Authority::new();
    authority.sign_valid("server");
    let tls = authority.listener("server");
    let toml = format!(
        "[publish]\nallow = \"loopback\"\ntopics = [\">\"]\n[echo]\nenabled = true\n[limits]\npublication_bytes_max = 600000\n\
         [journal]\ndirectory = {journal:?}\n\
         [[topic]]\npattern = \"j.>\"\njournal = true\n\
         [[topic]]\npattern = \"s.>\"\nkind = \"state\"\nkey = \"/id\"\nkeys_max = 2\nring_bytes = 2000000\nslow_allowed = [\"close\", \"conflate\"]\n\
         [[topic]]\npattern = \"d.>\"\nring_bytes = 2000000\nslow_allowed = [\"close\", \"drop\"]\n\
         [[topic]]\npattern = \"short\"\nring_publications = 1\n\
         [[source]]\nkind = \"synthetic\"\nprefix = \"synthetic\"\n\
         [[source]]\nkind = \"replay\"\nfile = {played:?}\nspeed = \"max\"\n\
         [[source]]\nkind = \"replay\"\nfile = {broken:?}\n\
         [[source]]\nkind = \"upstream\"\nurls = [\"ws://{upstream}/stream?streams=%3E\"]\ntopic = \"up.{{/stream}}\"\npayload = \"/data\"\n{tls}",
        journal = directory.path().join("journal"),
        upstream = upstream.clients,
    );
    Fed { gateway: Gateway::configured(&toml), authority, _upstream: upstream, _directory: directory }
}

/// A client that does not read until much was published, and then reads what it is sent instead.
fn is_slow(gateway: &Gateway, topic: &str, slow: &str) {
    let mut member = Member::join(gateway, &format!("/stream?streams={topic};slow={slow}"), Some(4096));
    let data = "x".repeat(400_000);
    for number in 0..30 {
        gateway.publish(topic, &format!("{{\"id\":\"one\",\"number\":{number},\"data\":\"{data}\"}}"));
    }
    let (mut buffer, deadline) = (vec![0; 1 << 20], Instant::now() + PATIENCE);
    let mut told = false;
    while !told {
        assert!(Instant::now() < deadline, "{slow}: it is told of nothing");
        member.read(&mut buffer, &mut |came| {
            if let Came::Frame(_, payload) = came {
                told |= payload.starts_with(b"{\"e\":");
            }
            Then::Read
        });
    }
}

/// What brings most counters something.
fn drive(fed: &Fed) {
    let gateway = &fed.gateway;
    let mut subscribers: Vec<Client> = (0..16).map(|_| Client::connect(gateway, "/stream?streams=md.a/md.b")).collect();
    for topic in ["md.a", "md.b", "j.a", "short", "short"] {
        let (epoch, _) = gateway.publish(topic, "1");
        if topic == "md.a" {
            let path = format!("/stream?streams=md.a;since={epoch}:0");
            Client::connect(gateway, &path).text();
        }
    }
    let (epoch, _) = gateway.publish("short", "2");
    Client::connect(gateway, &format!("/stream?streams=short;since={epoch}:1")).text();
    for id in ["a", "b", "c"] {
        gateway.publish("s.keys", &format!("{{\"id\":\"{id}\"}}"));
    }
    is_slow(gateway, "d.a", "drop");
    is_slow(gateway, "s.a", "conflate");
    let mut asking = Client::connect(gateway, "/stream");
    asking.subscribe(&["md.c"]);
    asking.result("SET_PROPERTY", "[\"heartbeat\",true]");
    let mut echo = Client::connect(gateway, "/echo");
    assert_eq!(echo.say("x"), "x");
    let mut publisher = Raw::upgraded(gateway, "/publish/md.a");
    publisher.send_text("2");
    assert!(Secure::open(gateway.secure(), &fed.authority.client_config()).ask("/health/live", "").contains("200"));
    assert_eq!(Raw::open(gateway.clients).handshake("/nothing", &[]).status, 404);
    assert_eq!(gateway.post("/api/topics/md..a", "application/json", "1").status, 400);
    let lines = "{\"topic\":\"md.a\",\"data\":1}\n{\"topic\":\"md..a\",\"data\":1}\n";
    gateway.post("/api/publish", "application/x-ndjson", lines);
    drop(subscribers.split_off(8));
    let deadline = Instant::now() + PATIENCE;
    loop {
        let missing = missing(gateway);
        if missing.is_empty() {
            return;
        }
        assert!(Instant::now() < deadline, "these are never fed: {missing:?}; the gateway said:\n{}", gateway.said());
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
}

fn missing(gateway: &Gateway) -> Vec<String> {
    let families = families(gateway.get("/metrics").text());
    let is_elsewhere = |name: &str| ELSEWHERE.iter().any(|(other, _)| *other == name);
    families.into_iter().filter(|(name, sum)| *sum == 0.0 && !is_elsewhere(name)).map(|(name, _)| name).collect()
}

#[test]
fn every_metric_is_fed() {
    let fed = fed();
    drive(&fed);
    let families = families(fed.gateway.get("/metrics").text());
    for (name, why) in ELSEWHERE {
        assert!(families.contains_key(*name), "there is no {name} any more");
        let file = why.split(',').next().unwrap_or(why);
        assert!(!file.starts_with("tests/") || checkout(file).exists(), "{name}: {why}");
    }
}

#[test]
fn the_dashboard_asks_for_what_there_is() {
    let file = std::fs::read(checkout("docs/operations/grafana.json"));
    let dashboard: Value = serde_json::from_slice(&file.expect("it is there")).expect("it is JSON");
    let gateway = Gateway::demo(&[]);
    let answer = gateway.get("/metrics");
    let names: BTreeSet<&str> =
        answer.text().lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.split(['{', ' ']).next()).collect();
    let mut rules = String::from("groups:\n- name: dashboard\n  rules:\n");
    let mut asked = 0;
    for panel in dashboard["panels"].as_array().expect("panels").iter().filter(|panel| panel["type"] != "row") {
        assert!(panel["fieldConfig"]["defaults"]["unit"].is_string(), "a panel has its unit: {}", panel["title"]);
        for target in panel["targets"].as_array().expect("a panel has targets") {
            let query = target["expr"].as_str().expect("a target has a query");
            let words = query.split(|character: char| !character.is_ascii_alphanumeric() && character != '_');
            let ours: Vec<&str> = words.filter(|word| word.starts_with("tidegate_")).collect();
            assert!(!ours.is_empty(), "{query}");
            for &name in &ours {
                assert!(names.contains(name), "{query}: /metrics has no {name}");
            }
            // What it sums by is a label that its metrics have; Prometheus itself adds `instance`.
            for label in query.split(" by (").skip(1).filter_map(|rest| rest.split(')').next()).flat_map(|list| list.split(", "))
            {
                let bears = |name: &&str| {
                    let mut lines = answer.text().lines().filter(|line| line.split('{').next() == Some(name));
                    lines.any(|line| line.contains(&format!("{label}=\"")))
                };
                assert!(label == "instance" || ours.iter().all(bears), "{query}: not every metric has {label}");
            }
            asked += 1;
            let query = query.replace("$__rate_interval", "1m").replace("$instance", ".*");
            rules.push_str(&format!("  - record: dashboard:{asked}\n    expr: {query:?}\n"));
        }
    }
    assert!(asked > 30, "{asked} queries");
    for family in ["thread_running_seconds", "thread_runnable_seconds", "feed_up", "feed_messages", "clients_behind", "denials"] {
        assert!(rules.contains(&format!("tidegate_{family}")), "nothing shows {family}");
    }
    let directory = TempDir::new().expect("a temporary directory can be made");
    let file = directory.path().join("rules.yml");
    std::fs::write(&file, rules.replace("dashboard:", "dashboard:q")).expect("a temporary file can be written");
    if let Some((accepts, said)) = promtool("the dashboard's queries", &["check", "rules", &file.to_string_lossy()], "") {
        assert!(accepts, "{said}");
    }
}
