//! The property `heartbeat`: each second, for each topic that sent nothing in it.

use serde_json::Value;

use crate::common::{Client, Gateway};

/// The next message, which is a heartbeat: topic, epoch, offset.
fn heartbeat(client: &mut Client) -> (String, String, u64) {
    let text = client.text();
    assert!(text.starts_with("{\"e\":\"heartbeat\",\"E\":"), "{text}");
    let event: Value = serde_json::from_str(&text).expect("an event is JSON");
    assert!(event["E"].as_u64().is_some_and(|ms| ms > 1_700_000_000_000), "milliseconds since 1970: {text}");
    let string = |name: &str| event[name].as_str().unwrap_or_else(|| panic!("no {name} in {text}")).to_owned();
    (string("s"), string("epoch"), event["o"].as_u64().expect("an offset"))
}

#[test]
fn a_quiet_topic_is_told_of_with_its_position() {
    let gateway = Gateway::publishing();
    let (epoch, offset) = gateway.publish("md.a", "1");
    let clients: Vec<Client> = ["/stream", "/ws", "/stream", "/ws"].map(|path| Client::connect(&gateway, path)).into();
    for mut client in clients {
        assert_eq!(client.ask("SET_PROPERTY", "[\"heartbeat\",true]"), "{\"result\":null}");
        assert_eq!(client.ask("GET_PROPERTY", "[\"heartbeat\"]"), "{\"result\":true}");
        assert_eq!(client.ask("SUBSCRIBE", "[\"md.a\",\"md.b\"]"), "{\"result\":null}");
        // A topic that was just made has its first a beat later.
        let mut told = [0, 0];
        while told.iter().any(|times| *times < 2) {
            match heartbeat(&mut client) {
                (topic, of, at) if topic == "md.a" => {
                    assert_eq!((of, at), (epoch.clone(), offset));
                    told[0] += 1;
                }
                (topic, _, at) => {
                    assert_eq!((topic.as_str(), at), ("md.b", 0));
                    told[1] += 1;
                }
            }
        }
    }
    assert!(gateway.counter("heartbeats") >= 16);
    gateway.stop();
}

#[test]
fn a_topic_that_speaks_is_not_told_of_and_off_is_off() {
    let gateway = Gateway::publishing();
    let mut client = Client::connect(&gateway, "/stream");
    client.ask("SET_PROPERTY", "[\"heartbeat\",true]");
    client.ask("SUBSCRIBE", "[\"md.busy\",\"md.quiet\"]");
    // The busy one publishes many times between two beats; each heartbeat that comes is of the quiet one.
    let (mut published, mut beats) = (0, 0);
    while beats < 2 {
        published += 1;
        gateway.publish("md.busy", &published.to_string());
        loop {
            let text = client.text();
            if text.starts_with("{\"stream\":\"md.busy\"") {
                break;
            }
            assert!(text.contains("\"s\":\"md.quiet\""), "{text}");
            beats += 1;
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    client.send("{\"method\":\"SET_PROPERTY\",\"params\":[\"heartbeat\",false],\"id\":\"off\"}");
    while !client.text().contains("\"off\"") {}
    let told = gateway.counter("heartbeats");
    let mut other = Client::connect(&gateway, "/stream?streams=md.other");
    other.ask("SET_PROPERTY", "[\"heartbeat\",true]");
    // Two beats of another client on whatever shard: those of the first would have come.
    heartbeat(&mut other);
    heartbeat(&mut other);
    client.send("{\"method\":\"PING\",\"id\":\"still\"}");
    assert!(client.text().contains("\"still\""));
    assert!(gateway.counter("heartbeats") >= told + 2);
    gateway.stop();
}

#[test]
fn with_heartbeats_a_connection_holds_a_hundred_topics() {
    let gateway = Gateway::publishing();
    let names = |from: usize, to: usize| {
        let names: Vec<String> = (from..to).map(|number| format!("\"t{number}\"")).collect();
        format!("[{}]", names.join(","))
    };
    let mut client = Client::connect(&gateway, "/stream");
    client.ask("SUBSCRIBE", &names(0, 101));
    assert_eq!(client.error("SET_PROPERTY", "[\"heartbeat\",true]"), 5);
    assert_eq!(client.ask("GET_PROPERTY", "[\"heartbeat\"]"), "{\"result\":false}");
    client.ask("UNSUBSCRIBE", "[\"t100\"]");
    let mut other = Client::connect(&gateway, "/stream");
    assert_eq!(other.ask("SET_PROPERTY", "[\"heartbeat\",true]"), "{\"result\":null}");
    assert_eq!(other.ask("SUBSCRIBE", &names(0, 100)), "{\"result\":null}");
    other.send(&format!("{{\"method\":\"SUBSCRIBE\",\"params\":{},\"id\":\"more\"}}", names(100, 101)));
    let refused = loop {
        let text = other.text();
        if text.contains("\"more\"") {
            break text;
        }
    };
    assert!(refused.starts_with("{\"error\":{\"code\":5,"), "{refused}");
    gateway.stop();
}
