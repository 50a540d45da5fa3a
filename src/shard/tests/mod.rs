//! Whole shards on the simulated reactor, stepped in an order from a seed and judged by what each peer saw.
//!
//! A failing seed is named; `SEED=... cargo test <name of the test>` runs it alone. `SEEDS=10000` runs so many of each
//! scenario.

mod chooser;
mod control;
mod dice;
mod flush;
mod house;
mod lags;
mod mailbox;
mod mailbox_model;
mod peer;
mod requests;
mod resuming;
mod scenarios;
mod secure;
mod truth;
mod turns;
mod windows;
mod wire;
