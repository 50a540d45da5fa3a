//! The client's opening handshake as bytes in, answer out: request, the server's head, its judgement.
//!
//! Without: sockets and deadlines. What came behind the head stays with the caller.

use super::handshake::{self, Accept, ClientRequest, ResponseError};
use crate::http::{HeadError, HeadReader, Progress};

/// A server's head is short; this bears what proxies and distribution networks add.
const HEAD_BYTES_MAX: u32 = 32 << 10;
const HEADERS_MAX: u16 = 128;

/// A handshake whose request is written.
#[derive(Debug)]
pub struct Opening<'a> {
    request: ClientRequest<'a>,
    expected: Accept,
    reader: HeadReader,
}

/// What the bytes so far say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// More must come.
    Partial,
    /// The connection is open.
    Open {
        /// Bytes of this input that belong to the head; frames follow.
        consumed: usize,
    },
    /// The server answered with another status than 101.
    Refused {
        /// The status.
        status: u16,
        /// Bytes of this input that belong to the head; the body follows.
        consumed: usize,
        /// How long the body says it is.
        body_bytes: Option<usize>,
    },
}

/// Why an answer opens no WebSocket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpeningError {
    /// No head of HTTP/1.1.
    #[error(transparent)]
    Head(#[from] HeadError),
    /// A head that does not agree to what was asked.
    #[error(transparent)]
    Response(#[from] ResponseError),
}

impl<'a> Opening<'a> {
    /// Appends the request to `out`.
    pub fn begin(request: ClientRequest<'a>, out: &mut Vec<u8>) -> Opening<'a> {
        let expected = handshake::write_request(out, &request);
        Opening { request, expected, reader: HeadReader::new(HEAD_BYTES_MAX, HEADERS_MAX) }
    }

    /// Takes what the server sent next.
    ///
    /// # Errors
    /// [`OpeningError`]: the connection is of no use.
    pub fn feed(&mut self, input: &[u8]) -> Result<Answer, OpeningError> {
        let Progress::Complete { consumed } = self.reader.feed(input)? else { return Ok(Answer::Partial) };
        let response = self.reader.response()?;
        match handshake::check_response(&response, &self.expected, &self.request) {
            Ok(_) => Ok(Answer::Open { consumed }),
            Err(ResponseError::Status(status)) => {
                let length = response.header("content-length").and_then(|value| std::str::from_utf8(value).ok()?.parse().ok());
                Ok(Answer::Refused { status, consumed, body_bytes: length })
            }
            Err(error) => Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REQUEST: ClientRequest<'_> =
        ClientRequest { host: "a", target: "/", nonce: [7; 16], protocols: &[], deflate: None, headers: &[] };

    /// Feeds `answer` in pieces; the outcome of the last, and how many bytes were left behind the head.
    fn fed(answer: &[u8], piece: usize) -> (Result<Answer, OpeningError>, usize) {
        let mut opening = Opening::begin(REQUEST, &mut Vec::new());
        let mut rest = answer;
        while !rest.is_empty() {
            let (now, later) = rest.split_at(piece.min(rest.len()));
            match opening.feed(now) {
                Ok(Answer::Partial) => rest = later,
                Ok(answer @ (Answer::Open { consumed } | Answer::Refused { consumed, .. })) => {
                    return (Ok(answer), now.len() - consumed + later.len());
                }
                Err(error) => return (Err(error), 0),
            }
        }
        (Ok(Answer::Partial), 0)
    }

    #[test]
    fn an_answer_is_judged_however_it_is_torn() {
        let mut asked = Vec::new();
        let accept = handshake::write_request(&mut asked, &REQUEST);
        let mut open = Vec::new();
        handshake::write_accept(&mut open, &accept, None, &[]);
        open.extend_from_slice(b"\x81\x01x");
        let refused = b"HTTP/1.1 403 Forbidden\r\nContent-Length: 4\r\n\r\nbody";
        for piece in [1, 7, 10_000] {
            assert!(matches!(fed(&open, piece), (Ok(Answer::Open { .. }), 3)), "{piece}");
            let (answer, behind) = fed(refused, piece);
            assert!(matches!(answer, Ok(Answer::Refused { status: 403, body_bytes: Some(4), .. })), "{piece}: {answer:?}");
            assert_eq!(behind, 4, "{piece}");
            assert_eq!(fed(&open[..20], piece).0, Ok(Answer::Partial));
        }
        assert!(matches!(fed(b"SSH-2.0-x\r\n\r\n", 99).0, Err(OpeningError::Head(_))));
        let strange = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n";
        assert_eq!(fed(strange, 99).0, Err(OpeningError::Response(ResponseError::AcceptWrong)));
    }
}
