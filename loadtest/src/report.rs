//! What a run showed.

use hdrhistogram::Histogram;
use serde::Serialize;

/// The figures of a fan-out.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    /// Subscribers.
    pub(crate) clients: u32,
    /// Bytes of a payload.
    pub(crate) size_bytes: u32,
    /// Publications in flight.
    pub(crate) in_flight: u32,
    /// How long was measured.
    pub(crate) seconds: f64,
    /// Publications that reached everybody.
    pub(crate) publications: u64,
    /// Messages that reached a subscriber, a second.
    pub(crate) deliveries_per_second: f64,
    /// User and system time of the server for each of them; absent without `--server-pid`.
    pub(crate) server_cpu_ns_per_delivery: Option<f64>,
    /// How busy the server was, 1.0 being one core.
    pub(crate) server_cores: Option<f64>,
    /// How busy this generator was; near 1.0 it is the bottleneck.
    pub(crate) generator_cores: f64,
    /// From the publisher's send to a subscriber's read, over all deliveries.
    pub(crate) latency_us_p50: f64,
    /// The same, the slowest of a hundred.
    pub(crate) latency_us_p99: f64,
    /// The same, the slowest.
    pub(crate) latency_us_max: f64,
    /// From a ping to its pong, with `--ping-url`.
    pub(crate) ping_us_p50: Option<f64>,
    /// The same, the slowest of a hundred.
    pub(crate) ping_us_p99: Option<f64>,
}

impl Report {
    /// Fills in the latencies, which were recorded in nanoseconds.
    pub(crate) fn with_latencies(mut self, latencies_ns: &Histogram<u64>) -> Report {
        let us = |ns: u64| ns as f64 / 1000.0;
        self.latency_us_p50 = us(latencies_ns.value_at_quantile(0.5));
        self.latency_us_p99 = us(latencies_ns.value_at_quantile(0.99));
        self.latency_us_max = us(latencies_ns.max());
        self
    }

    /// Fills in the pings' times, which were recorded in nanoseconds.
    pub(crate) fn with_pings(mut self, times_ns: &Histogram<u64>) -> Report {
        self.ping_us_p50 = Some(times_ns.value_at_quantile(0.5) as f64 / 1000.0);
        self.ping_us_p99 = Some(times_ns.value_at_quantile(0.99) as f64 / 1000.0);
        self
    }

    /// One line of JSON.
    pub(crate) fn to_json(&self) -> String {
        serde_json::to_string(self).expect("numbers and strings are JSON")
    }

    /// A table of one row.
    pub(crate) fn to_table(&self) -> String {
        let cpu = self.server_cpu_ns_per_delivery.map_or(String::from("?"), |ns| format!("{ns:.0}"));
        let cores = self.server_cores.map_or(String::from("?"), |cores| format!("{cores:.2}"));
        let ping = |us: Option<f64>| us.map_or(String::from("-"), |us| format!("{us:.0}"));
        format!(
            "| clients | bytes | in flight | deliveries/s | server CPU ns/delivery | cores: server | generator | p50 us | p99 us | max us | ping p50 us | p99 us |\n\
             | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |\n\
             | {} | {} | {} | {:.0} | {cpu} | {cores} | {:.2} | {:.0} | {:.0} | {:.0} | {} | {} |",
            self.clients,
            self.size_bytes,
            self.in_flight,
            self.deliveries_per_second,
            self.generator_cores,
            self.latency_us_p50,
            self.latency_us_p99,
            self.latency_us_max,
            ping(self.ping_us_p50),
            ping(self.ping_us_p99),
        )
    }
}
