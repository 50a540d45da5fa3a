//! Frame headers (RFC 6455 5.2), read and written, and whole frames written.
//!
//! Without: the order of frames and the limits on messages, which are [`Connection`](super::Connection)'s.
//!
//! Invariant: an error depends on the first bytes that show it only, so it is the same however the input is torn.

use super::{CloseCode, ProtocolError, Role, close, copy, mask};

/// Longest header: two bytes, a 64-bit length, a mask.
pub const HEADER_BYTES_MAX: usize = 14;

/// RFC 6455 5.5: all control frames MUST have a payload length of 125 bytes or less.
pub const CONTROL_BYTES_MAX: usize = 125;

const FIN: u8 = 0x80;
const RESERVED_BITS: u8 = 0x70;
const RSV1: u8 = 0x40;
const MASKED: u8 = 0x80;
const LENGTH_IS_16_BIT: u8 = 126;
const LENGTH_IS_64_BIT: u8 = 127;

/// What a frame carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Opcode {
    /// More of the message that began before.
    Continuation = 0,
    /// A text message, or its first fragment.
    Text = 1,
    /// A binary message, or its first fragment.
    Binary = 2,
    /// The close handshake.
    Close = 8,
    /// To be answered with a pong of the same payload.
    Ping = 9,
    /// The answer to a ping.
    Pong = 10,
}

impl Opcode {
    /// Close, ping and pong, which may stand between the fragments of a message.
    pub fn is_control(self) -> bool {
        self as u8 >= Self::Close as u8
    }

    fn from_bits(bits: u8) -> Result<Self, ProtocolError> {
        Ok(match bits {
            0 => Self::Continuation,
            1 => Self::Text,
            2 => Self::Binary,
            8 => Self::Close,
            9 => Self::Ping,
            10 => Self::Pong,
            // RFC 6455 5.2: if an unknown opcode is received, the receiving endpoint MUST fail the connection.
            _ => return Err(ProtocolError::OpcodeReserved(bits)),
        })
    }
}

/// The header of one frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// The last frame of its message.
    pub fin: bool,
    /// RFC 7692 6: it begins a message that is compressed.
    pub compressed: bool,
    /// What it carries.
    pub opcode: Opcode,
    /// The masking key of a client's frame.
    pub mask: Option<[u8; 4]>,
    /// Bytes of payload.
    pub length: u64,
}

/// Reads the header at the beginning of `input`, from a peer that has the other role than `role`: the header and its
/// bytes. `deflate`: permessage-deflate was agreed. None: more input is needed, which is no error, since TCP cuts where it
/// likes.
pub fn decode(role: Role, deflate: bool, input: &[u8]) -> Result<Option<(Header, usize)>, ProtocolError> {
    let Some(&first) = input.first() else { return Ok(None) };
    let compressed = first & RSV1 != 0;
    // RFC 6455 5.2: RSV1, RSV2, RSV3 MUST be 0 unless an extension is negotiated that defines meanings for them.
    if first & RESERVED_BITS & !RSV1 != 0 || compressed && !deflate {
        return Err(ProtocolError::ReservedBits);
    }
    let fin = first & FIN != 0;
    let opcode = Opcode::from_bits(first & 0x0f)?;
    // RFC 7692 6.1: an endpoint MUST NOT set the "Per-Message Compressed" bit of control frames and non-first fragments of
    // a data message.
    if compressed && !matches!(opcode, Opcode::Text | Opcode::Binary) {
        return Err(ProtocolError::ReservedBits);
    }
    // RFC 6455 5.5: control frames MUST NOT be fragmented.
    if opcode.is_control() && !fin {
        return Err(ProtocolError::ControlFragmented);
    }
    let Some(&second) = input.get(1) else { return Ok(None) };
    let masked = second & MASKED != 0;
    match role {
        // RFC 6455 5.1: the server MUST close the connection upon receiving a frame that is not masked.
        Role::Server if !masked => return Err(ProtocolError::MaskMissing),
        // RFC 6455 5.1: a client MUST close a connection if it detects a masked frame.
        Role::Client if masked => return Err(ProtocolError::MaskUnexpected),
        _ => {}
    }
    let short = second & !MASKED;
    if opcode.is_control() && usize::from(short) > CONTROL_BYTES_MAX {
        return Err(ProtocolError::ControlTooLong);
    }
    let Some((length, length_end)) = decode_length(short, input)? else { return Ok(None) };
    if !masked {
        return Ok(Some((Header { fin, compressed, opcode, mask: None, length }, length_end)));
    }
    let Some(key) = input[length_end..].first_chunk() else { return Ok(None) };
    Ok(Some((Header { fin, compressed, opcode, mask: Some(*key), length }, length_end + 4)))
}

/// The payload's length and where its bytes end.
fn decode_length(short: u8, input: &[u8]) -> Result<Option<(u64, usize)>, ProtocolError> {
    let (length, end, least) = match short {
        LENGTH_IS_16_BIT => {
            let Some(bytes) = input[2..].first_chunk() else { return Ok(None) };
            (u64::from(u16::from_be_bytes(*bytes)), 4, u64::from(LENGTH_IS_16_BIT))
        }
        LENGTH_IS_64_BIT => {
            // RFC 6455 5.2: the most significant bit MUST be 0.
            if input.get(2).is_some_and(|byte| byte & 0x80 != 0) {
                return Err(ProtocolError::LengthInvalid);
            }
            let Some(bytes) = input[2..].first_chunk() else { return Ok(None) };
            (u64::from_be_bytes(*bytes), 10, 1 << 16)
        }
        _ => (u64::from(short), 2, 0),
    };
    // RFC 6455 5.2: the minimal number of bytes MUST be used to encode the length.
    if length < least { Err(ProtocolError::LengthNotMinimal) } else { Ok(Some((length, end))) }
}

/// A header as bytes: the array, of which the first so many count.
pub fn encode_header(fin: bool, opcode: Opcode, length: usize, mask: Option<[u8; 4]>) -> ([u8; HEADER_BYTES_MAX], usize) {
    let mut header = [0; HEADER_BYTES_MAX];
    header[0] = if fin { FIN | opcode as u8 } else { opcode as u8 };
    let mut end = match length {
        0..126 => {
            header[1] = length as u8;
            2
        }
        126..0x1_0000 => {
            header[1] = LENGTH_IS_16_BIT;
            header[2..4].copy_from_slice(&(length as u16).to_be_bytes());
            4
        }
        _ => {
            header[1] = LENGTH_IS_64_BIT;
            header[2..10].copy_from_slice(&(length as u64).to_be_bytes());
            10
        }
    };
    if let Some(key) = mask {
        header[1] |= MASKED;
        header[end..end + 4].copy_from_slice(&key);
        end += 4;
    }
    (header, end)
}

/// Appends one whole, unfragmented frame. `mask`: a fresh random key if we are the client, else none.
pub fn write(out: &mut Vec<u8>, opcode: Opcode, payload: &[u8], mask: Option<[u8; 4]>) {
    write_fragment(out, true, opcode, payload, mask);
}

/// Appends one frame of a message; `fin` on its last, [`Opcode::Continuation`] on all but its first.
pub fn write_fragment(out: &mut Vec<u8>, fin: bool, opcode: Opcode, payload: &[u8], mask: Option<[u8; 4]>) {
    assert!(!opcode.is_control() || (fin && payload.len() <= CONTROL_BYTES_MAX), "a control frame is short and whole");
    let (header, header_length) = encode_header(fin, opcode, payload.len(), mask);
    out.reserve(header_length + payload.len());
    out.extend_from_slice(&header[..header_length]);
    let start = out.len();
    copy::append(out, payload);
    if let Some(key) = mask {
        mask::unmask(&mut out[start..], key);
    }
}

/// Appends one whole, unfragmented frame whose payload is a compressed message (RFC 7692 6: with RSV1 set), as
/// [`Compressor`](super::deflate::Compressor) makes it.
pub fn write_compressed(out: &mut Vec<u8>, opcode: Opcode, payload: &[u8], mask: Option<[u8; 4]>) {
    assert!(matches!(opcode, Opcode::Text | Opcode::Binary), "a message begins with its kind");
    let start = out.len();
    write(out, opcode, payload, mask);
    out[start] |= RSV1;
}

/// Appends a close frame. A reason that is too long is cut at a character.
pub fn write_close(out: &mut Vec<u8>, code: CloseCode, reason: &str, mask: Option<[u8; 4]>) {
    write(out, Opcode::Close, &close::encode(code, reason), mask);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(role: Role, input: &[u8], expected: Result<(Header, usize), ProtocolError>) {
        check_agreed(role, false, input, expected);
    }

    /// The answer for the whole input, and none or the same for each shorter one, once it can be known.
    fn check_agreed(role: Role, deflate: bool, input: &[u8], expected: Result<(Header, usize), ProtocolError>) {
        let decode = |input| decode(role, deflate, input);
        assert_eq!(decode(input), expected.map(Some), "{input:02x?}");
        let mut known = false;
        for end in 0..=input.len() {
            match decode(&input[..end]) {
                Ok(None) => assert!(!known, "known, then unknown at {end} of {input:02x?}"),
                Ok(Some(decoded)) => {
                    known = true;
                    assert_eq!(Ok(decoded), expected);
                    assert!(end >= decoded.1, "a header of {} bytes read from {end}", decoded.1);
                }
                Err(error) => {
                    known = true;
                    assert_eq!(Err(error), expected, "at {end} of {input:02x?}");
                }
            }
        }
    }

    fn header(fin: bool, opcode: Opcode, length: u64) -> Header {
        Header { fin, compressed: false, opcode, mask: None, length }
    }

    #[test]
    fn headers_of_a_server() {
        let check = |input: &[u8], expected| check(Role::Client, input, expected);
        check(&[0x81, 0x05], Ok((header(true, Opcode::Text, 5), 2)));
        check(&[0x01, 0x03], Ok((header(false, Opcode::Text, 3), 2)));
        check(&[0x80, 0x02], Ok((header(true, Opcode::Continuation, 2), 2)));
        check(&[0x82, 0x7e, 0x01, 0x00], Ok((header(true, Opcode::Binary, 256), 4)));
        check(&[0x82, 0x7f, 0, 0, 0, 0, 0, 1, 0, 0], Ok((header(true, Opcode::Binary, 65536), 10)));
        let longest = [0x82, 0x7f, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff];
        check(&longest, Ok((header(true, Opcode::Binary, u64::MAX >> 1), 10)));
        check(&[0x89, 0x7d], Ok((header(true, Opcode::Ping, 125), 2)));
        check(&[0x81, 0x85, 1, 2, 3, 4], Err(ProtocolError::MaskUnexpected));
    }

    #[test]
    fn headers_of_a_client() {
        let check = |input: &[u8], expected| check(Role::Server, input, expected);
        let masked = Header { mask: Some([1, 2, 3, 4]), ..header(true, Opcode::Text, 5) };
        check(&[0x81, 0x85, 1, 2, 3, 4], Ok((masked, 6)));
        check(&[0x81, 0xfe, 0, 126, 1, 2, 3, 4], Ok((Header { length: 126, ..masked }, 8)));
        check(&[0x81, 0xff, 0, 0, 0, 0, 0, 1, 0, 0, 1, 2, 3, 4], Ok((Header { length: 65536, ..masked }, 14)));
        check(&[0x81, 0x05], Err(ProtocolError::MaskMissing));
    }

    #[test]
    fn headers_that_break_a_rule() {
        let check = |input: &[u8], error| check(Role::Client, input, Err(error));
        for bit in [0x40, 0x20, 0x10] {
            check(&[0x81 | bit, 0x00], ProtocolError::ReservedBits);
        }
        for opcode in [3, 4, 5, 6, 7, 11, 12, 13, 14, 15] {
            check(&[0x80 | opcode, 0x00], ProtocolError::OpcodeReserved(opcode));
        }
        for opcode in [8, 9, 10] {
            check(&[opcode, 0x00], ProtocolError::ControlFragmented);
            check(&[0x80 | opcode, 0x7e, 0, 126], ProtocolError::ControlTooLong);
            check(&[0x80 | opcode, 0x7f, 0, 0, 0, 0, 0, 1, 0, 0], ProtocolError::ControlTooLong);
        }
        check(&[0x81, 0x7e, 0, 125], ProtocolError::LengthNotMinimal);
        check(&[0x81, 0x7f, 0, 0, 0, 0, 0, 0, 0xff, 0xff], ProtocolError::LengthNotMinimal);
        check(&[0x81, 0x7f, 0x80, 0, 0, 0, 0, 0, 0, 0], ProtocolError::LengthInvalid);
        check(&[0x81, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff], ProtocolError::LengthInvalid);
    }

    #[test]
    fn rsv1_stands_on_the_first_frame_of_a_message_where_it_was_agreed() {
        for first in 0..=u8::MAX {
            let (bits, opcode) = (first & RESERVED_BITS, first & 0x0f);
            let begins = matches!(opcode, 1 | 2);
            let decoded = decode(Role::Client, true, &[first, 0]);
            match decoded {
                Ok(header) => {
                    let (header, _) = header.expect("two bytes are a header");
                    assert!(bits == 0 || bits == RSV1 && begins, "{first:#x}");
                    assert_eq!(header.compressed, bits == RSV1);
                }
                Err(ProtocolError::ReservedBits) => assert!(bits & !RSV1 != 0 || !begins, "{first:#x}"),
                Err(ProtocolError::ControlFragmented) => assert!(first & FIN == 0 && (8..=10).contains(&opcode)),
                Err(error) => assert_eq!(error, ProtocolError::OpcodeReserved(opcode)),
            }
            if bits != 0 {
                assert_eq!(decode(Role::Client, false, &[first, 0]), Err(ProtocolError::ReservedBits), "{first:#x}");
            }
        }
    }

    #[test]
    fn lengths_are_written_in_the_fewest_bytes() {
        for (length, bytes) in [(0, 2), (125, 2), (126, 4), (65535, 4), (65536, 10), (1 << 32, 10)] {
            let (encoded, end) = encode_header(true, Opcode::Binary, length, None);
            assert_eq!(end, bytes, "length {length}");
            check(Role::Client, &encoded[..end], Ok((header(true, Opcode::Binary, length as u64), bytes)));
        }
    }

    #[test]
    fn a_masked_frame_is_the_example_of_the_rfc() {
        let mut out = Vec::new();
        write(&mut out, Opcode::Text, b"Hello", Some([0x37, 0xfa, 0x21, 0x3d]));
        assert_eq!(out, [0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58]);
    }

    #[test]
    #[should_panic(expected = "a control frame is short and whole")]
    fn a_long_control_frame_is_our_mistake() {
        write(&mut Vec::new(), Opcode::Ping, &[0; 126], None);
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_decoded(fin: bool, kind in 0_usize..3, length in 0_u64..1 << 40, shift in 0..40, mask: Option<[u8; 4]>) {
            let opcode = [Opcode::Continuation, Opcode::Text, Opcode::Binary][kind];
            let expected = Header { fin, compressed: false, opcode, mask, length: length >> shift };
            let (encoded, end) = encode_header(fin, opcode, expected.length as usize, mask);
            let role = if mask.is_some() { Role::Server } else { Role::Client };
            check(role, &encoded[..end], Ok((expected, end)));
        }

        #[test]
        fn any_bytes_at_every_cut(input: [u8; 16], server: bool, deflate: bool) {
            let role = if server { Role::Server } else { Role::Client };
            let whole = decode(role, deflate, &input).map(|header| header.expect("a header has at most 14 bytes"));
            check_agreed(role, deflate, &input, whole);
        }
    }
}
