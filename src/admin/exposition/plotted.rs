//! What the operator's page plots and no table of counters holds: threads' time, clients that are behind, feeds.

use std::fmt;

use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;

use super::{Gathered, Row, counter};
use crate::admin::load::ThreadTime;
use crate::metrics::{FeedMetrics, FeedState, LAG_BOUNDS};

const FEED_GAUGES: &[Row<FeedMetrics, f64>] = &[
    ("feed_up", "Whether the feed brings publications, or would", |feed| f64::from(feed.state() == FeedState::Live)),
    ("feed_lines_open", "Addresses of the feed that are connected", |feed| feed.lines_open.get() as f64),
    ("feed_last_message_timestamp_seconds", "When the feed's last message came; 0: none yet", |feed| {
        feed.last_unix_ms.get() as f64 / 1e3
    }),
];

const THREAD_COUNTERS: &[Row<ThreadTime, u64>] = &[
    ("thread_running_seconds", "Time of the thread on a processor", |time| time.ran_ns),
    ("thread_runnable_seconds", "Time of the thread ready to run, without a processor", |time| time.waited_ns),
];

const FEED_COUNTERS: &[Row<FeedMetrics, u64>] = &[
    ("feed_messages", "Messages that the feed brought", |feed| feed.messages.get()),
    ("feed_reconnects", "Times that an address of the feed was connected again", |feed| feed.reconnects.get()),
];

impl Gathered {
    pub(super) fn encode_plotted(&self, encoder: &mut DescriptorEncoder) -> fmt::Result {
        self.encode_lags(encoder)?;
        self.encode_threads(encoder)?;
        self.encode_feeds(encoder)
    }

    fn encode_lags(&self, encoder: &mut DescriptorEncoder) -> fmt::Result {
        let help =
            "Clients whose sockets are full, by how many publications they lack: up to so many, and more than the class before";
        let mut family = encoder.encode_descriptor("clients_behind", help, None, MetricType::Gauge)?;
        for (shard, metrics) in self.numbered() {
            for (class, clients) in metrics.lags.clients().into_iter().enumerate() {
                let up_to = LAG_BOUNDS.get(class).map_or("more".to_owned(), u64::to_string);
                family.encode_family(&[("shard", shard.to_string()), ("up_to", up_to)])?.encode_gauge(&clients)?;
            }
        }
        Ok(())
    }

    /// Of threads that the kernel tells of.
    fn encode_threads(&self, encoder: &mut DescriptorEncoder) -> fmt::Result {
        let shards = self.numbered().map(|(shard, metrics)| (format!("shard-{shard}"), metrics.thread.get()));
        let threads = shards.chain([("control".to_owned(), self.control.thread.get())]);
        let times: Vec<(String, ThreadTime)> =
            threads.filter_map(|(name, thread)| Some((name, ThreadTime::of(thread)?))).collect();
        for &(name, help, read) in THREAD_COUNTERS {
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            for (thread, time) in &times {
                let seconds = read(time) as f64 / 1e9;
                family.encode_family(&[("thread", thread)])?.encode_counter::<NoLabelSet, f64, f64>(&seconds, None)?;
            }
        }
        Ok(())
    }

    /// Each by its place in the configuration, as two may have one name.
    fn encode_feeds(&self, encoder: &mut DescriptorEncoder) -> fmt::Result {
        let labels = |number: usize, feed: &FeedMetrics| {
            [("feed", (number + 1).to_string()), ("kind", feed.kind.to_owned()), ("name", feed.name.to_string())]
        };
        for &(name, help, read) in FEED_GAUGES {
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            for (number, feed) in self.control.feeds.iter().enumerate() {
                family.encode_family(&labels(number, feed))?.encode_gauge(&read(feed))?;
            }
        }
        for &(name, help, read) in FEED_COUNTERS {
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            for (number, feed) in self.control.feeds.iter().enumerate() {
                counter(family.encode_family(&labels(number, feed))?, read(feed))?;
            }
        }
        Ok(())
    }
}
