//! Every key of the configuration file: what it takes, its unit, its meaning and the reason for its default.
//!
//! From these the file is checked, the default configuration is printed and docs/configuration.md is made, so the three
//! cannot disagree.

mod admission;
mod doors;
mod feeds;
mod limits;
mod process;
mod topics;

use super::keys::{Form, Key, Table};

const fn optional(table: &'static str, name: &'static str, form: Form, meaning: &'static str) -> Key {
    Key { table, name, form, required: false, meaning }
}

const fn required(table: &'static str, name: &'static str, form: Form, meaning: &'static str) -> Key {
    Key { table, name, form, required: true, meaning }
}

const fn limit(name: &'static str, least: u64, most: u64, unit: &'static str, meaning: &'static str) -> Key {
    optional("limits", name, Form::Whole(least, most, unit), meaning)
}

const ADDRESS: &str = "an IP address with a port, like \"127.0.0.1:8080\" or \"[::1]:8080\"";
const HOST: &str = "a host without scheme and port, like \"feed.example.com\"";
const ORIGIN: &str = "an origin, like \"https://app.example.com\" or \"http://localhost:3000\"";
const PATTERN: &str = "a topic or a pattern, like \"md.trades.*\" or \"md.>\"";
const TEMPLATE: &str = "a topic with JSON pointers in braces, like \"cb.{/type}.{/product_id}\"";
const NETWORK: &str = "an address or a network, like \"10.0.0.7\" or \"10.0.0.0/8\"";
const PREFIX: &str = "a path, like \"/md\", or nothing";
const WS_URL: &str = "a URL, like \"wss://feed.example.com/stream\"";
const PEM_FILE: &str = "the path of a PEM file";
const HOUR_MS: u64 = 3_600_000;

/// The tables, in the order in which they are printed.
#[rustfmt::skip]
pub(super) const TABLES: &[Table] = &[
    Table { name: "listener", many: true, meaning:
        "Where clients connect. At least one." },
    Table { name: "listener.tls", many: false, meaning:
        "TLS on the [[listener]] above it: https:// and wss:// in place of http:// and ws://, TLS 1.2 and 1.3. SIGHUP has \
         the files of all listeners read again; where one cannot be used, all that was in force stays." },
    Table { name: "listener.tls.sni", many: true, meaning:
        "A further certificate of the [listener.tls] above it, for clients that name one of its hosts (its subject \
         alternative names; `*.` stands for one level). Who names none, or an unknown one, is shown the first." },
    Table { name: "admin", many: false, meaning:
        "The admin port: publish API, health, metrics and the operator's page. Off unless this table is there. Without an [[admin.key]] whoever reaches it may \
         do everything, so only loopback addresses are taken then." },
    Table { name: "admin.key", many: true, meaning:
        "A key of the admin port, borne as `Authorization: Bearer <key>`, and what it is good for. Where there is one, nothing but /health/ and the \
         files of the operator's page is answered without. A refused request is told only that it is, the log says why." },
    Table { name: "topic", many: true, meaning:
        "Settings of the topics that match a pattern. The first match wins; topics that match none have the defaults." },
    Table { name: "journal", many: false, meaning:
        "Where the publications of topics with journal = true are kept." },
    Table { name: "source", many: true, meaning:
        "A feed that the gateway plays or takes in. Without one, only publishers bring something." },
    Table { name: "source.sequence", many: true, meaning:
        "How messages of the [[source]] above it (kind = \"upstream\") are numbered, so that a loss is told. The first whose \
         topics and pointers fit a message holds. What has no number is told to have a gap whenever the connection was lost." },
    Table { name: "publish", many: false, meaning:
        "Publishing by clients over WebSocket: PUBLISH, /publish and /publish/<topic>. Off by default." },
    Table { name: "tokens", many: false, meaning:
        "How tokens (JWT) are judged that say what their bearer may do. As soon as there is a [[tokens.key]] or `jwks`, who bears none may do \
         only what [anonymous] says, and [publish] has no effect." },
    Table { name: "tokens.key", many: true, meaning:
        "A key that tokens may be signed with. Without one, and without `jwks`, no token is asked for, and none is taken." },
    Table { name: "anonymous", many: false, meaning:
        "What clients without a token may do. Without this table: subscribe to everything and publish as [publish] says, where there is \
         no [[tokens.key]] and no `jwks`; else nothing." },
    Table { name: "callout", many: false, meaning:
        "An HTTP endpoint of yours that is asked about each client at connect, before it is let in: POST with JSON, answered with what the \
         client may do. With it AUTH is refused, and [publish] has no effect." },
    Table { name: "echo", many: false, meaning:
        "The endpoint /echo, which sends every message back; for tests. Off by default." },
    Table { name: "page", many: false, meaning:
        "The page at / and the list of topics at /topics, on the clients' port. Off by default." },
    Table { name: "log", many: false, meaning:
        "The log, on standard error." },
    Table { name: "shards", many: false, meaning:
        "Threads and turns. A shard is one thread with one io_uring, or one epoll set, and all the clients that it accepted." },
    Table { name: "arrivals", many: false, meaning:
        "How many clients may come how fast. Who comes above it is answered 429 (for its address) or 503 with Retry-After before \
         its request is read, on a TLS listener cut off before its handshake. Clients of trusted_proxies are counted by the address \
         that those tell." },
    Table { name: "drain", many: false, meaning:
        "How SIGTERM drains the gateway, so that its clients do not all come back to the others at once. SIGINT, and a second SIGTERM, \
         do not wait for it." },
    Table { name: "takeover", many: false, meaning:
        "A restart that no client notices: a gateway that is started while another one runs takes its listening sockets and its topics \
         over, and the other one drains. docs/operations/restart.md has how." },
    Table { name: "limits", many: false, meaning:
        "Every bound of the gateway. None can be switched off; what goes over one is refused, told and counted." },
];

/// All keys, by what they are of; those of one table stand together, in the order in which they are printed.
pub(super) const KEYS: [&[Key]; 6] = [doors::KEYS, admission::KEYS, topics::KEYS, feeds::KEYS, process::KEYS, limits::KEYS];
