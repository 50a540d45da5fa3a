//! Short runs of every kind of load that the generator checks, against the real gateway.

use std::io::Write;

use crate::common::{Authority, Gateway, PUBLISHING};
use crate::figures;

/// `/ws` of a gateway on which all may publish.
fn url(gateway: &Gateway) -> String {
    format!("ws://{}/ws/demo.load0", gateway.clients)
}

#[test]
fn a_fan_out_in_a_closed_loop_and_at_a_rate() {
    let gateway = Gateway::publishing();
    let pid = gateway.pid().to_string();
    let closed = figures("fanout", &url(&gateway), &["--clients", "20", "--in-flight", "4", "--server-pid", &pid]);
    assert_eq!(closed["parameters"]["in_flight"], 4);
    assert!(closed["server"]["cpu_ns_per_delivery"].as_f64() > Some(0.0), "{closed}");
    assert!(closed["server"]["threads"].as_array().is_some_and(|threads| threads.len() >= 3), "{closed}");
    let open = figures("fanout", &url(&gateway), &["--clients", "20", "--rate", "500", "--sizes", "40..400"]);
    // The schedule has 150 of them, and no more are published however fast the server is.
    assert!((1..=150).contains(&open["extra"]["publications"].as_u64().expect("a number")), "{open}");
    gateway.stop();
}

#[test]
fn workers_share_a_fan_out_and_its_publications() {
    let gateway = Gateway::publishing();
    let figures = figures("fanout", &url(&gateway), &["--clients", "31", "--workers", "3", "--in-flight", "2"]);
    assert_eq!(figures["generator"]["cores"].as_array().map(Vec::len), Some(3));
    gateway.stop();
}

#[test]
fn many_topics_in_the_gateways_own_dialect() {
    let gateway = Gateway::publishing();
    let topics = ["--dialect", "tidegate", "--clients", "12", "--topics", "40", "--topics-per-subscriber", "7"];
    figures("fanout", &url(&gateway), &[&topics[..], &["--rate", "2000", "--workers", "2"]].concat());
    figures("fanout", &url(&gateway), &["--dialect", "tidegate", "--clients", "5", "--in-flight", "3"]);
    gateway.stop();
}

#[test]
fn echoes_plain_and_compressed() {
    let gateway = Gateway::deflating("");
    let url = format!("ws://{}/echo", gateway.clients);
    for flags in [&[][..], &["--pipelined", "8"], &["--size", "70000"], &["--deflate", "--pipelined", "2"]] {
        figures("echo", &url, &[&["--clients", "8"], flags].concat());
    }
    gateway.stop();
}

#[test]
fn a_fan_out_with_compression_and_one_over_tls() {
    let gateway = Gateway::deflating("");
    figures("fanout", &url(&gateway), &["--deflate", "--clients", "10", "--sizes", "200..2000", "--in-flight", "8"]);
    gateway.stop();
    let authority = Authority::new();
    authority.sign_valid("feed");
    let gateway = Gateway::configured(&format!("{PUBLISHING}{}", authority.listener("feed")));
    let url = format!("wss://{}/ws/demo.load0", gateway.secure());
    figures("fanout", &url, &["--clients", "10", "--in-flight", "8"]);
    figures("fanout", &url, &["--clients", "10", "--size", "40000", "--in-flight", "2"]);
    gateway.stop();
}

#[test]
fn a_recorded_feed_is_replayed_to_its_end() {
    let directory = tempfile::TempDir::new().expect("a temporary directory can be made");
    let file = directory.path().join("feed");
    let mut feed = std::fs::File::create(&file).expect("a temporary file can be made");
    for index in 0_u64..200 {
        let time_ns = 1_723_161_255_000_000_000 + index * 2_000_000;
        writeln!(feed, "{time_ns} {{\"message\":{index},\"x\":\"{}\"}}", "x".repeat(index as usize * 30)).expect("it is written");
    }
    let gateway = Gateway::publishing();
    let feed = file.display().to_string();
    let replayed = figures("replay", &url(&gateway), &["--feed", &feed, "--pace", "2", "--clients", "15"]);
    assert_eq!(replayed["extra"]["publications"], 200, "{replayed}");
    gateway.stop();
}
