//! Batches of journaled topics: written, and then delivered; or delivered without, where that is what a topic is to do.
//!
//! Without: mail, which topics there are. Invariants: a batch that could not be written is delivered only after the topic's files
//! say that they do not hold all ([`Writer::leave`]), so no position is given out again by a later run; and it begins an epoch, so
//! nobody takes what is missing in the files for what follows on them.

use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use tokio::time::Instant;

use super::log::{Log, Unwritten};
use super::{BATCH_BYTES, COMPLAIN, Done, Journaled, Outcome, RETRY};
use crate::config::{JournalFlush, JournalFull};
use crate::hub::{Epoch, NewPublication, Position, Publication, TopicName};
use crate::journal::format;
use crate::journal::writer::{Batch, Writer};
use crate::shard::mail::{Mail, NotPublished, Outbox, Place};

impl Journaled {
    /// Begins the writes and syncs that are due, and gives credits back.
    pub(in crate::broker) fn step(&mut self, outbox: &mut Outbox) {
        let now = Instant::now();
        for _ in 0..self.ready.len() {
            // What is written must be passed on, and there is no room for that.
            if outbox.is_congested() {
                break;
            }
            let topic = self.ready.pop_front().expect("it was counted");
            let log = self.logs.get_mut(&topic).expect("only open topics have something to write");
            if log.refuses(now) {
                self.ready.push_back(topic);
            } else {
                self.begin(topic, now, outbox);
            }
        }
        while let Some((at, _)) = self.syncs.first()
            && *at <= now
        {
            let (_, topic) = self.syncs.pop_first().expect("it was looked at above");
            self.sync(topic);
        }
        for (place, taken) in self.taken.iter_mut().enumerate() {
            let count = std::mem::take(taken);
            if count > 0 {
                outbox.send(place as Place, Mail::Taken { home: self.place, count });
            }
        }
    }

    /// Begins to write what waits, or delivers it without.
    fn begin(&mut self, topic: TopicName, now: Instant, outbox: &mut Outbox) {
        let log = self.logs.get_mut(&topic).expect("only open topics have something to write");
        log.is_ready = false;
        if log.retry_at.is_none_or(|at| at <= now) {
            return self.write(topic);
        }
        let unwritten = std::mem::take(&mut log.waiting);
        let batch = unwritten.into_iter().map(|unwritten| {
            let NewPublication { payload, marks, .. } = unwritten.publication.clone();
            let publication = Publication { offset: 0, unix_us: unwritten.unix_us, payload, marks };
            (unwritten, publication)
        });
        let batch: Vec<_> = batch.collect();
        self.metrics.journal_unwritten.add(batch.len() as u64);
        self.pass_on(&topic, batch, outbox);
        self.pass_barriers(outbox);
        self.tell_of_feeds(outbox);
    }

    fn write(&mut self, topic: TopicName) {
        let position = self.topics.position(&topic).expect("a kept topic stays");
        let now = self.now();
        let log = self.logs.get_mut(&topic).expect("only open topics have something to write");
        let before = log.begins.map_or(position, |epoch| Position { epoch, offset: 0 });
        let mut writer = log.writer.take().expect("a topic is ready while its writer is here");
        if std::mem::take(&mut log.abandon) {
            writer.abandon();
        }
        let (mut records, mut offset, mut unix_us) = (Vec::new(), before.offset, 0);
        while records.len() < BATCH_BYTES
            && let Some(unwritten) = log.waiting.pop_front()
        {
            offset += 1;
            unix_us = unwritten.unix_us;
            let NewPublication { payload, marks, .. } = unwritten.publication.clone();
            let publication = Publication { offset, unix_us, payload, marks };
            format::put_publication(&publication, &mut records);
            log.under_way.push((unwritten, publication));
        }
        self.metrics.journal_writes.add(1);
        self.metrics.journal_bytes.add(records.len() as u64);
        self.metrics.journal_syncs.add(u64::from(log.journal.flush == JournalFlush::Always));
        // Without its journal a topic goes on in a new epoch, which stays until there is a journal again.
        let epoch = match log.journal.full {
            JournalFull::Continue if log.is_left => Some(before.epoch),
            JournalFull::Continue => Some(self.topics.new_epoch(now)),
            JournalFull::Refuse | JournalFull::Forget => None,
        };
        self.work.spawn_local(async move {
            let outcome = match (writer.append(Batch { before, last: offset, records, unix_us }).await, epoch) {
                (Ok(()), _) => Outcome::Written,
                (Err(error), None) => Outcome::Failed(error),
                (Err(error), Some(epoch)) => match writer.leave(epoch).await {
                    Ok(()) => Outcome::Left(error, epoch),
                    Err(_) => Outcome::Failed(error),
                },
            };
            Done::Written { topic, writer, outcome }
        });
    }

    fn sync(&mut self, topic: TopicName) {
        let Some(file) = self.logs.get_mut(&topic).and_then(|log| log.dirty.take()) else { return };
        self.metrics.journal_syncs.add(1);
        self.work.spawn_local(async move {
            let result = file.sync_data().await;
            Done::Synced { topic, file, result }
        });
    }

    /// The next thing that is done; `None` where it is time for another [`Journaled::step`]. May be dropped before without loss.
    pub(in crate::broker) async fn done(&mut self) -> Option<Done> {
        let far = Instant::now() + Duration::from_secs(3600);
        let retries = self.ready.iter().filter_map(|topic| self.logs[topic].retry_at);
        let deadline = self.syncs.first().map(|(at, _)| *at).into_iter().chain(retries).min();
        tokio::select! {
            done = self.work.join_next(), if !self.work.is_empty() => {
                Some(done.expect("it is not empty").expect("a panic ends the process before it gets here"))
            }
            () = tokio::time::sleep_until(deadline.unwrap_or(far)) => None,
        }
    }

    /// Takes what is done.
    pub(in crate::broker) fn finish(&mut self, done: Done, outbox: &mut Outbox) {
        match done {
            Done::Written { topic, writer, outcome } => self.written(topic, writer, outcome, outbox),
            Done::Synced { topic, file, result } => {
                if let Err(error) = result {
                    self.complain(&topic, &error, None);
                    let log = self.logs.get_mut(&topic).expect("a topic that was written stays");
                    let current = log.writer.as_ref().is_none_or(|writer| writer.file().is_some_and(|own| own.is_same(&file)));
                    log.abandon |= current;
                }
            }
        }
    }

    fn written(&mut self, topic: TopicName, writer: Box<Writer>, outcome: Outcome, outbox: &mut Outbox) {
        let log = self.logs.get_mut(&topic).expect("a topic that was written stays");
        let mut batch = std::mem::take(&mut log.under_way);
        let retry_at = Instant::now() + RETRY;
        match outcome {
            Outcome::Written => {
                if let (Some(epoch), Some((_, first))) = (log.begins.take(), batch.first_mut()) {
                    first.marks.begins = Some(Box::new(epoch));
                }
                let healed = log.retry_at.take().is_some();
                let was_left = std::mem::take(&mut log.is_left);
                if let JournalFlush::EveryMs(every_ms) = log.journal.flush
                    && log.dirty.replace(writer.file().expect("what was written is in a segment")).is_none()
                {
                    self.syncs.insert((Instant::now() + Duration::from_millis(every_ms.into()), topic.clone()));
                }
                log.writer = Some(writer);
                self.metrics.journal_publications.add(batch.len() as u64);
                self.metrics.journals_left.add(-i64::from(was_left));
                self.pass_on(&topic, batch, outbox);
                if healed {
                    self.metrics.journals_failing.add(-1);
                    self.say_healed(&topic);
                }
            }
            Outcome::Left(error, epoch) => {
                log.writer = Some(writer);
                self.metrics.journals_failing.add(i64::from(log.retry_at.replace(retry_at).is_none()));
                if !std::mem::replace(&mut log.is_left, true) {
                    self.metrics.journals_left.add(1);
                    self.metrics.journal_epochs.add(1);
                    log.begins = None;
                    let (_, first) = batch.first_mut().expect("a batch holds something");
                    first.marks.begins = Some(Box::new(epoch));
                }
                self.metrics.journal_unwritten.add(batch.len() as u64);
                self.complain(&topic, &error, Some(epoch));
                self.pass_on(&topic, batch, outbox);
            }
            Outcome::Failed(error) => {
                log.writer = Some(writer);
                let is_new = log.retry_at.replace(retry_at).is_none();
                let was_left = std::mem::take(&mut log.is_left);
                let waiting = std::mem::take(&mut log.waiting);
                let all = batch.into_iter().map(|(unwritten, _)| unwritten).chain(waiting);
                let (awaited, others): (Vec<_>, Vec<_>) = all.partition(Unwritten::is_impatient);
                log.waiting.extend(others);
                awaited.iter().for_each(|unwritten| self.refuse(unwritten, NotPublished::Journal, outbox));
                self.metrics.journals_failing.add(i64::from(is_new));
                self.metrics.journals_left.add(-i64::from(was_left));
                self.complain(&topic, &error, None);
            }
        }
        self.note_ready(&topic);
        self.pass_barriers(outbox);
        self.tell_of_feeds(outbox);
    }

    /// Delivers what is written, or goes on without that.
    fn pass_on(&mut self, topic: &TopicName, batch: Vec<(Unwritten, Publication)>, outbox: &mut Outbox) {
        let now = self.now();
        for (unwritten, publication) in batch {
            self.give_back(&unwritten);
            let position = self.topics.publish_kept(topic, publication, now, outbox);
            if unwritten.answer {
                outbox.send(unwritten.from, Mail::Published { ticket: unwritten.ticket, result: Ok(position) });
            }
        }
    }

    /// `epoch`: the topic goes on without its journal, in this one.
    fn complain(&mut self, topic: &TopicName, error: &io::Error, epoch: Option<Epoch>) {
        self.metrics.journal_errors.add(1);
        if !is_due(&mut self.complained) {
            return;
        }
        match epoch {
            None => tracing::error!(
                topic = topic.as_str(),
                "the journal cannot be written: {error}. Publications to its topics are refused or wait until it can be; make room on the disk"
            ),
            Some(epoch) => tracing::error!(
                topic = topic.as_str(),
                %epoch,
                "the journal cannot be written: {error}. Its topic is served without it, in a new epoch, until it can be; make room on the disk"
            ),
        }
    }

    fn say_healed(&mut self, topic: &TopicName) {
        if is_due(&mut self.healed) {
            tracing::info!(topic = topic.as_str(), "the journal can be written again");
        }
    }

    /// Whether so many threads publish no more, and all that came is written and delivered.
    pub(in crate::broker) fn is_quiet(&self, attempt: u64, threads: u16) -> bool {
        let is_idle = |log: &Log| log.waiting.is_empty() && log.under_way.is_empty();
        self.quiet.get(&attempt) == Some(&threads) && self.logs.values().all(is_idle)
    }

    /// Ends all segments in order, so that another process can go on with them; this one can, too, in new ones. Gives the journal's lock
    /// along.
    pub(in crate::broker) async fn end_segments(&mut self) -> Option<OwnedFd> {
        for (topic, log) in &mut self.logs {
            let newest = self.topics.position(topic).filter(|_| !log.abandon);
            if let (Some(writer), Some(newest)) = (&mut log.writer, newest)
                && let Err(error) = writer.end_segment(newest).await
            {
                tracing::error!(%topic, "the journal could not be closed: {error}");
            }
        }
        self.directory.lock().inspect_err(|error| tracing::error!("the journal's lock cannot be handed over: {error}")).ok()
    }

    /// Another process has the journal: nothing more is written here.
    pub(in crate::broker) fn give_up(&mut self) {
        self.directory.unlock();
    }

    /// Writes what is left, as far as that can be done, and ends all segments in order.
    pub(in crate::broker) async fn close(mut self, outbox: &mut Outbox) {
        loop {
            let now = Instant::now();
            self.ready.retain(|topic| !self.logs[topic].refuses(now));
            for topic in std::mem::take(&mut self.ready) {
                self.begin(topic, now, outbox);
            }
            match self.work.join_next().await {
                Some(done) => self.finish(done.expect("a panic ends the process before it gets here"), outbox),
                None => break,
            }
        }
        for (topic, log) in self.logs {
            if !log.waiting.is_empty() {
                tracing::error!(
                    topic = topic.as_str(),
                    count = log.waiting.len(),
                    "publications are lost: they waited for room in the journal"
                );
            }
            let newest = self.topics.position(&topic).filter(|_| !log.abandon);
            if let (Some(writer), Some(newest)) = (log.writer, newest)
                && let Err(error) = writer.close(newest).await
            {
                tracing::error!(topic = topic.as_str(), "the journal could not be closed: {error}");
            }
        }
    }
}

/// Whether something may be said again in the log.
fn is_due(said: &mut Option<Instant>) -> bool {
    let now = Instant::now();
    let due = said.is_none_or(|at| now - at >= COMPLAIN);
    if due {
        *said = Some(now);
    }
    due
}
