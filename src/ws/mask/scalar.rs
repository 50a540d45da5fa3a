//! The naive twin: what the other loops are judged by, and the way on a processor without SIMD.

/// Unmasks byte by byte; true if all are ASCII.
pub fn unmask_ascii(bytes: &mut [u8], key: [u8; 4]) -> bool {
    for (at, byte) in bytes.iter_mut().enumerate() {
        *byte ^= key[at % 4];
    }
    bytes.is_ascii()
}
