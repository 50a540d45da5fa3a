//! Tokens of clients who are there: renewed, with less than before, and over.

use serde_json::{Value, json};

use crate::common::{Client, Events, Gateway};
use crate::keys::{Keys, now_s};

fn renew(client: &mut Client, token: &str) {
    assert_eq!(client.result("AUTH", &format!("[\"{token}\"]")), Value::Null);
}

#[test]
fn a_renewed_token_that_grants_less_ends_what_it_does_not_cover() {
    let keys = Keys::new();
    let gateway = Gateway::configured(&keys.shared());
    let more = keys.token(json!({"sub": "a", "subscribe": ["md.>", "x", "y"]}));
    let less = keys.token(json!({"sub": "a", "subscribe": ["md.a", "y"]}));
    let mut client = Client::connect(&gateway, &format!("/stream?token={more}"));
    client.subscribe(&["md.a", "md.*", "x", "md.b;last", "y"]);
    renew(&mut client, &less);
    let ended: Vec<String> = (0..3).map(|_| client.text()).collect();
    for name in ["md.*", "x", "md.b"] {
        assert!(ended.contains(&format!("{{\"e\":\"unsubscribed\",\"s\":\"{name}\"}}")), "{ended:?}");
    }
    for topic in ["md.b", "md.c", "x", "md.a", "y"] {
        gateway.publish(topic, "1");
    }
    let heard = [client.text(), client.text()];
    assert!(heard.contains(&"{\"stream\":\"md.a\",\"o\":1,\"data\":1}".into()), "{heard:?}");
    assert!(heard.contains(&"{\"stream\":\"y\",\"o\":1,\"data\":1}".into()), "{heard:?}");
    client.assert_silent();
    assert_eq!(client.error("SUBSCRIBE", "[\"x\"]"), 4);
    renew(&mut client, &more);
    client.subscribe(&["x"]);
    gateway.stop();
}

/// Of its own the gateway tells a raw client nothing but replies, so it could not know that a subscription ended.
#[test]
fn a_client_that_cannot_be_told_is_closed_where_its_new_token_grants_less() {
    let keys = Keys::new();
    let gateway = Gateway::configured(&keys.shared());
    let (more, less) = (keys.token(json!({"subscribe": "md.>"})), keys.token(json!({"subscribe": "md.b"})));
    let mut client = Client::connect(&gateway, &format!("/ws/md.a?token={more}"));
    renew(&mut client, &more);
    gateway.publish("md.a", "1");
    assert_eq!(client.text(), "1");
    renew(&mut client, &less);
    assert_eq!(client.close_code(), Some(1008));
    let mut told = Client::connect(&gateway, &format!("/ws/md.a?token={more}"));
    told.result("SET_PROPERTY", "[\"events\",true]");
    renew(&mut told, &less);
    assert_eq!(told.text(), "{\"e\":\"unsubscribed\",\"s\":\"md.a\"}");
    gateway.stop();
}

/// Whoever watches over the gateway finds a client by whose token it shows, the newest one.
#[test]
fn a_connection_is_listed_and_found_by_its_tokens_sub() {
    let keys = Keys::new();
    let gateway = Gateway::configured(&format!("{}[anonymous]\nsubscribe = [\">\"]\n", keys.shared()));
    let token = |sub: &str| keys.token(json!({"sub": sub, "subscribe": ">"}));
    let mut alice = Client::connect(&gateway, &format!("/stream?token={}", token("alice")));
    let _other = Client::connect(&gateway, &format!("/ws/a?token={}", token("a b&\u{e9}")));
    let _nobody = Client::connect(&gateway, "/ws/a");
    let listed = |query: &str| -> Vec<Value> {
        let answer: Value = serde_json::from_str(gateway.get(&format!("/api/connections{query}")).text()).expect("JSON");
        answer["connections"].as_array().expect("a list").iter().map(|row| row["sub"].clone()).collect()
    };
    let mut all = listed("");
    all.sort_by_key(Value::to_string);
    assert_eq!(all, [json!("a b&\u{e9}"), json!("alice"), Value::Null]);
    assert_eq!((listed("?sub=alice"), listed("?sub=a%20b%26%C3%A9")), (vec![json!("alice")], vec![json!("a b&\u{e9}")]));
    assert_eq!((listed("?sub=ali"), listed("?sub=")), (vec![], vec![]), "letter by letter");
    renew(&mut alice, &token("bob"));
    assert_eq!((listed("?sub=alice"), listed("?sub=bob&role=subscriber")), (vec![], vec![json!("bob")]));
    gateway.stop();
}

#[test]
fn limits_of_a_token_hold() {
    let keys = Keys::new();
    let gateway = Gateway::configured(&keys.shared());
    let limits = json!({"subscriptions_max": 2, "requests_per_second": 1, "requests_burst": 4});
    let token = keys.token(json!({"subscribe": ">", "limits": limits}));
    let mut client = Client::connect(&gateway, &format!("/stream?token={token}"));
    assert_eq!(client.error("SUBSCRIBE", "[\"a\",\"b\",\"c\"]"), 5);
    client.subscribe(&["a", "b"]);
    assert_eq!(client.error("SUBSCRIBE", "[\"c\"]"), 5);
    let mut codes = Vec::new();
    for _ in 0..20 {
        let reply = client.ask("PING", "");
        codes.push(reply.contains("\"code\":8"));
    }
    assert!(codes.contains(&true), "twenty at once are more than four and one a second");
    gateway.stop();
}

/// Who renews stays, who does not is closed, through every door.
#[test]
fn token_outlived() {
    let keys = Keys::new();
    let gateway = Gateway::configured(&format!("[tokens]\nskew_s = 0\n{}[anonymous]\nsubscribe = [\"public\"]\n", keys.shared()));
    // A token made at the end of a second has that much less.
    let short = || keys.token(json!({"exp": now_s() + 2, "subscribe": ">", "publish": ">"}));
    let path = |path: &str, joint: char| format!("{path}{joint}token={}", short());
    let mut renewed = Client::connect(&gateway, &path("/stream?streams=md.a", '&'));
    let mut anonymous = Client::connect(&gateway, "/ws/public");
    let mut closing: Vec<Client> =
        [path("/ws/md.a", '?'), path("/stream", '?'), path("/publish/md.x", '?'), path("/publish?ack=1", '&')]
            .iter()
            .map(|path| Client::connect(&gateway, path))
            .collect();
    let mut events = Events::open(&gateway, &path("/sse?streams=md.a", '&'), "");
    renew(&mut renewed, &keys.token(json!({"subscribe": "md.>"})));
    for client in &mut closing {
        assert_eq!(client.close_code(), Some(1008));
    }
    assert_eq!(events.next(), None, "a stream of events just ends");
    gateway.publish("md.a", "1");
    assert_eq!(renewed.text(), "{\"stream\":\"md.a\",\"o\":1,\"data\":1}");
    gateway.publish("public", "2");
    assert_eq!(anonymous.text(), "2");
    gateway.stop();
}
