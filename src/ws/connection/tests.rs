use proptest::prelude::*;

use super::*;
use crate::ws::{Assembler, Message};

const LIMITS: Limits = Limits { message_bytes_max: 1 << 20, fragments_max: 100, inflate_ratio_max: 200 };
const KEY: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// What came of a stream, without how it was torn.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Outcome {
    Text(String),
    Binary(Vec<u8>),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    Close(Option<(u16, String)>),
    Error(ProtocolError),
}

use Outcome::{Binary, Close, Error, Ping, Pong, Text};

fn text(text: &str) -> Outcome {
    Text(text.to_owned())
}

/// Receives the pieces of a stream until it closes or fails.
fn receive<'b>(role: Role, limits: &Limits, pieces: impl IntoIterator<Item = &'b [u8]>) -> Vec<Outcome> {
    receive_with(role, limits, pieces, |_| {})
}

/// The same; `between` sees the connection before each piece.
fn receive_with<'b>(
    role: Role,
    limits: &Limits,
    pieces: impl IntoIterator<Item = &'b [u8]>,
    mut between: impl FnMut(&mut Connection),
) -> Vec<Outcome> {
    let mut connection = Connection::new(role);
    let mut assembler = Assembler::default();
    let mut outcomes = Vec::new();
    for piece in pieces {
        between(&mut connection);
        let mut buffer = piece.to_vec();
        let mut input = &mut buffer[..];
        loop {
            let before = input.len();
            let event = match connection.next(limits, &mut input) {
                Ok(Some(event)) => event,
                Ok(None) => break,
                Err(error) => {
                    outcomes.push(Error(error));
                    return outcomes;
                }
            };
            assert!(input.len() < before, "an event comes of bytes");
            match event {
                Event::Data { kind, bytes, first, last } => {
                    assert!(first || last || !bytes.is_empty(), "an empty piece that says nothing");
                    let Some(Message { kind, bytes }) = assembler.add(kind, bytes, first, last) else { continue };
                    outcomes.push(match kind {
                        MessageKind::Text => Text(String::from_utf8(bytes.into_owned()).expect("text was checked")),
                        MessageKind::Binary => Binary(bytes.into_owned()),
                    });
                }
                Event::Ping(payload) => outcomes.push(Ping(payload.to_vec())),
                Event::Pong(payload) => outcomes.push(Pong(payload.to_vec())),
                Event::Close(close) => {
                    let close = close.map(|(code, reason)| (code.0, String::from_utf8(reason.to_vec()).expect("UTF-8")));
                    outcomes.push(Close(close));
                    return outcomes;
                }
            }
        }
        assert!(input.is_empty(), "None means that the input is used up");
    }
    outcomes
}

/// The outcomes of the stream, whole, byte by byte and cut in two everywhere; also where a connection of which nothing is left
/// is forgotten, and a new one goes on.
fn check_limited(role: Role, limits: &Limits, stream: &[u8], expected: &[Outcome]) {
    assert_eq!(receive(role, limits, [stream]), expected, "{}", stream.escape_ascii());
    assert_eq!(receive(role, limits, stream.chunks(1)), expected, "{}, byte by byte", stream.escape_ascii());
    let forget = |connection: &mut Connection| {
        if connection.is_fresh() {
            *connection = Connection::new(role);
        }
    };
    assert_eq!(receive_with(role, limits, stream.chunks(1), forget), expected, "{}, forgetting", stream.escape_ascii());
    for cut in 0..=stream.len() {
        let (before, behind) = stream.split_at(cut);
        assert_eq!(receive(role, limits, [before, behind]), expected, "{}, cut at {cut}", stream.escape_ascii());
    }
}

/// Frames of a server, and the same frames masked as a client's.
fn check(frames: &[(bool, Opcode, &[u8])], expected: &[Outcome]) {
    for (role, mask) in [(Role::Client, None), (Role::Server, Some(KEY))] {
        check_limited(role, &LIMITS, &stream(frames, mask), expected);
    }
}

fn stream(frames: &[(bool, Opcode, &[u8])], mask: Option<[u8; 4]>) -> Vec<u8> {
    let mut stream = Vec::new();
    for (fin, opcode, payload) in frames {
        frame::write_fragment(&mut stream, *fin, *opcode, payload, mask);
    }
    stream
}

#[test]
fn examples_of_the_rfc() {
    // RFC 6455 5.7, in its order.
    let check = |role, stream: &[u8], expected: &[Outcome]| check_limited(role, &LIMITS, stream, expected);
    let hello = text("Hello");
    check(Role::Client, b"\x81\x05Hello", std::slice::from_ref(&hello));
    check(Role::Server, b"\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58", std::slice::from_ref(&hello));
    check(Role::Client, b"\x01\x03Hel\x80\x02lo", std::slice::from_ref(&hello));
    check(Role::Client, b"\x89\x05Hello", &[Ping(b"Hello".to_vec())]);
    check(Role::Server, b"\x8a\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58", &[Pong(b"Hello".to_vec())]);
    let bytes: Vec<u8> = (0..=255).collect();
    check(Role::Client, &[b"\x82\x7e\x01\x00", &bytes[..]].concat(), &[Binary(bytes)]);
    let bytes = vec![7; 65536];
    let stream = [b"\x82\x7f\x00\x00\x00\x00\x00\x01\x00\x00", &bytes[..]].concat();
    for size in [stream.len(), 1, 10, 11, 4096] {
        assert_eq!(receive(Role::Client, &LIMITS, stream.chunks(size)), [Binary(bytes.clone())]);
    }
}

#[test]
fn messages() {
    use Opcode::{Binary as Bin, Continuation as Cont, Text as Txt};
    check(&[(true, Txt, b"")], &[text("")]);
    check(&[(true, Bin, b"")], &[Binary(vec![])]);
    check(&[(false, Txt, b""), (true, Cont, b"")], &[text("")]);
    check(&[(false, Txt, b"a"), (true, Cont, b"")], &[text("a")]);
    check(&[(false, Txt, b""), (false, Cont, b""), (true, Cont, b"a")], &[text("a")]);
    check(&[(true, Txt, b"a"), (true, Bin, b"\xff"), (true, Txt, b"b")], &[text("a"), Binary(vec![0xff]), text("b")]);
    // A code point torn over fragments, with a ping inside of it.
    check(
        &[(false, Txt, b"\xe2"), (true, Opcode::Ping, b"p"), (false, Cont, b"\x82"), (false, Cont, b""), (true, Cont, b"\xac!")],
        &[Ping(b"p".to_vec()), text("€!")],
    );
    // RFC 6455 5.4: control frames MAY be injected in the middle of a fragmented message.
    check(
        &[(false, Bin, b"a"), (true, Opcode::Pong, b""), (true, Opcode::Ping, &[9; 125]), (true, Cont, b"b")],
        &[Pong(vec![]), Ping(vec![9; 125]), Binary(b"ab".to_vec())],
    );
}

#[test]
fn closes() {
    let check = |body: &[u8], expected| check(&[(true, Opcode::Close, body), (true, Opcode::Text, b"not read")], &[expected]);
    check(b"", Close(None));
    check(b"\x03\xe8", Close(Some((1000, String::new()))));
    check("\x03\u{e9}".as_bytes(), Error(ProtocolError::CloseCodeInvalid(0x3c3)));
    check(b"\x03\xe9bye", Close(Some((1001, "bye".to_owned()))));
    check(b"\x03", Error(ProtocolError::CloseBodyTruncated));
    check(b"\x03\xee", Error(ProtocolError::CloseCodeInvalid(1006)));
    check(b"\x03\xe8\xff", Error(ProtocolError::CloseReasonNotUtf8));
    // In the middle of a message, whose rest never comes.
    super::tests::check(&[(false, Opcode::Text, b"a"), (true, Opcode::Close, b"")], &[Close(None)]);
}

#[test]
fn every_protocol_error_and_its_close_code() {
    let check = |stream: &[u8], error: ProtocolError, code: u16| {
        let limits = Limits { message_bytes_max: 10, fragments_max: 3, ..LIMITS };
        check_limited(Role::Client, &limits, stream, &[Error(error)]);
        assert_eq!(error.close_code(), CloseCode(code), "{error}");
    };
    check(b"\x88\x01\x03", ProtocolError::CloseBodyTruncated, 1002);
    check(b"\x88\x02\x03\xed", ProtocolError::CloseCodeInvalid(1005), 1002);
    check(b"\x88\x03\x03\xe8\xff", ProtocolError::CloseReasonNotUtf8, 1007);
    check(b"\x80\x01a", ProtocolError::ContinuationUnexpected, 1002);
    check(b"\x09\x00", ProtocolError::ControlFragmented, 1002);
    check(b"\x89\x7e\x00\x7e", ProtocolError::ControlTooLong, 1002);
    check(b"\x82\x7f\x80\x00\x00\x00\x00\x00\x00\x00", ProtocolError::LengthInvalid, 1002);
    check(b"\x82\x7e\x00\x01a", ProtocolError::LengthNotMinimal, 1002);
    check(b"\x81\x81\x00\x00\x00\x00a", ProtocolError::MaskUnexpected, 1002);
    check(b"\x01\x01a\x01\x01b", ProtocolError::MessageInterleaved, 1002);
    check(b"\x01\x01a\x82\x01b", ProtocolError::MessageInterleaved, 1002);
    check(b"\x82\x0b", ProtocolError::MessageTooLong, 1009);
    check(b"\x83\x00", ProtocolError::OpcodeReserved(3), 1002);
    check(b"\x8b\x00", ProtocolError::OpcodeReserved(11), 1002);
    check(b"\xc1\x00", ProtocolError::ReservedBits, 1002);
    check(b"\x81\x01\xff", ProtocolError::TextNotUtf8, 1007);
    check(b"\x81\x02\xe2\x82", ProtocolError::TextNotUtf8, 1007);
    check(b"\x01\x02\xe2\x82\x80\x00", ProtocolError::TextNotUtf8, 1007);
    check(b"\x01\x00\x00\x00\x00\x00\x00\x00", ProtocolError::TooManyFragments, 1009);
    assert_eq!(receive(Role::Server, &LIMITS, [&b"\x81\x01a"[..]]), [Error(ProtocolError::MaskMissing)]);
    assert_eq!(ProtocolError::MaskMissing.close_code(), CloseCode::PROTOCOL);
}

#[test]
fn limits_hold_when_the_header_is_read() {
    let check = |message_bytes_max, fragments_max, stream: &[u8], expected: &[Outcome]| {
        check_limited(Role::Client, &Limits { message_bytes_max, fragments_max, ..LIMITS }, stream, expected);
    };
    let too_long = [Error(ProtocolError::MessageTooLong)];
    check(5, 2, b"\x82\x05hello", &[Binary(b"hello".to_vec())]);
    // Not a byte of payload is there.
    check(5, 2, b"\x82\x06", &too_long);
    check(5, 2, b"\x02\x03hel\x80\x02lo", &[Binary(b"hello".to_vec())]);
    check(5, 2, b"\x02\x03hel\x80\x03", &too_long);
    check(5, 1, b"\x02\x03hel\x80\x02", &[Error(ProtocolError::TooManyFragments)]);
    // Lengths whose sum would overflow 32 and 64 bits.
    check(u32::MAX, 2, b"\x02\x01a\x80\x7f\x00\x00\x00\x00\xff\xff\xff\xff", &too_long);
    check(u32::MAX, 2, b"\x02\x01a\x80\x7f\x7f\xff\xff\xff\xff\xff\xff\xff", &too_long);
    // Each message begins its count anew; control frames do not count.
    check(1, 1, b"\x82\x01a\x89\x05hello\x82\x01b", &[Binary(b"a".to_vec()), Ping(b"hello".to_vec()), Binary(b"b".to_vec())]);
    check(0, 1, b"\x82\x00", &[Binary(vec![])]);
}

#[test]
fn text_fails_at_its_first_bad_byte() {
    // A long message that announces much more than what is there: nothing waits for its end.
    for (good, bad) in [(&b"abc"[..], 0xff), ("€".as_bytes(), 0x80), (b"\xe2\x82", b'a'), (b"\xed", 0xa0), (b"\xf4", 0x90)] {
        for (role, mask) in [(Role::Client, None), (Role::Server, Some(KEY))] {
            let mut stream = Vec::new();
            let padding = [b'x'; 300];
            frame::write(&mut stream, Opcode::Text, &[good, &[bad], &padding].concat(), mask);
            let bad_at = stream.len() - padding.len() - 1;
            assert_eq!(receive(role, &LIMITS, stream[..bad_at].chunks(1)), []);
            assert_eq!(receive(role, &LIMITS, stream[..=bad_at].chunks(1)), [Error(ProtocolError::TextNotUtf8)]);
        }
    }
}

#[test]
fn a_message_that_lies_whole_in_the_input_is_one_borrowed_piece() {
    let mut buffer = stream(&[(true, Opcode::Text, b"first"), (true, Opcode::Binary, b"second")], Some(KEY));
    let range = buffer.as_ptr_range();
    let mut input = &mut buffer[..];
    let mut connection = Connection::new(Role::Server);
    for expected in [&b"first"[..], b"second"] {
        let event = connection.next(&LIMITS, &mut input).expect("a good frame");
        let Some(Event::Data { bytes, first: true, last: true, .. }) = event else { panic!("{event:?}") };
        assert_eq!(bytes, expected);
        assert!(range.contains(&bytes.as_ptr()), "borrowed from the buffer");
    }
    assert_eq!(connection.next(&LIMITS, &mut input), Ok(None));
}

#[test]
fn the_first_and_the_last_piece_of_a_message_are_told() {
    let check = |pieces: &[&[u8]], expected: &[(&str, bool, bool)]| {
        let mut connection = Connection::new(Role::Client);
        let mut seen = Vec::new();
        for piece in pieces {
            let mut buffer = piece.to_vec();
            let mut input = &mut buffer[..];
            while let Some(event) = connection.next(&LIMITS, &mut input).expect("good frames") {
                let Event::Data { bytes, first, last, .. } = event else { panic!("{event:?}") };
                seen.push((String::from_utf8_lossy(bytes).into_owned(), first, last));
            }
        }
        let seen: Vec<_> = seen.iter().map(|(bytes, first, last)| (bytes.as_str(), *first, *last)).collect();
        assert_eq!(seen, expected);
    };
    check(&[b"\x81\x05Hello"], &[("Hello", true, true)]);
    check(&[b"\x81\x05Hel", b"lo"], &[("Hel", true, false), ("lo", false, true)]);
    check(&[b"\x81\x05", b"Hello"], &[("Hello", true, true)]);
    check(&[b"\x81\x00"], &[("", true, true)]);
    check(&[b"\x01\x00\x80\x00"], &[("", true, true)]);
    check(&[b"\x01\x00", b"\x80\x02lo"], &[("lo", true, true)]);
    check(&[b"\x01\x02He\x80\x00"], &[("He", true, false), ("", false, true)]);
    check(&[b"\x01\x02He\x00\x00\x80\x01y\x81\x01!"], &[("He", true, false), ("y", false, true), ("!", true, true)]);
}

#[test]
fn inside_message_from_its_first_byte_to_its_end() {
    // Fragment, ping inside, last fragment, a ping outside.
    let stream = b"\x01\x02He\x89\x01p\x80\x01y\x89\x01p";
    let mut connection = Connection::new(Role::Client);
    let mut inside = Vec::new();
    for byte in stream {
        let mut buffer = [*byte];
        let mut input = &mut buffer[..];
        while connection.next(&LIMITS, &mut input).expect("good frames").is_some() {}
        inside.push(connection.inside_message());
    }
    let expected = [[true; 9].as_slice(), &[false, true, true, false]].concat();
    assert_eq!(inside, expected);
}

#[test]
fn an_inflater_lives_inside_of_a_compressed_message_or_as_long_as_its_context() {
    let each = Agreement {
        server_no_context_takeover: true,
        client_no_context_takeover: true,
        server_max_window_bits: None,
        client_max_window_bits: None,
    };
    let taken_over = Agreement { server_no_context_takeover: false, ..each };
    // RFC 7692 7.2.3.1, with plain messages around it.
    let stream = b"\x81\x01a\xc1\x07\xf2\x48\xcd\xc9\xc9\x07\x00\x81\x01b";
    for (agreed, last) in [(each, false), (taken_over, true)] {
        let mut connection = Connection::with_deflate(Role::Client, &agreed);
        let mut held = Vec::new();
        for byte in stream {
            let mut buffer = [*byte];
            let mut input = &mut buffer[..];
            while connection.next(&LIMITS, &mut input).expect("good frames").is_some() {}
            held.push(connection.inflater.is_some());
        }
        // From the end of the frame's header on; the plain message's one byte ends before its third.
        let expected = [[false; 4].as_slice(), &[true; 7], &[last; 4]].concat();
        assert_eq!(held, expected);
        connection.forget_piece();
        assert!(connection.inflater.is_none_or(|mut inflater| inflater.piece().is_empty()));
    }
}

#[test]
fn a_long_text_is_checked_across_pieces_of_the_cache() {
    // Code points torn by the border of every piece.
    let long = format!("x{}", "€".repeat(30_000));
    for (role, mask) in [(Role::Client, None), (Role::Server, Some(KEY))] {
        let mut stream = Vec::new();
        frame::write(&mut stream, Opcode::Text, long.as_bytes(), mask);
        for size in [stream.len(), 4096, 4099, 16384] {
            assert_eq!(receive(role, &LIMITS, stream.chunks(size)), [text(&long)]);
        }
        *stream.last_mut().expect("not empty") ^= 0xff;
        assert_eq!(receive(role, &LIMITS, [&stream[..]]), [Error(ProtocolError::TextNotUtf8)]);
    }
}

/// What one side says: messages with the cuts of their fragments, and control frames between the fragments.
fn said() -> impl Strategy<Value = Vec<(Outcome, Vec<usize>)>> {
    let message = prop_oneof![
        3 => "\\PC{0,80}".prop_map(Text),
        3 => prop::collection::vec(any::<u8>(), 0..300).prop_map(Binary),
        1 => prop::collection::vec(any::<u8>(), 0..=125).prop_map(Ping),
        1 => prop::collection::vec(any::<u8>(), 0..=125).prop_map(Pong),
    ];
    prop::collection::vec((message, prop::collection::vec(0_usize..300, 0..4)), 0..12)
}

fn write_all(said: &[(Outcome, Vec<usize>)], mask: Option<[u8; 4]>) -> Vec<u8> {
    let mut stream = Vec::new();
    for (outcome, cuts) in said {
        let (opcode, payload) = match outcome {
            Text(text) => (Opcode::Text, text.as_bytes()),
            Binary(bytes) => (Opcode::Binary, &bytes[..]),
            Ping(payload) => (Opcode::Ping, &payload[..]),
            Pong(payload) => (Opcode::Pong, &payload[..]),
            Close(_) | Error(_) => unreachable!("not said here"),
        };
        let mut opcode = opcode;
        let mut rest = payload;
        if !opcode.is_control() {
            for cut in cuts {
                let (fragment, behind) = rest.split_at((*cut).min(rest.len()));
                frame::write_fragment(&mut stream, false, opcode, fragment, mask);
                (opcode, rest) = (Opcode::Continuation, behind);
            }
        }
        frame::write_fragment(&mut stream, true, opcode, rest, mask);
    }
    stream
}

/// Cuts the stream where the lengths say, over and over.
fn cut<'b>(stream: &'b [u8], lengths: &[usize]) -> Vec<&'b [u8]> {
    let mut pieces = Vec::new();
    let mut rest = stream;
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
    fn what_goes_in_comes_out_in_both_directions(
        said in said(),
        key: [u8; 4],
        lengths in prop::collection::vec(1_usize..200, 1..20),
    ) {
        let expected: Vec<_> = said.iter().map(|(outcome, _)| outcome.clone()).collect();
        for (role, mask) in [(Role::Server, Some(key)), (Role::Client, None)] {
            let stream = write_all(&said, mask);
            prop_assert_eq!(&receive(role, &LIMITS, cut(&stream, &lengths)), &expected);
        }
    }

    #[test]
    fn a_broken_stream_breaks_alike_however_it_is_torn(
        said in said(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        lengths in prop::collection::vec(1_usize..60, 1..20),
    ) {
        let limits = Limits { message_bytes_max: 250, fragments_max: 3, ..LIMITS };
        for (role, mask) in [(Role::Server, Some(KEY)), (Role::Client, None)] {
            let mut stream = write_all(&said, mask);
            for (at, byte) in &changes {
                if !stream.is_empty() {
                    let at = at.index(stream.len());
                    stream[at] = *byte;
                }
            }
            let whole = receive(role, &limits, [&stream[..]]);
            prop_assert_eq!(&receive(role, &limits, cut(&stream, &lengths)), &whole);
            prop_assert_eq!(&receive(role, &limits, stream.chunks(1)), &whole);
        }
    }

    #[test]
    fn any_bytes_never_panic_and_mean_the_same_at_every_cut(
        stream in prop::collection::vec(any::<u8>(), 0..200),
        first in prop::sample::select(vec![0x01_u8, 0x02, 0x81, 0x82, 0x88, 0x89, 0x8a]),
        length in 0_u8..126,
    ) {
        let stream = [&[first, length][..], &stream].concat();
        let whole = receive(Role::Client, &LIMITS, [&stream[..]]);
        prop_assert_eq!(receive(Role::Client, &LIMITS, stream.chunks(1)), whole);
    }
}
