//! What the mailbox is made of: the types by which threads share memory.
//!
//! Without: anything of its own. The names stand here so that the tests can put a model checker's types in their place
//! (`tests/mailbox_model.rs`).

pub(super) use std::sync::atomic::{AtomicBool, Ordering, fence};

pub(super) use crossbeam_queue::ArrayQueue;
