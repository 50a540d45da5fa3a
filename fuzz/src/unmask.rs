//! Masking: every loop that this processor has against the byte loop, at any address, with any key, whole and continued.

use tidegate::ws::mask::{present, rotate, unmask};

/// Bytes around the payload that nobody may touch.
const GUARD: u8 = 0xa5;

/// A key, where the payload lies, where it is cut, then the payload.
pub fn check(data: &[u8]) {
    let Some(([k0, k1, k2, k3, place, cut], payload)) = data.split_first_chunk() else { return };
    let key = [*k0, *k1, *k2, *k3];
    let expected: Vec<u8> = payload.iter().zip(key.iter().cycle()).map(|(byte, key)| byte ^ key).collect();
    // Two lanes of the widest loop.
    let before = usize::from(*place) % 128;
    let mut bytes = vec![GUARD; before];
    bytes.extend_from_slice(payload);
    bytes.extend_from_slice(&[GUARD; 64]);
    let range = before..before + payload.len();
    for unmasker in present() {
        let mut unmasked = bytes.clone();
        let ascii = unmasker.unmask_ascii(&mut unmasked[range.clone()], key);
        assert_eq!(unmasked[range.clone()], expected, "{}", unmasker.name());
        assert_eq!(ascii, expected.is_ascii(), "{}", unmasker.name());
        let untouched = unmasked[..before].iter().chain(&unmasked[range.end..]).all(|byte| *byte == GUARD);
        assert!(untouched, "{} wrote beside the payload", unmasker.name());
    }
    let cut = before + usize::from(*cut).min(payload.len());
    unmask(&mut bytes[range.start..cut], key);
    unmask(&mut bytes[cut..range.end], rotate(key, cut - before));
    assert_eq!(bytes[range.clone()], expected, "continued with the rotated key");
    unmask(&mut bytes[range.clone()], key);
    assert_eq!(bytes[range], *payload, "twice is as before");
}
