//! What comes by mail, and what is owed for it: publications for this home, replicas' feeds, credits, barriers, reports.

use std::collections::{HashMap, VecDeque};

use super::clients::{Client, Wait};
use super::core::Core;
use super::inspection::Inspection;
use super::mail::{Mail, NotPublished, Outbox, Place, Ticket};
use super::mailbox::Mailbox;
use super::subscribing::topics_max;
use super::succession::Succession;
use super::topics::Waiter;
use crate::hub::{NewPublication, Position, TopicName};
use crate::metrics::RefusalReason;
use crate::reactor::ClientKey;
use crate::session::Answer;

/// Topics told in one turn of a report.
const TOPICS_A_TURN: usize = 1024;

/// The state of a shard's dealings with the others.
pub(super) struct Exchange {
    place: Place,
    /// By home: publications that may still be sent there.
    credits: Box<[u32]>,
    /// By place: publications passed on whose credits are to be given back.
    taken: Box<[u32]>,
    /// Publications, barriers and words of feeds that wait for room in the others' mailboxes; bounded by the credits given out.
    held: VecDeque<Mail>,
    /// Publishers that wait for a credit or for room.
    waiting: VecDeque<ClientKey>,
    /// Something was given back since the waiting ones were last tried.
    pub(super) moved: bool,
    pub(super) numbering: Numbering,
    /// As a home that hands its topics over: which attempt, how many threads have nothing more for it, bytes of rings.
    pub(super) handing: (u64, u16, u64),
    /// How many said so before that began, by attempt.
    pub(super) early: HashMap<u64, u16>,
    /// By barrier: homes that have passed it.
    barriers: HashMap<u64, u16>,
    /// Barriers that all homes have passed, to be confirmed when the sweep has caught up.
    draining: Vec<u64>,
    /// Reports under way: token and the next topic.
    reports: VecDeque<(u64, usize)>,
}

/// Who gives publications their offsets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Numbering {
    /// Each topic's home.
    Homes,
    /// Publishers wait.
    Nobody,
    /// Another gateway, by way of the control thread.
    Elsewhere,
}

impl Exchange {
    pub(super) fn new(place: Place, shards: u16, publish_credits: u32) -> Exchange {
        Exchange {
            place,
            credits: vec![publish_credits; usize::from(shards) + 1].into(),
            taken: vec![0; usize::from(shards) + 1].into(),
            held: VecDeque::new(),
            waiting: VecDeque::new(),
            moved: false,
            numbering: Numbering::Homes,
            handing: (0, 0, 0),
            early: HashMap::new(),
            barriers: HashMap::new(),
            draining: Vec::new(),
            reports: VecDeque::new(),
        }
    }

    pub(super) fn place(&self) -> Place {
        self.place
    }

    pub(super) fn mailbox<'p>(&self, outbox: &'p Outbox) -> &'p Mailbox<Mail> {
        outbox.post().mailbox(self.place)
    }

    pub(super) fn take_credit(&mut self, home: Place) -> bool {
        let credits = &mut self.credits[usize::from(home)];
        let taken = *credits > 0;
        *credits -= u32::from(taken);
        taken
    }

    /// What this place published was passed on.
    pub(super) fn give_back(&mut self, place: Place) {
        self.taken[usize::from(place)] += 1;
    }

    pub(super) fn wait_for_credit(&mut self, client: ClientKey) {
        self.waiting.push_back(client);
    }

    pub(super) fn is_reporting(&self) -> bool {
        !self.reports.is_empty()
    }

    /// Nothing is under way: no publication held, nobody waiting, all credits back.
    #[cfg(test)]
    pub(super) fn judge_rest(&self, publish_credits: u32) {
        assert!(self.credits.iter().all(|&credits| credits == publish_credits), "credits are back: {:?}", self.credits);
        assert!(self.taken.iter().all(|&taken| taken == 0), "credits are given back");
        assert!(self.held.is_empty() && self.waiting.is_empty(), "nothing is held back");
        assert!(self.barriers.is_empty() && self.draining.is_empty() && self.reports.is_empty(), "everything is answered");
    }
}

impl Core {
    /// The turn's mail.
    pub(super) fn take_mail(&mut self) {
        let was_congested = self.outbox.is_congested();
        self.outbox.flush();
        self.exchange.moved |= was_congested && !self.outbox.is_congested();
        while !self.outbox.is_congested()
            && let Some(mail) = self.exchange.held.pop_front()
        {
            self.pass_on(mail);
        }
        for _ in 0..self.config.shards.mail_max {
            let Some(mail) = self.exchange.mailbox(&self.outbox).take() else { break };
            self.handle(mail);
        }
        for place in 0..self.exchange.taken.len() {
            let count = std::mem::take(&mut self.exchange.taken[place]);
            if count > 0 {
                self.outbox.send(place as Place, Mail::Taken { home: self.exchange.place, count });
            }
        }
        if std::mem::take(&mut self.exchange.moved) {
            self.ready.extend(self.exchange.waiting.drain(..));
        }
        self.tell_of_feeds();
        self.confirm_drained();
        self.report();
        self.inspect();
        self.topics.walk(&mut self.outbox);
        self.metrics.mailbox_full.add(self.outbox.take_full());
    }

    fn handle(&mut self, mail: Mail) {
        match mail {
            Mail::Publish { .. }
            | Mail::Barrier { .. }
            | Mail::Feed { .. }
            | Mail::Succession(Succession::Quiet { .. } | Succession::Told { .. } | Succession::Resume)
                if self.outbox.is_congested() || !self.exchange.held.is_empty() =>
            {
                self.exchange.held.push_back(mail);
            }
            Mail::Publish { .. } | Mail::Barrier { .. } | Mail::Feed { .. } => self.pass_on(mail),
            Mail::Succession(succession) => self.succeed(succession),
            Mail::Published { ticket, result } => self.position_came(ticket, result),
            Mail::Taken { home, count } => {
                self.exchange.credits[usize::from(home)] += count;
                self.exchange.moved = true;
            }
            Mail::Attach { from, topic } => self.topics.attach_asked(from, &topic, self.now, &mut self.outbox),
            Mail::Attached { home, number, topic, epochs, newest, state, stale_since_ms } => {
                let waiters = self.topics.attached((home, number), &topic, (epochs, newest), &state, self.now);
                self.replica_feed(home, number, stale_since_ms);
                self.replicas_came(waiters);
            }
            Mail::ReplicaFeed { home, numbers, since_ms } => {
                numbers.into_iter().for_each(|number| self.replica_feed(home, number, since_ms));
            }
            Mail::AttachRefused { topic } => self.attach_refused(&topic),
            Mail::Append { home, number, publication } => {
                if self.topics.staleness.is_walking()
                    && let Some(topic) = self.topics.replica_topic(home, number)
                {
                    self.end_walk_of(topic);
                }
                self.metrics.publications_replicated.add(1);
                self.topics.append(home, number, &publication, self.now);
            }
            Mail::Recall { from, number } => self.topics.recall_asked(from, number, &mut self.outbox),
            Mail::Recalled { home, number, publications } => {
                let waiters = self.topics.recalled(home, number, &publications);
                self.replicas_came(waiters);
            }
            Mail::CatchUp { from, client, number } => self.outbox.send(from, Mail::CaughtUp { client, number }),
            Mail::CaughtUp { client, number } => self.replica_came(Waiter { client, number }),
            Mail::Detach { from, number } => self.topics.detach_asked(from, number, &mut self.outbox),
            Mail::Detached { home, number } => {
                // Clients that asked while it was being given up ask anew.
                let waiters = self.topics.detached(home, number);
                self.replicas_came(waiters);
            }
            Mail::Kept { home, number } => {
                let waiters = self.topics.kept(home, number);
                self.replicas_came(waiters);
            }
            Mail::Watch { from, pattern } => self.topics.watch_asked(from, pattern),
            Mail::Watched { pattern } => {
                let waiters = self.topics.watched(&pattern, self.now);
                self.replicas_came(waiters);
            }
            Mail::Unwatch { from, pattern } => self.topics.unwatch_asked(from, &pattern),
            Mail::BarrierPassed { token } => self.barrier_passed(token),
            of_control => self.obey(of_control),
        }
    }

    /// Mail of the control thread.
    fn obey(&mut self, mail: Mail) {
        match mail {
            Mail::Report { token } => self.exchange.reports.push_back((token, 0)),
            Mail::Inquire { token, inquiry } => self.inspections.push_back(Inspection::new(token, inquiry)),
            Mail::TopicsAnswer { client, body } => self.topics_came(client, &body),
            Mail::Settings(settings) => self.go_by(settings),
            Mail::Keys(keys) => {
                if let Some(tokens) = &mut self.rules.tokens {
                    tokens.keys = keys;
                }
            }
            Mail::Verdict { client, verdict } => self.verdict_came(client, verdict),
            Mail::Revoke(revocation) => self.revoke(revocation),
            Mail::Accept => self.accept(),
            Mail::Drain { window_ms } => self.drain(window_ms),
            Mail::Pause => {
                // The last of an interval is delivered, too.
                self.topics.flush_whole();
                self.pause();
            }
            Mail::Finish => self.finish(),
            _ => unreachable!("this mail is for the control thread"),
        }
    }

    fn barrier_passed(&mut self, token: u64) {
        let passed = self.exchange.barriers.entry(token).or_insert(0);
        *passed += 1;
        if *passed == self.outbox.post().homes() {
            self.exchange.barriers.remove(&token);
            self.exchange.draining.push(token);
            // What came before the barrier is not to wait for its window.
            self.topics.flush_all();
        }
    }

    /// As home: gives a publication its offset, or lets a barrier or a word of a feed through behind all before it.
    fn pass_on(&mut self, mail: Mail) {
        match mail {
            Mail::Publish { from, ticket, answer, publication } => {
                let result = self.publish_here(publication);
                self.exchange.taken[usize::from(from)] += 1;
                if answer || result.is_err() {
                    self.outbox.send(from, Mail::Published { ticket, result });
                }
            }
            Mail::Barrier { token } => {
                for shard in 0..self.outbox.post().shards() {
                    self.outbox.send(shard, Mail::BarrierPassed { token });
                }
            }
            Mail::Feed { topics, since_ms } => self.topics.feed_changed(&topics, since_ms, &mut self.outbox),
            Mail::Succession(succession) => self.succeed(succession),
            other => unreachable!("only publications, barriers and words of feeds are passed on, not {other:?}"),
        }
    }

    fn replica_feed(&mut self, home: Place, number: u32, since_ms: Option<u64>) {
        if let Some(topic) = self.topics.replica_topic(home, number) {
            self.topics.staleness.set(topic, since_ms, true);
        }
    }

    /// Publishes on a topic whose home this is.
    pub(super) fn publish_here(&mut self, publication: NewPublication) -> Result<Position, NotPublished> {
        if self.topics.staleness.is_walking()
            && let Some(topic) = self.topics.hub.find(publication.topic.as_str())
        {
            self.end_walk_of(topic);
        }
        let position = self.topics.publish(publication, self.now, &mut self.outbox)?;
        self.metrics.publications.add(1);
        Ok(position)
    }

    fn position_came(&mut self, ticket: Ticket, result: Result<Position, NotPublished>) {
        let key = match ticket {
            Ticket::Client(key) => key,
            Ticket::Message(key, number) => {
                self.published(key, Answer::Count(number), result);
                return self.settle(key);
            }
            Ticket::Control(_) => unreachable!("the control thread's tickets come back to it"),
        };
        match self.take_pending(key, |wait| matches!(wait, Wait::Position { .. })) {
            Some((_, pending)) => {
                let Wait::Position { id } = pending.wait else { unreachable!("it was looked at above") };
                self.published(key, Answer::Reply(id), result);
                let mut held = pending.held;
                self.go_on(key, &mut held);
            }
            None => {
                // A publisher without replies hears only of a refusal.
                if result.is_err() {
                    self.published(key, Answer::None, result);
                    self.settle(key);
                }
            }
        }
    }

    fn replicas_came(&mut self, waiters: Vec<Waiter>) {
        waiters.into_iter().for_each(|waiter| self.replica_came(waiter));
    }

    fn replica_came(&mut self, waiter: Waiter) {
        let Some(client) = self.clients.get(waiter.client) else { return };
        if let Some(pending) = &mut client.pending
            && let Wait::Replicas { number, missing, .. } = &mut pending.wait
            && *number == waiter.number
        {
            // Where an earlier request of it was refused before all its replicas came, one of those may come now.
            *missing = missing.saturating_sub(1);
            if *missing == 0 {
                self.ready.push(waiter.client);
            }
        }
    }

    fn attach_refused(&mut self, topic: &TopicName) {
        for Waiter { client: key, number } in self.topics.attach_refused(topic) {
            let awaited = |wait: &Wait| matches!(wait, Wait::Replicas { number: own, .. } if *own == number);
            let Some((_, pending)) = self.take_pending(key, awaited) else { continue };
            let Wait::Replicas { effect, .. } = pending.wait else { unreachable!("it was looked at above") };
            self.refuse_subscribe(key, &effect, &topics_max(topic));
            let mut held = pending.held;
            self.go_on(key, &mut held);
        }
    }

    fn topics_came(&mut self, key: ClientKey, body: &[u8]) {
        let now_us = self.now.monotonic_us;
        let Some(client) = self.clients.get(key).filter(|client| !client.closing) else { return };
        if !client.pending.as_ref().is_some_and(|pending| matches!(pending.wait, Wait::Topics)) {
            return;
        }
        let pending = client.pending.take().expect("it was looked at above");
        if body.is_empty() {
            client.session.refuse(503, RefusalReason::Full, "the list of topics cannot be had now; try again", now_us);
        } else if !client.session.is_ending() {
            client.session.answer_topics(body, &self.rules, now_us);
        }
        let mut held = pending.held;
        self.go_on(key, &mut held);
    }

    /// Tells the control thread of barriers behind which nobody who still takes bytes lacks anything.
    fn confirm_drained(&mut self) {
        if self.exchange.draining.is_empty() || self.topics.hub.due_count() > 0 {
            return;
        }
        let blocked: Vec<u32> = self.topics.hub.due().blocked().collect();
        let moving = blocked.into_iter().any(|slot| {
            let is_behind = |client: &Client| self.topics.hub.is_behind(slot) || !client.pending_sealed().is_empty();
            let moves = |client: &Client| client.stalled_ms(self.now.monotonic_us) < self.rules.limits.stalled_after_ms;
            self.clients.peek(slot).is_some_and(|client| is_behind(client) && moves(client))
        });
        if !moving {
            let control = self.outbox.post().control();
            for token in self.exchange.draining.drain(..) {
                self.outbox.send(control, Mail::Drained { token });
            }
        }
    }

    fn report(&mut self) {
        let Some((token, next)) = self.exchange.reports.pop_front() else { return };
        let (topics, more) = self.topics.report(next, TOPICS_A_TURN, self.now);
        if let Some(next) = more {
            self.exchange.reports.push_front((token, next));
        }
        let control = self.outbox.post().control();
        self.outbox.send(control, Mail::Reported { token, topics, last: more.is_none() });
    }
}
