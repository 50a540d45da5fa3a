//! Clients that others wrote, and a recorded feed, against the real binary.

#[path = "../common/mod.rs"]
mod common;

mod clients;
mod crowd;
mod deflate;
mod replay;
