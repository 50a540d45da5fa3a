//! Any bytes of a peer as messages, torn anywhere, against a naive reader that has them all at once: the same messages,
//! pings and pongs in the same order, the same end.

use tidegate::ws::frame::{Opcode, decode};
use tidegate::ws::{Assembler, CloseCode, Connection, Event, Limits, MessageKind, Role, close};

use super::cuts::Cuts;

/// Small, so that inputs reach them.
const LIMITS: Limits = Limits { message_bytes_max: 300, fragments_max: 4, inflate_ratio_max: 100 };

/// What a peer said, and how it ended.
#[derive(Debug, Default, PartialEq, Eq)]
struct Heard {
    said: Vec<(&'static str, Vec<u8>)>,
    /// The code of our answer to what broke the protocol.
    failed: Option<CloseCode>,
}

/// Role and cuts, then the bytes.
pub fn check(data: &[u8]) {
    let Some(([role, high, low], bytes)) = data.split_first_chunk() else { return };
    let role = if role & 1 == 0 { Role::Server } else { Role::Client };
    let expected = naive(role, bytes);
    assert_eq!(read(role, bytes, Cuts::new(0)), expected, "whole");
    assert_eq!(read(role, bytes, Cuts::new(u16::from_be_bytes([*high, *low]).into())), expected, "torn");
}

fn read(role: Role, bytes: &[u8], mut cuts: Cuts) -> Heard {
    let (mut connection, mut assembler, mut heard) = (Connection::new(role), Assembler::default(), Heard::default());
    let mut bytes = bytes.to_vec();
    let mut rest = &mut bytes[..];
    while !rest.is_empty() {
        let (mut piece, behind) = rest.split_at_mut(cuts.next(rest.len()));
        rest = behind;
        loop {
            match connection.next(&LIMITS, &mut piece) {
                Ok(None) => break,
                Ok(Some(Event::Close(body))) => {
                    heard.said.push(("close", body.map_or(Vec::new(), |(code, _)| code.0.to_be_bytes().to_vec())));
                    return heard;
                }
                Ok(Some(event)) => hear(event, &mut assembler, &mut heard),
                Err(error) => {
                    heard.failed = Some(error.close_code());
                    return heard;
                }
            }
        }
        assert!(piece.is_empty(), "without an event the input is used up");
        // A vector that grows doubles.
        assert!(assembler.bytes_held() <= 2 * LIMITS.message_bytes_max as usize, "held: {}", assembler.bytes_held());
        assert!(connection.inside_message() || assembler.bytes_held() == 0, "nothing is held between messages");
    }
    heard
}

fn hear(event: Event<'_>, assembler: &mut Assembler, heard: &mut Heard) {
    match event {
        Event::Data { kind, bytes, first, last } => {
            if let Some(message) = assembler.add(kind, bytes, first, last) {
                heard.said.push((name(message.kind), message.bytes.into_owned()));
            }
        }
        Event::Ping(payload) => heard.said.push(("ping", payload.to_vec())),
        Event::Pong(payload) => heard.said.push(("pong", payload.to_vec())),
        Event::Close(_) => unreachable!("a close ends the reading"),
    }
}

fn name(kind: MessageKind) -> &'static str {
    match kind {
        MessageKind::Text => "text",
        MessageKind::Binary => "binary",
    }
}

/// Has everything at once and copies as it likes. Headers are read by what the target `frame` judges.
fn naive(role: Role, mut bytes: &[u8]) -> Heard {
    let mut heard = Heard::default();
    let mut message: Option<(MessageKind, Vec<u8>, u32)> = None;
    while let Some((header, used)) = match decode(role, false, bytes) {
        Ok(header) => header,
        Err(error) => {
            heard.failed = Some(error.close_code());
            None
        }
    } {
        let there = bytes.len() - used;
        let length = usize::try_from(header.length).unwrap_or(usize::MAX);
        let key = header.mask.unwrap_or_default();
        let payload = bytes[used..].iter().take(length).zip(key.iter().cycle()).map(|(byte, key)| byte ^ key);
        let payload: Vec<u8> = payload.collect();
        let ended = if header.opcode.is_control() {
            length <= there && naive_control(header.opcode, payload, &mut heard)
        } else {
            let whole = header.fin && length <= there;
            let failure = naive_data(header.opcode, header.length, &payload, whole, &mut message);
            heard.failed = failure;
            if whole && failure.is_none() {
                let (kind, text, _) = message.take().expect("it was begun");
                heard.said.push((name(kind), text));
            }
            failure.is_some()
        };
        if ended || length > there {
            break;
        }
        bytes = &bytes[used + length..];
    }
    heard
}

/// True if it ends the reading.
fn naive_control(opcode: Opcode, payload: Vec<u8>, heard: &mut Heard) -> bool {
    match opcode {
        Opcode::Ping => heard.said.push(("ping", payload)),
        Opcode::Pong => heard.said.push(("pong", payload)),
        _ => match close::parse(&payload) {
            Ok(body) => heard.said.push(("close", body.map_or(Vec::new(), |(code, _)| code.0.to_be_bytes().to_vec()))),
            Err(error) => heard.failed = Some(error.close_code()),
        },
    }
    opcode == Opcode::Close
}

/// What is wrong with a data frame, of which `payload` has come.
fn naive_data(
    opcode: Opcode,
    length: u64,
    payload: &[u8],
    whole: bool,
    message: &mut Option<(MessageKind, Vec<u8>, u32)>,
) -> Option<CloseCode> {
    match (opcode, message.is_some()) {
        (Opcode::Continuation, false) | (Opcode::Text | Opcode::Binary, true) => return Some(CloseCode::PROTOCOL),
        (Opcode::Text, false) => *message = Some((MessageKind::Text, Vec::new(), 0)),
        (Opcode::Binary, false) => *message = Some((MessageKind::Binary, Vec::new(), 0)),
        _ => {}
    }
    let (kind, text, fragments) = message.as_mut().expect("it was begun above or before");
    *fragments += 1;
    if *fragments > LIMITS.fragments_max || text.len() as u64 + length > u64::from(LIMITS.message_bytes_max) {
        return Some(CloseCode::TOO_BIG);
    }
    text.extend_from_slice(payload);
    let wrong = std::str::from_utf8(text).err().is_some_and(|error| whole || error.error_len().is_some());
    (*kind == MessageKind::Text && wrong).then_some(CloseCode::INVALID_PAYLOAD)
}
