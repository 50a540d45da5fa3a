//! Keys: the newest of each is a topic's snapshot, whatever way a publication came in.

use serde_json::json;

use crate::common::{Client, Gateway, PUBLISHING};

/// So many connections that each shard has some.
const CROWD: usize = 8;

fn keyed() -> Gateway {
    Gateway::configured(&format!(
        "{PUBLISHING}[[topic]]\npattern = \"md.>\"\nkind = \"state\"\nkey = \"/s\"\nkeys_max = 4\nring_publications = 2\n"
    ))
}

/// What `last` gives: offsets and data, up to the newest.
fn snapshot(gateway: &Gateway, topic: &str) -> Vec<(u64, String)> {
    let mut client = Client::connect(gateway, "/stream");
    let newest = client.subscribe(&[&format!("{topic};last")])[0]["offset"].as_u64().expect("an offset");
    let mut entries: Vec<(u64, String)> = Vec::new();
    while entries.last().is_none_or(|(offset, _)| *offset < newest) && newest > 0 {
        let message: serde_json::Value = serde_json::from_str(&client.text()).expect("a publication is JSON");
        entries.push((message["o"].as_u64().expect("an offset"), message["data"].to_string()));
    }
    client.assert_silent();
    entries
}

#[test]
fn last_gives_the_newest_of_every_key_in_offset_order_then_live() {
    let gateway = keyed();
    for (symbol, price) in [("a", 1), ("b", 2), ("c", 3), ("a", 4), ("c", 5)] {
        gateway.publish("md.x", &format!("{{\"s\":\"{symbol}\",\"p\":{price}}}"));
    }
    let expected = [(2, json!({"s": "b", "p": 2})), (4, json!({"s": "a", "p": 4})), (5, json!({"s": "c", "p": 5}))];
    let expected = expected.map(|(offset, data)| (offset, data.to_string()));
    let mut clients = Vec::new();
    for _ in 0..CROWD {
        assert_eq!(snapshot(&gateway, "md.x").into_iter().map(|(o, data)| (o, sorted(&data))).collect::<Vec<_>>(), expected);
        clients.push(Client::connect(&gateway, "/ws/md.x;last"));
    }
    gateway.publish("md.x", "{\"s\":\"b\"}");
    for client in &mut clients {
        let came: Vec<String> = (0..4).map(|_| client.text()).collect();
        assert_eq!(came[0], "{\"s\":\"b\",\"p\":2}", "byte for byte, though the ring gave it up");
        assert_eq!(came[3], "{\"s\":\"b\"}");
    }
}

fn sorted(json: &str) -> String {
    serde_json::from_str::<serde_json::Value>(json).expect("it is JSON").to_string()
}

#[test]
fn a_key_comes_from_the_payload_whatever_its_publisher_says_and_may_be_a_number() {
    let gateway = keyed();
    let mut client = Client::connect(&gateway, "/ws");
    for data in ["{\"s\":\"a\"},\"z\"", "{\"s\":7},\"z\"", "{\"s\":\"a\",\"n\":1},\"y\"", "{\"s\":7,\"n\":1},\"x\"", "1", "2"] {
        client.result("PUBLISH", &format!("[\"md.x\",{data}]"));
    }
    let offsets: Vec<u64> = snapshot(&gateway, "md.x").into_iter().map(|(offset, _)| offset).collect();
    assert_eq!(offsets, [3, 4, 6], "what bears no key is of one more key");
    assert_eq!(client.error("PUBLISH", &format!("[\"md.x\",{{\"s\":\"{}\"}}]", "k".repeat(256))), 1);
    assert_eq!(client.error("PUBLISH", &format!("[\"md.x\",1,\"{}\"]", "k".repeat(256))), 1);
    let refused = gateway.post("/api/topics/md.x", "application/json", format!("{{\"s\":\"{}\"}}", "k".repeat(256)));
    assert_eq!(refused.status, 400, "{refused:?}");
}

#[test]
fn without_a_pointer_the_publisher_names_the_key_and_takes_it_out() {
    let gateway = Gateway::publishing();
    let mut client = Client::connect(&gateway, "/ws");
    client.result("PUBLISH", "[\"md.x\",0]");
    client.result("PUBLISH", "[\"md.x\",1,\"a\"]");
    gateway.post("/api/topics/md.x?key=b%2Fc", "application/json", "2");
    gateway.post("/api/publish", "application/json", "{\"topic\":\"md.x\",\"data\":3,\"key\":\"a\"}");
    let offsets = || snapshot(&gateway, "md.x").into_iter().map(|(offset, _)| offset).collect::<Vec<_>>();
    assert_eq!(offsets(), [1, 3, 4]);
    let mut live = Client::connect(&gateway, "/stream?streams=md.x");
    let removed = gateway.post("/api/topics/md.x?key=b%2Fc&remove=1", "application/json", "");
    assert_eq!(removed.status, 200, "{removed:?}");
    assert_eq!(live.text(), "{\"stream\":\"md.x\",\"o\":5,\"data\":\"\"}", "who had the key hears that it is gone");
    gateway.publish("md.x", "6");
    assert_eq!(offsets(), [4, 6]);
}

#[test]
fn one_key_too_many_takes_the_place_of_the_one_that_has_not_changed_for_longest() {
    let gateway = keyed();
    for symbol in ["a", "b", "c", "a", "d", "e"] {
        gateway.publish("md.x", &format!("{{\"s\":\"{symbol}\"}}"));
    }
    for _ in 0..CROWD {
        let offsets: Vec<u64> = snapshot(&gateway, "md.x").into_iter().map(|(offset, _)| offset).collect();
        assert_eq!(offsets, [3, 4, 5, 6], "b went");
    }
}
