//! Bytes over a socket: HTTP requests written by hand, WebSocket frames made and parsed naively.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::ops::Range;

use super::{Gateway, PATIENCE};

/// A TCP connection and the bytes that came and are not yet parsed.
pub(crate) struct Raw {
    /// The socket.
    pub(crate) stream: TcpStream,
    input: Vec<u8>,
}

/// An HTTP response.
#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) status: u16,
    /// Names in lower case.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

/// A WebSocket frame as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    /// FIN, RSV and opcode.
    pub(crate) first: u8,
    pub(crate) payload: Vec<u8>,
}

impl Response {
    /// A header's value.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(other, _)| other == name).map(|(_, value)| value.as_str())
    }

    /// The body as text.
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("a body is UTF-8")
    }
}

impl Frame {
    /// The code of a close frame, or nothing.
    pub(crate) fn close_code(&self) -> Option<u16> {
        assert_eq!(self.first, 0x88, "not a close frame: {self:?}");
        Some(u16::from_be_bytes(self.payload.get(..2)?.try_into().expect("two bytes")))
    }
}

impl Raw {
    /// Connects.
    pub(crate) fn open(address: SocketAddr) -> Raw {
        Raw::of(TcpStream::connect(address).expect("the server listens"))
    }

    /// On a connection that is there.
    pub(crate) fn of(stream: TcpStream) -> Raw {
        stream.set_read_timeout(Some(PATIENCE)).expect("a socket takes a time-out");
        stream.set_nodelay(true).expect("a socket takes TCP_NODELAY");
        Raw { stream, input: Vec::new() }
    }

    /// Connects and becomes a WebSocket.
    pub(crate) fn upgraded(gateway: &Gateway, path: &str) -> Raw {
        let mut raw = Raw::open(gateway.clients);
        let response = raw.handshake(path, &[]);
        assert_eq!(response.status, 101, "{path}: {response:?}");
        raw
    }

    /// A right handshake with these headers besides; `Host` among them replaces the usual one, as does any other.
    pub(crate) fn handshake(&mut self, path: &str, headers: &[(&str, &str)]) -> Response {
        let host = self.stream.peer_addr().expect("it is connected").to_string();
        let usual = [
            ("Host", host.as_str()),
            ("Connection", "Upgrade"),
            ("Upgrade", "websocket"),
            ("Sec-WebSocket-Version", "13"),
            ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ];
        let mut head = format!("GET {path} HTTP/1.1\r\n");
        let given = |name: &str| headers.iter().any(|(other, _)| other.eq_ignore_ascii_case(name));
        for (name, value) in usual.iter().filter(|(name, _)| !given(name)).chain(headers).filter(|(_, value)| !value.is_empty()) {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        self.send(format!("{head}\r\n"));
        self.response()
    }

    /// Writes all bytes. A server that has closed already is no failure: what it said is still to be read.
    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        if let Err(error) = self.stream.write_all(bytes.as_ref()) {
            assert!(matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset), "{error}");
        }
    }

    /// Sends one masked text frame.
    pub(crate) fn send_text(&mut self, text: &str) {
        self.send(frame(0x81, text.as_bytes()));
    }

    /// Reads one HTTP response.
    pub(crate) fn response(&mut self) -> Response {
        let end = loop {
            if let Some(at) = self.input.windows(4).position(|window| window == b"\r\n\r\n") {
                break at + 4;
            }
            assert!(self.fill(), "closed instead of a response: {:?}", String::from_utf8_lossy(&self.input));
        };
        let head = String::from_utf8(self.input.drain(..end).collect()).expect("a head is text");
        let mut lines = head.lines();
        let status = lines.next().and_then(|line| line.split(' ').nth(1)).and_then(|code| code.parse().ok());
        let headers: Vec<(String, String)> = lines
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
            .collect();
        let mut response =
            Response { status: status.unwrap_or_else(|| panic!("no status in {head}")), headers, body: Vec::new() };
        if response.status != 101 {
            let length = response.header("content-length").map(|length| length.parse().expect("a length is a number"));
            while length.is_none_or(|length: usize| self.input.len() < length) && self.fill() {}
            response.body = self.input.drain(..length.unwrap_or(self.input.len()).min(self.input.len())).collect();
        }
        response
    }

    /// Reads one frame; `None` when the server has closed.
    pub(crate) fn frame(&mut self) -> Option<Frame> {
        loop {
            if let Some((first, payload)) = parse_in_place(&self.input) {
                let frame = Frame { first, payload: self.input[payload.clone()].to_vec() };
                self.input.drain(..payload.end);
                return Some(frame);
            }
            if !self.fill() {
                assert!(self.input.is_empty(), "closed in the middle of a frame: {:?}", self.input);
                return None;
            }
        }
    }

    /// The next frame, which is text.
    pub(crate) fn text(&mut self) -> String {
        let frame = self.frame().expect("a frame comes before the end");
        assert_eq!(frame.first, 0x81, "not a whole text message: {frame:?}");
        String::from_utf8(frame.payload).expect("a text message is UTF-8")
    }

    /// The close code that comes next, and then nothing but the end.
    pub(crate) fn closed_with(&mut self) -> u16 {
        let close = self.frame().expect("a close frame comes before the end");
        let code = close.close_code().expect("a close frame of the server's own bears a code");
        self.send(frame(0x88, &close.payload[..2]));
        assert_eq!(self.frame(), None, "after the close frame comes the end");
        code
    }

    /// What came behind what was read, for who goes on reading by itself.
    pub(crate) fn rest(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.input)
    }

    /// More input; false at the end. A reset is an end too.
    fn fill(&mut self) -> bool {
        let mut bytes = [0; 65536];
        match self.stream.read(&mut bytes) {
            Ok(0) => false,
            Ok(length) => {
                self.input.extend_from_slice(&bytes[..length]);
                true
            }
            Err(error) if error.kind() == ErrorKind::ConnectionReset => false,
            // A machine that stood still meanwhile.
            Err(error) if error.kind() == ErrorKind::Interrupted => true,
            Err(error) => panic!("nothing came in time: {error}"),
        }
    }
}

/// One HTTP request on a connection of its own.
pub(crate) fn http(address: SocketAddr, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Response {
    let mut head = format!("{method} {path} HTTP/1.1\r\nContent-Length: {}\r\nConnection: close\r\n", body.len());
    if !headers.iter().any(|(name, _)| *name == "Host") {
        head.push_str(&format!("Host: {address}\r\n"));
    }
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    let mut raw = Raw::open(address);
    raw.send(format!("{head}\r\n"));
    raw.send(body);
    raw.response()
}

/// A masked frame with its shortest length.
pub(crate) fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let length = payload.len();
    let mut lengths = vec![0x80 | u8::try_from(length).unwrap_or(127).min(127)];
    if (126..65536).contains(&length) {
        lengths = vec![0xFE];
        lengths.extend(u16::try_from(length).expect("it is in range").to_be_bytes());
    } else if length >= 65536 {
        lengths = vec![0xFF];
        lengths.extend((length as u64).to_be_bytes());
    }
    frame_with(first, &lengths, payload)
}

/// A frame with these very bytes of length (mask bit included), masked where the mask bit says so.
pub(crate) fn frame_with(first: u8, lengths: &[u8], payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first];
    bytes.extend(lengths);
    if lengths[0] & 0x80 == 0 {
        bytes.extend(payload);
    } else {
        bytes.extend([0x37, 0xFA, 0x21, 0x3D]);
        bytes.extend(masked(payload));
    }
    bytes
}

/// A payload under the mask of [`frame_with`].
fn masked(payload: &[u8]) -> Vec<u8> {
    payload.iter().zip([0x37, 0xFA, 0x21, 0x3D].iter().cycle()).map(|(byte, mask)| byte ^ mask).collect()
}

/// The first byte of the input's first frame and where its payload lies, if it is whole. A server's frames are not masked
/// and as short as they can be.
pub(crate) fn parse_in_place(input: &[u8]) -> Option<(u8, Range<usize>)> {
    let (first, second) = (*input.first()?, *input.get(1)?);
    assert_eq!(second & 0x80, 0, "RFC 6455 5.1: a server MUST NOT mask");
    let (start, length) = match second {
        126 => (4, usize::from(u16::from_be_bytes(input.get(2..4)?.try_into().expect("two bytes")))),
        127 => (10, usize::try_from(u64::from_be_bytes(input.get(2..10)?.try_into().expect("eight bytes"))).expect("it fits")),
        short => (2, usize::from(short)),
    };
    assert!(second < 126 || length > 125 && (second == 126 || length > 65535), "RFC 6455 5.2: the minimal number of bytes");
    (input.len() >= start + length).then_some((first, start..start + length))
}
