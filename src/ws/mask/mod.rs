//! Masking (RFC 6455 5.3): each byte XOR the key's byte of its place, the same both ways.
//!
//! One loop XORs, stores, and gathers the sign bits, so it also knows whether all the bytes are ASCII; market data nearly
//! always is, and then it is UTF-8 and no second pass over the bytes is needed. Which loop runs is a matter of the length and
//! of what the processor has, which is asked once.
//!
//! Without: frames. A caller that continues a payload rotates the key to where it stands ([`rotate`]).

pub mod scalar;
#[cfg(target_arch = "x86_64")]
#[allow(unsafe_code)]
mod x86_64;

#[cfg(test)]
mod tests;

/// One way to unmask. All give the same bytes and the same answer; they differ in speed.
#[derive(Clone, Copy, Debug)]
pub struct Unmasker {
    name: &'static str,
    unmask_ascii: fn(&mut [u8], [u8; 4]) -> bool,
}

impl Unmasker {
    /// What it runs on, e.g. `avx512`.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// See [`unmask_ascii`].
    pub fn unmask_ascii(&self, bytes: &mut [u8], key: [u8; 4]) -> bool {
        (self.unmask_ascii)(bytes, key)
    }
}

/// The way that is used, then all that this processor has, the fastest first; the last is [`scalar`].
pub fn present() -> Vec<Unmasker> {
    let mut all = vec![Unmasker { name: "dispatched", unmask_ascii }];
    #[cfg(target_arch = "x86_64")]
    all.extend(x86_64::present());
    all.push(Unmasker { name: "words", unmask_ascii: words });
    all.push(Unmasker { name: "scalar", unmask_ascii: scalar::unmask_ascii });
    all
}

/// Masks or unmasks in place; `key[0]` belongs to the first byte.
#[inline]
pub fn unmask(bytes: &mut [u8], key: [u8; 4]) {
    unmask_ascii(bytes, key);
}

/// Masks or unmasks in place, and says whether every byte is ASCII afterwards.
#[inline]
pub fn unmask_ascii(bytes: &mut [u8], key: [u8; 4]) -> bool {
    #[cfg(target_arch = "x86_64")]
    return x86_64::unmask_ascii(bytes, key);
    #[cfg(not(target_arch = "x86_64"))]
    words(bytes, key)
}

/// The key as it stands `offset` bytes into the payload.
#[inline]
pub fn rotate(key: [u8; 4], offset: usize) -> [u8; 4] {
    // As a number, since rotating an array by what is not constant is a call.
    u32::from_le_bytes(key).rotate_right(8 * (offset % 4) as u32).to_le_bytes()
}

const SIGN_BITS: u64 = 0x8080_8080_8080_8080;

/// Eight bytes at a time, on any processor.
fn words(bytes: &mut [u8], key: [u8; 4]) -> bool {
    let half = u64::from(u32::from_ne_bytes(key));
    let wide_key = half << 32 | half;
    let mut seen = 0;
    let (words, rest) = bytes.as_chunks_mut::<8>();
    for word in words {
        let unmasked = u64::from_ne_bytes(*word) ^ wide_key;
        seen |= unmasked;
        *word = unmasked.to_ne_bytes();
    }
    for (byte, key) in rest.iter_mut().zip(wide_key.to_ne_bytes()) {
        *byte ^= key;
        seen |= u64::from(*byte);
    }
    seen & SIGN_BITS == 0
}
