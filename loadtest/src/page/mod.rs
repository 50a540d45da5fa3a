//! One self-contained page for one run or many: plots, bars and tables, to be shown to people.
//!
//! Without: scripts, fonts, images or anything else from elsewhere; what is foreign in it (labels, URLs, parameters) is escaped.
//!
//! Invariant: it is right for whatever was measured, nothing at all among it.

mod bars;
mod groups;
mod plot;
pub(crate) mod saved;
mod table;
#[cfg(test)]
mod tests;
mod text;

use std::fmt::Write;

use self::groups::{Group, Series};
use self::plot::{Axis, Line, Scale};
use self::text::{bytes, count, escape, ns, share, short, time_mark, time_us, value, words};
use crate::figures::{Figures, Moment, Server};

const STYLE: &str = include_str!("style.css");

/// Makes the page. `note`: what a reader must know besides, as the machine.
pub(crate) fn render(runs: &[Figures], title: &str, note: Option<&str>) -> String {
    let title = escape(title);
    let mut html = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n<title>{title}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n\
         <header><h1>{title}</h1>\n"
    );
    if let Some(note) = note {
        let _ = writeln!(html, "<p>{}</p>", escape(note));
    }
    html.push_str("</header>\n<main>\n");
    for group in groups::group(runs) {
        section(&mut html, &group);
    }
    if runs.is_empty() {
        html.push_str("<p class=\"warning\">No runs.</p>\n");
    }
    let _ = write!(
        html,
        "</main>\n<footer>tidegate-loadtest {}. Several runs of a label: medians, with the range as a thin line; curves are of the run \
         with the median p99. Latency is counted from the moment for which a message was scheduled. CPU is that of the server's \
         process, kernel included.</footer>\n</body>\n</html>\n",
        env!("CARGO_PKG_VERSION")
    );
    html
}

fn section(html: &mut String, group: &Group<'_>) {
    let _ = writeln!(html, "<section>\n<h2>{}</h2>\n<ul class=\"parameters\">", escape(group.scenario));
    for (name, given) in group.parameters.iter().filter(|(_, given)| !given.is_null()) {
        let _ = writeln!(html, "<li>{} <b>{}</b></li>", escape(&words(name)), escape(&value(given)));
    }
    html.push_str("</ul>\n");
    html.push_str(&table::warnings(group));
    html.push_str("<div class=\"plots\">\n");
    match &group.series[..] {
        [alone] => {
            tiles(html, alone);
            html.push_str("</div>\n<div class=\"plots\">\n");
        }
        several => {
            legend(html, several);
            bars::COMPARED.iter().filter_map(|compared| bars::compare(group, compared)).for_each(|bars| html.push_str(&bars));
        }
    }
    curves(html, group);
    if let [alone] = &group.series[..] {
        html.push_str(&bars::threads(alone).unwrap_or_default());
    }
    html.push_str("</div>\n");
    html.push_str(&table::figures(group));
    html.push_str(&table::extra(group).unwrap_or_default());
    html.push_str("</section>\n");
}

/// The figures of one server alone, large.
fn tiles(html: &mut String, series: &Series<'_>) {
    let run = series.typical();
    let us = |us: f64| if run.deliveries > 0 { time_us(us) } else { String::from("–") };
    let server = |text: &dyn Fn(&Server) -> String| run.server.as_ref().map(text);
    let tiles = [
        ("deliveries a second", Some(count(run.deliveries_per_second))),
        ("server CPU per delivery", server(&|server| ns(server.cpu_ns_per_delivery)).filter(|_| run.deliveries > 0)),
        ("latency p50", Some(us(run.latency_us.p50))),
        ("latency p99", Some(us(run.latency_us.p99))),
        ("latency p99.9", Some(us(run.latency_us.p99_9))),
        ("messages per receive", Some(share(run.messages_per_receive))),
        ("server cores", server(&|server| share(server.cores))),
        ("server memory, most", server(&|server| bytes(server.resident_bytes_max as f64))),
    ];
    html.push_str("<dl class=\"tiles\">\n");
    for (name, figure) in tiles {
        if let Some(figure) = figure {
            let _ = writeln!(html, "<div><dt>{name}</dt><dd>{figure}</dd></div>");
        }
    }
    html.push_str("</dl>\n");
}

fn legend(html: &mut String, several: &[Series<'_>]) {
    html.push_str("<ul class=\"legend\">\n");
    for series in several {
        let _ = writeln!(html, "<li><i class=\"{}\"></i>{}</li>", series.colour(), escape(series.label));
    }
    html.push_str("</ul>\n");
}

/// The plots with lines.
fn curves(html: &mut String, group: &Group<'_>) {
    let lines = |what: &str, dashed, points: &dyn Fn(&Figures) -> Vec<(f64, f64)>| -> Vec<Line> {
        let line = |series: &Series<'_>| Line {
            name: format!("{}{what}", series.label),
            colour: series.colour(),
            dashed,
            points: points(series.typical()),
        };
        group.series.iter().map(line).collect()
    };
    figure(html, "Latency by percentile", "of all deliveries", &lines("", false, &percentile_points), |lines| {
        let x = Scale::Log { min: 1.0, max: 10_f64.powf(extent(lines, along).1.max(10.0).log10().ceil()) };
        (
            Axis { scale: x, title: "percentile (distance to 100, logarithmic)", text: percentile },
            Axis { scale: fitting(lines), title: "latency", text: time_mark },
        )
    });
    let rates = lines("", false, &|run| over_time(run, |moment| Some(moment.deliveries_per_second)));
    figure(html, "Rate", "over time", &rates, |lines| {
        (seconds(lines), Axis { scale: Scale::linear(extent(lines, up).1), title: "deliveries a second", text: short })
    });
    let times = lines("", false, &|run| over_time(run, |moment| Some(moment.latency_p99_us)));
    figure(html, "Latency", "p99 over time", &times, |lines| {
        (seconds(lines), Axis { scale: fitting(lines), title: "p99", text: time_mark })
    });
    let mut cores = lines(", server", false, &|run| over_time(run, |moment| moment.server_cores));
    cores.extend(lines(", generator", true, &|run| over_time(run, |moment| Some(moment.generator_cores))));
    figure(html, "CPU", "server solid, generator dashed", &cores, |lines| {
        (seconds(lines), Axis { scale: Scale::linear(extent(lines, up).1), title: "cores", text: short })
    });
}

fn figure<'a>(html: &mut String, title: &str, note: &str, lines: &[Line], axes: impl Fn(&[Line]) -> (Axis<'a>, Axis<'a>)) {
    let (x, y) = axes(lines);
    let svg = plot::draw(&x, &y, lines);
    let _ = writeln!(html, "<figure>\n<figcaption>{title} <small>{note}</small></figcaption>\n{svg}</figure>");
}

fn over_time(run: &Figures, figure: impl Fn(&Moment) -> Option<f64>) -> Vec<(f64, f64)> {
    run.timeline.iter().filter_map(|moment| Some((moment.at_s, figure(moment)?))).collect()
}

fn seconds(lines: &[Line]) -> Axis<'static> {
    Axis { scale: Scale::linear(extent(lines, along).1), title: "seconds", text: short }
}

fn fitting(lines: &[Line]) -> Scale {
    let (least, most) = extent(lines, up);
    Scale::fitting(least, most)
}

fn along(point: &(f64, f64)) -> f64 {
    point.0
}

fn up(point: &(f64, f64)) -> f64 {
    point.1
}

/// The least above zero and the most; 0 where there is none.
fn extent(lines: &[Line], of: impl Fn(&(f64, f64)) -> f64) -> (f64, f64) {
    let values = lines.iter().flat_map(|line| &line.points).map(of).filter(|value| value.is_finite() && *value > 0.0);
    values.fold((0.0, 0.0), |(least, most), value| {
        (if least == 0.0 { value } else { f64::min(least, value) }, f64::max(most, value))
    })
}

/// The distance to 1 upside down along, the time up. The slowest delivery stands where its share is: one of all.
fn percentile_points(run: &Figures) -> Vec<(f64, f64)> {
    let last = (run.deliveries as f64).max(1.0);
    let points = run.latency_us.percentiles.iter().filter(|(_, us)| *us > 0.0);
    points.map(|(quantile, us)| ((1.0 / (1.0 - quantile).max(1e-12)).min(last), *us)).collect()
}

/// A mark of that axis: 1000 is 99.9 %.
fn percentile(upside_down: f64) -> String {
    let decimals = (upside_down.log10().round() as usize).saturating_sub(2);
    format!("{:.decimals$}", 100.0 - 100.0 / upside_down)
}
