use proptest::prelude::*;

use super::*;
use crate::dialect::ErrorCode::{self, BadRequest, BadTopic};
use crate::dialect::stream::StreamEncoder;
use crate::hub::{Encoder, Encoding, Epoch, Marks, Payload, Publication};

#[track_caller]
fn check(message: &str, topic: &str, payload: &str) {
    let published = publication(PublisherMessage::Text(message.as_bytes())).expect(message);
    assert_eq!(published.topic.as_str(), topic, "{message}");
    assert_eq!(published.kind, PayloadKind::Json, "{message}");
    assert_eq!(std::str::from_utf8(published.payload), Ok(payload), "{message}");
}

#[track_caller]
fn check_refused(message: PublisherMessage<'_>, code: ErrorCode, words: &str) {
    let error = publication(message).expect_err(&format!("{message:?} is refused"));
    assert_eq!(error.code, code, "{message:?}: {}", error.message);
    assert!(error.message.contains(words), "{message:?}: {}", error.message);
}

#[test]
fn what_a_combined_connection_gives_out_is_taken_and_its_offset_and_time_are_ignored() {
    check(r#"{"stream":"a.b","o":7,"data":{"p": 1}}"#, "a.b", r#"{"p": 1}"#);
    check(r#"{"stream":"a.b","o":7,"t":8,"data":{"p": 1}}"#, "a.b", r#"{"p": 1}"#);
    check("{\"stream\":\"a\",\"o\":7,\"data\": 1.0\n}", "a", " 1.0\n");
    check("{\"stream\":\"a\",\"o\":7,\"t\":8,\"data\": 1.0\n}", "a", " 1.0\n");
    check(r#"{"stream":"a","o":7,"data":"text \"}"}"#, "a", r#""text \"}""#);
}

#[test]
fn any_object_with_stream_first_and_data_is_taken() {
    check(r#"{"stream":"a","data":1}"#, "a", "1");
    check(" { \"stream\" : \"a\" ,\n \"data\" : [ 1 ] , \"x\" : {} } ", "a", "[ 1 ]");
    check(r#"{"stream":"a","o":"x","t":null,"data":null}"#, "a", "null");
    check(r#"{"stream":"a","o":1,"data":1,"x":{"data":2}}"#, "a", "1");
    check(r#"{"stream":"a","x":1,"x":2,"data":1}"#, "a", "1");
    check(r#"{"str\u0065am":"\u0061\u002eb","o":1,"d\u0061ta":1}"#, "a.b", "1");
}

#[test]
fn a_text_that_is_no_publication_is_error_1() {
    for message in
        ["", "hello", r#"{"stream":"a","o":1,"data":1"#, r#"{"stream":"a","o":1,"data":}"#, r#"{"stream":"a","data":1}}"#]
    {
        check_refused(PublisherMessage::Text(message.as_bytes()), BadRequest, "the message is not JSON: ");
    }
    for message in [
        "1",
        "[]",
        "{}",
        r#"{"stream":"a"}"#,
        r#"{"data":1,"stream":"a"}"#,
        r#"{"o":1,"stream":"a","data":1}"#,
        r#"{"stream":1,"data":1}"#,
        r#"{"stream":null,"data":1}"#,
        r#"{"stream":"a","data":1,"data":2}"#,
        r#"{"stream":"a","o":1,"data":1,"data":2}"#,
        r#"{"stream":"a","stream":"b","data":1}"#,
        r#"{"result":null,"id":1}"#,
        r#"{"e":"serverShutdown","E":1,"in":2}"#,
        r#"{"method":"PING"}"#,
    ] {
        check_refused(PublisherMessage::Text(message.as_bytes()), BadRequest, "a publication is {\"stream\"");
    }
    check_refused(PublisherMessage::Text(b"{\"stream\":\"\xff\",\"o\":1,\"data\":1}"), BadRequest, "not JSON");
}

#[test]
fn a_publication_on_a_bad_topic_is_error_3() {
    for (topic, words) in [
        ("", "topic ``: "),
        ("a b", "topic `a b`: "),
        ("a;last", "topic `a;last`: "),
        ("$a", "topic `$a`: "),
        ("a.*", "never publishes"),
        (">", "never publishes"),
    ] {
        for message in [format!(r#"{{"stream":"{topic}","o":1,"data":1}}"#), format!(r#"{{"stream": "{topic}","data":1}}"#)] {
            check_refused(PublisherMessage::Text(message.as_bytes()), BadTopic, words);
        }
        let binary = [&[1, 0, 0, topic.len() as u8], topic.as_bytes(), &[0; 8]].concat();
        check_refused(PublisherMessage::Binary(&binary), BadTopic, words);
    }
}

#[test]
fn a_binary_publication_is_read_by_its_layout() {
    let with_time = b"\x01\x01\x00\x01a\x00\x00\x00\x00\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x02payload";
    let without_time = b"\x01\x00\x00\x01a\x00\x00\x00\x00\x00\x00\x00\x01payload";
    for message in [&with_time[..], &without_time[..]] {
        let published = publication(PublisherMessage::Binary(message)).expect("it is whole");
        assert_eq!((published.topic.as_str(), published.kind, published.payload), ("a", PayloadKind::Binary, &b"payload"[..]));
        let header_bytes = message.len() - b"payload".len();
        let empty = publication(PublisherMessage::Binary(&message[..header_bytes])).expect("an empty payload is one");
        assert_eq!(empty.payload, b"");
        for short in 0..header_bytes {
            check_refused(PublisherMessage::Binary(&message[..short]), BadRequest, "ends inside its own header");
        }
    }
    check_refused(PublisherMessage::Binary(b"\x02\x00\x00\x01a\0\0\0\0\0\0\0\0"), BadRequest, "begins with its layout, 1, not 2");
    check_refused(PublisherMessage::Binary(b"\x01\x02\x00\x01a\0\0\0\0\0\0\0\0"), BadRequest, "flags are 0 or 1");
    check_refused(PublisherMessage::Binary(b"\x01\x00\xff\xffa\0\0\0\0\0\0\0\0"), BadRequest, "ends inside its own header");
    check_refused(PublisherMessage::Binary(b"\x01\x00\x00\x01\xff\0\0\0\0\0\0\0\0"), BadRequest, "topic is not UTF-8");
}

#[test]
fn deep_json_never_recurses() {
    let depth = 100_000;
    let deep = format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    check(&format!(r#"{{"stream":"a","o":1,"data":{deep}}}"#), "a", &deep);
    check(&format!(r#"{{"stream":"a","x":{deep},"data":{deep}}}"#), "a", &deep);
    let stream = format!(r#"{{"stream":{deep},"data":1}}"#);
    check_refused(PublisherMessage::Text(stream.as_bytes()), BadRequest, "a publication is");
}

/// The combined message of a publication, without its frame's header.
fn combined(topic: &str, offset: u64, kind: PayloadKind, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let payload = Payload { bytes: payload.to_vec().into(), kind };
    let publication = Publication { offset, unix_us: 0, payload, marks: Marks::default() };
    StreamEncoder::new(0).encode(
        Encoding::Combined,
        topic,
        crate::hub::Position { epoch: Epoch::from_number(36), offset: publication.offset },
        &publication,
        &mut out,
    );
    let header_bytes = match out[1] {
        126 => 4,
        127 => 10,
        _ => 2,
    };
    out.split_off(header_bytes)
}

fn topic() -> impl Strategy<Value = String> {
    "[a-zA-Z0-9@_:+=,é-]{1,9}(\\.[a-zA-Z0-9$é-]{1,9}){0,3}"
}

/// JSON as people write it: with white space anywhere, escapes, numbers of every form, also deep.
fn json() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        prop::sample::select(vec!["null", "true", "0", "-0", "1.50", "1e999", "\"\\ud800\"", "\"}\"", "\"\\\"data\\\":\""])
            .prop_map(str::to_owned),
        ".{0,9}".prop_map(|text| serde_json::to_string(&text).expect("a string is JSON")),
    ];
    let space = prop::sample::select(vec!["", " ", "\n", "\t\r "]);
    let value = leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(|items| format!("[{}]", items.join(" , "))),
            prop::collection::vec(inner, 0..4).prop_map(|items| {
                let members: Vec<String> = items.iter().map(|item| format!("\"data\" :{item}")).collect();
                format!("{{{}}}", members.join(","))
            }),
        ]
    });
    (space.clone(), value, space).prop_map(|(before, value, after)| format!("{before}{value}{after}"))
}

proptest! {
    #[test]
    fn json_comes_back_byte_for_byte(topic in topic(), offset in any::<u64>(), payload in json()) {
        prop_assert_eq!(json::payload_kind(payload.as_bytes()), PayloadKind::Json, "{}", payload);
        let message = combined(&topic, offset, PayloadKind::Json, payload.as_bytes());
        let published = publication(PublisherMessage::Text(&message)).expect("it was given out");
        prop_assert_eq!((published.topic.as_str(), published.kind), (&*topic, PayloadKind::Json));
        prop_assert_eq!(published.payload, payload.as_bytes());
    }

    #[test]
    fn text_comes_back_as_its_json_string(topic in topic(), offset in any::<u64>(), payload in ".{0,99}|[\\x00-\\x7f]{0,99}") {
        let message = combined(&topic, offset, PayloadKind::Text, payload.as_bytes());
        let published = publication(PublisherMessage::Text(&message)).expect("it was given out");
        prop_assert_eq!((published.topic.as_str(), published.kind), (&*topic, PayloadKind::Json));
        prop_assert_eq!(serde_json::from_slice::<String>(published.payload).expect("a JSON string"), payload);
    }

    #[test]
    fn binary_comes_back_byte_for_byte(
        topic in topic(),
        offset in any::<u64>(),
        payload in prop::collection::vec(any::<u8>(), 0..99),
    ) {
        let message = combined(&topic, offset, PayloadKind::Binary, &payload);
        let published = publication(PublisherMessage::Binary(&message)).expect("it was given out");
        prop_assert_eq!((published.topic.as_str(), published.kind, published.payload), (&*topic, PayloadKind::Binary, &*payload));
    }

    #[test]
    fn what_is_taken_can_be_read_by_serde_too(spoiled in json(), cut in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut message = format!("{{\"stream\":\"a\",\"o\":1,\"data\":{spoiled}}}").into_bytes();
        let at = cut.index(message.len());
        message[at] = byte & 0x7f;
        let Ok(text) = std::str::from_utf8(&message) else { return Ok(()) };
        if let Ok(published) = publication(PublisherMessage::Text(text.as_bytes())) {
            prop_assert!(serde_json::from_str::<IgnoredAny>(text).is_ok(), "{} is not JSON", text);
            prop_assert_eq!(json::payload_kind(published.payload), PayloadKind::Json);
        }
    }

    #[test]
    fn any_bytes_are_taken_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..40), head in prop::sample::select(vec![
        &b""[..], b"\x01\x00\x00", b"\x01\x01\x00\x01a", b"{\"stream\":\"", b"{\"stream\":\"a\",\"o\":1,\"data\":",
    ])) {
        let message = [head, &bytes].concat();
        for result in [publication(PublisherMessage::Text(&message)), publication(PublisherMessage::Binary(&message))] {
            match result {
                Ok(published) => prop_assert!(published.payload.len() <= message.len()),
                Err(error) => prop_assert!(matches!(error.code, BadRequest | BadTopic) && error.message.len() < 1024),
            }
        }
    }
}
