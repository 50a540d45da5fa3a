//! The mailbox between real threads; `mailbox_model` tries all orders of a few steps.

use std::sync::{Arc, Condvar, Mutex};

use crate::reactor::Waker;
use crate::shard::mailbox::Mailbox;

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
