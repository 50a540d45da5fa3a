//! The server's connection is cut at random bytes while the feed goes on: what is lost is told, exactly.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::Value;

use super::exchange::{Exchange, binance, futures_gateway, wait_until};
use super::futures::{STREAMS, live, publication};
use crate::common::{Client, Recording};

/// What came of one stream: its own numbers, and those that each names as the one before.
#[derive(Default)]
struct Seen {
    numbers: Vec<u64>,
    broken_links: u64,
}

#[test]
fn what_a_cut_connection_loses_is_counted_exactly() {
    const MESSAGES: usize = 20_000;
    const CUTS: usize = 40;
    let Some(recording) = Recording::find("what_a_cut_connection_loses_is_counted_exactly") else { return };
    let live = live(&recording, MESSAGES);
    let exchange = Exchange::new(&live, binance);
    let gateway = futures_gateway(&[&exchange], "");
    let mut client = Client::connect(&gateway, STREAMS);
    exchange.wait_for_subscription(1);
    let mut random = StdRng::seed_from_u64(7);
    for cut in 0..CUTS {
        // Some cuts fall into the next handshake, most into frames.
        exchange.cut_after(random.random_range(0..40_000));
        wait_until("the connection is cut", || {
            live.go_on(10);
            exchange.is_whole() || live.at() > (cut + 1) * MESSAGES / CUTS
        });
    }
    exchange.cut_after(-1);
    let opened = exchange.opened();
    assert!(opened > CUTS / 2, "it was cut and came back: {opened}");
    wait_until("it is connected", || gateway.counter("upstream_connects") > gateway.counter("upstream_disconnects"));
    // With the last ones each stream has a publication that tells what was lost before.
    live.go_on(MESSAGES);

    let (mut trades, mut depth, mut last) = (Seen::default(), Seen::default(), 0);
    let final_trade = live.messages.iter().rev().find(|message| message.contains("@trade")).expect("there are trades");
    let final_trade = serde_json::from_str::<Value>(final_trade).expect("JSON")["data"]["t"].as_u64().expect("a number");
    while last != final_trade {
        let text = client.text();
        let Some((topic, payload)) = publication(&text) else { continue };
        let data: Value = serde_json::from_str(payload).expect("a payload is JSON");
        let number = |name: &str| data[name].as_u64().expect("a number");
        match topic {
            "btcusdt@trade" => {
                last = number("t");
                trades.numbers.push(last);
            }
            "btcusdt@depth@0ms" => {
                let before = depth.numbers.last().copied();
                depth.broken_links += u64::from(before.is_some_and(|before| before != number("pu")));
                depth.numbers.push(number("u"));
            }
            _ => {}
        }
    }
    for seen in [&trades, &depth] {
        assert!(seen.numbers.windows(2).all(|pair| pair[0] < pair[1]), "in order, each once");
    }
    let missing = last - trades.numbers[0] + 1 - trades.numbers.len() as u64;
    assert!(missing > 0, "something was lost, or this test shows nothing");
    assert_eq!(gateway.counter("upstream_lost"), missing, "only trades have numbers without holes");
    let holes = trades.numbers.windows(2).filter(|pair| pair[0] + 1 != pair[1]).count() as u64;
    assert!(gateway.counter("upstream_gaps") >= holes + depth.broken_links, "{holes} and {}", depth.broken_links);
    drop(client);
    gateway.stop();
}
