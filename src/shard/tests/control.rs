//! A double of the control thread: publishes within its credits, sends barriers, answers, stops.

use std::collections::HashMap;
use std::sync::Arc;

use super::super::mail::{Mail, Outbox, Post, Settings, Ticket};
use super::truth::Truth;
use crate::hub::{NewPublication, Position};

/// The double.
pub(super) struct Control {
    outbox: Outbox,
    credits: Vec<u32>,
    tickets: u64,
    /// What was published and where, by ticket.
    asked: HashMap<u64, NewPublication>,
    /// Positions of its own publications, with their tickets.
    pub(super) positions: Vec<(u64, String, u64)>,
    tokens: u64,
    barriers: HashMap<u64, Barrier>,
    reports_missing: usize,
    pub(super) finished: u16,
}

struct Barrier {
    missing: u16,
    /// Tickets before it.
    tickets: u64,
}

impl Control {
    pub(super) fn new(post: Arc<Post>, credits: u32) -> Control {
        let credits = vec![credits; usize::from(post.shards())];
        Control {
            outbox: Outbox::new(post),
            credits,
            tickets: 0,
            asked: HashMap::new(),
            positions: Vec::new(),
            tokens: 0,
            barriers: HashMap::new(),
            reports_missing: 0,
            finished: 0,
        }
    }

    fn all(&mut self, mail: impl Fn() -> Mail) {
        (0..self.outbox.post().shards()).for_each(|shard| self.outbox.send(shard, mail()));
    }

    /// False where credits are missing.
    pub(super) fn publish(&mut self, publication: NewPublication) -> bool {
        let home = self.outbox.post().home(&publication.topic);
        let credits = &mut self.credits[usize::from(home)];
        if *credits == 0 || self.outbox.is_congested() {
            return false;
        }
        *credits -= 1;
        self.tickets += 1;
        self.asked.insert(self.tickets, publication.clone());
        let (from, ticket) = (self.outbox.post().control(), Ticket::Control(self.tickets));
        self.outbox.send(home, Mail::Publish { from, ticket, answer: true, publication });
        true
    }

    pub(super) fn barrier(&mut self) {
        self.tokens += 1;
        let (token, missing) = (self.tokens, self.outbox.post().shards());
        self.barriers.insert(token, Barrier { missing, tickets: self.tickets });
        self.all(|| Mail::Barrier { token });
    }

    pub(super) fn report(&mut self) {
        if self.reports_missing == 0 {
            self.reports_missing = usize::from(self.outbox.post().shards());
            self.all(|| Mail::Report { token: 0 });
        }
    }

    pub(super) fn settings(&mut self, settings: &Settings) {
        self.all(|| Mail::Settings(settings.clone()));
    }

    pub(super) fn pause(&mut self) {
        self.all(|| Mail::Pause);
    }

    pub(super) fn finish(&mut self) {
        self.all(|| Mail::Finish);
    }

    /// Takes the mail. A ticket where a barrier was confirmed by all: all up to that one has reached its subscribers.
    pub(super) fn take_mail(&mut self, truth: &Truth) -> Option<u64> {
        self.outbox.flush();
        let (post, mut passed) = (self.outbox.post_shared(), None);
        while let Some(mail) = post.mailbox(post.control()).take() {
            match mail {
                Mail::Published { ticket: Ticket::Control(ticket), result } => {
                    let Position { epoch, offset } = result.expect("topics_max is not reached");
                    let asked = self.asked.remove(&ticket).expect("a ticket is answered once");
                    let name = asked.topic.as_str();
                    if let Some(place) = truth.place_of(&asked.payload.bytes) {
                        assert_eq!((place, truth.epoch(name)), (&(name.to_owned(), offset), epoch.as_str()));
                    }
                    self.positions.push((ticket, name.to_owned(), offset));
                }
                Mail::Taken { home, count } => self.credits[usize::from(home)] += count,
                Mail::Drained { token } => {
                    let barrier = self.barriers.get_mut(&token).expect("a barrier is confirmed once a shard");
                    barrier.missing -= 1;
                    if barrier.missing == 0 {
                        let before = self.barriers.remove(&token).expect("it is there").tickets;
                        assert!(self.asked.keys().all(|&ticket| ticket > before), "all before the barrier has its position");
                        passed = passed.max(Some(before));
                    }
                }
                Mail::Reported { topics, last, .. } => {
                    self.reports_missing -= usize::from(last);
                    for share in topics {
                        assert!(share.position.offset <= truth.newest(share.name.as_str()), "a report is not ahead");
                    }
                }
                Mail::TopicsWanted { from, client } => {
                    self.outbox.send(from, Mail::TopicsAnswer { client, body: "{\"topics\":[]}".into() });
                }
                Mail::Finished => self.finished += 1,
                other => unreachable!("this mail is a shard's: {other:?}"),
            }
        }
        passed
    }

    /// Whether nothing that it asked for is open.
    pub(super) fn is_quiet(&self) -> bool {
        self.asked.is_empty() && self.barriers.is_empty() && self.reports_missing == 0 && !self.outbox.is_congested()
    }

    /// Whether all credits are back.
    pub(super) fn has_all_credits(&self, credits: u32) -> bool {
        self.credits.iter().all(|&has| has == credits)
    }
}
