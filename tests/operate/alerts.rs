//! The rules for Prometheus and what is written about them: each alert fires on the figures that it is for, and each metric that is named is
//! one that the gateway tells.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use tempfile::TempDir;

use crate::common::Gateway;
use crate::programs::{checkout, program, said};

const RULES: &str = "docs/operations/tidegate.rules.yml";

fn text(path: &str) -> String {
    fs::read_to_string(checkout(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// What follows `label` on its line, wherever that stands.
fn after<'a>(text: &'a str, label: &str) -> BTreeSet<&'a str> {
    text.lines().filter_map(|line| line.split_once(label)).map(|(_, rest)| rest.trim_end_matches('}').trim()).collect()
}

#[test]
fn each_alert_fires_when_it_should_and_only_then() {
    let Some(promtool) = program("the rules for Prometheus", "promtool", &[]) else { return };
    said(Command::new(&promtool).args(["check", "rules", "--lint-fatal"]).arg(checkout(RULES)));
    let place = TempDir::new().expect("a temporary directory can be made");
    let tests = place.path().join("alerts.test.yml");
    let rules = checkout(RULES);
    fs::write(&tests, text("tests/operate/alerts.test.yml").replace("RULES", &rules.to_string_lossy())).expect("it is ours");
    said(Command::new(&promtool).args(["test", "rules"]).arg(&tests));
}

#[test]
fn each_alert_is_explained_and_tried() {
    let rules = text(RULES);
    let alerts = after(&rules, "- alert: ");
    assert!(alerts.len() > 10, "{alerts:?}");
    assert_eq!(after(&text("docs/operations/alerts.md"), "## ").into_iter().collect::<BTreeSet<_>>(), alerts);
    let tried = text("tests/operate/alerts.test.yml");
    assert_eq!(after(&tried, "alertname: "), alerts);
    // All of them at once, by number.
    assert!(tried.contains(&format!("value: {}}}]", alerts.len())));
}

/// Without what the older text format adds to a counter's name.
fn plain(name: &str) -> &str {
    name.strip_suffix("_total").unwrap_or(name)
}

#[test]
fn each_metric_that_operators_are_told_of_is_there() {
    let gateway = Gateway::publishing();
    let told = gateway.get("/metrics");
    let families = after(told.text(), "# TYPE ");
    let families: BTreeSet<&str> = families.iter().filter_map(|family| family.split(' ').next()).map(plain).collect();
    let mut named = 0;
    for entry in fs::read_dir(checkout("docs/operations")).expect("it is there") {
        let path = entry.expect("it is there").path();
        let text = fs::read_to_string(&path).unwrap_or_default();
        let words = text.split(|character: char| !character.is_ascii_alphanumeric() && character != '_' && character != '*');
        for word in words.filter(|word| word.starts_with("tidegate_")) {
            let family = ["_total", "_bucket", "_sum", "_count"].iter().find_map(|end| word.strip_suffix(end)).unwrap_or(word);
            let is_there = match family.strip_suffix('*') {
                Some(prefix) => families.iter().any(|family| family.starts_with(prefix)),
                None => families.contains(family),
            };
            assert!(is_there, "{} names {word}, which is no metric", path.display());
            named += 1;
        }
    }
    assert!(named > 20, "{named}");
    gateway.stop();
}
