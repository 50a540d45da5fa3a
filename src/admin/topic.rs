//! `GET /api/topics/<topic>`: where a topic is, who hears it, what it takes, how its journal is.

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde_json::{Value, json};

use super::answer::Refused;
use super::{AdminContext, told};
use crate::dialect::ErrorCode;
use crate::hub::{Encoding, RingUse, TopicName};
use crate::shard::inquiry::{JournalState, TopicPart};
use crate::shard::mail::Place;

pub(super) async fn topic(
    State(context): State<AdminContext>,
    topic: Result<Path<String>, PathRejection>,
) -> Result<Response, Refused> {
    let Path(topic) = topic.map_err(|error| Refused::bad_request(ErrorCode::BadTopic, error.body_text()))?;
    let name = TopicName::parse(&topic).map_err(|error| Refused::bad_request(ErrorCode::BadTopic, error.to_string()))?;
    let shards = context.shards.len() as Place;
    let mut parts = Vec::new();
    // The control thread is home of topics with a journal.
    for place in 0..=shards {
        parts.extend(context.broker.topic_part(place, &name).await?.map(|part| (place, part)));
    }
    // Replicas are behind their home by what is in the mail.
    let Some((home, part)) = parts.iter().find(|(_, part)| part.rate.is_some()) else {
        let msg = format!("there is no topic {topic:?} here; /api/topics lists those that there are");
        return Err(Refused { status: StatusCode::NOT_FOUND, code: ErrorCode::BadTopic, msg });
    };
    let rings: Vec<Value> =
        parts.iter().flat_map(|(at, part)| part.rings.iter().map(|ring| ring_at(*at, shards, ring))).collect();
    let bytes: u64 = parts.iter().flat_map(|(_, part)| &part.rings).map(|ring| ring.capacity_bytes).sum();
    Ok(told(json!({
        "topic": name.as_str(),
        "epoch": part.position.epoch.as_str(),
        "offset": part.position.offset,
        "rate": part.rate,
        "home": place(*home, shards),
        "replicas": part.replicas.iter().map(|at| place(*at, shards)).collect::<Vec<_>>(),
        "subscribers": subscribers(&parts),
        "rings": rings,
        "ring_bytes": bytes,
        "keys": part.keys,
        "stale_since_ms": part.stale_since_ms,
        "journal": part.journal.map(journal),
    })))
}

/// A place's name.
fn place(place: Place, shards: Place) -> String {
    if place == shards { "control".to_owned() } else { format!("shard {place}") }
}

/// By how they hear it, over all shards.
fn subscribers(parts: &[(Place, TopicPart)]) -> Value {
    let hearers = || parts.iter().map(|(_, part)| &part.hearers);
    let mut by_rate = std::collections::BTreeMap::<u32, u64>::new();
    for (rate_ms, count) in hearers().flat_map(|hearers| &hearers.by_rate) {
        *by_rate.entry(*rate_ms).or_default() += count;
    }
    let by_name: u64 = hearers().map(|hearers| hearers.by_name).sum();
    let by_pattern: u64 = hearers().map(|hearers| hearers.by_pattern).sum();
    let total = by_name + by_pattern + by_rate.values().sum::<u64>();
    let by_rate: Vec<Value> = by_rate.iter().map(|(rate_ms, count)| json!({"rate_ms": rate_ms, "count": count})).collect();
    json!({"total": total, "by_name": by_name, "by_rate": by_rate, "by_pattern": by_pattern})
}

fn ring_at(at: Place, shards: Place, ring: &RingUse) -> Value {
    json!({
        "place": place(at, shards),
        "encoding": encoding(ring.encoding),
        "rate_ms": ring.rate_ms,
        "publications": ring.publications,
        "publications_max": ring.publications_max,
        "bytes": ring.bytes,
        "bytes_max": ring.bytes_max,
        "capacity_bytes": ring.capacity_bytes,
    })
}

fn encoding(encoding: Encoding) -> &'static str {
    match encoding {
        Encoding::Raw => "raw",
        Encoding::Combined => "combined",
        Encoding::Timed => "timed",
        Encoding::RawDeflate => "raw_deflate",
        Encoding::CombinedDeflate => "combined_deflate",
        Encoding::TimedDeflate => "timed_deflate",
        Encoding::Sse => "sse",
        Encoding::SseTimed => "sse_timed",
        Encoding::SseMany => "sse_many",
        Encoding::SseManyTimed => "sse_many_timed",
        Encoding::RawEvents => "raw_events",
        Encoding::RawEventsDeflate => "raw_events_deflate",
    }
}

fn journal(state: JournalState) -> Value {
    let JournalState { is_failing, is_left, waiting } = state;
    let state = match (is_failing, is_left) {
        (false, _) => "written",
        (true, false) => "failing",
        (true, true) => "left",
    };
    json!({"state": state, "waiting": waiting})
}
