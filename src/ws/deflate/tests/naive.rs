//! DEFLATE (RFC 1951) read as simply as it can be, bit by bit; it also tells how far back the data refers.

struct Bits<'d> {
    data: &'d [u8],
    at: usize,
}

impl Bits<'_> {
    fn take(&mut self, count: u32) -> usize {
        let mut value = 0;
        for place in 0..count {
            value |= usize::from(self.data[self.at / 8] >> (self.at % 8) & 1) << place;
            self.at += 1;
        }
        value
    }

    /// 3.2.2: codes of one length follow one another, shorter ones first.
    fn symbol(&mut self, lengths: &[u8]) -> usize {
        let (mut code, mut first) = (0, 0);
        for length in 1..=15 {
            code = code << 1 | self.take(1);
            let count = lengths.iter().filter(|of| **of == length).count();
            if code < first + count {
                let places = lengths.iter().enumerate().filter(|(_, of)| **of == length);
                return places.map(|(symbol, _)| symbol).nth(code - first).expect("it is among them");
            }
            first = (first + count) << 1;
        }
        panic!("no code begins so");
    }
}

/// 3.2.5: what a length symbol from 257 on, or a distance symbol, begins with, and its extra bits.
fn base(symbol: usize, begin: usize, per_step: u32) -> (usize, u32) {
    let (mut base, mut extra) = (begin, 0);
    for number in 0..symbol {
        base += 1 << extra;
        let next = number as u32 + 1;
        extra = if next < 2 << per_step { 0 } else { (next >> per_step) - 1 };
    }
    (base, extra)
}

/// What the stream holds, and the longest distance in it.
pub(super) fn inflate(data: &[u8]) -> (Vec<u8>, usize) {
    let mut bits = Bits { data, at: 0 };
    let (mut out, mut furthest) = (Vec::new(), 0);
    loop {
        let last = bits.take(1) == 1;
        let (literals, distances) = match bits.take(2) {
            0 => {
                bits.at = bits.at.next_multiple_of(8);
                let length = bits.take(16);
                assert_eq!(bits.take(16), !length & 0xffff, "a length and its complement");
                out.extend((0..length).map(|_| bits.take(8) as u8));
                if last {
                    return (out, furthest);
                }
                continue;
            }
            1 => ([[8; 144].as_slice(), &[9; 112], &[7; 24], &[8; 8]].concat(), vec![5; 30]),
            2 => dynamic(&mut bits),
            _ => panic!("a reserved kind of block"),
        };
        loop {
            match bits.symbol(&literals) {
                literal @ 0..=255 => out.push(literal as u8),
                256 => break,
                symbol => {
                    let (begin, extra) = if symbol == 285 { (258, 0) } else { base(symbol - 257, 3, 2) };
                    let length = begin + bits.take(extra);
                    let (begin, extra) = base(bits.symbol(&distances), 1, 1);
                    let distance = begin + bits.take(extra);
                    furthest = furthest.max(distance);
                    (0..length).for_each(|_| out.push(out[out.len() - distance]));
                }
            }
        }
        if last {
            return (out, furthest);
        }
    }
}

/// 3.2.7.
fn dynamic(bits: &mut Bits<'_>) -> (Vec<u8>, Vec<u8>) {
    let (literals, distances, count) = (bits.take(5) + 257, bits.take(5) + 1, bits.take(4) + 4);
    let mut of_lengths = [0; 19];
    for place in &[16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15][..count] {
        of_lengths[*place] = bits.take(3) as u8;
    }
    let mut lengths: Vec<u8> = Vec::new();
    while lengths.len() < literals + distances {
        let (length, times) = match bits.symbol(&of_lengths) {
            16 => (lengths[lengths.len() - 1], 3 + bits.take(2)),
            17 => (0, 3 + bits.take(3)),
            18 => (0, 11 + bits.take(7)),
            length => (length as u8, 1),
        };
        lengths.extend(vec![length; times]);
    }
    let distances = lengths.split_off(literals);
    (lengths, distances)
}
