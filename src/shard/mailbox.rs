//! The one bounded mailbox of each thread, and who may sleep when.
//!
//! Without: a lock, a wait. A full mailbox gives the mail back, and the sender keeps it in its outbox.
//!
//! Invariants: mail of one sender is taken in the order sent. A receiver that sleeps is woken by the first mail after: it
//! raises its flag, a fence follows, it looks once more, and only then waits; a sender puts its mail in, a fence follows,
//! and it looks at the flag. One of the two sees the other.

use std::sync::atomic::{AtomicBool, Ordering, fence};
use std::sync::{Arc, OnceLock};

use crossbeam_queue::ArrayQueue;

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
        // The plain load keeps the awake case, the common one, free of a write to a shared line.
        if self.asleep.load(Ordering::Relaxed)
            && self.asleep.swap(false, Ordering::AcqRel)
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

#[cfg(test)]
mod tests {
    use std::sync::Condvar;
    use std::sync::Mutex;

    use super::*;

    #[derive(Default)]
    struct Bell {
        rung: Mutex<bool>,
        heard: Condvar,
    }

    impl Waker for Bell {
        fn wake(&self) {
            *self.rung.lock().expect("no test thread panics") = true;
            self.heard.notify_one();
        }
    }

    #[test]
    fn a_full_box_gives_the_mail_back() {
        let mailbox = Mailbox::new(2);
        assert_eq!(mailbox.send(1), Ok(()));
        assert_eq!(mailbox.send(2), Ok(()));
        assert_eq!(mailbox.send(3), Err(3));
        assert_eq!(mailbox.take(), Some(1));
        assert_eq!(mailbox.send(3), Ok(()));
    }

    #[test]
    fn a_sleeper_misses_no_mail_and_keeps_each_senders_order() {
        const MAIL_EACH: u32 = 20_000;
        const SENDERS: usize = 3;
        let mailbox = Arc::new(Mailbox::new(16));
        let bell = Arc::new(Bell::default());
        mailbox.set_waker(bell.clone());
        let senders: Vec<_> = (0..SENDERS)
            .map(|sender| {
                let mailbox = mailbox.clone();
                std::thread::spawn(move || {
                    for number in 0..MAIL_EACH {
                        let mut mail = (sender, number);
                        while let Err(back) = mailbox.send(mail) {
                            mail = back;
                            std::thread::yield_now();
                        }
                    }
                })
            })
            .collect();
        let mut next = [0u32; SENDERS];
        while next.iter().sum::<u32>() < MAIL_EACH * SENDERS as u32 {
            match mailbox.take() {
                Some((sender, number)) => {
                    assert_eq!(number, next[sender]);
                    next[sender] += 1;
                }
                None if mailbox.may_sleep() => {
                    let mut rung = bell.rung.lock().expect("no test thread panics");
                    while !*rung {
                        rung = bell.heard.wait(rung).expect("no test thread panics");
                    }
                    *rung = false;
                    mailbox.wake_up();
                }
                None => {}
            }
        }
        for sender in senders {
            sender.join().expect("a sender ends");
        }
    }
}
