//! Ready-to-send frames, back to back in a circular buffer, addressed by their publications' offsets.
//!
//! Byte positions count from the ring's beginning and never go back; a byte lies at its position modulo the capacity, a
//! power of two. So an offset's place is one look into the index and the bytes between two offsets are a subtraction, and
//! any run of frames is one slice, or two where it wraps. The buffer starts at what the first frame needs and doubles, up
//! to `bytes` rounded up to a power of two; only the newest frame, held whatever its size, takes it above, and it comes
//! down again when that one leaves. It is reallocated in [`Ring::append`] only.
//!
//! Without: what a frame is made of, who reads it.

use std::collections::VecDeque;

/// What a ring holds at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RingLimits {
    /// Publications; at least 1.
    pub publications: u32,
    /// Bytes of frames; the newest frame is held whatever its size.
    pub bytes: u32,
    /// The greatest age in milliseconds, seen from the newest one; 0: any. A ring knows no time: whoever appends says what is
    /// too old.
    pub age_ms: u32,
}

/// A run of frames, `head..next`: of every offset there, or (a sparse ring) of some.
#[derive(Debug)]
pub struct Ring {
    buffer: Box<[u8]>,
    /// Where each held frame starts.
    starts: VecDeque<u64>,
    /// Where the next frame will start.
    tail: u64,
    /// Offset of the oldest held frame; of a sparse ring, behind that of the newest that was given up.
    head: u64,
    limits: RingLimits,
    sparse: Option<Box<Sparse>>,
}

/// What a ring knows that leaves out offsets.
#[derive(Debug)]
struct Sparse {
    /// Of each held frame.
    offsets: VecDeque<u64>,
    /// Up to here it has all that it will have.
    next: u64,
}

impl Ring {
    /// An empty ring whose first frame will be that of offset `first`. Takes no memory yet.
    #[must_use]
    pub fn new(first: u64, limits: RingLimits) -> Ring {
        assert!(limits.publications > 0, "a ring that holds no publication serves nobody");
        Ring { buffer: Box::default(), starts: VecDeque::new(), tail: 0, head: first, limits, sparse: None }
    }

    /// An empty ring that will leave out offsets.
    #[must_use]
    pub fn sparse(first: u64, limits: RingLimits) -> Ring {
        let sparse = Some(Box::new(Sparse { offsets: VecDeque::new(), next: first }));
        Ring { sparse, ..Ring::new(first, limits) }
    }

    /// Another one without frames, of the same kind.
    #[must_use]
    pub fn another(&self, first: u64) -> Ring {
        if self.sparse.is_some() { Ring::sparse(first, self.limits) } else { Ring::new(first, self.limits) }
    }

    /// Every offset below is given up: that of the oldest held frame, and [`Ring::next`] while empty. A sparse ring's frames
    /// begin there or behind it.
    #[must_use]
    pub fn head(&self) -> u64 {
        self.head
    }

    /// Offset that the next appended frame will have.
    #[must_use]
    pub fn next(&self) -> u64 {
        match &self.sparse {
            None => self.head + self.starts.len() as u64,
            Some(sparse) => sparse.next,
        }
    }

    /// How many frames are held.
    #[must_use]
    pub fn held(&self) -> usize {
        self.starts.len()
    }

    /// How many frames there are from one offset to another.
    #[must_use]
    pub fn count(&self, from: u64, to: u64) -> u64 {
        (self.index(to) - self.index(from)) as u64
    }

    /// The offset of the newest frame.
    #[must_use]
    pub fn newest(&self) -> Option<u64> {
        self.starts.len().checked_sub(1).map(|index| self.offset(index))
    }

    /// The offsets of the frames from one on.
    pub fn offsets_from(&self, from: u64) -> impl Iterator<Item = u64> + use<'_> {
        (self.index(from)..self.starts.len()).map(|index| self.offset(index))
    }

    /// Behind the first frame that is not below the offset.
    #[must_use]
    pub fn behind(&self, from: u64) -> u64 {
        self.offset(self.index(from)) + 1
    }

    /// The limits that it goes by.
    #[must_use]
    pub fn limits(&self) -> RingLimits {
        self.limits
    }

    /// Sets other limits, by which the next [`Ring::append`] gives up frames.
    pub fn bound(&mut self, limits: RingLimits) {
        assert!(limits.publications > 0, "a ring that holds no publication serves nobody");
        self.limits = limits;
    }

    /// What the head will be once a frame of `frame_bytes` is appended: every offset below it is given up, and all below
    /// `young`, which are too old.
    #[must_use]
    pub fn head_after(&self, frame_bytes: usize, young: u64) -> u64 {
        let kept_max = u64::from(self.limits.bytes).saturating_sub(frame_bytes as u64);
        let by_count = (self.starts.len() + 1).saturating_sub(self.limits.publications as usize);
        let by_age = self.index(young.clamp(self.head, self.next()));
        let mut evicted = by_count.max(by_age);
        while self.starts.get(evicted).is_some_and(|start| self.tail - start > kept_max) {
            evicted += 1;
        }
        match (&self.sparse, evicted) {
            (None, _) => self.head + evicted as u64,
            (Some(_), 0) => self.head,
            (Some(_), _) => self.offset(evicted - 1) + 1,
        }
    }

    /// Appends a frame of this offset to a sparse ring, as [`Ring::append`]: what lies between is left out.
    pub fn append_at(&mut self, offset: u64, frame: &[u8]) {
        assert!(offset >= self.next(), "frames come in the order of their offsets");
        self.append(frame, 0);
        let sparse = self.sparse.as_mut().expect("only a sparse ring leaves out offsets");
        sparse.offsets.push_back(offset);
        sparse.next = offset + 1;
    }

    /// A sparse ring has all that it will have below `next`.
    pub fn close_up_to(&mut self, next: u64) {
        let sparse = self.sparse.as_mut().expect("only a sparse ring leaves out offsets");
        assert!(next >= sparse.next, "a ring does not go back");
        sparse.next = next;
    }

    /// Appends the frame of offset [`Ring::next`], giving up frames at the head as the limits demand, and all below `young`.
    pub fn append(&mut self, frame: &[u8], young: u64) {
        let head = self.head_after(frame.len(), young);
        let evicted = self.index(head);
        self.starts.drain(..evicted);
        if let Some(sparse) = &mut self.sparse {
            sparse.offsets.drain(..evicted);
        }
        self.head = head;
        let start = self.starts.front().copied().unwrap_or(self.tail);
        self.fit(start, (self.tail - start) as usize + frame.len());
        if self.starts.len() == self.starts.capacity() {
            // By doubling from 1: a quiet topic's index has one entry, not the four that a first push would take.
            self.starts.reserve_exact(self.starts.len().max(1));
        }
        self.starts.push_back(self.tail);
        write(&mut self.buffer, self.tail, frame);
        self.tail += frame.len() as u64;
    }

    /// The bytes of the frames `from..to`, without the first `skip_bytes` of them. The second slice is empty unless they wrap.
    #[must_use]
    pub fn range(&self, from: u64, skip_bytes: usize, to: u64) -> (&[u8], &[u8]) {
        slices(&self.buffer, self.start(from) + skip_bytes as u64, self.start(to))
    }

    /// Bytes of the frames `from..to`.
    #[must_use]
    pub fn len_bytes(&self, from: u64, to: u64) -> usize {
        (self.start(to) - self.start(from)) as usize
    }

    /// Where one stands `bytes` after the beginning of frame `from`: in which frame, and how many bytes into it.
    #[must_use]
    pub fn offset_at(&self, from: u64, bytes: usize) -> (u64, usize) {
        let position = self.start(from) + bytes as u64;
        assert!(position <= self.tail, "only bytes that the ring holds can have been sent");
        if position == self.tail {
            return (self.next(), 0);
        }
        let index = self.starts.partition_point(|start| *start <= position) - 1;
        (self.offset(index), (position - self.starts[index]) as usize)
    }

    /// Memory that the ring takes beside itself, in bytes.
    #[must_use]
    pub fn capacity_bytes(&self) -> usize {
        self.buffer.len() + self.starts.capacity() * size_of::<u64>()
    }

    /// Where the frame starts; for [`Ring::next`], where it will.
    fn start(&self, offset: u64) -> u64 {
        let index = self.index(offset);
        if index == self.starts.len() { self.tail } else { self.starts[index] }
    }

    /// The place of the first frame that is not below the offset.
    fn index(&self, offset: u64) -> usize {
        let given_up = "no one asks for a frame that the ring gave up";
        match &self.sparse {
            None => offset.checked_sub(self.head).expect(given_up) as usize,
            Some(sparse) => {
                assert!(offset >= self.head, "{given_up}");
                sparse.offsets.partition_point(|held| *held < offset)
            }
        }
    }

    fn offset(&self, index: usize) -> u64 {
        self.sparse.as_ref().map_or_else(|| self.head + index as u64, |sparse| sparse.offsets[index])
    }

    /// Makes the buffer hold `bytes` from position `start` on: doubles it, or takes it down to what it may be.
    fn fit(&mut self, start: u64, bytes: usize) {
        let capacity_max = (self.limits.bytes as usize).next_power_of_two();
        let capacity = bytes.next_power_of_two();
        if (capacity..=capacity.max(capacity_max)).contains(&self.buffer.len()) {
            return;
        }
        let mut buffer = vec![0; capacity].into_boxed_slice();
        let (one, two) = slices(&self.buffer, start, self.tail);
        write(&mut buffer, start, one);
        write(&mut buffer, start + one.len() as u64, two);
        self.buffer = buffer;
    }
}

/// The bytes at positions `from..to` of a circular buffer.
fn slices(buffer: &[u8], from: u64, to: u64) -> (&[u8], &[u8]) {
    if from == to {
        return (&[], &[]);
    }
    let begin = from as usize & (buffer.len() - 1);
    let bytes = (to - from) as usize;
    let contiguous = bytes.min(buffer.len() - begin);
    (&buffer[begin..begin + contiguous], &buffer[..bytes - contiguous])
}

/// Writes at a position of a circular buffer.
fn write(buffer: &mut [u8], position: u64, bytes: &[u8]) {
    if bytes.is_empty() {
        return;
    }
    let begin = position as usize & (buffer.len() - 1);
    let (one, two) = bytes.split_at(bytes.len().min(buffer.len() - begin));
    buffer[begin..begin + one.len()].copy_from_slice(one);
    buffer[..two.len()].copy_from_slice(two);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check_ring(limits: RingLimits, sizes: &[usize]) {
        let mut ring = Ring::new(7, limits);
        let mut twin: VecDeque<(u64, Vec<u8>)> = VecDeque::new();
        for (number, &size) in sizes.iter().enumerate() {
            let offset = 7 + number as u64;
            let frame: Vec<u8> = (0..size).map(|at| (at * 7 + number) as u8).collect();
            twin.push_back((offset, frame.clone()));
            let bytes = |twin: &VecDeque<(u64, Vec<u8>)>| twin.iter().map(|(_, frame)| frame.len()).sum::<usize>();
            while twin.len() > limits.publications as usize || (twin.len() > 1 && bytes(&twin) > limits.bytes as usize) {
                twin.pop_front();
            }
            assert_eq!(ring.next(), offset);
            assert_eq!(ring.head_after(size, 0), twin[0].0);
            ring.append(&frame, 0);
            assert_eq!((ring.head(), ring.next()), (twin[0].0, offset + 1));
            let all: Vec<u8> = twin.iter().flat_map(|(_, frame)| frame.clone()).collect();
            assert!(ring.buffer.len() <= all.len().max(limits.bytes as usize).next_power_of_two(), "no more than it may");
            assert!(number > 0 || ring.buffer.len() < (2 * size).max(2), "it starts at what the first frame needs");
            let mut before = 0;
            for (from, frame) in &twin {
                let (one, two) = ring.range(*from, 0, offset + 1);
                assert_eq!([one, two].concat(), all[before..]);
                assert_eq!(ring.len_bytes(*from, offset + 1), all.len() - before);
                for into in [0, frame.len() / 2, frame.len() - 1] {
                    assert_eq!(ring.offset_at(ring.head(), before + into), (*from, into));
                    let (one, two) = ring.range(*from, into, *from + 1);
                    assert_eq!([one, two].concat(), frame[into..]);
                }
                before += frame.len();
            }
            assert_eq!(ring.offset_at(ring.head(), all.len()), (offset + 1, 0));
        }
    }

    proptest! {
        #[test]
        fn equals_a_queue_of_frames(
            publications in 1..20u32,
            bytes in 1..600u32,
            sizes in prop::collection::vec(prop_oneof![8 => 1..100usize, 1 => 500..2000usize], 1..60),
        ) {
            check_ring(RingLimits { publications, bytes, age_ms: 0 }, &sizes);
        }
    }

    #[test]
    fn an_oversize_frame_is_held_and_its_memory_given_back() {
        let mut ring = Ring::new(1, RingLimits { publications: 100, bytes: 256, age_ms: 0 });
        ring.append(&[1; 100], 0);
        ring.append(&[2; 5000], 0);
        assert_eq!((ring.head(), ring.next(), ring.buffer.len()), (2, 3, 8192));
        ring.append(&[3; 100], 0);
        assert_eq!((ring.head(), ring.next(), ring.buffer.len()), (3, 4, 128));
    }
}
