//! When a pong is due: a client behind a line that is stuck has not heard the ping yet.

use std::io::Read;

use crate::common::figures::{comes_to, kernel_bytes};
use crate::common::members::Member;
use crate::common::{Gateway, PUBLISHING};

#[test]
fn a_pong_is_due_once_its_ping_has_arrived() {
    let gateway = Gateway::of_one_shard(
        "",
        &format!("{PUBLISHING}[limits]\nidle_ping_ms = 1000\npong_timeout_ms = 1000\nsend_timeout_ms = 600000\n"),
    );
    // What the kernel takes for it at once, and its window does not hold.
    let mut stuck = Member::join(&gateway, "/stream?streams=md.a", Some(2048));
    gateway.publish("md.a", &format!("{:?}", "x".repeat(12_000)));
    // These have room for all that they are sent, read nothing of it and answer nothing. Two, one after the other, so that the one
    // that is stuck is pinged as well before the second is given up.
    for given_up in 1..=2 {
        let _deaf = Member::join(&gateway, "/stream?streams=md.b", None);
        comes_to(&gateway, "closes_total", "timeout", given_up);
        assert!(kernel_bytes(&gateway) > 8_000, "it still lies here");
        comes_to(&gateway, "connections", "", 1);
    }
    // From when it has the ping it has as long as everybody.
    stuck.stream.set_nonblocking(false).expect("a socket can wait");
    let mut read = vec![0; 12_000];
    stuck.stream.read_exact(&mut read).expect("the publication is there");
    comes_to(&gateway, "closes_total", "timeout", 3);
    gateway.stop();
}
