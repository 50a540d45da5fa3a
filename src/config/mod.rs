//! Every setting and limit of the gateway, with its unit in its name. Parsed and validated once; what the rest of the
//! house sees is always valid.
//!
//! Without: reading of files, sockets, environment or clock. [`parse`] takes the text of a file, [`demo`] is what runs
//! without one.
//!
//! Invariant: a [`Config`] that [`parse`] returns names everything that runs. Defaults bound it, they never start a feed,
//! a port or a door for publishers. Every default stands in `defaults.rs`; every key with what it takes and why stands in
//! `reference.rs`, from which the printed default and docs/configuration.md are made.

mod address;
mod admission;
mod arrival;
mod check;
mod defaults;
mod document;
mod error;
mod file;
pub mod forms;
mod keys;
mod limits;
mod listener;
mod print;
mod reference;
mod reload;
mod rules;
mod source_shape;
mod takeover;
mod topic;
mod upstream;

#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

pub use address::{Address, Network, SocketMode};
pub use admission::{Anonymous, Callout, KeySetPlace, TokenAlgorithm, TokenKey, Tokens, WhenDown};
pub use arrival::{Arrivals, Drain, ForwardedHeader, ProxyProtocol};
pub use check::{in_force, warnings};
pub use defaults::demo;
pub use error::{ConfigError, Fault};
pub use file::parse;
pub use limits::Limits;
pub use listener::{CertificateFiles, ClientCertificates, Listener, ListenerKind, ListenerTls};
pub use print::default_text;
pub use reload::{Change, Reload};
pub use takeover::Takeover;
pub use topic::{Journal, JournalFlush, JournalFull, Slow, Topic, TopicJournal, TopicKind};
pub use upstream::{HttpUrl, Sequence, SequenceRule, Upstream, WebSocketUrl};

/// The whole configuration, valid. It is written out only to compare two of them, by the names that the file has.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Config {
    /// True without `--config`: the synthetic feed, echo, the page and publishing from this machine are on.
    #[serde(skip)]
    pub demo: bool,
    /// Where clients connect. At least one.
    #[serde(rename = "listener")]
    pub listeners: Vec<Listener>,
    /// The admin port.
    pub admin: Admin,
    /// Settings of topics by pattern; the first match wins. Topics that match none have [`Topic::default`].
    #[serde(rename = "topic")]
    pub topics: Vec<Topic>,
    /// Feeds that the gateway plays or takes in.
    #[serde(rename = "source")]
    pub sources: Vec<Source>,
    /// Where journaled topics are kept.
    pub journal: Journal,
    /// How many clients may come how fast.
    pub arrivals: Arrivals,
    /// How SIGTERM drains.
    pub drain: Drain,
    /// How it takes another one's place, and gives up its own.
    pub takeover: Takeover,
    /// All limits.
    pub limits: Limits,
    /// Threads and turns.
    pub shards: Shards,
    /// Publishing by clients.
    pub publish: Publish,
    /// How tokens are judged.
    pub tokens: Tokens,
    /// What clients without a token may do, where that is said.
    pub anonymous: Option<Anonymous>,
    /// The operator's endpoint that is asked at connect, where there is one.
    pub callout: Option<Callout>,
    /// `/echo`.
    pub echo: Echo,
    /// The page at `/` and `/topics`.
    pub page: Page,
    /// The log.
    pub log: Log,
}

/// The admin port: publish API, health, metrics, the operator's page. Without keys whoever reaches it may do everything, so only loopback is accepted then.
#[derive(Clone, Debug, PartialEq, Serialize)]
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
    /// Who may ask for what; empty: whoever reaches it for everything.
    #[serde(rename = "key")]
    pub keys: Vec<AdminKey>,
}

/// A bearer key of the admin port, and what it is good for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AdminKey {
    /// As the log names it.
    pub name: String,
    /// The file with the key itself, or with its SHA-256.
    pub secret_file: PathBuf,
    /// Topics, names or patterns, that may be published on with it.
    #[serde(default)]
    pub publish: Vec<String>,
    /// Whether metrics and lists may be read with it.
    #[serde(default)]
    pub read: bool,
    /// Whether anything but topics may be changed with it.
    #[serde(default)]
    pub change: bool,
}

/// One feed.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Source {
    /// Made-up prices and trades.
    Synthetic(Synthetic),
    /// A recording played again.
    Replay(Replay),
    /// Another server's feed over WebSocket.
    Upstream(Upstream),
}

/// Settings of the synthetic market.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Synthetic {
    /// Topics are `<prefix>.bbo.<instrument>` and `<prefix>.trades.<instrument>`; `demo` in demo mode.
    pub prefix: String,
    /// Publications a second, over all instruments.
    pub publications_per_second: u32,
    /// The same seed gives the same bytes.
    pub seed: u64,
}

/// Settings of a replay.
#[derive(Clone, Debug, PartialEq, Serialize)]
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
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
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
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Publish {
    /// Who may: nobody by default; in demo mode connections from loopback without Origin or forwarding headers.
    pub allow: PublishAllow,
    /// Topics (names or patterns) that may be published to by clients.
    pub topics: Vec<String>,
}

/// Who may publish over WebSocket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PublishAllow {
    /// Nobody.
    Nobody,
    /// Connections from loopback that bear no `Origin`, `Forwarded`, `X-Forwarded-*` or PROXY header.
    Loopback,
}

/// `/echo`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Echo {
    /// On in demo mode only, unless configured.
    pub enabled: bool,
}

/// The page at `/` and the list at `/topics`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Page {
    /// On in demo mode only, unless configured.
    pub enabled: bool,
}

/// The log.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Log {
    /// Text or JSON lines.
    pub format: LogFormat,
    /// Least level written.
    pub level: LogLevel,
    /// Lines that wait to be written; further ones are lost, and counted.
    pub waiting_lines_max: u32,
    /// Lines of each kind about single clients that a shard writes in a second; further ones are counted in one line.
    pub client_lines_per_second: u32,
}

/// Form of log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    Text,
    /// For machines.
    Json,
}

/// Least level that is written; the greater tells more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the names are the levels")]
pub enum LogLevel {
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}
