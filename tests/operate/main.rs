//! Operating it: what an operator sees and does while the real binary runs (connections, topics, logs, metrics), what is installed,
//! and the examples that operators copy, checked by the programs that will read them.
//!
//! Where one of those is not there its tests say so and are skipped; where `TIDEGATE_TEST_PARTS` or `CI` promises them, they fail.

#[path = "../common/mod.rs"]
mod common;
#[path = "../balancer/parts.rs"]
#[allow(dead_code, reason = "some addresses to come from are needed of it")]
mod parts;

mod alerts;
mod connections;
mod containers;
mod faults;
mod keys;
mod logs;
mod machine;
mod metrics;
mod packaging;
mod programs;
mod reload;
mod topics;

use serde_json::{Value, json};

use crate::common::{Gateway, Response};

/// An answer's JSON.
fn json_of(answer: &Response, status: u16) -> Value {
    assert_eq!(answer.status, status, "{answer:?}");
    serde_json::from_slice(&answer.body).unwrap_or_else(|error| panic!("{error}: {answer:?}"))
}

/// What the admin port says at a path.
fn asked(gateway: &Gateway, path: &str) -> Value {
    json_of(&gateway.get(path), 200)
}

/// The status of a refusal, which says why.
fn refused(gateway: &Gateway, path: &str) -> u16 {
    let answer = gateway.get(path);
    let value = json_of(&answer, answer.status);
    assert!(value["error"]["msg"].as_str().is_some_and(|sentence| sentence.len() > 20), "{value}");
    answer.status
}

/// The connections on one page, which is the only one.
fn connections(gateway: &Gateway, query: &str) -> Vec<Value> {
    let mut page = asked(gateway, &format!("/api/connections?limit=1000&{query}"));
    assert_eq!(page["next"], json!(null), "more than one page of {query}");
    match page["connections"].take() {
        Value::Array(rows) => rows,
        other => panic!("no list: {other}"),
    }
}
