//! Every setting and limit of the gateway, with its unit in its name. Parsed and validated once; what the rest of the
//! house sees is always valid.
//!
//! Without: reading of files, sockets, environment or clock. [`parse`] takes the text of a file, [`demo`] is what runs
//! without one.
//!
//! Invariant: a [`Config`] that [`parse`] returns names everything that runs. Defaults bound it, they never start a feed,
//! a port or a door for publishers. Every default stands in `defaults.rs`; every key with what it takes and why stands in
//! `reference.rs`, from which the printed default and docs/configuration.md are made.

mod arrival;
mod check;
mod defaults;
mod document;
mod error;
mod file;
pub mod forms;
mod keys;
mod print;
mod reference;
mod rules;
mod source_shape;
mod upstream;

#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::path::PathBuf;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

pub use arrival::{Arrivals, Drain, ForwardedHeader, ProxyProtocol};
pub use check::{in_force, warnings};
pub use defaults::demo;
pub use error::{ConfigError, Fault};
pub use file::parse;
pub use print::default_text;
pub use upstream::{Sequence, SequenceRule, Upstream, WebSocketUrl};

/// The whole configuration, valid.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// True without `--config`: the synthetic feed, echo, the page and publishing from this machine are on.
    pub demo: bool,
    /// Where clients connect. At least one.
    pub listeners: Vec<Listener>,
    /// The admin port.
    pub admin: Admin,
    /// Settings of topics by pattern; the first match wins. Topics that match none have [`Topic::default`].
    pub topics: Vec<Topic>,
    /// Feeds that the gateway plays or takes in.
    pub sources: Vec<Source>,
    /// Where journaled topics are kept.
    pub journal: Journal,
    /// How many clients may come how fast.
    pub arrivals: Arrivals,
    /// How SIGTERM drains.
    pub drain: Drain,
    /// All limits.
    pub limits: Limits,
    /// Threads and turns.
    pub shards: Shards,
    /// Publishing by clients.
    pub publish: Publish,
    /// `/echo`.
    pub echo: Echo,
    /// The page at `/` and `/topics`.
    pub page: Page,
    /// The log.
    pub log: Log,
}

/// One address that clients connect to.
#[derive(Clone, Debug, PartialEq)]
pub struct Listener {
    /// Address and port; port 0 lets the kernel choose.
    pub address: SocketAddr,
    /// What speaks there.
    pub kind: ListenerKind,
    /// `Host` values accepted besides `localhost` and loopback addresses when `address` is loopback (421 else). Without port.
    pub hosts: Vec<String>,
    /// Origins accepted besides the same host: `scheme://host[:port]`, exact.
    pub origins: Vec<String>,
    /// Grants permessage-deflate to clients that offer it.
    pub permessage_deflate: bool,
    /// Proxies whose word on whom they speak for is taken.
    pub trusted_proxies: Vec<IpNet>,
    /// Whether they say it before the client's own bytes.
    pub proxy_protocol: ProxyProtocol,
    /// Where they say it in a request.
    pub forwarded_header: ForwardedHeader,
    /// What stands before every path, as `/md`; empty: nothing.
    pub path_prefix: String,
    /// TLS over it; none: plain.
    pub tls: Option<ListenerTls>,
}

/// TLS on a listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenerTls {
    /// For clients that name no host, or one that no other certificate has; also for those that name its hosts.
    pub certificate: CertificateFiles,
    /// Further ones, chosen by the host that a client names.
    pub sni: Vec<CertificateFiles>,
    /// Authorities of clients' certificates, PEM; none: clients are not asked for any.
    pub client_ca: Option<PathBuf>,
    /// Whether clients must show one.
    pub client_certificates: ClientCertificates,
}

/// Where a certificate is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFiles {
    /// The chain, PEM, the server's own first.
    pub certificate: PathBuf,
    /// Its key, PEM.
    pub key: PathBuf,
}

/// Whether clients must show a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ClientCertificates {
    /// Who shows none is refused.
    Required,
    /// Who shows none is let in.
    Optional,
}

/// What carries a listener. Unix sockets come here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ListenerKind {
    /// Plain TCP.
    Tcp,
}

/// The admin port: publish API, health, metrics. It carries no authentication yet, so only loopback is accepted.
#[derive(Clone, Debug, PartialEq)]
pub struct Admin {
    /// Off unless demo mode or configured.
    pub enabled: bool,
    /// Default `127.0.0.1:8081`.
    pub address: SocketAddr,
    /// `Host` values accepted besides `localhost` and loopback addresses. Without port.
    pub hosts: Vec<String>,
    /// Largest request body (a batch of publications).
    pub body_bytes_max: usize,
    /// Connections at a time; further ones wait.
    pub open_connections_max: u32,
    /// For the head of a request, and for a connection without one.
    pub head_timeout_ms: u32,
    /// For the body of a request.
    pub body_timeout_ms: u32,
}

/// Settings of the topics that match a pattern.
#[derive(Clone, Debug, PartialEq)]
pub struct Topic {
    /// A topic name or a pattern (`*` one level, `>` the rest).
    pub pattern: String,
    /// Whether every publication counts or each replaces the one before.
    pub kind: TopicKind,
    /// Most publications that the ring holds.
    pub ring_publications: u32,
    /// Most bytes of frames that one ring holds; the newest publication is held whatever its size.
    pub ring_bytes: u32,
    /// Publications older than this leave the ring when a newer one comes; 0: age does not matter.
    pub ring_age_ms: u32,
    /// How long publications are gathered before they leave together; 0: not at all.
    pub flush_us: u32,
    /// JSON pointer to the key in a publication's payload.
    pub key: Option<String>,
    /// Most keys whose newest publication is kept beside the ring.
    pub keys_max: u32,
    /// What happens to a subscriber that cannot keep up and did not choose.
    pub slow_default: Slow,
    /// What subscribers may choose.
    pub slow_allowed: Vec<Slow>,
    /// A subscriber of `slow=conflate` is slow when it lacks more bytes than this ...
    pub slow_lag_bytes: u32,
    /// ... or the oldest publication that it lacks is older than this.
    pub slow_lag_ms: u32,
    /// Intervals that `rate=` takes.
    pub rates_ms: Vec<u32>,
    /// Keeps what is published on disk; none: positions end with the process.
    pub journal: Option<TopicJournal>,
}

/// What happens to a subscriber that cannot keep up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Slow {
    /// It is closed with 1013.
    Close,
    /// The oldest publications are left out, and it is told which.
    Drop,
    /// Only the newest (of each key) is kept for it, and it is told how many were not sent.
    Conflate,
}

/// How a topic's journal is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TopicJournal {
    /// When what is written is made to be on disk.
    pub flush: JournalFlush,
    /// From this size on a new segment is begun.
    pub segment_bytes: u32,
    /// All segments of the topic together; the oldest are removed.
    pub keep_bytes: u64,
    /// Segments that ended longer ago are removed.
    pub keep_s: u32,
    /// What is done where the disk is full.
    pub full: JournalFull,
}

/// When a journal is made to be on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JournalFlush {
    /// So often, while publications are delivered: a power failure takes at most so much.
    EveryMs(u32),
    /// Before a publication is delivered or acknowledged.
    Always,
}

/// What is done where a journal cannot be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum JournalFull {
    /// Publications are refused, or wait, until there is room.
    Refuse,
    /// The topic's oldest segments are removed to make room.
    Forget,
    /// The topic goes on without its journal, in a new epoch.
    Continue,
}

/// Where journaled topics are kept.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Journal {
    /// The directory; made where it is not there.
    pub directory: PathBuf,
    /// Topics that are written in one run.
    pub topics_max: u32,
}

/// The kind of a topic (see docs/protocol.md).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TopicKind {
    /// Every publication counts.
    Log,
    /// A publication replaces the one before.
    State,
}

/// One feed.
#[derive(Clone, Debug, PartialEq)]
pub enum Source {
    /// Made-up prices and trades.
    Synthetic(Synthetic),
    /// A recording played again.
    Replay(Replay),
    /// Another server's feed over WebSocket.
    Upstream(Upstream),
}

/// Settings of the synthetic market.
#[derive(Clone, Debug, PartialEq)]
pub struct Synthetic {
    /// Topics are `<prefix>.bbo.<instrument>` and `<prefix>.trades.<instrument>`; `demo` in demo mode.
    pub prefix: String,
    /// Publications a second, over all instruments.
    pub publications_per_second: u32,
    /// The same seed gives the same bytes.
    pub seed: u64,
}

/// Settings of a replay.
#[derive(Clone, Debug, PartialEq)]
pub struct Replay {
    /// The recording, `.gz` or plain.
    pub file: PathBuf,
    /// Topic template of JSON pointers, e.g. `{/stream}` or `cb.{/type}.{/product_id}`.
    pub topic: String,
    /// JSON pointer to the payload; none: the whole message.
    pub payload: Option<String>,
    /// Pace.
    pub speed: Speed,
    /// Begin again at the end.
    pub repeat: bool,
}

/// The pace of a replay.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Speed {
    /// As a multiple of the recorded pace.
    Times(f64),
    /// As fast as the sweeps keep up.
    Max,
}

/// Threads and turns.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Shards {
    /// How many shards; `None`: one per core.
    pub count: Option<u16>,
    /// Pin each shard to a core.
    pub pin: bool,
    /// How shards ask the kernel.
    pub reactor: ReactorChoice,
    /// Sends in one turn.
    pub sends_per_turn: u16,
    /// Longest time that a turn goes on to prepare sends.
    pub turn_us: u32,
    /// Completions taken in one turn.
    pub completions_max: u16,
    /// Entries of the submission queue, a power of two.
    pub ring_entries: u16,
    /// Receive buffers a shard, a power of two.
    pub receive_buffers: u16,
    /// Size of each receive buffer.
    pub receive_buffer_bytes: u32,
    /// Accepts kept armed: as many clients can come between two turns.
    pub accepts_armed: u16,
    /// Mail taken in one turn.
    pub mail_max: u16,
    /// Places in a shard's mailbox.
    pub mailbox_places: u32,
}

/// How shards ask the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReactorChoice {
    /// By io_uring, or by epoll where that is not allowed.
    Auto,
    /// By io_uring or not at all.
    IoUring,
    /// By epoll.
    Epoll,
}

/// Publishing by clients over WebSocket.
#[derive(Clone, Debug, PartialEq)]
pub struct Publish {
    /// Who may: nobody by default; in demo mode connections from loopback without Origin or forwarding headers.
    pub allow: PublishAllow,
    /// Topics (names or patterns) that may be published to by clients.
    pub topics: Vec<String>,
}

/// Who may publish over WebSocket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PublishAllow {
    /// Nobody.
    Nobody,
    /// Connections from loopback that bear no `Origin`, `Forwarded`, `X-Forwarded-*` or PROXY header.
    Loopback,
}

/// `/echo`.
#[derive(Clone, Debug, PartialEq)]
pub struct Echo {
    /// On in demo mode only, unless configured.
    pub enabled: bool,
}

/// The page at `/` and the list at `/topics`.
#[derive(Clone, Debug, PartialEq)]
pub struct Page {
    /// On in demo mode only, unless configured.
    pub enabled: bool,
}

/// The log.
#[derive(Clone, Debug, PartialEq)]
pub struct Log {
    /// Text or JSON lines.
    pub format: LogFormat,
    /// Least level written.
    pub level: LogLevel,
}

/// Form of log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    Text,
    /// For machines.
    Json,
}

/// Least level that is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the names are the levels")]
pub enum LogLevel {
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

/// Every bound of the gateway. Bytes, counts and times; see docs/configuration.md for each reason.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Clients of the whole process, divided among the shards.
    pub connections_max: u32,
    /// Clients of one address that are not yet WebSockets, divided among the shards.
    pub half_open_per_address_max: u32,
    /// A request or echoed message.
    pub message_bytes_max: u32,
    /// Fragments of one message.
    pub fragments_max: u32,
    /// How many times its own bytes a compressed message may inflate to, beyond its first 64 KiB.
    pub inflate_ratio_max: u32,
    /// One publication, from whatever door.
    pub publication_bytes_max: u32,
    /// Publications below this are not compressed.
    pub deflate_bytes_min: u32,
    /// The head of the handshake.
    pub head_bytes_max: u32,
    /// Header fields in a head.
    pub headers_max: u16,
    /// The whole handshake.
    pub handshake_timeout_ms: u32,
    /// A PROXY header of version 2.
    pub proxy_header_bytes_max: u32,
    /// For a PROXY header, from accept to its last byte.
    pub proxy_timeout_ms: u32,
    /// A message that began must end.
    pub message_timeout_ms: u32,
    /// Without a byte from the client: a ping.
    pub idle_ping_ms: u32,
    /// A pong is due after this.
    pub pong_timeout_ms: u32,
    /// From our close frame to the reset.
    pub close_timeout_ms: u32,
    /// From falling out of the ring to the reset, while an unfinished frame's rest and the close frame are owed.
    pub close_deadline_ms: u32,
    /// A connection older than this is closed, a tenth earlier or later; 0: none is.
    pub connection_age_max_s: u32,
    /// `TCP_USER_TIMEOUT`: unacknowledged bytes older than this reset the client.
    pub send_timeout_ms: u32,
    /// `TCP_NOTSENT_LOWAT`: bytes that the kernel takes for a client beyond what is on the wire.
    pub send_unsent_bytes_max: u32,
    /// The same of a subscriber of `slow=conflate`, and its `SO_SNDBUF`.
    pub conflate_unsent_bytes: u32,
    /// Bytes in one visit of the sweep to one client.
    pub visit_bytes_max: u32,
    /// The same of a TLS client, before they are sealed.
    pub tls_visit_bytes_max: u32,
    /// What a client of a TLS listener can make us keep before its handshake is done.
    pub tls_handshake_bytes_max: u32,
    /// Replies owed to one client; above it, its requests are not read.
    pub reply_bytes_max: u32,
    /// Rests of frames that rings gave up, over all clients of a shard.
    pub torn_bytes_max: u32,
    /// Rows that patterns gave to clients that are behind, over all clients of a shard.
    pub pattern_rows_max: u32,
    /// Input held back while its clients wait for something, over all clients of a shard but publishers.
    pub held_bytes_max: u32,
    /// Clients that wait to be accepted, on each listening socket.
    pub accept_backlog: u32,
    /// Subscriptions of one client.
    pub subscriptions_max: u32,
    /// Patterns that clients of a shard are subscribed to.
    pub patterns_max: u32,
    /// Requests, pings and echoed messages of one client a second.
    pub requests_per_second: u32,
    /// Burst of them.
    pub requests_burst: u32,
    /// Errors in a row that close with 1008.
    pub errors_in_a_row_max: u16,
    /// Topics of the whole gateway.
    pub topics_max: u32,
    /// A replica without subscribers is given up after this.
    pub replica_linger_ms: u32,
    /// Publications of one shard or of the control thread that another shard has not yet passed on.
    pub publish_credits: u32,
    /// Requests of sources and of the admin port that wait for the broker; beyond, whoever asks waits.
    pub broker_requests_max: u32,
    /// An HTTP publisher waits this long for a full mailbox, then 503.
    pub publish_wait_ms: u32,
    /// A subscriber whose socket took no byte for so long is not waited for by a replay at `speed = "max"` or by the stop.
    pub stalled_after_ms: u32,
    /// At stop: how long close handshakes may take.
    pub stop_timeout_ms: u32,
}
