//! One address of a feed: connected to, subscribed at, read; and again when that is over.
//!
//! Without: other lines, and what is published. Never ends by itself.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::arbiter::Arrived;
use super::mapping::{Mapped, Mapping};
use super::wire::{Received, Wire, WireError};
use crate::config::{self, WebSocketUrl};
use crate::metrics::{ControlMetrics, FeedMetrics, FeedState};
use crate::source::complaints::Complaints;

/// What a line tells its feed.
#[derive(Debug)]
pub(super) enum Report {
    /// It is open and subscribed.
    Connected { line: usize },
    /// It could not be opened.
    Unreachable { line: usize },
    /// What one read brought.
    Arrived { line: usize, messages: Vec<Arrived> },
    /// A message was too long to be read.
    Skipped { line: usize },
    /// It is over.
    Lost { line: usize },
}

/// One address.
pub(super) struct Line {
    pub(super) number: usize,
    pub(super) url: WebSocketUrl,
    pub(super) settings: config::Upstream,
    pub(super) trust: Arc<ClientConfig>,
    pub(super) mapping: Rc<Mapping>,
    pub(super) reports: mpsc::Sender<Report>,
    /// Longest message that is read at all.
    pub(super) message_bytes_max: usize,
    pub(super) metrics: Arc<ControlMetrics>,
    pub(super) feed: Arc<FeedMetrics>,
}

/// The feed is gone: the gateway stops.
struct Gone;

impl Line {
    /// Connects again and again, until the feed is gone.
    pub(super) async fn run(self) {
        let mut backoff = Backoff::new(self.settings.backoff_min_ms, self.settings.backoff_max_ms);
        let mut losses = Complaints::about("an upstream is not connected");
        let mut was_open = false;
        loop {
            let begun = Instant::now();
            let (opened, error) = match self.serve(was_open).await {
                Ok(end) => end,
                Err(Gone) => return,
            };
            losses.note(Instant::now(), format_args!("{}: {error}", self.url));
            was_open |= opened;
            if !opened && self.feed.lines_open.get() == 0 {
                self.feed.set_state(FeedState::Down);
            }
            let lived = if opened { begun.elapsed() } else { Duration::ZERO };
            tokio::time::sleep(backoff.next(lived, rand::random())).await;
        }
    }

    /// One connection, from its beginning to its end: whether it was open, and why it is over.
    async fn serve(&self, was_open: bool) -> Result<(bool, WireError), Gone> {
        let allowed = Duration::from_millis(self.settings.connect_timeout_ms.into());
        let wire = match tokio::time::timeout(allowed, self.open()).await.unwrap_or(Err(WireError::TimedOut)) {
            Ok(wire) => wire,
            Err(error) => {
                self.metrics.upstream_connect_failures.add(1);
                self.tell(Report::Unreachable { line: self.number }).await?;
                return Ok((false, error));
            }
        };
        self.metrics.upstream_connects.add(1);
        self.feed.reconnects.add(u64::from(was_open));
        tracing::info!("connected to the upstream {}", self.url);
        self.tell(Report::Connected { line: self.number }).await?;
        let error = self.read(wire).await?;
        self.metrics.upstream_disconnects.add(1);
        self.tell(Report::Lost { line: self.number }).await?;
        Ok((true, error))
    }

    async fn open(&self) -> Result<Wire, WireError> {
        let mut wire = Wire::connect(&self.url, &self.trust, self.message_bytes_max).await?;
        for text in &self.settings.subscribe {
            wire.send(text).await?;
        }
        Ok(wire)
    }

    async fn read(&self, mut wire: Wire) -> Result<WireError, Gone> {
        let silence = Duration::from_millis(self.settings.silent_timeout_ms.into());
        let mut garbage = Complaints::about("messages of an upstream cannot be read");
        let mut refusals = Complaints::default();
        loop {
            let mut batch = Batch::default();
            let outcome = wire
                .receive(silence, |message| {
                    self.metrics.upstream_messages.add(1);
                    match self.map(message) {
                        Some(Mapped::Arrived(arrived, refused)) => {
                            if let Some(refused) = refused {
                                self.metrics.upstream_refused.add(1);
                                refusals.note(Instant::now(), format_args!("{}: {refused}", self.url));
                            }
                            batch.push(arrived);
                        }
                        Some(Mapped::Skipped) => self.metrics.upstream_skipped.add(1),
                        Some(Mapped::Garbage) => {
                            self.metrics.upstream_unparsable.add(1);
                            garbage.note(Instant::now(), format_args!("{}: no JSON, or binary without a topic", self.url));
                        }
                        None => {
                            self.metrics.upstream_refused.add(1);
                            refusals.note(
                                Instant::now(),
                                format_args!("{}: a message is longer than twice publication_bytes_max", self.url),
                            );
                            batch.skip();
                        }
                    }
                })
                .await;
            for report in batch.reports(self.number) {
                self.tell(report).await?;
            }
            if let Err(error) = outcome {
                return Ok(error);
            }
        }
    }

    /// `None`: too long.
    fn map(&self, message: Received<'_>) -> Option<Mapped> {
        match message {
            Received::Text(text) => Some(self.mapping.text(text)),
            Received::Binary(bytes) => Some(self.mapping.binary(bytes)),
            Received::TooLong => None,
        }
    }

    async fn tell(&self, report: Report) -> Result<(), Gone> {
        self.reports.send(report).await.map_err(|_| Gone)
    }
}

/// What one read brought: stretches of messages, with something too long between two.
#[derive(Default)]
struct Batch {
    before: Vec<Vec<Arrived>>,
    newest: Vec<Arrived>,
}

impl Batch {
    fn push(&mut self, arrived: Arrived) {
        self.newest.push(arrived);
    }

    fn skip(&mut self) {
        self.before.push(std::mem::take(&mut self.newest));
    }

    fn reports(self, line: usize) -> impl Iterator<Item = Report> {
        let arrived = move |messages: Vec<Arrived>| (!messages.is_empty()).then_some(Report::Arrived { line, messages });
        let before = self.before.into_iter().flat_map(move |messages| [arrived(messages), Some(Report::Skipped { line })]);
        before.chain([arrived(self.newest)]).flatten()
    }
}

/// Exponential backoff with full jitter: a random wait up to a bound that doubles with each try.
struct Backoff {
    min: Duration,
    max: Duration,
    bound: Duration,
}

impl Backoff {
    fn new(min_ms: u32, max_ms: u32) -> Backoff {
        let min = Duration::from_millis(min_ms.into());
        Backoff { min, max: Duration::from_millis(max_ms.into()), bound: min }
    }

    /// How long to wait after a connection that lived so long; one that outlived the bound begins anew, so a server that
    /// lets in and throws out is not hammered.
    fn next(&mut self, lived: Duration, random: u32) -> Duration {
        if lived > self.bound {
            self.bound = self.min;
        }
        let wait = self.bound.mul_f64(f64::from(random) / f64::from(u32::MAX));
        self.bound = self.max.min(self.bound * 2);
        wait
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_is_random_up_to_a_bound_that_doubles() {
        let mut backoff = Backoff::new(100, 350);
        let mut waits = |lived_ms: u64, random| backoff.next(Duration::from_millis(lived_ms), random).as_millis();
        assert_eq!([waits(0, u32::MAX), waits(50, u32::MAX), waits(0, u32::MAX), waits(0, u32::MAX)], [100, 200, 350, 350]);
        assert_eq!([waits(351, u32::MAX), waits(0, u32::MAX / 2), waits(0, 0)], [100, 100, 0]);
    }
}
