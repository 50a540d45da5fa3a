//! `scripts/demo-haproxy`: what it says is there is there, and nothing of it is when it was stopped.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use crate::common::{Client, http};
use crate::parts::is_there;

/// The running script; asked to end when dropped, as it ends all that it started.
struct Demonstration(Child);

impl Demonstration {
    fn end(&mut self) -> ExitStatus {
        kill_process(Pid::from_child(&self.0), Signal::INT).ok();
        self.0.wait().expect("a child can be waited for")
    }
}

impl Drop for Demonstration {
    fn drop(&mut self) {
        self.end();
    }
}

#[test]
fn the_demonstration_serves_through_haproxy_and_leaves_nothing_behind() {
    if !is_there("the demonstration of HAProxy", "haproxy") {
        return;
    }
    let mut script = Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/demo-haproxy"));
    let script = script.args(["--clients", "2", "--gateway", env!("CARGO_BIN_EXE_tidegate")]).stdout(Stdio::piped());
    let mut demonstration = Demonstration(script.spawn().expect("a script of the checkout starts"));
    let mut told = BufReader::new(demonstration.0.stdout.take().expect("it is piped")).lines().map_while(Result::ok);
    let (mut pids, mut page) = (Vec::new(), None);
    // Its last words: that its own clients have come, by HAProxy too.
    for line in told.by_ref().take_while(|line| !line.contains("clients at gateway")) {
        let after =
            |label: &str| line.split_once(label).map(|(_, rest)| rest.split([' ', '/']).next().unwrap_or(rest).to_owned());
        pids.extend(after("  pid ").map(|pid| pid.parse::<i32>().expect("a pid is a number")));
        if line.contains("the page") {
            page = after("http://").map(|address| address.parse::<SocketAddr>().expect("an address"));
        }
    }
    assert_eq!(pids.len(), 3, "two gateways and HAProxy are named");
    let page = page.expect("it says what to open");
    assert_eq!(http(page, "GET", "/", &[], &[]).status, 200);
    for _ in 0..2 {
        let mut client = Client::connect_to(page, "/stream?streams=demo.bbo.BTC-USD;last");
        assert!(client.text().starts_with("{\"result\""));
        assert!(client.text().starts_with("{\"stream\":\"demo.bbo.BTC-USD\""));
    }
    let status = demonstration.end();
    assert!(status.success(), "{status}");
    for pid in pids {
        assert!(!Path::new(&format!("/proc/{pid}")).exists(), "{pid} is still there");
    }
}
