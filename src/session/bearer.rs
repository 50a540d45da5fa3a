//! Where a request bears a token: `Authorization: Bearer`, the subprotocol `bearer.<token>`, or the query's `token`.
//!
//! Without: what it says. Invariant: nobody chooses among several: the same one may stand in several places, two different ones are refused.

use std::borrow::Cow;

use crate::dialect::percent;
use crate::http::Request;

/// Before the token, in a list of subprotocols.
pub(super) const PROTOCOL_PREFIX: &str = "bearer.";

/// The token that a request bears.
///
/// # Errors
/// What is wrong, as a sentence that repeats nothing of it.
pub(super) fn of<'r>(request: &Request<'r>) -> Result<Option<Cow<'r, str>>, &'static str> {
    let mut found: Option<Cow<'r, str>> = None;
    let authorized = request.header_values("authorization").filter_map(authorized);
    let offered = request.headers.list("sec-websocket-protocol").filter_map(|name| name.strip_prefix(PROTOCOL_PREFIX.as_bytes()));
    for bytes in authorized.chain(offered) {
        let text = std::str::from_utf8(bytes).map_err(|_| "a token has a character that tokens cannot have")?;
        keep(&mut found, text.into())?;
    }
    for member in request.query().unwrap_or_default().split('&') {
        if let Some(value) = member.strip_prefix("token=") {
            keep(&mut found, percent::decode(value).map_err(|_| "the query's `token` is not percent-encoded as it should be")?)?;
        }
    }
    Ok(found)
}

fn keep<'r>(found: &mut Option<Cow<'r, str>>, one: Cow<'r, str>) -> Result<(), &'static str> {
    match found {
        Some(earlier) if *earlier != one => Err("the request bears several different tokens; send one"),
        Some(_) => Ok(()),
        None => {
            *found = Some(one);
            Ok(())
        }
    }
}

/// RFC 6750 2.1: `Bearer`, in any case (RFC 9110 11.1), and the token. Other schemes are somebody else's.
fn authorized(value: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = value.split_at_checked(6)?;
    let is_ours = scheme.eq_ignore_ascii_case(b"bearer") && token.first().is_none_or(|byte| *byte == b' ');
    is_ours.then(|| token.trim_ascii())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::HeadReader;

    fn found(target: &str, fields: &str) -> Result<Option<String>, &'static str> {
        let mut reader = HeadReader::new(8192, 64);
        reader.feed(format!("GET {target} HTTP/1.1\r\nHost: a\r\n{fields}\r\n").as_bytes()).expect("a head");
        of(&reader.request().expect("a request")).map(|token| token.map(Cow::into_owned))
    }

    #[test]
    fn a_token_stands_in_one_of_three_places() {
        for (target, fields, token) in [
            ("/ws", "", None),
            ("/ws", "Authorization: Bearer a.b.c\r\n", Some("a.b.c")),
            ("/ws", "authorization: bEARER   a.b.c \r\n", Some("a.b.c")),
            ("/ws", "Authorization: Basic YTpi\r\n", None),
            ("/ws", "Authorization: Bearerx y\r\n", None),
            ("/ws", "Authorization: Bearer\r\n", Some("")),
            ("/ws", "Sec-WebSocket-Protocol: tidegate.v1, bearer.a.b.c\r\n", Some("a.b.c")),
            ("/ws", "Sec-WebSocket-Protocol: tidegate.v1\r\nSec-WebSocket-Protocol: bearer.x\r\n", Some("x")),
            ("/ws", "Sec-WebSocket-Protocol: Bearer.x\r\n", None),
            ("/ws?token=a.b.c", "", Some("a.b.c")),
            ("/ws?x=1&token=a%2Eb&y", "", Some("a.b")),
            ("/ws?token=", "", Some("")),
            ("/ws?Token=x&xtoken=y&token", "", None),
            ("/ws?token=x", "Authorization: Bearer x\r\nSec-WebSocket-Protocol: tidegate.v1, bearer.x\r\n", Some("x")),
        ] {
            assert_eq!(found(target, fields), Ok(token.map(Into::into)), "{target} {fields}");
        }
    }

    #[test]
    fn several_different_ones_are_refused_and_not_repeated() {
        for (target, fields) in [
            ("/ws?token=secret", "Authorization: Bearer other\r\n"),
            ("/ws?token=secret&token=other", ""),
            ("/ws", "Authorization: Bearer secret\r\nAuthorization: Bearer other\r\n"),
            ("/ws", "Sec-WebSocket-Protocol: tidegate.v1, bearer.secret, bearer.other\r\n"),
            ("/ws?token=secret%", ""),
            ("/ws?token=secret%ff", ""),
        ] {
            let sentence = found(target, fields).expect_err(target);
            assert!(!sentence.contains("secret") && !sentence.contains("other"), "{sentence}");
        }
    }
}
