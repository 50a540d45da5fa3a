//! Percent-decoding of a URL's parts (RFC 3986 2.1), strictly and once.
//!
//! Without: forms. `+` is a plus.

use std::borrow::Cow;

/// Why a part of a URL cannot be decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PercentError {
    /// Not two hexadecimal digits behind a `%`.
    #[error("the % at byte {at} is not followed by two hexadecimal digits (a percent sign itself is %25)")]
    Digits {
        /// Where the `%` stands, from 0.
        at: usize,
    },
    /// The decoded bytes are not text.
    #[error("what is percent-encoded is not UTF-8")]
    Utf8,
}

/// Decodes each `%XX` once.
///
/// # Errors
/// See [`PercentError`].
pub fn decode(part: &str) -> Result<Cow<'_, str>, PercentError> {
    let bytes = part.as_bytes();
    if memchr::memchr(b'%', bytes).is_none() {
        return Ok(Cow::Borrowed(part));
    }
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(percent) = memchr::memchr(b'%', &bytes[at..]).map(|found| at + found) {
        decoded.extend_from_slice(&bytes[at..percent]);
        decoded.push(escaped(&bytes[percent + 1..]).ok_or(PercentError::Digits { at: percent })?);
        at = percent + 3;
    }
    decoded.extend_from_slice(&bytes[at..]);
    String::from_utf8(decoded).map(Cow::Owned).map_err(|_| PercentError::Utf8)
}

fn escaped(after_percent: &[u8]) -> Option<u8> {
    let [high, low, ..] = *after_percent else { return None };
    let digit = |byte: u8| char::from(byte).to_digit(16);
    Some((digit(high)? * 16 + digit(low)?) as u8)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The naive twin: character by character, nothing borrowed.
    fn twin(part: &str) -> Option<String> {
        let mut decoded = Vec::new();
        let mut rest = part;
        while let Some(character) = rest.chars().next() {
            rest = &rest[character.len_utf8()..];
            if character == '%' {
                let digits = rest.get(..2).filter(|digits| digits.chars().all(|digit| digit.is_ascii_hexdigit()))?;
                decoded.push(u8::from_str_radix(digits, 16).ok()?);
                rest = &rest[2..];
            } else {
                decoded.extend_from_slice(character.to_string().as_bytes());
            }
        }
        String::from_utf8(decoded).ok()
    }

    #[test]
    fn each_part_is_decoded_once() {
        for (part, decoded) in [
            ("", Ok("")),
            ("a+b", Ok("a+b")),
            ("%2B", Ok("+")),
            ("%252B", Ok("%2B")),
            ("%c3%A9é", Ok("éé")),
            ("a%", Err(PercentError::Digits { at: 1 })),
            ("a%2", Err(PercentError::Digits { at: 1 })),
            ("%20%+1", Err(PercentError::Digits { at: 3 })),
            ("%é", Err(PercentError::Digits { at: 0 })),
            ("%ff", Err(PercentError::Utf8)),
        ] {
            assert_eq!(decode(part).as_deref(), decoded.as_ref().copied(), "{part:?}");
        }
    }

    proptest! {
        #[test]
        fn decoding_is_the_twins(part in "([a-c+/é]|%[0-9a-fA-F]{2}|%[c-d][0-9]%[89ab][0-9a-f]|%[+g]?){0,12}") {
            prop_assert_eq!(decode(&part).ok().map(Cow::into_owned), twin(&part));
        }
    }
}
