//! Who may do what: tokens at every door of the real binary, on live clients, and revoked; keys are made by `openssl` for each test, and
//! tokens of all algorithms are signed by Python's PyJWT.
//!
//! Where Python's virtual environment or the browser is not there its tests say so and are skipped; where `TIDEGATE_TEST_PARTS` or `CI`
//! promises them, they fail.

#[path = "../common/mod.rs"]
mod common;

mod browser;
mod callout;
mod clock;
mod commands;
mod doors;
mod endpoint;
mod key_sets;
mod keys;
mod live;
mod revoking;
mod secure;
