//! docs/feeds: every configuration there is valid, and those written from an exchange's documentation take its messages.

use std::path::PathBuf;
use std::process::Command;

use tempfile::TempDir;
use tungstenite::{Message, WebSocket};

use super::exchange::{Cable, Exchange, Live};
use crate::common::{Client, Gateway};

fn page(name: &str) -> String {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("docs/feeds").join(name);
    std::fs::read_to_string(path).expect("docs/feeds is part of the repository")
}

/// The configuration on a page.
fn configuration(name: &str) -> String {
    let page = page(name);
    let (_, rest) = page.split_once("```toml\n").expect("a page has a configuration");
    rest.split_once("```").expect("which ends").0.to_owned()
}

const PAGES: [&str; 4] = ["binance-futures.md", "binance-spot.md", "coinbase.md", "kraken.md"];

#[test]
fn every_documented_feed_is_accepted_by_check() {
    let directory = TempDir::new().expect("a temporary directory can be made");
    for name in PAGES {
        assert!(page("README.md").contains(name), "{name} is listed");
        assert!(page(name).contains("leave"), "{name} says that passing on needs leave");
        let file = directory.path().join(name);
        std::fs::write(&file, configuration(name)).expect("a temporary file can be written");
        let output = Command::new(env!("CARGO_BIN_EXE_tidegate"))
            .args(["check", "--config", &file.to_string_lossy()])
            .output()
            .expect("the binary starts");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{name}: {said}");
        assert!(String::from_utf8_lossy(&output.stdout).contains("upstream wss://"), "{name}");
    }
}

/// A gateway whose source is that of a page, but for where it connects.
fn gateway(name: &str, exchange: &Exchange) -> Gateway {
    let text = configuration(name);
    let (_, source) = text.split_once("[[source]]").expect("a page has a source");
    let urls = source.lines().find(|line| line.starts_with("urls = ")).expect("it says where");
    Gateway::configured(&format!("[[source]]{}", source.replace(urls, &format!("urls = [{:?}]", exchange.url()))))
}

/// Hears one subscription for each of these parts, and says what the exchange would.
fn hear(socket: &mut WebSocket<Cable>, parts: &[&str], answer: &str) {
    for part in parts {
        let Ok(Message::Text(text)) = socket.read() else { return };
        assert!(text.contains(part), "{part} in {text}");
        drop(socket.send(Message::text(answer)));
    }
}

fn spot(socket: &mut WebSocket<Cable>) {
    hear(socket, &["btcusdt@trade"], r#"{"result":null,"id":1}"#);
}

/// developers.binance.com, "WebSocket Streams": Trade Streams, Individual Symbol Book Ticker Streams, Diff. Depth Stream, each
/// in the envelope of combined streams.
const SPOT: [(&str, &str, &str); 4] = [
    (
        "btcusdt@trade",
        r#"{"stream":"btcusdt@trade","data":{"e":"trade","E":1672515782136,"s":"BTCUSDT","t":12345,"p":"0.001","q":"100","T":1672515782136,"m":true,"M":true}}"#,
        r#"{"e":"trade","E":1672515782136,"s":"BTCUSDT","t":12345,"p":"0.001","q":"100","T":1672515782136,"m":true,"M":true}"#,
    ),
    (
        "btcusdt@bookTicker",
        r#"{"stream":"btcusdt@bookTicker","data":{"u":400900217,"s":"BTCUSDT","b":"25.35190000","B":"31.21000000","a":"25.36520000","A":"40.66000000"}}"#,
        r#"{"u":400900217,"s":"BTCUSDT","b":"25.35190000","B":"31.21000000","a":"25.36520000","A":"40.66000000"}"#,
    ),
    (
        "btcusdt@depth@100ms",
        r#"{"stream":"btcusdt@depth@100ms","data":{"e":"depthUpdate","E":1672515782136,"s":"BTCUSDT","U":157,"u":160,"b":[["0.0024","10"]],"a":[["0.0026","100"]]}}"#,
        r#"{"e":"depthUpdate","E":1672515782136,"s":"BTCUSDT","U":157,"u":160,"b":[["0.0024","10"]],"a":[["0.0026","100"]]}"#,
    ),
    (
        "btcusdt@trade",
        r#"{"stream":"btcusdt@trade","data":{"e":"trade","E":1672515782137,"s":"BTCUSDT","t":12348,"p":"0.001","q":"100","T":1672515782137,"m":true,"M":true}}"#,
        r#"{"e":"trade","E":1672515782137,"s":"BTCUSDT","t":12348,"p":"0.001","q":"100","T":1672515782137,"m":true,"M":true}"#,
    ),
];

const SPOT_LOST: &str = r#"{"e":"sourceGap","s":"btcusdt@trade","n":2}"#;

#[test]
fn binance_spot_as_documented_is_taken_in() {
    let live = Live::new(SPOT.iter().map(|(_, message, _)| (*message).to_owned()).collect());
    let exchange = Exchange::new(&live, spot);
    let gateway = gateway("binance-spot.md", &exchange);
    let mut client = Client::connect(&gateway, "/stream?streams=btcusdt@trade/btcusdt@bookTicker/btcusdt@depth@100ms");
    exchange.wait_for_subscription(1);
    live.go_on(SPOT.len());
    let mut came: Vec<String> = (0..=SPOT.len()).map(|_| client.text()).collect();
    let trades: Vec<&str> = came.iter().map(String::as_str).filter(|text| text.contains("btcusdt@trade")).collect();
    assert_eq!(trades[1], SPOT_LOST, "in front of the trade behind the hole");
    let mut expected: Vec<String> = vec![SPOT_LOST.into()];
    for (index, (topic, _, payload)) in SPOT.iter().enumerate() {
        let offset = 1 + SPOT[..index].iter().filter(|(other, ..)| other == topic).count();
        expected.push(format!(r#"{{"stream":"{topic}","o":{offset},"data":{payload}}}"#));
    }
    came.sort();
    expected.sort();
    assert_eq!(came, expected);
    assert_eq!((gateway.counter("upstream_lost"), gateway.counter("upstream_gaps")), (2, 1), "two trades are missing");
    drop(client);
    gateway.stop();
}

fn kraken(socket: &mut WebSocket<Cable>) {
    let answer = r#"{"method":"subscribe","result":{"channel":"ticker","snapshot":true,"symbol":"BTC/USD"},"success":true,"time_in":"2023-09-25T09:04:31.742599Z","time_out":"2023-09-25T09:04:31.742648Z"}"#;
    hear(socket, &["\"ticker\"", "\"trade\"", "\"book\""], answer);
}

/// docs.kraken.com, "WebSocket API v2": status, heartbeat, ticker, trade, book.
const KRAKEN: [(Option<&str>, &str); 5] = [
    (
        None,
        r#"{"channel":"status","data":[{"api_version":"v2","connection_id":13834774380200032777,"system":"online","version":"2.0.0"}],"type":"update"}"#,
    ),
    (None, r#"{"channel":"heartbeat"}"#),
    (
        Some("kraken.ticker.BTC-USD"),
        r#"{"channel":"ticker","type":"update","data":[{"symbol":"BTC/USD","bid":0.10025,"bid_qty":740.0,"ask":0.10036,"ask_qty":1361.44813783,"last":0.10035,"volume":997038.98383185,"vwap":0.10148,"low":0.09979,"high":0.10285,"change":-0.00017,"change_pct":-0.17}]}"#,
    ),
    (
        Some("kraken.trade.BTC-USD"),
        r#"{"channel":"trade","type":"update","data":[{"symbol":"BTC/USD","side":"sell","price":0.5117,"qty":40.0,"ord_type":"market","trade_id":4665906,"timestamp":"2023-09-25T07:49:37.708706Z"}]}"#,
    ),
    (
        Some("kraken.book.BTC-USD"),
        r#"{"channel":"book","type":"update","data":[{"symbol":"BTC/USD","bids":[{"price":0.5657,"qty":1098.3947558}],"asks":[],"checksum":2114181697,"timestamp":"2023-10-06T17:35:55.440295Z"}]}"#,
    ),
];

#[test]
fn kraken_as_documented_is_taken_in() {
    let live = Live::new(KRAKEN.iter().map(|(_, message)| (*message).to_owned()).collect());
    let exchange = Exchange::new(&live, kraken);
    let gateway = gateway("kraken.md", &exchange);
    let mut client = Client::connect(&gateway, "/stream?streams=kraken.ticker.BTC-USD/kraken.trade.BTC-USD/kraken.book.BTC-USD");
    exchange.wait_for_subscription(1);
    live.go_on(KRAKEN.len());
    let mut came: Vec<String> = (0..3).map(|_| client.text()).collect();
    let of =
        |(topic, message): &(Option<&str>, &str)| topic.map(|topic| format!(r#"{{"stream":"{topic}","o":1,"data":{message}}}"#));
    let mut expected: Vec<String> = KRAKEN.iter().filter_map(of).collect();
    came.sort();
    expected.sort();
    assert_eq!(came, expected);
    // Status, heartbeat and three answers.
    assert_eq!(gateway.counter("upstream_skipped"), 5);
    drop(client);
    gateway.stop();
}
