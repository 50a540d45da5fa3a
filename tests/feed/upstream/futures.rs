//! Binance futures: the combined stream through the gateway is the recording's, byte for byte.

use std::collections::BTreeMap;

use super::exchange::{Exchange, Live, binance, futures_gateway};
use crate::common::{Client, Recording, data_of};

pub(crate) const STREAMS: &str = "/stream?streams=btcusdt@trade/btcusdt@bookTicker/btcusdt@depth@0ms";

/// The first messages of the recording, as they stand.
pub(crate) fn live(recording: &Recording, messages: usize) -> std::sync::Arc<Live> {
    Live::new(recording.messages.iter().take(messages).map(|(_, message)| message.clone()).collect())
}

/// A publication of a combined connection: topic and payload.
pub(crate) fn publication(text: &str) -> Option<(&str, &str)> {
    let rest = text.strip_prefix("{\"stream\":\"")?.strip_suffix('}')?;
    let (topic, rest) = rest.split_once("\",\"o\":")?;
    let (_, payload) = rest.split_once(",\"data\":")?;
    Some((topic, payload))
}

/// Payloads by topic, until there are so many.
pub(crate) fn collect(client: &mut Client, count: usize) -> BTreeMap<String, Vec<String>> {
    let mut topics: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for _ in 0..count {
        let text = client.text();
        let (topic, payload) = publication(&text).unwrap_or_else(|| panic!("not a publication: {text}"));
        topics.entry(topic.to_owned()).or_default().push(payload.to_owned());
    }
    topics
}

/// What the recording has.
pub(crate) fn expected(live: &Live) -> BTreeMap<String, Vec<String>> {
    let mut topics: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for message in &live.messages {
        let named: serde_json::Value = serde_json::from_str(message).expect("a recorded message is JSON");
        let stream = named["stream"].as_str().expect("it names its stream");
        topics.entry(stream.to_owned()).or_default().push(data_of(message).to_owned());
    }
    topics
}

fn comes_whole(name: &str, messages: usize) {
    let Some(recording) = Recording::find(name) else { return };
    let live = live(&recording, messages);
    let exchange = Exchange::new(&live, binance);
    let gateway = futures_gateway(&[&exchange], "");
    let mut client = Client::connect(&gateway, STREAMS);
    exchange.wait_for_subscription(1);
    live.play();
    assert_eq!(collect(&mut client, live.messages.len()), expected(&live));
    assert_eq!((gateway.counter("upstream_gaps"), gateway.counter("upstream_repeats")), (0, 0));
    // The answer to SUBSCRIBE is not the feed's.
    assert_eq!(gateway.counter("upstream_skipped"), 1);
    assert_eq!(gateway.counter("upstream_messages"), live.messages.len() as u64 + 1);
    drop(client);
    gateway.stop();
}

#[test]
fn the_futures_recording_comes_whole_and_in_order() {
    comes_whole("the_futures_recording_comes_whole_and_in_order", 15_000);
}

#[test]
#[ignore = "the whole recording; the test above takes a sixth of it"]
fn the_whole_futures_recording_comes_in_order() {
    comes_whole("the_whole_futures_recording_comes_in_order", usize::MAX);
}

#[test]
fn a_gateway_without_its_feed_starts_all_the_same_and_stops() {
    let gone = Exchange::new(&Live::new(Vec::new()), binance);
    let gateway = futures_gateway(&[&gone], "");
    drop(gone);
    let mut client = Client::connect(&gateway, "/ws");
    assert!(client.ask("PING", "[]").starts_with("{\"result\":"));
    drop(client);
    gateway.stop();
}
