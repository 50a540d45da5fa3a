//! A peer's side of the wire, read the naive way: frames of the gateway are never masked and never in fragments.

use std::io::Read;

use flate2::read::DeflateDecoder;

use crate::ws::deflate::Compressor;
use crate::ws::frame::{self, Opcode};

/// What came, as far as it is whole.
#[derive(Debug, Default)]
pub(super) struct Incoming {
    bytes: Vec<u8>,
    /// permessage-deflate was agreed.
    pub(super) deflate: bool,
}

/// One frame: its first byte and its payload, inflated and without RSV1 if it came compressed.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Frame {
    pub(super) first: u8,
    pub(super) payload: Vec<u8>,
}

pub(super) const TEXT: u8 = 0x81;
pub(super) const BINARY: u8 = 0x82;
pub(super) const CLOSE: u8 = 0x88;
pub(super) const PING: u8 = 0x89;
pub(super) const PONG: u8 = 0x8a;
const RSV1: u8 = 0x40;

impl Incoming {
    pub(super) fn extend(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The head of the answer to a request.
    pub(super) fn head(&mut self) -> Option<String> {
        let end = self.bytes.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
        Some(String::from_utf8(self.bytes.drain(..end).collect()).expect("a head is ASCII"))
    }

    /// The next whole frame.
    pub(super) fn frame(&mut self) -> Option<Frame> {
        let short = usize::from(*self.bytes.get(1)?);
        let (start, len) = match short {
            126 => (4, self.bytes.get(2..4)?.iter().fold(0, |len, byte| len << 8 | usize::from(*byte))),
            127 => (10, self.bytes.get(2..10)?.iter().fold(0, |len, byte| len << 8 | usize::from(*byte))),
            short => (2, short),
        };
        assert!(short < 128, "a server's frame bears no mask: {:?}", &self.bytes[..2]);
        if self.bytes.len() < start + len {
            return None;
        }
        let mut frame: Vec<u8> = self.bytes.drain(..start + len).collect();
        if self.deflate && matches!(frame[0] & !RSV1, TEXT | BINARY) && frame[0] & RSV1 != 0 {
            frame[0] &= !RSV1;
            let payload = inflated(&frame[start..]);
            assert!(payload.len() > len, "what is compressed is shorter");
            return Some(Frame { first: frame[0], payload });
        }
        let known = [TEXT, BINARY, CLOSE, PING, PONG];
        assert!(known.contains(&frame[0]), "a frame begins with {:#x}", frame[0]);
        Some(Frame { first: frame[0], payload: frame[start..].to_vec() })
    }
}

/// RFC 7692 7.2.2, with a final block behind the message: each stands by itself.
fn inflated(payload: &[u8]) -> Vec<u8> {
    let whole = [payload, b"\x00\x00\xff\xff\x03\x00"].concat();
    let mut message = Vec::new();
    DeflateDecoder::new(&whole[..]).read_to_end(&mut message).expect("a compressed message can be inflated by itself");
    message
}

/// A client's frame with a compressed message.
pub(super) fn compressed_frame(opcode: Opcode, message: &[u8]) -> Vec<u8> {
    let (mut payload, mut out) = (Vec::new(), Vec::new());
    Compressor::new(15, false).compress(message, &mut payload);
    frame::write_compressed(&mut out, opcode, &payload, Some([0x37, 0xfa, 0x21, 0x3d]));
    out
}

/// A client's frame.
pub(super) fn client_frame(opcode: Opcode, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    frame::write(&mut out, opcode, payload, Some([0x37, 0xfa, 0x21, 0x3d]));
    out
}

/// A handshake; with `deflate` it offers compression as browsers do.
pub(super) fn handshake(path: &str, deflate: bool) -> Vec<u8> {
    let offer = "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n";
    let offer = if deflate { offer } else { "" };
    format!(
        "GET {path} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n{offer}\r\n"
    )
    .into_bytes()
}
