//! What compressed messages inflate to, remembered: of a fan-out whose messages are compressed each by itself every subscriber
//! gets the same bytes, and the same bytes inflate to the same message. So one is inflated and the others are compared with it,
//! and a generator that checks every byte does not become the slow side.
//!
//! Invariant: only messages that take over no context are kept here; what others inflate to depends on those before.

use tidegate::ws::MessageKind;

/// Messages that are remembered: more than may be under way together, as a rule.
const PLACES: usize = 256;

/// The latest messages, each in the place that its bytes lead to.
pub(crate) struct Inflated {
    places: Vec<Place>,
}

#[derive(Clone, Default)]
struct Place {
    compressed: Vec<u8>,
    kind: Option<MessageKind>,
    message: Vec<u8>,
}

impl Inflated {
    pub(crate) fn new() -> Inflated {
        Inflated { places: vec![Place::default(); PLACES] }
    }

    /// What these bytes of a message of this kind inflate to, if that is remembered.
    pub(crate) fn get(&self, kind: MessageKind, compressed: &[u8]) -> Option<&[u8]> {
        let place = &self.places[place_of(compressed)];
        (place.kind == Some(kind) && place.compressed == compressed).then_some(&place.message[..])
    }

    /// Remembers it, in the place of another.
    pub(crate) fn keep(&mut self, kind: MessageKind, compressed: &[u8], message: &[u8]) {
        let place = &mut self.places[place_of(compressed)];
        place.kind = Some(kind);
        place.compressed.clear();
        place.compressed.extend_from_slice(compressed);
        place.message.clear();
        place.message.extend_from_slice(message);
    }
}

/// From the length and some words: a number that changes from message to message stands among the first bytes.
fn place_of(compressed: &[u8]) -> usize {
    let word = |bytes: Option<&[u8; 8]>| bytes.map_or(0, |bytes| u64::from_le_bytes(*bytes));
    let words =
        [word(compressed.first_chunk()), word(compressed.get(8..).and_then(|rest| rest.first_chunk())), compressed.len() as u64];
    let mixed = words.into_iter().fold(0_u64, |mixed, word| (mixed.rotate_left(23) ^ word).wrapping_mul(0x9E37_79B9_7F4A_7C15));
    (mixed >> 56) as usize % PLACES
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_same_bytes_of_the_same_kind_are_known() {
        let mut inflated = Inflated::new();
        assert_eq!(inflated.get(MessageKind::Text, b""), None, "nothing is remembered at first");
        inflated.keep(MessageKind::Text, b"compressed bytes of one", b"one");
        assert_eq!(inflated.get(MessageKind::Text, b"compressed bytes of one"), Some(&b"one"[..]));
        assert_eq!(inflated.get(MessageKind::Binary, b"compressed bytes of one"), None);
        // The same place, since length and beginning are the same.
        assert_eq!(inflated.get(MessageKind::Text, b"compressed bytes of two"), None);
        inflated.keep(MessageKind::Text, b"compressed bytes of two", b"two");
        assert_eq!(inflated.get(MessageKind::Text, b"compressed bytes of two"), Some(&b"two"[..]));
        assert_eq!(inflated.get(MessageKind::Text, b"compressed bytes of one"), None, "another is in its place");
    }
}
