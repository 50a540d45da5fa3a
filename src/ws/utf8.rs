//! UTF-8 checked as it comes in: SIMD (`simdutf8`) on whole input, and a carry for the code point that the input tears.
//!
//! Masked text is unmasked on the way ([`Utf8::unmask`]), which says by the way whether it is ASCII; then that was the check.
//!
//! Invariant: the carry is the valid beginning of a code point, at most three bytes; so a text is refused at its first bad
//! byte, not at its end.

use super::mask;

/// The bytes so far are not the beginning of any UTF-8 text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotUtf8;

/// Longest beginning of a code point that is not a whole one.
const CARRY_BYTES_MAX: usize = 3;

/// Checks one text that arrives in pieces.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Utf8 {
    carry: [u8; CARRY_BYTES_MAX],
    carried: u8,
}

/// Text is unmasked and checked in parts of this size, so that the second look finds them in the first-level cache; a
/// multiple of four, so that the key begins anew with each.
const PART_BYTES: usize = 16 << 10;

impl Utf8 {
    /// Unmasks the next piece in place and checks it. `last`: the text ends with it, so nothing may be torn.
    #[inline]
    pub fn unmask(&mut self, bytes: &mut [u8], key: [u8; 4], last: bool) -> Result<(), NotUtf8> {
        if bytes.len() > PART_BYTES {
            return self.unmask_in_parts(bytes, key, last);
        }
        let ascii = mask::unmask_ascii(bytes, key);
        if ascii && self.is_complete() { Ok(()) } else { self.feed(bytes, last) }
    }

    #[inline(never)]
    fn unmask_in_parts(&mut self, bytes: &mut [u8], key: [u8; 4], last: bool) -> Result<(), NotUtf8> {
        const { assert!(PART_BYTES.is_multiple_of(4)) };
        let mut parts = bytes.chunks_mut(PART_BYTES).peekable();
        while let Some(part) = parts.next() {
            self.unmask(part, key, last && parts.peek().is_none())?;
        }
        Ok(())
    }

    /// Checks the next piece. `last`: the text ends with it.
    #[inline]
    pub fn feed(&mut self, bytes: &[u8], last: bool) -> Result<(), NotUtf8> {
        // What begins and ends between code points needs no look at how it ends.
        if last && self.is_complete() { check_whole(bytes) } else { self.feed_torn(bytes, last) }
    }

    /// Checks the next piece, which may begin and end inside of a code point. Not inlined, so that the way of text that
    /// comes whole stays short.
    #[inline(never)]
    fn feed_torn(&mut self, bytes: &[u8], last: bool) -> Result<(), NotUtf8> {
        let bytes = self.complete_carry(bytes)?;
        let (whole, torn) = bytes.split_at(bytes.len() - torn_bytes(bytes));
        check_whole(whole)?;
        if !torn.is_empty() {
            debug_assert!(self.is_complete(), "what is torn comes after the carry was completed");
            self.carry_over(torn)?;
        }
        if last { self.finish() } else { Ok(()) }
    }

    /// The text ends here: is its last code point whole?
    pub fn finish(&mut self) -> Result<(), NotUtf8> {
        let complete = self.is_complete();
        *self = Self::default();
        if complete { Ok(()) } else { Err(NotUtf8) }
    }

    /// True between code points.
    pub fn is_complete(&self) -> bool {
        self.carried == 0
    }

    /// Gives the torn code point its missing bytes, and returns what follows it.
    fn complete_carry<'b>(&mut self, bytes: &'b [u8]) -> Result<&'b [u8], NotUtf8> {
        if self.is_complete() {
            return Ok(bytes);
        }
        let carried = usize::from(self.carried);
        let mut code_point = [0; CARRY_BYTES_MAX + 1];
        code_point[..carried].copy_from_slice(&self.carry[..carried]);
        for (taken, byte) in bytes.iter().enumerate() {
            let end = carried + taken + 1;
            code_point[end - 1] = *byte;
            if is_whole(&code_point[..end])? {
                *self = Self::default();
                return Ok(&bytes[taken + 1..]);
            }
        }
        self.carry_over(&code_point[..carried + bytes.len()])?;
        Ok(&[])
    }

    fn carry_over(&mut self, torn: &[u8]) -> Result<(), NotUtf8> {
        if is_whole(torn)? {
            unreachable!("a torn code point is not whole");
        }
        self.carry[..torn.len()].copy_from_slice(torn);
        self.carried = torn.len() as u8;
        Ok(())
    }
}

#[inline]
fn check_whole(bytes: &[u8]) -> Result<(), NotUtf8> {
    simdutf8::basic::from_utf8(bytes).map(drop).map_err(|_| NotUtf8)
}

/// Whether it is a whole code point or, still, the beginning of one.
fn is_whole(code_point: &[u8]) -> Result<bool, NotUtf8> {
    match std::str::from_utf8(code_point) {
        Ok(_) => Ok(true),
        Err(error) if error.error_len().is_none() => Ok(false),
        Err(_) => Err(NotUtf8),
    }
}

/// Bytes at the end that begin a code point which needs more than is there, judged by its first byte only.
fn torn_bytes(bytes: &[u8]) -> usize {
    for (behind, byte) in bytes.iter().rev().take(CARRY_BYTES_MAX).enumerate() {
        let here = behind + 1;
        match byte {
            0x80..=0xbf => {}
            0xc0..=0xdf => return if here < 2 { here } else { 0 },
            0xe0..=0xef => return if here < 3 { here } else { 0 },
            0xf0..=0xff => return here,
            _ => return 0,
        }
    }
    0
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What std says of the bytes so far: refused, or the beginning of a text.
    fn refused_by_std(bytes: &[u8]) -> bool {
        std::str::from_utf8(bytes).is_err_and(|error| error.error_len().is_some())
    }

    /// The pieces as they are, and masked.
    fn check<'b>(pieces: impl IntoIterator<Item = &'b [u8]>) {
        let pieces: Vec<_> = pieces.into_iter().collect();
        check_fed(&pieces);
        check_masked(&pieces);
    }

    /// Unmasks the pieces; after each, the answer must be std's for all bytes up to there.
    fn check_masked(pieces: &[&[u8]]) {
        let key = [0x37, 0xfa, 0x21, 0x3d];
        let mut utf8 = Utf8::default();
        let mut so_far = Vec::new();
        for (number, piece) in pieces.iter().enumerate() {
            let key = mask::rotate(key, so_far.len());
            so_far.extend_from_slice(piece);
            let mut masked = piece.to_vec();
            mask::scalar::unmask_ascii(&mut masked, key);
            let last = number + 1 == pieces.len();
            let unmasked = utf8.unmask(&mut masked, key, last);
            let refused = if last { std::str::from_utf8(&so_far).is_err() } else { refused_by_std(&so_far) };
            assert_eq!(unmasked.is_err(), refused, "after {}", so_far.escape_ascii());
            if refused {
                return;
            }
            assert_eq!(masked, *piece, "after {}", so_far.escape_ascii());
        }
        assert_eq!(utf8, Utf8::default(), "ready for the next text");
    }

    /// Feeds the pieces; after each, the answer must be std's for all bytes up to there.
    fn check_fed(pieces: &[&[u8]]) {
        let mut utf8 = Utf8::default();
        let mut so_far = Vec::new();
        for piece in pieces {
            so_far.extend_from_slice(piece);
            let fed = utf8.feed(piece, false);
            assert_eq!(fed.is_err(), refused_by_std(&so_far), "after {}", so_far.escape_ascii());
            if fed.is_err() {
                return;
            }
            assert_eq!(utf8.is_complete(), std::str::from_utf8(&so_far).is_ok(), "after {}", so_far.escape_ascii());
        }
        assert_eq!(utf8.finish().is_ok(), std::str::from_utf8(&so_far).is_ok());
        assert_eq!(utf8, Utf8::default(), "ready for the next text");
    }

    fn check_every_way(bytes: &[u8]) {
        check([bytes]);
        check(bytes.chunks(1));
        for cut in 0..=bytes.len() {
            let (before, behind) = bytes.split_at(cut);
            check([before, behind]);
            for second in 0..=behind.len() {
                check([before, &behind[..second], &behind[second..]]);
            }
        }
    }

    #[test]
    fn borders_of_the_code_space() {
        for bytes in [
            &b""[..],
            b"Hello",
            "κόσμε".as_bytes(),
            "\u{7f}\u{80}\u{7ff}\u{800}\u{ffff}\u{10000}\u{10ffff}".as_bytes(),
            "\u{d7ff}\u{e000}\u{fffd}".as_bytes(),
            b"\xf4\x90\x80\x80",     // beyond U+10FFFF
            b"\xed\xa0\x80edited",   // a surrogate
            b"\xc0\xaf",             // overlong
            b"\xe0\x80\xaf",         // overlong
            b"\xf0\x80\x80\xaf",     // overlong
            b"\xf8\x88\x80\x80\x80", // five bytes
            b"\x80",                 // a continuation alone
            b"a\xe2\x82b",           // cut short
            b"\xf0\x9f\x98",         // ends too early
            b"\xff",
        ] {
            check_every_way(bytes);
            let long = [&b"0123456789".repeat(7), bytes, &b"x".repeat(70)].concat();
            check([&long[..]]);
            check(long.chunks(1));
        }
    }

    #[test]
    fn every_sequence_of_one_to_three_bytes_at_every_cut() {
        // All lead bytes with continuations around the borders at which the rules change.
        let borders = [0x00, 0x7f, 0x80, 0x8f, 0x90, 0x9f, 0xa0, 0xbf, 0xc0, 0xff];
        for lead in 0..=255 {
            check_every_way(&[lead]);
            for second in borders {
                check_every_way(&[lead, second]);
                for third in borders {
                    check_every_way(&[lead, second, third]);
                    check(([lead, second, third, 0x80]).chunks(1));
                }
            }
        }
    }

    #[test]
    fn text_longer_than_a_part_with_a_code_point_at_each_place_of_the_border() {
        for before in PART_BYTES - 5..PART_BYTES + 2 {
            for odd in ["€", "💹", "\u{7f}"] {
                let mut text = ["x".repeat(before), odd.repeat(3), "y".repeat(PART_BYTES)].concat().into_bytes();
                check([&text[..]]);
                check(text.chunks(PART_BYTES + 3));
                text[before + 1] = 0xff;
                check([&text[..]]);
                text.truncate(before + 1);
                check([&text[..]]);
            }
        }
    }

    proptest! {
        #[test]
        fn any_text_with_one_byte_changed_in_any_pieces(
            text in "\\PC{0,60}",
            change in prop::option::of((0_usize..240, any::<u8>())),
            piece in 1_usize..90,
        ) {
            let mut bytes = text.into_bytes();
            if let Some((at, byte)) = change && !bytes.is_empty() {
                let at = at % bytes.len();
                bytes[at] = byte;
            }
            check(bytes.chunks(piece));
        }
    }
}
