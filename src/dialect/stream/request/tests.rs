use proptest::prelude::*;

use super::super::reply;
use super::*;
use crate::config::Slow;
use crate::dialect::ErrorCode::{BadRequest, BadTopic, UnknownMethod};
use crate::dialect::stream::StreamOptions;
use crate::hub::{Epoch, Key, Position};

fn topic(name: &str) -> TopicName {
    TopicName::parse(name).expect("the test's topic is one")
}

fn subject(text: &str) -> Subject {
    Subject::parse(text).expect("the test's topic or pattern is one")
}

fn subjects(texts: &[&str]) -> Vec<Subject> {
    texts.iter().map(|text| subject(text)).collect()
}

fn topics(names: &[&str]) -> Vec<TopicName> {
    names.iter().map(|name| topic(name)).collect()
}

fn plain(name: &str) -> Stream {
    Stream { subject: subject(name), options: StreamOptions::default() }
}

fn last(name: &str) -> Stream {
    Stream { subject: subject(name), options: StreamOptions { last: true, given: true, ..StreamOptions::default() } }
}

fn message(method: &str, params: &str) -> String {
    match params {
        "" => format!(r#"{{"method":"{method}","id":7}}"#),
        _ => format!(r#"{{"method":"{method}","params":{params},"id":7}}"#),
    }
}

/// A method with these params (none: absent) is this command.
#[track_caller]
fn check(method: &str, params: &str, command: Command<'_>) {
    let message = message(method, params);
    let request = request(message.as_bytes()).unwrap_or_else(|failure| panic!("{message} gives {failure:?}"));
    assert_eq!(request.command, command, "{message}");
    assert_eq!(replied_id(&request.id), "7", "{message}");
}

/// A method with these params is refused with this code, and with a sentence that holds these words.
#[track_caller]
fn check_refused(method: &str, params: &str, code: ErrorCode, words: &str) {
    check_failure(&message(method, params), "7", code, words);
}

#[track_caller]
fn check_failure(message: &str, id: &str, code: ErrorCode, words: &str) {
    let failure = request(message.as_bytes()).expect_err(message);
    assert_eq!(failure.error.code, code, "{message}: {}", failure.error.message);
    assert!(failure.error.message.contains(words), "{message}: {}", failure.error.message);
    assert!(failure.error.message.len() < 1024, "{message}: {}", failure.error.message);
    assert_eq!(replied_id(&failure.id), id, "{message}");
}

/// The id as a reply bears it.
fn replied_id(id: &RequestId) -> String {
    let mut out = Vec::new();
    reply::null(&mut out, id);
    let reply = String::from_utf8(out).expect("a reply is text");
    let id = reply.strip_prefix(r#"{"result":null,"id":"#).and_then(|rest| rest.strip_suffix('}'));
    id.expect("a reply ends with its id").to_owned()
}

#[test]
fn subscribe_takes_a_list_of_streams() {
    check("SUBSCRIBE", r#"["a"]"#, Command::Subscribe(vec![plain("a")]));
    check(
        "SUBSCRIBE",
        r#"[ "btcusdt@depth@0ms" , "md.trades.BTC-USD;last" , "a" ]"#,
        Command::Subscribe(vec![plain("btcusdt@depth@0ms"), last("md.trades.BTC-USD"), plain("a")]),
    );
    check("SUBSCRIBE", r#"["\u0061\u003blast"]"#, Command::Subscribe(vec![last("a")]));
    check("SUBSCRIBE", r#"["a","a"]"#, Command::Subscribe(vec![plain("a"), plain("a")]));
    for params in ["", "null", "[]", "\"a\"", "{}", "7", "[7]", "[\"a\",null]", "[\"\\ud800\"]", "[[\"a\"]]"] {
        check_refused("SUBSCRIBE", params, BadRequest, "`params` of SUBSCRIBE must be a list of streams, at least one");
    }
}

#[test]
fn a_topic_with_a_bad_name_is_error_3_and_the_message_names_it() {
    for name in ["", "a b", "a/b", "a?b", "a#b", "a%b", "a&b", "$a", "a..b", ".a", "a."] {
        check_refused("SUBSCRIBE", &format!(r#"["x","{name}"]"#), BadTopic, &format!("topic `{name}`: "));
        check_refused("UNSUBSCRIBE", &format!(r#"["{name}"]"#), BadTopic, &format!("topic `{name}`: "));
        check_refused("POSITIONS", &format!(r#"["{name}"]"#), BadTopic, &format!("topic `{name}`: "));
        check_refused("PUBLISH", &format!(r#"["{name}",1]"#), BadTopic, &format!("topic `{name}`: "));
    }
    check_refused("SUBSCRIBE", r#"["a\"b"]"#, BadTopic, "topic `a\"b`");
    check_refused("SUBSCRIBE", r#"["a\\b"]"#, BadTopic, "topic `a\\b`");
    check_refused("SUBSCRIBE", r#"["a\nb"]"#, BadTopic, "topic `a\nb`");
    check_refused("PUBLISH", r#"["a;last",1]"#, BadTopic, "topic `a;last`");
    check_refused("SUBSCRIBE", &format!(r#"["{}"]"#, "x".repeat(256)), BadTopic, "topic `xxx");
    check_refused("SUBSCRIBE", &format!(r#"["{} "]"#, "x".repeat(60_000)), BadTopic, "topic `xxx");
}

#[test]
fn patterns_subscribe_and_never_publish() {
    for pattern in ["*", ">", "md.*", "md.*.trades", "md.>"] {
        check("SUBSCRIBE", &format!(r#"["{pattern}"]"#), Command::Subscribe(vec![plain(pattern)]));
        check("SUBSCRIBE", &format!(r#"["{pattern};last"]"#), Command::Subscribe(vec![last(pattern)]));
        check("UNSUBSCRIBE", &format!(r#"["{pattern};last"]"#), Command::Unsubscribe(subjects(&[pattern])));
        let since = format!("stream `{pattern};since=a:1`: option `since`: it names a place in one topic");
        check_refused("SUBSCRIBE", &format!(r#"["{pattern};since=a:1"]"#), BadRequest, &since);
        check_refused("POSITIONS", &format!(r#"["{pattern}"]"#), BadTopic, &format!("topic `{pattern}`: "));
        check_refused("PUBLISH", &format!(r#"["{pattern}",1]"#), BadTopic, "never publishes");
    }
}

#[test]
fn options_are_read_in_any_order() {
    let at = |epoch: &str, offset| Some(Position { epoch: Epoch::parse(epoch).expect("an epoch"), offset });
    let given = StreamOptions { given: true, ..StreamOptions::default() };
    for (text, options) in [
        ("since=0:0", StreamOptions { since: at("0", 0), ..given }),
        ("since=3w5e11264sgsf:9007199254740991", StreamOptions { since: at("3w5e11264sgsf", (1 << 53) - 1), ..given }),
        ("since=a:7;last", StreamOptions { since: at("a", 7), last: true, ..given }),
        ("last;since=a:7", StreamOptions { since: at("a", 7), last: true, ..given }),
        ("rate=100ms", StreamOptions { rate_ms: Some(100), ..given }),
        ("rate=1s;slow=conflate;last", StreamOptions { rate_ms: Some(1000), slow: Some(Slow::Conflate), last: true, ..given }),
        ("slow=close", StreamOptions { slow: Some(Slow::Close), ..given }),
        ("slow=drop;ts=1", StreamOptions { slow: Some(Slow::Drop), timed: true, ..given }),
    ] {
        let expected = Stream { subject: subject("a"), options };
        check("SUBSCRIBE", &format!(r#"["a;{text}"]"#), Command::Subscribe(vec![expected]));
    }
}

#[test]
fn since_and_rate_exclude_each_other() {
    for text in ["since=a:7;rate=1s", "rate=1s;since=a:7", "rate=1s;last;since=a:7"] {
        check_refused("SUBSCRIBE", &format!(r#"["b","a;{text}"]"#), BadRequest, "`since`");
    }
}

#[test]
fn an_unknown_option_or_a_bad_value_is_error_1() {
    for option in [
        "",
        "x",
        "LAST",
        " last",
        "last=1",
        "last=",
        "since",
        "since=",
        "since=x",
        "since=A:1",
        "since=a:",
        "since=a:-1",
        "since=a:+1",
        "since=a:9007199254740992",
        "since=a:1:2",
        "rate",
        "rate=",
        "rate=100",
        "rate=ms",
        "rate=0ms",
        "rate=1.5s",
        "rate=+1s",
        "rate=99999999999s",
        "slow",
        "slow=no",
        "ts",
        "ts=0",
        "ts=2",
        "key=1",
    ] {
        let words = format!("stream `a;{option}`: option `{option}`: ");
        check_refused("SUBSCRIBE", &format!(r#"["a;{option}"]"#), BadRequest, &words);
    }
    check_refused("SUBSCRIBE", r#"["a;last;last"]"#, BadRequest, "it stands there twice");
}

#[test]
fn unsubscribe_takes_topics_and_ignores_options() {
    check("UNSUBSCRIBE", r#"["a","b.c"]"#, Command::Unsubscribe(subjects(&["a", "b.c"])));
    check("UNSUBSCRIBE", r#"["a;last","b;rate=1s","c;no=such;;"]"#, Command::Unsubscribe(subjects(&["a", "b", "c"])));
    for params in ["", "null", "[]", "\"a\"", "{}", "[7]"] {
        check_refused("UNSUBSCRIBE", params, BadRequest, "`params` of UNSUBSCRIBE must be a list of topics, at least one");
    }
}

#[test]
fn list_subscriptions_and_ping_take_no_params() {
    for params in ["", "null", "[]", "[ ]"] {
        check("LIST_SUBSCRIPTIONS", params, Command::ListSubscriptions);
        check("PING", params, Command::Ping);
    }
    for params in ["[1]", "{}", "\"\"", "0", "false"] {
        check_refused("LIST_SUBSCRIPTIONS", params, BadRequest, "LIST_SUBSCRIPTIONS takes no `params`");
        check_refused("PING", params, BadRequest, "PING takes no `params`");
    }
}

#[test]
fn positions_takes_none_or_a_list_of_topics() {
    check("POSITIONS", "", Command::Positions(None));
    check("POSITIONS", "null", Command::Positions(None));
    check("POSITIONS", "[]", Command::Positions(Some(Vec::new())));
    check("POSITIONS", r#"["a","b"]"#, Command::Positions(Some(topics(&["a", "b"]))));
    for params in ["\"a\"", "{}", "[null]"] {
        check_refused("POSITIONS", params, BadRequest, "`params` of POSITIONS must be a list of topics");
    }
}

#[test]
fn properties_are_combined_events_and_heartbeat() {
    for (name, property) in [("combined", Property::Combined), ("events", Property::Events), ("heartbeat", Property::Heartbeat)] {
        check("SET_PROPERTY", &format!(r#"["{name}",true]"#), Command::SetProperty(property, true));
        check("SET_PROPERTY", &format!(r#"["{name}",false]"#), Command::SetProperty(property, false));
        check("GET_PROPERTY", &format!(r#"["{name}"]"#), Command::GetProperty(property));
    }
    check_refused("SET_PROPERTY", r#"["Combined",true]"#, BadRequest, "there is no property `Combined`");
    for params in ["", "[]", r#"["combined"]"#, r#"["combined",1]"#, r#"["combined",true,1]"#, r#"[true,"combined"]"#, "{}"] {
        check_refused("SET_PROPERTY", params, BadRequest, "`params` of SET_PROPERTY must be");
    }
    for params in ["", "[]", r#"["combined",true]"#, "[1]", r#""combined""#] {
        check_refused("GET_PROPERTY", params, BadRequest, "`params` of GET_PROPERTY must be");
    }
}

#[test]
fn publish_takes_the_bytes_of_data_as_they_stand() {
    for data in [
        "1",
        "1.50",
        "-0",
        "1e999999",
        "null",
        "true",
        r#""a string keeps its quotes""#,
        r#""\u0061\ud800""#,
        "{}",
        r#"{ "p" : 1.10 , "p" : [ 1,	2 ] }"#,
        "\"é\u{2028}\"",
    ] {
        let publish = Command::Publish { topic: topic("a"), data: data.as_bytes(), key: None };
        check("PUBLISH", &format!(r#"["a",{data}]"#), publish.clone());
        check("PUBLISH", &format!("[ \"a\" ,\n {data}\n ]"), publish);
    }
    let key = Key::parse("k\"y").expect("a key");
    check("PUBLISH", r#"["a",1,"k\"y"]"#, Command::Publish { topic: topic("a"), data: b"1", key: Some(key) });
    check_refused("PUBLISH", r#"["a",1,""]"#, BadRequest, "a key holds 1 to 255 bytes");
    check_refused("PUBLISH", &format!(r#"["a",1,"{}"]"#, "x".repeat(256)), BadRequest, "this one has 256");
    for params in ["", "null", "[]", r#"["a"]"#, r#"["a",1,2]"#, r#"["a",1,"key",1]"#, "[1,1]", r#"{"topic":"a"}"#, "\"a\""] {
        check_refused("PUBLISH", params, BadRequest, "`params` of PUBLISH must be a topic, data");
    }
}

#[test]
fn auth_shows_one_token_which_no_error_repeats() {
    check("AUTH", r#"["a.b.c"]"#, Command::Auth("a.b.c".into()));
    check("AUTH", r#"[""]"#, Command::Auth("".into()));
    for params in ["null", "[]", r#"["secret","b"]"#, r#""secret""#, r#"{"token":"secret"}"#, "[1]"] {
        check_refused("AUTH", params, BadRequest, "`params` of AUTH must be one token, as in [\"eyJhbGciOi...\"]");
    }
}

#[test]
fn an_unknown_method_is_error_2() {
    for method in ["", "subscribe", "SUBSCRIBE ", "CLOSE"] {
        check_refused(method, "[]", UnknownMethod, &format!("there is no method `{method}`"));
    }
    check_refused(&"M".repeat(60_000), "", UnknownMethod, "there is no method `MMM");
    check("P\\u0049NG", "", Command::Ping);
}

#[test]
fn an_id_is_an_integer_of_64_bits_or_a_string_of_at_most_36_bytes_and_returned_as_given() {
    let longest = format!("\"{}\"", "x".repeat(36));
    let escaped = format!("\"{}\"", "\\u0041".repeat(36));
    let wide = format!("\"{}\"", "é".repeat(18));
    for id in [
        "0",
        "-0",
        "1",
        "-9223372036854775808",
        "18446744073709551615",
        "\"\"",
        "\"a b\"",
        "\"\\\"\\\\\\n\\/\"",
        "\"\\ud83d\\ude00\"",
        &longest,
        &escaped,
        &wide,
    ] {
        let message = format!("{{\"method\":\"PING\",\"id\": {id} }}");
        let request = request(message.as_bytes()).unwrap_or_else(|failure| panic!("{message} gives {failure:?}"));
        assert_eq!(replied_id(&request.id), id);
        check_failure(&format!("{{\"id\":{id},\"method\":1}}"), id, BadRequest, "`method` must be a string");
    }
}

#[test]
fn an_id_that_is_null_or_absent_is_answered_with_null() {
    for message in [r#"{"method":"PING"}"#, r#"{"method":"PING","id":null}"#] {
        assert_eq!(request(message.as_bytes()).expect(message).id, RequestId::NULL);
    }
    assert_eq!(replied_id(&RequestId::NULL), "null");
}

#[test]
fn no_readable_id_is_error_1_with_a_null_id() {
    let long = format!("\"{}\"", "x".repeat(37));
    let long_escaped = format!("\"{}\"", "\\u0041".repeat(37));
    let wide = format!("\"{}x\"", "é".repeat(18));
    for id in [
        "18446744073709551616",
        "-9223372036854775809",
        "1.0",
        "1e3",
        "-1.0",
        "true",
        "false",
        "[]",
        "{}",
        "[1]",
        "\"\\ud800\"",
        &long,
        &long_escaped,
        &wide,
    ] {
        check_failure(&format!("{{\"method\":\"PING\",\"id\":{id}}}"), "null", BadRequest, "`id` must be");
        check_failure(&format!("{{\"method\":\"NO\",\"id\":{id}}}"), "null", BadRequest, "`id` must be");
    }
}

#[test]
fn not_json_is_error_1_with_a_null_id() {
    for message in ["", "hello", "{", r#"{"method":"PING","id":1"#, r#"{"id":1,"method":PING}"#, r#"{"id":1} x"#, r#"{"id":01}"#]
    {
        check_failure(message, "null", BadRequest, "the message is not JSON: ");
    }
    check_failure("{\n\"method\" \"PING\"}", "null", BadRequest, "at line 2 column 10");
    assert_eq!(request(b"{\"id\":1,\"method\":\"\xff\"}").expect_err("not UTF-8").error.code, BadRequest);
    for message in ["1", "null", "[]", "\"PING\"", r#"["PING"]"#] {
        check_failure(message, "null", BadRequest, "a request is a JSON object");
    }
    check_failure(&format!("\"{}\"", "x".repeat(60_000)), "null", BadRequest, "a request is a JSON object");
}

#[test]
fn a_request_without_a_method_is_error_1() {
    check_failure(r#"{"id":"x"}"#, "\"x\"", BadRequest, "the request has no `method`");
    check_failure("{}", "null", BadRequest, "the request has no `method`");
    for method in ["null", "1", "[\"PING\"]", "\"\\ud800\""] {
        check_failure(&format!(r#"{{"id":1,"method":{method}}}"#), "1", BadRequest, "`method` must be a string");
    }
}

#[test]
fn unknown_members_are_ignored() {
    let message = r#" { "x" : [ { "id" : 8 } ] , "id" : 7 , "METHOD" : 1 , "m\u0065thod" : "PING" , "x" : 1e999999 } "#;
    let request = request(message.as_bytes()).expect("other members do not matter");
    assert_eq!((request.command, replied_id(&request.id).as_str()), (Command::Ping, "7"));
}

#[test]
fn a_member_that_stands_there_twice_is_error_1() {
    check_failure(r#"{"method":"PING","method":"PING","id":1}"#, "1", BadRequest, "`method` stands in the request twice");
    check_failure(r#"{"id":1,"params":[],"method":"PING","params":[]}"#, "1", BadRequest, "`params` stands");
    check_failure(r#"{"id":1,"method":"PING","id":1}"#, "null", BadRequest, "`id` stands in the request twice");
    check_failure(r#"{"id":1,"method":"","id":1,"method":""}"#, "null", BadRequest, "`id` stands in the request twice");
}

#[test]
fn deep_json_never_recurses() {
    let depth = 100_000;
    let deep = format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    let ignored = format!(r#"{{"x":{deep},"method":"PING"}}"#);
    assert_eq!(request(ignored.as_bytes()).expect("ignored").command, Command::Ping);
    for method in ["SUBSCRIBE", "UNSUBSCRIBE", "POSITIONS", "SET_PROPERTY", "GET_PROPERTY", "PUBLISH", "PING"] {
        check_refused(method, &deep, BadRequest, method);
    }
    check_failure(&format!(r#"{{"method":"PING","id":{deep}}}"#), "null", BadRequest, "`id` must be");
    check_failure(&format!(r#"{{"method":{deep},"id":1}}"#), "1", BadRequest, "`method` must be");
    check_failure(&deep, "null", BadRequest, "a request is a JSON object");
    check("PUBLISH", &format!(r#"["a",{deep}]"#), Command::Publish { topic: topic("a"), data: deep.as_bytes(), key: None });
}

/// Pieces that requests are made of, so that random ones get past the first byte.
fn pieces() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "{",
        "}",
        "[",
        "]",
        ",",
        ":",
        "\"method\":",
        "\"params\":",
        "\"id\":",
        "\"SUBSCRIBE\"",
        "\"PUBLISH\"",
        "\"PING\"",
        "\"POSITIONS\"",
        "\"a\"",
        "\"a;last\"",
        "\"a;rate=1s\"",
        "\"*\"",
        "\"\\u00e9\"",
        "\"\\ud800\"",
        "\"",
        "\\",
        "null",
        "true",
        "7",
        "-0",
        "1e5",
        " ",
        "é",
    ]);
    prop::collection::vec(piece, 0..24).prop_map(|pieces| pieces.concat())
}

/// Whatever came, it has an answer that is JSON of bounded length.
fn is_answered(message: &[u8]) {
    let mut out = Vec::new();
    match request(message) {
        Ok(request) => reply::null(&mut out, &request.id),
        Err(failure) => reply::error(&mut out, &failure.id, &failure.error),
    }
    let answer: serde_json::Value = serde_json::from_slice(&out).expect("the answer is JSON");
    assert!(answer.get("id").is_some() && out.len() < 4096);
}

proptest! {
    #[test]
    fn any_bytes_are_answered(message in prop::collection::vec(any::<u8>(), 0..64)) {
        is_answered(&message);
    }

    #[test]
    fn any_pieces_are_answered(message in pieces()) {
        is_answered(message.as_bytes());
        is_answered(format!("{{{message}}}").as_bytes());
        is_answered(format!("{{\"method\":\"SUBSCRIBE\",\"params\":[{message}]}}").as_bytes());
        is_answered(format!("{{\"method\":\"PUBLISH\",\"params\":[\"a\",{message}]}}").as_bytes());
    }

    #[test]
    fn any_stream_is_answered(stream in ".{0,16}|[a-z*>.;=0-9:]{0,16}") {
        let list = serde_json::to_string(&[&stream]).expect("a list of strings is JSON");
        is_answered(message("SUBSCRIBE", &list).as_bytes());
    }

    #[test]
    fn any_readable_id_is_returned_as_given(text in ".{0,9}", number in any::<i64>()) {
        let text = serde_json::to_string(&text).expect("a string is JSON");
        for id in [text, number.to_string(), number.cast_unsigned().to_string()] {
            let message = format!("{{\"method\":\"PING\",\"id\":{id}}}");
            let request = request(message.as_bytes()).expect("the id is readable");
            prop_assert_eq!(replied_id(&request.id), id);
        }
    }
}
