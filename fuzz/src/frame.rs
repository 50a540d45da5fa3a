//! Frame headers: what is read says the same as the bytes, whatever is cut off, and each refusal tells a fact of them.

use tidegate::ws::frame::{HEADER_BYTES_MAX, Opcode, decode, encode_header};
use tidegate::ws::{ProtocolError, Role};

/// RFC 7692 6: the message is compressed.
const RSV1: u8 = 0x40;

/// Any bytes as the beginning of a frame, for both roles, with and without compression agreed.
pub fn check(data: &[u8]) {
    for role in [Role::Server, Role::Client] {
        check_as(role, false, data);
        check_as(role, true, data);
    }
}

fn check_as(role: Role, deflate: bool, data: &[u8]) {
    let whole = decode(role, deflate, data);
    match whole {
        Ok(Some((header, used))) => {
            assert!(used <= HEADER_BYTES_MAX && used <= data.len());
            let (mut bytes, length) = encode_header(header.fin, header.opcode, header.length as usize, header.mask);
            bytes[0] |= if header.compressed { RSV1 } else { 0 };
            assert!(!header.compressed || deflate);
            assert_eq!(bytes[..length], data[..used], "the shortest header, and all of it was read");
            assert_eq!(header.mask.is_some(), role == Role::Server);
        }
        Ok(None) => assert!(data.len() < HEADER_BYTES_MAX, "no header is longer"),
        Err(error) => assert!(is_true(error, deflate, data), "{error} is not so of {data:02x?}"),
    }
    // However it is cut: nothing yet, or what is said of the whole.
    let mut known = false;
    for end in 0..data.len().min(HEADER_BYTES_MAX) {
        match decode(role, deflate, &data[..end]) {
            Ok(None) => assert!(!known, "known, then unknown at {end}"),
            early => {
                known = true;
                assert_eq!(early, whole, "at {end}");
            }
        }
    }
}

/// Whether the bytes are wrong in this way.
fn is_true(error: ProtocolError, deflate: bool, data: &[u8]) -> bool {
    let opcode = data[0] & 0x0f;
    let control = opcode >= Opcode::Close as u8;
    match error {
        ProtocolError::ReservedBits => data[0] & 0x70 != if deflate && matches!(opcode, 1 | 2) { data[0] & RSV1 } else { 0 },
        ProtocolError::OpcodeReserved(bits) => bits == opcode && matches!(bits, 3..=7 | 11..=15),
        ProtocolError::ControlFragmented => control && data[0] & 0x80 == 0,
        ProtocolError::ControlTooLong => control && data[1] & 0x7f > 125,
        ProtocolError::MaskMissing => data[1] & 0x80 == 0,
        ProtocolError::MaskUnexpected => data[1] & 0x80 != 0,
        ProtocolError::LengthInvalid => data[1] & 0x7f == 127 && data[2] & 0x80 != 0,
        ProtocolError::LengthNotMinimal if data[1] & 0x7f == 126 => data[2] == 0 && data[3] < 126,
        ProtocolError::LengthNotMinimal => data[1] & 0x7f == 127 && data[2..8].iter().all(|byte| *byte == 0),
        _ => false,
    }
}
