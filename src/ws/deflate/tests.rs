//! What is compressed and inflated, judged by other implementations: flate2's on `miniz_oxide`, and a naive one.

mod naive;

use std::io::Read;

use flate2::Compression;
use flate2::read::DeflateDecoder;
use proptest::prelude::*;

use super::*;
use crate::ws::{Assembler, Connection, Event, Limits, MessageKind, Opcode, ProtocolError, Role, frame};

const LIMITS: Limits = Limits { message_bytes_max: 1 << 20, fragments_max: 100, inflate_ratio_max: 1032 };

const EACH_BY_ITSELF: Agreement = Agreement {
    server_no_context_takeover: true,
    client_no_context_takeover: true,
    server_max_window_bits: None,
    client_max_window_bits: None,
};

const TAKEN_OVER: Agreement =
    Agreement { server_no_context_takeover: false, client_no_context_takeover: false, ..EACH_BY_ITSELF };

/// The messages of a server's stream that comes in these pieces, and the error that ended it.
fn receive<'b>(
    agreed: &Agreement,
    limits: &Limits,
    pieces: impl IntoIterator<Item = &'b [u8]>,
) -> (Vec<Vec<u8>>, Option<ProtocolError>) {
    let mut connection = Connection::with_deflate(Role::Client, agreed);
    let mut assembler = Assembler::default();
    let mut messages = Vec::new();
    for piece in pieces {
        let mut buffer = piece.to_vec();
        let mut input = &mut buffer[..];
        loop {
            match connection.next(limits, &mut input) {
                Ok(Some(Event::Data { kind, bytes, first, last })) => {
                    assert!(bytes.len() <= limits.message_bytes_max as usize, "no piece is beyond the limit");
                    assert!(first || last || !bytes.is_empty(), "an empty piece that says nothing");
                    messages.extend(assembler.add(kind, bytes, first, last).map(|message| message.bytes.into_owned()));
                }
                Ok(Some(_)) => {}
                Ok(None) => break,
                Err(error) => return (messages, Some(error)),
            }
        }
        assert!(input.is_empty(), "None means that the input is used up");
    }
    (messages, None)
}

/// The outcome is the same whole, byte by byte and cut in two everywhere.
fn check(agreed: &Agreement, stream: &[u8], messages: &[&[u8]], error: Option<ProtocolError>) {
    let expected = (messages.iter().map(|message| message.to_vec()).collect(), error);
    assert_eq!(receive(agreed, &LIMITS, [stream]), expected, "{}", stream.escape_ascii());
    assert_eq!(receive(agreed, &LIMITS, stream.chunks(1)), expected, "{}, byte by byte", stream.escape_ascii());
    for cut in 0..=stream.len() {
        let (before, behind) = stream.split_at(cut);
        assert_eq!(receive(agreed, &LIMITS, [before, behind]), expected, "{}, cut at {cut}", stream.escape_ascii());
    }
}

fn compressed(payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    frame::write_compressed(&mut out, Opcode::Text, payload, None);
    out
}

/// What flate2 makes of a compressed message, to its end.
fn inflated_by_flate2(compressed: &[u8]) -> Vec<u8> {
    let mut message = Vec::new();
    let whole = [compressed, &TAIL, b"\x03\x00"].concat();
    DeflateDecoder::new(&whole[..]).read_to_end(&mut message).expect("a compressed message is DEFLATE data");
    message
}

/// A message as another compressor writes it.
fn deflated_by_flate2(message: &[u8], level: u32) -> Vec<u8> {
    let mut compress = flate2::Compress::new(Compression::new(level), false);
    let mut out = Vec::with_capacity(message.len() * 2 + 100);
    compress.compress_vec(message, &mut out, flate2::FlushCompress::Sync).expect("memory takes it");
    assert!(out.ends_with(&TAIL) && compress.total_in() == message.len() as u64);
    out.truncate(out.len() - TAIL.len());
    out
}

#[test]
fn examples_of_rfc_7692() {
    // 7.2.3.1: one compressed block; in fragments.
    check(&EACH_BY_ITSELF, b"\xc1\x07\xf2\x48\xcd\xc9\xc9\x07\x00", &[b"Hello"], None);
    check(&EACH_BY_ITSELF, b"\x41\x03\xf2\x48\xcd\x80\x04\xc9\xc9\x07\x00", &[b"Hello"], None);
    // 7.2.3.2: the second message refers to the first.
    let sharing = [b"\xc1\x07\xf2\x48\xcd\xc9\xc9\x07\x00".as_slice(), b"\xc1\x05\xf2\x00\x11\x00\x00"].concat();
    check(&TAKEN_OVER, &sharing, &[b"Hello", b"Hello"], None);
    check(&EACH_BY_ITSELF, &sharing, &[b"Hello"], Some(ProtocolError::DeflateBroken));
    // 7.2.3.3: a block without compression.
    check(&EACH_BY_ITSELF, b"\xc1\x0b\x00\x05\x00\xfa\xff\x48\x65\x6c\x6c\x6f\x00", &[b"Hello"], None);
    // 7.2.3.4: a final block, and what follows it in the next message.
    let last = [b"\xc1\x08\xf3\x48\xcd\xc9\xc9\x07\x00\x00".as_slice(), &compressed(b"\xf2\x48\xcd\xc9\xc9\x07\x00")].concat();
    check(&EACH_BY_ITSELF, &last, &[b"Hello", b"Hello"], None);
    check(&TAKEN_OVER, &last, &[b"Hello", b"Hello"], None);
    // 7.2.3.5: two blocks.
    check(&EACH_BY_ITSELF, b"\xc1\x0d\xf2\x48\x05\x00\x00\x00\xff\xff\xca\xc9\xc9\x07\x00", &[b"Hello"], None);
    // 7.2.3.6: nothing.
    for agreed in [EACH_BY_ITSELF, TAKEN_OVER] {
        check(&agreed, b"\xc1\x01\x00", &[b""], None);
    }
    let mut compressor = Compressor::new(15, true);
    for expected in [&b"\xf2\x48\xcd\xc9\xc9\x07\x00"[..], b"\xf2\x00\x11\x00\x00"] {
        let mut out = Vec::new();
        compressor.compress(b"Hello", &mut out);
        assert_eq!(out, expected);
    }
    let mut out = b"before".to_vec();
    compressor.compress(b"", &mut out);
    assert_eq!(out, b"before\x00");
}

#[test]
fn what_others_send_is_taken() {
    for agreed in [EACH_BY_ITSELF, TAKEN_OVER] {
        // A final block without the octet behind it; nothing at all; both in fragments, and a plain message between.
        check(&agreed, b"\xc1\x07\xf3\x48\xcd\xc9\xc9\x07\x00", &[b"Hello"], None);
        check(&agreed, b"\xc1\x00", &[b""], None);
        check(&agreed, b"\x41\x00\x00\x00\x80\x00\x81\x01a", &[b"", b"a"], None);
        check(&agreed, b"\x41\x07\xf3\x48\xcd\xc9\xc9\x07\x00\x80\x00\x81\x01a", &[b"Hello", b"a"], None);
        // Two final blocks, and a ping inside of the message.
        let two = b"\x41\x07\xf3\x48\xcd\xc9\xc9\x07\x00\x89\x00\x80\x08\xf3\x48\xcd\xc9\xc9\x07\x00\x00";
        check(&agreed, two, &[b"HelloHello"], None);
    }
}

#[test]
fn rsv1_is_refused_where_it_does_not_belong() {
    let reserved = Some(ProtocolError::ReservedBits);
    for stream in [b"\x41\x03\xf2\x48\xcd\xc0\x04", b"\x01\x03abc\xc0\x04"] {
        check(&EACH_BY_ITSELF, stream, &[], reserved);
    }
    for first in [0xc8, 0xc9, 0xca, 0xa1, 0x91, 0xe1, 0xd2] {
        check(&EACH_BY_ITSELF, &[first, 0], &[], reserved);
    }
}

#[test]
fn what_cannot_be_inflated_is_refused() {
    let broken = Some(ProtocolError::DeflateBroken);
    for agreed in [EACH_BY_ITSELF, TAKEN_OVER] {
        // A reserved kind of block; a length that its complement contradicts; a distance before the beginning.
        check(&agreed, &compressed(b"\x07\x00"), &[], broken);
        check(&agreed, &compressed(b"\x00\x05\x00\x00\x00Hello\x00"), &[], broken);
        check(&agreed, &compressed(b"\xf2\x00\x11\x00\x00"), &[], broken);
    }
    // Cut off inside of a block.
    check(&EACH_BY_ITSELF, &compressed(b"\xf2\x48\xcd\xc9"), &[], broken);
    check(&EACH_BY_ITSELF, &compressed(b"\x00\x05\x00\xfa\xffHel"), &[], broken);
    assert_eq!(ProtocolError::DeflateBroken.close_code().0, 1007);
}

#[test]
fn text_is_checked_once_it_is_inflated_and_at_its_first_bad_byte() {
    for (text, good) in [(&b"caf\xc3\xa9"[..], true), (b"caf\xc3", false), (b"\xed\xa0\x80", false), (b"a\xff", false)] {
        let stream = compressed(&deflated_by_flate2(text, 6));
        let error = (!good).then_some(ProtocolError::TextNotUtf8);
        check(&EACH_BY_ITSELF, &stream, if good { std::slice::from_ref(&text) } else { &[] }, error);
    }
    // The first block is enough, and what is behind it never comes.
    let bad = deflated_by_flate2(b"\xff", 6);
    let stream = compressed(&[&bad, &b"\x00\x00\xff\xff"[..], &[0; 100]].concat());
    let (messages, error) = receive(&EACH_BY_ITSELF, &LIMITS, stream[..2 + bad.len() + 4].chunks(1));
    assert_eq!((messages.len(), error), (0, Some(ProtocolError::TextNotUtf8)));
}

#[test]
fn a_bomb_is_inflated_no_further_than_its_limits() {
    let bomb = deflated_by_flate2(&vec![0; 16 << 20], 9);
    let receive = |limits, payload: &[u8]| receive(&EACH_BY_ITSELF, &limits, compressed(payload).chunks(1000)).1;
    assert!(bomb.len() < 20_000);
    for message_bytes_max in [1, 125, 65_536, 65_537, 1 << 20] {
        let limits = Limits { message_bytes_max, ..LIMITS };
        assert_eq!(receive(limits, &bomb), Some(ProtocolError::MessageTooLong), "{message_bytes_max}");
    }
    // Compressed far shorter than what it inflates to, but over the limit by one byte, and within it.
    for (bytes, error) in [(1001, Some(ProtocolError::MessageTooLong)), (1000, None)] {
        let limits = Limits { message_bytes_max: 1000, ..LIMITS };
        assert_eq!(receive(limits, &deflated_by_flate2(&vec![b' '; bytes], 9)), error, "{bytes}");
    }
    let limits = Limits { message_bytes_max: 64 << 20, inflate_ratio_max: 200, ..LIMITS };
    assert_eq!(receive(limits, &bomb), Some(ProtocolError::InflateRatio));
    assert_eq!(ProtocolError::InflateRatio.close_code().0, 1009);
    // A ratio of a thousand within 64 KiB is no bomb yet.
    assert_eq!(receive(limits, &deflated_by_flate2(&[0; 60_000], 9)), None);
}

#[test]
fn a_message_that_grows_by_compressing_is_within_the_limit_of_what_it_inflates_to() {
    let noise: Vec<u8> = (0..50_000_u32).map(|number| (number.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let mut stream = Vec::new();
    frame::write_compressed(&mut stream, Opcode::Binary, &deflated_by_flate2(&noise, 0), None);
    let limits = Limits { message_bytes_max: 50_000, ..LIMITS };
    assert!(stream.len() > 50_000);
    assert_eq!(receive(&EACH_BY_ITSELF, &limits, [&stream[..]]), (vec![noise], None));
    // What only says that it would be longer is refused by its header.
    let announced = frame::encode_header(true, Opcode::Text, 70_000, None).0;
    let announced = [&[announced[0] | 0x40], &announced[1..10]].concat();
    assert_eq!(receive(&EACH_BY_ITSELF, &limits, [&announced[..]]).1, Some(ProtocolError::MessageTooLong));
    // Blocks without content bring nothing, and have an end nevertheless.
    let hollow = compressed(&b"\x00\x00\x00\xff\xff".repeat(20_000));
    assert_eq!(receive(&EACH_BY_ITSELF, &limits, [&hollow[..]]).1, Some(ProtocolError::MessageTooLong));
}

#[test]
fn a_window_of_any_size_is_never_looked_beyond() {
    let text: Vec<u8> = (0..6000_u32).flat_map(|number| format!("{}:{} ", number % 97, number % 13).into_bytes()).collect();
    let repeated = [&[b'x'; 3000][..], &text, &text].concat();
    for bits in 8..=15 {
        let mut compressor = Compressor::new(bits, true);
        let mut stream = Vec::new();
        for message in repeated.chunks(777) {
            compressor.compress(message, &mut stream);
            stream.extend_from_slice(&TAIL);
        }
        stream.extend_from_slice(b"\x03\x00");
        let (inflated, furthest) = naive::inflate(&stream);
        assert!(inflated == repeated, "the naive one reads what was written with {bits} bits");
        assert!(furthest <= 1 << bits, "{furthest} bytes back with {bits} bits");
        assert!(furthest > 100, "it looks back at all: {furthest}");
    }
}

/// Messages of some variety: words of a feed in any order, and anything.
fn message() -> impl Strategy<Value = Vec<u8>> {
    let words = prop::sample::select(vec!["\"e\":\"trade\"", "\"p\":\"61234.10\"", "{", "}", ",", "btcusdt", "0", "1", "7", "é"]);
    prop_oneof![
        3 => prop::collection::vec(words, 0..200).prop_map(|words| words.concat().into_bytes()),
        1 => "\\PC{0,300}".prop_map(String::into_bytes),
        1 => (0..70_000_usize, "[a-z]{1,9}").prop_map(|(bytes, word)| word.bytes().cycle().take(bytes).collect()),
    ]
}

fn cut<'b>(stream: &'b [u8], lengths: &[usize]) -> Vec<&'b [u8]> {
    let mut rest = stream;
    let mut pieces = Vec::new();
    for length in lengths.iter().cycle() {
        if rest.is_empty() {
            break;
        }
        let (piece, behind) = rest.split_at((*length).min(rest.len()));
        pieces.push(piece);
        rest = behind;
    }
    pieces
}

proptest! {
    #[test]
    fn what_goes_in_comes_out_however_it_is_cut(
        messages in prop::collection::vec((message(), any::<bool>()), 1..6),
        take_over: bool,
        bits in 8_u8..=15,
        fragments in prop::collection::vec(0_usize..400, 1..5),
        lengths in prop::collection::vec(1_usize..3000, 1..20),
        key: [u8; 4],
    ) {
        let agreed = if take_over { TAKEN_OVER } else { EACH_BY_ITSELF };
        let mut compressor = Compressor::new(bits, take_over);
        let (mut server, mut client) = (Vec::new(), Vec::new());
        for (message, is_compressed) in &messages {
            let mut payload = Vec::new();
            if *is_compressed {
                compressor.compress(message, &mut payload);
                if !take_over {
                    prop_assert_eq!(&inflated_by_flate2(&payload), message);
                }
            } else {
                payload.extend_from_slice(message);
            }
            for (out, mask) in [(&mut server, None), (&mut client, Some(key))] {
                let (mut rest, mut opcode, start) = (&payload[..], Opcode::Text, out.len());
                for fragment in &fragments {
                    let (here, behind) = rest.split_at((*fragment).min(rest.len()));
                    frame::write_fragment(out, false, opcode, here, mask);
                    (rest, opcode) = (behind, Opcode::Continuation);
                }
                frame::write_fragment(out, true, opcode, rest, mask);
                out[start] |= if *is_compressed { 0x40 } else { 0 };
            }
        }
        let expected: Vec<_> = messages.into_iter().map(|(message, _)| message).collect();
        let (received, error) = receive(&agreed, &LIMITS, cut(&server, &lengths));
        prop_assert_eq!(error, None);
        prop_assert!(received == expected);
        let mut connection = Connection::with_deflate(Role::Server, &agreed);
        let (mut received, mut assembler) = (Vec::new(), Assembler::default());
        let mut input = &mut client[..];
        while let Some(event) = connection.next(&LIMITS, &mut input).expect("the frames are good") {
            let Event::Data { kind: MessageKind::Text, bytes, first, last } = event else { panic!("{event:?}") };
            received.extend(assembler.add(MessageKind::Text, bytes, first, last).map(|message| message.bytes.into_owned()));
        }
        prop_assert!(received == expected);
    }

    #[test]
    fn what_another_compressor_writes_is_read(message in message(), level in 0_u32..10, length in 1_usize..500) {
        let stream = compressed(&deflated_by_flate2(&message, level));
        let (received, error) = receive(&EACH_BY_ITSELF, &LIMITS, stream.chunks(length));
        prop_assert_eq!(error, None);
        prop_assert!(received == [message]);
    }

    #[test]
    fn a_broken_message_breaks_alike_however_it_is_torn(
        message in message(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        length in 1_usize..100,
    ) {
        let mut payload = deflated_by_flate2(&message, 6);
        for (at, byte) in changes {
            let at = at.index(payload.len());
            payload[at] = byte;
        }
        let stream = compressed(&payload);
        let limits = Limits { message_bytes_max: 20_000, ..LIMITS };
        for agreed in [EACH_BY_ITSELF, TAKEN_OVER] {
            let whole = receive(&agreed, &limits, [&stream[..]]);
            prop_assert_eq!(&receive(&agreed, &limits, stream.chunks(length)), &whole);
            prop_assert_eq!(&receive(&agreed, &limits, stream.chunks(1)), &whole);
        }
    }

    #[test]
    fn any_bytes_never_panic_and_mean_the_same_at_every_cut(payload in prop::collection::vec(any::<u8>(), 0..300)) {
        let stream = compressed(&payload);
        for agreed in [EACH_BY_ITSELF, TAKEN_OVER] {
            let whole = receive(&agreed, &LIMITS, [&stream[..]]);
            prop_assert_eq!(&receive(&agreed, &LIMITS, stream.chunks(1)), &whole);
        }
    }
}
