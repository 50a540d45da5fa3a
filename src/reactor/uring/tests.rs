//! What only rings do; what every reactor does is tested beside the trait.

mod adopting;
mod sharing;
mod waiting;

use std::io::{Read, Write};
use std::net::SocketAddr;

use super::*;
use crate::reactor::tests::{Host, NEWER, PATIENCE_US, SIZES, Way, pattern};
use crate::reactor::{Reactor, ReactorSizes, ReceiveEnd};

#[test]
fn a_table_above_the_limit_of_descriptors_is_refused_with_its_remedy() {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    let Some(connections_max) = limit.and_then(|limit| u32::try_from(limit).ok()).filter(|limit| *limit < 1_000_000) else {
        eprintln!("skipped: RLIMIT_NOFILE is above what one table holds");
        return;
    };
    let error = Uring::new(
        UringSettings { sizes: ReactorSizes { connections_max, ..SIZES }, direct: true, incremental: true },
        Vec::new(),
    )
    .err()
    .expect("refused")
    .to_string();
    assert!(error.contains("RLIMIT_NOFILE") && error.contains("ulimit -n") && error.contains("connections_max"), "{error}");
}
