//! Events from the gateway: JSON text without a frame, `"e"` first.
//!
//! Without: who hears them.

use crate::dialect::json;
use crate::hub::{Epoch, Position, SourceGap, TopicName};

/// This connection will be closed within `in_ms`.
pub fn server_shutdown(out: &mut Vec<u8>, unix_ms: u64, in_ms: u64) {
    out.extend_from_slice(b"{\"e\":\"serverShutdown\",\"E\":");
    json::push_number(out, unix_ms);
    out.extend_from_slice(b",\"in\":");
    json::push_number(out, in_ms);
    out.push(b'}');
}

/// The feed itself lost messages here: so many, where anybody knows.
pub fn source_gap(out: &mut Vec<u8>, topic: &str, gap: SourceGap) {
    begin(out, "sourceGap", topic);
    push_key(out, "n");
    match gap.messages {
        Some(messages) => json::push_number(out, messages),
        None => out.extend_from_slice(b"null"),
    }
    out.push(b'}');
}

/// The count starts anew: what follows is of this epoch.
pub fn epoch(out: &mut Vec<u8>, topic: &str, epoch: Epoch) {
    begin(out, "epoch", topic);
    for piece in [",\"epoch\":\"", epoch.as_str(), "\"}"] {
        out.extend_from_slice(piece.as_bytes());
    }
}

/// The subscription has ended: what is granted now does not cover it.
pub fn unsubscribed(out: &mut Vec<u8>, subject: &str) {
    begin(out, "unsubscribed", subject);
    out.push(b'}');
}

/// The publications of these offsets are not sent.
pub fn gap(out: &mut Vec<u8>, topic: &TopicName, from: u64, to: u64) {
    of_topic(out, "gap", topic, &[("from", from), ("to", to)]);
}

/// Of the publications up to `offset`, so many more are not sent.
pub fn culled(out: &mut Vec<u8>, topic: &TopicName, offset: u64, count: u64) {
    of_topic(out, "culled", topic, &[("o", offset), ("n", count)]);
}

/// The feed behind the topic is gone since this moment.
pub fn stale(out: &mut Vec<u8>, topic: &TopicName, since_ms: u64) {
    of_topic(out, "stale", topic, &[("since", since_ms)]);
}

/// The feed behind the topic is back.
pub fn fresh(out: &mut Vec<u8>, topic: &TopicName, unix_ms: u64) {
    of_topic(out, "fresh", topic, &[("E", unix_ms)]);
}

/// The topic is there, and this is its newest publication.
pub fn heartbeat(out: &mut Vec<u8>, topic: &TopicName, unix_ms: u64, position: Position) {
    out.extend_from_slice(b"{\"e\":\"heartbeat\",\"E\":");
    json::push_number(out, unix_ms);
    let pieces: [&[u8]; 5] =
        [b",\"s\":\"", topic.as_str().as_bytes(), b"\",\"epoch\":\"", position.epoch.as_str().as_bytes(), b"\",\"o\":"];
    for piece in pieces {
        out.extend_from_slice(piece);
    }
    json::push_number(out, position.offset);
    out.push(b'}');
}

/// An event that tells numbers of a topic.
fn of_topic(out: &mut Vec<u8>, event: &str, topic: &TopicName, numbers: &[(&str, u64)]) {
    begin(out, event, topic.as_str());
    for (name, number) in numbers {
        push_key(out, name);
        json::push_number(out, *number);
    }
    out.push(b'}');
}

/// No character that a topic may hold is escaped in JSON.
fn begin(out: &mut Vec<u8>, event: &str, topic: &str) {
    for piece in ["{\"e\":\"", event, "\",\"s\":\"", topic, "\""] {
        out.extend_from_slice(piece.as_bytes());
    }
}

fn push_key(out: &mut Vec<u8>, name: &str) {
    for piece in [",\"", name, "\":"] {
        out.extend_from_slice(piece.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_names_itself_first() {
        let topic = TopicName::parse("md.a@b").expect("the test's topic is one");
        let check = |push: &dyn Fn(&mut Vec<u8>), expected| {
            let mut out = Vec::new();
            push(&mut out);
            assert_eq!(std::str::from_utf8(&out), Ok(expected));
        };
        check(&|out| server_shutdown(out, 5, 6), r#"{"e":"serverShutdown","E":5,"in":6}"#);
        check(&|out| source_gap(out, "md.a@b", SourceGap { messages: Some(3) }), r#"{"e":"sourceGap","s":"md.a@b","n":3}"#);
        check(&|out| source_gap(out, "md.a@b", SourceGap { messages: None }), r#"{"e":"sourceGap","s":"md.a@b","n":null}"#);
        check(&|out| epoch(out, "md.a@b", Epoch::from_number(37)), r#"{"e":"epoch","s":"md.a@b","epoch":"11"}"#);
        check(&|out| gap(out, &topic, 7, 8), r#"{"e":"gap","s":"md.a@b","from":7,"to":8}"#);
        check(&|out| stale(out, &topic, 11), r#"{"e":"stale","s":"md.a@b","since":11}"#);
        check(&|out| fresh(out, &topic, 12), r#"{"e":"fresh","s":"md.a@b","E":12}"#);
        let position = Position { epoch: Epoch::from_number(13), offset: 14 };
        check(&|out| heartbeat(out, &topic, 15, position), r#"{"e":"heartbeat","E":15,"s":"md.a@b","epoch":"d","o":14}"#);
        check(&|out| culled(out, &topic, 9, 10), r#"{"e":"culled","s":"md.a@b","o":9,"n":10}"#);
    }
}
