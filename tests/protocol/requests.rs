//! "Requests": the envelope, ids, errors, properties, PING and PUBLISH.

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use crate::common::{Client, Gateway};

#[test]
fn an_id_is_an_integer_of_64_bits_or_a_string_of_at_most_36_bytes_returned_as_given() {
    let gateway = Gateway::publishing();
    let mut client = Client::connect(&gateway, "/ws");
    let longest = format!("\"{}\"", "x".repeat(36));
    let ids = ["0", "-1", "9223372036854775807", "-9223372036854775808", "\"\"", "\"a b\"", "\"€\"", "\"\\\"\\\\\"", &longest];
    for id in ids {
        assert_eq!(
            client.say(&format!("{{\"method\":\"SUBSCRIBE\",\"params\":[\"md.a\"],\"id\":{id}}}")),
            format!("{{\"result\":null,\"id\":{id}}}")
        );
    }
}

#[test]
fn a_null_or_absent_id_is_answered_with_null() {
    let gateway = Gateway::publishing();
    let mut client = Client::connect(&gateway, "/ws");
    for request in
        ["{\"method\":\"SUBSCRIBE\",\"params\":[\"md.a\"],\"id\":null}", "{\"method\":\"SUBSCRIBE\",\"params\":[\"md.a\"]}"]
    {
        assert_eq!(client.say(request), "{\"result\":null,\"id\":null}");
    }
}

#[test]
fn not_json_or_no_readable_id_is_error_1_with_id_null() {
    let gateway = Gateway::publishing();
    let mut client = Client::connect(&gateway, "/ws");
    let too_long = format!("{{\"method\":\"PING\",\"id\":\"{}\"}}", "x".repeat(37));
    let requests = [
        "",
        "hello",
        "{",
        "{\"method\":\"PING\",\"id\":1",
        "{\"method\":\"PING\",\"id\":1}}",
        "[]",
        "7",
        "null",
        "\"PING\"",
        "{\"method\":\"PING\",\"id\":1.5}",
        "{\"method\":\"PING\",\"id\":true}",
        "{\"method\":\"PING\",\"id\":[1]}",
        "{\"method\":\"PING\",\"id\":{}}",
        "{\"method\":\"PING\",\"id\":18446744073709551616}",
        &too_long,
    ];
    for request in requests {
        assert_eq!(error_of(&client.say(request)), (1, Value::Null), "{request}");
    }
}

#[test]
fn a_malformed_request_with_a_readable_id_is_error_1_with_that_id() {
    let gateway = Gateway::publishing();
    let mut client = Client::connect(&gateway, "/ws");
    let malformed = [
        "{\"id\":7}",
        "{\"method\":7,\"id\":7}",
        "{\"method\":null,\"id\":7}",
        "{\"method\":\"SUBSCRIBE\",\"id\":7}",
        "{\"method\":\"SUBSCRIBE\",\"params\":null,\"id\":7}",
        "{\"method\":\"SUBSCRIBE\",\"params\":\"md.a\",\"id\":7}",
        "{\"method\":\"SUBSCRIBE\",\"params\":{\"a\":1},\"id\":7}",
        "{\"method\":\"SUBSCRIBE\",\"params\":[7],\"id\":7}",
        "{\"method\":\"SUBSCRIBE\",\"params\":[[\"md.a\"]],\"id\":7}",
        "{\"method\":\"UNSUBSCRIBE\",\"params\":[null],\"id\":7}",
        "{\"method\":\"POSITIONS\",\"params\":[7],\"id\":7}",
        "{\"method\":\"SET_PROPERTY\",\"params\":[\"combined\"],\"id\":7}",
        "{\"method\":\"SET_PROPERTY\",\"params\":[\"combined\",1],\"id\":7}",
        "{\"method\":\"SET_PROPERTY\",\"params\":[\"nonsense\",true],\"id\":7}",
        "{\"method\":\"GET_PROPERTY\",\"params\":[],\"id\":7}",
        "{\"method\":\"GET_PROPERTY\",\"params\":[\"nonsense\"],\"id\":7}",
        "{\"method\":\"PUBLISH\",\"params\":[\"md.a\"],\"id\":7}",
        "{\"method\":\"PUBLISH\",\"params\":[7,7],\"id\":7}",
        "{\"method\":\"PUBLISH\",\"params\":[],\"id\":7}",
    ];
    for request in malformed {
        assert_eq!(error_of(&client.say(request)), (1, json!(7)), "{request}");
    }
    client.assert_silent();
}

#[test]
fn an_unknown_method_is_error_2() {
    let gateway = Gateway::publishing();
    let mut client = Client::connect(&gateway, "/ws");
    for method in ["subscribe", "SUBSCRIBE ", "", "LOGIN"] {
        assert_eq!(client.error(method, "[]"), 2, "{method:?}");
    }
}

#[test]
fn unknown_members_are_ignored() {
    let gateway = Gateway::publishing();
    let mut client = Client::connect(&gateway, "/ws");
    let request = "{\"jsonrpc\":\"2.0\",\"x\":{\"id\":5,\"method\":[\"}\"]},\"id\":9,\"params\":[\"md.a\"],\"method\":\"SUBSCRIBE\",\"y\":[[],{}]}";
    assert_eq!(client.say(request), "{\"result\":null,\"id\":9}");
}

#[test]
fn set_property_and_get_property_hold_combined_and_events() {
    let gateway = Gateway::publishing();
    let mut client = Client::connect(&gateway, "/ws");
    for property in ["combined", "events"] {
        for value in [true, false, true] {
            assert_eq!(client.ask("SET_PROPERTY", &format!("[\"{property}\",{value}]")), "{\"result\":null}");
            assert_eq!(client.ask("GET_PROPERTY", &format!("[\"{property}\"]")), format!("{{\"result\":{value}}}"));
        }
    }
}

#[test]
fn what_is_not_there_yet_is_error_4() {
    let gateway = Gateway::publishing();
    let mut client = Client::connect(&gateway, "/stream");
    let later = [("SUBSCRIBE", "[\"md.a;rate=100ms\"]"), ("SUBSCRIBE", "[\"md.a;slow=conflate\"]"), ("AUTH", "[\"token\"]")];
    for (method, params) in later {
        assert_eq!(client.error(method, params), 4, "{method} {params}");
    }
    assert_eq!(client.ask("LIST_SUBSCRIPTIONS", ""), "{\"result\":[]}");
}

#[test]
fn an_option_that_no_topic_has_is_error_1() {
    let gateway = Gateway::publishing();
    let mut client = Client::connect(&gateway, "/stream");
    for stream in ["md.a;nonsense", "md.a;last=1", "md.a;", "md.a;last;"] {
        assert_eq!(client.error("SUBSCRIBE", &format!("[\"{stream}\"]")), 1, "{stream}");
    }
}

#[test]
fn ping_tells_the_time_in_ms_since_1970() {
    let gateway = Gateway::publishing();
    let mut client = Client::connect(&gateway, "/ws");
    let now_ms =
        |at: SystemTime| u64::try_from(at.duration_since(UNIX_EPOCH).expect("it is after 1970").as_millis()).expect("it fits");
    let before = now_ms(SystemTime::now());
    let result = client.result("PING", "");
    let time = result["time"].as_u64().expect("a time is a number");
    assert!((before..=now_ms(SystemTime::now())).contains(&time), "{time} is not now");
    assert_eq!(result, json!({ "time": time }));
}

#[test]
fn publish_answers_with_the_position_and_sends_the_bytes_of_data_as_they_stand() {
    let gateway = Gateway::publishing();
    let mut subscriber = Client::connect(&gateway, "/ws/md.a");
    let mut client = Client::connect(&gateway, "/ws");
    let payloads = ["{ \"p\" : 1.10 }", "\"keeps its quotes\"", "\"\\u20ac\\/\"", "null", "1e3", "[]", "{\"a\":\"]}\\\"\"}"];
    let mut epochs = Vec::new();
    for (payload, expected) in payloads.iter().zip(1..) {
        let (epoch, offset) = client.publish("md.a", payload);
        assert_eq!((subscriber.text().as_str(), offset), (*payload, expected));
        epochs.push(epoch);
    }
    epochs.dedup();
    assert_eq!(epochs.len(), 1);
}

#[test]
fn publish_where_the_configuration_does_not_allow_it_is_error_4() {
    let closed = Gateway::configured("");
    assert_eq!(Client::connect(&closed, "/ws").error("PUBLISH", "[\"md.a\",1]"), 4);
    let some = Gateway::configured("[publish]\nallow = \"loopback\"\ntopics = [\"own.>\"]\n");
    let mut client = Client::connect(&some, "/ws");
    assert_eq!(client.error("PUBLISH", "[\"md.a\",1]"), 4);
    assert_eq!(client.error("PUBLISH", "[\"own\",1]"), 4);
    assert_eq!(client.publish("own.a", "1").1, 1);
}

#[test]
fn publish_to_a_bad_name_or_a_pattern_is_error_3() {
    let gateway = Gateway::publishing();
    let mut client = Client::connect(&gateway, "/ws");
    for topic in ["", "a..b", "$gateway", "a b", "a;last", "md.*", "md.>"] {
        assert_eq!(client.error("PUBLISH", &format!("[\"{topic}\",1]")), 3, "{topic:?}");
    }
}

/// Code and id of an error reply.
fn error_of(reply: &str) -> (u64, Value) {
    let reply: Value = serde_json::from_str(reply).expect("a reply is JSON");
    let message = reply["error"]["msg"].as_str().unwrap_or_else(|| panic!("not an error: {reply}"));
    assert!(message.len() > 8, "no sentence in {reply}");
    (reply["error"]["code"].as_u64().expect("a code is a number"), reply["id"].clone())
}
