//! Compresses messages, with their context taken over or each by itself.
//!
//! Without: the choice which messages are worth it, and frames.

use std::fmt;

use zlib_rs::{Deflate, DeflateConfig, DeflateFlush};

use super::{EMPTY, TAIL};

/// Measured (docs/benchmarks.md): below it a quarter more bytes; above it more time, and the more the longer the message,
/// for one to two percent less.
const LEVEL: i32 = 2;

/// The least window that zlib makes. Where 8 bits were agreed it still fits: zlib never refers further back than its window
/// less 262 bytes (its longest match and what it looks ahead), which is 250 of the 256 that the peer keeps.
const WINDOW_BITS_MIN: u8 = 9;

/// Compresses messages of one sender.
pub struct Compressor {
    stream: Deflate,
    take_over: bool,
}

impl Compressor {
    /// One that refers no further back than 2 to `window_bits` (8 to 15) bytes, and back to earlier messages only if it may
    /// take over their context. About 350 KiB for the largest window.
    #[must_use]
    pub fn new(window_bits: u8, take_over: bool) -> Self {
        let window_bits = -i32::from(window_bits.max(WINDOW_BITS_MIN));
        let config = DeflateConfig { level: LEVEL, window_bits, ..DeflateConfig::default() };
        Self { stream: Deflate::new_with_config(config), take_over }
    }

    /// Appends the payload of a compressed message. The same message gives the same bytes, unless a context is taken over;
    /// then every message that was compressed must be sent.
    pub fn compress(&mut self, message: &[u8], out: &mut Vec<u8>) {
        if message.is_empty() {
            out.push(EMPTY);
            return;
        }
        if !self.take_over {
            self.stream.reset();
        }
        let (in_before, out_before) = (self.stream.total_in(), self.stream.total_out());
        let start = out.len();
        loop {
            let used = (self.stream.total_in() - in_before) as usize;
            let made = (self.stream.total_out() - out_before) as usize;
            let room = (message.len() - used) / 8 * 9 + 64;
            out.resize(start + made + room, 0);
            let status = self.stream.compress(&message[used..], &mut out[start + made..], DeflateFlush::SyncFlush);
            status.expect("compressing into memory fails only where the arguments are wrong");
            let made = (self.stream.total_out() - out_before) as usize;
            // The flush is whole once it leaves room.
            if made < out.len() - start {
                out.truncate(start + made);
                break;
            }
        }
        // RFC 7692 7.2.1: remove 4 octets (that are 0x00 0x00 0xff 0xff) from the tail end.
        assert!(out.ends_with(&TAIL), "a flush ends in an empty block");
        out.truncate(out.len() - TAIL.len());
    }
}

impl fmt::Debug for Compressor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Compressor(take_over: {})", self.take_over)
    }
}
