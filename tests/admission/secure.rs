//! The operator's servers over TLS: a certificate is believed where its authority is configured, and nothing is asked of anybody else.

use serde_json::json;

use crate::common::Authority;
use crate::common::{Gateway, Raw};
use crate::endpoint::Endpoint;
use crate::keys::{Keys, logged};

fn status(gateway: &Gateway, headers: &[(&str, &str)]) -> u16 {
    Raw::open(gateway.clients).handshake("/ws/md.a", headers).status
}

/// With the certificates of the test: one that is right, one of another host, one that was outlived.
fn authority() -> Authority {
    let authority = Authority::new();
    authority.sign_valid("right");
    authority.sign("another", &["another.example"], (2020, 4000));
    authority.sign("outlived", &["127.0.0.1"], (2001, 2002));
    authority
}

/// Servers that are not whom the gateway is to ask, whether it is told of the authority, and what the log says of each.
fn wrong(authority: &Authority, body: &str) -> [(Endpoint, bool, &'static str); 4] {
    let secure = |name: &str| Endpoint::secure(200, body, authority, name);
    [
        (secure("right"), false, "name the authority that signed it"),
        (secure("another"), true, "not valid for name"),
        (secure("outlived"), true, "expired"),
        (Endpoint::open(200, body), true, "cannot be spoken to with TLS"),
    ]
}

#[test]
fn the_callout_is_asked_over_tls_where_its_certificate_is_right() {
    let authority = authority();
    let body = json!({"subscribe": "md.>"}).to_string();
    let ca = format!("ca = {:?}\n", authority.path("ca.pem"));
    let table = |server: &Endpoint, ca: &str| format!("[callout]\nurl = \"https://{}/ask\"\n{ca}", server.address);
    let right = Endpoint::secure(200, &body, &authority, "right");
    let gateway = Gateway::configured(&table(&right, &ca));
    assert_eq!((status(&gateway, &[]), right.asked().len()), (101, 1));
    gateway.stop();
    for (server, knows_authority, said) in wrong(&authority, &body) {
        let gateway = Gateway::configured(&table(&server, if knows_authority { &ca } else { "" }));
        assert_eq!(status(&gateway, &[]), 503, "{said}");
        logged(&gateway, &["ERROR", "gives no answer", said]);
        assert!(server.asked().iter().all(|asked| !asked.starts_with("POST")), "it is told nothing of a client");
        gateway.stop();
    }
}

#[test]
fn keys_are_taken_over_tls_where_the_certificate_is_right() {
    let test = "keys_are_taken_over_tls_where_the_certificate_is_right";
    let (keys, authority) = (Keys::new(), authority());
    keys.make("EdDSA", "one");
    let Some(key) = keys.jwk(test, "EdDSA", "one") else { return };
    let token = keys.sign(test, "EdDSA", "one.pem", Some("one"), json!({"subscribe": ">"})).expect("PyJWT was there");
    let bearer = format!("Bearer {token}");
    let set = format!("{{\"keys\":[{key}]}}");
    let ca = format!("jwks_ca = {:?}\n", authority.path("ca.pem"));
    let table = |server: &Endpoint, ca: &str| format!("[tokens]\njwks = \"https://{}/keys\"\n{ca}", server.address);
    let right = Endpoint::secure(200, &set, &authority, "right");
    let gateway = Gateway::configured(&table(&right, &ca));
    assert_eq!(status(&gateway, &[("Authorization", &bearer)]), 101);
    gateway.stop();
    for (server, knows_authority, said) in wrong(&authority, &set) {
        let gateway = Gateway::configured(&table(&server, if knows_authority { &ca } else { "" }));
        assert_eq!(status(&gateway, &[("Authorization", &bearer)]), 401, "{said}");
        logged(&gateway, &["ERROR", "the keys of tokens stay as they are", said]);
        gateway.stop();
    }
}
