//! The scenarios against the real gateway, in this process, and the floor's servers: that they run, that what they tell adds up,
//! and that what goes wrong is told. How fast anything is, is no matter here.

mod common;

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

use self::common::{free_port, gateway};

fn loadtest(arguments: &str) -> Output {
    let program = env!("CARGO_BIN_EXE_tidegate-loadtest");
    Command::new(program).args(arguments.split_whitespace()).output().expect("the program starts")
}

/// Runs a scenario to its end; its figures.
fn figures(arguments: &str) -> Value {
    let output = loadtest(&format!("{arguments} --json"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.is_empty(), "{arguments}: {} {said}", output.status);
    serde_json::from_slice(&output.stdout).expect("one line of JSON")
}

fn number(figures: &Value, path: &str) -> u64 {
    figures.pointer(path).and_then(Value::as_u64).unwrap_or_else(|| panic!("{path} in {figures}"))
}

/// What a failed run says.
fn refusal(arguments: &str) -> String {
    let output = loadtest(arguments);
    assert_eq!(output.status.code(), Some(2), "{arguments}: {output:?}");
    String::from_utf8(output.stderr).expect("a sentence is text")
}

#[test]
fn storms_count_every_connect() {
    let address = gateway("");
    let own = std::process::id();
    let rate =
        figures(&format!("storm --url ws://{address}/ws --clients 20 --rate 400 --seconds 0.5 --warm-up 0 --server-pid {own}"));
    assert_eq!(number(&rate, "/extra/connects"), 200);
    assert_eq!(number(&rate, "/extra/handshakes"), 200);
    assert_eq!(number(&rate, "/extra/failed"), 0);
    assert!(number(&rate, "/extra/open_most") <= 20, "{rate}");
    assert!(
        rate["latency_us"]["p99"].as_f64() > Some(0.0) && rate["server"]["cpu_ns_per_delivery"].as_f64() > Some(0.0),
        "{rate}"
    );
    let waves = figures(&format!("storm --url ws://{address}/ws --clients 300 --waves 2"));
    assert_eq!((number(&waves, "/extra/handshakes"), number(&waves, "/extra/open_most")), (600, 300));
    assert_eq!(waves["extra"]["waves_ms"].as_array().map(Vec::len), Some(2), "{waves}");
    assert!(waves["extra"]["offered_per_second"].as_f64() > Some(0.0), "{waves}");
    assert!(waves["extra"]["from_connect_us"]["p99"].as_f64() <= waves["latency_us"]["max"].as_f64(), "{waves}");
}

#[test]
fn workers_share_a_storm() {
    let address = gateway("");
    let waves = figures(&format!("storm --url ws://{address}/ws --clients 301 --waves 3 --workers 3"));
    assert_eq!((number(&waves, "/extra/handshakes"), number(&waves, "/extra/open_most")), (903, 301));
    assert_eq!(waves["extra"]["waves_ms"].as_array().map(Vec::len), Some(3), "{waves}");
    let rate = figures(&format!("storm --url ws://{address}/ws --clients 20 --rate 400 --seconds 0.5 --warm-up 0 --workers 3"));
    assert_eq!((number(&rate, "/extra/connects"), number(&rate, "/extra/handshakes")), (200, 200), "{rate}");
    let said = refusal(&format!("storm --url ws://{address}/ws --clients 2 --waves 1 --workers 3"));
    assert!(said.contains("--workers 3 is more than --clients 2"), "{said}");
}

/// Places of connections that are being closed are not free yet: at such a rate there would be none for the next.
#[test]
fn a_storm_that_is_scheduled_faster_than_it_can_be_waits_for_places() {
    let address = gateway("");
    let storm = figures(&format!("storm --url ws://{address}/ws --clients 20 --rate 100000 --seconds 0.02 --warm-up 0"));
    assert_eq!(number(&storm, "/extra/connects"), 2000, "{storm}");
    assert_eq!((number(&storm, "/extra/handshakes"), number(&storm, "/extra/failed")), (2000, 0), "{storm}");
}

#[test]
fn a_storm_names_what_failed() {
    let nobody = figures(&format!("storm --url ws://{}/ws --clients 10 --rate 100 --seconds 0.2 --warm-up 0", free_port()));
    assert_eq!((number(&nobody, "/extra/connects"), number(&nobody, "/extra/failed")), (20, 20));
    assert!(nobody["extra"]["failures"].as_str().is_some_and(|names| names.contains("refused")), "{nobody}");
    let address = gateway("");
    let wrong = figures(&format!("storm --url ws://{address}/nowhere --clients 10 --waves 1"));
    assert_eq!((number(&wrong, "/extra/handshakes"), number(&wrong, "/extra/failed")), (0, 10));
    assert!(wrong["extra"]["failures"].as_str().is_some_and(|names| names.contains("404")), "{wrong}");
}

#[test]
fn idle_clients_are_alive_in_the_end() {
    let address = gateway("");
    let own = std::process::id();
    let flags = "--clients 300 --workers 2 --topics-per-subscriber 250 --topics 400 --settle 0.2 --seconds 0.5";
    let held = figures(&format!("idle --url ws://{address}/stream --server-pid {own} {flags}"));
    assert_eq!(number(&held, "/extra/alive"), 300, "{held}");
    assert_eq!((number(&held, "/extra/silent"), number(&held, "/extra/ended")), (0, 0));
    for name in ["server_resident", "server_anonymous", "server_proportional", "kernel_slab_both_ends"] {
        assert!(held["extra"][format!("{name}_bytes_per_client")].is_number(), "{name} in {held}");
    }
    assert_eq!(number(&held, "/extra/retries"), 0, "{held}");
    // Not all in one process's limits, and not what the gateway takes.
    let said = refusal(&format!("idle --url ws://{address}/stream --clients 10 --topics-per-subscriber 5000 --topics 5000"));
    assert!(said.contains("refused a subscription"), "{said}");
    let said = refusal(&format!("idle --url ws://{address}/ws --topics-per-subscriber 5 --topics 2"));
    assert!(said.contains("--topics-per-subscriber 5 is more than --topics 2"), "{said}");
}

#[test]
fn churn_is_checked_on_both_sides() {
    let address = gateway("[limits]\nrequests_per_second = 1000\nrequests_burst = 1000\n");
    let flags = "--clients 30 --topics 12 --topics-per-subscriber 5 --rate 600 --publish-rate 800 --seconds 1";
    let churn = figures(&format!("churn --url ws://{address}/stream {flags}"));
    assert!(number(&churn, "/extra/changes") >= 600 && number(&churn, "/extra/publications_delivered") > 0, "{churn}");
    assert!(number(&churn, "/deliveries") > 0 && churn["latency_us"]["p50"].as_f64() > Some(0.0), "{churn}");
    let said = refusal(&format!("churn --url ws://{address}/stream --topics 5 --topics-per-subscriber 5"));
    assert!(said.contains("leaves nothing to change to"), "{said}");
    // A gateway that takes fewer requests says so, and that is told with what was asked.
    let strict = gateway("[limits]\nrequests_per_second = 1\nrequests_burst = 10\n");
    let said = refusal(&format!("churn --url ws://{strict}/stream --clients 2 --rate 500 --seconds 3"));
    assert!(said.contains("not the reply to") && said.contains("\\\"code\\\":8"), "{said}");
}

#[test]
fn slow_readers_are_counted_and_fast_ones_whole() {
    // A ring of a second: so far may a fast one be behind, and who reads nothing cannot be.
    let address = gateway("[[topic]]\npattern = \">\"\nring_bytes = 4194304\n");
    let flags = "--clients 20 --slow-percent 40 --read 0 --stall 0.1 --rate 500 --size 8192 --seconds 3";
    let slow = figures(&format!("slow --url ws://{address}/ws/demo.slow {flags}"));
    assert_eq!((number(&slow, "/extra/slow_readers"), number(&slow, "/extra/slow_whole")), (8, 0), "{slow}");
    let ends = ["slow_closed_1013", "slow_reset", "slow_closed_otherwise", "slow_behind_at_end"];
    assert_eq!(ends.iter().map(|name| number(&slow, &format!("/extra/{name}"))).sum::<u64>(), 8, "{slow}");
    assert!(number(&slow, "/deliveries") > 0 && number(&slow, "/extra/publications") >= 1500, "{slow}");
    // Who stalls for less than the buffers hold misses nothing.
    let flags = "--clients 10 --slow-percent 50 --read 0.1 --stall 0.1 --rate 200 --size 64 --seconds 1";
    let gentle = figures(&format!("slow --url ws://{address}/ws/demo.gentle {flags}"));
    assert_eq!((number(&gentle, "/extra/slow_readers"), number(&gentle, "/extra/slow_whole")), (5, 5), "{gentle}");
}

#[test]
fn slow_readers_keep_a_pace() {
    let address = gateway("[[topic]]\npattern = \">\"\nring_bytes = 4194304\n");
    // Sixty times what they take: none has all of it before the end.
    let flags = "--clients 20 --slow-percent 40 --pace 20000 --rate 150 --size 8192 --seconds 3";
    let slow = figures(&format!("slow --url ws://{address}/ws/demo.slow {flags}"));
    assert_eq!(number(&slow, "/extra/slow_readers"), 8, "{slow}");
    let all = number(&slow, "/extra/publications") * 8 * 8192;
    let read = slow["extra"]["slow_bytes_per_second"].as_f64().expect("a number") * 8.0 * 3.0;
    assert!(read > 0.0 && read < all as f64 / 2.0, "they read {read} bytes of {all}: {slow}");
    // Who reads faster than is published is none the slower.
    let flags = "--clients 10 --slow-percent 50 --pace 1000000 --rate 200 --size 64 --seconds 1";
    let gentle = figures(&format!("slow --url ws://{address}/ws/demo.gentle {flags}"));
    assert_eq!((number(&gentle, "/extra/slow_readers"), number(&gentle, "/extra/slow_whole")), (5, 5), "{gentle}");
    let said = refusal(&format!("slow --url ws://{address}/ws/demo.slow --pace 5 --stall 1"));
    assert!(said.contains("--pace"), "{said}");
}

#[test]
fn the_floor_serves_the_same_both_ways() {
    let output = loadtest("floor --clients 50 --messages 3 --rounds 2 --seconds 0.3 --server-core 0 --generator-core 0 --json");
    assert!(output.status.success(), "{output:?}");
    let runs: Vec<Value> =
        String::from_utf8(output.stdout).expect("text").lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let labels: Vec<&str> = runs.iter().filter_map(|run| run["label"].as_str()).collect();
    assert_eq!(labels, ["floor: send()", "floor: io_uring", "floor: send()", "floor: io_uring"]);
    for run in &runs {
        assert!(number(run, "/deliveries") > 0 && run["server"]["cpu_ns_per_delivery"].as_f64() > Some(0.0), "{run}");
    }
    assert!(refusal("floor --server-core 900").contains("core 900 cannot be used"));
}

#[test]
fn saved_runs_make_a_page() {
    let directory = tempfile::tempdir().expect("a temporary directory can be made");
    let path = |name: &str| directory.path().join(name).to_string_lossy().into_owned();
    let address = gateway("");
    let run = |label: &str| figures(&format!("storm --url ws://{address}/ws --clients 5 --waves 1 --label {label}")).to_string();
    std::fs::write(path("runs.json"), format!("{}\n\n{}\n", run("one"), run("other"))).expect("a file can be written");
    let output = loadtest(&format!("report {} --out {}", path("runs.json"), path("page.html")));
    assert!(output.status.success(), "{output:?}");
    let page = std::fs::read_to_string(path("page.html")).expect("the page was written");
    assert!(page.starts_with("<!doctype html>") && page.contains("one") && page.contains("other"), "{page}");
    let output = loadtest(&format!("storm --url ws://{address}/ws --clients 5 --waves 1 --report {}", path("alone.html")));
    assert!(output.status.success() && Path::new(&path("alone.html")).exists(), "{output:?}");
    std::fs::write(path("bad.json"), "{\"scenario\":1}\n").expect("a file can be written");
    let said = refusal(&format!("report {} --out {}", path("bad.json"), path("page.html")));
    assert!(said.contains("bad.json, line 1: not a run"), "{said}");
    let said = refusal(&format!("report {} --out {}", path("none.json"), path("page.html")));
    assert!(said.contains("none.json"), "{said}");
}
