//! The load generator against the real gateway, and against a server that lies: whatever it loses, repeats, reorders or alters is
//! found out.

#[path = "../common/mod.rs"]
mod common;

mod gateway;
mod liar;
mod liars;

use std::process::{Command, Output};

use serde_json::Value;

/// Runs the generator for a moment.
fn run(scenario: &str, url: &str, flags: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate-loadtest"));
    command.args([scenario, "--json", "--url", url, "--seconds", "0.3", "--warm-up", "0"]).args(flags);
    command.output().expect("the generator runs")
}

/// The figures of a run that went well.
fn figures(scenario: &str, url: &str, flags: &[&str]) -> Value {
    let output = run(scenario, url, flags);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{scenario} {flags:?}: {said}");
    let figures: Value = serde_json::from_slice(&output.stdout).expect("the figures are one line of JSON");
    assert_eq!(figures["scenario"], scenario);
    assert!(figures.get("ended_early").is_none(), "{figures}");
    assert!(figures["deliveries"].as_u64() > Some(0), "{scenario} {flags:?}: nothing came: {figures}");
    assert!(figures["latency_us"]["p50"].as_f64() > Some(0.0), "{figures}");
    figures
}

/// What is said of a run that ended with exit code 2.
fn trouble(scenario: &str, url: &str, flags: &[&str]) -> String {
    let output = run(scenario, url, flags);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{scenario} {flags:?}: {said}{}", String::from_utf8_lossy(&output.stdout));
    said
}
