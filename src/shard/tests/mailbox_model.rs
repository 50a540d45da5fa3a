//! The mailbox under `loom`: the orders in which senders and a sleeper can meet, and what each may read of the others'
//! memory where nothing orders it.
//!
//! The mailbox's own file is compiled once more here, with loom's types in place of those of `shard::shared`. The queue is
//! a model of crossbeam's, with the orderings that it has (loom takes `SeqCst` on an access for `AcqRel`, which allows more
//! than the processor does): without a lock, which would order what the mailbox has to order itself.
//!
//! Without the sender's fence, the receiver's fence or its second look, each of these fails: the receiver sleeps beside its
//! mail, and loom finds that nobody can go on.

use std::sync::Arc;

use loom::sync::Notify;
use loom::thread;

use crate::reactor::Waker;

#[allow(
    dead_code,
    unreachable_pub,
    clippy::duplicate_mod,
    reason = "the model is the mailbox again, and calls only a part of it"
)]
#[path = "../mailbox.rs"]
mod mailbox;

/// In place of `shard::shared`.
mod shared {
    pub(super) use loom::sync::atomic::{AtomicBool, Ordering, fence};

    pub(super) use super::ArrayQueue;
}

use mailbox::Mailbox;

/// `crossbeam_queue::ArrayQueue` with as many places as are ever used: no lap, never full.
struct ArrayQueue<T> {
    head: loom::sync::atomic::AtomicUsize,
    tail: loom::sync::atomic::AtomicUsize,
    /// True once the place holds its mail.
    stamps: Vec<loom::sync::atomic::AtomicBool>,
    /// What loom does not judge: the stamp orders it.
    mail: Vec<std::sync::Mutex<Option<T>>>,
}

impl<T> ArrayQueue<T> {
    fn new(places: usize) -> ArrayQueue<T> {
        use loom::sync::atomic::{AtomicBool, AtomicUsize};
        let stamps = (0..places).map(|_| AtomicBool::new(false)).collect();
        let mail = (0..places).map(|_| std::sync::Mutex::new(None)).collect();
        ArrayQueue { head: AtomicUsize::new(0), tail: AtomicUsize::new(0), stamps, mail }
    }

    fn push(&self, mail: T) -> Result<(), T> {
        use loom::sync::atomic::Ordering::{Relaxed, Release, SeqCst};
        let mut tail = self.tail.load(Relaxed);
        while let Err(newer) = self.tail.compare_exchange(tail, tail + 1, SeqCst, Relaxed) {
            tail = newer;
        }
        *self.mail[tail].lock().expect("no thread of the model panics") = Some(mail);
        self.stamps[tail].store(true, Release);
        Ok(())
    }

    /// By the one receiver.
    fn pop(&self) -> Option<T> {
        use loom::sync::atomic::Ordering::{Acquire, Relaxed, SeqCst};
        let head = self.head.load(Relaxed);
        if !self.stamps.get(head)?.load(Acquire) {
            return None;
        }
        self.head.store(head + 1, SeqCst);
        self.mail[head].lock().expect("no thread of the model panics").take()
    }

    fn is_empty(&self) -> bool {
        use loom::sync::atomic::Ordering::SeqCst;
        self.head.load(SeqCst) == self.tail.load(SeqCst)
    }
}

/// The eventfd: what was rung before the wait ends it at once.
struct Bell(Notify);

impl Waker for Bell {
    fn wake(&self) {
        self.0.notify();
    }
}

/// Each sender sends one piece of mail; the receiver takes mail and sleeps until it has all. `preemptions`: how often at most a
/// thread is stopped in its midst, `None` for as often as can be.
fn check(senders: usize, preemptions: Option<usize>) {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = preemptions;
    model.check(move || {
        let (mailbox, bell) = (Arc::new(Mailbox::new(senders)), Arc::new(Bell(Notify::new())));
        mailbox.set_waker(bell.clone());
        let senders: Vec<_> = (0..senders)
            .map(|sender| {
                let mailbox = mailbox.clone();
                thread::spawn(move || mailbox.send(sender).expect("the box has room for all"))
            })
            .collect();
        let mut taken = Vec::new();
        while taken.len() < senders.len() {
            if let Some(mail) = mailbox.take() {
                taken.push(mail);
            } else if mailbox.may_sleep() {
                bell.0.wait();
                mailbox.wake_up();
            } else {
                // A sender has its place and not yet filled it.
                thread::yield_now();
            }
        }
        taken.sort_unstable();
        assert!(taken.into_iter().eq(0..senders.len()), "each piece once");
        for sender in senders {
            sender.join().expect("a sender ends");
        }
    });
}

#[test]
fn a_sleeper_is_woken_by_its_one_sender_in_every_order() {
    check(1, None);
}

#[test]
fn a_sleeper_is_woken_by_the_first_of_two_senders() {
    // Without a bound this takes minutes.
    check(2, Some(2));
}
