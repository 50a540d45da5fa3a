//! Bars: one figure beside another's, as plain boxes, so that labels of any length have their room.

use std::fmt::Write;

use super::groups::{Group, Series, Spread};
use super::text::{escape, ns, share, time_us};

/// A figure that is compared.
pub(super) struct Compared {
    title: &'static str,
    note: &'static str,
    figure: fn(&Series<'_>) -> Option<Spread>,
    text: fn(f64) -> String,
}

/// What a comparison shows, in this order.
pub(super) const COMPARED: &[Compared] = &[
    Compared {
        title: "CPU per delivery",
        note: "of the server's process; less is better",
        figure: |series| series.cpu_ns(),
        text: ns,
    },
    Compared {
        title: "Deliveries a second",
        note: "more is better",
        figure: |series| series.spread(|run| Some(run.deliveries_per_second).filter(|rate| *rate > 0.0)),
        text: |rate| super::text::count(rate) + " /s",
    },
    Compared {
        title: "Latency, p50",
        note: "less is better",
        figure: |series| series.latency(|run| run.latency_us.p50),
        text: time_us,
    },
    Compared {
        title: "Latency, p99",
        note: "less is better",
        figure: |series| series.latency(|run| run.latency_us.p99),
        text: time_us,
    },
];

/// The figure of all labels, each beside the first one that is no floor. Nothing where nobody has it.
pub(super) fn compare(group: &Group<'_>, compared: &Compared) -> Option<String> {
    let spreads: Vec<_> = group.series.iter().map(compared.figure).collect();
    let most = spreads.iter().flatten().map(|spread| spread.most).max_by(f64::total_cmp).filter(|most| *most > 0.0)?;
    let base = group.series.iter().zip(&spreads).find(|(series, _)| !series.is_floor()).and_then(|(_, spread)| *spread);
    let mut html = String::from("<figure class=\"bars\">\n");
    let _ = writeln!(html, "<figcaption>{} <small>{}</small></figcaption>", compared.title, compared.note);
    for (series, spread) in group.series.iter().zip(spreads) {
        let ratio = base.zip(spread).map(|(base, own)| format!("× {}", share(own.median / base.median)));
        bar(
            &mut html,
            &Label { text: series.label, class: series.colour() },
            spread.map(|spread| (spread, most, (compared.text)(spread.median))),
            ratio.as_deref(),
        );
    }
    html.push_str("</figure>\n");
    Some(html)
}

/// How busy each thread of the server's was, and of the generator's.
pub(super) fn threads(series: &Series<'_>) -> Option<String> {
    let run = series.typical();
    let server = run.server.as_ref().filter(|server| !server.threads.is_empty())?;
    let mut html = String::from("<figure class=\"bars\">\n");
    html.push_str("<figcaption>Threads <small>share of a core; the generator's are grey</small></figcaption>\n");
    let own = server.threads.iter().take(12).map(|thread| (thread.name.clone(), series.colour(), thread.cores));
    let generator = run.generator.cores.iter().enumerate();
    let generator = generator.map(|(index, cores)| (format!("generator {}", index + 1), String::from("floor"), *cores));
    for (name, class, cores) in own.chain(generator) {
        let spread = Spread { least: cores, median: cores, most: cores };
        let label = Label { text: &name, class };
        bar(&mut html, &label, Some((spread, 1.0_f64.max(cores), share(cores))), None);
    }
    html.push_str("</figure>\n");
    Some(html)
}

struct Label<'a> {
    text: &'a str,
    class: String,
}

/// One row: label, bar with the spread of several runs over it, figure, ratio.
fn bar(html: &mut String, label: &Label<'_>, value: Option<(Spread, f64, String)>, ratio: Option<&str>) {
    let text = escape(label.text);
    let _ = write!(html, "<div class=\"row\"><span class=\"label\" title=\"{text}\">{text}</span><span class=\"track\">");
    let figure = match &value {
        Some((spread, most, figure)) => {
            let percent = |value: f64| (100.0 * value / most).clamp(0.0, 100.0);
            let _ = write!(html, "<i class=\"{}\" style=\"width:{:.2}%\"></i>", label.class, percent(spread.median));
            if spread.most > spread.least {
                let (from, to) = (percent(spread.least), percent(spread.most));
                let _ = write!(html, "<b style=\"left:{from:.2}%;width:{:.2}%\"></b>", to - from);
            }
            figure.as_str()
        }
        None => "not measured",
    };
    let ratio = ratio.map_or(String::new(), |ratio| format!("<small>{ratio}</small>"));
    let _ = writeln!(html, "</span><span class=\"figure\">{figure}</span><span class=\"ratio\">{ratio}</span></div>");
}
