use proptest::prelude::*;

use super::*;

/// The twin is the judge: same bytes, same answer, and nothing outside of the slice touched.
fn check(unmasker: &Unmasker, offset: usize, payload: &[u8], key: [u8; 4]) {
    #[repr(align(64))]
    struct Aligned([u8; 1024]);

    let mut expected = payload.to_vec();
    let ascii = scalar::unmask_ascii(&mut expected, key);
    let mut place = Aligned([0x5a; 1024]);
    let end = offset + payload.len();
    place.0[offset..end].copy_from_slice(payload);
    assert_eq!(unmasker.unmask_ascii(&mut place.0[offset..end], key), ascii, "{}: ASCII?", unmasker.name());
    assert_eq!(place.0[offset..end], expected, "{}: length {}, offset {offset}", unmasker.name(), payload.len());
    let around = place.0[..offset].iter().chain(&place.0[end..]);
    assert!(around.copied().all(|byte| byte == 0x5a), "{}: bytes around were touched", unmasker.name());
}

#[test]
fn every_way_equals_the_twin_at_every_length_and_alignment() {
    let key = [0x37, 0xfa, 0x21, 0x3d];
    let payload: Vec<u8> = (0..700_u32).map(|at| (at * 31 % 251) as u8).collect();
    for unmasker in present() {
        for length in (0..150).chain([255, 256, 257, 300, 511, 512, 513, 600, 700]) {
            for offset in 0..66 {
                check(&unmasker, offset, &payload[..length], key);
            }
        }
    }
}

#[test]
fn one_byte_that_is_not_ascii_is_seen_wherever_it_stands() {
    let key = [0x80, 0x01, 0xff, 0x7f];
    for unmasker in present() {
        for length in 1..330 {
            let mut masked = vec![b'a'; length];
            scalar::unmask_ascii(&mut masked, key);
            check(&unmasker, 3, &masked, key);
            for at in 0..length {
                masked[at] ^= 0x80;
                assert!(!unmasker.unmask_ascii(&mut masked.clone(), key), "{}: {at} of {length}", unmasker.name());
                masked[at] ^= 0x80;
            }
        }
    }
}

#[test]
fn the_scalar_twin_is_the_rule_of_the_rfc() {
    // RFC 6455 5.7: "Hello" under the key 37 fa 21 3d.
    let mut payload = [0x7f, 0x9f, 0x4d, 0x51, 0x58];
    assert!(scalar::unmask_ascii(&mut payload, [0x37, 0xfa, 0x21, 0x3d]));
    assert_eq!(&payload, b"Hello");
}

#[test]
fn all_ways_of_this_processor_are_tried() {
    let names: Vec<_> = present().iter().map(Unmasker::name).collect();
    assert_eq!(names[0], "dispatched");
    assert!(names.ends_with(&["words", "scalar"]), "{names:?}");
    #[cfg(target_arch = "x86_64")]
    {
        assert!(names.contains(&"sse2"), "{names:?}");
        assert_eq!(names.contains(&"avx2"), is_x86_feature_detected!("avx2"));
        assert_eq!(names.contains(&"avx512"), is_x86_feature_detected!("avx512f"));
    }
}

proptest! {
    #[test]
    fn any_bytes_any_key_any_place(
        payload in prop::collection::vec(any::<u8>(), 0..900),
        key: [u8; 4],
        offset in 0_usize..100,
    ) {
        for unmasker in present() {
            check(&unmasker, offset, &payload, key);
        }
    }

    #[test]
    fn a_payload_unmasked_in_two_cuts_is_the_payload_unmasked_whole(
        payload in prop::collection::vec(any::<u8>(), 0..300),
        key: [u8; 4],
        cut in 0_usize..300,
    ) {
        let cut = cut.min(payload.len());
        let mut whole = payload.clone();
        unmask(&mut whole, key);
        let mut torn = payload;
        let (before, behind) = torn.split_at_mut(cut);
        unmask(before, key);
        unmask(behind, rotate(key, cut));
        prop_assert_eq!(torn, whole);
    }
}
