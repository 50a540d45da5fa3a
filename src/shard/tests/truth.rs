//! What was published: each topic's publications in its home's order, as every shard's hub has them.

use std::collections::{BTreeMap, HashMap};

use super::super::Shard;
use super::wire::{BINARY, Frame, TEXT};
use crate::hub::{Payload, PayloadKind};
use crate::reactor::Reactor;

/// All topics.
#[derive(Default)]
pub(super) struct Truth {
    topics: BTreeMap<String, Topic>,
    by_payload: HashMap<Vec<u8>, (String, u64)>,
}

#[derive(Default)]
struct Topic {
    epoch: String,
    newest: u64,
    held: BTreeMap<u64, Payload>,
    /// By shard: how far it was seen.
    seen: HashMap<usize, u64>,
}

impl Truth {
    /// Looks at what a shard's turn brought. Positions and payloads are the same on all shards.
    pub(super) fn observe<R: Reactor>(&mut self, place: usize, shard: &Shard<R>) {
        let hub = &shard.core.topics.hub;
        for id in hub.topics() {
            let name = hub.name(id).as_str();
            let position = hub.position(id);
            if position.offset == 0 {
                continue;
            }
            let topic = self.topics.entry(name.to_owned()).or_default();
            if topic.epoch.is_empty() {
                topic.epoch = position.epoch.as_str().to_owned();
            }
            assert_eq!(topic.epoch, position.epoch.as_str(), "{name} has one epoch on all shards");
            let seen = topic.seen.insert(place, position.offset).unwrap_or(0);
            assert!(seen <= position.offset, "{name} went back from {seen} to {} on shard {place}", position.offset);
            topic.newest = topic.newest.max(position.offset);
            for offset in seen + 1..=position.offset {
                let Some(publication) = hub.publication(id, offset) else { continue };
                let payload = publication.payload;
                match topic.held.get(&offset) {
                    Some(known) => assert_eq!(known, &payload, "{name} {offset} is the same on all shards"),
                    None => {
                        let bytes = payload.bytes.to_vec();
                        let before = self.by_payload.insert(bytes, (name.to_owned(), offset));
                        assert_eq!(before, None, "{name} {offset} was published once");
                        topic.held.insert(offset, payload);
                    }
                }
            }
        }
    }

    pub(super) fn newest(&self, topic: &str) -> u64 {
        self.topics.get(topic).map_or(0, |topic| topic.newest)
    }

    pub(super) fn epoch(&self, topic: &str) -> &str {
        self.topics.get(topic).map_or("", |topic| &topic.epoch)
    }

    /// Where a payload was published.
    pub(super) fn place_of(&self, payload: &[u8]) -> Option<&(String, u64)> {
        self.by_payload.get(payload)
    }

    /// Whether every publication was seen, also those that a small ring gave up soon.
    pub(super) fn is_complete(&self) -> bool {
        self.topics.values().all(|topic| topic.held.len() as u64 == topic.newest)
    }

    /// How many publications were seen.
    pub(super) fn count(&self) -> usize {
        self.by_payload.len()
    }

    /// The publication that a frame brings. It is compared byte for byte with what was published.
    pub(super) fn identify(&self, frame: &Frame, combined: bool) -> (String, u64) {
        let text = String::from_utf8_lossy(&frame.payload);
        let (topic, offset) = match (combined, frame.first) {
            (false, _) => self.place_of(&frame.payload).unwrap_or_else(|| panic!("nobody published {text}")).clone(),
            (true, TEXT) => {
                let value: serde_json::Value = serde_json::from_slice(&frame.payload).expect("combined text is JSON");
                let topic = value["stream"].as_str().unwrap_or_else(|| panic!("not a publication: {text}"));
                (topic.to_owned(), value["o"].as_u64().expect("it has an offset"))
            }
            (true, _) => {
                let len = usize::from(u16::from_be_bytes([frame.payload[2], frame.payload[3]]));
                let (topic, rest) = frame.payload[4..].split_at(len);
                let offset = u64::from_be_bytes(rest[..8].try_into().expect("eight bytes"));
                (String::from_utf8(topic.to_vec()).expect("a topic is UTF-8"), offset)
            }
        };
        let known = self.topics.get(&topic).and_then(|known| known.held.get(&offset));
        let payload = known.unwrap_or_else(|| panic!("{topic} {offset} was never published: {text}"));
        let (first, bytes) = if combined { combined_of(&topic, offset, payload) } else { raw_of(payload) };
        assert_eq!((frame.first, &frame.payload), (first, &bytes), "{topic} {offset} is what was published");
        (topic, offset)
    }
}

fn raw_of(payload: &Payload) -> (u8, Vec<u8>) {
    (if payload.kind == PayloadKind::Binary { BINARY } else { TEXT }, payload.bytes.to_vec())
}

fn combined_of(topic: &str, offset: u64, payload: &Payload) -> (u8, Vec<u8>) {
    if payload.kind == PayloadKind::Binary {
        let len = (topic.len() as u16).to_be_bytes();
        return (BINARY, [&[1, 0][..], &len, topic.as_bytes(), &offset.to_be_bytes(), &payload.bytes].concat());
    }
    let text = std::str::from_utf8(&payload.bytes).expect("text is UTF-8");
    let data = match payload.kind {
        PayloadKind::Json => text.to_owned(),
        _ => serde_json::to_string(text).expect("a string is JSON"),
    };
    (TEXT, format!(r#"{{"stream":"{topic}","o":{offset},"data":{data}}}"#).into_bytes())
}
