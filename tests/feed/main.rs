//! Proofs on recorded feeds, one file each: what a client that comes back gets, and what the others get meanwhile.
//!
//! They are short enough for every run; whole with `cargo test --test feed -- --ignored`.

#[path = "../common/mod.rs"]
mod common;

mod clients;
mod heartbeats;
mod keys;
mod many;
mod played;
mod rates;
mod relay;
mod resume;
mod slow;
mod upstream;
