mod admission;
mod printed;
mod told;
mod upstream;

use std::collections::BTreeSet;
use std::path::Path;

use super::keys::{self, Key};
use super::reference::TABLES;
use super::*;

const LISTENER: &str = "[[listener]]\naddress = \"127.0.0.1:8080\"\n";

fn parse_text(text: &str) -> Result<Config, ConfigError> {
    parse(text, Path::new("gateway.toml"))
}

/// `text` follows a valid listener of two lines; the error must stand at `line` (of `text`) and `column` and say all of `parts`.
fn check_error(text: &str, line: usize, column: usize, parts: &[&str]) {
    check_whole(&format!("{LISTENER}{text}"), line + 2, column, parts);
}

/// The same for a whole file.
fn check_whole(text: &str, line: usize, column: usize, parts: &[&str]) {
    let error = parse_text(text).expect_err(text);
    let said = error.to_string();
    let place = format!("gateway.toml, line {line}, column {column}: ");
    assert!(said.starts_with(&place), "{text:?} must be at {place:?}: {said}");
    for part in parts {
        assert!(said.contains(part), "{text:?} must say {part:?}: {said}");
    }
    assert!(!said.contains('\n'), "one line: {said:?}");
    assert!(said.ends_with(['.', '?']) || error.hint.is_some_and(|hint| hint.starts_with("The line is")), "a sentence: {said}");
}

#[test]
fn unknown_names_are_refused_with_the_nearest_known_one() {
    check_error("[limits]\nconections_max = 1", 2, 1, &["limits.conections_max is not known", "connections_max, the nearest"]);
    check_error("[limits]\nfoo = 1", 2, 1, &["limits.foo is not known", "message_bytes_max", "tidegate config"]);
    check_error("[limit]\nx = 1", 1, 2, &["limit is not known", "Did you mean [limits]?"]);
    check_error("[tls]\nx = 1", 1, 2, &["tls is not known", "admin, admin.key, topic", "Did you mean [listener.tls]?"]);
    check_error("[limits]\nring_bytes = 1", 2, 1, &["limits.ring_bytes is not known", "It belongs below [[topic]]"]);
    check_error("limits.topics_max = 1", 1, 1, &["listener.limits is not known", "begin it with the line [limits]"]);
    check_error("[echo]\nenabled = true\non = 1", 3, 1, &["echo.on is not known", "one of enabled"]);
    // The first fault of the file is told, whatever the order of the alphabet.
    check_error("[limits]\nzzz = 1\naaa = 1", 2, 1, &["limits.zzz"]);
}

#[test]
fn a_key_before_the_first_table_is_told_its_table() {
    let error = parse_text("connections_max = 1\n").expect_err("a key without its table");
    let said = "gateway.toml, line 1, column 1: connections_max is not known; expected one of the tables listener, \
                listener.arrivals, listener.tls, listener.tls.sni, admin, admin.key, topic, journal, source, source.sequence, publish, tokens, tokens.key, anonymous, callout, echo, page, log, shards, arrivals, drain, takeover, limits. It belongs below [limits].";
    assert_eq!(error.to_string(), said);
}

#[test]
fn values_that_a_key_does_not_take() {
    let connections = "expected a whole number from 1 to 1048576 (clients)";
    check_error("[limits]\nconnections_max = \"many\"", 2, 19, &["limits.connections_max is \"many\"", connections]);
    check_error("[limits]\nconnections_max = 0", 2, 19, &["limits.connections_max is 0", connections]);
    check_error("[limits]\nconnections_max = -5", 2, 19, &["is -5", connections]);
    check_error("[limits]\nconnections_max = 1.5", 2, 19, &["is 1.5", connections]);
    check_error("[limits]\nconnections_max = 99999999999999999999", 2, 19, &["is 99999999999999999999", connections]);
    check_error("[shards]\nring_entries = 1000", 2, 16, &["shards.ring_entries is 1000", "a power of two from 64 to 4096"]);
    check_error("[shards]\nreceive_buffers = 65536", 2, 19, &["is 65536", "a power of two from 16 to 32768 (buffers)"]);
    check_error("[shards]\npin = \"yes\"", 2, 7, &["shards.pin is \"yes\"", "expected true or false"]);
    check_error("[log]\nformat = \"xml\"", 2, 10, &["log.format is \"xml\"", "expected \"text\" or \"json\""]);
    check_error("[[listener]]\naddress = \"localhost:80\"", 2, 11, &["listener.address is", "an IP address", "not looked up"]);
    check_error("[[listener]]\naddress = \"[::1]:80\"\nkind = \"tls\"", 3, 8, &["listener.kind is \"tls\"", "\"tcp\""]);
    check_error(
        "[[listener]]\naddress = \"[::1]:80\"\norigins = [\"https://a\",\n  \"https://b/\"]",
        4,
        3,
        &["listener.origins is \"https://b/\"", "without a slash"],
    );
    check_error(
        "[admin]\naddress = \"0.0.0.0:8081\"",
        2,
        11,
        &["admin.address is \"0.0.0.0:8081\" without an [[admin.key]]", "Add an [[admin.key]]"],
    );
    let key = "[[admin.key]]\nname = \"a\"\nsecret_file = \"b\"\n";
    check_error(
        &format!("[admin]\n{key}{key}"),
        6,
        8,
        &["admin.key.name is \"a\" like that of an earlier key", "each name once"],
    );
    check_error("[admin]\n[[admin.key]]\nname = \"a\"", 2, 1, &["admin.key.secret_file is missing"]);
    check_error("[admin]\nhosts = \"a\"", 2, 9, &["admin.hosts is \"a\"", "a list"]);
    check_error("[[topic]]\npattern = \"a.>.b\"", 2, 11, &["topic.pattern is \"a.>.b\"", "last level"]);
    check_error("[publish]\nallow = \"all\"", 2, 9, &["publish.allow is \"all\"", "\"nobody\" or \"loopback\""]);
    check_error("[[source]]\nkind = \"kafka\"", 2, 8, &["source.kind is \"kafka\"", "\"synthetic\" or \"replay\""]);
    for speed in ["0", "-1.0", "nan", "inf", "\"fast\"", "true"] {
        let text = format!("[[source]]\nkind = \"replay\"\nfile = \"a\"\nspeed = {speed}");
        check_error(&text, 4, 9, &[&format!("source.speed is {speed}"), "or \"max\""]);
    }
    let long = format!("[log]\nlevel = \"{}\"", "x".repeat(200));
    check_error(&long, 2, 9, &["xxx...;"]);
}

#[test]
fn no_error_repeats_what_a_terminal_obeys() {
    for text in
        ["\"\"\"\0", "[log]\nlevel = \"\u{1b}[2J\u{9b}\"", "[log]\nlevel = \u{7}", "[\"\u{1b}c\"]", "[log]\n\"\u{1b}c\" = 1"]
    {
        let said = parse_text(text).expect_err(text).to_string();
        assert!(!said.chars().any(char::is_control), "{text:?}: {said:?}");
    }
}

#[test]
fn values_in_dotted_keys_and_inline_tables() {
    check_whole("limits.connections_max = 0", 1, 26, &["limits.connections_max is 0"]);
    check_whole("limits = { topics_max = 0 }", 1, 25, &["limits.topics_max is 0"]);
    check_whole("listener = [{ address = 1 }]", 1, 25, &["listener.address is 1"]);
}

#[test]
fn tables_of_the_wrong_kind() {
    check_error("[[limits]]\ntopics_max = 1", 1, 1, &["limits is ", "the line [limits]", "only one"]);
    check_error("[topic]\npattern = \"a\"", 1, 1, &["topic is ", "the line [[topic]]", "several"]);
    check_whole("echo = true", 1, 8, &["echo is true", "the line [echo]"]);
    check_whole("source = [1]", 1, 10, &["source is [1]", "the line [[source]]"]);
}

#[test]
fn what_must_be_there_and_is_not() {
    check_error(
        "[[listener]]\nkind = \"tcp\"",
        1,
        1,
        &["listener.address is missing", "like \"127.0.0.1:8080\"", "Add `address"],
    );
    check_error("[[topic]]", 1, 1, &["topic.pattern is missing"]);
    check_error("[page]", 1, 2, &["page.enabled is missing", "true or false"]);
    check_error("[[source]]\nkind = \"replay\"", 1, 1, &["source.file is missing", "recording"]);
    let error = parse_text("").expect_err("a file without a listener");
    assert_eq!(
        error.to_string(),
        "gateway.toml, line 1, column 1: listener is missing; expected at least one [[listener]] where clients connect. \
         Add [[listener]] and below it `address = \"127.0.0.1:8080\"`."
    );
}

#[test]
fn settings_that_do_not_go_together() {
    check_error("[[listener]]\naddress = \"127.0.0.1:8080\"", 2, 11, &["listener.address is", "an earlier listener"]);
    let proxied = "[[listener]]\naddress = \"[::1]:9\"\nproxy_protocol = \"required\"\n";
    check_error(proxied, 1, 1, &["listener.trusted_proxies", "whose PROXY headers are believed"]);
    check_error(&format!("{proxied}trusted_proxies = [\"10.0.0.1/8\"]"), 4, 20, &["10.0.0.0/8 is the whole network"]);
    check_error("[[listener]]\naddress = \"[::1]:9\"\npath_prefix = \"md/\"", 3, 15, &["does not begin with `/`"]);
    check_error("[admin]\naddress = \"127.0.0.1:8080\"", 2, 11, &["admin.address is", "a port of its own"]);
    check_error("[publish]\nallow = \"loopback\"", 1, 2, &["publish.topics is not set", "[\"md.>\"]"]);
    check_error("[publish]\nallow = \"loopback\"\ntopics = []", 3, 10, &["publish.topics is []"]);
    check_error("[admin]\nbody_bytes_max = 2048", 2, 18, &["admin.body_bytes_max is 2048", "at least 1048576 (bytes)"]);
    check_error("[shards]\nsends_per_turn = 257", 2, 18, &["shards.sends_per_turn is 257", "at most 256 (sends)"]);
    check_error("[shards]\nring_entries = 128", 1, 2, &["shards.sends_per_turn is not set (64)", "at most 32"]);
    check_error("[shards]\nmailbox_places = 2047", 2, 18, &["mailbox_places is 2047", "at least 2048 (publications)"]);
    let journaled = "[[topic]]\npattern = \"a\"\njournal = true\n";
    check_error("[[topic]]\npattern = \"a\"\njournal_keep_s = 9", 3, 18, &["topic.journal_keep_s is 9 without", "Add `journal"]);
    check_error(&format!("{journaled}journal_keep_bytes = 9000"), 4, 22, &["9000", "at least 134217728 (bytes)"]);
    check_error(
        &format!("{journaled}journal_flush = \"always\"\njournal_every_ms = 5"),
        5,
        20,
        &["journal_every_ms is 5 beside", "\"every_ms\""],
    );
    check_error(
        &format!("{journaled}journal_flush = \"always\"\njournal_full = \"continue\""),
        5,
        16,
        &["journal_full is \"continue\" (continue) beside", "refuse or forget", "cannot be served without it"],
    );
    check_whole(
        &format!("{LISTENER}[limits]\npublish_credits = 5000"),
        1,
        1,
        &["shards.mailbox_places is not set (8192)", "10000"],
    );
}

#[test]
fn keys_of_the_other_kind_of_source() {
    let synthetic = "[[source]]\nkind = \"synthetic\"\n";
    let replay = "[[source]]\nkind = \"replay\"\nfile = \"a\"\n";
    check_error(&format!("{synthetic}file = \"a\""), 3, 8, &["source.file is \"a\" in a source of kind \"synthetic\""]);
    check_error(&format!("{synthetic}loop = true"), 3, 8, &["source.loop is true"]);
    check_error(&format!("{replay}seed = 1"), 4, 8, &["source.seed is 1 in a source of kind \"replay\""]);
    // The second of two is found where it stands.
    check_error(&format!("{replay}{synthetic}speed = 1"), 6, 9, &["source.speed is 1"]);
}

#[test]
fn text_that_is_not_toml() {
    check_error("[limits\n", 1, 8, &["this is not TOML", "The line is: [limits"]);
    check_error("[limits]\ntopics_max = 1\ntopics_max = 2", 3, 1, &["this is not TOML (duplicate key)", "topics_max = 2"]);
    check_error("[limits]\ntopics_max =", 2, 13, &["this is not TOML"]);
}

#[test]
fn what_a_file_does_not_name_does_not_run() {
    let config = parse_text(LISTENER).expect("a listener is enough");
    assert_eq!(config, Config::default());
    assert!(!config.demo && !config.admin.enabled && !config.echo.enabled && !config.page.enabled);
    assert_eq!((config.sources.len(), config.publish.allow), (0, PublishAllow::Nobody));
}

const EVERYTHING: &str = r#"
    [[listener]]
    address = "0.0.0.0:80"
    kind = "tcp"
    hosts = ["a.example"]
    origins = ["https://a.example"]
    permessage_deflate = true
    trusted_proxies = ["10.0.0.0/8", "192.0.2.7"]
    proxy_protocol = "optional"
    forwarded_header = "forwarded"
    path_prefix = "/md"
    [listener.tls]
    certificate = "c.pem"
    key = "k.pem"
    client_ca = "ca.pem"
    client_certificates = "optional"
    [[listener.tls.sni]]
    certificate = "d.pem"
    key = "l.pem"
    [[listener]]
    address = "unix:/run/a.sock"
    mode = "0600"
    trusted_proxies = ["unix"]
    connection_age_max_s = 0
    [listener.arrivals]
    burst = 7
    [admin]
    address = "[::1]:9"
    [[topic]]
    pattern = "md.>"
    kind = "state"
    ring_publications = 7
    journal = true
    journal_flush = "always"
    journal_segment_bytes = 5000
    journal_full = "forget"
    [journal]
    directory = "j"
    [drain]
    delay_ms = 1
    window_ms = 2
    [takeover]
    socket = "t"
    timeout_ms = 700
    [arrivals]
    per_second = 5
    exempt = ["192.0.2.0/24"]
    [[source]]
    kind = "synthetic"
    prefix = "x.y"
    seed = 9
    [[source]]
    kind = "replay"
    file = "r.gz"
    topic = "cb.{/type}"
    speed = "max"
    loop = true
    [[source]]
    kind = "replay"
    file = "s.gz"
    speed = 10
    [[source]]
    kind = "upstream"
    urls = ["wss://a.example/stream"]
    subscribe = ["a"]
    topic = "x.{/s}"
    silent_timeout_ms = 100
    [[source.sequence]]
    topics = "x.>"
    number = "/u"
    previous = "/pu"
    rule = "chain"
    [publish]
    allow = "loopback"
    topics = ["a", "b.*"]
    [tokens]
    skew_s = 3
    [anonymous]
    subscribe = ["public.>"]
    [echo]
    enabled = true
    [page]
    enabled = true
    [log]
    format = "json"
    level = "trace"
    [shards]
    count = 3
    pin = false
    [limits]
    connections_max = 0x10
    topics_max = 1_000
"#;

#[test]
fn tls_stands_below_its_listener_and_is_checked_there() {
    let tls = "[[listener]]\naddress = \"[::1]:1\"\n[listener.tls]\nkey = \"k\"\n";
    check_error(tls, 3, 11, &["listener.tls.certificate is missing", "the path of a PEM file", "below [listener.tls]"]);
    let tls = &format!("{tls}certificate = \"c\"\n");
    check_error(&format!("{tls}cert = \"c\""), 6, 1, &["listener.tls.cert is not known", "certificate"]);
    check_error(&format!("{tls}client_ca = \"\""), 6, 13, &["listener.tls.client_ca is \"\""]);
    check_error(
        &format!("{tls}client_certificates = \"optional\""),
        6,
        23,
        &["listener.tls.client_certificates is \"optional\" without `client_ca`", "Add `client_ca"],
    );
    check_error(&format!("{tls}[[listener.tls.sni]]\nkey = \"k\""), 6, 1, &["listener.tls.sni.certificate is missing"]);
    check_error(&format!("{tls}[listener.tls.sni]\nkey = \"k\""), 6, 1, &["listener.tls.sni is", "[[listener.tls.sni]]"]);
}

#[test]
fn a_unix_socket_is_told_from_an_address() {
    let unix = |keys: &str| format!("[[listener]]\naddress = \"unix:/run/a\"\n{keys}");
    check_error(&unix("").replace("/run", "run"), 2, 11, &["absolute path of a socket"]);
    check_error("trusted_proxies = [\"unix\"]", 1, 19, &["\"unix\" on an IP address"]);
    check_error("kind = \"unix\"", 1, 8, &["what the address says"]);
    check_error(&unix("kind = \"tcp\""), 3, 8, &["what the address says"]);
    check_error(&unix("mode = \"0888\""), 3, 8, &["listener.mode", "octal"]);
    check_error(&unix("trusted_proxies = [\"10.0.0.1\"]"), 3, 19, &["Whoever connects there has no address"]);
    check_error(&format!("{}{}", unix(""), unix("")), 4, 11, &["an earlier listener"]);
    check_error(&unix("[takeover]\nsocket = \"/run/a\""), 2, 11, &["like takeover.socket"]);
    let idle = parse_text(&format!("{LISTENER}mode = \"0600\"")).expect("it does no harm");
    assert!(warnings(&idle).iter().any(|warning| warning.contains("mode of 127.0.0.1:8080 is not looked at")));
    let both = format!("{LISTENER}{}", unix("kind = \"unix\"\nmode = \"606\"\n"));
    let config = parse_text(&both).expect("two listeners");
    assert_eq!(config.listeners[1].mode, SocketMode(0o606));
    assert!(warnings(&config).iter().any(|warning| warning.contains("unix:/run/a has the mode 0606")));
}

fn replay(file: &str, topic: &str, payload: Option<&str>) -> Replay {
    Replay { file: file.into(), topic: topic.into(), payload: payload.map(Into::into), speed: Speed::Max, repeat: true }
}

fn listeners() -> Vec<Listener> {
    vec![
        Listener {
            address: "0.0.0.0:80".parse().expect("an address"),
            mode: SocketMode::default(),
            hosts: vec!["a.example".into()],
            origins: vec!["https://a.example".into()],
            permessage_deflate: true,
            trusted_proxies: vec!["10.0.0.0/8".parse().expect("a network"), "192.0.2.7/32".parse().expect("an address")],
            proxy_protocol: ProxyProtocol::Optional,
            forwarded_header: ForwardedHeader::Forwarded,
            path_prefix: "/md".into(),
            connection_age_max_s: None,
            arrivals: None,
            tls: Some(ListenerTls {
                certificate: CertificateFiles { certificate: "c.pem".into(), key: "k.pem".into() },
                sni: vec![CertificateFiles { certificate: "d.pem".into(), key: "l.pem".into() }],
                client_ca: Some("ca.pem".into()),
                client_certificates: ClientCertificates::Optional,
            }),
        },
        Listener {
            address: Address::Unix("/run/a.sock".into()),
            mode: SocketMode(0o600),
            trusted_proxies: vec![Network::Unix],
            connection_age_max_s: Some(0),
            arrivals: Some(Arrivals {
                per_second: 5,
                burst: 7,
                exempt: vec!["192.0.2.0/24".parse().expect("a network")],
                ..Arrivals::default()
            }),
            ..Listener::default()
        },
    ]
}

#[test]
fn everything_can_be_set() {
    let expected = Config {
        demo: false,
        listeners: listeners(),
        admin: Admin { enabled: true, address: "[::1]:9".parse().expect("an address"), ..Admin::default() },
        topics: vec![Topic {
            pattern: "md.>".into(),
            kind: TopicKind::State,
            ring_publications: 7,
            journal: Some(TopicJournal {
                flush: JournalFlush::Always,
                segment_bytes: 5000,
                full: JournalFull::Forget,
                ..TopicJournal::default()
            }),
            ..Topic::default()
        }],
        journal: Journal { directory: "j".into(), ..Journal::default() },
        sources: vec![
            Source::Synthetic(Synthetic { prefix: "x.y".into(), seed: 9, ..Synthetic::default() }),
            Source::Replay(replay("r.gz", "cb.{/type}", None)),
            Source::Replay(Replay { speed: Speed::Times(10.0), repeat: false, ..replay("s.gz", "{/stream}", Some("/data")) }),
            Source::Upstream(Upstream {
                urls: vec![WebSocketUrl::parse("wss://a.example/stream").expect("a URL")],
                subscribe: vec!["a".into()],
                topic: "x.{/s}".into(),
                payload: None,
                sequences: vec![Sequence {
                    topics: "x.>".into(),
                    number: "/u".into(),
                    previous: Some("/pu".into()),
                    rule: SequenceRule::Chain,
                    ..Sequence::default()
                }],
                silent_timeout_ms: 100,
                ..Upstream::default()
            }),
        ],
        drain: Drain { delay_ms: 1, window_ms: 2 },
        takeover: Takeover { socket: Some("t".into()), timeout_ms: 700, ..Takeover::default() },
        arrivals: Arrivals { per_second: 5, exempt: vec!["192.0.2.0/24".parse().expect("a network")], ..Arrivals::default() },
        limits: Limits { connections_max: 16, topics_max: 1000, ..Limits::default() },
        shards: Shards { count: Some(3), pin: false, ..Shards::default() },
        publish: Publish { allow: PublishAllow::Loopback, topics: vec!["a".into(), "b.*".into()] },
        tokens: Tokens { skew_s: 3, ..Tokens::default() },
        callout: None,
        anonymous: Some(Anonymous { subscribe: vec!["public.>".into()], publish: Vec::new() }),
        echo: Echo { enabled: true },
        page: Page { enabled: true },
        log: Log { format: LogFormat::Json, level: LogLevel::Trace, ..Log::default() },
    };
    assert_eq!(parse_text(EVERYTHING), Ok(expected));
}

#[test]
fn the_least_and_the_greatest_number_can_be_read() {
    for key in keys::all() {
        let (keys::Form::Whole(least, most, _) | keys::Form::PowerOfTwo(least, most, _)) = key.form else { continue };
        let table = keys::table(key.table).expect("keys name tables that exist").heading();
        let required = match key.table {
            "topic" => "pattern = \"a\"\n",
            "listener" => "address = \"unix:/run/a\"\n",
            "callout" => "url = \"http://a\"\n",
            "source" => "kind = \"synthetic\"\n",
            "source.sequence" => "number = \"/u\"\nrule = \"rising\"\n",
            _ => "",
        };
        let above = match key.table {
            "source.sequence" => "[[source]]\nkind = \"upstream\"\nurls = [\"ws://a\"]\n",
            _ => "",
        };
        for number in [least, most] {
            let text = format!("{LISTENER}{above}{table}\n{required}{} = {number}", key.name);
            let fault = parse_text(&text).map_or_else(|error| Some(error.fault), |_| None);
            assert!(matches!(fault, None | Some(Fault::Conflict(_))), "{text}: {fault:?}");
        }
    }
}

#[test]
fn names_from_the_file_cannot_command_a_terminal() {
    let error = parse_text("\"a\\u001b[31m\" = 1").expect_err("not a table");
    assert!(!error.to_string().contains('\u{1b}'), "{error:?}");
}

#[test]
fn defaults_are_within_their_own_bounds() {
    for key in keys::all() {
        let Some(value) = print::default_value(key) else { continue };
        let text = format!("x = {value}");
        let table = toml::de::DeTable::parse(&text).expect("a default is TOML").into_inner();
        assert!(key.form.check(&table["x"]).is_ok(), "{}.{} = {value}", key.table, key.name);
    }
}

#[test]
fn demo_mode_is_reachable_from_this_machine_only() {
    let demo = demo();
    assert!(demo.demo && demo.admin.enabled && demo.page.enabled && demo.echo.enabled);
    assert_eq!(demo.listeners[0].address.to_string(), "127.0.0.1:8080");
    assert_eq!(demo.admin.address.to_string(), "127.0.0.1:8081");
    assert_eq!(demo.publish.topics, ["demo.>"]);
    assert!(matches!(&demo.sources[..], [Source::Synthetic(synthetic)] if synthetic.prefix == "demo"));
}
