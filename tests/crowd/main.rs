//! Ten thousand clients, readers that never read, torrents of connects: the real binary with real sockets at its bounds.
//!
//! Without: timings; a deadline fails a test only where something never comes. One test at a time, as each measures memory
//! or takes most of the descriptors that a process gets.

#[path = "../common/mod.rs"]
mod common;

mod churn;
mod idle;
mod mail;
mod stalled;
mod stopping;
mod windows;

use common::{figures, members};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Held by each test from begin to end.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}
