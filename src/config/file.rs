//! The shape of the configuration file, and its reading.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::arrival::OwnArrivals;
use super::document::{Document, Place};
use super::error::ConfigError;
use super::source_shape::SourceShape;
use super::{
    Address, Admin, AdminKey, Anonymous, Arrivals, Callout, CertificateFiles, ClientCertificates, Config, Drain, Echo,
    ForwardedHeader, Journal, JournalFlush, JournalFull, Limits, Listener, ListenerKind, ListenerTls, Log, LogFormat, LogLevel,
    Network, Page, ProxyProtocol, Publish, PublishAllow, Shards, Slow, SocketMode, Takeover, Tokens, Topic, TopicJournal,
    TopicKind, rules,
};

/// Reads the text of a configuration file; `file` is only named in errors.
///
/// What the file does not name does not run: no feed, no echo, no page, no publishing, no admin port.
///
/// # Errors
/// The first thing that is wrong, with its place, what was expected and what to do.
pub fn parse(text: &str, file: &Path) -> Result<Config, ConfigError> {
    let document = Document::parse(text, file)?;
    document.check()?;
    let shape: FileShape = toml::from_str(text).map_err(|error| document.unreadable(&error))?;
    let sources = shape.source.into_iter().enumerate().map(|(index, source)| source.into_source(&document, index));
    let listeners = shape.listener.into_iter().enumerate();
    let listeners = listeners.map(|(index, listener)| listener.into_listener(&shape.arrivals, &document, index));
    let config = Config {
        demo: false,
        listeners: listeners.collect::<Result<_, _>>()?,
        admin: shape.admin.map_or_else(Admin::default, AdminShape::into_admin),
        topics: shape.topic.into_iter().map(TopicShape::into_topic).collect(),
        sources: sources.collect::<Result<_, _>>()?,
        journal: shape.journal,
        arrivals: shape.arrivals,
        drain: shape.drain,
        takeover: shape.takeover,
        limits: shape.limits,
        shards: shape.shards,
        publish: shape.publish.into_publish(),
        tokens: shape.tokens,
        anonymous: shape.anonymous,
        callout: shape.callout,
        echo: Echo { enabled: shape.echo.map_or(Echo::default().enabled, |echo| echo.enabled) },
        page: Page { enabled: shape.page.map_or(Page::default().enabled, |page| page.enabled) },
        log: shape.log.into_log(),
    };
    rules::check(&document, &config)?;
    Ok(config)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FileShape {
    #[serde(default)]
    listener: Vec<ListenerShape>,
    admin: Option<AdminShape>,
    #[serde(default)]
    topic: Vec<TopicShape>,
    #[serde(default)]
    source: Vec<SourceShape>,
    #[serde(default)]
    journal: Journal,
    #[serde(default)]
    arrivals: Arrivals,
    #[serde(default)]
    drain: Drain,
    #[serde(default)]
    takeover: Takeover,
    #[serde(default)]
    limits: Limits,
    #[serde(default)]
    shards: Shards,
    #[serde(default)]
    publish: PublishShape,
    #[serde(default)]
    tokens: Tokens,
    anonymous: Option<Anonymous>,
    callout: Option<Callout>,
    echo: Option<SwitchShape>,
    page: Option<SwitchShape>,
    #[serde(default)]
    log: LogShape,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ListenerShape {
    address: Address,
    kind: Option<ListenerKind>,
    mode: Option<SocketMode>,
    #[serde(default)]
    hosts: Vec<String>,
    #[serde(default)]
    origins: Vec<String>,
    permessage_deflate: Option<bool>,
    #[serde(default)]
    trusted_proxies: Vec<Network>,
    proxy_protocol: Option<ProxyProtocol>,
    forwarded_header: Option<ForwardedHeader>,
    #[serde(default)]
    path_prefix: String,
    connection_age_max_s: Option<u32>,
    arrivals: Option<OwnArrivals>,
    tls: Option<TlsShape>,
}

impl ListenerShape {
    fn into_listener(self, common: &Arrivals, document: &Document<'_>, index: usize) -> Result<Listener, ConfigError> {
        let default = Listener::default();
        let ListenerShape { address, kind, mode, hosts, origins, permessage_deflate, tls, .. } = self;
        let listener = Listener {
            address,
            mode: mode.unwrap_or(default.mode),
            hosts,
            origins,
            permessage_deflate: permessage_deflate.unwrap_or(default.permessage_deflate),
            trusted_proxies: self.trusted_proxies,
            proxy_protocol: self.proxy_protocol.unwrap_or(default.proxy_protocol),
            forwarded_header: self.forwarded_header.unwrap_or(default.forwarded_header),
            path_prefix: self.path_prefix,
            connection_age_max_s: self.connection_age_max_s,
            arrivals: self.arrivals.map(|own| own.over(common)),
            tls: tls.map(TlsShape::into_tls),
        };
        if kind.is_some_and(|kind| kind != listener.kind()) {
            let place = Place { table: "listener", index, key: "kind" };
            let hint = "Remove it: the address says what it is.";
            return Err(document.conflict(place, "and the address is something else", "what the address says", hint));
        }
        Ok(listener)
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TlsShape {
    certificate: PathBuf,
    key: PathBuf,
    client_ca: Option<PathBuf>,
    client_certificates: Option<ClientCertificates>,
    #[serde(default)]
    sni: Vec<CertificateShape>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CertificateShape {
    certificate: PathBuf,
    key: PathBuf,
}

impl TlsShape {
    fn into_tls(self) -> ListenerTls {
        let TlsShape { certificate, key, client_ca, client_certificates, sni } = self;
        let files = |CertificateShape { certificate, key }| CertificateFiles { certificate, key };
        ListenerTls {
            certificate: CertificateFiles { certificate, key },
            sni: sni.into_iter().map(files).collect(),
            client_ca,
            client_certificates: client_certificates.unwrap_or(ClientCertificates::Required),
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AdminShape {
    address: Option<SocketAddr>,
    #[serde(default)]
    hosts: Vec<String>,
    body_bytes_max: Option<usize>,
    open_connections_max: Option<u32>,
    head_timeout_ms: Option<u32>,
    body_timeout_ms: Option<u32>,
    #[serde(default)]
    key: Vec<AdminKey>,
}

impl AdminShape {
    fn into_admin(self) -> Admin {
        let default = Admin::default();
        Admin {
            enabled: true,
            address: self.address.unwrap_or(default.address),
            hosts: self.hosts,
            body_bytes_max: self.body_bytes_max.unwrap_or(default.body_bytes_max),
            open_connections_max: self.open_connections_max.unwrap_or(default.open_connections_max),
            head_timeout_ms: self.head_timeout_ms.unwrap_or(default.head_timeout_ms),
            body_timeout_ms: self.body_timeout_ms.unwrap_or(default.body_timeout_ms),
            keys: self.key,
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TopicShape {
    pattern: String,
    kind: Option<TopicKind>,
    ring_publications: Option<u32>,
    ring_bytes: Option<u32>,
    ring_age_ms: Option<u32>,
    flush_us: Option<u32>,
    key: Option<String>,
    keys_max: Option<u32>,
    slow_default: Option<Slow>,
    slow_allowed: Option<Vec<Slow>>,
    slow_lag_bytes: Option<u32>,
    slow_lag_ms: Option<u32>,
    rates_ms: Option<Vec<u32>>,
    #[serde(default)]
    journal: bool,
    journal_flush: Option<FlushWord>,
    journal_every_ms: Option<u32>,
    journal_segment_bytes: Option<u32>,
    journal_keep_bytes: Option<u64>,
    journal_keep_s: Option<u32>,
    journal_full: Option<JournalFull>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum FlushWord {
    EveryMs,
    Always,
}

impl TopicShape {
    fn into_topic(self) -> Topic {
        let default = Topic::default();
        let journal = self.journal.then(|| self.journal_settings());
        let slow_default = self.slow_default.unwrap_or(default.slow_default);
        // What happens without a choice may be chosen.
        let slow_allowed = self.slow_allowed.unwrap_or_else(|| vec![slow_default]);
        Topic {
            kind: self.kind.unwrap_or(default.kind),
            ring_publications: self.ring_publications.unwrap_or(default.ring_publications),
            ring_bytes: self.ring_bytes.unwrap_or(default.ring_bytes),
            ring_age_ms: self.ring_age_ms.unwrap_or(default.ring_age_ms),
            flush_us: self.flush_us.unwrap_or(default.flush_us),
            key: self.key,
            keys_max: self.keys_max.unwrap_or(default.keys_max),
            slow_default,
            slow_allowed,
            slow_lag_bytes: self.slow_lag_bytes.unwrap_or(default.slow_lag_bytes),
            slow_lag_ms: self.slow_lag_ms.unwrap_or(default.slow_lag_ms),
            rates_ms: self.rates_ms.unwrap_or(default.rates_ms),
            journal,
            pattern: self.pattern,
        }
    }

    fn journal_settings(&self) -> TopicJournal {
        let default = TopicJournal::default();
        TopicJournal {
            flush: match self.journal_flush.unwrap_or(FlushWord::EveryMs) {
                FlushWord::EveryMs => JournalFlush::EveryMs(self.journal_every_ms.unwrap_or(TopicJournal::EVERY_MS)),
                FlushWord::Always => JournalFlush::Always,
            },
            segment_bytes: self.journal_segment_bytes.unwrap_or(default.segment_bytes),
            keep_bytes: self.journal_keep_bytes.unwrap_or(default.keep_bytes),
            keep_s: self.journal_keep_s.unwrap_or(default.keep_s),
            full: self.journal_full.unwrap_or(default.full),
        }
    }
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct PublishShape {
    allow: Option<PublishAllow>,
    topics: Option<Vec<String>>,
}

impl PublishShape {
    fn into_publish(self) -> Publish {
        let default = Publish::default();
        Publish { allow: self.allow.unwrap_or(default.allow), topics: self.topics.unwrap_or(default.topics) }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SwitchShape {
    enabled: bool,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct LogShape {
    format: Option<LogFormat>,
    level: Option<LogLevel>,
    waiting_lines_max: Option<u32>,
    client_lines_per_second: Option<u32>,
}

impl LogShape {
    fn into_log(self) -> Log {
        let default = Log::default();
        Log {
            format: self.format.unwrap_or(default.format),
            level: self.level.unwrap_or(default.level),
            waiting_lines_max: self.waiting_lines_max.unwrap_or(default.waiting_lines_max),
            client_lines_per_second: self.client_lines_per_second.unwrap_or(default.client_lines_per_second),
        }
    }
}
