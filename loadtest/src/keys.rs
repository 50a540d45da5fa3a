//! Masking keys and nonces. Random enough that servers unmask for real; a load generator has no proxy to protect (RFC 6455 10.3).

use std::hash::{BuildHasher, RandomState};

/// A stream of them.
pub(crate) struct Keys(u64);

impl Keys {
    pub(crate) fn new() -> Keys {
        Keys(RandomState::new().hash_one("keys") | 1)
    }

    /// The next one.
    pub(crate) fn next(&mut self) -> [u8; 4] {
        // xorshift64* (Vigna 2016).
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let [a, b, c, d, ..] = self.0.wrapping_mul(0x2545_F491_4F6C_DD1D).to_be_bytes();
        [a, b, c, d]
    }

    /// What a handshake's key is made of (RFC 6455 4.1).
    pub(crate) fn nonce(&mut self) -> [u8; 16] {
        let mut nonce = [0; 16];
        nonce.chunks_exact_mut(4).for_each(|chunk| chunk.copy_from_slice(&self.next()));
        nonce
    }
}
