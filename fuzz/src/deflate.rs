//! permessage-deflate against another implementation (miniz_oxide, plain and through flate2): any bytes as a compressed message come out as it inflates
//! them or not at all, never more than the limit, the same however they are torn; and what it compresses comes out whole.

use flate2::{Compress, Compression, FlushCompress};
use miniz_oxide::inflate::TINFLStatus;
use miniz_oxide::inflate::core::inflate_flags::{TINFL_FLAG_HAS_MORE_INPUT, TINFL_FLAG_USING_NON_WRAPPING_OUTPUT_BUF};
use miniz_oxide::inflate::core::{DecompressorOxide, decompress};
use tidegate::ws::deflate::Agreement;
use tidegate::ws::frame::{self, Opcode};
use tidegate::ws::{Assembler, CloseCode, Connection, Event, Limits, Role};

use super::cuts::Cuts;

/// RFC 7692 7.2.1: what a compressed message ends with, removed by who sends.
const TAIL: [u8; 4] = [0x00, 0x00, 0xff, 0xff];

/// docs/configuration.md, `inflate_ratio_max`: up to here no ratio counts.
const FREE_OF_RATIO_BYTES: usize = 64 << 10;

/// What was read: whole messages, and the answer to what was wrong.
type Read = (Vec<Vec<u8>>, Option<CloseCode>);

/// How, cuts, then the bytes.
pub fn check(data: &[u8]) {
    let Some(([how, high, low], bytes)) = data.split_first_chunk() else { return };
    let cuts = Cuts::new(u16::from_be_bytes([*high, *low]).into());
    let message_bytes_max = if how & 4 == 0 { 1 << 20 } else { 500 };
    let inflate_ratio_max = if how & 8 == 0 { 1 << 20 } else { 3 };
    let limits = Limits { message_bytes_max, fragments_max: u32::MAX, inflate_ratio_max };
    let opcode = if how & 2 == 0 { Opcode::Binary } else { Opcode::Text };
    if how & 1 == 0 {
        any_bytes(bytes, opcode, &limits, cuts);
    } else {
        foreign(bytes, how >> 4, limits, cuts);
    }
}

fn agreed(take_over: bool) -> Agreement {
    Agreement {
        server_no_context_takeover: !take_over,
        client_no_context_takeover: !take_over,
        server_max_window_bits: None,
        client_max_window_bits: None,
    }
}

/// A compressed message as a client sends it, in fragments.
fn write(out: &mut Vec<u8>, opcode: Opcode, mut payload: &[u8], mut cuts: Cuts) {
    let (start, mut opcode) = (out.len(), opcode);
    loop {
        let (fragment, behind) = payload.split_at(cuts.next(payload.len()).min(payload.len()));
        frame::write_fragment(out, behind.is_empty(), opcode, fragment, Some([1, 2, 3, 4]));
        (payload, opcode) = (behind, Opcode::Continuation);
        if behind.is_empty() {
            break;
        }
    }
    // RFC 7692 6: RSV1, on the first fragment only.
    out[start] |= 0x40;
}

fn read(take_over: bool, limits: &Limits, wire: &[u8], mut cuts: Cuts) -> Read {
    let (mut connection, mut assembler) = (Connection::with_deflate(Role::Server, &agreed(take_over)), Assembler::default());
    let (mut messages, mut of_message) = (Vec::new(), 0);
    let mut wire = wire.to_vec();
    let mut rest = &mut wire[..];
    while !rest.is_empty() {
        let (mut piece, behind) = rest.split_at_mut(cuts.next(rest.len()));
        rest = behind;
        loop {
            match connection.next(limits, &mut piece) {
                Ok(None) => break,
                Ok(Some(Event::Data { kind, bytes, first, last })) => {
                    of_message = if first { bytes.len() } else { of_message + bytes.len() };
                    assert!(of_message <= limits.message_bytes_max as usize, "never more than the limit comes out");
                    messages.extend(assembler.add(kind, bytes, first, last).map(|message| message.bytes.into_owned()));
                }
                Ok(Some(event)) => unreachable!("nothing else was sent than {event:?}"),
                Err(error) => return (messages, Some(error.close_code())),
            }
        }
    }
    assert!(!connection.inside_message(), "the message was whole");
    (messages, None)
}

/// The bytes as one compressed message.
fn any_bytes(bytes: &[u8], opcode: Opcode, limits: &Limits, cuts: Cuts) {
    let mut wire = Vec::new();
    write(&mut wire, opcode, bytes, cuts.clone());
    let whole = read(false, limits, &wire, Cuts::new(0));
    assert_eq!(read(false, limits, &wire, cuts), whole, "however it is torn");
    let limit = limits.message_bytes_max as usize;
    let (inflated, is_whole) = naive(bytes, limit + 1);
    match whole {
        (messages, None) => {
            assert!(is_whole, "it cannot be inflated, and was taken");
            assert_eq!(messages, [inflated]);
        }
        (_, Some(CloseCode::TOO_BIG)) => {
            let compressed_is_long = bytes.len() > limit;
            assert!(inflated.len() > limit.min(FREE_OF_RATIO_BYTES) || compressed_is_long, "{} bytes", inflated.len());
        }
        (_, Some(code)) => {
            assert_eq!(code, CloseCode::INVALID_PAYLOAD);
            let is_text = opcode == Opcode::Binary || std::str::from_utf8(&inflated).is_ok();
            assert!(!is_whole || !is_text, "it is right, and was refused");
        }
    }
}

/// What the other implementation makes of a message, up to a bound; and whether it was whole.
fn naive(bytes: &[u8], most: usize) -> (Vec<u8>, bool) {
    let mut naive = Naive { stream: DecompressorOxide::new(), window: vec![0; most], at: 0, before: Vec::new() };
    let is_whole = naive.inflate(bytes).is_some();
    let Naive { window, at, mut before, .. } = naive;
    before.extend_from_slice(&window[..at]);
    (before, is_whole)
}

/// Inflates into memory that holds all of it, so that nothing refers to what never was.
struct Naive {
    stream: DecompressorOxide,
    window: Vec<u8>,
    at: usize,
    /// What earlier streams of the message brought.
    before: Vec<u8>,
}

impl Naive {
    /// `None` where it is broken, too long or cut off.
    fn inflate(&mut self, mut input: &[u8]) -> Option<()> {
        while !input.is_empty() {
            let (used, ended) = self.feed(input)?;
            input = &input[used..];
            if ended && input.is_empty() {
                return Some(());
            }
            // RFC 7692 7.2.3.4: behind a final block there may be another stream, or only the tail.
            if ended {
                let rest = self.window.split_off(self.at);
                self.before.append(&mut self.window);
                (self.stream, self.window, self.at) = (DecompressorOxide::new(), rest, 0);
            }
            if input.is_empty() {
                // A block that ends only with bytes of the tail was cut off.
                let (_, false) = self.feed(&TAIL)? else { return None };
                // Between two blocks, and only there, an empty final block ends the stream.
                let at = self.at;
                let (_, ended) = self.feed(&[0x03, 0x00])?;
                return (ended && self.at == at).then_some(());
            }
        }
        Some(())
    }

    /// How much of the input was used, and whether the stream ended.
    fn feed(&mut self, input: &[u8]) -> Option<(usize, bool)> {
        let flags = TINFL_FLAG_USING_NON_WRAPPING_OUTPUT_BUF | TINFL_FLAG_HAS_MORE_INPUT;
        let (status, used, inflated) = decompress(&mut self.stream, input, &mut self.window, self.at, flags);
        self.at += inflated;
        match status {
            TINFLStatus::Done => Some((used, true)),
            TINFLStatus::NeedsMoreInput => Some((used, false)),
            _ => None,
        }
    }
}

/// Lines as messages, compressed by the other implementation.
fn foreign(bytes: &[u8], level: u8, limits: Limits, cuts: Cuts) {
    let take_over = level & 1 == 0;
    let mut compressor = Compress::new(Compression::new((level & 0x0f).min(9).into()), false);
    let (mut wire, mut expected) = (Vec::new(), Vec::new());
    // What one byte stands for many times inflates well.
    for line in bytes.split(|byte| *byte == b'\n') {
        let message: Vec<u8> = match line {
            [times, b'*', pattern @ ..] => pattern.repeat(1 + usize::from(*times)),
            _ => line.to_vec(),
        };
        if !take_over {
            compressor.reset();
        }
        let mut compressed = Vec::with_capacity(message.len() + 1024);
        compressor.compress_vec(&message, &mut compressed, FlushCompress::Sync).expect("it compresses into memory");
        let payload = compressed.strip_suffix(&TAIL).expect("a flush ends in an empty block");
        write(&mut wire, Opcode::Binary, payload, cuts.clone());
        expected.push(message);
    }
    let (messages, failed) = read(take_over, &limits, &wire, cuts);
    assert!(expected.starts_with(&messages), "what comes out went in");
    let first_too_long = expected.iter().find(|message| message.len() > limits.message_bytes_max as usize);
    let ratio_counts = limits.inflate_ratio_max < 2000 && expected.iter().any(|message| message.len() > FREE_OF_RATIO_BYTES);
    match failed {
        None => assert_eq!(messages.len(), expected.len()),
        Some(code) => {
            assert_eq!(code, CloseCode::TOO_BIG);
            assert!(first_too_long.is_some() || ratio_counts, "all were within their limits");
        }
    }
}
