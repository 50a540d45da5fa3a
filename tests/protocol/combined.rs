//! "Combined" and "Raw": the very bytes of what a client gets.

use crate::common::{Client, Gateway, Raw};

#[test]
fn a_publication_is_stream_o_data_with_data_last_and_as_published() {
    let gateway = Gateway::publishing();
    let mut client = Client::connect(&gateway, "/stream?streams=btcusdt@trade");
    let payloads = ["{\"p\":\"1.10\" , \"q\":1e-7}", "null", "[ ]", "\"text\\u00e9\\/\"", "-0.0", "{\"a\":1,\"a\":2}"];
    for (payload, offset) in payloads.iter().zip(1..) {
        gateway.publish("btcusdt@trade", payload);
        assert_eq!(client.text(), format!("{{\"stream\":\"btcusdt@trade\",\"o\":{offset},\"data\":{payload}}}"));
    }
}

#[test]
fn a_text_payload_that_is_not_json_is_put_in_as_a_json_string() {
    let gateway = Gateway::publishing();
    let mut client = Client::connect(&gateway, "/stream?streams=md.a");
    let mut raw = Client::connect(&gateway, "/ws/md.a");
    let mut publisher = Client::connect(&gateway, "/publish/md.a");
    let not_json = [
        "hello",
        "say \"hi\"",
        "back\\slash",
        "line\nbreak\ttab",
        "bell\u{7}",
        "€ 😀",
        "NaN",
        "01",
        "{'a':1}",
        "[1,]",
        "{} {}",
        "",
        "+1",
        "1.",
        "\u{feff}1",
    ];
    for (payload, offset) in not_json.iter().zip(1..) {
        publisher.send(payload);
        let message = client.text();
        let data = message
            .strip_prefix(&format!("{{\"stream\":\"md.a\",\"o\":{offset},\"data\":"))
            .and_then(|rest| rest.strip_suffix('}'));
        let data = data.unwrap_or_else(|| panic!("{payload:?}: {message}"));
        let string: String = serde_json::from_str(data).unwrap_or_else(|_| panic!("{payload:?}: not a JSON string: {data}"));
        assert_eq!(&string, payload);
        assert_eq!(raw.text(), *payload);
    }
}

#[test]
fn a_text_payload_that_is_json_is_never_written_again() {
    let gateway = Gateway::publishing();
    let mut client = Client::connect(&gateway, "/stream?streams=md.a");
    let mut publisher = Client::connect(&gateway, "/publish/md.a");
    let deep = format!("{}{}", "[".repeat(5_000), "]".repeat(5_000));
    let payloads =
        [" {\"a\" : 1}\n", "\t7 ", "123456789012345678901234567890", "1E+2", "\"\\ud83d\\ude00\"", "\"\u{7f}\"", &deep];
    for (payload, offset) in payloads.iter().zip(1..) {
        publisher.send(payload);
        assert_eq!(client.text(), format!("{{\"stream\":\"md.a\",\"o\":{offset},\"data\":{payload}}}"));
    }
}

#[test]
fn a_binary_publication_is_a_binary_frame_of_layout_flags_topic_offset_payload() {
    let gateway = Gateway::publishing();
    let mut client = Client::connect(&gateway, "/stream?streams=md.a");
    let mut publisher = Client::connect(&gateway, "/publish/md.a");
    for (payload, offset) in [&b"\x00\xff\xfe payload"[..], b"", b"{}"].iter().zip(1u64..) {
        publisher.send_binary(payload);
        let mut layout = vec![1, 0, 0, 4];
        layout.extend(b"md.a");
        layout.extend(offset.to_be_bytes());
        layout.extend(*payload);
        assert_eq!(client.binary(), layout);
    }
}

#[test]
fn raw_is_the_payload_byte_for_byte_text_for_text_and_binary_for_binary() {
    let gateway = Gateway::publishing();
    let mut client = Raw::upgraded(&gateway, "/ws/md.a");
    let mut publisher = Client::connect(&gateway, "/publish/md.a");
    let lengths = [0, 1, 125, 126, 127, 65_535, 65_536, 1 << 20];
    for length in lengths {
        let payload: Vec<u8> = (0..length).map(|index: usize| (index * 31 % 251) as u8).collect();
        publisher.send_binary(&payload);
        let frame = client.frame().expect("a publication comes");
        assert_eq!((frame.first, frame.payload == payload), (0x82, true), "binary of {length} bytes");
        let text: String = (0..length).map(|index| char::from(b'a' + (index % 26) as u8)).collect();
        publisher.send(&text);
        let frame = client.frame().expect("a publication comes");
        assert_eq!((frame.first, frame.payload == text.as_bytes()), (0x81, true), "text of {length} bytes");
    }
}

#[test]
fn a_raw_payload_may_look_like_anything() {
    let gateway = Gateway::publishing();
    let mut client = Client::connect(&gateway, "/ws/md.a");
    for payload in [
        "{\"e\":\"gap\"}",
        "{\"result\":null,\"id\":1}",
        "{\"error\":{\"code\":1,\"msg\":\"\"},\"id\":1}",
        "{\"stream\":\"x\",\"o\":1,\"data\":1}",
    ] {
        gateway.publish("md.a", payload);
        assert_eq!(client.text(), payload);
    }
}

#[test]
fn replies_have_result_or_error_first_and_no_spaces() {
    let gateway = Gateway::publishing();
    for path in ["/ws", "/stream"] {
        let mut client = Client::connect(&gateway, path);
        assert_eq!(
            client.say("{ \"id\" : 7 , \"params\" : [ \"md.a\" ] , \"method\" : \"SUBSCRIBE\" }"),
            "{\"result\":null,\"id\":7}"
        );
        let reply = client.say("{\"method\":\"NONE\",\"id\":8}");
        assert!(reply.starts_with("{\"error\":{\"code\":2,\"msg\":\"") && reply.ends_with("\"},\"id\":8}"), "{reply}");
    }
}
