//! Attacks, each against the real binary and named after what it is in docs/security.md: the answer it gets, what it may
//! cost, and bystanders whose deliveries nobody may touch while it lasts.

#[path = "../common/mod.rs"]
mod common;

mod bomb;
mod door;
mod flood;
mod frames;
mod past;
mod scene;
mod slow;

use scene::{Cost, Scene};
