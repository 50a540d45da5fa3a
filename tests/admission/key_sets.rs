//! Keys that a server publishes (JWKS), read while clients come; the sets are written by PyJWT.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::common::{Client, Gateway, PATIENCE, Raw};
use crate::endpoint::Endpoint;
use crate::keys::{Keys, logged};

fn status(gateway: &Gateway, token: &str) -> u16 {
    Raw::open(gateway.clients).handshake("/ws/md.a", &[("Authorization", &format!("Bearer {token}"))]).status
}

/// Asks until it is answered so.
#[track_caller]
fn comes_to(gateway: &Gateway, token: &str, wanted: u16) {
    let deadline = Instant::now() + PATIENCE;
    while status(gateway, token) != wanted {
        assert!(Instant::now() < deadline, "never {wanted}; it said:\n{}", gateway.said());
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn keys_come_from_a_server_and_change_while_clients_come() {
    let test = "keys_come_from_a_server_and_change_while_clients_come";
    let keys = Keys::new();
    let (mut tokens, mut set) = (Vec::new(), Vec::new());
    for (algorithm, name) in [("RS256", "one"), ("ES256", "two"), ("EdDSA", "three")] {
        keys.make(algorithm, name);
        let Some(key) = keys.jwk(test, algorithm, name) else { return };
        set.push(key);
        let claims = json!({"subscribe": "md.>"});
        tokens.push(keys.sign(test, algorithm, &format!("{name}.pem"), Some(name), claims).expect("PyJWT was there"));
    }
    let of = |keys: &[String]| format!("{{\"keys\":[{}]}}", keys.join(","));
    let server = Endpoint::open(200, &of(&set[..2]));
    let url = format!("[tokens]\njwks = \"http://{}/keys?secret\"\njwks_least_s = 1\njwks_timeout_ms = 500\n", server.address);
    let gateway = Gateway::configured(&format!("{url}{}", keys.shared()));
    // The first set is there before the gateway is.
    assert_eq!([status(&gateway, &tokens[0]), status(&gateway, &tokens[1]), status(&gateway, &tokens[2])], [101, 101, 401]);
    assert_eq!(status(&gateway, &keys.token(json!({"subscribe": ">"}))), 101, "keys of the file are in force beside them");
    server.say(200, &of(&set[1..]));
    comes_to(&gateway, &tokens[2], 101);
    assert_eq!([status(&gateway, &tokens[0]), status(&gateway, &tokens[1])], [401, 101]);
    let read = gateway.counter("jwks_refreshes");
    for (wrong, said) in [
        ((500, of(&set)), "HTTP status 500"),
        ((200, "<html>".into()), "is no set of keys"),
        ((200, "{\"keys\":[]}".into()), "holds no key"),
        ((200, "x".repeat(300_000)), "longer than 262144 bytes"),
        ((0, String::new()), "did not answer within 500ms"),
    ] {
        server.say(wrong.0, &wrong.1);
        let deadline = Instant::now() + PATIENCE;
        // Whoever names a key that is gone has the set read again.
        while !gateway.said().contains(said) {
            assert_eq!(status(&gateway, &tokens[0]), 401);
            assert!(Instant::now() < deadline, "{said:?} is never said:\n{}", gateway.said());
            std::thread::sleep(Duration::from_millis(50));
        }
        assert_eq!([status(&gateway, &tokens[1]), status(&gateway, &tokens[2])], [101, 101], "the keys in force stay");
    }
    let address = server.address;
    drop(server);
    let deadline = Instant::now() + PATIENCE;
    while !gateway.said().contains("it cannot be reached") {
        assert!(Instant::now() < deadline, "{}", gateway.said());
        std::thread::sleep(Duration::from_millis(50));
    }
    logged(&gateway, &["ERROR", "the keys of tokens stay as they are", &address.to_string()]);
    assert!(!gateway.said().contains("secret"), "a query may bear what a log should not");
    assert_eq!([status(&gateway, &tokens[0]), status(&gateway, &tokens[1])], [401, 101]);
    assert_eq!(gateway.counter("jwks_refreshes"), read);
    assert!(gateway.counter("jwks_failures") >= 6);
    gateway.stop();
}

#[test]
fn a_flood_of_unknown_keys_is_one_question_at_a_time() {
    let test = "a_flood_of_unknown_keys_is_one_question_at_a_time";
    let keys = Keys::new();
    keys.make("ES256", "one");
    let Some(key) = keys.jwk(test, "ES256", "one") else { return };
    let server = Endpoint::open(200, &format!("{{\"keys\":[{key}]}}"));
    let gateway = Gateway::configured(&format!("[tokens]\njwks = \"http://{}/\"\njwks_least_s = 3600\n", server.address));
    let stranger = keys.token(json!({}));
    for _ in 0..300 {
        assert_eq!(status(&gateway, &stranger), 401);
    }
    assert_eq!(server.asked(), ["GET / HTTP/1.1\n"], "the one at the start");
    gateway.stop();
}

#[test]
fn a_key_that_was_replaced_is_in_force_after_sighup_and_what_was_revoked_stays_so() {
    let (keys, newer) = (Keys::new(), Keys::new());
    let gateway = Gateway::configured(&keys.shared());
    let (old, new) = (keys.token(json!({"subscribe": ">"})), newer.token(json!({"subscribe": ">"})));
    assert_eq!([status(&gateway, &old), status(&gateway, &new)], [101, 401]);
    let mut live = Client::connect(&gateway, &format!("/ws/md.a?token={old}"));
    assert_eq!(gateway.post("/api/revoke", "application/json", "{\"sub\":\"bob\"}").status, 200);
    std::fs::write(keys.path("secret"), "short").expect("it can be written");
    assert!(gateway.reload().contains("32 are the least"), "{}", gateway.said());
    assert_eq!([status(&gateway, &old), status(&gateway, &new)], [101, 401], "what cannot be used changes nothing");
    std::fs::copy(newer.path("secret"), keys.path("secret")).expect("it can be copied");
    gateway.reload();
    comes_to(&gateway, &new, 101);
    comes_to(&gateway, &old, 401);
    assert_eq!(status(&gateway, &newer.token(json!({"sub": "bob", "subscribe": ">"}))), 401);
    gateway.publish("md.a", "1");
    assert_eq!(live.text(), "1", "who is there keeps what was granted");
    gateway.stop();
}

#[test]
fn a_set_in_a_file_is_read_at_start_or_the_start_is_refused() {
    let test = "a_set_in_a_file_is_read_at_start_or_the_start_is_refused";
    let keys = Keys::new();
    keys.make("EdDSA", "one");
    let Some(key) = keys.jwk(test, "EdDSA", "one") else { return };
    let token = keys.sign(test, "EdDSA", "one.pem", Some("one"), json!({"subscribe": ">"})).expect("PyJWT was there");
    std::fs::write(keys.path("set.json"), format!("{{\"keys\":[{key}]}}")).expect("it can be written");
    let gateway = Gateway::configured(&format!("[tokens]\njwks = {:?}\n", keys.path("set.json")));
    assert_eq!(status(&gateway, &token), 101);
    gateway.stop();
    std::fs::write(keys.path("set.json"), "{\"keys\":[]}").expect("it can be written");
    let toml = format!("[[listener]]\naddress = \"127.0.0.1:0\"\n[tokens]\njwks = {:?}\n", keys.path("set.json"));
    std::fs::write(keys.path("tidegate.toml"), toml).expect("it can be written");
    let check = std::process::Command::new(env!("CARGO_BIN_EXE_tidegate"))
        .args(["check", "--config", &keys.path("tidegate.toml")])
        .output();
    let check = check.expect("the binary starts");
    let said = String::from_utf8_lossy(&check.stderr);
    assert!(!check.status.success() && said.contains("set.json") && said.contains("holds no key for RS256"), "{said}");
}

/// SIGHUP: a set is named, another one takes its place, none is; keys of files and live clients stay as they are.
#[test]
fn a_set_that_is_named_later_is_in_force_after_sighup() {
    let test = "a_set_that_is_named_later_is_in_force_after_sighup";
    let keys = Keys::new();
    let (mut tokens, mut servers) = (Vec::new(), Vec::new());
    for name in ["one", "two"] {
        keys.make("EdDSA", name);
        let Some(key) = keys.jwk(test, "EdDSA", name) else { return };
        servers.push(Endpoint::open(200, &format!("{{\"keys\":[{key}]}}")));
        let claims = json!({"subscribe": ">"});
        tokens.push(keys.sign(test, "EdDSA", &format!("{name}.pem"), Some(name), claims).expect("PyJWT was there"));
    }
    let shared = keys.token(json!({"subscribe": ">"}));
    let table = |jwks: &str| format!("[tokens]\n{jwks}\n{}", keys.shared());
    let at = |server: &Endpoint| table(&format!("jwks = \"http://{}/\"\njwks_least_s = 3600", server.address));
    let gateway = Gateway::configured(&table(""));
    assert_eq!([status(&gateway, &tokens[0]), status(&gateway, &shared)], [401, 101]);
    gateway.rewrite("", &at(&servers[0]));
    assert!(gateway.reload().contains("reloaded: tokens.jwks"), "{}", gateway.said());
    comes_to(&gateway, &tokens[0], 101);
    let mut live = Client::connect(&gateway, &format!("/ws/md.a?token={}", tokens[0]));
    gateway.rewrite("", &table(&format!("jwks = {:?}", keys.path("absent.json"))));
    assert!(gateway.reload().contains("all stays as it was"), "{}", gateway.said());
    gateway.rewrite("", &at(&servers[1]));
    gateway.reload();
    comes_to(&gateway, &tokens[1], 101);
    assert_eq!([status(&gateway, &tokens[0]), status(&gateway, &shared)], [401, 101]);
    // A server that cannot be reached changes nothing.
    let gone = servers.remove(0);
    let unreachable = at(&gone);
    drop(gone);
    gateway.rewrite("", &unreachable);
    gateway.reload();
    logged(&gateway, &["ERROR", "the keys of tokens stay as they are"]);
    assert_eq!(status(&gateway, &tokens[1]), 101);
    gateway.rewrite("", &table(""));
    gateway.reload();
    comes_to(&gateway, &tokens[1], 401);
    assert_eq!(status(&gateway, &shared), 101);
    gateway.publish("md.a", "1");
    assert_eq!(live.text(), "1", "who is there keeps what was granted");
    gateway.stop();
}
