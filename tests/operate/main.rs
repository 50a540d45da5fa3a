//! What an operator does with a running gateway, against the real binary.

#[path = "../common/mod.rs"]
mod common;

mod keys;
mod machine;
mod reload;
