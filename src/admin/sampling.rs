//! The reading of each second: what the gateway counts, at one moment, for the history.
//!
//! Runs whether a page is open or not, so that the minutes before it was opened are there.

use std::sync::PoisonError;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use tokio::time::{Instant, MissedTickBehavior, interval_at};

use super::AdminContext;
use super::history::{Buckets, Grown, INTERVAL_MS, Now, Reading};
use super::load::ThreadTime;
use crate::metrics::{FeedMetrics, LAG_BOUNDS, ShardMetrics};

/// Reads until the runtime ends, at once and then each second.
pub(super) async fn sample(context: AdminContext) {
    let mut ticks = interval_at(Instant::now(), Duration::from_millis(INTERVAL_MS));
    // A tick that was missed is a hole in the history, not a reading to be made up for.
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let reading = read(&context);
        context.history.lock().unwrap_or_else(PoisonError::into_inner).push(reading);
    }
}

/// Both clocks.
pub(super) fn now() -> Now {
    let ms = |clock| {
        let time = clock_gettime(clock);
        time.tv_sec.unsigned_abs() * 1_000 + time.tv_nsec.unsigned_abs() / 1_000_000
    };
    Now { boot_ms: ms(ClockId::Boottime), unix_ms: ms(ClockId::Realtime) }
}

fn read(context: &AdminContext) -> Reading {
    let Now { boot_ms, unix_ms } = now();
    let (shards, control) = (&context.shards, &context.control);
    let grown = |of: fn(&ShardMetrics) -> u64| shards.iter().map(|shard| of(shard)).fold(0, u64::wrapping_add);
    // The homes of topics: shards, and the control thread of those with a journal.
    let journaled = control.journal_publications.get().wrapping_add(control.journal_unwritten.get());
    let threads = shards.iter().map(|shard| shard.thread.get()).chain([control.thread.get()]);
    Reading {
        boot_ms,
        unix_ms,
        connections: shards.iter().map(|shard| shard.connections.get()).sum(),
        subscriptions: shards.iter().map(|shard| shard.subscriptions.get()).sum(),
        grown: Grown {
            publications: grown(|shard| shard.publications.get()).wrapping_add(journaled),
            deliveries: grown(|shard| shard.deliveries.get()),
            bytes_out: grown(|shard| shard.bytes_out.get()),
            bytes_in: grown(|shard| shard.bytes_in.get()),
        },
        latencies: latencies(shards.iter().map(|shard| &**shard)),
        lags: shards.iter().fold([0; LAG_BOUNDS.len() + 1], |sum, shard| {
            let clients = shard.lags.clients();
            std::array::from_fn(|class| sum[class] + clients[class])
        }),
        threads: threads.map(ThreadTime::of).collect(),
        feeds: control.feeds.iter().map(|feed: &std::sync::Arc<FeedMetrics>| feed.messages.get()).collect(),
    }
}

/// Over all shards and classes of topics.
fn latencies<'m>(shards: impl Iterator<Item = &'m ShardMetrics>) -> Buckets {
    let mut sum: Buckets = std::array::from_fn(|_| 0);
    for class in shards.flat_map(|shard| shard.classes.get().to_vec()) {
        for (sum, count) in sum.iter_mut().zip(class.publish_to_submit.buckets()) {
            *sum = sum.wrapping_add(count);
        }
    }
    sum
}
