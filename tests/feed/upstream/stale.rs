//! A feed that is gone is told from one that is quiet: `stale` at once, `fresh` when it is back.

use serde_json::Value;
use tempfile::TempDir;

use super::exchange::{Exchange, Live, binance, futures_gateway, futures_source, wait_until};
use crate::common::{Client, Gateway};

fn trade(number: u64) -> String {
    format!(r#"{{"stream":"btcusdt@trade","data":{{"t":{number}}}}}"#)
}

/// The next message, which is this event of this topic; gives its time.
fn event(client: &mut Client, name: &str, time: &str) -> u64 {
    let text = client.text();
    assert!(text.starts_with(&format!("{{\"e\":\"{name}\",\"s\":\"btcusdt@trade\",\"{time}\":")), "{name}: {text}");
    let event: Value = serde_json::from_str(&text).expect("an event is JSON");
    event[time].as_u64().expect("a time")
}

#[test]
fn a_feed_that_is_gone_is_told_at_once_and_when_it_is_back() {
    goes_and_comes_back("");
}

#[test]
fn so_it_is_of_topics_with_a_journal() {
    let directory = TempDir::new().expect("a temporary directory can be made");
    let journal = directory.path().join("journal").display().to_string();
    goes_and_comes_back(&format!("[[topic]]\npattern = \">\"\njournal = true\n[journal]\ndirectory = {journal:?}\n"));
}

/// The feed had one trade more while its connection was gone.
const LOST: &str = "{\"e\":\"sourceGap\",\"s\":\"btcusdt@trade\",\"n\":1}";

fn goes_and_comes_back(more: &str) {
    let live = Live::new((1..=3).map(trade).collect());
    let exchange = Exchange::new(&live, binance);
    let gateway = Gateway::configured(&format!("{}{more}", futures_source(&[exchange.url()], "")));
    // Enough for both shards.
    let mut combined: Vec<Client> = (0..6).map(|_| Client::connect(&gateway, "/stream?streams=btcusdt@trade/other")).collect();
    let mut raw: Vec<Client> = (0..4).map(|_| Client::connect(&gateway, "/ws/btcusdt@trade")).collect();
    let mut quiet = raw.split_off(2);
    for client in &mut raw {
        assert_eq!(client.ask("SET_PROPERTY", "[\"events\",true]"), "{\"result\":null}");
    }
    exchange.wait_for_subscription(1);
    live.go_on(1);
    combined.iter_mut().for_each(|client| assert!(client.text().ends_with("\"o\":1,\"data\":{\"t\":1}}")));
    raw.iter_mut().chain(&mut quiet).for_each(|client| assert_eq!(client.text(), "{\"t\":1}"));

    exchange.refuse(usize::MAX);
    exchange.cut_after(5);
    live.go_on(1);
    let times: Vec<u64> = combined.iter_mut().chain(&mut raw).map(|client| event(client, "stale", "since")).collect();
    assert!(times.iter().all(|time| *time == times[0] && *time > 1_700_000_000_000), "{times:?}");
    // Whoever comes now is told behind the reply; twice the same subscription is told once.
    let mut late: Vec<Client> = (0..4).map(|_| Client::connect(&gateway, "/stream")).collect();
    for client in &mut late {
        assert_eq!(client.ask("SUBSCRIBE", "[\"other\",\"btcusdt@trade\",\"btcusdt@trade\"]"), "{\"result\":null}");
        assert_eq!(event(client, "stale", "since"), times[0]);
    }
    let mut by_url = Client::connect(&gateway, "/stream?streams=btcusdt@trade");
    assert_eq!(event(&mut by_url, "stale", "since"), times[0]);
    // Who can tell events from payloads only now.
    let mut turned = Client::connect(&gateway, "/ws/btcusdt@trade");
    assert_eq!(turned.ask("SET_PROPERTY", "[\"events\",true]"), "{\"result\":null}");
    assert_eq!(event(&mut turned, "stale", "since"), times[0]);

    exchange.refuse(0);
    exchange.wait_for_subscription(2);
    wait_until("it is connected", || gateway.counter("upstream_connects") == 2);
    live.go_on(1);
    for client in combined.iter_mut().chain(&mut late).chain([&mut by_url]) {
        assert!(event(client, "fresh", "E") >= times[0]);
        assert_eq!(client.text(), LOST);
        let text = client.text();
        assert!(text.contains("\"o\":2,") && text.ends_with("\"data\":{\"t\":3}}"), "{text}");
    }
    for client in raw.iter_mut().chain([&mut turned]) {
        event(client, "fresh", "E");
        assert_eq!([client.text(), client.text()], [LOST, "{\"t\":3}"]);
    }
    // Without events nothing but payloads.
    quiet.iter_mut().for_each(|client| assert_eq!(client.text(), "{\"t\":3}"));
    assert_eq!(gateway.counter("feed_notices"), 2 * (6 + 2 + 4 + 1 + 1));
    drop((combined, raw, quiet, late, by_url, turned));
    gateway.stop();
}

#[test]
fn one_of_two_connections_is_enough_not_to_be_stale() {
    let live = Live::new((1..=2).map(trade).collect());
    let exchanges = [Exchange::new(&live, binance), Exchange::new(&live, binance)];
    let gateway = futures_gateway(&[&exchanges[0], &exchanges[1]], "");
    let mut client = Client::connect(&gateway, "/stream?streams=btcusdt@trade");
    exchanges.iter().for_each(|exchange| exchange.wait_for_subscription(1));
    wait_until("both are connected", || gateway.counter("upstream_connects") == 2);
    exchanges[0].refuse(usize::MAX);
    exchanges[0].cut_after(5);
    live.go_on(1);
    wait_until("one is gone", || gateway.counter("upstream_disconnects") == 1);
    assert!(client.text().ends_with("{\"t\":1}}"));
    live.go_on(1);
    assert!(client.text().ends_with("{\"t\":2}}"), "nothing was said between");
    assert_eq!(gateway.counter("feed_notices"), 0);
    drop(client);
    gateway.stop();
}
