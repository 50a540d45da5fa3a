//! Which settings wait for a restart, and how differences are named.

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::*;
use crate::config::{
    AdminKey, Journal, JournalFlush, LogFormat, LogLevel, Publish, PublishAllow, Slow, Source, Synthetic, TopicJournal,
    TopicKind, parse,
};

/// The same settings, each of them another one.
fn each_changed<T: Serialize + DeserializeOwned>(settings: &T) -> T {
    let mut table = toml::Table::try_from(settings).expect("settings are a table");
    for value in table.iter_mut().map(|(_, value)| value) {
        *value = match &*value {
            Value::Integer(number) => Value::Integer(number + 1),
            Value::Boolean(flag) => Value::Boolean(!flag),
            Value::String(word) if word == "auto" => Value::String("epoll".into()),
            Value::String(word) => Value::String(format!("{word}-other")),
            _ => Value::Array(Vec::new()),
        };
    }
    table.try_into().expect("they are still settings")
}

fn keys(changes: &[Change]) -> Vec<&str> {
    changes.iter().map(|change| change.key.as_str()).collect()
}

/// The documentation names what waits.
fn check_documented(expected: &[String]) {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/configuration.md");
    let document = std::fs::read_to_string(path).expect("docs/configuration.md is part of the repository");
    let (_, section) = document.split_once("## Reloading").expect("docs/configuration.md tells of reloading");
    for key in expected.iter().filter(|key| key.starts_with("limits.") || key.starts_with("admin.") || key.starts_with("log.")) {
        let name = key.split_once('.').expect("a table and a key").1;
        assert!(section.contains(&format!("`{name}`")), "docs/configuration.md, \"Reloading\", lacks {name}");
    }
}

#[test]
fn what_is_made_at_start_waits_for_a_restart_and_all_else_is_in_force() {
    let start = Config { limits: Limits { connections_max: 1000, ..Limits::default() }, ..Config::default() };
    let read = Config {
        demo: false,
        listeners: vec![Listener {
            hosts: vec!["a".into()],
            origins: vec!["https://a".into()],
            permessage_deflate: true,
            trusted_proxies: vec!["10.0.0.0/8".parse().expect("a network")],
            proxy_protocol: crate::config::ProxyProtocol::Optional,
            forwarded_header: crate::config::ForwardedHeader::Forwarded,
            path_prefix: "/md".into(),
            tls: None,
            ..Listener::default()
        }],
        admin: Admin {
            enabled: true,
            address: "127.0.0.1:9".parse().expect("an address"),
            hosts: vec!["a".into()],
            body_bytes_max: 1,
            open_connections_max: 1,
            head_timeout_ms: 1,
            body_timeout_ms: 1,
            keys: vec![admin_key()],
        },
        topics: vec![Topic { kind: TopicKind::State, ..Topic::default() }],
        sources: vec![Source::Synthetic(Synthetic::default())],
        journal: each_changed(&Journal::default()),
        arrivals: each_changed(&start.arrivals),
        drain: each_changed(&start.drain),
        takeover: each_changed(&start.takeover),
        limits: each_changed(&start.limits),
        shards: crate::config::Shards { count: Some(9), ..each_changed(&start.shards) },
        publish: Publish { allow: PublishAllow::Loopback, topics: vec![">".into()] },
        tokens: crate::config::Tokens { skew_s: 9, jwks: Some("a".into()), ..Default::default() },
        anonymous: Some(crate::config::Anonymous::default()),
        callout: Some(crate::config::Callout::default()),
        echo: crate::config::Echo { enabled: true },
        page: crate::config::Page { enabled: true },
        log: crate::config::Log {
            format: LogFormat::Json,
            level: LogLevel::Trace,
            waiting_lines_max: 7,
            client_lines_per_second: 7,
        },
    };
    let reload = Reload::new(&start, &start, &read);
    let shards = ["accepts_armed", "completions_max", "count", "mail_max", "mailbox_places", "pin", "reactor"];
    let more = ["receive_buffer_bytes", "receive_buffers", "ring_entries", "sends_per_turn", "turn_us"];
    let shards = shards.iter().chain(&more).map(|key| format!("shards.{key}"));
    let limits = ["accept_backlog", "broker_requests_max", "conflate_unsent_bytes", "connections_max", "deflate_bytes_min"];
    let limits =
        limits.iter().chain(&["publish_credits", "send_timeout_ms", "send_unsent_bytes_max"]).map(|key| format!("limits.{key}"));
    let doors = ["admin.address", "admin.enabled", "admin.open_connections_max", "journal.directory", "journal.topics_max"];
    let doors = doors.map(String::from).into_iter();
    let rest = ["source \"synthetic\"", "takeover.feed_bytes_max", "takeover.handover_bytes_max", "takeover.timeout_ms"];
    let rest = rest.map(String::from);
    let expected: Vec<String> =
        doors.chain(limits).chain(["log.format".into(), "log.waiting_lines_max".into()]).chain(shards).chain(rest).collect();
    assert_eq!(keys(&reload.waiting), expected);
    // Everything is other than before but for that.
    let differing = differences(&start, &read).len();
    assert_eq!(reload.applied.len() + reload.waiting.len(), differing);
    assert_eq!(reload.applied, differences(&start, &reload.config));
    let said: Vec<String> = reload.waiting.iter().map(ToString::to_string).collect();
    assert!(said.contains(&"limits.connections_max 1000 -> 1001".into()) && said.contains(&"shards.pin true -> false".into()));
    check_documented(&expected);
}

#[test]
fn connections_max_rises_to_what_it_was_at_start_and_no_further() {
    let with = |connections_max| Config { limits: Limits { connections_max, ..Limits::default() }, ..Config::default() };
    let (start, fewer) = (with(1000), with(10));
    assert_eq!(Reload::new(&start, &start, &fewer).config, fewer);
    let more = Reload::new(&start, &fewer, &with(2000));
    assert_eq!(more.config, start);
    assert_eq!(more.applied[0].to_string(), "limits.connections_max 10 -> 1000");
    assert_eq!(more.waiting[0].to_string(), "limits.connections_max 1000 -> 2000");
}

fn admin_key() -> AdminKey {
    AdminKey { name: "k".into(), secret_file: "k".into(), publish: Vec::new(), read: true, change: false }
}

#[test]
fn a_port_that_others_reach_keeps_its_keys_until_it_is_elsewhere() {
    let with = |address: &str, keys: Vec<AdminKey>| {
        let admin = Admin { enabled: true, address: address.parse().expect("an address"), keys, ..Admin::default() };
        Config { admin, ..Config::default() }
    };
    let start = with("0.0.0.0:1", vec![admin_key()]);
    let reload = Reload::new(&start, &start, &with("127.0.0.1:1", Vec::new()));
    assert_eq!((reload.config, reload.applied.len()), (start.clone(), 0));
    assert_eq!(keys(&reload.waiting), ["admin.address", "admin.key \"k\""]);
    let other = AdminKey { publish: vec!["a".into()], ..admin_key() };
    assert_eq!(Reload::new(&start, &start, &with("0.0.0.0:1", vec![other.clone()])).config.admin.keys, [other]);
    let home = with("127.0.0.1:1", vec![admin_key()]);
    assert_eq!(Reload::new(&home, &home, &with("127.0.0.1:1", Vec::new())).config.admin.keys, []);
}

fn listener(port: u16, origin: &str) -> Listener {
    Listener {
        address: std::net::SocketAddr::from(([127, 0, 0, 1], port)).into(),
        origins: vec![origin.into()],
        ..Listener::default()
    }
}

/// Where clients are counted is decided at start; the bounds are not.
#[test]
fn a_listeners_own_bounds_are_reloaded_and_where_it_counts_is_not() {
    let with = |burst: Option<u32>| {
        let arrivals = burst.map(|burst| crate::config::Arrivals { burst, ..Default::default() });
        Config { listeners: vec![Listener { arrivals, ..listener(1, "https://a") }], ..Config::default() }
    };
    let own = |started: Option<u32>, read: Option<u32>| {
        let (started, read) = (with(started), with(read));
        let reload = Reload::new(&started, &started, &read);
        (reload.config.listeners[0].arrivals.as_ref().map(|own| own.burst), reload.waiting.len())
    };
    assert_eq!(own(Some(5), Some(6)), (Some(6), 0));
    assert_eq!(own(Some(5), None), (Some(5), 1));
    assert_eq!(own(None, Some(6)), (None, 1));
}

#[test]
fn listeners_are_known_by_their_addresses() {
    let with = |listeners: &[Listener]| Config { listeners: listeners.to_vec(), ..Config::default() };
    let start = with(&[listener(1, "a"), listener(2, "b"), listener(0, "c"), listener(0, "d")]);
    let read = with(&[listener(0, "C"), listener(3, "e"), listener(1, "A"), listener(0, "D")]);
    let reload = Reload::new(&start, &start, &read);
    let origins: Vec<&str> = reload.config.listeners.iter().map(|listener| listener.origins[0].as_str()).collect();
    assert_eq!(origins, ["A", "b", "C", "D"]);
    let waiting: Vec<String> = reload.waiting.iter().map(ToString::to_string).collect();
    assert!(waiting.contains(&"listener \"127.0.0.1:2\" (not shown) -> none".into()), "{waiting:?}");
    assert!(waiting.contains(&"listener \"127.0.0.1:3\" none -> (not shown)".into()), "{waiting:?}");
    assert_eq!(reload.applied[0].to_string(), "listener \"127.0.0.1:1\".origins [\"a\"] -> [\"A\"]");
    assert_eq!(reload.applied[2].key, "listener \"127.0.0.1:0\"#2.origins");
}

fn topic(pattern: &str, journal: Option<TopicJournal>) -> Topic {
    Topic { pattern: pattern.into(), journal, ..Topic::default() }
}

#[test]
fn topics_are_replaced_but_for_their_journals() {
    let with = |topics: &[Topic]| Config { topics: topics.to_vec(), ..Config::default() };
    let kept = TopicJournal::default();
    let start = with(&[topic("a", Some(kept)), topic("b", None)]);
    let other = TopicJournal { flush: JournalFlush::Always, ..kept };
    let slow = Topic { slow_allowed: vec![Slow::Drop], ..topic("a", Some(other)) };
    let read = with(&[slow.clone(), topic("c", None), topic("b", None)]);
    let reload = Reload::new(&start, &start, &read);
    assert_eq!(reload.config.topics, [Topic { journal: Some(kept), ..slow }, topic("c", None), topic("b", None)]);
    assert_eq!(keys(&reload.applied), ["topic \"a\".slow_allowed", "topic \"c\""]);
    assert_eq!(keys(&reload.waiting), ["topic \"a\".journal.flush"]);
    // A topic of another home is none of ours yet.
    for topics in [vec![topic("a", None)], vec![topic("b", None), topic("a", Some(kept))], vec![topic("b", Some(kept))]] {
        let reload = Reload::new(&start, &start, &with(&topics));
        assert_eq!((reload.config, reload.applied.len()), (start.clone(), 0));
        assert!(!reload.waiting.is_empty());
    }
}

#[test]
fn an_order_is_a_difference_and_passwords_are_not_told() {
    let (one, other) = (topic("a", None), topic("b", None));
    let with = |topics: [&Topic; 2]| Config { topics: topics.map(Clone::clone).to_vec(), ..Config::default() };
    let said = |one: &Config, other: &Config| differences(one, other).iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(said(&with([&one, &other]), &with([&other, &one])), ["the order of topic \"a\", \"b\" -> \"b\", \"a\""]);
    let feed = |token: &str| {
        let text = format!(
            "[[listener]]\naddress = \"127.0.0.1:1\"\n[[source]]\nkind = \"upstream\"\nurls = [\"wss://feed.example/?token={token}\"]\n\
             topic = \"a\"\n"
        );
        parse(&text, std::path::Path::new("t.toml")).expect("a feed")
    };
    let told = said(&feed("old"), &feed("new"));
    assert!(!told.is_empty() && told.iter().all(|line| !line.contains("old") && !line.contains("new")), "{told:?}");
}
