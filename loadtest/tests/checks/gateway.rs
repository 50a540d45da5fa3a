//! Short runs of every kind of load that the generator checks, against the real gateway.

use std::io::Write;

use crate::common::{gateway, gateway_with};
use crate::figures;

/// `/ws` of a gateway.
fn url() -> String {
    format!("ws://{}/ws/demo.load0", gateway(""))
}

/// What echoes and pings need.
const ECHO: &str =
    "[echo]\nenabled = true\n[limits]\nrequests_per_second = 1000000\nrequests_burst = 1000000\nmessage_bytes_max = 1048576\n";

#[test]
fn a_fan_out_in_a_closed_loop_and_at_a_rate() {
    // Gateway and test are one process.
    let (url, pid) = (url(), std::process::id().to_string());
    let closed = figures("fanout", &url, &["--clients", "20", "--in-flight", "4", "--server-pid", &pid]);
    assert_eq!(closed["parameters"]["in_flight"], 4);
    assert!(closed["server"]["cpu_ns_per_delivery"].as_f64() > Some(0.0), "{closed}");
    assert!(closed["server"]["threads"].as_array().is_some_and(|threads| threads.len() >= 3), "{closed}");
    let open = figures("fanout", &url, &["--clients", "20", "--rate", "500", "--sizes", "40..400"]);
    // The schedule has 150 of them, and no more are published however fast the server is.
    assert!((1..=150).contains(&open["extra"]["publications"].as_u64().expect("a number")), "{open}");
}

#[test]
fn workers_share_a_fan_out_and_its_publications() {
    let url = url();
    let figures = figures("fanout", &url, &["--clients", "31", "--workers", "3", "--in-flight", "2"]);
    assert_eq!(figures["generator"]["cores"].as_array().map(Vec::len), Some(3));
}

#[test]
fn many_topics_in_the_gateways_own_dialect() {
    let url = url();
    let topics = ["--dialect", "tidegate", "--clients", "12", "--topics", "40", "--topics-per-subscriber", "7"];
    figures("fanout", &url, &[&topics[..], &["--rate", "2000", "--workers", "2"]].concat());
    figures("fanout", &url, &["--dialect", "tidegate", "--clients", "5", "--in-flight", "3"]);
}

#[test]
fn echoes_plain_and_compressed() {
    let url = format!("ws://{}/echo", gateway_with("permessage_deflate = true\n", ECHO));
    for flags in [&[][..], &["--pipelined", "8"], &["--size", "70000"], &["--deflate", "--pipelined", "2"]] {
        figures("echo", &url, &[&["--clients", "8"], flags].concat());
    }
}

#[test]
fn echoes_on_a_schedule() {
    let url = format!("ws://{}/echo", gateway(ECHO));
    let figures = figures("echo", &url, &["--clients", "8", "--rate", "1000", "--workers", "2"]);
    assert_eq!(figures["parameters"]["rate"], 1000.0);
    let messages = figures["deliveries"].as_u64().expect("a number");
    // 0.3 seconds of the schedule, however fast the server is.
    assert!((1..=300).contains(&messages), "{figures}");
}

#[test]
fn a_fan_out_that_is_compressed() {
    let url = format!("ws://{}/ws/demo.load0", gateway_with("permessage_deflate = true\n", ""));
    figures("fanout", &url, &["--deflate", "--clients", "10", "--sizes", "200..2000", "--in-flight", "8"]);
}

#[test]
fn a_fan_out_over_tls() {
    let certified = rcgen::generate_simple_self_signed([String::from("localhost")]).expect("a certificate can be made");
    let directory = tempfile::TempDir::new().expect("a temporary directory can be made");
    let path = |name| directory.path().join(name).display().to_string();
    std::fs::write(path("it.pem"), certified.cert.pem()).expect("a temporary file can be written");
    std::fs::write(path("it.key"), certified.signing_key.serialize_pem()).expect("a temporary file can be written");
    let tls = format!("[listener.tls]\ncertificate = {:?}\nkey = {:?}\n", path("it.pem"), path("it.key"));
    let url = format!("wss://{}/ws/demo.load0", gateway_with(&tls, ""));
    figures("fanout", &url, &["--clients", "10", "--in-flight", "8"]);
    figures("fanout", &url, &["--clients", "10", "--size", "40000", "--in-flight", "2"]);
}

#[test]
fn a_ping_beside_a_fan_out() {
    let address = gateway(ECHO);
    let ping = format!("ws://{address}/echo");
    let figures = figures("fanout", &format!("ws://{address}/ws/demo.load0"), &["--clients", "20", "--ping-url", &ping]);
    assert!(figures["extra"]["ping_us"]["p99"].as_f64() > Some(0.0), "{figures}");
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
    let url = url();
    let feed = file.display().to_string();
    let replayed = figures("replay", &url, &["--feed", &feed, "--pace", "2", "--clients", "15"]);
    assert_eq!(replayed["extra"]["publications"], 200, "{replayed}");
}
