//! Plays a recording: each message becomes a publication, at the pace it was recorded in, a multiple of it, or as fast as
//! the subscribers keep up.
//!
//! Without: what a line is ([`record`](super::record)), where bytes come from ([`recording`](super::recording)).
//! Invariants: messages go out in the file's order; due times are counted from the start of the play, so no delay adds up
//! and a late player catches up; a payload is a slice of the file.

use std::collections::HashMap;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::watch;
use tokio::time::Instant;

use super::complaints::Complaints;
use super::journal;
use super::lines::{Cut, Lines};
use super::record::{Line, Record};
use super::recording::Recording;
use super::template::Template;
use super::{Outlet, SourceContext, SourceError, unix_ms, unless_stopped};
use crate::broker::PublishError;
use crate::config::{self, Speed};
use crate::dialect::pointer::Pointer;
use crate::hub::topic::Pattern;
use crate::hub::{NewPublication, Payload, PayloadKind, TopicName};
use crate::metrics::{ControlMetrics, FeedMetrics, FeedState};

/// Plays `settings` until its end or until the gateway stops.
///
/// # Errors
/// [`SourceError`] where a setting is wrong, the file cannot be read, or it holds nothing to publish.
pub(super) async fn run<O: Outlet>(settings: &config::Replay, outlet: &O, context: &SourceContext) -> Result<(), SourceError> {
    let mut player = Player::new(settings, outlet, context)?;
    context.feed.set_state(FeedState::Live);
    loop {
        let before = player.published;
        let played = match journal::files(&settings.file)? {
            Some(files) => player.play_journal(&files).await?,
            None => player.play_once(settings).await?,
        };
        match played {
            Next::Stop => return Ok(()),
            // A file without a message for the template would be read for ever at full speed.
            Next::GoOn if player.published == before => {
                return Err(SourceError::NothingToPublish { path: settings.file.clone(), topic: settings.topic.clone() });
            }
            Next::GoOn if settings.repeat => player.pace.next_round(),
            Next::GoOn => {
                let skipped = player.skipped;
                tracing::info!(file = ?settings.file, published = player.published, skipped, "the recording was played to its end");
                return Ok(());
            }
        }
    }
}

/// What the player does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    GoOn,
    Stop,
}

pub(super) struct Player<'c, O> {
    outlet: &'c O,
    template: Template,
    payload: Option<Pointer>,
    pace: Pace,
    batch: Batch,
    complaints: Complaints,
    stopping: watch::Receiver<bool>,
    metrics: &'c ControlMetrics,
    feed: &'c FeedMetrics,
    publication_bytes_max: usize,
    start: Instant,
    published: u64,
    skipped: u64,
}

impl<'c, O: Outlet> Player<'c, O> {
    fn new(settings: &config::Replay, outlet: &'c O, context: &'c SourceContext) -> Result<Self, SourceError> {
        let (template, payload) = compile(settings)?;
        Ok(Player {
            outlet,
            template,
            payload,
            pace: Pace::new(settings.speed),
            batch: Batch::new(&context.topics),
            complaints: Complaints::default(),
            stopping: context.stopping.clone(),
            metrics: &context.metrics,
            feed: &context.feed,
            publication_bytes_max: context.publication_bytes_max as usize,
            start: Instant::now(),
            published: 0,
            skipped: 0,
        })
    }

    async fn play_once(&mut self, settings: &config::Replay) -> Result<Next, SourceError> {
        let mut recording = Recording::open(&settings.file).await?;
        // A message may hold more than its payload; twice that is room for any envelope, and a bound.
        let mut lines = Lines::new(2 * self.publication_bytes_max);
        while recording.read(lines.buffer()).await? {
            while let Some(cut) = lines.next_line() {
                if self.take_line(cut).await == Next::Stop {
                    return Ok(Next::Stop);
                }
            }
            // A file in the page cache never lets the runtime's other tasks in by itself.
            tokio::task::yield_now().await;
        }
        if let Some(cut) = lines.last_line()
            && self.take_line(cut).await == Next::Stop
        {
            return Ok(Next::Stop);
        }
        if !settings.repeat {
            self.complaints.tell_rest();
        }
        Ok(Next::GoOn)
    }

    async fn take_line(&mut self, cut: Cut<'_>) -> Next {
        self.metrics.replay_lines.add(1);
        let line = match cut {
            Cut::Line(line) => Line::parse(line),
            Cut::TooLong => {
                self.metrics.replay_refused.add(1);
                self.complaints.note(Instant::now(), "a line is longer than twice publication_bytes_max");
                return Next::GoOn;
            }
        };
        match line {
            Line::Message(record) => return self.play(record).await,
            Line::Other => self.skip(),
            Line::Broken(error) => {
                self.metrics.replay_unparsable.add(1);
                self.complaints.note(Instant::now(), error);
            }
        }
        Next::GoOn
    }

    async fn play(&mut self, record: Record<'_>) -> Next {
        let payload = match &self.payload {
            Some(pointer) => pointer.find(record.message),
            None => Some(record.message),
        };
        let (Some(topic), Some(payload)) = (self.template.topic(record.message), payload) else {
            self.skip();
            return Next::GoOn;
        };
        let payload = Payload { bytes: Bytes::copy_from_slice(payload.as_bytes()), kind: PayloadKind::Json };
        self.publish(record.time_us, NewPublication::new(topic, payload)).await
    }

    /// Publishes a message when its time has come.
    pub(super) async fn publish(&mut self, time_us: Option<u64>, new: NewPublication) -> Next {
        let payload_bytes = new.payload.bytes.len();
        if payload_bytes > self.publication_bytes_max {
            self.metrics.replay_refused.add(1);
            self.complaints
                .note(Instant::now(), format_args!("a payload of {payload_bytes} bytes is larger than publication_bytes_max"));
            return Next::GoOn;
        }
        if self.wait(time_us, &new.topic, payload_bytes).await == Next::Stop {
            return Next::Stop;
        }
        match self.outlet.send(new).await {
            Ok(()) => {
                self.published += 1;
                self.metrics.source_publications.add(1);
                self.feed.came(1, unix_ms());
            }
            Err(PublishError::Stopping) => return Next::Stop,
            Err(error) => {
                self.metrics.replay_refused.add(1);
                self.complaints.note(Instant::now(), error);
            }
        }
        Next::GoOn
    }

    /// Waits until a publication of `bytes` to `topic` is due, by its time or by what the subscribers take.
    async fn wait(&mut self, time_us: Option<u64>, topic: &TopicName, bytes: usize) -> Next {
        if *self.stopping.borrow() {
            return Next::Stop;
        }
        if let Some(due_us) = self.pace.due_us(time_us) {
            let due = self.start + Duration::from_micros(due_us);
            if due > Instant::now() && unless_stopped(&self.stopping, tokio::time::sleep_until(due)).await.is_none() {
                return Next::Stop;
            }
        } else if !self.batch.take(topic, bytes) {
            match unless_stopped(&self.stopping, self.outlet.drained()).await {
                None | Some(Err(PublishError::Stopping)) => return Next::Stop,
                Some(Ok(()) | Err(_)) => self.batch.begin_with(topic, bytes),
            }
        }
        Next::GoOn
    }

    fn skip(&mut self) {
        self.skipped += 1;
        self.metrics.replay_skipped.add(1);
    }
}

/// Reads the template and the pointer of `settings`.
pub(super) fn compile(settings: &config::Replay) -> Result<(Template, Option<Pointer>), SourceError> {
    Ok((Template::parse(&settings.topic)?, settings.payload.as_deref().map(Pointer::parse).transpose()?))
}

/// When messages are due.
#[derive(Debug)]
struct Pace {
    /// `None`: as fast as the subscribers keep up.
    times: Option<f64>,
    /// The recorded time that this round began with.
    first_us: Option<u64>,
    /// When this round began, counted from the start of the play.
    round_us: u64,
    /// The newest due time.
    newest_us: u64,
}

impl Pace {
    fn new(speed: Speed) -> Pace {
        let times = match speed {
            Speed::Times(times) => Some(times),
            Speed::Max => None,
        };
        Pace { times, first_us: None, round_us: 0, newest_us: 0 }
    }

    /// When a message recorded at `time_us` is due, microseconds since the start of the play. `None`: as soon as the
    /// subscribers keep up, because that is the speed or because the message bears no time. Never before an earlier one.
    fn due_us(&mut self, time_us: Option<u64>) -> Option<u64> {
        let (times, time_us) = (self.times?, time_us?);
        let first_us = *self.first_us.get_or_insert(time_us);
        let since_first_us = time_us.saturating_sub(first_us) as f64 / times;
        self.newest_us = self.newest_us.max(self.round_us.saturating_add(since_first_us as u64));
        Some(self.newest_us)
    }

    /// The recording begins again where it ended; one that took no time (a single message) after a second.
    fn next_round(&mut self) {
        if self.newest_us == self.round_us {
            self.newest_us += 1_000_000;
        }
        self.first_us = None;
        self.round_us = self.newest_us;
    }
}

/// Topics in one batch; a bound on the batch's own memory.
const BATCH_TOPICS_MAX: usize = 1024;

/// The share of a ring that one batch may fill: a subscriber that was at the tail when the batch began cannot fall out
/// of the ring before the next wait, with room for other publishers.
const BATCH_SHARE: u32 = 4;

/// What may still be published before the subscribers must have everything.
#[derive(Debug)]
struct Batch {
    rings: Vec<(Pattern, Room)>,
    left: HashMap<TopicName, Room>,
}

/// Room for one batch in a topic's ring.
#[derive(Clone, Copy, Debug)]
struct Room {
    publications: u32,
    bytes: usize,
}

impl Batch {
    fn new(topics: &[config::Topic]) -> Batch {
        let default = config::Topic::default();
        let ring = |topic: &config::Topic| {
            let pattern = Pattern::parse(&topic.pattern).expect("the configuration holds valid patterns");
            let bytes = (topic.ring_bytes / BATCH_SHARE) as usize;
            (pattern, Room { publications: topic.ring_publications / BATCH_SHARE, bytes })
        };
        Batch { rings: topics.iter().chain([&default]).map(ring).collect(), left: HashMap::new() }
    }

    /// Takes room for one publication; false, and nothing taken, where its topic's ring has none left in this batch. The
    /// first to a topic always has.
    fn take(&mut self, topic: &TopicName, payload_bytes: usize) -> bool {
        // What the frame adds: header, and name, offset and time in the combined encoding.
        let bytes = payload_bytes + topic.as_str().len() + 64;
        if let Some(room) = self.left.get_mut(topic) {
            let fits = room.publications > 0 && room.bytes >= bytes;
            if fits {
                *room = Room { publications: room.publications - 1, bytes: room.bytes - bytes };
            }
            return fits;
        }
        if self.left.len() == BATCH_TOPICS_MAX {
            return false;
        }
        let ring = self.rings.iter().find(|(pattern, _)| pattern.matches(topic.as_str()));
        let (_, room) = ring.expect("the default's pattern matches every topic");
        let left = Room { publications: room.publications.saturating_sub(1), bytes: room.bytes.saturating_sub(bytes) };
        self.left.insert(topic.clone(), left);
        true
    }

    /// A new batch that begins with this publication, whatever its size.
    fn begin_with(&mut self, topic: &TopicName, payload_bytes: usize) {
        self.left.clear();
        let taken = self.take(topic, payload_bytes);
        assert!(taken, "an empty batch takes any one publication");
    }
}

#[cfg(test)]
mod tests;
