//! The log's way to standard error: a bounded queue, and a thread of its own that writes.
//!
//! A terminal that is stopped, a pipe that nobody reads or a full disk behind it makes a write wait; here only that thread waits. A line
//! that finds the queue full is lost, and counted. Without: what is written, and how it looks.

use std::io;
use std::sync::{Mutex, OnceLock, PoisonError};

use tracing_appender::non_blocking::{ErrorCounter, NonBlocking, NonBlockingBuilder, WorkerGuard};

static LOST: OnceLock<ErrorCounter> = OnceLock::new();
static WRITING: Mutex<Option<WorkerGuard>> = Mutex::new(None);

/// Where lines go from now on: standard error, by a thread that is started here, with at most so many waiting for it. Called once.
///
/// # Panics
/// Where it is called again, and where the process can have no thread.
#[must_use]
pub fn to_stderr(waiting_max: usize) -> NonBlocking {
    let builder = NonBlockingBuilder::default().lossy(true).buffered_lines_limit(waiting_max).thread_name("log");
    let (writer, writing) = builder.finish(io::stderr());
    assert!(LOST.set(writer.error_counter()).is_ok(), "a process has one log");
    *WRITING.lock().unwrap_or_else(PoisonError::into_inner) = Some(writing);
    writer
}

/// How many lines were lost so far.
#[must_use]
pub fn lost() -> u64 {
    LOST.get().map_or(0, |lost| lost.dropped_lines() as u64)
}

/// Before the process ends: waits for what is queued, about a second at most. What is logged afterwards is lost.
pub fn finish() {
    drop(WRITING.lock().unwrap_or_else(PoisonError::into_inner).take());
}
