//! Both roles wired to each other: what one side says in any fragments, compressed or not, the other hears, whatever TCP
//! tears.

use arbitrary::{Result, Unstructured};
use tidegate::ws::deflate::{Agreement, Compressor};
use tidegate::ws::frame::{self, Opcode};
use tidegate::ws::{Assembler, CloseCode, Connection, Event, Limits, MessageKind, Role};

use super::cuts::Cuts;

const LIMITS: Limits = Limits { message_bytes_max: 1 << 20, fragments_max: 64, inflate_ratio_max: 2000 };

/// What is said, and heard.
#[derive(Debug, PartialEq, Eq)]
enum Said {
    Message(MessageKind, Vec<u8>),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    Close(Option<(CloseCode, String)>),
}

/// A conversation, made of the bytes as they come.
pub fn check(data: &[u8]) {
    let mut choices = Unstructured::new(data);
    for role in [Role::Server, Role::Client] {
        // What runs out of bytes says nothing more.
        let Ok(agreed) = agreement(&mut choices) else { return };
        let Ok((said, bytes, cuts)) = speak(role, agreed.as_ref(), &mut choices) else { return };
        let connection = match &agreed {
            Some(agreed) => Connection::with_deflate(role, agreed),
            None => Connection::new(role),
        };
        assert_eq!(hear(connection, bytes, cuts), said, "by the {role:?}");
    }
}

/// What both agreed on about compression.
fn agreement(choices: &mut Unstructured<'_>) -> Result<Option<Agreement>> {
    if choices.arbitrary()? {
        return Ok(None);
    }
    let mut bits = || Ok(if choices.arbitrary()? { Some(choices.int_in_range(8..=15)?) } else { None });
    let (server_max_window_bits, client_max_window_bits) = (bits()?, bits()?);
    Ok(Some(Agreement {
        server_no_context_takeover: choices.arbitrary()?,
        client_no_context_takeover: choices.arbitrary()?,
        server_max_window_bits,
        client_max_window_bits,
    }))
}

/// Who says it: frames are masked for a server, messages compressed as it was agreed.
struct Speaker {
    hearer: Role,
    compressor: Option<Compressor>,
}

/// What a peer of `hearer`'s role hears, and the bytes of it.
fn speak(hearer: Role, agreed: Option<&Agreement>, choices: &mut Unstructured<'_>) -> Result<(Vec<Said>, Vec<u8>, Cuts)> {
    let own = if hearer == Role::Server { Role::Client } else { Role::Server };
    let compressor = agreed.map(|agreed| Compressor::new(agreed.window_bits(own), agreed.takes_over(own)));
    let speaker = &mut Speaker { hearer, compressor };
    let (mut said, mut bytes) = (Vec::new(), Vec::new());
    let cuts = Cuts::new(choices.arbitrary::<u16>()?.into());
    for _ in 0..choices.int_in_range(0..=6)? {
        match choices.int_in_range(0..=5)? {
            0..=3 => message(speaker, choices, &mut said, &mut bytes)?,
            _ => control(speaker, choices, &mut said, &mut bytes)?,
        }
    }
    if choices.arbitrary()? {
        let code = [CloseCode::NORMAL, CloseCode::GOING_AWAY, CloseCode(4999)][choices.int_in_range(0..=2)?];
        let reason: String = choices.arbitrary::<&str>()?.chars().take(30).collect();
        let close = choices.arbitrary::<bool>()?.then_some((code, reason));
        let mask = key(speaker, choices)?;
        match &close {
            Some((code, reason)) => frame::write_close(&mut bytes, *code, reason, mask),
            None => frame::write(&mut bytes, Opcode::Close, &[], mask),
        }
        said.push(Said::Close(close));
    }
    Ok((said, bytes, cuts))
}

/// Only what goes to a server is masked.
fn key(speaker: &Speaker, choices: &mut Unstructured<'_>) -> Result<Option<[u8; 4]>> {
    Ok(if speaker.hearer == Role::Server { Some(choices.arbitrary()?) } else { None })
}

/// One message in fragments, control frames between them.
fn message(speaker: &mut Speaker, choices: &mut Unstructured<'_>, said: &mut Vec<Said>, bytes: &mut Vec<u8>) -> Result<()> {
    let text = choices.arbitrary()?;
    let (kind, opcode) = if text { (MessageKind::Text, Opcode::Text) } else { (MessageKind::Binary, Opcode::Binary) };
    let own: Vec<u8> =
        if text { choices.arbitrary::<&str>()?.as_bytes().to_vec() } else { choices.arbitrary::<&[u8]>()?.to_vec() };
    // Lengths on both sides of where the header changes its form, from few bytes of input.
    let length = [own.len(), 0, 125, 126, 127, 65_535, 65_536, 70_001][choices.int_in_range(0..=7)?];
    let filled = own.iter().copied().chain(std::iter::repeat_n(b'x', length)).take(length.max(own.len()));
    let payload: Vec<u8> = filled.collect();
    let mut cuts = Cuts::new(choices.arbitrary::<u8>()?.into());
    let mut compressed = Vec::new();
    let compressor = speaker.compressor.as_mut().filter(|_| choices.ratio(3, 4).unwrap_or(true));
    let is_compressed = compressor.map(|compressor| compressor.compress(&payload, &mut compressed)).is_some();
    let wire = if is_compressed { &compressed } else { &payload };
    let (mut rest, mut opcode, mut fragments, start) = (&wire[..], opcode, 0, bytes.len());
    loop {
        fragments += 1;
        let here = if fragments == LIMITS.fragments_max || rest.is_empty() { rest.len() } else { cuts.next(rest.len()) };
        let (fragment, behind) = rest.split_at(here);
        // An empty last fragment is one too.
        let last = behind.is_empty() && (here == 0 || fragments == LIMITS.fragments_max || choices.ratio(3, 4)?);
        frame::write_fragment(bytes, last, opcode, fragment, key(speaker, choices)?);
        (rest, opcode) = (behind, Opcode::Continuation);
        if last {
            break;
        }
        if choices.ratio(1, 4)? {
            control(speaker, choices, said, bytes)?;
        }
    }
    // RFC 7692 6: RSV1, on the first fragment only.
    bytes[start] |= if is_compressed { 0x40 } else { 0 };
    said.push(Said::Message(kind, payload));
    Ok(())
}

fn control(speaker: &Speaker, choices: &mut Unstructured<'_>, said: &mut Vec<Said>, bytes: &mut Vec<u8>) -> Result<()> {
    let length = choices.int_in_range(0..=frame::CONTROL_BYTES_MAX)?;
    let payload: Vec<u8> = choices.bytes(length.min(choices.len()))?.to_vec();
    let ping = choices.arbitrary()?;
    let opcode = if ping { Opcode::Ping } else { Opcode::Pong };
    frame::write(bytes, opcode, &payload, key(speaker, choices)?);
    said.push(if ping { Said::Ping(payload) } else { Said::Pong(payload) });
    Ok(())
}

fn hear(mut connection: Connection, mut bytes: Vec<u8>, mut cuts: Cuts) -> Vec<Said> {
    let (mut assembler, mut heard) = (Assembler::default(), Vec::new());
    let mut rest = &mut bytes[..];
    while !rest.is_empty() {
        let (mut piece, behind) = rest.split_at_mut(cuts.next(rest.len()));
        rest = behind;
        while let Some(event) = connection.next(&LIMITS, &mut piece).expect("what we write is right") {
            heard.extend(match event {
                Event::Data { kind, bytes, first, last } => {
                    assembler.add(kind, bytes, first, last).map(|message| Said::Message(kind, message.bytes.into_owned()))
                }
                Event::Ping(payload) => Some(Said::Ping(payload.to_vec())),
                Event::Pong(payload) => Some(Said::Pong(payload.to_vec())),
                Event::Close(body) => Some(Said::Close(
                    body.map(|(code, reason)| (code, String::from_utf8(reason.to_vec()).expect("a reason is UTF-8"))),
                )),
            });
        }
    }
    assert!(!connection.inside_message() && assembler.bytes_held() == 0, "all of it was heard");
    heard
}
