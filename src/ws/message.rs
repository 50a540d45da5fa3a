//! Puts the pieces of messages together for who needs them whole.
//!
//! Without: a bound of its own: [`Connection`](super::Connection) has refused what is too long before a piece comes here.
//!
//! Invariant: no heap memory is held outside of a torn message.

use std::borrow::Cow;

use super::{MessageKind, copy};

/// A whole message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message<'b> {
    /// Text, which is UTF-8, or binary.
    pub kind: MessageKind,
    /// The payload: borrowed from the receive buffer if it lay whole in it, else assembled.
    pub bytes: Cow<'b, [u8]>,
}

/// Holds what has come of a torn message.
#[derive(Debug, Default)]
pub struct Assembler {
    /// Lent to the message when it is whole, so that nothing stays behind.
    pieces: Vec<u8>,
}

impl Assembler {
    /// Takes one piece, as [`Event::Data`](super::Event::Data) has it; gives the message at its last.
    pub fn add<'b>(&mut self, kind: MessageKind, bytes: &'b [u8], first: bool, last: bool) -> Option<Message<'b>> {
        debug_assert!(!first || self.pieces.is_empty(), "a message begins where the last one ended");
        if first && last {
            return Some(Message { kind, bytes: Cow::Borrowed(bytes) });
        }
        copy::append(&mut self.pieces, bytes);
        last.then(|| Message { kind, bytes: Cow::Owned(std::mem::take(&mut self.pieces)) })
    }

    /// Bytes held of an unfinished message.
    pub fn bytes_held(&self) -> usize {
        self.pieces.capacity()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Pieces as (bytes, first, last); messages as (bytes, borrowed).
    fn check(pieces: &[(&str, bool, bool)], expected: &[(&str, bool)]) {
        let mut assembler = Assembler::default();
        let mut messages = Vec::new();
        for (bytes, first, last) in pieces {
            if let Some(message) = assembler.add(MessageKind::Text, bytes.as_bytes(), *first, *last) {
                let borrowed = matches!(message.bytes, Cow::Borrowed(_));
                messages.push((String::from_utf8(message.bytes.into_owned()).expect("the pieces are text"), borrowed));
                assert_eq!(assembler.bytes_held(), 0, "nothing stays behind");
            }
        }
        let messages: Vec<_> = messages.iter().map(|(text, borrowed)| (text.as_str(), *borrowed)).collect();
        assert_eq!(messages, expected);
    }

    #[test]
    fn whole_messages_are_borrowed_and_torn_ones_assembled() {
        check(&[("whole", true, true)], &[("whole", true)]);
        check(&[("", true, true)], &[("", true)]);
        check(&[("in ", true, false), ("three ", false, false), ("pieces", false, true)], &[("in three pieces", false)]);
        check(&[("ends empty", true, false), ("", false, true)], &[("ends empty", false)]);
        check(
            &[("a", true, false), ("b", false, true), ("c", true, true), ("d", true, false), ("e", false, true)],
            &[("ab", false), ("c", true), ("de", false)],
        );
    }
}
