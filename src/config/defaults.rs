//! Every default, in one place. The reasons stand in `keys.rs`, beside what each key takes.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use super::{
    Admin, Arrivals, Callout, Config, Drain, Echo, ForwardedHeader, Journal, JournalFlush, JournalFull, Limits, Listener, Log,
    LogFormat, LogLevel, Network, Page, ProxyProtocol, Publish, PublishAllow, ReactorChoice, Replay, Sequence, SequenceRule,
    Shards, Slow, SocketMode, Source, Speed, Synthetic, Takeover, Tokens, Topic, TopicJournal, TopicKind, Upstream, WhenDown,
};

/// What runs without a configuration file: the synthetic feed, echo, the page, the admin port, and publishing from this
/// machine to `demo.>`; reachable from this machine only.
#[must_use]
pub fn demo() -> Config {
    Config {
        demo: true,
        listeners: vec![Listener { permessage_deflate: true, ..Listener::default() }],
        admin: Admin { enabled: true, ..Admin::default() },
        sources: vec![Source::Synthetic(Synthetic::default())],
        publish: Publish { allow: PublishAllow::Loopback, topics: vec!["demo.>".into()] },
        echo: Echo { enabled: true },
        page: Page { enabled: true },
        ..Config::default()
    }
}

/// What `tidegate config` prints: clients on loopback, and nothing else runs.
impl Default for Config {
    fn default() -> Config {
        Config {
            demo: false,
            listeners: vec![Listener::default()],
            admin: Admin::default(),
            topics: Vec::new(),
            sources: Vec::new(),
            journal: Journal::default(),
            arrivals: Arrivals::default(),
            drain: Drain::default(),
            takeover: Takeover::default(),
            limits: Limits::default(),
            shards: Shards::default(),
            publish: Publish::default(),
            tokens: Tokens::default(),
            anonymous: None,
            callout: None,
            echo: Echo::default(),
            page: Page::default(),
            log: Log::default(),
        }
    }
}

impl Default for Takeover {
    fn default() -> Takeover {
        Takeover { socket: None, handover_bytes_max: 64 << 20, timeout_ms: 30_000, feed_bytes_max: 64 << 20 }
    }
}

impl Default for Listener {
    fn default() -> Listener {
        Listener {
            address: loopback(8080).into(),
            mode: SocketMode::default(),
            hosts: Vec::new(),
            origins: Vec::new(),
            permessage_deflate: false,
            trusted_proxies: Vec::new(),
            proxy_protocol: ProxyProtocol::Off,
            forwarded_header: ForwardedHeader::XForwardedFor,
            path_prefix: String::new(),
            connection_age_max_s: None,
            arrivals: None,
            tls: None,
        }
    }
}

impl Default for Admin {
    fn default() -> Admin {
        Admin {
            enabled: false,
            address: loopback(8081),
            hosts: Vec::new(),
            body_bytes_max: 8 << 20,
            open_connections_max: 64,
            head_timeout_ms: 30_000,
            body_timeout_ms: 30_000,
            keys: Vec::new(),
        }
    }
}

impl Default for Topic {
    fn default() -> Topic {
        Topic {
            pattern: ">".into(),
            kind: TopicKind::Log,
            ring_publications: 16_384,
            ring_bytes: 4 << 20,
            ring_age_ms: 0,
            flush_us: 0,
            key: None,
            keys_max: 10_000,
            slow_default: Slow::Close,
            slow_allowed: vec![Slow::Close],
            slow_lag_bytes: 64 << 10,
            slow_lag_ms: 500,
            rates_ms: vec![100, 250, 1000],
            journal: None,
        }
    }
}

impl TopicJournal {
    /// The milliseconds of `every_ms` where nothing else is said.
    pub const EVERY_MS: u32 = 100;
}

impl Default for TopicJournal {
    fn default() -> TopicJournal {
        TopicJournal {
            flush: JournalFlush::EveryMs(TopicJournal::EVERY_MS),
            segment_bytes: 64 << 20,
            keep_bytes: 1 << 30,
            keep_s: 86_400,
            full: JournalFull::Refuse,
        }
    }
}

impl Default for Journal {
    fn default() -> Journal {
        Journal { directory: "tidegate-journal".into(), topics_max: 1024 }
    }
}

impl Default for Synthetic {
    fn default() -> Synthetic {
        Synthetic { prefix: "demo".into(), publications_per_second: 500, seed: 1 }
    }
}

impl Replay {
    /// The topic of a message where nothing else is said: that of a combined stream.
    pub const TOPIC: &str = "{/stream}";
    /// The payload that goes with it.
    pub const PAYLOAD: &str = "/data";

    /// A recording played once at its own pace. Without a topic it is taken for a combined stream, and its payload is what
    /// that carries; with a topic of the operator's choice the payload is the whole message unless said otherwise.
    #[must_use]
    pub fn of(file: PathBuf, topic: Option<String>, payload: Option<String>) -> Replay {
        let payload =
            payload.or_else(|| topic.is_none().then(|| Replay::PAYLOAD.to_owned())).filter(|pointer| !pointer.is_empty());
        let topic = topic.unwrap_or_else(|| Replay::TOPIC.to_owned());
        Replay { file, topic, payload, speed: Speed::Times(1.0), repeat: false }
    }
}

impl Default for Upstream {
    fn default() -> Upstream {
        Upstream {
            urls: Vec::new(),
            ca: None,
            subscribe: Vec::new(),
            topic: Replay::TOPIC.to_owned(),
            payload: Some(Replay::PAYLOAD.to_owned()),
            key: None,
            binary_topic: None,
            sequences: Vec::new(),
            silent_timeout_ms: 30_000,
            connect_timeout_ms: 10_000,
            backoff_min_ms: 500,
            backoff_max_ms: 30_000,
            arbitration_wait_ms: 250,
            arbitration_bytes_max: 16 << 20,
            topics_max: 10_000,
        }
    }
}

impl Default for Sequence {
    fn default() -> Sequence {
        Sequence { topics: ">".into(), number: String::new(), previous: None, rule: SequenceRule::PlusOne, window: 10_000 }
    }
}

impl Default for Publish {
    fn default() -> Publish {
        Publish { allow: PublishAllow::Nobody, topics: Vec::new() }
    }
}

impl Default for Callout {
    fn default() -> Callout {
        Callout {
            url: String::new(),
            ca: None,
            headers: Vec::new(),
            timeout_ms: 1000,
            concurrency_max: 64,
            waiting_max: 1024,
            cache_s: 0,
            cache_entries_max: 10_000,
            when_down: WhenDown::Refuse,
        }
    }
}

impl Default for Tokens {
    fn default() -> Tokens {
        Tokens {
            issuer: None,
            audiences: Vec::new(),
            skew_s: 5,
            token_bytes_max: 4096,
            subject_claim: "sub".into(),
            subscribe_claim: "subscribe".into(),
            publish_claim: "publish".into(),
            limits_claim: "limits".into(),
            revocations_max: 10_000,
            revocation_s: 86_400,
            jwks: None,
            jwks_ca: None,
            jwks_refresh_s: 300,
            jwks_least_s: 10,
            jwks_timeout_ms: 5000,
            jwks_bytes_max: 256 << 10,
            jwks_keys_max: 32,
            keys: Vec::new(),
        }
    }
}

#[expect(clippy::derivable_impls, reason = "every default is written down in this file")]
impl Default for Echo {
    fn default() -> Echo {
        Echo { enabled: false }
    }
}

#[expect(clippy::derivable_impls, reason = "every default is written down in this file")]
impl Default for Page {
    fn default() -> Page {
        Page { enabled: false }
    }
}

impl Default for Log {
    fn default() -> Log {
        Log { format: LogFormat::Text, level: LogLevel::Info, waiting_lines_max: 8192, client_lines_per_second: 10 }
    }
}

impl Default for Shards {
    fn default() -> Shards {
        Shards {
            count: None,
            pin: true,
            reactor: ReactorChoice::Auto,
            sends_per_turn: 64,
            turn_us: 500,
            completions_max: 256,
            ring_entries: 1024,
            receive_buffers: 256,
            receive_buffer_bytes: 4096,
            accepts_armed: 64,
            mail_max: 256,
            mailbox_places: 8192,
        }
    }
}

impl Default for Arrivals {
    fn default() -> Arrivals {
        let loopback = ["127.0.0.0/8", "::1/128"].map(|network| network.parse().expect("these are networks"));
        Arrivals {
            per_second: 10_000,
            burst: 20_000,
            per_address_per_second: 100,
            per_address_burst: 1000,
            per_address_max: 4096,
            exempt: loopback.into_iter().chain([Network::Unix]).collect(),
        }
    }
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            connections_max: 16_384,
            memory_bytes_max: 0,
            half_open_per_address_max: 4096,
            message_bytes_max: 64 << 10,
            fragments_max: 1024,
            inflate_ratio_max: 200,
            publication_bytes_max: 1 << 20,
            deflate_bytes_min: 128,
            head_bytes_max: 8192,
            headers_max: 64,
            handshake_timeout_ms: 5000,
            proxy_header_bytes_max: 2048,
            proxy_timeout_ms: 3000,
            message_timeout_ms: 30_000,
            idle_ping_ms: 25_000,
            pong_timeout_ms: 8000,
            close_timeout_ms: 5000,
            close_deadline_ms: 5000,
            connection_age_max_s: 0,
            send_timeout_ms: 30_000,
            send_unsent_bytes_max: 16 << 10,
            conflate_unsent_bytes: 16 << 10,
            visit_bytes_max: 256 << 10,
            tls_visit_bytes_max: 16 << 10,
            tls_handshake_bytes_max: 8192,
            reply_bytes_max: 256 << 10,
            torn_bytes_max: 64 << 20,
            pattern_rows_max: 16_000_000,
            held_bytes_max: 64 << 20,
            accept_backlog: 4096,
            subscriptions_max: 1024,
            patterns_max: 10_000,
            requests_per_second: 20,
            requests_burst: 200,
            history_bytes_per_second: 16 << 20,
            history_burst_bytes: 64 << 20,
            errors_in_a_row_max: 100,
            topics_max: 200_000,
            replica_linger_ms: 30_000,
            publish_credits: 1024,
            broker_requests_max: 256,
            publish_wait_ms: 1000,
            stalled_after_ms: 1000,
            stop_timeout_ms: 5000,
        }
    }
}

fn loopback(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}
