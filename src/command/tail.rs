//! `tidegate tail`: subscribes and prints, and connects again when the connection is lost: where it was, as far as the gateway
//! still holds that.

mod streams;

use std::borrow::Cow;
use std::io::{self, BufWriter, Write};
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;

pub(super) use self::streams::Streams;
use super::backoff::Backoff;
use super::client::{Client, ErrorBody, Lost};
use super::endpoint::{Endpoint, push_encoded};
use super::token::TokenArgs;
use super::{CommandError, say};
use crate::ws::{Message, MessageKind, Opcode};

/// A gateway pings after 25 s; this much later it is asked for a sign of life.
const SILENCE: Duration = Duration::from_secs(40);

/// Longest list of streams in the URL; longer ones are subscribed by requests. A head may have 8 KiB.
const URL_BYTES_MAX: usize = 4096;

/// Longest list of one SUBSCRIBE, well below the 64 KiB of a request, of which few are needed however many the streams.
const SUBSCRIBE_BYTES_MAX: usize = 32 << 10;

/// What `tidegate tail` takes.
#[derive(Debug, Args)]
#[command(override_usage = "tidegate tail [OPTIONS] [URL] STREAM...", after_help = EXAMPLES)]
pub(super) struct TailArgs {
    /// Streams, `topic` or `topic;option`; before them the gateway's URL [default: ws://127.0.0.1:8080]
    #[arg(value_name = "STREAM", required = true)]
    streams: Vec<String>,
    /// First all after this position of the one stream, as far as it is still held, then live
    #[arg(long, value_name = "EPOCH:OFFSET", conflicts_with = "raw")]
    since: Option<String>,
    /// First the newest publication of each stream (with --since only where that is not held any more), then live
    #[arg(long)]
    last: bool,
    /// Payloads only, as they come over a raw connection, one stream
    #[arg(long, conflicts_with = "json")]
    raw: bool,
    /// Whole messages: {"stream":...,"o":...,"data":...}
    #[arg(long)]
    json: bool,
    /// Ends after so many publications
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    /// With wss://: authorities (PEM) that are trusted besides this machine's own
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    #[command(flatten)]
    token: TokenArgs,
}

const EXAMPLES: &str = "\
Prints one publication a line: topic and payload. Binary payloads are escaped, but with --raw.
A lost connection is made again, and goes on where it was lost; what the gateway does not hold
any more is told on standard error. With --raw, patterns and rates, what was published meanwhile
is not seen. A token's file is read again for each connection.

Examples:
  tidegate tail demo.trades.BTC-USD demo.bbo.BTC-USD
  tidegate tail --json --count 1 --last demo.bbo.BTC-USD
  tidegate tail --since mb3k9x2:840 demo.trades.BTC-USD
  tidegate tail wss://feed.example.com --raw btcusdt@trade | jq .p";

/// Prints until `--count` is reached, standard output is closed or the gateway refuses.
pub(super) fn run(args: &TailArgs) -> Result<(), CommandError> {
    let (mut endpoint, streams) = split(&args.streams)?;
    endpoint.authority.clone_from(&args.ca);
    endpoint.token = args.token.source();
    endpoint.warn_of_listeners();
    let form = match (args.raw, args.json) {
        (true, _) if streams.len() > 1 => {
            let sentence = "--raw takes one stream, since raw payloads do not say whose they are; leave --raw out";
            return Err(CommandError::Arguments(sentence.into()));
        }
        (true, _) => Form::Payload,
        (_, true) => Form::Message,
        _ => Form::TopicAndPayload,
    };
    let streams = Streams::new(&with_options(args, streams)?, form != Form::Payload);
    tail(&endpoint, form, streams, Printer::new(form, args.count, io::stdout().lock()))
}

/// The streams with what the flags add.
fn with_options(args: &TailArgs, streams: &[String]) -> Result<Vec<String>, CommandError> {
    if args.since.is_some() && streams.len() > 1 {
        let sentence = "--since is a position in one topic; write it behind each stream, as in 'a;since=EPOCH:OFFSET'";
        return Err(CommandError::Arguments(sentence.into()));
    }
    let since = args.since.as_ref().map(|position| format!(";since={position}")).unwrap_or_default();
    let last = |stream: &str| args.last && !stream.split(';').any(|option| option == "last");
    Ok(streams.iter().map(|stream| format!("{stream}{since}{}", if last(stream) { ";last" } else { "" })).collect())
}

/// Connects, prints, and connects again.
pub(super) fn tail(endpoint: &Endpoint, form: Form, mut streams: Streams, mut printer: Printer<impl Write>) -> End {
    let mut backoff = Backoff::default();
    let mut was_open = false;
    loop {
        let target = Target::of(form, &streams.texts());
        let (lost, code) = match Client::connect(endpoint, &target.path, Some(SILENCE)) {
            Err(error) if !error.is_passing() || !was_open => return Err(CommandError::Client(error.to_string())),
            Err(error) => (error.to_string(), None),
            Ok(mut client) => {
                was_open = true;
                match follow(&mut client, &target, &mut streams, &mut printer, &mut backoff) {
                    Ok(outcome) => return outcome,
                    Err(lost) if !lost.is_passing() => return Err(CommandError::Client(lost.to_string())),
                    Err(lost) => (lost.to_string(), lost.code()),
                }
            }
        };
        let wait = backoff.next(code);
        let missed = if streams.misses() { "; what is published meanwhile is not seen" } else { "" };
        say(&format!("{lost}; connecting again in {:.1} s{missed}", wait.as_secs_f64()));
        std::thread::sleep(wait);
    }
}

/// The URL, if the first argument is one, and the streams.
fn split(arguments: &[String]) -> Result<(Endpoint, &[String]), CommandError> {
    let (url, streams) = match arguments {
        [url, streams @ ..] if url.contains("://") => (url.as_str(), streams),
        streams => (Endpoint::DEFAULT, streams),
    };
    if streams.is_empty() {
        let sentence = format!("there is no stream to subscribe to; write for example `tidegate tail {url} demo.trades.BTC-USD`");
        return Err(CommandError::Arguments(sentence));
    }
    let endpoint =
        Endpoint::parse(url).map_err(|reason| CommandError::Arguments(format!("{url} is not a gateway's URL: {reason}")))?;
    Ok((endpoint, streams))
}

/// What a line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// From a combined connection.
    TopicAndPayload,
    /// The same as it came.
    Message,
    /// From a raw connection.
    Payload,
}

/// What is asked for: a path, and what is too long for one.
#[derive(Debug, PartialEq)]
pub(super) struct Target {
    path: String,
    subscribes: Vec<String>,
}

impl Target {
    pub(super) fn of(form: Form, streams: &[String]) -> Target {
        if form == Form::Payload {
            let mut path = "/ws/".to_owned();
            push_encoded(&mut path, &streams[0]);
            return Target { path, subscribes: Vec::new() };
        }
        let mut path = "/stream?streams=".to_owned();
        for (i, stream) in streams.iter().enumerate() {
            path.push_str(if i > 0 { "/" } else { "" });
            push_encoded(&mut path, stream);
        }
        if path.len() <= URL_BYTES_MAX {
            return Target { path, subscribes: Vec::new() };
        }
        Target { path: "/stream".into(), subscribes: subscribes(streams) }
    }
}

/// SUBSCRIBE requests for all streams, as few as their length allows.
fn subscribes(streams: &[String]) -> Vec<String> {
    let mut requests: Vec<Vec<&str>> = Vec::new();
    let mut bytes = usize::MAX;
    for stream in streams {
        // Each character can be escaped to six bytes; names as people give them are not, so this is far on the safe side.
        let added = stream.len() * 6 + 3;
        if bytes.saturating_add(added) > SUBSCRIBE_BYTES_MAX {
            requests.push(Vec::new());
            bytes = 0;
        }
        bytes += added;
        requests.last_mut().expect("the first stream begins a request").push(stream);
    }
    let request = |(id, streams)| json!({"method": "SUBSCRIBE", "params": streams, "id": id}).to_string();
    requests.into_iter().enumerate().map(request).collect()
}

/// Prints what comes over one connection; `Ok` is the end of the command.
fn follow(
    client: &mut Client,
    target: &Target,
    streams: &mut Streams,
    printer: &mut Printer<impl Write>,
    backoff: &mut Backoff,
) -> Result<End, Lost> {
    for request in &target.subscribes {
        client.sender().send(Opcode::Text, request.as_bytes())?;
    }
    loop {
        let turn = client.receive(|message| {
            *backoff = Backoff::default();
            printer.message(&message, streams)
        })?;
        let end = match turn {
            ControlFlow::Break(end) => Some(end),
            ControlFlow::Continue(()) => None,
        };
        // What came together is written together, and nothing waits for what has not come.
        let written = printer.output.flush();
        let end = end.or_else(|| written.err().map(|error| output_failed(&error)));
        if let Some(end) = end {
            // The gateway sees the connection end in any case; this only tells it that we meant to.
            let _ = client.sender().close();
            return Ok(end);
        }
    }
}

type End = Result<(), CommandError>;

/// A closed standard output is a reader that has seen enough.
fn output_failed(error: &io::Error) -> End {
    if error.kind() == io::ErrorKind::BrokenPipe { Ok(()) } else { Err(CommandError::Output(error.kind().into())) }
}

/// Writes publications, one a line, until there were enough.
pub(super) struct Printer<W: Write> {
    form: Form,
    left: Option<u64>,
    output: BufWriter<W>,
}

impl<W: Write> Printer<W> {
    pub(super) fn new(form: Form, count: Option<u64>, output: W) -> Printer<W> {
        Printer { form, left: count, output: BufWriter::new(output) }
    }

    fn message(&mut self, message: &Message<'_>, streams: &mut Streams) -> ControlFlow<End> {
        let (line, place) = match line(self.form, message) {
            Line::Publication { line, place } => (line, place),
            Line::Reply => {
                streams.replied(&message.bytes).iter().for_each(|note| say(note));
                return ControlFlow::Continue(());
            }
            Line::Note(note) => {
                streams.event(&message.bytes);
                say(&note);
                return ControlFlow::Continue(());
            }
            Line::Nothing => return ControlFlow::Continue(()),
            Line::Refused(sentence) => return ControlFlow::Break(Err(CommandError::Client(sentence))),
        };
        if let Err(error) = self.output.write_all(&line).and_then(|()| self.output.write_all(b"\n")) {
            return ControlFlow::Break(output_failed(&error));
        }
        if let Some((topic, offset)) = place {
            streams.came(&topic, offset);
        }
        self.left = self.left.map(|left| left - 1);
        if self.left == Some(0) { ControlFlow::Break(Ok(())) } else { ControlFlow::Continue(()) }
    }
}

/// What a message is to be printed as.
#[derive(Debug, PartialEq)]
enum Line<'m> {
    Publication {
        line: Cow<'m, [u8]>,
        /// Topic and offset, but on a raw connection.
        place: Option<(Cow<'m, str>, u64)>,
    },
    /// The reply to a subscription.
    Reply,
    /// An event of the gateway, for standard error.
    Note(String),
    /// The gateway refuses what was asked for.
    Refused(String),
    Nothing,
}

#[derive(Deserialize)]
struct TextPublication<'m> {
    #[serde(borrow)]
    stream: Cow<'m, str>,
    o: u64,
    #[serde(borrow)]
    data: &'m RawValue,
}

#[derive(Deserialize)]
struct Failure {
    error: ErrorBody,
}

/// docs/protocol.md, Combined: the first key says what a text message is; binary messages are publications. On a raw
/// connection every message is a payload, since no request is made there.
fn line<'m>(form: Form, message: &'m Message<'_>) -> Line<'m> {
    let bytes: &[u8] = &message.bytes;
    if form == Form::Payload {
        return Line::Publication { line: bytes.into(), place: None };
    }
    if message.kind == MessageKind::Binary {
        return binary(form, bytes);
    }
    if bytes.starts_with(b"{\"stream\":") {
        return match serde_json::from_slice::<TextPublication<'_>>(bytes) {
            Ok(TextPublication { stream, o, .. }) if form == Form::Message => {
                Line::Publication { line: bytes.into(), place: Some((stream, o)) }
            }
            Ok(TextPublication { stream, o, data }) => {
                // Line ends can stand between JSON's tokens only, where a space is as good.
                let payload = data.get().replace(['\n', '\r'], " ");
                Line::Publication { line: format!("{stream} {payload}").into_bytes().into(), place: Some((stream, o)) }
            }
            Err(error) => Line::Note(format!("a publication cannot be read ({error})")),
        };
    }
    if bytes.starts_with(b"{\"error\":") {
        return match serde_json::from_slice(bytes) {
            Ok(Failure { error }) => Line::Refused(format!("the gateway refuses (error {}): {}", error.code, error.msg)),
            Err(error) => Line::Refused(format!("the gateway refuses, in words that cannot be read ({error})")),
        };
    }
    if bytes.starts_with(b"{\"e\":") {
        return Line::Note(format!("the gateway says {}", String::from_utf8_lossy(bytes)));
    }
    if bytes.starts_with(b"{\"result\":") { Line::Reply } else { Line::Nothing }
}

/// docs/protocol.md, Combined: `u8` 1, `u8` flags (1: time follows), `u16` length of the topic, topic, `u64` offset, `u64`
/// time if flagged, payload; big endian.
fn binary(form: Form, bytes: &[u8]) -> Line<'static> {
    let read = || {
        let ([1, flags], rest) = bytes.split_first_chunk::<2>()? else { return None };
        let (length, rest) = rest.split_first_chunk::<2>()?;
        let (topic, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
        let (offset, rest) = rest.split_first_chunk::<8>()?;
        let payload = if flags & 1 == 1 { rest.split_first_chunk::<8>()?.1 } else { rest };
        Some((std::str::from_utf8(topic).ok()?, u64::from_be_bytes(*offset), payload))
    };
    let Some((topic, offset, payload)) = read() else {
        return Line::Note("a binary publication cannot be read: its layout is not known here".into());
    };
    let escaped = payload.escape_ascii().to_string();
    let line = match form {
        Form::Message => json!({"stream": topic, "o": offset, "binary": escaped}).to_string(),
        _ => format!("{topic} {escaped}"),
    };
    Line::Publication { line: line.into_bytes().into(), place: Some((topic.to_owned().into(), offset)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(form: Form, kind: MessageKind, bytes: &[u8], expected: &Line<'_>) {
        let message = Message { kind, bytes: bytes.into() };
        assert_eq!(line(form, &message), *expected, "{}", bytes.escape_ascii());
    }

    fn publication<'l>(line: &'l str, topic: &'l str, offset: u64) -> Line<'l> {
        Line::Publication { line: line.as_bytes().into(), place: Some((topic.into(), offset)) }
    }

    fn payload(bytes: &[u8]) -> Line<'_> {
        Line::Publication { line: bytes.into(), place: None }
    }

    #[test]
    fn text_messages_become_lines() {
        let check = |form, text: &str, expected| check(form, MessageKind::Text, text.as_bytes(), &expected);
        let text = r#"{"stream":"a.b","o":7,"data":{"e":"trade" , "p":"1"}}"#;
        check(Form::TopicAndPayload, text, publication(r#"a.b {"e":"trade" , "p":"1"}"#, "a.b", 7));
        check(Form::Message, text, publication(text, "a.b", 7));
        check(Form::Payload, text, payload(text.as_bytes()));
        check(Form::TopicAndPayload, r#"{"stream":"a","o":1,"t":5,"data":"x\ny"}"#, publication(r#"a "x\ny""#, "a", 1));
        check(Form::TopicAndPayload, "{\"stream\":\"a\",\"o\":1,\"data\":[1,\r\n2]}", publication("a [1,  2]", "a", 1));
        check(Form::TopicAndPayload, r#"{"result":null,"id":null}"#, Line::Reply);
        let refused = Line::Refused("the gateway refuses (error 3): `a b` is no topic".into());
        check(Form::Message, r#"{"error":{"code":3,"msg":"`a b` is no topic"},"id":1}"#, refused);
        let event = r#"{"e":"serverShutdown","E":1,"in":0}"#;
        check(Form::TopicAndPayload, event, Line::Note(format!("the gateway says {event}")));
        check(Form::Payload, event, payload(event.as_bytes()));
    }

    #[test]
    fn binary_messages_become_lines() {
        let check = |form, bytes: &[u8], expected| check(form, MessageKind::Binary, bytes, &expected);
        let plain = b"\x01\x00\x00\x03a.b\0\0\0\0\0\0\x01\x00\xff\nx";
        check(Form::TopicAndPayload, plain, publication(r"a.b \xff\nx", "a.b", 256));
        check(Form::Message, plain, publication(r#"{"binary":"\\xff\\nx","o":256,"stream":"a.b"}"#, "a.b", 256));
        check(Form::Payload, plain, payload(plain));
        check(Form::TopicAndPayload, b"\x01\x01\x00\x01a\0\0\0\0\0\0\0\x0112345678z", publication("a z", "a", 1));
        let strange = || Line::Note("a binary publication cannot be read: its layout is not known here".into());
        for cut in 0..15 {
            check(Form::TopicAndPayload, &plain[..cut], strange());
        }
        check(Form::TopicAndPayload, b"\x02\x00\x00\x01a\0\0\0\0\0\0\0\0", strange());
    }

    #[test]
    fn the_first_argument_can_be_the_url() {
        let split = |arguments: &[&str]| {
            let arguments: Vec<String> = arguments.iter().map(ToString::to_string).collect();
            split(&arguments)
                .map(|(endpoint, streams)| (endpoint.to_string(), streams.to_vec()))
                .map_err(|error| error.to_string())
        };
        assert_eq!(split(&["a", "b"]), Ok((Endpoint::DEFAULT.into(), vec!["a".into(), "b".into()])));
        assert_eq!(split(&["ws://h:1", "a"]), Ok(("ws://h:1".into(), vec!["a".into()])));
        assert!(split(&["ws://h:1"]).expect_err("no stream").contains("no stream to subscribe to"));
        assert_eq!(split(&["wss://h", "a"]), Ok(("wss://h".into(), vec!["a".into()])));
        assert!(split(&["http://h", "a"]).expect_err("no WebSocket").contains("http://h is not a gateway's URL: a URL begins"));
    }

    #[test]
    fn flags_stand_behind_the_streams() {
        let with = |since: Option<&str>, last, streams: &[&str]| {
            let streams: Vec<String> = streams.iter().map(ToString::to_string).collect();
            let since = since.map(ToOwned::to_owned);
            let args = TailArgs {
                streams: Vec::new(),
                since,
                last,
                raw: false,
                json: false,
                count: None,
                ca: None,
                token: TokenArgs::default(),
            };
            with_options(&args, &streams).map_err(|error| error.to_string())
        };
        assert_eq!(with(Some("e:1"), true, &["a"]), Ok(vec!["a;since=e:1;last".into()]));
        assert_eq!(with(None, true, &["a;last", "b;ts=1"]), Ok(vec!["a;last".into(), "b;ts=1;last".into()]));
        assert!(with(Some("e:1"), false, &["a", "b"]).expect_err("two topics").contains("--since is a position in one topic"));
    }

    #[test]
    fn few_streams_go_into_the_url_and_many_into_requests() {
        let of = |form, streams: &[String]| Target::of(form, streams);
        let few = ["a@b".to_owned(), "c;last".to_owned()];
        assert_eq!(of(Form::Message, &few), Target { path: "/stream?streams=a@b/c;last".into(), subscribes: vec![] });
        assert_eq!(of(Form::Payload, &few[..1]), Target { path: "/ws/a@b".into(), subscribes: vec![] });
        let many: Vec<String> = (0..1024).map(|i| format!("{i}.{}", "x".repeat(200))).collect();
        let target = of(Form::TopicAndPayload, &many);
        assert_eq!(target.path, "/stream");
        assert!(target.subscribes.iter().all(|request| request.len() <= SUBSCRIBE_BYTES_MAX + 100));
        let mut subscribed = Vec::new();
        for (id, request) in target.subscribes.iter().enumerate() {
            let request: serde_json::Value = serde_json::from_str(request).expect("JSON");
            assert_eq!((&request["method"], &request["id"]), (&json!("SUBSCRIBE"), &json!(id)));
            subscribed.extend(request["params"].as_array().expect("a list").iter().map(|s| s.as_str().expect("text").to_owned()));
        }
        assert_eq!(subscribed, many);
    }
}
