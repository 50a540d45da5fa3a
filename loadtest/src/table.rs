//! Figures as a table for people.

use crate::figures::{Figures, Latency};

/// A table of one row, in Markdown.
pub(crate) fn of(figures: &Figures) -> String {
    let server = figures.server.as_ref();
    let cpu = server.map_or(String::from("?"), |server| format!("{:.0}", server.cpu_ns_per_delivery));
    let cores = server.map_or(String::from("?"), |server| format!("{:.2}", server.cores));
    let memory = server.map_or(String::from("?"), |server| format!("{:.1}", server.resident_bytes as f64 / f64::from(1 << 20)));
    let Latency { mean, p50, p90, p99, p99_9, max, .. } = &figures.latency_us;
    let parameters: Vec<String> = figures.parameters.iter().map(|(name, value)| format!("{name} {value}")).collect();
    let extra = figures.extra.iter().map(|(name, value)| format!("\n{name}: {value}")).collect::<String>();
    format!(
        "{}: {} ({})\n\n\
         | deliveries/s | MB/s | messages/receive | server CPU ns/delivery | cores: server | generator | MiB | mean us | p50 | p90 | p99 | p99.9 | max |\n\
         | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |\n\
         | {:.0} | {:.1} | {:.1} | {cpu} | {cores} | {:.2} | {memory} | {mean:.0} | {p50:.0} | {p90:.0} | {p99:.0} | {p99_9:.0} | {max:.0} |{extra}",
        figures.label,
        figures.url,
        parameters.join(", "),
        figures.deliveries_per_second,
        figures.bytes_per_second / 1e6,
        figures.messages_per_receive,
        figures.generator.busy_max,
    )
}
