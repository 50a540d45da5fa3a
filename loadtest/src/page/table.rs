//! All figures of a comparison as a table, and those that one scenario alone has.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use serde_json::Value;

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
    let told: Vec<_> = group.series.iter().map(|series| named_values(series.typical())).collect();
    let names: BTreeSet<&String> = told.iter().flat_map(BTreeMap::keys).collect();
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
        for told in &told {
            cell(&mut html, told.get(name).map(|text| escape(text)));
        }
        html.push_str("</tr>\n");
    }
    html.push_str("</tbody></table></div>\n");
    Some(html)
}

/// The scenario's own figures as text; of a distribution its parts, but for the curve.
fn named_values(run: &Figures) -> BTreeMap<String, String> {
    let mut told = BTreeMap::new();
    for (name, found) in &run.extra {
        match found {
            Value::Object(parts) => {
                let parts = parts.iter().filter(|(_, part)| part.is_number());
                told.extend(parts.map(|(part, found)| (format!("{name} {part}"), measured(name, found))));
            }
            Value::Array(several) => {
                let several: Vec<String> = several.iter().map(|one| measured(name, one)).collect();
                told.insert(name.clone(), several.join(", "));
            }
            found => drop(told.insert(name.clone(), measured(name, found))),
        }
    }
    told
}

/// A value in the unit that its name tells.
fn measured(name: &str, found: &Value) -> String {
    match found.as_f64() {
        Some(us) if name.ends_with("_us") => time_us(us),
        Some(number) if name.ends_with("_bytes") => bytes(number),
        _ => value(found),
    }
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_a_scenario_alone_has_is_told_in_its_unit() {
        let mut run = Figures::default();
        let latency = json!({ "p50": 182.0, "p99": 4657.0, "percentiles": [[0.0, 1.0]] });
        let extra =
            [("ping_us", latency), ("waves_ms", json!([1253.9, 2.0])), ("slab_bytes", json!(2048)), ("alive", json!(10_000))];
        run.extra.extend(extra.map(|(name, value)| (name.to_owned(), value)));
        let told: Vec<_> = named_values(&run).into_iter().collect();
        let expected = [
            ("alive", "10,000"),
            ("ping_us p50", "182 µs"),
            ("ping_us p99", "4.66 ms"),
            ("slab_bytes", "2.00 KiB"),
            ("waves_ms", "1,254, 2"),
        ];
        assert_eq!(told, expected.map(|(name, text)| (name.to_owned(), text.to_owned())));
    }
}
