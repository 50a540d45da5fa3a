//! HTTP/1.1 heads in and out, over `httparse`: what a WebSocket handshake needs, and the small answers beside it.
//!
//! Without: sockets, a clock, bodies of requests. A head is collected as it comes in and looked at once; the bytes behind
//! it stay with the caller.
//!
//! Invariants: never more than `head_bytes_max` bytes are held; each byte is searched once, however torn the input; a
//! reader that waits for its first byte holds no heap memory.

mod head;
mod host;
#[cfg(test)]
mod tests;

pub use head::{Headers, Request, Response};
pub use host::{host_name, is_loopback_host, is_same_origin};

use memchr::memchr;

/// Why a head was refused. The text is for the peer as it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HeadError {
    /// The head is not HTTP/1.1; says what was wrong.
    #[error("bad request: {0}")]
    Bad(&'static str),
    /// The head is longer than `head_bytes_max`.
    #[error("the request's head is too long")]
    TooLong,
    /// The head has more than `headers_max` fields.
    #[error("the request has too many header fields")]
    TooManyHeaders,
}

impl HeadError {
    /// The status that answers it: 400 or 431 (RFC 6585 5).
    pub fn status(self) -> u16 {
        match self {
            Self::Bad(_) => 400,
            Self::TooLong | Self::TooManyHeaders => 431,
        }
    }
}

/// How far the head has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// All of the input belongs to the head, and more must come.
    Partial,
    /// The head is whole.
    Complete {
        /// Bytes of this input that belong to the head; the rest was sent behind it.
        consumed: usize,
    },
}

/// Collects one head, of a request or a response.
#[derive(Debug)]
pub struct HeadReader {
    bytes: Vec<u8>,
    /// Where the line begins that is not yet whole.
    line_start: u32,
    head_bytes_max: u32,
    headers_max: u16,
    state: ReaderState,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ReaderState {
    /// Nothing but empty lines so far.
    BeforeStartLine,
    InHead,
    Complete,
}

impl HeadReader {
    /// A reader for heads of at most `head_bytes_max` bytes, the blank line included, and `headers_max` fields.
    pub fn new(head_bytes_max: u32, headers_max: u16) -> Self {
        Self { bytes: Vec::new(), line_start: 0, head_bytes_max, headers_max, state: ReaderState::BeforeStartLine }
    }

    /// Takes what belongs to the head. After `Complete` it takes nothing until [`clear`](Self::clear).
    pub fn feed(&mut self, input: &[u8]) -> Result<Progress, HeadError> {
        if self.state == ReaderState::Complete {
            return Ok(Progress::Complete { consumed: 0 });
        }
        let before = self.bytes.len();
        let room = self.head_bytes_max as usize - before;
        let (taken, over) = input.split_at(room.min(input.len()));
        self.reserve(before + taken.len());
        self.bytes.extend_from_slice(taken);
        match self.find_end(before)? {
            Some(end) => {
                self.bytes.truncate(end);
                self.state = ReaderState::Complete;
                Ok(Progress::Complete { consumed: end - before })
            }
            None if over.is_empty() => Ok(Progress::Partial),
            None => Err(HeadError::TooLong),
        }
    }

    /// True until the first byte.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Ready for the next head; gives the memory back.
    pub fn clear(&mut self) {
        *self = Self::new(self.head_bytes_max, self.headers_max);
    }

    /// The request that the complete head holds.
    pub fn request(&self) -> Result<Request<'_>, HeadError> {
        Request::parse(self.head(), self.headers_max)
    }

    /// The response that the complete head holds (client role).
    pub fn response(&self) -> Result<Response<'_>, HeadError> {
        Response::parse(self.head(), self.headers_max)
    }

    /// Room for so many bytes: twice what there was, so that torn heads are not copied for each piece, but never above the limit.
    fn reserve(&mut self, length: usize) {
        if length > self.bytes.capacity() {
            let room = (2 * self.bytes.capacity()).clamp(length, self.head_bytes_max as usize);
            self.bytes.reserve_exact(room - self.bytes.len());
        }
    }

    fn head(&self) -> &[u8] {
        assert!(self.state == ReaderState::Complete, "a head is parsed once, when feed() has said Complete");
        &self.bytes
    }

    /// Looks for the blank line in what came in from `scanned` on.
    fn find_end(&mut self, mut scanned: usize) -> Result<Option<usize>, HeadError> {
        loop {
            // Said at once, so that a TLS client on a plain port learns it before the handshake's deadline.
            let first = self.bytes.get(self.line_start as usize).copied().unwrap_or(b'\r');
            if self.state == ReaderState::BeforeStartLine && first != b'\r' && !is_token_byte(first) {
                return Err(HeadError::Bad("this is not HTTP (for TLS, use a port that speaks it)"));
            }
            let Some(found) = memchr(b'\n', &self.bytes[scanned..]) else { return Ok(None) };
            let end = scanned + found + 1;
            let line = &self.bytes[self.line_start as usize..end];
            // RFC 9112 2.2 lets a recipient take a bare LF for a line's end; where a proxy in front does not, the two
            // disagree about where the head ends, so we do not either.
            let Some(line) = line.strip_suffix(b"\r\n") else {
                return Err(HeadError::Bad("a line of the head ends without CR"));
            };
            match self.state {
                // RFC 9112 2.2: a server SHOULD ignore at least one empty line received prior to the request-line.
                ReaderState::BeforeStartLine if line.is_empty() => {}
                ReaderState::BeforeStartLine => self.state = ReaderState::InHead,
                _ if line.is_empty() => return Ok(Some(end)),
                _ => {}
            }
            self.line_start = u32::try_from(end).expect("a head is at most head_bytes_max long, which is a u32");
            scanned = end;
        }
    }
}

/// Writes a whole response: `Content-Length` and, without `keep_alive`, `Connection: close` are added. 101 and 204 have
/// no body and no length (RFC 9110 8.6).
pub fn write_response(out: &mut Vec<u8>, status: u16, headers: &[(&str, &str)], body: &[u8], keep_alive: bool) {
    write_head_start(out, status);
    for (name, value) in headers {
        write_header(out, name, value);
    }
    if status == 101 || status == 204 {
        debug_assert!(body.is_empty(), "a response {status} has no body");
    } else {
        write_header(out, "Content-Length", &body.len().to_string());
    }
    if status != 101 {
        write_header(out, "Connection", if keep_alive { "keep-alive" } else { "close" });
    }
    out.extend_from_slice(b"\r\n");
    out.extend_from_slice(body);
}

/// Writes the head of a response 200 whose body goes on until the connection ends (RFC 9112 6.3, 8).
pub fn write_endless_response(out: &mut Vec<u8>, headers: &[(&str, &str)]) {
    write_head_start(out, 200);
    for (name, value) in headers.iter().chain(&[("Connection", "close")]) {
        write_header(out, name, value);
    }
    out.extend_from_slice(b"\r\n");
}

/// One header field. The value must be free of line ends: it comes from the program, or from a head that was parsed.
pub(crate) fn write_header(out: &mut Vec<u8>, name: &str, value: &str) {
    assert!(
        !name.bytes().chain(value.bytes()).any(|byte| byte == b'\r' || byte == b'\n' || byte == 0),
        "a line end in a header would be another header"
    );
    for part in [name, ": ", value, "\r\n"] {
        out.extend_from_slice(part.as_bytes());
    }
}

fn write_head_start(out: &mut Vec<u8>, status: u16) {
    out.extend_from_slice(format!("HTTP/1.1 {status} {}\r\n", reason(status)).as_bytes());
}

/// The reason phrase of each status the gateway sends.
pub fn reason(status: u16) -> &'static str {
    match status {
        101 => "Switching Protocols",
        200 => "OK",
        204 => "No Content",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        413 => "Content Too Large",
        421 => "Misdirected Request",
        426 => "Upgrade Required",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        503 => "Service Unavailable",
        // RFC 9112 4: a client SHOULD ignore the reason phrase; it may be empty.
        _ => "",
    }
}

/// Whether it is a token (RFC 9110 5.6.2), like a method or a subprotocol's name.
pub fn is_token(bytes: &[u8]) -> bool {
    !bytes.is_empty() && bytes.iter().all(|byte| is_token_byte(*byte))
}

fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}
