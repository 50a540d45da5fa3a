//! Stopping: `serverShutdown`, 1001, exit 0.

use serde_json::Value;

use crate::common::{Client, Gateway, Raw, frame};

#[test]
fn server_shutdown_comes_before_1001_to_combined_connections_and_raw_ones_with_events() {
    let mut gateway = Gateway::publishing();
    let mut combined: Vec<_> = (0..4).map(|_| Client::connect(&gateway, "/stream?streams=md.a")).collect();
    let raw = Client::connect(&gateway, "/ws/md.a");
    let mut raw_with_events = Client::connect(&gateway, "/ws/md.a");
    assert_eq!(raw_with_events.ask("SET_PROPERTY", "[\"events\",true]"), "{\"result\":null}");
    let publisher = Client::connect(&gateway, "/publish/md.a");
    gateway.terminate();
    for client in combined.iter_mut().chain([&mut raw_with_events]) {
        let event = client.text();
        assert!(event.starts_with("{\"e\":\"serverShutdown\",\"E\":"), "{event}");
        let event: Value = serde_json::from_str(&event).expect("an event is JSON");
        assert!(
            event["E"].is_u64() && event["in"].is_u64() && event.as_object().is_some_and(|members| members.len() == 3),
            "{event}"
        );
    }
    for mut client in combined.into_iter().chain([raw, raw_with_events, publisher]) {
        assert_eq!(client.close_code(), Some(1001));
        drop(client.socket.flush());
    }
    gateway.stop();
}

#[test]
fn what_was_published_before_the_stop_is_delivered_before_the_close() {
    let mut gateway = Gateway::publishing();
    let mut client = Client::connect(&gateway, "/ws/md.a");
    for number in 0..100 {
        gateway.publish("md.a", &number.to_string());
    }
    gateway.terminate();
    for number in 0..100 {
        assert_eq!(client.text(), number.to_string());
    }
    assert_eq!(client.close_code(), Some(1001));
    drop(client.socket.flush());
    gateway.stop();
}

#[test]
fn a_gateway_without_clients_stops_at_once() {
    Gateway::publishing().stop();
    Gateway::configured("").stop();
}

#[test]
fn a_gateway_whose_feed_runs_stops_too() {
    Gateway::demo(&["--shards", "1"]).stop();
}

#[test]
fn who_never_answers_the_close_is_not_waited_for_longer_than_the_limit() {
    let mut gateway = Gateway::configured("[limits]\nstop_timeout_ms = 300\nclose_timeout_ms = 200\n");
    let mut silent = Raw::upgraded(&gateway, "/ws");
    gateway.terminate();
    assert_eq!(silent.frame().and_then(|close| close.close_code()), Some(1001));
    gateway.stop();
}

#[test]
fn a_publish_to_a_gateway_that_is_stopping_is_503() {
    let mut gateway = Gateway::publishing();
    let mut holding = Raw::upgraded(&gateway, "/ws");
    gateway.terminate();
    let close = holding.frame().expect("a close frame comes");
    assert_eq!(close.close_code(), Some(1001));
    assert_eq!(gateway.post("/api/publish", "application/json", "{\"topic\":\"a\",\"data\":1}").status, 503);
    assert_eq!(gateway.get("/health/ready").status, 503);
    holding.send(frame(0x88, &close.payload));
    gateway.stop();
}
