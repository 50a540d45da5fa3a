//! `Sec-WebSocket-Extensions` (RFC 6455 9.1): header values in, extensions with their parameters out.
//!
//! Without: what an extension means. Each byte is looked at a bounded number of times, and what is returned is no longer
//! than the head that it came in.

use std::borrow::Cow;
use std::mem;

use crate::http::is_token;

/// One extension of the list, in the order of the header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Extension<'v> {
    /// Its token.
    pub name: &'v [u8],
    /// Its parameters in their order.
    pub parameters: Vec<Parameter<'v>>,
}

/// A parameter's name, and its value where it has one; both are tokens, quotes are undone.
pub type Parameter<'v> = (&'v [u8], Option<Cow<'v, [u8]>>);

/// The header does not follow the grammar.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("Sec-WebSocket-Extensions is not a list of extensions with their parameters")]
pub struct Malformed;

/// Reads all values of the header; several fields are one list.
///
/// # Errors
/// RFC 6455 9.1: a value that does not conform to the ABNF MUST immediately fail the connection.
pub fn parse<'v>(values: impl Iterator<Item = &'v [u8]>) -> Result<Vec<Extension<'v>>, Malformed> {
    let mut extensions = Vec::new();
    for value in values {
        let mut rest = value;
        loop {
            // RFC 2616 2.1: a list may have empty elements, which do not count.
            skip_space(&mut rest);
            if !rest.is_empty() && rest[0] != b',' {
                extensions.push(extension(&mut rest)?);
            }
            match rest.split_first() {
                None => break,
                Some((b',', behind)) => rest = behind,
                Some(_) => return Err(Malformed),
            }
        }
    }
    Ok(extensions)
}

/// `extension-token *( ";" extension-param )`, and the space behind it.
fn extension<'v>(rest: &mut &'v [u8]) -> Result<Extension<'v>, Malformed> {
    let name = token(rest)?;
    let mut parameters = Vec::new();
    while let Some((b';', behind)) = rest.split_first() {
        *rest = behind;
        skip_space(rest);
        let name = token(rest)?;
        let mut value = None;
        if let Some((b'=', behind)) = rest.split_first() {
            *rest = behind;
            skip_space(rest);
            value = Some(match rest.first() {
                Some(b'"') => quoted(rest)?,
                _ => Cow::Borrowed(token(rest)?),
            });
        }
        parameters.push((name, value));
    }
    Ok(Extension { name, parameters })
}

/// A token, and the space behind it.
fn token<'v>(rest: &mut &'v [u8]) -> Result<&'v [u8], Malformed> {
    let length = rest.iter().take_while(|byte| is_token(&[**byte])).count();
    let (token, behind) = rest.split_at(length);
    *rest = behind;
    skip_space(rest);
    if token.is_empty() { Err(Malformed) } else { Ok(token) }
}

/// A quoted string without its quotes, and the space behind it. RFC 6455 9.1: the value after quoted-string unescaping MUST
/// conform to the 'token' ABNF.
fn quoted<'v>(rest: &mut &'v [u8]) -> Result<Cow<'v, [u8]>, Malformed> {
    let text = &rest[1..];
    let mut unescaped = Vec::new();
    let mut at = 0;
    loop {
        match text.get(at).ok_or(Malformed)? {
            b'"' => break,
            b'\\' => {
                unescaped.push(*text.get(at + 1).ok_or(Malformed)?);
                at += 2;
            }
            byte => {
                unescaped.push(*byte);
                at += 1;
            }
        }
    }
    let value = if unescaped.len() == at { Cow::Borrowed(&text[..at]) } else { Cow::Owned(unescaped) };
    *rest = &text[at + 1..];
    skip_space(rest);
    if is_token(&value) { Ok(value) } else { Err(Malformed) }
}

fn skip_space(rest: &mut &[u8]) {
    *rest = mem::take(rest).trim_ascii_start();
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The list as `name;parameter;parameter=value`, or nothing where it is refused.
    fn check(values: &[&str], expected: Option<&[&str]>) {
        let parsed = parse(values.iter().map(|value| value.as_bytes())).ok();
        let written = parsed.map(|extensions| {
            let write = |extension: Extension<'_>| {
                let mut text = String::from_utf8_lossy(extension.name).into_owned();
                for (name, value) in extension.parameters {
                    text.push_str(&format!(";{}", String::from_utf8_lossy(name)));
                    text.extend(value.map(|value| format!("={}", String::from_utf8_lossy(&value))));
                }
                text
            };
            extensions.into_iter().map(write).collect::<Vec<_>>()
        });
        let expected = expected.map(|list| list.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>());
        assert_eq!(written, expected, "{values:?}");
    }

    #[test]
    fn lists_of_extensions() {
        check(&[], Some(&[]));
        check(&["", " , ,"], Some(&[]));
        check(&["permessage-deflate"], Some(&["permessage-deflate"]));
        check(&["a ; b ;c = 1 , d"], Some(&["a;b;c=1", "d"]));
        check(&["a; b=\"10\"; c=\"1\\0\"\t"], Some(&["a;b=10;c=10"]));
        check(&["a, b", "c;d"], Some(&["a", "b", "c;d"]));
        check(&["a;b;b;b=1"], Some(&["a;b;b;b=1"]));
    }

    #[test]
    fn what_is_no_list_of_extensions() {
        for value in [
            ";",
            "a;",
            "a;;b",
            "a;b=",
            "a b",
            "a;b c",
            "a;b=1 2",
            "=1",
            "a=1",
            "a;b=\"",
            "a;b=\"\"",
            "a;b=\"1 2\"",
            "a;b=\"1",
            "a;b=\"1\\",
            "a;b=\"1\"2",
            "\"a\"",
            "a/b",
            "a;b=\u{e9}",
            "a, @",
        ] {
            check(&[value], None);
            check(&["good", value], None);
        }
    }

    #[test]
    fn a_long_header_is_read_in_one_go() {
        let value = "a;b=\"\\1\",".repeat(800);
        assert_eq!(parse([value.as_bytes()].into_iter()).map(|extensions| extensions.len()), Ok(800));
    }
}
