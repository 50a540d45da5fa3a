//! Revocations by the admin port.

use serde_json::{Value, json};

use crate::common::{Client, Events, Gateway, Raw, Response};
use crate::keys::{Keys, now_s};

fn revoke(gateway: &Gateway, what: &Value) -> Response {
    gateway.post("/api/revoke", "application/json", what.to_string())
}

#[test]
fn a_revocation_closes_live_clients_of_all_shards_and_refuses_later_ones() {
    let keys = Keys::new();
    let gateway = Gateway::configured(&format!("{}[anonymous]\nsubscribe = [\"public\"]\n", keys.shared()));
    let token = |sub: &str, jti: &str| keys.token(json!({"sub": sub, "jti": jti, "subscribe": ">", "publish": ">"}));
    let connect = |path: &str, token: &str| Client::connect(&gateway, &format!("{path}?token={token}"));
    let alice = token("alice", "1");
    let mut alices: Vec<Client> = (0..16).map(|_| connect("/ws/md.a", &alice)).collect();
    alices.push(connect("/publish/md.x", &alice));
    alices.push(connect("/stream", &token("alice", "2")));
    // Whoever has become her by AUTH is her, too.
    let mut renewed = connect("/stream", &token("bob", "3"));
    assert_eq!(renewed.result("AUTH", &format!("[\"{alice}\"]")), Value::Null);
    alices.push(renewed);
    let mut events = Events::open(&gateway, &format!("/sse?streams=md.a&token={alice}"), "");
    let (mut bob, mut nobody) = (connect("/ws/md.a", &token("bob", "4")), Client::connect(&gateway, "/ws/public"));
    let answer = revoke(&gateway, &json!({"sub": "alice", "until": now_s() + 600}));
    assert_eq!((answer.status, answer.text().starts_with("{\"until\":")), (200, true), "{answer:?}");
    for client in &mut alices {
        assert_eq!(client.close_code(), Some(1008));
    }
    assert_eq!(events.next(), None);
    gateway.publish("md.a", "1");
    assert_eq!(bob.text(), "1");
    gateway.publish("public", "2");
    assert_eq!(nobody.text(), "2");
    let status = |token: &str| Raw::open(gateway.clients).handshake(&format!("/ws?token={token}"), &[]).status;
    // By then each shard has it: what follows is asked of both.
    for _ in 0..8 {
        assert_eq!([status(&alice), status(&token("alice", "5")), status(&token("bob", "4"))], [401, 401, 101]);
    }
    let mut late = Client::connect(&gateway, "/stream");
    assert_eq!(late.error("AUTH", &format!("[\"{alice}\"]")), 9);
    // One token of bob's, by its own id.
    assert_eq!(revoke(&gateway, &json!({"sub": "bob", "jti": "4"})).status, 200);
    assert_eq!(bob.close_code(), Some(1008));
    assert_eq!(status(&token("bob", "6")), 101);
    gateway.stop();
}

#[test]
fn revocations_are_bounded_and_wrong_ones_are_told() {
    let keys = Keys::new();
    let gateway = Gateway::configured(&format!("[tokens]\nrevocations_max = 2\n{}", keys.shared()));
    for wrong in [
        json!({}),
        json!({"until": now_s() + 60}),
        json!({"sub": "a", "until": now_s() - 1}),
        json!({"sub": 1}),
        json!({"sub": "a", "other": 1}),
        json!({"jti": "x".repeat(256)}),
        json!([]),
    ] {
        let answer = revoke(&gateway, &wrong);
        assert_eq!((answer.status, answer.text().contains("\"code\":1")), (400, true), "{wrong}: {answer:?}");
    }
    assert_eq!([revoke(&gateway, &json!({"sub": "a"})).status, revoke(&gateway, &json!({"sub": "b"})).status], [200, 200]);
    let full = revoke(&gateway, &json!({"sub": "c"}));
    assert!(full.status == 507 && full.text().contains("tokens.revocations_max = 2"), "{full:?}");
    assert_eq!(revoke(&gateway, &json!({"sub": "b"})).status, 200, "one that is there may be moved");
    let open = Gateway::configured("");
    let answer = revoke(&open, &json!({"sub": "a"}));
    assert!(answer.status == 400 && answer.text().contains("there is nothing to revoke"), "{answer:?}");
    open.stop();
    gateway.stop();
}
