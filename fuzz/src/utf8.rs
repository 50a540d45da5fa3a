//! The incremental check of UTF-8 against `std::str::from_utf8`, after each piece.

use std::str::from_utf8;

use tidegate::ws::utf8::Utf8;

use super::cuts::Cuts;

/// Two bytes of cuts, then the text.
pub fn check(data: &[u8]) {
    let Some(([high, low], text)) = data.split_first_chunk() else { return };
    let mut utf8 = Utf8::default();
    let mut fed = 0;
    for piece in Cuts::new(u16::from_be_bytes([*high, *low]).into()).pieces(text) {
        fed += piece.len();
        // std says where the error is; without a length of it, more bytes may still mend it.
        let beyond_mending = from_utf8(&text[..fed]).is_err_and(|error| error.error_len().is_some());
        let fed_well = utf8.feed(piece).is_ok();
        assert_eq!(fed_well, !beyond_mending, "after {fed} bytes");
        if !fed_well {
            return;
        }
        assert_eq!(utf8.is_complete(), from_utf8(&text[..fed]).is_ok());
    }
    assert_eq!(utf8.finish().is_ok(), from_utf8(text).is_ok());
    assert_eq!(utf8, Utf8::default(), "ready for the next text");
}
