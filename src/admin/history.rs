//! The last ten minutes, as the operator's page plots them: a reading each second in, series out.
//!
//! Pure: readings come with their times, and nothing is asked. Counters become rates between one reading and the next; where the two
//! are no second apart, or the clocks disagree about how long it was (the process or the machine slept, somebody set the clock), there
//! is no rate and the series have a hole: an average over such a time would hide what happened in it.
//!
//! Invariant: it holds at most [`KEPT`] samples, each of a size that threads and feeds give.

use std::collections::VecDeque;
use std::sync::Arc;

use serde::Serialize;
use serde_json::{Value, json};

use super::load::ThreadTime;
use crate::metrics::{FeedMetrics, HISTOGRAM_BOUNDS, Histogram, LAG_BOUNDS};

/// Samples that are kept: ten minutes.
pub(super) const KEPT: usize = 600;

/// Between two readings, as intended.
pub(super) const INTERVAL_MS: u64 = 1_000;

/// Two readings that are further apart have a hole between them.
const APART_MS_MAX: u64 = 2_500;

/// By so much the two clocks may disagree about how far.
const CLOCKS_APART_MS_MAX: u64 = 500;

/// Counts of a histogram, each bucket by itself.
pub(super) type Buckets = [u64; HISTOGRAM_BOUNDS + 1];

/// All that is read in one moment. What only grows is as it is since the process began.
#[derive(Clone, Debug, Default)]
pub(super) struct Reading {
    /// Since the machine began, its sleep included.
    pub(super) boot_ms: u64,
    /// Since 1970, as somebody may set it.
    pub(super) unix_ms: u64,
    pub(super) connections: i64,
    pub(super) subscriptions: i64,
    pub(super) grown: Grown,
    /// From ingest to the last subscriber's submission.
    pub(super) latencies: Buckets,
    /// Clients by how far they are behind.
    pub(super) lags: [u64; LAG_BOUNDS.len() + 1],
    /// In the order of [`History::new`]; `None` where the kernel does not tell.
    pub(super) threads: Box<[Option<ThreadTime>]>,
    /// Messages of each feed.
    pub(super) feeds: Box<[u64]>,
}

/// Counters whose rates are plotted.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Grown {
    pub(super) publications: u64,
    pub(super) deliveries: u64,
    pub(super) bytes_out: u64,
    pub(super) bytes_in: u64,
}

/// One second.
#[derive(Debug)]
struct Sample {
    boot_ms: u64,
    unix_ms: u64,
    connections: i64,
    subscriptions: i64,
    lags: [u64; LAG_BOUNDS.len() + 1],
    /// `None`: the reading before was no second ago.
    change: Option<Change>,
}

/// What one second brought.
#[derive(Debug)]
struct Change {
    ms: u64,
    grown: Grown,
    latencies: Buckets,
    /// Thousandths of the time that each thread ran, and that it was ready to and had no processor.
    threads: Box<[Option<(u16, u16)>]>,
    feeds: Box<[u64]>,
}

/// The samples.
#[derive(Debug)]
pub struct History {
    /// Names this run of the gateway, whose samples are numbered from 0.
    run: String,
    threads: Vec<String>,
    feeds: Box<[Arc<FeedMetrics>]>,
    newest: Option<Reading>,
    samples: VecDeque<Sample>,
    /// The number of the next sample.
    next: u64,
}

impl History {
    /// Nothing yet. `run` is a number that no other start of a gateway has.
    #[must_use]
    pub fn new(run: u64, shards: usize, feeds: Box<[Arc<FeedMetrics>]>) -> History {
        let threads = (0..shards).map(|shard| format!("shard {shard}")).chain(["control".to_owned()]).collect();
        History { run: format!("{run:x}"), threads, feeds, newest: None, samples: VecDeque::with_capacity(KEPT), next: 0 }
    }

    /// Takes a reading; the oldest sample goes where there are [`KEPT`].
    pub(super) fn push(&mut self, reading: Reading) {
        let change = self.newest.as_ref().and_then(|before| Change::between(before, &reading));
        if self.samples.len() == KEPT {
            self.samples.pop_front();
        }
        let Reading { boot_ms, unix_ms, connections, subscriptions, lags, .. } = reading;
        self.samples.push_back(Sample { boot_ms, unix_ms, connections, subscriptions, lags, change });
        self.next += 1;
        self.newest = Some(reading);
    }

    /// What a page needs that has the samples of `run` below `since`; all where the run is another.
    pub(super) fn answer(&self, run: Option<&str>, since: u64, now: Now) -> Value {
        let oldest = self.next - self.samples.len() as u64;
        let first = if run == Some(&self.run) { since.clamp(oldest, self.next) } else { oldest };
        let samples = || self.samples.range((first - oldest) as usize..);
        let rate = |of: fn(&Grown) -> u64| -> Vec<Option<f64>> {
            samples().map(|sample| sample.change.as_ref().map(|change| change.a_second(of(&change.grown)))).collect()
        };
        let share = |thread: usize, of: fn((u16, u16)) -> u16| -> Vec<Option<u16>> {
            samples().map(|sample| sample.change.as_ref()?.threads.get(thread).copied().flatten().map(of)).collect()
        };
        let shares = |of| -> Vec<_> { (0..self.threads.len()).map(|thread| share(thread, of)).collect() };
        let feed = |feed: usize| -> Vec<Option<f64>> {
            samples().map(|sample| sample.change.as_ref().map(|change| change.a_second(change.feeds[feed]))).collect()
        };
        let latencies = |sample: &Sample| sample.change.as_ref().map(|change| sparse(&change.latencies));
        json!({
            "run": self.run,
            "interval_ms": INTERVAL_MS,
            "kept": KEPT,
            "now_ms": now.boot_ms,
            "first": first,
            "next": self.next,
            "latency_bounds_us": (0..HISTOGRAM_BOUNDS).map_while(Histogram::bound_us).collect::<Vec<u64>>(),
            "lag_bounds": LAG_BOUNDS,
            "threads": self.threads,
            "feeds": self.feeds.iter().map(|feed| Health::of(feed, now.unix_ms)).collect::<Vec<_>>(),
            "at_ms": samples().map(|sample| sample.boot_ms).collect::<Vec<_>>(),
            "unix_ms": samples().map(|sample| sample.unix_ms).collect::<Vec<_>>(),
            "connections": samples().map(|sample| sample.connections).collect::<Vec<_>>(),
            "subscriptions": samples().map(|sample| sample.subscriptions).collect::<Vec<_>>(),
            "publications": rate(|grown| grown.publications),
            "deliveries": rate(|grown| grown.deliveries),
            "bytes_out": rate(|grown| grown.bytes_out),
            "bytes_in": rate(|grown| grown.bytes_in),
            "latencies": samples().map(latencies).collect::<Vec<_>>(),
            "lags": samples().map(|sample| sparse(&sample.lags)).collect::<Vec<_>>(),
            "busy": shares(|(ran, _)| ran),
            "waited": shares(|(_, waited)| waited),
            "messages": (0..self.feeds.len()).map(feed).collect::<Vec<_>>(),
        })
    }
}

/// The moment of an answer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Now {
    pub(super) boot_ms: u64,
    pub(super) unix_ms: u64,
}

/// A feed as it is now.
#[derive(Debug, Serialize)]
struct Health<'f> {
    kind: &'static str,
    name: &'f str,
    state: &'static str,
    lines: u32,
    lines_open: i64,
    messages: u64,
    reconnects: u64,
    /// Since the last message, milliseconds; none came yet: null.
    age_ms: Option<u64>,
}

impl Health<'_> {
    fn of(feed: &FeedMetrics, now_unix_ms: u64) -> Health<'_> {
        let last_unix_ms = feed.last_unix_ms.get() as u64;
        Health {
            kind: feed.kind,
            name: &feed.name,
            state: feed.state().name(),
            lines: feed.lines,
            lines_open: feed.lines_open.get(),
            messages: feed.messages.get(),
            reconnects: feed.reconnects.get(),
            age_ms: (last_unix_ms > 0).then(|| now_unix_ms.saturating_sub(last_unix_ms)),
        }
    }
}

impl Change {
    /// `None` where nothing can be said of what is between.
    fn between(before: &Reading, reading: &Reading) -> Option<Change> {
        let ms = reading.boot_ms.checked_sub(before.boot_ms).filter(|ms| (1..=APART_MS_MAX).contains(ms))?;
        let of_calendar_ms = reading.unix_ms.checked_sub(before.unix_ms)?;
        if of_calendar_ms.abs_diff(ms) > CLOCKS_APART_MS_MAX {
            return None;
        }
        let (old, new) = (&before.grown, &reading.grown);
        let pairs = before.threads.iter().zip(&reading.threads);
        let permille = |part_ns: u64| (part_ns / (ms * 1_000)).min(1_000) as u16;
        let shares = |(before, now): (&Option<ThreadTime>, &Option<ThreadTime>)| {
            let time = now.as_ref()?.since(before.as_ref()?);
            Some((permille(time.ran_ns), permille(time.waited_ns)))
        };
        Some(Change {
            ms,
            grown: Grown {
                publications: new.publications.wrapping_sub(old.publications),
                deliveries: new.deliveries.wrapping_sub(old.deliveries),
                bytes_out: new.bytes_out.wrapping_sub(old.bytes_out),
                bytes_in: new.bytes_in.wrapping_sub(old.bytes_in),
            },
            latencies: std::array::from_fn(|bucket| reading.latencies[bucket].wrapping_sub(before.latencies[bucket])),
            threads: pairs.map(shares).collect(),
            feeds: before.feeds.iter().zip(&reading.feeds).map(|(before, now)| now.wrapping_sub(*before)).collect(),
        })
    }

    /// To a tenth.
    fn a_second(&self, count: u64) -> f64 {
        (count as f64 * 10_000.0 / self.ms as f64).round() / 10.0
    }
}

/// The places that are not 0, with what stands there.
fn sparse(counts: &[u64]) -> Vec<(usize, u64)> {
    counts.iter().copied().enumerate().filter(|(_, count)| *count > 0).collect()
}

#[cfg(test)]
mod tests;
