//! What is published: payloads that any worker can make again from their number, so that what comes is compared byte for byte.

use std::ops::Range;

/// `{"n":"` and 16 digits come first in every payload that is made here.
const HEAD: &[u8] = b"{\"n\":\"";
const NUMBER: Range<usize> = 6..22;
const MIDDLE: &[u8] = b"\",\"x\":\"";
const TAIL: &[u8] = b"\"}";

/// Least bytes of a payload that is made here.
pub(crate) const SIZE_MIN: u32 = 32;

/// A publication's number in digits.
pub(crate) type Digits = [u8; 16];

/// The payloads of a run.
#[derive(Clone, Debug)]
pub(crate) struct Payloads {
    /// The longest payload, its number zero, without its tail.
    longest: Vec<u8>,
    /// The sizes in use; a publication's is found by its number.
    sizes: Vec<u32>,
}

impl Payloads {
    /// JSON objects of these sizes, at least [`SIZE_MIN`] each.
    pub(crate) fn new(sizes: Vec<u32>) -> Payloads {
        let size_max = sizes.iter().copied().max().expect("there is a size") as usize;
        let mut longest = [HEAD, &[b'0'; 16], MIDDLE].concat();
        // Prices and amounts, since servers may compress: a run of one letter would be nothing.
        let mut dice = 0x2545_F491_4F6C_DD1D_u64;
        while longest.len() < size_max {
            dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let (price, amount) = (64_000 + (dice >> 60), (dice >> 33) % 100_000);
            longest.extend_from_slice(format!("{price}.{:02}:0.{amount:05},", (dice >> 50) % 100).as_bytes());
        }
        longest.truncate(size_max - TAIL.len());
        Payloads { longest, sizes }
    }

    /// Bytes of a publication.
    pub(crate) fn size(&self, number: u64) -> usize {
        let place = match self.sizes.len() as u64 {
            1 => 0,
            // Spread, so that neither topics nor moments have sizes of their own.
            count => number.wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(32) % count,
        };
        self.sizes[place as usize] as usize
    }

    /// Writes a publication into `out`, which it replaces.
    pub(crate) fn write(&self, number: u64, out: &mut Vec<u8>) {
        out.clear();
        out.extend_from_slice(&self.longest[..self.size(number) - TAIL.len()]);
        out[NUMBER].copy_from_slice(&digits(number));
        out.extend_from_slice(TAIL);
    }

    /// Whether these are the bytes of the publication with these digits and this size.
    pub(crate) fn is(&self, digits: &Digits, size: usize, payload: &[u8]) -> bool {
        payload.len() == size
            && payload[NUMBER] == *digits
            && payload[..NUMBER.start] == *HEAD
            && payload[NUMBER.end..size - TAIL.len()] == self.longest[NUMBER.end..size - TAIL.len()]
            && payload[size - TAIL.len()..] == *TAIL
    }
}

/// A number as payloads bear it.
pub(crate) fn digits(number: u64) -> Digits {
    let mut rest = number;
    let mut digits = [b'0'; 16];
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
    digits
}

/// The number that a payload bears.
pub(crate) fn number_of(payload: &[u8]) -> Option<u64> {
    let digits = payload.get(NUMBER)?;
    digits.iter().try_fold(0u64, |number, digit| digit.is_ascii_digit().then(|| number * 10 + u64::from(digit - b'0')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_is_json_of_its_size_and_bears_its_number() {
        let payloads = Payloads::new(vec![SIZE_MIN, 33, 500, 128]);
        let mut sizes = std::collections::BTreeSet::new();
        let mut payload = Vec::new();
        for number in [0, 1, 2, 3, 4, 5, 6, 7, 42, 9_999_999_999_999_999] {
            payloads.write(number, &mut payload);
            let value: serde_json::Value = serde_json::from_slice(&payload).expect("JSON");
            assert_eq!(value["n"], format!("{number:016}"));
            assert_eq!((payload.len(), number_of(&payload)), (payloads.size(number), Some(number)));
            assert!(payloads.is(&digits(number), payloads.size(number), &payload));
            sizes.insert(payload.len());
            // Whatever byte is another, it is found.
            for place in 0..payload.len() {
                payload[place] ^= 1;
                assert!(!payloads.is(&digits(number), payloads.size(number), &payload), "byte {place}");
                payload[place] ^= 1;
            }
            assert!(!payloads.is(&digits(number), payloads.size(number), &payload[1..]));
        }
        assert!(sizes.len() > 1, "only sizes {sizes:?} were drawn");
    }
}
