//! A figure of a server that lies is none: each lie ends the run with a sentence and exit code 2.

use std::net::TcpListener;

use crate::liar::{self, Lie};
use crate::{figures, run, trouble};

const FANOUT: &[&str] = &["--clients", "3", "--in-flight", "4"];

#[test]
fn a_server_that_tells_the_truth_is_measured() {
    let address = liar::start(Lie::None);
    figures("fanout", &format!("ws://{address}/ws/x"), FANOUT);
    figures("echo", &format!("ws://{address}/echo"), &["--clients", "3", "--pipelined", "4"]);
}

#[test]
fn every_lie_of_a_fan_out_is_found_out() {
    let lied_about = format!("was to get publication {}", liar::LIED_ABOUT);
    for (lie, what) in [
        (Lie::Loses, "lost"),
        (Lie::Reorders, "too early"),
        (Lie::Alters, "its bytes are not those that were sent"),
        (Lie::Shortens, "its bytes are not those that were sent"),
    ] {
        // The frames of who is lied to alone are compared with those that others got.
        for topic in ["all", "last"] {
            let said = trouble("fanout", &format!("ws://{}/ws/{topic}", liar::start(lie)), FANOUT);
            assert!(said.contains(&lied_about) && said.contains(what), "{lie:?} to {topic}: {said}");
        }
    }
    // The repeated one is taken for the next.
    let said = trouble("fanout", &format!("ws://{}/ws/x", liar::start(Lie::Repeats)), FANOUT);
    assert!(said.contains("was to get publication 11: it came a second time"), "{said}");
}

#[test]
fn every_lie_of_an_echo_is_found_out() {
    let echo = &["--clients", "1", "--pipelined", "4"];
    for (lie, expected) in [(Lie::Loses, 10), (Lie::Reorders, 10), (Lie::Alters, 10), (Lie::Shortens, 10), (Lie::Repeats, 11)] {
        let said = trouble("echo", &format!("ws://{}/echo", liar::start(lie)), echo);
        assert!(said.contains(&format!("its message number {expected} back")), "{lie:?}: {said}");
    }
}

#[test]
fn nothing_is_checked_where_that_is_asked_for() {
    let url = format!("ws://{}/ws/x", liar::start(Lie::Alters));
    figures("fanout", &url, &[FANOUT, &["--check", "none"]].concat());
}

#[test]
fn a_server_that_dies_refuses_or_is_not_there_is_told_in_a_sentence() {
    let said = trouble("fanout", &format!("ws://{}/ws/x", liar::start(Lie::Dies)), FANOUT);
    assert!(said.contains("closed") || said.contains("reset"), "{said}");
    let refusing = liar::start(Lie::None);
    let said = trouble("fanout", &format!("ws://{refusing}/refused"), FANOUT);
    assert!(said.contains("HTTP status 503"), "{said}");
    let nobody = TcpListener::bind(("127.0.0.1", 0)).expect("a port is free").local_addr().expect("it has an address");
    for scenario in ["fanout", "echo"] {
        let said = trouble(scenario, &format!("ws://{nobody}/ws/x"), &["--clients", "3"]);
        assert!(said.contains("refused"), "{said}");
    }
}

#[test]
fn what_was_measured_before_a_server_died_is_shown() {
    let output = run("fanout", &format!("ws://{}/ws/x", liar::start(Lie::Dies)), &["--clients", "3", "--rate", "50"]);
    assert_eq!(output.status.code(), Some(2));
    let figures: serde_json::Value = serde_json::from_slice(&output.stdout).expect("the figures are one line of JSON");
    assert!(figures["ended_early"].as_str().is_some_and(|why| why.contains("closed") || why.contains("reset")), "{figures}");
    assert!(figures["deliveries"].as_u64() > Some(0), "{figures}");
}

#[test]
fn flags_that_make_no_sense_are_told_in_a_sentence() {
    for (flags, what) in [
        (&["--topics", "3", "--topics-per-subscriber", "4"][..], "more than --topics 3"),
        (&["--rate", "0"], "above 0"),
        (&["--rate", "5", "--in-flight", "2"], "cannot be used with"),
        (&["--sizes-from", "no/such/file"], "no/such/file"),
        (&["--clients", "900000", "--workers", "1"], "ulimit -n"),
        (&["--server-pid", "4294967295"], "4294967295"),
        (&["--dialect", "nchan", "--topics", "2"], "--topics at 1"),
    ] {
        let said = trouble("fanout", "ws://127.0.0.1:9/ws/x", flags);
        assert!(said.contains(what), "{flags:?}: {said}");
    }
}
