//! Tokens at the doors: where they stand, what they grant, what is said of those that are not taken.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::common::{Client, Events, Gateway, PATIENCE, Raw, Response};
use crate::keys::{Keys, logged, now_s};

fn bearer(token: &str) -> String {
    format!("Bearer {token}")
}

fn handshake(gateway: &Gateway, path: &str, headers: &[(&str, &str)]) -> Response {
    Raw::open(gateway.clients).handshake(path, headers)
}

fn status(gateway: &Gateway, path: &str, token: Option<&str>) -> u16 {
    let bearer = token.map(bearer);
    let headers: Vec<_> = bearer.iter().map(|bearer| ("Authorization", bearer.as_str())).collect();
    handshake(gateway, path, &headers).status
}

#[test]
fn a_token_of_each_algorithm_is_held_against_its_own_key() {
    let test = "a_token_of_each_algorithm_is_held_against_its_own_key";
    let keys = Keys::new();
    let mut config = format!("{}kid = \"old\"\n", keys.shared());
    for algorithm in ["RS256", "ES256", "EdDSA"] {
        keys.make(algorithm, algorithm);
        keys.make(algorithm, "stranger");
        config.push_str(&keys.key(algorithm, &format!("{algorithm}.pub")));
    }
    let gateway = Gateway::configured(&config);
    let claims = || json!({"sub": "alice", "subscribe": ["md.>"]});
    for (algorithm, file, kid, expected) in [
        ("HS256", "secret", Some("old"), 101),
        ("HS256", "secret", Some("new"), 401),
        ("HS512", "secret", Some("old"), 401),
        ("RS256", "RS256.pem", None, 101),
        ("RS256", "RS256.pem", Some("any"), 101),
        ("PS256", "RS256.pem", None, 401),
        ("ES256", "ES256.pem", None, 101),
        ("EdDSA", "EdDSA.pem", None, 101),
        ("EdDSA", "stranger.pem", None, 401),
    ] {
        let Some(token) = keys.sign(test, algorithm, file, kid, claims()) else { return };
        assert_eq!(status(&gateway, "/ws/md.a", Some(&token)), expected, "{algorithm} {file} {kid:?}");
    }
    gateway.stop();
}

/// `alg: none`, a public key taken for a secret, a `kid` that is none, headers that name keys of their own.
#[test]
fn jwt_tricks() {
    use jsonwebtoken::{Algorithm, EncodingKey, Header};
    let keys = Keys::new();
    keys.make("RS256", "key");
    let gateway = Gateway::configured(&format!("{}kid = \"k\"\n", keys.key("RS256", "key.pub")));
    let public = std::fs::read(keys.path("key.pub")).expect("it was written");
    let claims = json!({"exp": now_s() + 60, "subscribe": ">"});
    let confused = |header: Header, secret: &[u8]| {
        jsonwebtoken::encode(&header, &claims, &EncodingKey::from_secret(secret)).expect("it signs")
    };
    let named = |kid: &str| Header { kid: Some(kid.into()), ..Header::new(Algorithm::HS256) };
    let good = confused(named("k"), b"x");
    let (_, rest) = good.split_once('.').expect("three parts");
    let none = |text: &str| {
        use base64::Engine;
        let header = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(format!("{{\"alg\":\"{text}\",\"kid\":\"k\"}}"));
        [format!("{header}.{rest}"), format!("{header}.{}.", rest.split_once('.').expect("two parts").0)]
    };
    let mut tricks =
        vec![confused(named("k"), &public), confused(Header::new(Algorithm::HS256), public.trim_ascii_end()), good.clone()];
    tricks.extend(["none", "None", "nOnE", "RS256", "HS256"].into_iter().flat_map(none));
    tricks.extend(["../../dev/null", "k\0", "' OR 1=1", "", &"k".repeat(2000)].map(|kid| confused(named(kid), b"")));
    tricks.push(confused(Header { jku: Some("http://127.0.0.1:1/keys".into()), ..named("k") }, b"x"));
    tricks.push(confused(Header { crit: Some(vec!["exp".into()]), ..named("k") }, b"x"));
    for trick in &tricks {
        let answer = handshake(&gateway, "/ws/md.a", &[("Authorization", &bearer(trick))]);
        assert_eq!(
            (answer.status, answer.text()),
            (401, "{\"error\":{\"code\":9,\"msg\":\"the token is not accepted\"}}"),
            "{trick}"
        );
        assert_eq!(answer.header("www-authenticate"), Some("Bearer"));
    }
    assert_eq!(gateway.counter("refusals"), tricks.len() as u64);
    gateway.stop();
}

#[test]
fn a_token_comes_by_header_subprotocol_query_or_auth_and_only_one_of_them() {
    let keys = Keys::new();
    let gateway = Gateway::configured(&keys.shared());
    let (token, other) = (keys.token(json!({"subscribe": "md.>"})), keys.token(json!({"subscribe": "x"})));
    let (bearer, query) = (bearer(&token), format!("/ws/md.a?token={token}"));
    let protocols = |token: &str| format!("tidegate.v1, bearer.{token}");
    assert_eq!(handshake(&gateway, "/ws/md.a", &[("Authorization", &bearer)]).status, 101);
    assert_eq!(handshake(&gateway, &query, &[]).status, 101);
    let offered = handshake(&gateway, "/ws/md.a", &[("Sec-WebSocket-Protocol", &protocols(&token))]);
    assert_eq!((offered.status, offered.header("sec-websocket-protocol")), (101, Some("tidegate.v1")));
    let alone = handshake(&gateway, "/ws/md.a", &[("Sec-WebSocket-Protocol", &format!("bearer.{token}"))]);
    assert!(alone.status == 400 && alone.text().contains("needs tidegate.v1 beside it"), "{alone:?}");
    assert_eq!(handshake(&gateway, &query, &[("Authorization", &bearer)]).status, 101, "the same twice");
    let several = handshake(&gateway, &query, &[("Sec-WebSocket-Protocol", &protocols(&other))]);
    assert!(several.status == 400 && several.text().contains("several different tokens"), "{several:?}");
    let mut client = Client::connect(&gateway, "/stream");
    assert_eq!(client.error("SUBSCRIBE", "[\"md.a\"]"), 4);
    assert_eq!(client.result("AUTH", &format!("[\"{token}\"]")), Value::Null);
    client.subscribe(&["md.a"]);
    assert_eq!(client.error("AUTH", "[\"a.b.c\"]"), 9);
    client.subscribe(&["md.b"]);
    for secret in [&token, &other] {
        assert!(
            !gateway.said().contains(secret.as_str())
                && !gateway.said().contains(secret.rsplit('.').next().expect("a signature"))
        );
    }
    gateway.stop();
}

#[test]
fn every_door_gives_what_is_granted_and_nothing_else() {
    let keys = Keys::new();
    let gateway = Gateway::configured(&format!("{}[page]\nenabled = true\n[echo]\nenabled = true\n", keys.shared()));
    let hears = keys.token(json!({"subscribe": ["md.>", "one"]}));
    let says = keys.token(json!({"publish": ["md.*"]}));
    let hears_all = keys.token(json!({"subscribe": [">"]}));
    for (path, expected) in [
        ("/ws", [101, 101, 101, 101]),
        ("/ws/md.a", [401, 101, 403, 101]),
        ("/ws/md.*;last", [401, 101, 403, 101]),
        ("/ws/>", [401, 403, 403, 101]),
        ("/stream?streams=md.a/one", [401, 101, 403, 101]),
        ("/stream?streams=md.a/two", [401, 403, 403, 101]),
        ("/stream?streams=*.a", [401, 403, 403, 101]),
        ("/sse?streams=md.a/two", [401, 403, 403, 200]),
        ("/publish", [401, 403, 101, 403]),
        ("/publish/md.a", [401, 403, 101, 403]),
        ("/publish/md.a.b?ack=1", [401, 403, 403, 403]),
        ("/echo", [401, 101, 101, 101]),
        ("/topics", [401, 403, 403, 200]),
        ("/health/ready", [200, 200, 200, 200]),
    ] {
        for (token, expected) in [None, Some(&hears), Some(&says), Some(&hears_all)].into_iter().zip(expected) {
            // An answer of events has no end.
            if path.starts_with("/sse") && expected == 200 {
                let bearer = format!("Authorization: {}\r\n", bearer(token.expect("only with one")));
                drop(Events::open(&gateway, path, &bearer));
                continue;
            }
            assert_eq!(status(&gateway, path, token.map(String::as_str)), expected, "{path} {token:?}");
        }
    }
    let mut client = Client::connect(&gateway, &format!("/stream?token={hears}"));
    let denied = client.ask("SUBSCRIBE", "[\"md.a\",\"two\"]");
    assert!(denied.contains("\"code\":4,\"msg\":\"two: not allowed\""), "{denied}");
    for streams in ["[\">\"]", "[\"*;last\"]", "[\"*.a;rate=1s\"]", "[\"md\"]"] {
        assert_eq!(client.error("SUBSCRIBE", streams), 4, "{streams}");
    }
    assert_eq!(client.result("LIST_SUBSCRIPTIONS", ""), json!([]), "all or none");
    client.subscribe(&["md.>", "one"]);
    assert_eq!(client.error("PUBLISH", "[\"md.a\",1]"), 4);
    let mut publisher = Client::connect(&gateway, &format!("/stream?token={says}"));
    publisher.publish("md.a", "1");
    assert_eq!(client.text(), "{\"stream\":\"md.a\",\"o\":1,\"data\":1}");
    assert_eq!(publisher.error("PUBLISH", "[\"md.a.b\",1]"), 4);
    let mut many = Client::connect(&gateway, &format!("/publish?token={says}"));
    many.send("{\"stream\":\"md.b\",\"data\":2}");
    assert_eq!(client.text(), "{\"stream\":\"md.b\",\"o\":1,\"data\":2}");
    many.send("{\"stream\":\"other\",\"data\":2}");
    assert_eq!(many.close_code(), Some(1008));
    gateway.stop();
}

#[test]
fn whoever_has_no_token_may_what_anonymous_says() {
    let keys = Keys::new();
    let open = Gateway::configured("[anonymous]\nsubscribe = [\"public.>\"]\npublish = [\"in\"]\n");
    let closed = Gateway::configured(&format!("{}[anonymous]\nsubscribe = [\"public.>\"]\npublish = [\"in\"]\n", keys.shared()));
    for (gateway, refused) in [(&open, 403), (&closed, 401)] {
        for (path, expected) in
            [("/ws/public.a", 101), ("/ws/public.>", 101), ("/ws/private", refused), ("/ws/>", refused), ("/publish/in", 101)]
        {
            assert_eq!(status(gateway, path, None), expected, "{path}");
        }
        assert!([403, 401].contains(&status(gateway, "/publish/public.a", None)));
    }
    // A token says all: what anybody may is no part of it.
    assert_eq!(status(&closed, "/ws/public.a", Some(&keys.token(json!({"subscribe": "md"})))), 403);
    assert_eq!(status(&closed, "/ws/public.a", Some(&keys.token(json!({"exp": 1})))), 401);
    open.stop();
    closed.stop();
}

/// The log says what is wrong, with what names the request; the client is told the same whatever it is.
#[test]
fn what_is_denied_is_in_the_log_and_not_in_the_answer() {
    let keys = Keys::new();
    let settings = "[log]\nformat = \"json\"\n[tokens]\nissuer = \"us\"\naudiences = [\"md\"]\n";
    let gateway = Gateway::configured(&format!("{settings}{}", keys.shared()));
    let told = |id: &str| -> Vec<Value> {
        let said = gateway.said();
        said.lines().filter(|line| line.contains(id)).map(|line| serde_json::from_str(line).expect("a line is JSON")).collect()
    };
    for (number, (claims, reason)) in [
        (json!({"iss": "us", "aud": "md", "exp": now_s() - 60, "sub": "al\u{1b}ice"}), "(exp); sub \"al\\u{1b}ice\""),
        (json!({"iss": "us", "aud": "md", "nbf": now_s() + 600}), "(nbf)"),
        (json!({"iss": "them", "aud": "md"}), "its `iss` is not tokens.issuer"),
        (json!({"iss": "us", "aud": ["x"]}), "its `aud` is none of tokens.audiences"),
        (json!({"iss": "us", "aud": "md", "subscribe": "a..b"}), "the claim `subscribe` cannot be used"),
    ]
    .into_iter()
    .enumerate()
    {
        let (token, id) = (keys.token(claims), format!("request-{number}"));
        let answer = handshake(&gateway, "/ws/md.a", &[("Authorization", &bearer(&token)), ("X-Request-Id", &id)]);
        assert_eq!((answer.status, answer.text()), (401, "{\"error\":{\"code\":9,\"msg\":\"the token is not accepted\"}}"));
        logged(&gateway, &[&id]);
        let [line] = &told(&id)[..] else { panic!("one line for each: {:?}", told(&id)) };
        assert!(line["cause"].as_str().is_some_and(|cause| cause.contains(reason)), "{line}");
        assert!(line["client"].as_str().is_some_and(|client| client.starts_with("127.0.0.1:")), "{line}");
        assert!(line["connection"].as_str().is_some_and(|id| id.split('-').count() == 3), "{line}");
        assert_eq!((&line["message"], &line["reason"]), (&json!("a client was refused"), &json!("unauthorized")), "{line}");
        assert!(!gateway.said().contains(&token) && !gateway.said().contains('\u{1b}'));
    }
    // So does a page of another place, and who has shown a token is named in each line about it.
    let alice = bearer(&keys.token(json!({"iss": "us", "aud": "md", "sub": "al\u{1b}ice", "subscribe": "md.>"})));
    for (id, path, fields, said) in [
        ("of-a-page", "/ws/md.a", ("Origin", "https://elsewhere"), "Origin: \"https://elsewhere\" is not among"),
        ("of-alice", "/ws/other", ("Authorization", &*alice), "subscribing: \"other\" is not granted"),
    ] {
        assert_eq!(handshake(&gateway, path, &[fields, ("X-Request-Id", id)]).status, 403);
        logged(&gateway, &[id]);
        let [line] = &told(id)[..] else { panic!("one line for each: {:?}", told(id)) };
        assert!(line["cause"].as_str().is_some_and(|cause| cause.contains(said)), "{line}");
        assert_eq!(line["sub"], if id == "of-alice" { json!("al\u{1b}ice") } else { Value::Null }, "{line}");
    }
    gateway.stop();
}

/// Whoever stays is named as it came: by its connection, its request, its token.
#[test]
fn what_a_client_is_denied_that_stays_is_one_line_each_or_counted() {
    const ASKED: u64 = 50;
    let keys = Keys::new();
    let gateway = Gateway::of_one_shard("", &format!("[log]\nclient_lines_per_second = 3\n{}", keys.shared()));
    let alice = keys.token(json!({"sub": "alice", "subscribe": "md.>"}));
    let mut client = Client::connect_with(&gateway, "/stream", &[("Authorization", &bearer(&alice)), ("X-Request-Id", "came-1")]);
    for _ in 0..ASKED {
        let denied = client.ask("SUBSCRIBE", "[\"secret\"]");
        assert!(denied.contains("\"msg\":\"secret: not allowed\""), "{denied}");
    }
    let deadline = Instant::now() + PATIENCE;
    loop {
        let said = gateway.said();
        let lines: Vec<&str> = said.lines().filter(|line| line.contains("a client was denied")).collect();
        for line in &lines {
            for part in ["connection=0-", "request_id=\"came-1\"", "client=\"127.0.0.1:", "sub=\"alice\"", "SUBSCRIBE to"] {
                assert!(line.contains(part), "no {part} in {line}");
            }
        }
        let count = |line: &str| line.split("count=").nth(1)?.split(' ').next()?.parse::<u64>().ok();
        let left_out: u64 = said.lines().filter(|line| line.contains("were denied something")).filter_map(count).sum();
        if lines.len() as u64 + left_out == ASKED {
            assert!(left_out > 0, "{said}");
            break;
        }
        assert!(Instant::now() < deadline, "{} lines and {left_out} more of {ASKED}: {said}", lines.len());
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(gateway.counter("denials"), ASKED);
    gateway.stop();
}

#[test]
fn a_key_that_cannot_be_used_is_told_at_start_and_by_check() {
    use std::process::Command;
    let keys = Keys::new();
    keys.make("ES256", "key");
    std::fs::write(keys.path("short"), "secret\n").expect("it can be written");
    for (algorithm, file, said) in [
        ("ES256", "missing", "cannot be read"),
        ("RS256", "key.pub", "holds a key that is none for RS256: it takes an RSA key"),
        ("ES256", "key.pem", "openssl pkey -in PRIVATE -pubout"),
        ("HS256", "key.pub", "holds PEM, and HS256 takes the bytes of a shared secret"),
        ("HS256", "short", "holds a secret of 6 bytes, and 32 are the least"),
    ] {
        let toml = format!("[[listener]]\naddress = \"127.0.0.1:0\"\n{}", keys.key(algorithm, file));
        std::fs::write(keys.path("tidegate.toml"), toml).expect("it can be written");
        for command in ["check", "serve"] {
            let mut tidegate = Command::new(env!("CARGO_BIN_EXE_tidegate"));
            let config = keys.path("tidegate.toml");
            let output = match command {
                "check" => tidegate.args(["check", "--config", &config]).output(),
                _ => tidegate.args(["serve", "--config", &config]).output(),
            };
            let output = output.expect("the binary starts");
            let error = String::from_utf8_lossy(&output.stderr);
            assert!(!output.status.success() && error.contains(said) && error.contains(file), "{command} {file}: {error}");
        }
    }
}
