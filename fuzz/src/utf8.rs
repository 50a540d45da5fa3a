//! The incremental check of UTF-8 against `std::str::from_utf8`, after each piece, of text as it is and of masked text.

use std::str::from_utf8;

use tidegate::ws::mask::{rotate, unmask};
use tidegate::ws::utf8::Utf8;

use super::cuts::Cuts;

const KEY: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// Two bytes of cuts, then the text.
pub fn check(data: &[u8]) {
    let Some(([high, low], text)) = data.split_first_chunk() else { return };
    let pieces = Cuts::new(u16::from_be_bytes([*high, *low]).into()).pieces(text);
    let mut utf8 = Utf8::default();
    let mut unmasking = Utf8::default();
    let mut fed = 0;
    for piece in pieces {
        let key = rotate(KEY, fed);
        let mut bytes = piece.to_vec();
        unmask(&mut bytes, key);
        fed += piece.len();
        let last = fed == text.len();
        // std says where the error is; without a length of it, more bytes may still mend it.
        let beyond_mending = from_utf8(&text[..fed]).is_err_and(|error| error.error_len().is_some());
        let unmasked_well = unmasking.unmask(&mut bytes, key, last).is_ok();
        assert_eq!(unmasked_well, if last { from_utf8(text).is_ok() } else { !beyond_mending }, "masked, after {fed} bytes");
        let fed_well = utf8.feed(piece, false).is_ok();
        assert_eq!(fed_well, !beyond_mending, "after {fed} bytes");
        if !fed_well {
            return;
        }
        assert_eq!(utf8.is_complete(), from_utf8(&text[..fed]).is_ok());
        if unmasked_well {
            assert_eq!(bytes, piece, "unmasked, after {fed} bytes");
        }
    }
    assert_eq!(utf8.finish().is_ok(), from_utf8(text).is_ok());
    assert_eq!(utf8, Utf8::default(), "ready for the next text");
}
