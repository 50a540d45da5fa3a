//! Watching over the gateway: who is connected, who is behind, what a topic takes; and ending a client.
//!
//! Answers are pages of bounded size; a page's last connection is where the next page begins. Without: anything that is kept between two
//! requests, so what changes meanwhile is seen as it is when a page is made.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::collections::hash_map::Entry;

use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, Request, State};
use axum::http::StatusCode;
use axum::response::Response;
use ipnet::IpNet;
use serde::Deserialize;
use serde_json::{Value, json};

use super::answer::Refused;
use super::{AdminContext, read_body, told};
use crate::dialect::ErrorCode;
use crate::hub::TopicName;
use crate::session::Standing;
use crate::shard::inquiry::{ConnectionId, ConnectionRow, Filter, SlowTopic};
use crate::shard::mail::Place;
use crate::ws::{CloseCode, REASON_BYTES_MAX};

/// Connections of a page, where nothing is said, and at most.
const PAGE: (usize, usize) = (100, 1000);
/// The slowest that are told, where nothing is said, and at most.
const SLOWEST: (usize, usize) = (20, 100);
/// What an ended client is told, where nothing is said.
const DISCONNECTED: &str = "disconnected by the operator";

/// Which connections are asked for.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wanted {
    limit: Option<usize>,
    after: Option<String>,
    address: Option<String>,
    topic: Option<String>,
    role: Option<String>,
    sub: Option<Box<str>>,
    #[serde(default)]
    lag_bytes_min: u64,
    #[serde(default)]
    lag_ms_min: u64,
    #[serde(default)]
    age_ms_min: u64,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Slowest {
    limit: Option<usize>,
}

/// How a client is ended.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Ending {
    code: Option<u16>,
    reason: Option<String>,
}

impl Wanted {
    fn filter(&self) -> Result<Filter, Refused> {
        let wrong = |key: &str, value: &str, why: &str| bad_request(format!("{key} is {value:?}: {why}"));
        let network = |text: &String| {
            let network = text.parse().or_else(|_| text.parse().map(|address: std::net::IpAddr| IpNet::from(address)));
            network.map_err(|_| wrong("address", text, "give an address or a network, as 192.0.2.7 or 2001:db8::/32"))
        };
        let topic = |text: &String| TopicName::parse(text).map_err(|error| wrong("topic", text, &error.to_string()));
        let standing = |text: &String| {
            let known = Standing::ALL.into_iter().find(|standing| standing.name() == text);
            known.ok_or_else(|| wrong("role", text, &format!("give one of {}", Standing::ALL.map(Standing::name).join(", "))))
        };
        Ok(Filter {
            network: self.address.as_ref().map(network).transpose()?,
            topic: self.topic.as_ref().map(topic).transpose()?,
            standing: self.role.as_ref().map(standing).transpose()?,
            subject: self.sub.clone(),
            lag_bytes_min: self.lag_bytes_min,
            lag_ms_min: self.lag_ms_min,
            age_ms_min: self.age_ms_min,
        })
    }

    /// The shard and the slot with which the page begins.
    fn begin(&self) -> Result<(Place, u32), Refused> {
        let Some(after) = &self.after else { return Ok((0, 0)) };
        let id = connection_id(after)?;
        Ok((id.shard, id.slot.saturating_add(1)))
    }
}

/// `GET /api/connections`.
pub(super) async fn connections(
    State(context): State<AdminContext>,
    wanted: Result<Query<Wanted>, QueryRejection>,
) -> Result<Response, Refused> {
    let Query(wanted) = wanted.map_err(|error| bad_request(error.body_text()))?;
    let (filter, limit) = (wanted.filter()?, limit(wanted.limit, PAGE)?);
    let (first, mut from) = wanted.begin()?;
    let shards = context.shards.len() as Place;
    let mut rows = Vec::new();
    let mut has_more = false;
    for shard in first..shards {
        let (found, next) = context.broker.connections(shard, from, &filter, limit - rows.len()).await?;
        rows.extend(found);
        from = 0;
        has_more = next.is_some() || shard + 1 < shards;
        if rows.len() == limit {
            break;
        }
    }
    let next = rows.last().filter(|_| has_more && rows.len() == limit).map(|row| row.id.to_string());
    let rows: Vec<Value> = rows.iter().map(|row| connection(&context, row)).collect();
    Ok(told(json!({"connections": rows, "next": next})))
}

/// `GET /api/connections/<id>`.
pub(super) async fn one_connection(
    State(context): State<AdminContext>,
    id: Result<Path<String>, PathRejection>,
) -> Result<Response, Refused> {
    let id = path_id(&context, id)?;
    let detail = context.broker.connection(id).await?.ok_or_else(|| gone(id))?;
    let mut value = connection(&context, &detail.row);
    let subscribed = detail.subscriptions.iter().map(|(lag, subscribed)| {
        let kind = if subscribed.is_pattern { "pattern" } else { "topic" };
        let position = subscribed.position.as_ref();
        json!({
            kind: subscribed.subject,
            "rate_ms": subscribed.rate_ms,
            "slow": format!("{:?}", subscribed.terms.slow).to_lowercase(),
            "conflated": subscribed.is_conflated,
            "epoch": position.map(|position| position.epoch.as_str()),
            "offset": position.map(|position| position.offset),
            "lag": {"publications": lag.publications, "bytes": lag.bytes, "age_ms": lag.age_ms},
        })
    });
    value["subscribed"] = subscribed.collect();
    Ok(told(value))
}

/// `POST /api/connections/<id>/disconnect`.
pub(super) async fn disconnect(
    State(context): State<AdminContext>,
    id: Result<Path<String>, PathRejection>,
    request: Request,
) -> Result<Response, Refused> {
    let id = path_id(&context, id)?;
    let body = read_body(&context, request).await?;
    let ending: Ending = match body.is_empty() {
        true => Ending::default(),
        false => serde_json::from_slice(&body)
            .map_err(|error| bad_request(format!("the body is no {{\"code\":..,\"reason\":..}}: {error}")))?,
    };
    let code = CloseCode(ending.code.unwrap_or(CloseCode::POLICY.0));
    let reason = ending.reason.unwrap_or_else(|| DISCONNECTED.to_owned());
    if !matches!(code.0, 1000 | 1001 | 1008 | 1011..=1013 | 3000..=4999) {
        let msg = format!("{code} is no close code for this; give 1000, 1001, 1008, 1011, 1012, 1013 or one from 3000 to 4999");
        return Err(bad_request(msg));
    }
    if reason.len() > REASON_BYTES_MAX {
        return Err(bad_request(format!("the reason has {} bytes; a close frame takes {REASON_BYTES_MAX}", reason.len())));
    }
    if !context.broker.disconnect(id, code, &reason).await? {
        return Err(gone(id));
    }
    Ok(told(json!({"id": id.to_string(), "code": code.0, "reason": reason})))
}

/// `GET /api/slow`.
pub(super) async fn slow(
    State(context): State<AdminContext>,
    wanted: Result<Query<Slowest>, QueryRejection>,
) -> Result<Response, Refused> {
    let Query(wanted) = wanted.map_err(|error| bad_request(error.body_text()))?;
    let limit = limit(wanted.limit, SLOWEST)?;
    let mut rows: Vec<ConnectionRow> = Vec::new();
    let mut topics: HashMap<TopicName, SlowTopic> = HashMap::new();
    for shard in 0..context.shards.len() {
        let found = context.broker.slow(shard as Place, limit).await?;
        rows.extend(found.connections);
        for topic in found.topics {
            match topics.entry(topic.topic.clone()) {
                Entry::Vacant(entry) => drop(entry.insert(topic)),
                Entry::Occupied(mut entry) => entry.get_mut().join(&topic),
            }
        }
    }
    let mut worst = |measure: fn(&ConnectionRow) -> u64| -> Vec<Value> {
        rows.sort_by_key(|row| (Reverse(measure(row)), row.id));
        rows.iter().filter(|row| measure(row) > 0).take(limit).map(|row| connection(&context, row)).collect()
    };
    let (by_bytes, by_age) = (worst(|row| row.lag.bytes), worst(|row| row.lag.age_ms));
    let mut topics: Vec<SlowTopic> = topics.into_values().collect();
    topics.sort_by(SlowTopic::worst_first);
    let topic = |slow: &SlowTopic| {
        let worst = json!({"publications": slow.worst.publications, "bytes": slow.worst.bytes, "age_ms": slow.worst.age_ms});
        json!({"topic": slow.topic.as_str(), "connections": slow.connections, "worst": worst})
    };
    let topics: Vec<Value> = topics.iter().take(limit).map(topic).collect();
    Ok(told(json!({"by_bytes": by_bytes, "by_age": by_age, "topics": topics})))
}

/// A connection as it is listed.
fn connection(context: &AdminContext, row: &ConnectionRow) -> Value {
    json!({
        "id": row.id.to_string(),
        "address": row.address,
        "port": row.port,
        "listener": context.listeners.get(usize::from(row.listener)),
        "role": row.standing.name(),
        "sub": row.subject,
        "tls": row.tls,
        "request_id": row.request_id,
        "since_ms": row.since_ms,
        "received_bytes": row.received_bytes,
        "sent_bytes": row.sent_bytes,
        "subscriptions": row.subscriptions,
        "lag": {"publications": row.lag.publications, "bytes": row.lag.bytes, "age_ms": row.lag.age_ms},
        "owed_bytes": row.owed_bytes,
        "stalled_ms": row.stalled_ms,
    })
}

fn bad_request(msg: impl Into<String>) -> Refused {
    Refused::bad_request(ErrorCode::BadRequest, msg)
}

fn gone(id: ConnectionId) -> Refused {
    let msg = format!("there is no connection {id} (any more)");
    Refused { status: StatusCode::NOT_FOUND, code: ErrorCode::BadRequest, msg }
}

fn connection_id(text: &str) -> Result<ConnectionId, Refused> {
    text.parse().map_err(|error| bad_request(format!("{text:?} is no connection: {error}")))
}

/// The connection that a path names; its shard is one of ours.
fn path_id(context: &AdminContext, id: Result<Path<String>, PathRejection>) -> Result<ConnectionId, Refused> {
    let Path(id) = id.map_err(|error| bad_request(error.body_text()))?;
    let id = connection_id(&id)?;
    if usize::from(id.shard) < context.shards.len() { Ok(id) } else { Err(gone(id)) }
}

fn limit(wanted: Option<usize>, (default, max): (usize, usize)) -> Result<usize, Refused> {
    let wanted = wanted.unwrap_or(default);
    if (1..=max).contains(&wanted) { Ok(wanted) } else { Err(bad_request(format!("limit is {wanted}: give 1 to {max}"))) }
}
