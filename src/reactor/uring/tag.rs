//! What a completion is about, in its 64 bits of `user_data`: kind (8 bits), generation (24), slot (32), from the top.
//!
//! A send's generation bits hold its place in the turn, since it never outlives it. An accept's slot is its place.

/// Generations count modulo this.
pub(super) const GENERATIONS: u32 = 1 << 24;

/// What was asked of the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Kind {
    Send,
    Accept,
    AcceptCancel,
    Receive,
    ReceiveCancel,
    PollOut,
    PollOutCancel,
    Shutdown,
    /// A socket option.
    Option,
    Close,
    Wake,
    Unacknowledged,
}

const KINDS: [Kind; 12] = [
    Kind::Send,
    Kind::Accept,
    Kind::AcceptCancel,
    Kind::Receive,
    Kind::ReceiveCancel,
    Kind::PollOut,
    Kind::PollOutCancel,
    Kind::Shutdown,
    Kind::Option,
    Kind::Close,
    Kind::Wake,
    Kind::Unacknowledged,
];

/// The parts of a `user_data`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tag {
    pub(super) kind: Kind,
    pub(super) generation: u32,
    pub(super) slot: u32,
}

impl Tag {
    pub(super) fn encode(self) -> u64 {
        debug_assert!(self.generation < GENERATIONS, "generations wrap");
        (self.kind as u64) << 56 | u64::from(self.generation) << 32 | u64::from(self.slot)
    }

    pub(super) fn decode(user_data: u64) -> Self {
        let kind = KINDS[(user_data >> 56) as usize];
        Self { kind, generation: (user_data >> 32) as u32 & (GENERATIONS - 1), slot: user_data as u32 }
    }
}

#[test]
fn a_tag_survives_its_64_bits() {
    for (place, kind) in KINDS.into_iter().enumerate() {
        assert_eq!(kind as usize, place);
        for (generation, slot) in [(0, 0), (GENERATIONS - 1, 0), (0, u32::MAX), (7, 9)] {
            let tag = Tag { kind, generation, slot };
            assert_eq!(Tag::decode(tag.encode()), tag);
        }
    }
}
