//! Where an input is torn: as TCP may deliver it, from a number that the fuzzer chose.

/// A sequence of lengths, the same for the same number.
#[derive(Clone, Debug)]
pub struct Cuts(u64);

impl Cuts {
    /// Number 0 tears nothing.
    pub fn new(number: u64) -> Cuts {
        Cuts(number)
    }

    /// The length of the next piece of what is `left`: at least one byte, often a few, sometimes all.
    pub fn next(&mut self, left: usize) -> usize {
        if self.0 == 0 {
            return left;
        }
        // Knuth's linear congruential generator (MMIX); its upper bits are good enough to cut with.
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407) | 1;
        let drawn = (self.0 >> 40) as usize;
        let longest = [1, 2, 8, 64, 1024, left][(self.0 >> 33) as usize % 6];
        (1 + drawn % longest.max(1)).min(left)
    }

    /// The pieces of an input.
    pub fn pieces<'b>(&mut self, mut input: &'b [u8]) -> Vec<&'b [u8]> {
        let mut pieces = Vec::new();
        while !input.is_empty() {
            let (piece, rest) = input.split_at(self.next(input.len()));
            pieces.push(piece);
            input = rest;
        }
        pieces
    }
}
