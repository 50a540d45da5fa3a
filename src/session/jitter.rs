//! What spreads clients that came at once over a time: a number that looks random, and is the same whenever it is asked.

/// Below `below`, which is not 0, for this client or moment.
#[must_use]
pub fn jitter(seed: u64, below: u64) -> u64 {
    (seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32) % below
}
