//! Operating it: what is installed, and the examples that operators copy, checked by the programs that will read them.
//!
//! Where one of those is not there its tests say so and are skipped; where `TIDEGATE_TEST_PARTS` or `CI` promises them, they fail.

#[path = "../common/mod.rs"]
mod common;

mod alerts;
mod containers;
mod packaging;
mod programs;
