//! Counters and histograms, kept per shard, written by their owner only, gathered by the admin port.
//!
//! Each shard owns one [`ShardMetrics`], the control thread one [`ControlMetrics`]. Because a value has one writer, adding
//! is a plain load and store: no locked instruction, no shared cache line between two writers. A reader sees values that
//! may be a moment old and never ones that were not there.
//!
//! Without: names, labels and the text format of a monitoring system; the admin port knows those.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};

pub use self::feed::{FeedMetrics, FeedState};
use self::labels::{CLOSES, REFUSALS, ROLES, TAKEOVERS};
pub use self::labels::{ClientRole, CloseClass, Label, RefusalReason, TakeoverOutcome};
pub use self::lags::{LAG_BOUNDS, Lags};

mod feed;
mod labels;
mod lags;

/// A number that only grows. One thread adds, any may read.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds `n`; for the owning thread only.
    #[inline]
    pub fn add(&self, n: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_add(n), Relaxed);
    }

    /// The value.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// A number that rises and falls. One thread writes, any may read.
#[derive(Debug, Default)]
pub struct Gauge(AtomicI64);

impl Gauge {
    /// Sets it; for the owning thread only.
    #[inline]
    pub fn set(&self, value: i64) {
        self.0.store(value, Relaxed);
    }

    /// Adds `change`, which may be negative; for the owning thread only.
    #[inline]
    pub fn add(&self, change: i64) {
        self.0.store(self.0.load(Relaxed).wrapping_add(change), Relaxed);
    }

    /// The value.
    #[must_use]
    pub fn get(&self) -> i64 {
        self.0.load(Relaxed)
    }
}

/// Upper bounds of a histogram's buckets but the last, which takes the rest: 10 us, 20 us, ... 10.5 s.
pub const HISTOGRAM_BOUNDS: usize = 21;

/// Durations in buckets that double from 10 us to 10.5 s. One thread records, any may read.
#[derive(Debug, Default)]
pub struct Histogram {
    buckets: [Counter; HISTOGRAM_BOUNDS + 1],
    sum_us: Counter,
}

impl Histogram {
    /// Records one duration; for the owning thread only.
    #[inline]
    pub fn record(&self, us: u64) {
        // Bucket i holds (10 * 2^(i-1), 10 * 2^i]; the number of bits of (us - 1) / 10 is that i.
        let bits = (u64::BITS - (us.saturating_sub(1) / 10).leading_zeros()) as usize;
        self.buckets[bits.min(HISTOGRAM_BOUNDS)].add(1);
        self.sum_us.add(us);
    }

    /// The upper bound of bucket `bucket`, microseconds; the last bucket has none.
    #[must_use]
    pub const fn bound_us(bucket: usize) -> Option<u64> {
        if bucket < HISTOGRAM_BOUNDS { Some(10 << bucket) } else { None }
    }

    /// What each bucket holds by itself (not the ones below it too).
    #[must_use]
    pub fn buckets(&self) -> [u64; HISTOGRAM_BOUNDS + 1] {
        std::array::from_fn(|bucket| self.buckets[bucket].get())
    }

    /// Sum of all durations, microseconds.
    #[must_use]
    pub fn sum_us(&self) -> u64 {
        self.sum_us.get()
    }
}

/// One counter for each value of a label.
#[derive(Debug)]
pub struct Counters<L, const N: usize> {
    counters: [Counter; N],
    label: std::marker::PhantomData<fn(L)>,
}

impl<L, const N: usize> Default for Counters<L, N> {
    fn default() -> Self {
        Counters { counters: std::array::from_fn(|_| Counter::default()), label: std::marker::PhantomData }
    }
}

impl<L: Label, const N: usize> Counters<L, N> {
    /// Adds `n` to the counter of `label`; for the owning thread only.
    #[inline]
    pub fn add(&self, label: L, n: u64) {
        self.counters[label.index()].add(n);
    }

    /// The value of the counter of `label`.
    #[must_use]
    pub fn get(&self, label: L) -> u64 {
        self.counters[label.index()].get()
    }
}

/// One gauge for each value of a label.
#[derive(Debug)]
pub struct Gauges<L, const N: usize> {
    gauges: [Gauge; N],
    label: std::marker::PhantomData<fn(L)>,
}

impl<L, const N: usize> Default for Gauges<L, N> {
    fn default() -> Self {
        Gauges { gauges: std::array::from_fn(|_| Gauge::default()), label: std::marker::PhantomData }
    }
}

impl<L: Label, const N: usize> Gauges<L, N> {
    /// Adds `change` to the gauge of `label`; for the owning thread only.
    pub fn add(&self, label: L, change: i64) {
        self.gauges[label.index()].add(change);
    }

    /// The value of the gauge of `label`.
    #[must_use]
    pub fn get(&self, label: L) -> i64 {
        self.gauges[label.index()].get()
    }
}

/// What one shard counts. Aligned so that two shards never write to one cache line (or its prefetched neighbour).
#[derive(Debug, Default)]
#[repr(align(128))]
#[non_exhaustive]
pub struct ShardMetrics {
    /// The kernel's number of the shard's thread; 0: it has none of its own.
    pub thread: Gauge,
    /// Connections now, from accept to close, whatever they are.
    pub connections: Gauge,
    /// 1 while clients may come; told to no one but the control thread.
    pub accepting: Gauge,
    /// Clients that were let in, until they are closed; no probe is one.
    pub clients: Gauges<ClientRole, ROLES>,
    /// Subscriptions now.
    pub subscriptions: Gauge,
    /// Topics that clients are behind in by patterns, each once for each client.
    pub pattern_rows: Gauge,
    /// Topics that the shard knows now, at home or as replica.
    pub topics: Gauge,
    /// Topics here whose feed is gone.
    pub topics_stale: Gauge,
    /// Clients whose sockets are full, by how far they are behind; counted once a second.
    pub lags: Lags,
    /// Connections accepted.
    pub accepts: Counter,
    /// Accepts that failed (`EMFILE` and the like).
    pub accept_failures: Counter,
    /// TLS handshakes that were done, resumed ones too.
    pub tls_handshakes: Counter,
    /// Connections and requests turned away.
    pub refusals: Counters<RefusalReason, REFUSALS>,
    /// Whole messages received from clients.
    pub messages_in: Counter,
    /// Bytes received from clients, heads and frame headers included.
    pub bytes_in: Counter,
    /// Whole messages sent to clients: deliveries, replies and events.
    pub messages_out: Counter,
    /// Bytes that the kernel took for clients.
    pub bytes_out: Counter,
    /// Send operations submitted.
    pub sends: Counter,
    /// Sends of which the kernel took a part or nothing.
    pub sends_short: Counter,
    /// Publications given their offset here, as their topic's home.
    pub publications: Counter,
    /// Publications taken in from other homes.
    pub publications_replicated: Counter,
    /// Publications sent whole, counted once for each subscriber.
    pub deliveries: Counter,
    /// Requests of clients that stay which their rights do not grant.
    pub denials: Counter,
    /// Connections that ended, by how.
    pub closes: Counters<CloseClass, CLOSES>,
    /// Times that the kernel found no receive buffer.
    pub buffer_shortages: Counter,
    /// Times that a subscriber was told that a topic's feed is gone or back.
    pub feed_notices: Counter,
    /// Heartbeats sent.
    pub heartbeats: Counter,
    /// Multishot receives that ended and were armed again.
    pub receives_ended: Counter,
    /// Turns of the loop.
    pub turns: Counter,
    /// Completions taken from the kernel.
    pub completions: Counter,
    /// Times that this shard was woken by another thread's eventfd write.
    pub wakes: Counter,
    /// Times that another shard's mailbox had no place for a message of this one.
    pub mailbox_full: Counter,
    /// Times that a publisher here was no longer read because credits were missing.
    pub publisher_pauses: Counter,
    /// Subscriptions with `since` that went on without a gap.
    pub recoveries: Counter,
    /// Subscriptions with `since` that could not, and were told so.
    pub recoveries_refused: Counter,
    /// Publications left out for subscribers of `slow=drop`.
    pub dropped: Counter,
    /// Publications left out for subscribers of `slow=conflate`.
    pub culled: Counter,
    /// Times that a subscriber began to be sent the newest only.
    pub conflations: Counter,
    /// Keys that had to make room for others, on each shard that holds the topic.
    pub keys_evicted: Counter,
    /// Rests of unfinished frames copied because their ring gave them up.
    pub torn_copies: Counter,
    /// Clients reset at once, at the bound on copied rests or on patterns' rows.
    pub overflows: Counter,
    /// Publications compressed, once for each topic and encoding.
    pub compressions: Counter,
    /// Bytes of their messages before.
    pub compression_bytes_in: Counter,
    /// Bytes of their messages after.
    pub compression_bytes_out: Counter,
    /// By class of topics, in the order of the configuration's patterns.
    pub classes: TopicClasses,
}

/// The classes that there are; a reload may bring others.
#[derive(Debug, Default)]
pub struct TopicClasses(Mutex<Arc<[Arc<TopicClass>]>>);

impl TopicClasses {
    /// Those of now. Their owner keeps what this gives: the lock is for whoever gathers.
    #[must_use]
    pub fn get(&self) -> Arc<[Arc<TopicClass>]> {
        self.0.lock().expect("nobody panics with it").clone()
    }

    /// Makes them those of these patterns, and one more for all topics that none of them matches. A pattern that stays goes on counting.
    pub fn set<'p>(&self, patterns: impl IntoIterator<Item = &'p str>) -> Arc<[Arc<TopicClass>]> {
        let earlier = self.get();
        let class = |pattern: &str| {
            let new = || Arc::new(TopicClass { pattern: pattern.into(), publish_to_submit: Histogram::default() });
            earlier.iter().find(|class| &*class.pattern == pattern).cloned().unwrap_or_else(new)
        };
        let classes: Arc<[Arc<TopicClass>]> = patterns.into_iter().chain([OTHER_TOPICS]).map(class).collect();
        *self.0.lock().expect("nobody panics with it") = classes.clone();
        classes
    }
}

/// What is measured of the topics that one of the configuration's patterns matches first.
#[derive(Debug)]
pub struct TopicClass {
    /// The pattern.
    pub pattern: Box<str>,
    /// From a publication's ingest to the submission that gave it to its last due subscriber here.
    pub publish_to_submit: Histogram,
}

impl ShardMetrics {
    /// With a class for each of these patterns, and one more for all topics that none of them matches.
    #[must_use]
    pub fn with_classes<'p>(patterns: impl IntoIterator<Item = &'p str>) -> ShardMetrics {
        let metrics = ShardMetrics::default();
        metrics.classes.set(patterns);
        metrics
    }
}

/// The class of topics that no pattern of the configuration matches. No pattern looks like this.
const OTHER_TOPICS: &str = "(others)";

/// What the control thread counts.
#[derive(Debug, Default)]
#[repr(align(128))]
#[non_exhaustive]
pub struct ControlMetrics {
    /// The kernel's number of the thread.
    pub thread: Gauge,
    /// Each feed, in the order of the configuration.
    pub feeds: Box<[Arc<FeedMetrics>]>,
    /// Lines read from recordings.
    pub replay_lines: Counter,
    /// Lines that are no message (the connection's log), or whose message has no topic or payload by the template.
    pub replay_skipped: Counter,
    /// Lines that should hold a message and do not parse.
    pub replay_unparsable: Counter,
    /// Messages of a recording that were larger than `publication_bytes_max`, or that the broker refused.
    pub replay_refused: Counter,
    /// Publications handed over by sources.
    pub source_publications: Counter,
    /// Publications of sources that their topic's home refused.
    pub source_refused: Counter,
    /// Questions that the callout answered.
    pub callout_answers: Counter,
    /// Questions without an answer that can be understood.
    pub callout_failures: Counter,
    /// Answers that were known already.
    pub callout_cached: Counter,
    /// Sets of keys (JWKS) that were read.
    pub jwks_refreshes: Counter,
    /// Sets that could not be read.
    pub jwks_failures: Counter,
    /// Sources that ended with an error.
    pub source_errors: Counter,
    /// Connections to upstreams that were opened.
    pub upstream_connects: Counter,
    /// Tries to connect to an upstream that failed: unreachable, refused, no WebSocket.
    pub upstream_connect_failures: Counter,
    /// Open connections to upstreams that ended.
    pub upstream_disconnects: Counter,
    /// Whole messages that came from upstreams.
    pub upstream_messages: Counter,
    /// Messages of upstreams without a topic or payload by the template: acknowledgements, heartbeats.
    pub upstream_skipped: Counter,
    /// Messages of upstreams that are not JSON, or binary where binary has no topic.
    pub upstream_unparsable: Counter,
    /// Messages of upstreams that could not be published: too long, a wrong key, more topics than allowed.
    pub upstream_refused: Counter,
    /// Messages of upstreams left out because they had been published.
    pub upstream_repeats: Counter,
    /// Messages of upstreams that came behind later ones and were left out; told as gaps.
    pub upstream_late: Counter,
    /// Publications of upstreams that bear a gap.
    pub upstream_gaps: Counter,
    /// Messages that those name as lost, where their number is known.
    pub upstream_lost: Counter,
    /// Times that the numbers of an upstream's topic began anew.
    pub upstream_restarts: Counter,
    /// Requests on the admin port.
    pub http_requests: Counter,
    /// Requests on the admin port that were answered with a status of 400 or above.
    pub http_errors: Counter,
    /// Publications taken over HTTP and given a position.
    pub http_publications: Counter,
    /// Publications that came over HTTP and were refused, one by one.
    pub http_publication_errors: Counter,
    /// Publications written to journals and given their offset, as their topics' home.
    pub journal_publications: Counter,
    /// Bytes given to journals.
    pub journal_bytes: Counter,
    /// Batches given to journals.
    pub journal_writes: Counter,
    /// Times that a journal was to be put on disk.
    pub journal_syncs: Counter,
    /// Writes and syncs that failed.
    pub journal_errors: Counter,
    /// Publications refused because their journal could not be written, or had no place.
    pub journal_refused: Counter,
    /// Times that a topic began a new epoch as its journal could not be written.
    pub journal_epochs: Counter,
    /// Publications that were delivered and are in no journal, though their topic has one.
    pub journal_unwritten: Counter,
    /// Topics whose journal could not be written the last time.
    pub journals_failing: Gauge,
    /// Those of them that are served all the same.
    pub journals_left: Gauge,
    /// Requests of the admin port that were denied for want of a key that is good for them.
    pub http_denied: Counter,
    /// Takeovers, by what became of them.
    pub takeovers: Counters<TakeoverOutcome, TAKEOVERS>,
    /// 1 while the gateway before is told of what is published here.
    pub takeover_feeding: Gauge,
    /// 1 while another gateway gives the offsets.
    pub takeover_following: Gauge,
    /// Publications told to the gateway before.
    pub takeover_fed: Counter,
    /// Publications that came here and were passed on to the gateway that has the place.
    pub takeover_forwarded: Counter,
    /// Memory that the process has, looked at once a second.
    pub memory_resident_bytes: Gauge,
    /// Above it no more clients are taken.
    pub memory_bytes_max: Gauge,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The naive twin of the bucket arithmetic.
    fn bucket_of(us: u64) -> usize {
        (0..HISTOGRAM_BOUNDS).find(|&bucket| us <= Histogram::bound_us(bucket).unwrap()).unwrap_or(HISTOGRAM_BOUNDS)
    }

    #[test]
    fn a_duration_falls_into_the_first_bucket_that_is_not_below_it() {
        let edges = (0..HISTOGRAM_BOUNDS).flat_map(|bucket| {
            let bound = Histogram::bound_us(bucket).unwrap();
            [bound - 1, bound, bound + 1]
        });
        for us in edges.chain([0, 1, 10_000_000, u64::MAX]) {
            let histogram = Histogram::default();
            histogram.record(us);
            let filled = histogram.buckets().iter().position(|&count| count == 1);
            assert_eq!(filled, Some(bucket_of(us)), "{us} us");
            assert_eq!(histogram.sum_us(), us);
        }
    }

    #[test]
    fn labels_are_numbered_by_their_place_and_named_apart() {
        fn check<L: Label>() {
            for (place, label) in L::ALL.iter().enumerate() {
                assert_eq!(label.index(), place);
                assert_eq!(L::ALL.iter().filter(|other| other.name() == label.name()).count(), 1, "{}", label.name());
            }
        }
        check::<RefusalReason>();
        check::<CloseClass>();
    }

    #[test]
    fn counters_of_labels_are_kept_apart() {
        let metrics = ShardMetrics::default();
        metrics.closes.add(CloseClass::Lag, 2);
        metrics.closes.add(CloseClass::Reset, 1);
        metrics.connections.add(3);
        metrics.connections.add(-1);
        let counts: Vec<u64> = CloseClass::ALL.iter().map(|&class| metrics.closes.get(class)).collect();
        assert_eq!(counts, [0, 0, 0, 0, 0, 0, 2, 0, 1, 0]);
        assert_eq!(metrics.connections.get(), 2);
    }
}
