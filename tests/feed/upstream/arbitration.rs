//! Two exchanges give one feed, and now this one dies, now that: nothing is lost and nothing comes twice.

use std::collections::{BTreeMap, BTreeSet};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::Value;

use super::exchange::{Exchange, Live, binance, futures_gateway};
use super::futures::{STREAMS, expected, live, publication};
use crate::common::{Client, Recording, data_of};

/// For each message of the feed its stream.
fn streams(live: &Live) -> Vec<String> {
    let stream = |message: &String| {
        let named: Value = serde_json::from_str(message).expect("a recorded message is JSON");
        named["stream"].as_str().expect("it names its stream").to_owned()
    };
    live.messages.iter().map(stream).collect()
}

#[test]
fn one_of_two_may_die_at_any_byte_without_a_gap() {
    const MESSAGES: usize = 15_000;
    let Some(recording) = Recording::find("one_of_two_may_die_at_any_byte_without_a_gap") else { return };
    let live = live(&recording, MESSAGES);
    let streams = streams(&live);
    let exchanges = [Exchange::new(&live, binance), Exchange::new(&live, binance)];
    let gateway = futures_gateway(&[&exchanges[0], &exchanges[1]], "arbitration_wait_ms = 10000\n");
    let mut client = Client::connect(&gateway, STREAMS);
    exchanges.iter().for_each(|exchange| exchange.wait_for_subscription(1));

    let mut random = StdRng::seed_from_u64(11);
    let mut came: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let (mut received, mut turn, mut cuts) = (0, 0, 0);
    // How often each was subscribed at when it was cut last: it is back when that is more.
    let mut opened_at_cut = [0, 0];
    while received < MESSAGES {
        if received == live.at() {
            live.go_on(random.random_range(1..100));
        }
        let text = client.text();
        let (topic, payload) = publication(&text).unwrap_or_else(|| panic!("not a publication: {text}"));
        came.entry(topic.to_owned()).or_default().push(payload.to_owned());
        received += 1;
        // The one is cut where the other is back and has a part in each stream.
        let (this, other) = (turn % 2, 1 - turn % 2);
        let is_back = |line: usize| exchanges[line].is_whole() && exchanges[line].opened() > opened_at_cut[line];
        if received == live.at() && is_back(this) && is_back(other) {
            let covered: BTreeSet<&String> =
                streams.get(exchanges[other].opened_at()..received).unwrap_or_default().iter().collect();
            if covered.len() == 3 {
                opened_at_cut[this] = exchanges[this].opened();
                exchanges[this].cut_after(random.random_range(0..2_000));
                cuts += 1;
                turn += 1;
            }
        }
    }
    assert!(cuts > 10, "both were cut again and again: {cuts}");
    assert!(exchanges.iter().all(|exchange| exchange.opened() > 3), "and came back");
    assert_eq!(came, expected(&live));
    assert_eq!((gateway.counter("upstream_gaps"), gateway.counter("upstream_late")), (0, 0));
    assert!(gateway.counter("upstream_repeats") > 0, "both brought most of it");
    drop(client);
    gateway.stop();
}

#[test]
fn what_one_lacks_the_other_brings() {
    const MESSAGES: usize = 5_000;
    let Some(recording) = Recording::find("what_one_lacks_the_other_brings") else { return };
    // Trades only: their numbers tell all. Each of the two lacks others.
    let trades: Vec<String> = recording
        .messages
        .iter()
        .filter(|(topic, _)| topic == "btcusdt@trade")
        .map(|(_, text)| text.clone())
        .take(MESSAGES)
        .collect();
    let without = |rest: usize| {
        let kept = trades.iter().enumerate().filter(|(index, _)| *index == 0 || index % 10 != rest);
        Live::new(kept.map(|(_, text)| text.clone()).collect())
    };
    let lives = [without(3), without(7)];
    let exchanges = [Exchange::new(&lives[0], binance), Exchange::new(&lives[1], binance)];
    let gateway = futures_gateway(&[&exchanges[0], &exchanges[1]], "arbitration_wait_ms = 10000\n");
    let mut client = Client::connect(&gateway, STREAMS);
    exchanges.iter().for_each(|exchange| exchange.wait_for_subscription(1));
    lives.iter().for_each(|live| live.go_on(1));
    let mut came = Vec::new();
    let mut random = StdRng::seed_from_u64(3);
    while came.len() < MESSAGES {
        lives.iter().for_each(|live| live.go_on(random.random_range(0..40)));
        let stuck = lives.iter().all(|live| live.at() == live.messages.len());
        while came.len() < MESSAGES && (stuck || came.len() < lives[0].at().min(lives[1].at())) {
            let text = client.text();
            let (_, payload) = publication(&text).unwrap_or_else(|| panic!("not a publication: {text}"));
            came.push(payload.to_owned());
        }
    }
    let expected: Vec<&str> = trades.iter().map(|message| data_of(message)).collect();
    assert_eq!(came, expected);
    assert_eq!(gateway.counter("upstream_gaps"), 0);
    drop(client);
    gateway.stop();
}
