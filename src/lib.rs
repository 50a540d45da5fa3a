//! tidegate: a WebSocket gateway for market-data feeds on io_uring.
//!
//! README.md says what it is for, docs/architecture.md how it is built and why.
//!
//! The house has floors; a module imports only from floors below its own (`tests/tidy.rs` holds them). Bottom to top:
//!
//! # Ground
//! [`config`] every setting and limit, parsed once. [`metrics`] counters kept per shard by their owner. [`http`]
//! HTTP/1.1 heads as bytes. [`page`] the page's files. [`slots`] rows by number. [`reactor`] the kernel seam: operations in,
//! completions out.
//!
//! # Pure cores
//! [`ws`] RFC 6455 without I/O. [`tls`] rustls as bytes in, bytes out. [`hub`] topics and who hears them. [`admission`] who may
//! enter: addresses that proxies tell, and how many clients come from one. None knows a
//! socket, a clock, a thread or a runtime; time and randomness are arguments.
//!
//! # Meaning
//! [`dialect`] what clients say. [`session`] one client's life from first byte to close.
//!
//! # Data plane
//! [`shard`] one thread, one reactor, one set of clients: completions in, submissions out.
//!
//! # Control plane
//! [`disk`] its runtime and files; [`journal`] what journaled topics keep on disk; [`takeover`] what two gateways
//! say to each other when one takes the other's place; [`broker`] the way in for feeds, and home of
//! those topics; [`source`] the feeds; [`admin`] publish API, topics, health, metrics. Ordinary async Rust on one runtime in a
//! thread of its own.
//!
//! # Roof
//! [`gateway`] threads, pinning, wiring, stopping. [`command`] what the command line asks for.

pub mod config;
pub mod http;
pub mod lines;
pub mod metrics;
pub mod page;
pub mod reactor;
pub mod slots;

pub mod admission;
pub mod hub;
pub mod tls;
pub mod ws;

pub mod dialect;
pub mod session;

pub mod shard;

pub mod admin;
pub mod broker;
pub mod disk;
pub mod journal;
pub mod source;
pub mod takeover;

pub mod command;
pub mod gateway;
