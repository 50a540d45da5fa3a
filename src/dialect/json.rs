//! JSON as it is written here: strings, numbers, and the question whether a text is JSON.
//!
//! Without: a tree of values, floating-point numbers, recursion.

use serde::de::IgnoredAny;

use crate::hub::PayloadKind;

/// Says whether a text is JSON (RFC 8259, white space around the value included), without building a value.
///
/// The text is UTF-8: whoever took it in has checked that. Depth costs a byte a level, never the stack.
#[must_use]
pub fn payload_kind(text: &[u8]) -> PayloadKind {
    match serde_json::from_slice::<IgnoredAny>(text) {
        Ok(_) => PayloadKind::Json,
        Err(_) => PayloadKind::Text,
    }
}

/// Appends a text as a JSON string, in quotes. RFC 8259 7: quotation mark, reverse solidus and the control characters U+0000
/// to U+001F MUST be escaped; all else stands as it is.
pub fn push_string(out: &mut Vec<u8>, text: &[u8]) {
    out.push(b'"');
    let mut rest = text;
    while let Some(at) = rest.iter().position(|&byte| is_escaped(byte)) {
        out.extend_from_slice(&rest[..at]);
        push_escape(out, rest[at]);
        rest = &rest[at + 1..];
    }
    out.extend_from_slice(rest);
    out.push(b'"');
}

/// The length of what [`push_string`] appends.
#[must_use]
pub fn string_len(text: &[u8]) -> usize {
    2 + text.iter().map(|&byte| escape_len(byte)).sum::<usize>()
}

/// Appends a number in decimal.
pub fn push_number(out: &mut Vec<u8>, number: u64) {
    out.extend_from_slice(Decimal::new(number).as_bytes());
}

/// A number's decimal digits, without an allocation.
pub struct Decimal {
    digits: [u8; 20],
    start: usize,
}

impl Decimal {
    /// The digits of a number.
    #[must_use]
    pub fn new(mut number: u64) -> Decimal {
        let mut digits = [0; 20];
        let mut start = digits.len();
        loop {
            start -= 1;
            digits[start] = b'0' + (number % 10) as u8;
            number /= 10;
            if number == 0 {
                return Decimal { digits, start };
            }
        }
    }

    /// The digits as ASCII.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.digits[self.start..]
    }
}

fn is_escaped(byte: u8) -> bool {
    byte < 0x20 || byte == b'"' || byte == b'\\'
}

fn escape_len(byte: u8) -> usize {
    match byte {
        b'"' | b'\\' | b'\n' | b'\r' | b'\t' => 2,
        0..0x20 => 6,
        _ => 1,
    }
}

fn push_escape(out: &mut Vec<u8>, byte: u8) {
    match byte {
        b'\n' => out.extend_from_slice(b"\\n"),
        b'\r' => out.extend_from_slice(b"\\r"),
        b'\t' => out.extend_from_slice(b"\\t"),
        0..0x20 => {
            let low = byte & 0xf;
            let digit = if low < 10 { b'0' + low } else { b'a' + low - 10 };
            out.extend_from_slice(&[b'\\', b'u', b'0', b'0', b'0' + (byte >> 4), digit]);
        }
        _ => out.extend_from_slice(&[b'\\', byte]),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_text_is_json_where_rfc_8259_says_so() {
        let json = [
            "null",
            "true",
            "0",
            "-0",
            "1e999999",
            "-1.5E+3",
            "\"\"",
            "\"\\ud800\"",
            "[]",
            "{}",
            " \t\r\n1 ",
            "{\"a\":1,\"a\":2}",
            "[1,[2,{\"b\":[]}],\"\\u0000\"]",
            "123456789012345678901234567890",
        ];
        let text = [
            "",
            " ",
            "01",
            "1.",
            "+1",
            ".5",
            "NaN",
            "nul",
            "'a'",
            "\"a",
            "\"\n\"",
            "\"\\x\"",
            "[1,]",
            "{\"a\"}",
            "{a:1}",
            "1 2",
            "\u{feff}1",
            "[1]]",
            "hello",
            "// 1",
        ];
        for (texts, kind) in [(&json[..], PayloadKind::Json), (&text[..], PayloadKind::Text)] {
            for text in texts {
                assert_eq!(payload_kind(text.as_bytes()), kind, "{text:?}");
            }
        }
    }

    #[test]
    fn depth_never_costs_the_stack() {
        let depth = 100_000;
        let whole = format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert_eq!(payload_kind(whole.as_bytes()), PayloadKind::Json);
        assert_eq!(payload_kind(&whole.as_bytes()[1..]), PayloadKind::Text);
        assert_eq!(payload_kind("{\"a\":[".repeat(depth).as_bytes()), PayloadKind::Text);
    }

    #[test]
    fn control_characters_are_escaped() {
        let mut out = Vec::new();
        push_string(&mut out, b"\"\\\n\r\t\x00\x1f\x7f/");
        assert_eq!(out, b"\"\\\"\\\\\\n\\r\\t\\u0000\\u001f\x7f/\"");
    }

    #[test]
    fn numbers_are_decimal() {
        for number in [0, 9, 10, 1 << 53, u64::MAX] {
            assert_eq!(Decimal::new(number).as_bytes(), number.to_string().as_bytes());
        }
    }

    proptest! {
        #[test]
        fn any_text_comes_back_from_its_json_string(text in ".*|[\\x00-\\x7f]*") {
            let mut out = Vec::new();
            push_string(&mut out, text.as_bytes());
            prop_assert_eq!(out.len(), string_len(text.as_bytes()));
            prop_assert_eq!(serde_json::from_slice::<String>(&out).expect("it is JSON"), text);
        }
    }
}
