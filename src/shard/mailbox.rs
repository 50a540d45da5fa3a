//! The one bounded mailbox of each thread, and who may sleep when.
//!
//! Without: a lock, a wait. A full mailbox gives the mail back, and the sender keeps it in its outbox.
//!
//! Invariants: mail of one sender is taken in the order sent. A receiver that sleeps is woken by the first mail after: it
//! raises its flag, a fence follows, it looks once more, and only then waits; a sender puts its mail in, a fence follows,
//! and it looks at the flag. One of the two sees the other.

use std::sync::{Arc, OnceLock};

use super::shared::{ArrayQueue, AtomicBool, Ordering, fence};
use crate::reactor::Waker;

/// A bounded queue of mail to one thread.
pub struct Mailbox<T> {
    queue: ArrayQueue<T>,
    asleep: AtomicBool,
    waker: OnceLock<Arc<dyn Waker>>,
}

impl<T> Mailbox<T> {
    /// With room for `places` pieces of mail.
    #[must_use]
    pub fn new(places: usize) -> Mailbox<T> {
        Mailbox { queue: ArrayQueue::new(places), asleep: AtomicBool::new(false), waker: OnceLock::new() }
    }

    /// Says how the receiver is woken. Its thread calls this once, before it first sleeps.
    pub fn set_waker(&self, waker: Arc<dyn Waker>) {
        assert!(self.waker.set(waker).is_ok(), "a mailbox has one receiver");
    }

    /// Puts mail in and wakes the receiver where it sleeps.
    ///
    /// # Errors
    /// The mail, where the box is full.
    pub fn send(&self, mail: T) -> Result<(), T> {
        self.queue.push(mail)?;
        fence(Ordering::SeqCst);
        // The plain load keeps the awake case, the common one, free of a write to a shared line. Nobody writes where the flag
        // is down already: of several senders one wakes the receiver, and no late write takes its next sleep for awake.
        if self.asleep.load(Ordering::Relaxed)
            && self.asleep.compare_exchange(true, false, Ordering::AcqRel, Ordering::Relaxed).is_ok()
            && let Some(waker) = self.waker.get()
        {
            waker.wake();
        }
        Ok(())
    }

    /// The oldest mail.
    pub fn take(&self) -> Option<T> {
        self.queue.pop()
    }

    /// Whether there is mail.
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// To be called before a wait: true where the receiver may sleep, false where mail has come.
    pub fn may_sleep(&self) -> bool {
        self.asleep.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        if self.queue.is_empty() {
            return true;
        }
        self.wake_up();
        false
    }

    /// To be called after a wait, so that senders save the system call.
    pub fn wake_up(&self) {
        self.asleep.store(false, Ordering::Relaxed);
    }
}
