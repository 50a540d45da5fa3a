//! Copying long payloads.
//!
//! The C library copies what is longer than some two kilobytes with `rep movsb` where the processor says that it is fast. On
//! AMD's it is so only for some alignments: 16 KiB took 160 ns, 600 ns or 4.6 us by where they lay (Zen 5, glibc 2.36; its
//! own remedy came with 2.40, for Zen 3 and 4). Pieces below that length take its vector loop: 250 ns wherever they lie.

/// Long copies fall into pieces of so many bytes.
const PIECE_BYTES: usize = 2048;

/// Appends bytes, however many, at a price that does not depend on where they lie.
#[inline]
pub fn append(out: &mut Vec<u8>, bytes: &[u8]) {
    out.reserve(bytes.len());
    for piece in bytes.chunks(PIECE_BYTES) {
        out.extend_from_slice(piece);
    }
}

#[test]
fn what_is_appended_is_whole() {
    let bytes: Vec<u8> = (0..10_000_u32).map(|place| (place ^ (place >> 8)) as u8).collect();
    for length in [0, 1, PIECE_BYTES - 1, PIECE_BYTES, PIECE_BYTES + 1, bytes.len()] {
        let mut out = b"before".to_vec();
        append(&mut out, &bytes[..length]);
        assert_eq!(out, [b"before", &bytes[..length]].concat());
    }
}
