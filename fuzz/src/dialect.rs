//! What clients say in the native dialect: commands are what a reader of JSON values sees in the same bytes, errors are
//! short and repeat the id, and what is given out to one client can be published by another.

use serde_json::Value;
use tidegate::dialect::ClientError;
use tidegate::dialect::stream::{
    Command, PublisherMessage, StreamEncoder, Target, payload_kind, publication, reply, request, target,
};
use tidegate::hub::{Encoder, Encoding, Epoch, Marks, Payload, PayloadKind, Position, Publication, Subject, TopicName};
use tidegate::ws::Role;
use tidegate::ws::frame::{Opcode, decode};

/// An error tells what was wrong in a topic's length or two, never in the message's.
const ERROR_BYTES_MAX: usize = 1500;

/// Which part of the dialect, then its bytes.
pub fn check(data: &[u8]) {
    let Some((which, bytes)) = data.split_first() else { return };
    // WebSocket text is UTF-8 before it comes here.
    let text = std::str::from_utf8(bytes).ok();
    match (which % 5, text) {
        (0 | 1, Some(text)) => check_request(text),
        (2, Some(text)) => check_target(text),
        (3, Some(text)) => check_publication(PublisherMessage::Text(bytes), Some(text)),
        (3, None) => check_publication(PublisherMessage::Binary(bytes), None),
        (4, _) => check_round(bytes),
        _ => {}
    }
}

fn check_error(error: &ClientError) {
    assert!(!error.message.is_empty() && error.message.len() <= ERROR_BYTES_MAX, "{} bytes", error.message.len());
    let body: Value = serde_json::from_str(&error.body()).expect("a body is JSON");
    assert_eq!(body["error"]["msg"], *error.message);
}

/// A name that came through is one.
fn check_topic(topic: &TopicName) {
    assert_eq!(TopicName::parse(topic.as_str()).as_ref(), Ok(topic));
}

fn check_subject(subject: &Subject) {
    assert_eq!(Subject::parse(subject.as_str()).as_ref(), Ok(subject));
}

fn check_request(text: &str) {
    let read = request(text.as_bytes());
    let id = match &read {
        Ok(request) => &request.id,
        Err(failure) => {
            check_error(&failure.error);
            &failure.id
        }
    };
    let mut answer = Vec::new();
    match &read {
        Ok(_) => reply::null(&mut answer, id),
        Err(failure) => reply::error(&mut answer, id, &failure.error),
    }
    let answer: Value = serde_json::from_slice(&answer).expect("a reply is JSON");
    // Nested more deeply than the naive reader goes; ours does not recurse.
    let Ok(naive) = serde_json::from_str::<Value>(text) else {
        return assert!(read.is_err() || text.matches(['[', '{']).count() > 100, "not JSON, and taken: {text}");
    };
    assert!(answer["id"].is_null() || answer["id"] == naive["id"], "{answer} for {naive}");
    let Ok(request) = read else { return };
    let method = match &request.command {
        Command::Subscribe(streams) => {
            streams.iter().for_each(|stream| check_subject(&stream.subject));
            assert_eq!(naive["params"].as_array().map(Vec::len), Some(streams.len()));
            assert!(!streams.is_empty());
            "SUBSCRIBE"
        }
        Command::Unsubscribe(topics) => {
            topics.iter().for_each(check_subject);
            assert!(!topics.is_empty());
            "UNSUBSCRIBE"
        }
        Command::ListSubscriptions => "LIST_SUBSCRIPTIONS",
        Command::Positions(topics) => {
            topics.iter().flatten().for_each(check_topic);
            "POSITIONS"
        }
        Command::SetProperty(..) => "SET_PROPERTY",
        Command::GetProperty(_) => "GET_PROPERTY",
        Command::Publish { topic, data, .. } => {
            check_topic(topic);
            assert_eq!(payload_kind(data), PayloadKind::Json);
            let place = data.as_ptr() as usize - text.as_ptr() as usize;
            assert!(place + data.len() <= text.len(), "the payload lies in the request as it stands");
            "PUBLISH"
        }
        Command::Auth(token) => {
            assert_eq!(naive["params"][0], token.as_ref());
            "AUTH"
        }
        Command::Ping => "PING",
    };
    assert_eq!(naive["method"], method);
}

fn check_target(text: &str) {
    let (path, query) = text.split_once('?').map_or((text, None), |(path, query)| (path, Some(query)));
    match target(path, query) {
        Ok(Target::Subscriber { streams, .. }) => {
            streams.iter().for_each(|stream| check_subject(&stream.subject));
            assert!(path == "/ws" || path.starts_with("/ws/") || path == "/stream");
        }
        Ok(Target::Sse { streams }) => {
            streams.iter().for_each(|stream| check_subject(&stream.subject));
            assert_eq!(path, "/sse");
        }
        Ok(Target::Publisher { topic: Some(topic), .. }) => {
            check_topic(&topic);
            assert!(path.starts_with("/publish/"));
        }
        Ok(Target::Publisher { topic: None, .. }) => assert_eq!(path, "/publish"),
        Ok(Target::Echo) => assert_eq!(path, "/echo"),
        Ok(Target::Other) => assert!(!["/ws", "/stream", "/sse", "/publish", "/echo"].contains(&path)),
        Err(error) => {
            assert_eq!(error.status, 400);
            check_error(&error.error);
        }
    }
}

fn check_publication(message: PublisherMessage<'_>, text: Option<&str>) {
    let published = match publication(message) {
        Ok(published) => published,
        Err(error) => return check_error(&error),
    };
    check_topic(&published.topic);
    let Some(text) = text else { return assert_eq!(published.kind, PayloadKind::Binary) };
    assert_eq!((published.kind, payload_kind(published.payload)), (PayloadKind::Json, PayloadKind::Json));
    // Where nothing is nested too deeply or stands twice, a reader of values sees the same.
    if let (Ok(naive), Ok(payload)) = (serde_json::from_str::<Value>(text), serde_json::from_slice::<Value>(published.payload)) {
        assert_eq!((naive["stream"].as_str(), &naive["data"]), (Some(published.topic.as_str()), &payload));
    }
}

/// Encoded for combined connections and taken in again on `/publish`.
fn check_round(bytes: &[u8]) {
    let Some(([kind, offset], payload)) = bytes.split_first_chunk() else { return };
    let (offset, topic) = (u64::from(*offset) << (*kind >> 3), "md.BTC-USD");
    let kind = match (kind % 3, std::str::from_utf8(payload)) {
        (0, Ok(_)) => payload_kind(payload),
        (1, Ok(_)) => PayloadKind::Text,
        _ => PayloadKind::Binary,
    };
    let mut frame = Vec::new();
    let payload_whole = Payload { bytes: payload.to_vec().into(), kind };
    let whole = Publication { offset, unix_us: 0, payload: payload_whole, marks: Marks::default() };
    StreamEncoder::new(0).encode(
        Encoding::Combined,
        topic,
        Position { epoch: Epoch::from_number(36), offset: whole.offset },
        &whole,
        &mut frame,
    );
    let (header, used) = decode(Role::Client, false, &frame).expect("a frame").expect("a whole one");
    assert!(header.fin && used + header.length as usize == frame.len(), "one frame, and nothing else");
    let message = match header.opcode {
        Opcode::Binary => PublisherMessage::Binary(&frame[used..]),
        _ => PublisherMessage::Text(&frame[used..]),
    };
    let published = publication(message).expect("what is given out can be published");
    assert_eq!(published.topic.as_str(), topic);
    match kind {
        // It came as a JSON string.
        PayloadKind::Text => {
            let text: String = serde_json::from_slice(published.payload).expect("a string");
            assert_eq!(text.as_bytes(), payload);
        }
        _ => assert_eq!((published.kind, published.payload), (kind, payload), "byte for byte"),
    }
}
