//! Which runs are compared with which: those of one scenario with the same parameters, by label.
//!
//! Invariant: what stands for several runs of a label is their median, and curves are those of one run that took place.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::figures::Figures;

/// Above this share of a core the generator was the slower side: its own delay is in the figures.
pub(super) const BUSY_MAX: f64 = 0.8;

/// Colours of the style sheet; labels beyond them share.
const COLOURS: usize = 8;

/// Runs that may be compared.
pub(super) struct Group<'f> {
    pub(super) scenario: &'f str,
    pub(super) parameters: &'f BTreeMap<String, Value>,
    /// In the order in which they came.
    pub(super) series: Vec<Series<'f>>,
}

/// All runs of one label.
pub(super) struct Series<'f> {
    pub(super) label: &'f str,
    /// The label's number among all of the page, for its colour.
    pub(super) number: usize,
    /// At least one.
    pub(super) runs: Vec<&'f Figures>,
}

/// A figure over some runs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Spread {
    pub(super) least: f64,
    pub(super) median: f64,
    pub(super) most: f64,
}

/// Groups and their series, in the order in which they came.
pub(super) fn group(runs: &[Figures]) -> Vec<Group<'_>> {
    let mut labels: Vec<&str> = Vec::new();
    let mut groups: Vec<Group<'_>> = Vec::new();
    for run in runs {
        let number = position_or_push(&mut labels, |label| *label == run.label, || &run.label);
        let of_group = |group: &Group<'_>| group.scenario == run.scenario && *group.parameters == run.parameters;
        let new_group = || Group { scenario: &run.scenario, parameters: &run.parameters, series: Vec::new() };
        let group = position_or_push(&mut groups, of_group, new_group);
        let series = &mut groups[group].series;
        let new_series = || Series { label: &run.label, number, runs: Vec::new() };
        let own = position_or_push(series, |series| series.label == run.label, new_series);
        series[own].runs.push(run);
    }
    groups
}

fn position_or_push<T>(items: &mut Vec<T>, is_it: impl Fn(&T) -> bool, new: impl FnOnce() -> T) -> usize {
    items.iter().position(is_it).unwrap_or_else(|| {
        items.push(new());
        items.len() - 1
    })
}

impl Group<'_> {
    /// The cheaper of the bare kernel's ways, where it was measured too: nanoseconds of CPU per delivery.
    pub(super) fn floor_ns(&self) -> Option<f64> {
        let floors = self.series.iter().filter(|series| series.is_floor());
        floors.filter_map(|series| series.cpu_ns()).map(|cpu| cpu.median).min_by(f64::total_cmp)
    }
}

impl<'f> Series<'f> {
    /// A figure that every run of it has, and that is a number.
    pub(super) fn spread(&self, figure: impl Fn(&Figures) -> Option<f64>) -> Option<Spread> {
        let mut values: Vec<f64> =
            self.runs.iter().map(|run| figure(run).filter(|value| value.is_finite())).collect::<Option<_>>()?;
        values.sort_by(f64::total_cmp);
        let (low, high) = (values[(values.len() - 1) / 2], values[values.len() / 2]);
        Some(Spread { least: values[0], median: f64::midpoint(low, high), most: values[values.len() - 1] })
    }

    /// A figure of the latencies, if anything was delivered in all runs.
    pub(super) fn latency(&self, figure: impl Fn(&Figures) -> f64) -> Option<Spread> {
        self.spread(|run| (run.latency_us.max > 0.0).then(|| figure(run)))
    }

    /// The server's CPU per delivery, if it was measured and anything was delivered.
    pub(super) fn cpu_ns(&self) -> Option<Spread> {
        self.spread(|run| run.server.as_ref().map(|server| server.cpu_ns_per_delivery).filter(|ns| *ns > 0.0))
    }

    /// The run whose p99 is the median, the lower of two.
    pub(super) fn typical(&self) -> &'f Figures {
        let mut runs = self.runs.clone();
        runs.sort_by(|one, other| one.latency_us.p99.total_cmp(&other.latency_us.p99));
        runs[(runs.len() - 1) / 2]
    }

    /// A class of the style sheet.
    pub(super) fn colour(&self) -> String {
        if self.is_floor() { String::from("floor") } else { format!("c{}", self.number % COLOURS) }
    }

    /// It is the bare kernel.
    pub(super) fn is_floor(&self) -> bool {
        self.label.starts_with("floor")
    }

    /// The generator was the slower side in the median run.
    pub(super) fn is_void(&self) -> bool {
        self.spread(|run| Some(run.generator.busy_max)).is_some_and(|busy| busy.median > BUSY_MAX)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::figures::{Latency, Server};

    fn run(label: &str, in_flight: u32, p99: f64) -> Figures {
        Figures {
            scenario: String::from("fanout"),
            label: label.to_owned(),
            parameters: BTreeMap::from([(String::from("in_flight"), json!(in_flight))]),
            latency_us: Latency { p99, max: p99, ..Latency::default() },
            server: Some(Server { cpu_ns_per_delivery: p99 * 10.0, ..Server::default() }),
            ..Figures::default()
        }
    }

    #[test]
    fn runs_meet_their_like_and_labels_keep_their_colours() {
        let runs = [run("a", 1, 1.0), run("b", 1, 1.0), run("b", 16, 1.0), run("a", 1, 3.0), run("c", 16, 1.0)];
        let groups = group(&runs);
        let seen: Vec<Vec<_>> = groups
            .iter()
            .map(|group| group.series.iter().map(|series| (series.label, series.number, series.runs.len())).collect())
            .collect();
        assert_eq!(seen, [vec![("a", 0, 2), ("b", 1, 1)], vec![("b", 1, 1), ("c", 2, 1)]]);
    }

    #[test]
    fn several_runs_are_told_by_their_median() {
        let runs = [run("a", 1, 5.0), run("a", 1, 1.0), run("a", 1, 2.0), run("a", 1, 4.0)];
        let groups = group(&runs);
        let series = &groups[0].series[0];
        let p99 = series.latency(|run| run.latency_us.p99);
        assert_eq!(p99, Some(Spread { least: 1.0, median: 3.0, most: 5.0 }));
        assert_eq!(series.typical().latency_us.p99, 2.0);
        // One run without the figure, and there is none for all.
        assert_eq!(series.spread(|run| (run.latency_us.p99 > 1.0).then_some(1.0)), None);
    }

    #[test]
    fn the_floor_is_the_cheaper_way() {
        let runs = [run("x", 1, 1.0), run("floor: send()", 1, 0.7), run("floor: io_uring", 1, 0.6)];
        assert_eq!(group(&runs)[0].floor_ns(), Some(6.0));
        assert_eq!(group(&runs[..1])[0].floor_ns(), None);
    }
}
