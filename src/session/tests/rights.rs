//! Tokens at the door and on live connections: what is granted, what is told, and when it is over.

use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};

use super::{Client, UNIX_MS, rules, upgrade};
use crate::admission::{Granted, Key, Revocation, Tokens, Verdict};
use crate::config::{self, PublishAllow, TokenAlgorithm};
use crate::hub::{Pattern, Subject, TopicName};
use crate::metrics::RefusalReason;
use crate::session::{Effect, Expiry, Moment, Request, Rules};

const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";
const NOW_S: u64 = UNIX_MS / 1000;

/// Tokens are asked for, and nobody else may do anything.
fn strict() -> Rules {
    let key = Key::read(TokenAlgorithm::Hs256, None, SECRET).expect("a secret");
    let tokens = Some(Tokens::new(&config::Tokens::default(), [key].into()));
    Rules { tokens, anonymous: Default::default(), publish: PublishAllow::Nobody, ..rules() }
}

fn token(claims: Value) -> String {
    let mut claims = claims;
    claims["exp"] = claims.get("exp").cloned().unwrap_or(json!(NOW_S + 60));
    jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &EncodingKey::from_secret(SECRET)).expect("it signs")
}

fn bearer(token: &str) -> String {
    format!("Authorization: Bearer {token}\r\n")
}

/// The status and the body of the answer, and what the log is told.
fn answer(rules: Rules, request: &str) -> (u16, String, Option<String>) {
    let mut client = Client::new(rules);
    match client.say(request.as_bytes()) {
        None => {}
        Some(Effect::Admit { .. }) => return (101, String::new(), None),
        Some(Effect::Topics) => return (200, String::new(), None),
        Some(effect) => panic!("{effect:?}"),
    }
    let text = String::from_utf8(client.take_owed()).expect("an answer is text");
    let status = text[9..12].parse().expect("a status");
    if status == 401 {
        assert!(text.contains("\r\nWWW-Authenticate: Bearer\r\n"), "{text}");
        assert_eq!(client.session.take_refusal(), Some(RefusalReason::Unauthorized));
    }
    let body = text.split_once("\r\n\r\n").expect("a body").1.to_owned();
    (status, body, client.session.take_cause().map(String::from))
}

#[test]
fn every_door_asks_for_the_grant() {
    let hears = bearer(&token(json!({"subscribe": ["md.>"]})));
    let says = bearer(&token(json!({"publish": ["in.a"]})));
    let hears_all = bearer(&token(json!({"subscribe": ">"})));
    for (path, without, hearing, saying, all) in [
        ("/ws", 101, 101, 101, 101),
        ("/stream", 101, 101, 101, 101),
        ("/ws/md.a", 401, 101, 403, 101),
        ("/ws/md.>;last", 401, 101, 403, 101),
        ("/ws/*", 401, 403, 403, 101),
        ("/stream?streams=md.a/other", 401, 403, 403, 101),
        ("/stream?streams=md.a/md.*.b;rate=1s", 401, 101, 403, 101),
        ("/sse?streams=md.a", 401, 101, 403, 101),
        ("/sse?streams=>", 401, 403, 403, 101),
        ("/publish/in.a", 401, 403, 101, 403),
        ("/publish/md.a", 401, 403, 403, 403),
        ("/publish", 401, 403, 101, 403),
        ("/echo", 401, 101, 101, 101),
        ("/topics", 401, 403, 403, 200),
        ("/health/ready", 200, 200, 200, 200),
    ] {
        for (fields, expected) in [("", without), (&*hears, hearing), (&*says, saying), (&*hears_all, all)] {
            let (status, body, denied) = answer(strict(), &upgrade(path, fields));
            assert_eq!(status, expected, "{path} {fields}: {body}");
            let is_told = denied.as_deref().is_some_and(|cause| cause.ends_with("is not granted"));
            assert_eq!(is_told, expected > 400, "{path} {fields}: {denied:?}");
        }
    }
}

#[test]
fn the_client_is_told_nothing_of_a_tokens_fault_and_the_log_all() {
    let (over, other) = (token(json!({"exp": NOW_S - 60, "sub": "a\u{7}"})), token(json!({})).replace('.', "._"));
    for (borne, said) in [(over.as_str(), "exp"), (other.as_str(), "signature"), ("", "no JWT"), ("secret", "no JWT")] {
        let (status, body, denied) = answer(strict(), &upgrade("/ws", &bearer(borne)));
        assert_eq!((status, body.as_str()), (401, "{\"error\":{\"code\":9,\"msg\":\"the token is not accepted\"}}"));
        let denied = denied.expect("the log is told");
        assert!(denied.contains(said) && !denied.contains("secret") && !denied.contains('\u{7}'), "{denied}");
    }
}

#[test]
fn several_different_tokens_are_400_and_where_none_is_taken_none_is_looked_at() {
    let two = format!("/ws?token={}", token(json!({"sub": "a"})));
    assert_eq!(answer(strict(), &upgrade(&two, &bearer(&token(json!({"sub": "b"}))))).0, 400);
    assert_eq!(answer(strict(), &upgrade(&two, "")).0, 101);
    assert_eq!(answer(rules(), &upgrade("/ws/md.a", &bearer("whatever"))).0, 101);
}

#[test]
fn a_token_says_nothing_of_the_next_request_on_its_connection() {
    let mut client = Client::new(strict());
    let get = |fields: &str| format!("GET /topics HTTP/1.1\r\nHost: localhost\r\n{fields}\r\n");
    assert!(matches!(client.say(get(&bearer(&token(json!({"subscribe": ">"})))).as_bytes()), Some(Effect::Topics)));
    client.session.answer_topics(b"[]", &client.rules, 0);
    client.take_owed();
    assert!(client.say(get("").as_bytes()).is_none());
    assert!(client.take_owed().starts_with(b"HTTP/1.1 401 "));
}

#[test]
fn a_live_client_renews_by_auth_and_a_refused_token_changes_nothing() {
    let mut client = Client::open(strict(), "/stream");
    let subscribe = r#"{"method":"SUBSCRIBE","params":["md.a"],"id":1}"#;
    assert!(client.text(subscribe).is_none());
    assert_eq!(client.take_text(), r#"{"error":{"code":4,"msg":"md.a: not allowed"},"id":1}"#);
    let auth = |token: &str| format!("{{\"method\":\"AUTH\",\"params\":[\"{token}\"],\"id\":2}}");
    let effect = client.text(&auth(&token(json!({"sub": "alice", "subscribe": ["md.*"], "publish": "in"}))));
    assert!(matches!(effect, Some(Effect::Request { request: Request::Renewed, .. })), "{effect:?}");
    assert!(matches!(client.text(subscribe), Some(Effect::Request { request: Request::Subscribe(_), .. })));
    assert!(matches!(client.text(r#"{"method":"PUBLISH","params":["in",1],"id":3}"#), Some(Effect::Publish { .. })));
    assert!(client.text(r#"{"method":"PUBLISH","params":["md.a",1],"id":4}"#).is_none());
    assert!(client.take_text().contains("\"code\":4"));
    assert!(client.text(&auth(&token(json!({"exp": 1})))).is_none());
    assert_eq!(client.take_text(), r#"{"error":{"code":9,"msg":"the token is not accepted"},"id":2}"#);
    let denied = client.session.take_denied().expect("the log is told");
    assert_eq!(
        (&*denied.cause, denied.count),
        ("the token of AUTH: it was good until 1 (exp)", 3),
        "SUBSCRIBE, PUBLISH and AUTH"
    );
    assert!(matches!(client.text(subscribe), Some(Effect::Request { .. })), "the earlier token's rights hold");
    assert_eq!(client.session.holder().and_then(|holder| holder.subject.as_deref()), Some("alice"));
}

/// A client with a token, where the operator's endpoint is asked too; it has asked about another token.
fn renewing(tokens: bool, token: &str) -> Client {
    let mut client = Client::open(strict(), "/stream");
    client.rules.callout = Some(config::Callout::default());
    if !tokens {
        client.rules.tokens = None;
    }
    let effect = client.text(&format!("{{\"method\":\"AUTH\",\"params\":[\"{token}\"],\"id\":2}}"));
    let Some(Effect::Callout(question)) = effect else { panic!("{effect:?}") };
    assert_eq!((question.path, question.token.as_deref()), (None, Some(token)));
    client
}

#[test]
fn the_endpoints_answer_about_a_token_of_auth_holds_with_it() {
    let granted = || Granted { subscribe: Some([Pattern::parse("md.b").expect("a pattern")].into()), ..Granted::default() };
    let may = |client: &Client, topic: &str| {
        let subject = Subject::Topic(TopicName::parse(topic).expect("a topic"));
        client.session.may_subscribe(&subject, &client.rules)
    };
    let mine = token(json!({"sub": "alice", "subscribe": "md.a"}));
    for (tokens, verdict, topics) in
        [(true, granted(), ["md.b", "md.a"]), (true, Granted::default(), ["md.a", "md.b"]), (false, granted(), ["md.b", "md.a"])]
    {
        let mut client = renewing(tokens, &mine);
        let moment = client.moment();
        let effect = client.session.called_out(Verdict::Granted(Box::new(verdict)), &client.rules, moment);
        assert!(matches!(effect, Some(Effect::Request { request: Request::Renewed, .. })), "{effect:?}");
        assert_eq!(topics.map(|topic| may(&client, topic)), [true, false]);
        assert_eq!(client.session.subject(), tokens.then_some("alice"));
        assert!(client.session.called_out(Verdict::Refused, &client.rules, moment).is_none(), "it was answered");
        assert!(client.take_owed().is_empty());
    }
}

#[test]
fn without_the_endpoints_word_a_token_of_auth_changes_nothing() {
    let mine = token(json!({"sub": "alice", "subscribe": "md.a"}));
    for (verdict, revoked, error) in [
        (Verdict::Refused, false, r#"{"error":{"code":9,"msg":"the token is not accepted"},"id":2}"#),
        (Verdict::Granted(Box::default()), true, r#"{"error":{"code":9,"msg":"the token is not accepted"},"id":2}"#),
        (
            Verdict::Down,
            false,
            r#"{"error":{"code":5,"msg":"what the token grants cannot be found out now; ask again later"},"id":2}"#,
        ),
    ] {
        let mut client = renewing(true, &mine);
        client.session.take_denied();
        if revoked {
            let revocation = Revocation { subject: Some("alice".into()), id: None, until_unix_s: NOW_S + 60 };
            let tokens = client.rules.tokens.as_mut().expect("tokens are taken");
            assert!(tokens.revoked.add(&revocation, 10, NOW_S).is_ok());
        }
        let moment = client.moment();
        assert!(client.session.called_out(verdict, &client.rules, moment).is_none());
        assert_eq!(client.take_text(), error);
        assert!(client.session.holder().is_none(), "it has what it had: nothing");
    }
}

#[test]
fn auth_is_refused_where_no_tokens_are_taken() {
    let mut client = Client::open(rules(), "/ws");
    assert!(client.text(r#"{"method":"AUTH","params":["a"],"id":1}"#).is_none());
    assert!(client.take_text().starts_with(r#"{"error":{"code":4,"msg":"no tokens are taken here"#));
}

#[test]
fn a_tokens_limits_are_only_ever_lower() {
    let limits = |claims: Value| {
        let mut client = Client::new(strict());
        assert!(client.say(upgrade("/ws", &bearer(&token(json!({"limits": claims})))).as_bytes()).is_none());
        (client.session.subscriptions_max(&client.rules), client.session.rate(&client.rules))
    };
    assert_eq!(limits(json!({})), (1024, (20, 200)));
    assert_eq!(limits(json!({"subscriptions_max": 2, "requests_per_second": 1, "requests_burst": 3})), (2, (1, 3)));
    assert_eq!(limits(json!({"subscriptions_max": 5000, "requests_per_second": 21, "requests_burst": 201})), (1024, (20, 200)));
    let few = bearer(&token(json!({"subscribe": ">", "limits": {"subscriptions_max": 1}})));
    let (status, body, _) = answer(strict(), &upgrade("/stream?streams=a/b", &few));
    assert_eq!((status, body.contains("subscriptions_max = 1 streams")), (400, true), "{body}");
}

fn at(now_us: u64, unix_us: u64) -> Moment {
    Moment { now_us, unix_us, ready: true, full: false }
}

/// With a token that is good for another ten seconds.
fn short_lived(path: &str) -> Client {
    let mut client = Client::new(strict());
    let fields = bearer(&token(json!({"exp": NOW_S + 10, "publish": ">", "subscribe": ">"})));
    assert!(client.say(upgrade(path, &fields).as_bytes()).is_none());
    client.take_owed();
    client
}

#[test]
fn five_seconds_behind_its_end_a_live_client_is_closed() {
    for path in ["/ws", "/stream", "/publish", "/publish/a", "/echo"] {
        let mut client = short_lived(path);
        assert_eq!(client.session.deadline_us(&client.rules), 15_000_000, "{path}");
        let expiry = client.session.expire(&client.rules, at(14_999_999, UNIX_MS * 1000 + 14_999_999));
        assert_eq!(expiry, Expiry::NotYet { due_us: 15_000_000 }, "{path}");
        assert!(matches!(client.session.expire(&client.rules, at(15_000_000, UNIX_MS * 1000 + 15_000_000)), Expiry::Owes { .. }));
        assert_eq!(client.take_close(), 1008, "{path}");
    }
}

#[test]
fn a_clock_that_jumps_is_followed() {
    let mut client = short_lived("/ws");
    let hour_us = 3_600_000_000;
    let back = client.session.expire(&client.rules, at(15_000_000, UNIX_MS * 1000 + 15_000_000 - hour_us));
    assert!(matches!(back, Expiry::NotYet { due_us } if due_us < 15_000_000 + hour_us), "looked at sooner, for a ping: {back:?}");
    let forth = client.session.expire(&client.rules, at(16_000_000, UNIX_MS * 1000 + hour_us));
    assert!(matches!(forth, Expiry::Owes { .. }), "{forth:?}");
    assert_eq!(client.take_close(), 1008);
}

#[test]
fn renewing_moves_the_end() {
    let mut client = short_lived("/ws");
    let auth = format!("{{\"method\":\"AUTH\",\"params\":[\"{}\"],\"id\":2}}", token(json!({"exp": NOW_S + 12})));
    assert!(client.text(&auth).is_some());
    assert_eq!(client.session.deadline_us(&client.rules), 17_000_000);
}

#[test]
fn a_revocation_is_of_those_who_show_the_token() {
    let mut client = Client::new(strict());
    client.say(upgrade("/ws", &bearer(&token(json!({"sub": "a", "jti": "1"})))).as_bytes());
    let revoked = |subject: Option<&str>, id: Option<&str>| {
        let revocation = Revocation { subject: subject.map(Box::from), id: id.map(Box::from), until_unix_s: NOW_S };
        (client.session.is_revoked_by(&revocation), Client::open(strict(), "/ws").session.is_revoked_by(&revocation))
    };
    assert_eq!([revoked(Some("a"), None), revoked(None, Some("1")), revoked(Some("a"), Some("1"))], [(true, false); 3]);
    assert_eq!([revoked(Some("b"), None), revoked(None, Some("2")), revoked(Some("a"), Some("2"))], [(false, false); 3]);
}

#[test]
fn an_idle_client_without_a_token_holds_nothing() {
    for rules in [rules(), strict()] {
        let mut client = Client::open(rules, "/ws");
        client.text(r#"{"method":"SUBSCRIBE","params":["a"],"id":1}"#);
        client.take_owed();
        client.session.take_denied();
        assert!(client.session.owed.is_none());
    }
}
