//! A publication as the one WebSocket frame, or the one server-sent event, that every subscriber of its encoding gets.
//!
//! Without: masks, fragments, contexts: a compressed frame can be read by itself.

use super::{event, sse};
use crate::dialect::json::{self, Decimal};
use crate::hub::{Encoder, Encoding, Payload, PayloadKind, Position, Publication};
use crate::ws::deflate::Compressor;
use crate::ws::frame::{self, Opcode};

/// The layout of a binary publication: the first byte, so that there can be others.
pub(super) const BINARY_LAYOUT: u8 = 1;
/// In a binary publication's flags.
pub(super) const TIME_FOLLOWS: u8 = 1;

/// Encodes publications in the native dialect.
#[derive(Debug)]
pub struct StreamEncoder {
    deflate_bytes_min: usize,
    /// Made when it is first wanted.
    compressor: Option<Compressor>,
    /// One compressed message, while it is made.
    compressed: Vec<u8>,
    counts: Compressions,
}

/// Publications that were compressed, once for each topic, encoding and shard.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Compressions {
    /// How many.
    pub publications: u64,
    /// Bytes of their messages before.
    pub bytes_before: u64,
    /// Bytes of their messages after.
    pub bytes_after: u64,
}

impl StreamEncoder {
    /// One that leaves messages of less than `deflate_bytes_min` bytes as they are.
    #[must_use]
    pub fn new(deflate_bytes_min: u32) -> StreamEncoder {
        StreamEncoder {
            deflate_bytes_min: deflate_bytes_min as usize,
            compressor: None,
            compressed: Vec::new(),
            counts: Compressions::default(),
        }
    }

    /// What was compressed since this was last asked, for the counters.
    pub fn take_compressions(&mut self) -> Compressions {
        std::mem::take(&mut self.counts)
    }

    /// Compresses the frame that begins at `start`, where that makes it smaller.
    fn compress(&mut self, start: usize, plain: &Plain, out: &mut Vec<u8>) {
        let message = &out[plain.message_start..];
        if message.len() < self.deflate_bytes_min {
            return;
        }
        self.compressed.clear();
        let compressor = self.compressor.get_or_insert_with(|| Compressor::new(WINDOW_BITS, false));
        compressor.compress(message, &mut self.compressed);
        if self.compressed.len() >= message.len() {
            return;
        }
        self.counts.publications += 1;
        self.counts.bytes_before += message.len() as u64;
        self.counts.bytes_after += self.compressed.len() as u64;
        out.truncate(start);
        frame::write_compressed(out, plain.opcode, &self.compressed, None);
    }
}

/// The largest window: whoever cannot read it is not granted compression.
const WINDOW_BITS: u8 = 15;

impl Encoder for StreamEncoder {
    fn encode(&mut self, encoding: Encoding, topic: &str, position: Position, publication: &Publication, out: &mut Vec<u8>) {
        let Position { epoch, offset } = position;
        let head = Head { topic, offset, unix_us: None };
        let timed = Head { unix_us: Some(publication.unix_us), ..head };
        let payload = &publication.payload;
        let marks = &publication.marks;
        if let Some(begun) = marks.begins.as_deref().filter(|_| bears_events(encoding)) {
            push_event(out, encoding, |json| event::epoch(json, topic, *begun));
        }
        if let Some(gap) = marks.gap.filter(|_| bears_events(encoding)) {
            push_event(out, encoding, |json| event::source_gap(json, topic, gap));
        }
        let start = out.len();
        let plain = match encoding {
            Encoding::Raw | Encoding::RawEvents | Encoding::RawDeflate | Encoding::RawEventsDeflate => {
                push_raw(out, payload.kind, &payload.bytes)
            }
            Encoding::Combined | Encoding::CombinedDeflate => push_combined(out, head, payload),
            Encoding::Timed | Encoding::TimedDeflate => push_combined(out, timed, payload),
            Encoding::Sse => return sse::publication(out, head, Some(epoch), payload),
            Encoding::SseTimed => return sse::publication(out, timed, Some(epoch), payload),
            Encoding::SseMany => return sse::publication(out, head, None, payload),
            Encoding::SseManyTimed => return sse::publication(out, timed, None, payload),
        };
        if is_compressed(encoding) {
            self.compress(start, &plain, out);
        }
    }
}

fn is_compressed(encoding: Encoding) -> bool {
    use Encoding::{CombinedDeflate, RawDeflate, RawEventsDeflate, TimedDeflate};
    matches!(encoding, RawDeflate | RawEventsDeflate | CombinedDeflate | TimedDeflate)
}

/// On a raw connection a payload may look like an event, so it bears them only where that was asked for.
fn bears_events(encoding: Encoding) -> bool {
    !matches!(encoding, Encoding::Raw | Encoding::RawDeflate)
}

/// In front of the publication and one with it, so that it stands at its place for everybody, however far behind.
fn push_event(out: &mut Vec<u8>, encoding: Encoding, event: impl FnOnce(&mut Vec<u8>)) {
    let mut json = Vec::with_capacity(64);
    event(&mut json);
    match encoding {
        Encoding::Sse | Encoding::SseTimed | Encoding::SseMany | Encoding::SseManyTimed => sse::message(out, &json),
        _ => frame::write(out, Opcode::Text, &json, None),
    }
}

/// A frame that is not compressed: what it carries, and where that begins.
struct Plain {
    opcode: Opcode,
    message_start: usize,
}

fn push_raw(out: &mut Vec<u8>, kind: PayloadKind, payload: &[u8]) -> Plain {
    let opcode = match kind {
        PayloadKind::Json | PayloadKind::Text => Opcode::Text,
        PayloadKind::Binary => Opcode::Binary,
    };
    let plain = push_header(out, opcode, payload.len());
    out.extend_from_slice(payload);
    plain
}

/// What an envelope says of a publication.
#[derive(Clone, Copy)]
pub(super) struct Head<'t> {
    pub(super) topic: &'t str,
    pub(super) offset: u64,
    /// For whoever wants the time of ingest.
    pub(super) unix_us: Option<u64>,
}

impl Head<'_> {
    /// Offset and time in decimal.
    pub(super) fn numbers(&self) -> (Decimal, Option<Decimal>) {
        (Decimal::new(self.offset), self.unix_us.map(Decimal::new))
    }

    /// `{"stream":"<topic>","o":<offset>`, where it is wanted `,"t":<time>`, and the key of what follows. No character that a
    /// topic may hold is escaped in JSON.
    pub(super) fn pieces<'p>(&'p self, (offset, time): &'p (Decimal, Option<Decimal>), key: &'p [u8]) -> [&'p [u8]; 7] {
        let (time_key, time): (&[u8], &[u8]) = time.as_ref().map_or((b"", b""), |time| (b",\"t\":", time.as_bytes()));
        [b"{\"stream\":\"", self.topic.as_bytes(), b"\",\"o\":", offset.as_bytes(), time_key, time, key]
    }
}

fn push_combined(out: &mut Vec<u8>, head: Head<'_>, payload: &Payload) -> Plain {
    match payload.kind {
        PayloadKind::Json => {
            let plain = push_envelope(out, head, payload.bytes.len());
            out.extend_from_slice(&payload.bytes);
            out.push(b'}');
            plain
        }
        PayloadKind::Text => {
            let plain = push_envelope(out, head, json::string_len(&payload.bytes));
            json::push_string(out, &payload.bytes);
            out.push(b'}');
            plain
        }
        PayloadKind::Binary => push_binary(out, head, &payload.bytes),
    }
}

/// Begins `{"stream":"<topic>","o":<offset>,"data":<data>}`, with `"t":<time>` before `data` where it is wanted.
fn push_envelope(out: &mut Vec<u8>, head: Head<'_>, data_bytes: usize) -> Plain {
    let numbers = head.numbers();
    let pieces = head.pieces(&numbers, b",\"data\":");
    let plain = push_header(out, Opcode::Text, pieces.iter().map(|piece| piece.len()).sum::<usize>() + data_bytes + 1);
    for piece in pieces {
        out.extend_from_slice(piece);
    }
    plain
}

/// `u8` layout, `u8` flags, `u16` length of the topic, topic, `u64` offset, `u64` time if flagged, payload; big endian.
fn push_binary(out: &mut Vec<u8>, head: Head<'_>, payload: &[u8]) -> Plain {
    let Head { topic, offset, unix_us } = head;
    let flags = if unix_us.is_some() { TIME_FOLLOWS } else { 0 };
    let topic_bytes = u16::try_from(topic.len()).expect("a topic's name has at most 255 bytes");
    let numbers_bytes = if unix_us.is_some() { 16 } else { 8 };
    let plain = push_header(out, Opcode::Binary, 4 + topic.len() + numbers_bytes + payload.len());
    out.extend_from_slice(&[BINARY_LAYOUT, flags]);
    out.extend_from_slice(&topic_bytes.to_be_bytes());
    out.extend_from_slice(topic.as_bytes());
    out.extend_from_slice(&offset.to_be_bytes());
    if let Some(unix_us) = unix_us {
        out.extend_from_slice(&unix_us.to_be_bytes());
    }
    out.extend_from_slice(payload);
    plain
}

/// Appends the header of an unmasked frame that is a whole message, and makes room for its payload.
fn push_header(out: &mut Vec<u8>, opcode: Opcode, payload_bytes: usize) -> Plain {
    let (header, header_bytes) = frame::encode_header(true, opcode, payload_bytes, None);
    out.reserve(header_bytes + payload_bytes);
    out.extend_from_slice(&header[..header_bytes]);
    Plain { opcode, message_start: out.len() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hub::{Epoch, Marks, SourceGap};

    fn at(offset: u64) -> Position {
        Position { epoch: Epoch::from_number(36), offset }
    }

    fn publication(offset: u64, kind: PayloadKind, payload: &[u8]) -> Publication {
        let payload = Payload { bytes: payload.to_vec().into(), kind };
        Publication { offset, unix_us: 1_700_000_000_000_000, payload, marks: Marks::default() }
    }

    /// The one frame of a publication, as its first byte and its payload; its length is judged by a naive reader.
    fn frame(encoding: Encoding, offset: u64, kind: PayloadKind, payload: &[u8]) -> (u8, Vec<u8>) {
        let mut out = b"before".to_vec();
        StreamEncoder::new(0).encode(encoding, "md.BTC-USD", at(offset), &publication(offset, kind, payload), &mut out);
        let frame = out.strip_prefix(b"before").expect("a frame is appended");
        let (len, start) = match frame[1] {
            126 => (u64::from(u16::from_be_bytes([frame[2], frame[3]])), 4),
            127 => (u64::from_be_bytes(frame[2..10].try_into().expect("eight bytes")), 10),
            short => (u64::from(short), 2),
        };
        let minimal = [2, 4, 10][usize::from(len > 125) + usize::from(len > 0xffff)];
        assert_eq!((start, frame.len() as u64), (minimal, start as u64 + len), "the shortest header that tells the length");
        (frame[0], frame[start..].to_vec())
    }

    #[track_caller]
    fn check(encoding: Encoding, kind: PayloadKind, payload: &str, first: u8, expected: &[u8]) {
        assert_eq!(frame(encoding, 42, kind, payload.as_bytes()), (first, expected.to_vec()), "{payload}");
    }

    #[test]
    fn raw_is_the_payload_byte_for_byte_text_frames_for_text_and_binary_for_binary() {
        for payload in ["", "{\"e\":\"trade\"}", " 1 ", "hello \"you\""] {
            check(Encoding::Raw, PayloadKind::Json, payload, 0x81, payload.as_bytes());
            check(Encoding::Raw, PayloadKind::Text, payload, 0x81, payload.as_bytes());
            check(Encoding::Raw, PayloadKind::Binary, payload, 0x82, payload.as_bytes());
        }
    }

    #[test]
    fn combined_is_stream_then_offset_then_data_without_spaces() {
        let expected = br#"{"stream":"md.BTC-USD","o":42,"data":{ "p": 1.10 }}"#;
        check(Encoding::Combined, PayloadKind::Json, r#"{ "p": 1.10 }"#, 0x81, expected);
    }

    #[test]
    fn a_text_that_is_not_json_is_put_in_as_a_json_string() {
        let expected = "{\"stream\":\"md.BTC-USD\",\"o\":42,\"data\":\"say \\\"é\\\"\\n\"}";
        check(Encoding::Combined, PayloadKind::Text, "say \"é\"\n", 0x81, expected.as_bytes());
        check(Encoding::Combined, PayloadKind::Text, "", 0x81, br#"{"stream":"md.BTC-USD","o":42,"data":""}"#);
    }

    #[test]
    fn a_binary_publication_has_layout_flags_topic_offset_payload_big_endian() {
        let expected = b"\x01\x00\x00\x0amd.BTC-USD\x00\x00\x00\x00\x00\x00\x00\x2apayload";
        check(Encoding::Combined, PayloadKind::Binary, "payload", 0x82, expected);
    }

    #[test]
    fn a_compressed_encoding_is_the_plain_one_compressed_where_that_is_long_enough_and_gets_smaller() {
        let mut encoder = StreamEncoder::new(150);
        let mut encode = |encoding, payload: &[u8]| {
            let mut out = b"before".to_vec();
            encoder.encode(encoding, "md.a", at(7), &publication(7, PayloadKind::Json, payload), &mut out);
            (out.split_off(6), encoder.take_compressions())
        };
        let long = format!("[{}]", vec!["\"61234.10\""; 20].join(","));
        // 140 bytes are short raw, and long enough in their envelope.
        for payload in ["1", &long, &long[..140]] {
            for (plain, compressed) in [(Encoding::Raw, Encoding::RawDeflate), (Encoding::Combined, Encoding::CombinedDeflate)] {
                let (expected, nothing) = encode(plain, payload.as_bytes());
                let (frame, counts) = encode(compressed, payload.as_bytes());
                assert_eq!(nothing, Compressions::default());
                let header_bytes = if expected[1] == 126 { 4 } else { 2 };
                let message = &expected[header_bytes..];
                if message.len() < 150 {
                    assert_eq!((frame, counts), (expected, Compressions::default()));
                    continue;
                }
                assert_eq!((frame[0], usize::from(frame[1])), (0xC1, frame.len() - 2), "RSV1, and a short length");
                let bytes_after = frame.len() as u64 - 2;
                assert_eq!(counts, Compressions { publications: 1, bytes_before: message.len() as u64, bytes_after });
                let whole = [&frame[2..], b"\x00\x00\xff\xff\x03\x00"].concat();
                let mut inflated = Vec::new();
                std::io::Read::read_to_end(&mut flate2::read::DeflateDecoder::new(&whole[..]), &mut inflated)
                    .expect("it inflates");
                assert_eq!(inflated, message);
            }
        }
    }

    #[test]
    fn what_the_feed_lost_stands_in_front_where_events_are_heard() {
        let gap = SourceGap { messages: Some(3) };
        let lossy =
            Publication { marks: Marks { gap: Some(gap), ..Marks::default() }, ..publication(7, PayloadKind::Json, b"1") };
        let told = br#"{"e":"sourceGap","s":"a","n":3}"#;
        let told_frame = [&[0x81, told.len() as u8], &told[..]].concat();
        let encode = |encoding, publication: &Publication| {
            let mut out = Vec::new();
            StreamEncoder::new(0).encode(encoding, "a", at(publication.offset), publication, &mut out);
            out
        };
        use Encoding::{Combined, CombinedDeflate, Raw, RawDeflate, RawEvents, RawEventsDeflate, Sse, SseMany, Timed};
        for encoding in [Raw, RawDeflate] {
            assert_eq!(encode(encoding, &lossy), encode(encoding, &publication(7, PayloadKind::Json, b"1")), "{encoding:?}");
        }
        for encoding in [RawEvents, Combined, Timed, RawEventsDeflate, CombinedDeflate] {
            let expected = [&told_frame[..], &encode(encoding, &publication(7, PayloadKind::Json, b"1"))].concat();
            assert_eq!(encode(encoding, &lossy), expected, "{encoding:?}");
        }
        for encoding in [Sse, SseMany] {
            let expected = [b"data: ", &told[..], b"\n\n", &encode(encoding, &publication(7, PayloadKind::Json, b"1"))].concat();
            assert_eq!(encode(encoding, &lossy), expected, "{encoding:?}");
        }
    }

    #[test]
    fn an_epoch_is_told_before_its_first_publication_and_counts_from_one() {
        let begins = Some(Box::new(Epoch::from_number(36)));
        let first = Publication { marks: Marks { begins, ..Marks::default() }, ..publication(1000, PayloadKind::Json, b"5") };
        let encode = |encoding| {
            let mut out = Vec::new();
            StreamEncoder::new(0).encode(encoding, "a", at(1), &first, &mut out);
            String::from_utf8_lossy(&out).into_owned()
        };
        let (told, combined) = (r#"{"e":"epoch","s":"a","epoch":"10"}"#, r#"{"stream":"a","o":1,"data":5}"#);
        assert_eq!(encode(Encoding::Combined), format!("\u{fffd}{}{told}\u{fffd}{}{combined}", '\u{22}', '\u{1d}'));
        assert_eq!(encode(Encoding::RawEvents), format!("\u{fffd}{}{told}\u{fffd}\u{1}5", '\u{22}'));
        assert_eq!(encode(Encoding::Raw), "\u{fffd}\u{1}5");
        assert_eq!(encode(Encoding::Sse), format!("data: {told}\n\nid: 10:1\ndata: {combined}\n\n"));
    }

    #[test]
    fn every_length_has_the_shortest_header() {
        for encoding in [Encoding::Raw, Encoding::Combined] {
            for kind in [PayloadKind::Json, PayloadKind::Text, PayloadKind::Binary] {
                for len in (0..260).chain(65_400..65_600) {
                    frame(encoding, (1 << 53) - 1, kind, &vec![b'1'; len]);
                }
            }
        }
    }
}
