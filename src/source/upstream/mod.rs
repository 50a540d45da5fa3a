//! A feed from another server: connected to as a WebSocket client, read, put in order, published.
//!
//! Each address is a [`line`]: a task that connects, subscribes, reads, and begins again. Lines hand what they read to the
//! feed's own task, which asks the [`arbiter`] what of it is published and does so.
//!
//! Invariants: nothing is queued without a bound: a line hands over what one read brought and waits until that was taken,
//! and the feed waits for the broker, so a server that sends faster than the gateway passes on is not read. Nothing that a
//! server sends or refuses ends the feed: it is counted, told at a bounded rate, and tried again.

mod arbiter;
mod line;
mod mapping;
mod wire;

use std::cell::RefCell;
use std::collections::HashSet;
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;

use self::arbiter::{Arbiter, Tally};
use self::line::{Line, Report};
use self::mapping::Mapping;
use super::complaints::Complaints;
use super::{Outlet, SourceContext, SourceError, Standing, unix_ms, unless_stopped};
use crate::broker::PublishError;
use crate::config;
use crate::hub::{NewPublication, TopicName};
use crate::metrics::{ControlMetrics, FeedMetrics, FeedState};
use crate::tls;

/// Whether `settings` can be used.
///
/// # Errors
/// [`SourceError`] where a template, a pointer or the authority is wrong.
pub(super) fn check(settings: &config::Upstream) -> Result<(), SourceError> {
    Mapping::new(settings, 0)?;
    trust(settings).map(drop)
}

fn trust(settings: &config::Upstream) -> Result<std::sync::Arc<rustls::ClientConfig>, SourceError> {
    let wrong = |reason| SourceError::Authority { url: settings.urls[0].to_string(), reason };
    tls::client_config(settings.ca.as_deref()).map_err(wrong)
}

/// Takes the feed in until the gateway stops.
///
/// # Errors
/// As [`check`].
pub(super) async fn run<O: Outlet>(settings: &config::Upstream, outlet: &O, context: &SourceContext) -> Result<(), SourceError> {
    let mapping = Rc::new(Mapping::new(settings, context.publication_bytes_max as usize)?);
    let trust = trust(settings)?;
    // One place: beside it each line waits with what one read brought.
    let (reports, arrivals) = mpsc::channel(1);
    for (number, url) in settings.urls.iter().enumerate() {
        let line = Line {
            number,
            url: url.clone(),
            settings: settings.clone(),
            trust: trust.clone(),
            mapping: Rc::clone(&mapping),
            reports: reports.clone(),
            message_bytes_max: 2 * context.publication_bytes_max as usize,
            metrics: context.metrics.clone(),
            feed: context.feed.clone(),
        };
        let stopping = context.stopping.clone();
        tokio::task::spawn_local(async move { unless_stopped(&stopping, line.run()).await });
    }
    let feed = Feed {
        arbiter: Arbiter::new(settings, context.goes_on),
        begun: Instant::now(),
        outlet,
        metrics: &context.metrics,
        feed: &context.feed,
        refusals: Complaints::default(),
        gaps: Complaints::about("an upstream's feed lost messages, which subscribers are told"),
        lines: settings.urls.len(),
        tried: HashSet::new(),
        named: 0,
        standing: &context.standing,
        told: None,
    };
    unless_stopped(&context.stopping, feed.run(arrivals)).await;
    Ok(())
}

/// The feed's own task.
struct Feed<'c, O> {
    arbiter: Arbiter,
    begun: Instant,
    outlet: &'c O,
    metrics: &'c ControlMetrics,
    feed: &'c FeedMetrics,
    refusals: Complaints,
    gaps: Complaints,
    lines: usize,
    /// Lines that were opened, or could not be.
    tried: HashSet<usize>,
    /// Topics that the arbiter had named when it was last asked.
    named: usize,
    /// Which topics there are, also of an earlier run, and when a line said something last.
    standing: &'c RefCell<Standing>,
    /// What was told last: the feed is gone, or back.
    told: Option<bool>,
}

impl<O: Outlet> Feed<'_, O> {
    /// Until the broker takes nothing more.
    async fn run(mut self, mut arrivals: mpsc::Receiver<Report>) {
        let mut out = Vec::new();
        loop {
            let due = self.arbiter.due();
            let until = self.begun + due.unwrap_or(Duration::ZERO);
            tokio::select! {
                report = arrivals.recv() => match report {
                    Some(report) => self.take(report, &mut out),
                    None => return,
                },
                () = tokio::time::sleep_until(until), if due.is_some() => self.arbiter.expire(self.begun.elapsed(), &mut out),
            }
            self.count();
            self.note_topics();
            if let Err(PublishError::Stopping) = self.pass_on(&mut out).await {
                return;
            }
        }
    }

    /// Publishes, and tells where the feed is gone or back: gone behind what it brought, back before.
    async fn pass_on(&mut self, out: &mut Vec<NewPublication>) -> Result<(), PublishError> {
        let is_there = self.arbiter.is_connected();
        if is_there && self.told != Some(false) {
            self.tell(false).await?;
        }
        for publication in out.drain(..) {
            if let Err(PublishError::Stopping) = self.publish(publication).await {
                return Err(PublishError::Stopping);
            }
        }
        // At the beginning each line is tried before the feed is given up.
        let is_given_up = self.told.is_some() || self.tried.len() == self.lines;
        if !is_there && is_given_up && self.told != Some(true) {
            self.tell(true).await?;
        }
        Ok(())
    }

    /// Tells subscribers that the feed is gone, or back.
    async fn tell(&mut self, gone: bool) -> Result<(), PublishError> {
        self.told = Some(gone);
        let (topics, heard_ms): (Vec<TopicName>, u64) = {
            let mut standing = self.standing.borrow_mut();
            standing.gone = gone;
            (standing.topics.iter().cloned().collect(), standing.heard_ms)
        };
        if topics.is_empty() {
            return Ok(());
        }
        self.outlet.feed(topics, gone.then_some(heard_ms)).await
    }

    /// Keeps what the feed has named since the last call.
    fn note_topics(&mut self) {
        let new = self.arbiter.topics(self.named);
        self.named += new.len();
        if new.len() > 0 {
            self.standing.borrow_mut().topics.extend(new.cloned());
        }
    }

    fn take(&mut self, report: Report, out: &mut Vec<NewPublication>) {
        let now = self.begun.elapsed();
        let heard_ms = unix_ms();
        if !matches!(report, Report::Lost { .. } | Report::Unreachable { .. }) {
            self.standing.borrow_mut().heard_ms = heard_ms;
        }
        match report {
            Report::Unreachable { line } => drop(self.tried.insert(line)),
            Report::Connected { line } => {
                self.tried.insert(line);
                self.feed.lines_open.add(1);
                self.feed.set_state(FeedState::Live);
                self.arbiter.connected(line);
            }
            Report::Lost { line } => {
                self.feed.lines_open.add(-1);
                self.arbiter.lost(line, now, out);
                if !self.arbiter.is_connected() {
                    self.feed.set_state(FeedState::Down);
                }
            }
            Report::Skipped { line } => self.arbiter.skipped(line),
            Report::Arrived { line, messages } => {
                self.feed.came(messages.len() as u64, heard_ms);
                messages.into_iter().for_each(|arrived| self.arbiter.take(line, now, arrived, out));
            }
        }
    }

    async fn publish(&mut self, publication: NewPublication) -> Result<(), PublishError> {
        if let Some(gap) = publication.marks.gap {
            let topic = publication.topic.as_str();
            match gap.messages {
                Some(messages) => self.gaps.note(Instant::now(), format_args!("{messages} before the newest of {topic}")),
                None => self.gaps.note(Instant::now(), format_args!("an unknown number before the newest of {topic}")),
            }
        }
        let outcome = self.outlet.send(publication).await;
        match outcome {
            Ok(()) => self.metrics.source_publications.add(1),
            Err(error) => self.refusals.note(Instant::now(), error),
        }
        outcome
    }

    fn count(&mut self) {
        let Tally { repeats, late, gaps, lost, restarts, topics_refused } = self.arbiter.take_tally();
        let metrics = self.metrics;
        metrics.upstream_repeats.add(repeats);
        metrics.upstream_late.add(late);
        metrics.upstream_gaps.add(gaps);
        metrics.upstream_lost.add(lost);
        metrics.upstream_restarts.add(restarts);
        metrics.upstream_refused.add(topics_refused);
        if topics_refused > 0 {
            self.refusals.note(Instant::now(), "the feed names more topics than its topics_max allows");
        }
    }
}
