//! Behind real balancers: HAProxy and nginx from Debian between clients and the real binary.
//!
//! Where one of them is not there its tests say so and are skipped; where `TIDEGATE_TEST_PARTS` or `CI` promises them, they fail.

#[path = "../common/mod.rs"]
mod common;

mod addresses;
mod arriving;
mod demo;
mod full;
mod parts;
mod pongs;
mod unix;
