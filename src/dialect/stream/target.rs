//! What a URL asks for: the dialect's paths, with streams in them.
//!
//! Without: the rest of the HTTP request, rights, and limits.

use super::options::{Stream, publishable};
use super::request::bad_request;
use crate::dialect::{ClientError, percent, quoted};
use crate::hub::TopicName;

/// What a connection begins as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// Hears topics, and asks by request.
    Subscriber {
        /// Publications come in an envelope.
        combined: bool,
        /// Subscribed from the start.
        streams: Vec<Stream>,
    },
    /// Hears topics over HTTP, as server-sent events.
    Sse {
        /// Subscribed from the start.
        streams: Vec<Stream>,
    },
    /// Each message is a publication.
    Publisher {
        /// On this topic; none: each message names its topic.
        topic: Option<TopicName>,
        /// It is told how many were taken.
        ack: bool,
    },
    /// Each message comes back.
    Echo,
    /// Not a path of this dialect.
    Other,
}

/// A URL of this dialect that asks for what it cannot have: answered before the upgrade.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TargetError {
    /// The HTTP status.
    pub status: u16,
    /// What is wrong.
    pub error: ClientError,
}

impl TargetError {
    /// The body of the answer: `{"error":{"code":C,"msg":"..."}}`.
    #[must_use]
    pub fn body(&self) -> String {
        self.error.body()
    }
}

impl From<ClientError> for TargetError {
    /// All that can be wrong with a URL as it is written is 400; what a client is not allowed is decided above.
    fn from(error: ClientError) -> TargetError {
        TargetError { status: 400, error }
    }
}

/// Reads the path and the query (what stands behind `?`) of a request's target.
///
/// A list of streams is split at `/` first, then each stream is percent-decoded once. Query members that the path does not
/// know are ignored; one that it knows and that stands there twice is refused.
///
/// # Errors
/// See [`TargetError`].
pub fn target(target_path: &str, query: Option<&str>) -> Result<Target, TargetError> {
    let query = query.unwrap_or_default();
    match target_path {
        "/ws" => Ok(Target::Subscriber { combined: false, streams: Vec::new() }),
        "/stream" => Ok(Target::Subscriber { combined: true, streams: streams(query)? }),
        "/sse" => Ok(Target::Sse { streams: streams(query)? }),
        "/publish" => Ok(Target::Publisher { topic: None, ack: ack(query)? }),
        "/echo" => Ok(Target::Echo),
        _ => match (target_path.strip_prefix("/ws/"), target_path.strip_prefix("/publish/")) {
            (Some(stream), _) => Ok(Target::Subscriber { combined: false, streams: vec![one_stream(stream)?] }),
            (None, Some(topic)) => Ok(Target::Publisher { topic: Some(publishable(&decoded(topic)?)?), ack: ack(query)? }),
            (None, None) => Ok(Target::Other),
        },
    }
}

fn streams(query: &str) -> Result<Vec<Stream>, ClientError> {
    let Some(list) = member(query, "streams")? else { return Ok(Vec::new()) };
    list.split('/').map(|stream| Stream::parse(&decoded(stream)?)).collect()
}

fn one_stream(part: &str) -> Result<Stream, ClientError> {
    if part.contains('/') {
        let message = format!("/ws/ takes one stream, not {}; for several use /stream?streams=", quoted(part));
        return Err(bad_request(message));
    }
    let stream = Stream::parse(&decoded(part)?)?;
    if stream.options.since.is_some() {
        // A raw connection gets no reply by URL, so it could not tell a gap from none.
        let message =
            format!("{}: `since` is answered, and /ws/ answers nothing: use /stream?streams=, or SUBSCRIBE", quoted(part));
        return Err(bad_request(message));
    }
    Ok(stream)
}

fn ack(query: &str) -> Result<bool, ClientError> {
    match member(query, "ack")? {
        None => Ok(false),
        Some("1") => Ok(true),
        Some(value) => Err(bad_request(format!("`ack` takes 1, not {}", quoted(value)))),
    }
}

/// The value of a query's member as it stands; empty where it has none.
fn member<'q>(query: &'q str, name: &str) -> Result<Option<&'q str>, ClientError> {
    let mut values = query.split('&').filter_map(|member| {
        let (key, value) = member.split_once('=').unwrap_or((member, ""));
        (key == name).then_some(value)
    });
    let value = values.next();
    match values.next() {
        None => Ok(value),
        Some(_) => Err(bad_request(format!("`{name}` stands in the query twice"))),
    }
}

fn decoded(part: &str) -> Result<std::borrow::Cow<'_, str>, ClientError> {
    percent::decode(part).map_err(|error| bad_request(format!("{}: {error}", quoted(part))))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::dialect::ErrorCode::{self, BadRequest, BadTopic};
    use crate::dialect::stream::StreamOptions;
    use crate::hub::Subject;

    /// Splits a request's target at `?`, as HTTP does.
    fn read(url: &str) -> Result<Target, TargetError> {
        match url.split_once('?') {
            Some((path, query)) => target(path, Some(query)),
            None => target(url, None),
        }
    }

    fn subscriber(combined: bool, streams: &[(&str, bool)]) -> Target {
        let stream = |&(name, last): &(&str, bool)| Stream {
            subject: Subject::parse(name).expect("the test's topic or pattern is one"),
            options: StreamOptions { last, given: last, ..StreamOptions::default() },
        };
        Target::Subscriber { combined, streams: streams.iter().map(stream).collect() }
    }

    fn publisher(topic: Option<&str>, ack: bool) -> Target {
        Target::Publisher { topic: topic.map(|topic| TopicName::parse(topic).expect("the test's topic is one")), ack }
    }

    #[track_caller]
    fn check(url: &str, expected: Target) {
        assert_eq!(read(url), Ok(expected), "{url}");
    }

    #[track_caller]
    fn check_refused(url: &str, code: ErrorCode, words: &str) {
        let refused = read(url).expect_err(url);
        assert_eq!((refused.status, refused.error.code), (400, code), "{url}: {}", refused.error.message);
        assert!(refused.error.message.contains(words), "{url}: {}", refused.error.message);
        let body: serde_json::Value = serde_json::from_str(&refused.body()).expect("the body is JSON");
        assert_eq!(body, serde_json::json!({"error": {"code": code as u8, "msg": refused.error.message}}));
    }

    #[test]
    fn ws_is_raw_and_stream_is_combined() {
        check("/ws", subscriber(false, &[]));
        check("/stream", subscriber(true, &[]));
        check("/ws/a.b", subscriber(false, &[("a.b", false)]));
        check("/ws/a;last", subscriber(false, &[("a", true)]));
        check("/stream?streams=a", subscriber(true, &[("a", false)]));
        check(
            "/stream?streams=btcusdt@trade/btcusdt@bookTicker;last/c",
            subscriber(true, &[("btcusdt@trade", false), ("btcusdt@bookTicker", true), ("c", false)]),
        );
    }

    #[test]
    fn sse_is_a_list_of_streams() {
        let Target::Subscriber { streams, .. } = subscriber(true, &[("a", false), ("b", true)]) else {
            unreachable!("it is one")
        };
        check("/sse?streams=a/b;last", Target::Sse { streams });
        check("/sse", Target::Sse { streams: Vec::new() });
        check_refused("/sse?streams=a//b", BadTopic, "cannot be empty");
    }

    #[test]
    fn some_characters_may_stand_as_they_are_and_plus_is_a_plus() {
        check("/stream?streams=a@:=,+b;last/x", subscriber(true, &[("a@:=,+b", true), ("x", false)]));
        check("/ws/a@:=,+b;last", subscriber(false, &[("a@:=,+b", true)]));
    }

    #[test]
    fn the_list_is_split_first_then_each_stream_is_percent_decoded_once() {
        check("/stream?streams=%61%40b%3Blast/%C3%A9", subscriber(true, &[("a@b", true), ("é", false)]));
        check("/ws/%61%3b%6C%61st", subscriber(false, &[("a", true)]));
        check_refused("/stream?streams=a%2Fb", BadTopic, "topic `a/b`: ");
        check_refused("/stream?streams=a%2540b", BadTopic, "topic `a%40b`: ");
        check_refused("/stream?streams=a%20b", BadTopic, "topic `a b`: ");
        check_refused("/ws/a%00", BadTopic, "topic `a\0`: ");
    }

    #[test]
    fn an_invalid_percent_sign_or_what_is_not_utf8_is_400() {
        for path in ["/ws/", "/stream?streams=", "/stream?streams=b/", "/publish/"] {
            check_refused(&format!("{path}a%"), BadRequest, "`a%`: the % at byte 1");
            check_refused(&format!("{path}a%4"), BadRequest, "`a%4`: the % at byte 1");
            check_refused(&format!("{path}%zz"), BadRequest, "`%zz`: the % at byte 0");
            check_refused(&format!("{path}%ff"), BadRequest, "`%ff`: what is percent-encoded is not UTF-8");
        }
    }

    #[test]
    fn an_empty_stream_is_400() {
        for url in [
            "/ws/",
            "/ws/;last",
            "/stream?streams",
            "/stream?streams=",
            "/stream?streams=a//b",
            "/stream?streams=a/",
            "/publish/",
        ] {
            check_refused(url, BadTopic, "topic ``: ");
        }
    }

    #[test]
    fn a_bad_name_or_option_is_400() {
        check_refused("/ws/$a", BadTopic, "topic `$a`");
        check_refused("/stream?streams=a/b..c", BadTopic, "topic `b..c`");
        check_refused("/stream?streams=a;no", BadRequest, "stream `a;no`: option `no`: ");
        check_refused("/stream?streams=a;since=x", BadRequest, "option `since=x`");
    }

    #[test]
    fn patterns_subscribe_and_never_publish() {
        check("/ws/*", subscriber(false, &[("*", false)]));
        check("/ws/a.>;last", subscriber(false, &[("a.>", true)]));
        check("/stream?streams=a/b.*/%3E;last", subscriber(true, &[("a", false), ("b.*", false), (">", true)]));
        for url in ["/publish/*", "/publish/a.%3E"] {
            check_refused(url, BadTopic, "a pattern subscribes, it never publishes");
        }
    }

    #[test]
    fn since_is_refused_on_a_raw_url() {
        check_refused("/ws/a;since=e:1", BadRequest, "`since`");
        check_refused("/ws/a;since=e:1;last", BadRequest, "`since`");
        check_refused("/ws/a;since=1", BadRequest, "`since=1`");
    }

    #[test]
    fn ws_takes_exactly_one_stream() {
        for url in ["/ws/a/b", "/ws/a/", "/ws//a", "/ws//"] {
            check_refused(url, BadRequest, "/ws/ takes one stream");
        }
    }

    #[test]
    fn other_query_members_are_ignored() {
        check("/ws?streams=a", subscriber(false, &[]));
        check("/ws/a?streams=%&x", subscriber(false, &[("a", false)]));
        check("/stream?", subscriber(true, &[]));
        check("/stream?token=%zz&&x&streams=a&y==", subscriber(true, &[("a", false)]));
        check("/stream?Streams=b&xstreams=c", subscriber(true, &[]));
        check("/publish?token=x", publisher(None, false));
        check("/publish/a?streams=b", publisher(Some("a"), false));
        check_refused("/stream?streams=a&streams=b", BadRequest, "`streams` stands in the query twice");
    }

    #[test]
    fn publish_takes_one_topic_or_none() {
        check("/publish", publisher(None, false));
        check("/publish/a.b", publisher(Some("a.b"), false));
        check("/publish/%61%40b+", publisher(Some("a@b+"), false));
        for (url, topic) in [("/publish/a/b", "a/b"), ("/publish/a%2Fb", "a/b"), ("/publish/a;last", "a;last")] {
            check_refused(url, BadTopic, &format!("topic `{topic}`: "));
        }
    }

    #[test]
    fn publishers_may_ask_to_be_told_what_was_taken() {
        check("/publish/a?token=x&ack=1", publisher(Some("a"), true));
        check("/publish?ack=1", publisher(None, true));
        for path in ["/publish", "/publish/a"] {
            check_refused(&format!("{path}?ack=yes"), BadRequest, "`ack` takes 1, not `yes`");
            check_refused(&format!("{path}?ack"), BadRequest, "`ack` takes 1, not ``");
            check_refused(&format!("{path}?ack=1&ack=1"), BadRequest, "twice");
        }
        check("/ws?ack=1", subscriber(false, &[]));
    }

    #[test]
    fn other_paths_are_not_of_the_dialect() {
        check("/echo", Target::Echo);
        for url in ["", "/", "/wsx", "/WS", "/stream/", "/stream/a", "/streams=a", "/publisher", "/echo/", "/topics", "//ws", "*"]
        {
            check(url, Target::Other);
        }
    }

    proptest! {
        #[test]
        fn any_url_is_read_or_refused(url in "(/ws/|/stream\\?streams=|/publish/|/)([a-c;/%&=?*é.]|last|%[0-9a-f]{2}|.){0,12}") {
            if let Err(refused) = read(&url) {
                prop_assert!(refused.status == 400 && refused.error.message.len() < 1024);
                prop_assert!(serde_json::from_str::<serde_json::Value>(&refused.body()).is_ok());
            }
        }
    }
}
