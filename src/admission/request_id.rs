//! What names one request in the logs of everyone on its way: `X-Request-Id`.
//!
//! Without: randomness; what makes our own ids unlike another process's is an argument.

use crate::http::Request;

/// The field that bears it, in requests and in answers.
pub const FIELD: &str = "X-Request-Id";
/// Longest id that is taken from a client.
pub const CHARACTERS_MAX: usize = 128;

/// The client's own where it is 1 to 128 visible ASCII characters; else one of ours.
#[must_use]
pub fn of(request: &Request<'_>, ours: impl FnOnce() -> String) -> String {
    let sent = request.header(FIELD).filter(|id| (1..=CHARACTERS_MAX).contains(&id.len()) && id.iter().all(u8::is_ascii_graphic));
    sent.map_or_else(ours, |id| String::from_utf8_lossy(id).into_owned())
}

/// One of ours: what the process drew at its start, and the connection; behind an earlier request on it, also when this one came. So
/// none comes twice, and that of a connection's first request need not be kept.
#[must_use]
pub fn made(nonce: u64, connection: u64, behind_us: Option<u64>) -> String {
    let later = behind_us.map_or_else(String::new, |now_us| format!("-{now_us:x}"));
    format!("{nonce:016x}-{connection:x}{later}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::HeadReader;

    #[test]
    fn a_clients_id_is_taken_only_where_a_log_can_bear_it() {
        let id = |value: &[u8]| {
            let mut reader = HeadReader::new(8192, 64);
            let head = [b"GET / HTTP/1.1\r\nHost: a\r\nx-request-id: ", value, b"\r\n\r\n"].concat();
            reader.feed(&head).expect("a head");
            of(&reader.request().expect("a request"), || "ours".into())
        };
        assert_eq!(id(b"7f3a-~!\""), "7f3a-~!\"");
        assert_eq!(id(&[b'a'; 128]), "a".repeat(128));
        for other in [&b""[..], &[b'a'; 129], b"a b", b"a\tb", "\u{e4}".as_bytes()] {
            assert_eq!(id(other), "ours", "{other:?}");
        }
    }
}
