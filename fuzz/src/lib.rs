//! What the fuzzer and the corpus' replay (`tests/corpus.rs`) both call: one module a target, each with a `check` that
//! takes any bytes and panics where the code under test breaks its promise.
//!
//! Without: libFuzzer, so that plain `cargo test` can include this file as it stands.

pub mod config;
pub mod connection;
pub mod cuts;
pub mod deflate;
pub mod dialect;
pub mod frame;
pub mod handshake;
pub mod hub;
pub mod journal;
pub mod message;
pub mod session;
pub mod unmask;
pub mod utf8;
