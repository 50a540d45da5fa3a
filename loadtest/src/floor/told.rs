//! What the floor came to, as text.

use super::{Arguments, WAYS};
use crate::figures::Figures;

/// A line of JSON for each run.
pub(super) fn lines(runs: &[Figures]) -> String {
    runs.iter().map(Figures::to_json).collect::<Vec<_>>().join("\n")
}

/// Medians by way, and the ratio of each round's own.
pub(super) fn table(runs: &[Figures], arguments: &Arguments) -> String {
    let Arguments { clients, size, messages, rounds, seconds, .. } = arguments;
    let of = |label: &str| runs.iter().filter(|run| run.label == label).collect::<Vec<_>>();
    let cpu = |run: &Figures| run.server.as_ref().map_or(f64::NAN, |server| server.cpu_ns_per_delivery);
    let mut text = format!(
        "{clients} sockets, {size} bytes, messages of a send: {messages}; {rounds} rounds of {seconds} s, medians\n\n\
         | way | CPU ns/send | ratio | CPU ns/delivery | deliveries/s | p99 us | generator busy |\n\
         | --- | --- | --- | --- | --- | --- | --- |"
    );
    let base = of(WAYS[0].label());
    for way in WAYS {
        let runs = of(way.label());
        let ratios = runs.iter().zip(&base).map(|(run, base)| cpu(run) / cpu(base));
        let each = median(runs.iter().map(|run| cpu(run)));
        text.push_str(&format!(
            "\n| {} | {:.0} | {:.2} | {each:.0} | {:.0} | {:.0} | {:.2} |",
            way.label(),
            each * f64::from(*messages),
            median(ratios),
            median(runs.iter().map(|run| run.deliveries_per_second)),
            median(runs.iter().map(|run| run.latency_us.p99)),
            median(runs.iter().map(|run| run.generator.busy_max)),
        ));
    }
    text
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => f64::NAN,
        count => f64::midpoint(values[(count - 1) / 2], values[count / 2]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_median_is_of_what_there_is() {
        assert_eq!(median([3.0, 1.0, 2.0].into_iter()), 2.0);
        assert_eq!(median([4.0, 1.0, 2.0, 3.0].into_iter()), 2.5);
        assert!(median(std::iter::empty()).is_nan());
    }
}
