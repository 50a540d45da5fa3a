use std::collections::BTreeMap;

use serde_json::json;

use super::*;
use crate::figures::{Generator, Latency, Moment, Server, Thread};

/// Elements that stand open to their end, or that have none.
const VOID_ELEMENTS: [&str; 2] = ["!doctype", "meta"];

/// A plausible run.
pub(super) fn run(label: &str, factor: f64) -> Figures {
    let percentiles = (0..=20).map(|step| 1.0 - 0.5_f64.powi(step)).chain([1.0]);
    Figures {
        scenario: String::from("fanout"),
        label: label.to_owned(),
        parameters: BTreeMap::from([(String::from("clients"), json!(1000)), (String::from("in_flight"), json!(1))]),
        seconds: 3.0,
        deliveries: 700_000,
        deliveries_per_second: 240_000.0 / factor,
        messages_per_receive: 1.2,
        latency_us: Latency {
            p50: 2000.0 * factor,
            p99: 4000.0 * factor,
            max: 9000.0,
            percentiles: percentiles.map(|quantile| (quantile, 1000.0 + 6000.0 * quantile * factor)).collect(),
            ..Latency::default()
        },
        server: Some(Server {
            cpu_ns_per_delivery: 3686.0 * factor,
            cores: 0.9,
            threads: vec![Thread { name: String::from("shard-0"), cores: 0.88 }],
            ..Server::default()
        }),
        generator: Generator { cores: vec![0.5], busy_max: 0.5 },
        timeline: vec![Moment { at_s: 1.0, deliveries_per_second: 240_000.0, server_cores: Some(0.9), ..Moment::default() }; 3],
        ..Figures::default()
    }
}

/// Every element that is opened is closed, in order, and nothing comes from elsewhere.
fn check(html: &str) {
    let mut open: Vec<&str> = Vec::new();
    for piece in html.split('<').skip(1) {
        let (tag, _) = piece.split_once('>').expect("a tag ends");
        if tag.contains('"') {
            assert_eq!(tag.matches('"').count() % 2, 0, "quotes: {tag}");
        }
        let name = tag.trim_start_matches('/').split([' ', '/', '\n']).next().expect("a tag has a name");
        if tag.starts_with('/') {
            assert_eq!(open.pop(), Some(name), "</{name}> closes what is open");
        } else if !tag.ends_with('/') && !VOID_ELEMENTS.contains(&name) {
            open.push(name);
        }
    }
    assert_eq!(open, [""; 0]);
    for foreign in ["NaN", "inf%", ">inf", "http:", "https:", "url(", "@import", "<script", "<link", "src="] {
        assert!(!html.contains(foreign), "{foreign:?} in the page");
    }
}

#[test]
fn a_page_is_whole_for_one_run_and_for_many() {
    let one = render(&[run("tidegate", 1.0)], "One", None);
    check(&one);
    assert!(one.contains("class=\"tiles\"") && one.contains("240,000") && one.contains("shard-0"), "{one}");
    let labels = ["tidegate", "bun", "nchan", "nats", "ws", "tokio-uring", "a", "b", "c", "floor: send()"];
    let many: Vec<Figures> = labels.iter().zip(1..).map(|(label, factor)| run(label, f64::from(factor))).collect();
    let page = render(&many, "Many", Some("two cores"));
    check(&page);
    assert!(page.contains("× 2.00") && page.contains("two cores"), "ratios stand beside the bars");
    assert!(page.contains("× floor"), "{page}");
    assert!(!render(&many[..9], "Many", None).contains("× floor"), "without a floor there is no multiple of it");
}

#[test]
fn a_page_is_whole_where_nothing_was_measured() {
    check(&render(&[], "None", None));
    let empty = Figures { scenario: String::from("fanout"), label: String::from("quiet"), ..Figures::default() };
    let page = render(std::slice::from_ref(&empty), "Empty", None);
    check(&page);
    assert!(page.contains("without a single delivery") && page.contains("nothing was measured"), "{page}");
    let beside = render(&[empty, run("busy", 1.0)], "Beside", None);
    check(&beside);
    let wild = Figures { deliveries_per_second: f64::NAN, bytes_per_second: f64::INFINITY, ..run("wild", f64::NAN) };
    check(&render(std::slice::from_ref(&wild), "Wild", None));
    check(&render(&[wild, run("busy", 1.0)], "Wild", None));
}

#[test]
fn foreign_text_stays_text() {
    let hostile = "</title><script>alert(1)</script>\"' onload='x' & {}";
    let mut bad = run(hostile, 1.0);
    bad.scenario = hostile.to_owned();
    bad.parameters.insert(hostile.to_owned(), json!(hostile));
    bad.extra.insert(hostile.to_owned(), json!(hostile));
    bad.ended_early = Some(hostile.to_owned());
    bad.server.as_mut().expect("it has one").threads[0].name = hostile.to_owned();
    for runs in [vec![bad.clone()], vec![bad.clone(), Figures { label: hostile.repeat(30), ..bad.clone() }]] {
        let page = render(&runs, hostile, Some(hostile));
        check(&page);
        assert!(page.contains("&lt;script&gt;"), "it is told, as text");
    }
}

#[test]
fn a_generator_that_was_the_slower_side_voids_the_row() {
    let mut slow = run("slow", 1.0);
    assert!(!render(&[slow.clone()], "", None).contains("the row is void"));
    slow.generator.busy_max = 0.81;
    assert!(render(&[slow], "", None).contains("the row is void"));
}

#[test]
fn percentiles_stand_by_their_distance_to_the_slowest() {
    assert_eq!([1.0, 10.0, 100.0, 1000.0, 100_000.0].map(percentile), ["0", "90", "99", "99.9", "99.999"]);
    let points = percentile_points(&run("x", 1.0));
    assert_eq!(points[0].0, 1.0);
    assert_eq!(points.last().expect("there are points").0, 700_000.0);
}
