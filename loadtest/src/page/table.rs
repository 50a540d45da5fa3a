//! All figures of a comparison as a table, and those that one scenario alone has.

use std::collections::BTreeSet;
use std::fmt::Write;

use super::groups::{Group, Series, Spread};
use super::text::{bytes, count, escape, share, time_us, value, words};
use crate::figures::{Figures, Server};

struct Column {
    title: &'static str,
    figure: fn(&Series<'_>) -> Option<Spread>,
    text: fn(f64) -> String,
}

const COLUMNS: &[Column] = &[
    Column { title: "per second", figure: |series| series.spread(|run| Some(run.deliveries_per_second)), text: count },
    Column { title: "CPU ns each", figure: |series| series.cpu_ns(), text: count },
    Column { title: "mean", figure: |series| series.latency(|run| run.latency_us.mean), text: time_us },
    Column { title: "p50", figure: |series| series.latency(|run| run.latency_us.p50), text: time_us },
    Column { title: "p90", figure: |series| series.latency(|run| run.latency_us.p90), text: time_us },
    Column { title: "p99", figure: |series| series.latency(|run| run.latency_us.p99), text: time_us },
    Column { title: "p99.9", figure: |series| series.latency(|run| run.latency_us.p99_9), text: time_us },
    Column { title: "p99.99", figure: |series| series.latency(|run| run.latency_us.p99_99), text: time_us },
    Column { title: "max", figure: |series| series.latency(|run| run.latency_us.max), text: time_us },
    Column { title: "messages / receive", figure: |series| series.spread(|run| Some(run.messages_per_receive)), text: share },
    Column { title: "payload /s", figure: |series| series.spread(|run| Some(run.bytes_per_second)), text: bytes },
    Column { title: "server cores", figure: |series| of_server(series, |server| server.cores), text: share },
    Column { title: "memory", figure: |series| of_server(series, |server| server.resident_bytes_max as f64), text: bytes },
];

fn of_server(series: &Series<'_>, figure: impl Fn(&Server) -> f64) -> Option<Spread> {
    series.spread(|run| run.server.as_ref().map(&figure))
}

/// One row a label: medians, and what they are of the floor.
pub(super) fn figures(group: &Group<'_>) -> String {
    let floor_ns = group.floor_ns();
    let mut html = String::from("<div class=\"wide\"><table>\n<thead><tr><th></th><th>runs</th>");
    for column in COLUMNS {
        let _ = write!(html, "<th>{}</th>", escape(column.title));
        if column.title.starts_with("CPU") && floor_ns.is_some() {
            html.push_str("<th>× floor</th>");
        }
    }
    html.push_str("<th>generator</th></tr></thead>\n<tbody>\n");
    for series in &group.series {
        let _ = write!(html, "<tr><th scope=\"row\">{}</th><td>{}</td>", escape(series.label), series.runs.len());
        for column in COLUMNS {
            cell(&mut html, (column.figure)(series).map(|spread| (column.text)(spread.median)));
            if let (Some(floor), true) = (floor_ns, column.title.starts_with("CPU")) {
                cell(&mut html, series.cpu_ns().map(|cpu| share(cpu.median / floor)));
            }
        }
        let busy = series.spread(|run| Some(run.generator.busy_max)).map_or(f64::NAN, |busy| busy.median);
        let void = if series.is_void() { " class=\"void\"" } else { "" };
        let _ = writeln!(html, "<td{void}>{}</td></tr>", share(busy));
    }
    html.push_str("</tbody></table></div>\n");
    html
}

fn cell(html: &mut String, text: Option<String>) {
    let _ = write!(html, "<td>{}</td>", text.as_deref().unwrap_or("–"));
}

/// What the scenario alone has: a row for each name, a column for each label. Nothing where there is none.
pub(super) fn extra(group: &Group<'_>) -> Option<String> {
    let runs = || group.series.iter().map(Series::typical);
    let names: BTreeSet<&String> = runs().flat_map(|run| run.extra.keys()).collect();
    if names.is_empty() {
        return None;
    }
    let mut html = String::from("<div class=\"wide\"><table class=\"extra\">\n<thead><tr><th></th>");
    for series in &group.series {
        let _ = write!(html, "<th>{}</th>", escape(series.label));
    }
    html.push_str("</tr></thead>\n<tbody>\n");
    for name in names {
        let _ = write!(html, "<tr><th scope=\"row\">{}</th>", escape(&words(name)));
        for run in runs() {
            cell(&mut html, run.extra.get(name).map(|found| escape(&value(found))));
        }
        html.push_str("</tr>\n");
    }
    html.push_str("</tbody></table></div>\n");
    Some(html)
}

/// What is to be known before anything is concluded: runs that ended early, rows that are void, runs without deliveries.
pub(super) fn warnings(group: &Group<'_>) -> String {
    let mut html = String::new();
    for series in &group.series {
        let mut warn = |what: &str| {
            let _ = writeln!(html, "<p class=\"warning\"><b>{}</b>: {}</p>", escape(series.label), escape(what));
        };
        for why in series.runs.iter().filter_map(|run| run.ended_early.as_deref()) {
            warn(&format!("a run ended early: {why}"));
        }
        if series.runs.iter().any(|run| is_empty(run)) {
            warn("a run without a single delivery");
        }
        if series.is_void() {
            warn("the generator was above 80 % of a core: rates and latencies are as much its own, so the row is void");
        }
    }
    html
}

/// Scenarios without deliveries tell their figures by name.
fn is_empty(run: &Figures) -> bool {
    run.deliveries == 0 && run.extra.is_empty()
}
