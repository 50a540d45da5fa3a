//! Coinbase: the subscribe frames that a real client sent, and what it was sent, through the gateway.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};

use flate2::read::GzDecoder;
use serde_json::Value;
use tungstenite::{Message, WebSocket};

use super::exchange::{Cable, Exchange, Live};
use super::futures::collect;
use crate::common::{Client, Gateway, skipped};

const FILE: &str = "cf_COINBASE.ws.28.0.gz";

/// What the client sent, and what the exchange did.
struct Recorded {
    subscribe: Vec<String>,
    messages: Vec<String>,
}

fn recorded(test: &str) -> Option<Recorded> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data");
    let file = std::env::var_os("TIDEGATE_DATA").map_or(beside, PathBuf::from).join(FILE);
    let Ok(compressed) = std::fs::File::open(&file) else {
        skipped(test, &format!("{} is not there (set TIDEGATE_DATA to the directory that holds it)", file.display()));
        return None;
    };
    let mut text = String::new();
    GzDecoder::new(compressed).read_to_string(&mut text).expect("the recording can be unpacked");
    let behind = |line: &str| line.split_once(": ").map(|(_, message)| message.to_owned());
    let (sent, came): (Vec<&str>, Vec<&str>) = text.lines().partition(|line| line.starts_with("wss://"));
    let subscribe = sent.into_iter().filter(|line| line.contains(" <- ")).filter_map(behind).collect();
    Some(Recorded { subscribe, messages: came.into_iter().filter_map(behind).collect() })
}

/// Coinbase's: it hears three subscriptions; their answers stand in the recording, among what follows.
fn dialogue(socket: &mut WebSocket<Cable>) {
    for channel in ["level2", "ticker", "matches"] {
        let Ok(Message::Text(text)) = socket.read() else { return };
        let request: Value = serde_json::from_str(&text).expect("a subscription is JSON");
        assert_eq!((request["type"].as_str(), request["channels"][0].as_str()), (Some("subscribe"), Some(channel)));
        assert_eq!(request["product_ids"].as_array().map(Vec::len), Some(10));
    }
}

fn source(exchange: &Exchange, subscribe: &[String]) -> String {
    let subscribe: Vec<String> = subscribe.iter().map(|text| format!("'{text}'")).collect();
    format!(
        r#"
[[source]]
kind = "upstream"
urls = ["{}"]
subscribe = [{}]
topic = "cb.{{/type}}.{{/product_id}}"
key = "/product_id"

[[source.sequence]]
topics = "cb.match.*"
number = "/trade_id"
rule = "plus_one"

[[source.sequence]]
topics = "cb.ticker.*"
number = "/sequence"
rule = "rising"
"#,
        exchange.url(),
        subscribe.join(",\n")
    )
}

#[test]
fn the_coinbase_recording_comes_whole_and_in_order() {
    let Some(recorded) = recorded("the_coinbase_recording_comes_whole_and_in_order") else { return };
    let mut expected: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for message in &recorded.messages {
        let fields: Value = serde_json::from_str(message).expect("a recorded message is JSON");
        if let (Some(kind), Some(product)) = (fields["type"].as_str(), fields["product_id"].as_str()) {
            expected.entry(format!("cb.{kind}.{product}")).or_default().push(message.clone());
        }
    }
    let count = expected.values().map(Vec::len).sum();
    let live = Live::new(recorded.messages);
    let exchange = Exchange::new(&live, dialogue);
    let gateway = Gateway::configured(&source(&exchange, &recorded.subscribe));
    let mut client = Client::connect(&gateway, "/stream");
    let topics: Vec<&String> = expected.keys().collect();
    assert_eq!(client.ask("SUBSCRIBE", &format!("{topics:?}")), r#"{"result":null}"#);
    exchange.wait_for_subscription(1);
    live.play();
    assert_eq!(collect(&mut client, count), expected);
    let others = live.messages.len() - count;
    assert_eq!((others, gateway.counter("upstream_skipped")), (3, 3), "its answers to the subscriptions");
    assert_eq!(gateway.counter("upstream_gaps"), 0);
    drop(client);
    gateway.stop();
}
