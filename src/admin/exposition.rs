//! The counters as text for Prometheus: OpenMetrics 1.0 for who asks for that, as Prometheus does, else the older format, in which a counter
//! has its whole name everywhere.
//!
//! Values are read when asked for; nothing is kept here. Labels are closed sets: the shard's number, a reason, a class.

use std::fmt;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;

use crate::lines;
use crate::metrics::{ClientRole, CloseClass, ControlMetrics, Histogram, Label, RefusalReason, ShardMetrics, TakeoverOutcome};

mod plotted;

/// The form of [`text`].
pub(super) const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// All metrics of the process.
pub(super) fn text(shards: &Arc<[Arc<ShardMetrics>]>, control: &Arc<ControlMetrics>) -> String {
    let mut registry = Registry::with_prefix("tidegate");
    registry.register_collector(Box::new(Gathered { shards: shards.clone(), control: control.clone() }));
    let mut text = String::new();
    encode(&mut text, &registry).expect("a String takes every write");
    text
}

/// The form of [`classic`].
pub(super) const CLASSIC: &str = "text/plain; version=0.0.4; charset=utf-8";

/// What [`text`] gave, in Prometheus' text format 0.0.4.
pub(super) fn classic(text: &str) -> String {
    let mut lines = text.lines().peekable();
    let mut classic = String::with_capacity(text.len());
    while let Some(line) = lines.next() {
        let mut words = line.splitn(4, ' ');
        match (words.next(), words.next(), words.next(), words.next()) {
            (Some("#"), Some("EOF"), ..) => {}
            (Some("#"), Some("HELP"), Some(name), Some(help)) => {
                let is_counter = lines.peek().is_some_and(|next| next.starts_with("# TYPE ") && next.ends_with(" counter"));
                let suffix = if is_counter { "_total" } else { "" };
                classic.extend(["# HELP ", name, suffix, " ", help, "\n"]);
            }
            (Some("#"), Some("TYPE"), Some(name), Some("counter")) => {
                classic.extend(["# TYPE ", name, "_total counter\n"]);
            }
            _ => classic.extend([line, "\n"]),
        }
    }
    classic
}

#[derive(Debug)]
struct Gathered {
    shards: Arc<[Arc<ShardMetrics>]>,
    control: Arc<ControlMetrics>,
}

/// A metric without labels of its own: name, help, value.
type Row<M, T> = (&'static str, &'static str, fn(&M) -> T);

/// Gauges of a shard.
const GAUGES: &[Row<ShardMetrics, i64>] = &[
    ("connections", "Connections now, probes and those that are being refused among them", |m| m.connections.get()),
    ("subscriptions", "Subscriptions of connected clients", |m| m.subscriptions.get()),
    ("pattern_rows", "Topics that clients are behind in by patterns, each once for each client", |m| m.pattern_rows.get()),
    ("topics", "Topics that the shard knows, at home or as replica", |m| m.topics.get()),
    ("topics_stale", "Topics whose feed is gone, at home or as replica", |m| m.topics_stale.get()),
];

/// Counters of a shard; `_total` is appended to the name.
const COUNTERS: &[Row<ShardMetrics, u64>] = &[
    ("accepts", "Connections accepted", |m| m.accepts.get()),
    ("accept_failures", "Accepts that failed", |m| m.accept_failures.get()),
    ("tls_handshakes", "TLS handshakes done, resumed ones too", |m| m.tls_handshakes.get()),
    ("messages_received", "Whole messages received from clients", |m| m.messages_in.get()),
    ("received_bytes", "Bytes received from clients", |m| m.bytes_in.get()),
    ("messages_sent", "Whole messages sent to clients", |m| m.messages_out.get()),
    ("sent_bytes", "Bytes that the kernel took for clients", |m| m.bytes_out.get()),
    ("sends", "Send operations", |m| m.sends.get()),
    ("sends_short", "Sends of which the kernel took a part or nothing", |m| m.sends_short.get()),
    ("publications", "Publications given their offset by this shard", |m| m.publications.get()),
    ("publications_replicated", "Publications taken in from other homes", |m| m.publications_replicated.get()),
    ("deliveries", "Publications sent whole, once for each subscriber", |m| m.deliveries.get()),
    ("denials", "Requests of clients that stay which their rights do not grant", |m| m.denials.get()),
    ("buffer_shortages", "Times that the kernel found no receive buffer", |m| m.buffer_shortages.get()),
    ("feed_notices", "Times that a subscriber was told that a feed is gone or back", |m| m.feed_notices.get()),
    ("heartbeats", "Heartbeats sent", |m| m.heartbeats.get()),
    ("receives_ended", "Multishot receives that ended", |m| m.receives_ended.get()),
    ("turns", "Turns of the shard's loop", |m| m.turns.get()),
    ("completions", "Completions taken from the kernel", |m| m.completions.get()),
    ("wakes", "Times that another thread woke the shard", |m| m.wakes.get()),
    ("mailbox_full", "Times that another shard's mailbox had no place", |m| m.mailbox_full.get()),
    ("publisher_pauses", "Times that a publisher was not read for want of credits", |m| m.publisher_pauses.get()),
    ("recoveries", "Subscriptions with since= that went on without a gap", |m| m.recoveries.get()),
    ("recoveries_refused", "Subscriptions with since= whose past was not held any more", |m| m.recoveries_refused.get()),
    ("dropped", "Publications left out for subscribers of slow=drop", |m| m.dropped.get()),
    ("culled", "Publications left out for subscribers of slow=conflate", |m| m.culled.get()),
    ("conflations", "Times that a subscriber began to be sent the newest only", |m| m.conflations.get()),
    ("keys_evicted", "Keys that had to make room for others", |m| m.keys_evicted.get()),
    ("overflows", "Clients reset at once: torn_bytes_max or pattern_rows_max was reached", |m| m.overflows.get()),
    ("torn_copies", "Rests of frames copied because their ring gave them up", |m| m.torn_copies.get()),
    ("compressions", "Publications compressed, once for each topic and encoding", |m| m.compressions.get()),
    ("compression_input_bytes", "Bytes of compressed publications before", |m| m.compression_bytes_in.get()),
    ("compression_output_bytes", "Bytes of compressed publications after", |m| m.compression_bytes_out.get()),
];

/// Counters of the control thread.
const CONTROL_COUNTERS: &[Row<ControlMetrics, u64>] = &[
    ("replay_lines", "Lines read from recordings", |m| m.replay_lines.get()),
    ("replay_skipped", "Lines without a message, and messages without a topic or payload", |m| m.replay_skipped.get()),
    ("replay_unparsable", "Lines that should hold a message and do not parse", |m| m.replay_unparsable.get()),
    ("replay_refused", "Recorded messages that were too large or that the broker refused", |m| m.replay_refused.get()),
    ("source_publications", "Publications handed over by sources", |m| m.source_publications.get()),
    ("source_refused", "Publications of sources that their topic's home refused", |m| m.source_refused.get()),
    ("callout_answers", "Questions about clients that the callout answered", |m| m.callout_answers.get()),
    ("callout_failures", "Questions about clients without an answer that can be understood", |m| m.callout_failures.get()),
    ("callout_cached", "Questions about clients whose answer was known already", |m| m.callout_cached.get()),
    ("jwks_refreshes", "Sets of token keys (JWKS) that were read", |m| m.jwks_refreshes.get()),
    ("jwks_failures", "Sets of token keys (JWKS) that could not be read: those in force stay", |m| m.jwks_failures.get()),
    ("source_errors", "Sources that ended with an error", |m| m.source_errors.get()),
    ("upstream_connects", "Connections to upstreams opened", |m| m.upstream_connects.get()),
    ("upstream_connect_failures", "Tries to connect to an upstream that failed", |m| m.upstream_connect_failures.get()),
    ("upstream_disconnects", "Connections to upstreams that ended", |m| m.upstream_disconnects.get()),
    ("upstream_messages", "Whole messages from upstreams", |m| m.upstream_messages.get()),
    ("upstream_skipped", "Messages of upstreams without a topic or payload", |m| m.upstream_skipped.get()),
    ("upstream_unparsable", "Messages of upstreams that cannot be read", |m| m.upstream_unparsable.get()),
    ("upstream_refused", "Messages of upstreams that could not be published", |m| m.upstream_refused.get()),
    ("upstream_repeats", "Messages of upstreams left out as repeats", |m| m.upstream_repeats.get()),
    ("upstream_late", "Messages of upstreams that came behind later ones", |m| m.upstream_late.get()),
    ("upstream_gaps", "Publications that bear a gap of their feed", |m| m.upstream_gaps.get()),
    ("upstream_lost", "Messages that feeds lost, as far as their number is known", |m| m.upstream_lost.get()),
    ("upstream_restarts", "Times that the numbers of a feed's topic began anew", |m| m.upstream_restarts.get()),
    ("log_lines_lost", "Lines of the log that found no place among those that wait to be written", |_| lines::lost()),
    ("admin_requests", "Requests on the admin port", |m| m.http_requests.get()),
    ("admin_denied", "Requests on the admin port for which no key, or none that is good for them, was borne", |m| {
        m.http_denied.get()
    }),
    ("admin_errors", "Requests on the admin port answered with an error", |m| m.http_errors.get()),
    ("http_publications", "Publications taken over HTTP", |m| m.http_publications.get()),
    ("http_publication_errors", "Publications refused over HTTP", |m| m.http_publication_errors.get()),
    ("journal_publications", "Publications written to journals and given their offset", |m| m.journal_publications.get()),
    ("journal_bytes", "Bytes given to journals", |m| m.journal_bytes.get()),
    ("journal_writes", "Batches given to journals", |m| m.journal_writes.get()),
    ("journal_syncs", "Times that a journal was to be put on disk", |m| m.journal_syncs.get()),
    ("journal_errors", "Writes and syncs of journals that failed", |m| m.journal_errors.get()),
    ("journal_refused", "Publications refused for want of their journal", |m| m.journal_refused.get()),
    ("journal_epochs", "Times that a topic began a new epoch as its journal could not be written", |m| m.journal_epochs.get()),
    ("takeover_fed_publications", "Publications told to the gateway whose place was taken", |m| m.takeover_fed.get()),
    ("takeover_forwarded_publications", "Publications passed on to the gateway that took the place", |m| {
        m.takeover_forwarded.get()
    }),
    ("journal_unwritten", "Publications delivered without their journal", |m| m.journal_unwritten.get()),
];

/// Gauges of the control thread.
const CONTROL_GAUGES: &[Row<ControlMetrics, i64>] = &[
    ("journals_failing", "Topics whose journal could not be written the last time", |m| m.journals_failing.get()),
    ("journals_left", "Those of them that are served without it, in a new epoch", |m| m.journals_left.get()),
    ("takeover_feeding", "1 while the gateway whose place was taken has clients", |m| m.takeover_feeding.get()),
    ("takeover_following", "1 while another gateway gives the offsets", |m| m.takeover_following.get()),
    ("memory_resident_bytes", "Memory that the process has, looked at once a second", |m| m.memory_resident_bytes.get()),
    ("memory_bytes_max", "Above it no more clients are taken", |m| m.memory_bytes_max.get()),
];

impl Collector for Gathered {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        for &(name, help, read) in GAUGES {
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            for (shard, metrics) in self.numbered() {
                family.encode_family(&[("shard", shard)])?.encode_gauge(&read(metrics))?;
            }
        }
        for &(name, help, read) in COUNTERS {
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            for (shard, metrics) in self.numbered() {
                counter(family.encode_family(&[("shard", shard)])?, read(metrics))?;
            }
        }
        let mut clients =
            encoder.encode_descriptor("clients", "Clients that were let in, by what they are", None, MetricType::Gauge)?;
        for (shard, metrics) in self.numbered() {
            for &role in ClientRole::ALL {
                let labels = [("shard", shard.to_string()), ("role", role.name().to_owned())];
                clients.encode_family(&labels)?.encode_gauge(&metrics.clients.get(role))?;
            }
        }
        let refusals =
            encoder.encode_descriptor("refusals", "Connections and requests turned away", None, MetricType::Counter)?;
        self.encode_labelled(refusals, "reason", |metrics, reason: RefusalReason| metrics.refusals.get(reason))?;
        let closes = encoder.encode_descriptor("closes", "Connections that ended", None, MetricType::Counter)?;
        self.encode_labelled(closes, "class", |metrics, class: CloseClass| metrics.closes.get(class))?;
        let help = "From a publication's ingest to its last submission on the shard";
        let mut family = encoder.encode_descriptor("publish_to_submit_seconds", help, None, MetricType::Histogram)?;
        for (shard, metrics) in self.numbered() {
            let classes = metrics.classes.get();
            for (number, class) in classes.iter().enumerate() {
                // A pattern that stands there twice matches nothing the second time.
                if classes[..number].iter().all(|earlier| earlier.pattern != class.pattern) {
                    let labels = &[("shard", shard.to_string()), ("topics", class.pattern.to_string())];
                    histogram(family.encode_family(labels)?, &class.publish_to_submit)?;
                }
            }
        }
        for &(name, help, read) in CONTROL_GAUGES {
            let gauge = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            encode_gauge(gauge, read(&self.control))?;
        }
        for &(name, help, read) in CONTROL_COUNTERS {
            counter(encoder.encode_descriptor(name, help, None, MetricType::Counter)?, read(&self.control))?;
        }
        let help = "Takeovers, by what became of them";
        let mut family = encoder.encode_descriptor("takeovers", help, None, MetricType::Counter)?;
        for &outcome in TakeoverOutcome::ALL {
            counter(family.encode_family(&[("outcome", outcome.name())])?, self.control.takeovers.get(outcome))?;
        }
        self.encode_plotted(&mut encoder)
    }
}

impl Gathered {
    fn numbered(&self) -> impl Iterator<Item = (u64, &ShardMetrics)> {
        (0..).zip(self.shards.iter().map(|metrics| &**metrics))
    }

    fn encode_labelled<L: Label>(
        &self,
        mut family: MetricEncoder<'_>,
        label: &'static str,
        read: impl Fn(&ShardMetrics, L) -> u64,
    ) -> fmt::Result {
        for (shard, metrics) in self.numbered() {
            for &value in L::ALL {
                let labels = [("shard", shard.to_string()), (label, value.name().to_owned())];
                counter(family.encode_family(&labels)?, read(metrics, value))?;
            }
        }
        Ok(())
    }
}

fn counter(mut encoder: MetricEncoder<'_>, value: u64) -> fmt::Result {
    encoder.encode_counter::<NoLabelSet, u64, f64>(&value, None)
}

fn encode_gauge(mut encoder: MetricEncoder<'_>, value: i64) -> fmt::Result {
    encoder.encode_gauge(&value)
}

fn histogram(mut encoder: MetricEncoder<'_>, histogram: &Histogram) -> fmt::Result {
    let counts = histogram.buckets();
    let bound_s = |bucket| Histogram::bound_us(bucket).map_or(f64::INFINITY, |us| us as f64 / 1e6);
    let buckets: Vec<(f64, u64)> = counts.iter().enumerate().map(|(bucket, &count)| (bound_s(bucket), count)).collect();
    encoder.encode_histogram::<NoLabelSet>(histogram.sum_us() as f64 / 1e6, counts.iter().sum(), &buckets, None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::{FeedMetrics, FeedState};

    #[test]
    fn every_metric_is_told_for_each_shard_with_its_value() {
        let shards: Arc<[Arc<ShardMetrics>]> = (0..2).map(|_| Arc::new(ShardMetrics::with_classes(["md.>", "md.>"]))).collect();
        shards[0].connections.add(3);
        shards[1].accepts.add(5);
        shards[1].refusals.add(RefusalReason::NotFound, 7);
        shards[0].closes.add(CloseClass::Lag, 2);
        for us in [5, 10, 11, 40_000_000] {
            shards[0].classes.get()[0].publish_to_submit.record(us);
        }
        shards[1].lags.set([3, 4, 200_000]);
        let feed = FeedMetrics::new("upstream", "wss://a \"b\"", 1);
        feed.set_state(FeedState::Live);
        feed.came(11, 1_500);
        let control = Arc::new(ControlMetrics { feeds: Box::new([Arc::new(feed)]), ..ControlMetrics::default() });
        control.thread.set(rustix::thread::gettid().as_raw_nonzero().get().into());
        control.replay_lines.add(9);
        let text = text(&shards, &control);
        for line in [
            "# TYPE tidegate_connections gauge",
            "tidegate_connections{shard=\"0\"} 3",
            "tidegate_connections{shard=\"1\"} 0",
            "# TYPE tidegate_accepts counter",
            "tidegate_accepts_total{shard=\"1\"} 5",
            "tidegate_refusals_total{shard=\"1\",reason=\"not_found\"} 7",
            "tidegate_refusals_total{shard=\"0\",reason=\"not_found\"} 0",
            "tidegate_closes_total{shard=\"0\",class=\"lag\"} 2",
            "tidegate_publish_to_submit_seconds_bucket{le=\"0.00001\",shard=\"0\",topics=\"md.>\"} 2",
            "tidegate_publish_to_submit_seconds_bucket{le=\"0.00002\",shard=\"0\",topics=\"md.>\"} 3",
            "tidegate_publish_to_submit_seconds_bucket{le=\"+Inf\",shard=\"0\",topics=\"md.>\"} 4",
            "tidegate_publish_to_submit_seconds_count{shard=\"0\",topics=\"md.>\"} 4",
            "tidegate_publish_to_submit_seconds_sum{shard=\"0\",topics=\"md.>\"} 40.000026",
            "tidegate_publish_to_submit_seconds_count{shard=\"1\",topics=\"(others)\"} 0",
            "tidegate_replay_lines_total 9",
            "tidegate_clients_behind{shard=\"1\",up_to=\"10\"} 2",
            "tidegate_clients_behind{shard=\"1\",up_to=\"more\"} 1",
            "tidegate_clients_behind{shard=\"0\",up_to=\"1\"} 0",
            "# TYPE tidegate_thread_running_seconds counter",
            "tidegate_feed_up{feed=\"1\",kind=\"upstream\",name=\"wss://a \\\"b\\\"\"} 1.0",
            "tidegate_feed_last_message_timestamp_seconds{feed=\"1\",kind=\"upstream\",name=\"wss://a \\\"b\\\"\"} 1.5",
            "tidegate_feed_messages_total{feed=\"1\",kind=\"upstream\",name=\"wss://a \\\"b\\\"\"} 11",
            "# EOF",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
        }
        assert!(text.contains("\ntidegate_thread_running_seconds_total{thread=\"control\"} "), "{text}");
        let classic = classic(&text);
        for line in [
            "# HELP tidegate_accepts_total Connections accepted",
            "# TYPE tidegate_accepts_total counter",
            "# TYPE tidegate_connections gauge",
            "# TYPE tidegate_publish_to_submit_seconds histogram",
            "tidegate_accepts_total{shard=\"1\"} 5",
        ] {
            assert!(classic.lines().any(|found| found == line), "{line} is not in\n{classic}");
        }
        assert!(!classic.contains("# EOF"));
    }
}
