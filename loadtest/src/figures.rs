//! What a run showed: one form for all scenarios, printed as a table or as one line of JSON, and read back for comparing runs.
//!
//! Without: any measuring. Times are microseconds here, whatever they were recorded in; absent means that it was not measured.

use std::collections::BTreeMap;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// How finely percentiles are told: so many points for each halving of the distance to 1.
const POINTS_PER_HALVING: u32 = 8;

/// The figures of one run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Figures {
    /// The subcommand: `fanout`, `replay`, `echo`, ...
    pub(crate) scenario: String,
    /// What the run is called beside others; the user's (`--label`), or the scenario.
    pub(crate) label: String,
    /// Where clients connected.
    pub(crate) url: String,
    /// How the server was spoken to.
    pub(crate) dialect: String,
    /// What was asked for, by the names of the flags (`in_flight`, `size`, ...).
    pub(crate) parameters: BTreeMap<String, Value>,
    /// How long was measured.
    pub(crate) seconds: f64,
    /// Messages that reached a client.
    pub(crate) deliveries: u64,
    /// The same, a second.
    pub(crate) deliveries_per_second: f64,
    /// Their payloads, a second.
    pub(crate) bytes_per_second: f64,
    /// Messages that one receive of the generator's brought, on average: what the server coalesced and the kernel merged.
    pub(crate) messages_per_receive: f64,
    /// From the moment for which a message was scheduled (open loop) or at which it was sent (closed loop) to its arrival, over
    /// all deliveries.
    pub(crate) latency_us: Latency,
    /// The same of each publication's last delivery.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) last_latency_us: Option<Latency>,
    /// What the server's process used; absent without `--server-pid`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) server: Option<Server>,
    /// What this process used.
    pub(crate) generator: Generator,
    /// The run in pieces, oldest first.
    pub(crate) timeline: Vec<Moment>,
    /// What one scenario alone has, by name; units at the end of the names.
    pub(crate) extra: BTreeMap<String, Value>,
    /// Why the run ended before its time. The figures are of what was measured until then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) ended_early: Option<String>,
}

/// A distribution of times, in microseconds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Latency {
    pub(crate) mean: f64,
    pub(crate) min: f64,
    pub(crate) p50: f64,
    pub(crate) p90: f64,
    pub(crate) p99: f64,
    pub(crate) p99_9: f64,
    pub(crate) p99_99: f64,
    pub(crate) max: f64,
    /// Quantile (0 to 1) and the time within which that share arrived; denser towards 1, for a logarithmic axis.
    pub(crate) percentiles: Vec<(f64, f64)>,
}

impl Latency {
    /// Of a histogram that was recorded in nanoseconds; all zero where it is empty.
    pub(crate) fn of(histogram_ns: &Histogram<u64>) -> Latency {
        if histogram_ns.is_empty() {
            return Latency::default();
        }
        let us = |ns: u64| ns as f64 / 1000.0;
        let at = |quantile| us(histogram_ns.value_at_quantile(quantile));
        let points = histogram_ns.iter_quantiles(POINTS_PER_HALVING);
        Latency {
            mean: histogram_ns.mean() / 1000.0,
            min: us(histogram_ns.min()),
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p99_9: at(0.999),
            p99_99: at(0.9999),
            max: us(histogram_ns.max()),
            percentiles: points.map(|point| (point.quantile_iterated_to(), us(point.value_iterated_to()))).collect(),
        }
    }
}

/// What the server's process used.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Server {
    /// Run time of all its threads by delivery, nanoseconds, the soft interrupts that ran in them among it.
    pub(crate) cpu_ns_per_delivery: f64,
    /// How busy it was, 1.0 being one core.
    pub(crate) cores: f64,
    /// The same by thread, the busiest first.
    pub(crate) threads: Vec<Thread>,
    /// Resident memory at the end.
    pub(crate) resident_bytes: u64,
    /// The most that was seen.
    pub(crate) resident_bytes_max: u64,
    /// What the kernel holds for the machine's TCP sockets, above what it held before the run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) kernel_bytes: Option<u64>,
}

/// One thread of the server's.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Thread {
    /// As the kernel knows it.
    pub(crate) name: String,
    /// How busy, 1.0 being one core.
    pub(crate) cores: f64,
}

/// What this process used.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Generator {
    /// How busy each worker was, 1.0 being one core.
    pub(crate) cores: Vec<f64>,
    /// The busiest. Above 0.8 the generator's own delay is in the latencies.
    pub(crate) busy_max: f64,
}

/// A piece of the run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Moment {
    /// Seconds from the start of the measurement to the piece's end.
    pub(crate) at_s: f64,
    pub(crate) deliveries_per_second: f64,
    /// How busy the server was; absent without `--server-pid`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) server_cores: Option<f64>,
    /// All workers together.
    pub(crate) generator_cores: f64,
    /// Of the deliveries in this piece.
    pub(crate) latency_p99_us: f64,
}

impl Figures {
    /// Notes what was asked for.
    pub(crate) fn with_parameter(mut self, name: &str, value: impl Into<Value>) -> Figures {
        self.parameters.insert(name.to_owned(), value.into());
        self
    }

    /// One line of JSON.
    pub(crate) fn to_json(&self) -> String {
        serde_json::to_string(self).expect("numbers and strings are JSON")
    }
}
