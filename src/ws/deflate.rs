//! permessage-deflate (RFC 7692): what is agreed, messages inflated within bounds, messages compressed.
//!
//! Without: frames, which [`frame`](super::frame) writes and [`Connection`](super::Connection) reads, and a policy on who is
//! offered what, which is an argument ([`Terms`]).
//!
//! [`negotiation`] reads offers and answers. The inflater is a part of the connection that receives. [`Compressor`] belongs to
//! whoever sends: one for many connections where no context is taken over, else one for each.

mod compress;
mod inflate;
pub mod negotiation;

pub use compress::Compressor;
pub(super) use inflate::Inflater;
pub use negotiation::{Agreement, AnswerError, Offer, Terms};

/// RFC 7692 7.2.1: what a compressed message ends with, removed by who sends and appended by who receives.
const TAIL: [u8; 4] = [0x00, 0x00, 0xff, 0xff];

/// RFC 7692 7.2.3.6: an empty message, compressed, is this one byte.
const EMPTY: u8 = 0x00;

/// Bits of the largest window (32 KiB), which holds where nothing else is said.
const WINDOW_BITS_MAX: u8 = 15;

#[cfg(test)]
mod tests;
