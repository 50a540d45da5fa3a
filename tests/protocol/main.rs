//! The protocol, sentence by sentence, against the real binary over the wire. Each test is named after the sentence of
//! `docs/protocol.md` (or of RFC 6455) that it holds the gateway to.

#[path = "../common/mod.rs"]
mod common;

mod bounds;
mod combined;
mod connecting;
mod deflate;
mod framing;
mod heads;
mod heartbeats;
mod http_publishing;
mod keys;
mod order;
mod patterns;
mod publishers;
mod rates;
mod refusals;
mod requests;
mod reserved;
mod resuming;
mod sse;
mod stopping;
mod subscriptions;
mod tls;
mod tls_certificates;
