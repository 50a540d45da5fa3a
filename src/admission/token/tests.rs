use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_ED25519};
use serde_json::json;

use super::*;
use crate::admission::{Key, KeyError, Revocation};
use crate::config::TokenAlgorithm;
use crate::hub::{Subject, TopicName};

const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";
const NOW: u64 = 1_700_000_000;

fn settings() -> config::Tokens {
    config::Tokens::default()
}

fn key(algorithm: TokenAlgorithm, kid: Option<&str>, bytes: &[u8]) -> Key {
    Key::read(algorithm, kid, bytes).expect("the test's key can be used")
}

fn tokens(settings: &config::Tokens) -> Tokens {
    Tokens::new(settings, [key(TokenAlgorithm::Hs256, None, SECRET)].into())
}

fn signed(claims: &Value) -> String {
    signed_with(&Header::new(Algorithm::HS256), claims, &EncodingKey::from_secret(SECRET))
}

fn signed_with(header: &Header, claims: &Value, key: &EncodingKey) -> String {
    jsonwebtoken::encode(header, claims, key).expect("the test's key signs")
}

fn named(algorithm: Algorithm, kid: &str) -> Header {
    Header { kid: Some(kid.into()), ..Header::new(algorithm) }
}

/// A part of a token by hand.
fn part(text: &str) -> String {
    URL_SAFE_NO_PAD.encode(text)
}

#[track_caller]
fn fault(tokens: &Tokens, token: &str) -> Fault {
    tokens.holder(token, NOW).expect_err("it must not be taken").fault
}

#[test]
fn a_token_says_who_it_is_and_what_it_may() {
    let claims = json!({"sub": "alice", "jti": "7", "exp": NOW + 60, "nbf": NOW, "subscribe": ["md.>", "a.*"], "publish": "a.b",
        "limits": {"subscriptions_max": 5, "requests_per_second": 1, "requests_burst": 9_999_999_999u64, "other": true}, "more": [1]});
    let holder = tokens(&settings()).holder(&signed(&claims), NOW).expect("it is good");
    assert_eq!(
        (holder.subject.as_deref(), holder.id.as_deref(), holder.expires_unix_s),
        (Some("alice"), Some("7"), Some(NOW + 60))
    );
    let limits = OwnLimits { subscriptions_max: Some(5), requests_per_second: Some(1), requests_burst: Some(u32::MAX) };
    assert_eq!(holder.limits, limits);
    assert!(holder.grants.may_subscribe(&Subject::parse("md.x.>").expect("a pattern")));
    assert!(holder.grants.may_publish(&TopicName::parse("a.b").expect("a topic")));
    let bare = tokens(&settings()).holder(&signed(&json!({"exp": NOW + 60})), NOW).expect("it is good");
    assert_eq!(bare, Holder { expires_unix_s: Some(NOW + 60), ..Holder::default() }, "what it does not grant it does not have");
}

#[test]
fn claims_that_are_missing_or_wrong() {
    let claim = |name: &str| Fault::Claim(name.into());
    let long = "x".repeat(256);
    for (claims, expected) in [
        (json!({}), Fault::Missing("exp".into())),
        (json!({"exp": null}), Fault::Missing("exp".into())),
        (json!({"exp": "soon"}), claim("exp")),
        (json!({"exp": -1}), claim("exp")),
        (json!({"exp": NOW - 5}), Fault::Expired(NOW - 5)),
        (json!({"exp": NOW + 60, "nbf": NOW + 6}), Fault::NotYet(NOW + 6)),
        (json!({"exp": NOW + 60, "nbf": "later"}), claim("nbf")),
        (json!({"exp": NOW + 60, "nbf": [1]}), Fault::Malformed),
        (json!({"exp": NOW + 60, "sub": 7}), claim("sub")),
        (json!({"exp": NOW + 60, "sub": long}), claim("sub")),
        (json!({"exp": NOW + 60, "jti": {}}), claim("jti")),
        (json!({"exp": NOW + 60, "subscribe": ["a..b"]}), claim("subscribe")),
        (json!({"exp": NOW + 60, "subscribe": [1]}), claim("subscribe")),
        (json!({"exp": NOW + 60, "publish": {"a": 1}}), claim("publish")),
        (json!({"exp": NOW + 60, "limits": 5}), claim("limits")),
        (json!({"exp": NOW + 60, "limits": {"requests_burst": 0}}), claim("limits")),
        (json!({"exp": NOW + 60, "limits": {"subscriptions_max": -1}}), claim("limits")),
    ] {
        assert_eq!(fault(&tokens(&settings()), &signed(&claims)), expected, "{claims}");
    }
    assert_eq!(fault(&tokens(&settings()), &signed(&json!([NOW]))), Fault::Malformed);
}

#[test]
fn a_moment_has_a_leeway_that_is_bounded() {
    for (claims, good) in [
        (json!({"exp": NOW - 4}), true),
        (json!({"exp": NOW - 5}), false),
        (json!({"exp": (NOW as f64) - 4.2}), false),
        (json!({"exp": NOW + 1, "nbf": NOW + 5}), true),
        (json!({"exp": NOW + 1, "nbf": NOW + 6}), false),
        (json!({"exp": u64::MAX}), true),
        (json!({"exp": 1e300}), true),
    ] {
        assert_eq!(tokens(&settings()).holder(&signed(&claims), NOW).is_ok(), good, "{claims}");
    }
}

#[test]
fn issuer_and_audience_are_looked_at_where_they_are_configured() {
    let strict = config::Tokens { issuer: Some("us".into()), audiences: vec!["md".into(), "x".into()], ..settings() };
    for (issuer, audience, expected) in [
        (json!("us"), json!("md"), None),
        (json!("us"), json!(["other", "x"]), None),
        (json!("us"), json!(["other"]), Some(Fault::Audience)),
        (json!("us"), json!(null), Some(Fault::Audience)),
        (json!("us"), json!([["md"]]), Some(Fault::Audience)),
        (json!("US"), json!("md"), Some(Fault::Issuer)),
        (json!(["us"]), json!("md"), Some(Fault::Issuer)),
        (json!(null), json!("md"), Some(Fault::Issuer)),
    ] {
        let token = signed(&json!({"exp": NOW + 60, "iss": issuer, "aud": audience}));
        assert_eq!(tokens(&strict).holder(&token, NOW).err().map(|refused| refused.fault), expected, "{issuer} {audience}");
        assert!(tokens(&settings()).holder(&token, NOW).is_ok(), "not looked at");
    }
}

#[test]
fn claims_have_the_names_that_are_configured() {
    let renamed = config::Tokens {
        subject_claim: "email".into(),
        subscribe_claim: "https://a.example/hear".into(),
        publish_claim: "say".into(),
        limits_claim: "at_most".into(),
        ..settings()
    };
    let token = signed(&json!({"exp": NOW + 60, "email": "a@b", "sub": 7, "https://a.example/hear": "md.a", "say": ["md.b"],
        "subscribe": ["no pattern"], "at_most": {"subscriptions_max": 0}}));
    let holder = tokens(&renamed).holder(&token, NOW).expect("it is good");
    assert_eq!((holder.subject.as_deref(), holder.limits.subscriptions_max), (Some("a@b"), Some(0)));
    assert_eq!((holder.grants.subscribe[0].as_str(), holder.grants.publish[0].as_str()), ("md.a", "md.b"));
}

#[test]
fn who_is_revoked_is_not_let_in() {
    let mut tokens = tokens(&settings());
    let token = signed(&json!({"exp": NOW + 60, "sub": "alice", "jti": "7"}));
    let revocation = Revocation { subject: Some("alice".into()), id: None, until_unix_s: NOW + 1 };
    tokens.revoked.add(&revocation, 1, NOW).expect("there is room");
    let refused = tokens.holder(&token, NOW).expect_err("she is revoked");
    assert_eq!((refused.fault, refused.subject.as_deref()), (Fault::Revoked, Some("alice")));
    assert!(tokens.holder(&token, NOW + 1).is_ok(), "it is over");
}

#[test]
fn unsigned_and_otherwise_signed_tokens_are_not_taken() {
    let good = signed(&json!({"exp": NOW + 60, "sub": "a"}));
    let (signing, signature) = good.rsplit_once('.').expect("three parts");
    let claims = signing.split_once('.').expect("two parts").1;
    let tokens = tokens(&settings());
    for header in ["none", "None", "NONE", "HS1", ""] {
        let header = part(&format!("{{\"alg\":\"{header}\"}}"));
        for signature in ["", signature] {
            assert_eq!(fault(&tokens, &format!("{header}.{claims}.{signature}")), Fault::Malformed);
        }
    }
    for (algorithm, expected) in
        [("HS384", Fault::NoKey), ("HS512", Fault::NoKey), ("RS256", Fault::NoKey), ("PS256", Fault::NoKey)]
    {
        let header = part(&format!("{{\"alg\":{algorithm:?}}}"));
        assert_eq!(fault(&tokens, &format!("{header}.{claims}.{signature}")), expected, "{algorithm}");
    }
    for broken in
        ["", ".", "..", "...", "a.b.c", "é.é.é", &format!("{good}."), signing, &format!("{good}.x"), &format!(" {good}")]
    {
        assert_eq!(fault(&tokens, broken), Fault::Malformed, "{broken}");
    }
    for broken in [format!("{signing}."), format!("{signing}.{}", part("x")), good.replace(claims, &part("{\"exp\":9999999999}"))]
    {
        assert_eq!(fault(&tokens, &broken), Fault::Signature, "{broken}");
    }
    let critical = Header { crit: Some(vec!["b64".into()]), ..Header::new(Algorithm::HS256) };
    let token = signed_with(&critical, &json!({"exp": NOW + 60}), &EncodingKey::from_secret(SECRET));
    assert_eq!(fault(&tokens, &token), Fault::Critical);
    let long = signed(&json!({"exp": NOW + 60, "x": "y".repeat(4096)}));
    assert_eq!(fault(&tokens, &long), Fault::TooLong(long.len(), 4096));
    let deep = format!("{}.{}.x", part("{\"alg\":\"HS256\"}"), part(&"[".repeat(2000)));
    assert_eq!(fault(&tokens, &deep), Fault::Signature, "claims are read only once their signature is right");
}

/// Whoever has the public key could sign with it, were it taken for a secret.
#[test]
fn a_key_is_used_with_its_own_algorithm_only() {
    let claims = json!({"exp": NOW + 60});
    let (es256, ed25519) = (KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256), KeyPair::generate_for(&PKCS_ED25519));
    let (es256, ed25519) = (es256.expect("a key"), ed25519.expect("a key"));
    let keys = [
        key(TokenAlgorithm::Es256, None, es256.public_key_pem().as_bytes()),
        key(TokenAlgorithm::EdDsa, None, ed25519.public_key_pem().as_bytes()),
    ];
    let tokens = Tokens::new(&settings(), keys.into());
    let good = [
        signed_with(&Header::new(Algorithm::ES256), &claims, &EncodingKey::from_ec_der(es256.serialized_der())),
        signed_with(&Header::new(Algorithm::EdDSA), &claims, &EncodingKey::from_ed_der(ed25519.serialized_der())),
    ];
    for token in &good {
        assert!(tokens.holder(token, NOW).is_ok());
    }
    for secret in
        [es256.public_key_pem().as_bytes(), es256.public_key_raw(), ed25519.public_key_pem().as_bytes(), ed25519.public_key_raw()]
    {
        let confused = signed_with(&Header::new(Algorithm::HS256), &claims, &EncodingKey::from_secret(secret));
        assert_eq!(fault(&tokens, &confused), Fault::NoKey);
    }
    let swapped = good[0].replacen(good[0].split_once('.').expect("parts").0, good[1].split_once('.').expect("parts").0, 1);
    assert_eq!(fault(&tokens, &swapped), Fault::Signature);
}

#[test]
fn kid_chooses_among_the_keys_that_there_are() {
    let claims = json!({"exp": NOW + 60});
    let other = b"another secret of thirty-two bytes or so";
    let two = [key(TokenAlgorithm::Hs256, Some("one"), SECRET), key(TokenAlgorithm::Hs256, Some("two"), other)];
    let tokens = Tokens::new(&settings(), two.into());
    let token = |header: &Header, secret: &[u8]| signed_with(header, &claims, &EncodingKey::from_secret(secret));
    assert!(tokens.holder(&token(&named(Algorithm::HS256, "two"), other), NOW).is_ok());
    assert!(tokens.holder(&token(&Header::new(Algorithm::HS256), other), NOW).is_ok(), "without a name all are tried");
    assert_eq!(fault(&tokens, &token(&named(Algorithm::HS256, "one"), other)), Fault::Signature);
    for kid in ["", "three", "../../etc/passwd", "' OR 1=1 --", "one\0", "ONE"] {
        assert_eq!(fault(&tokens, &token(&named(Algorithm::HS256, kid), SECRET)), Fault::NoKey, "{kid:?}");
    }
    let refused = tokens.holder(&token(&named(Algorithm::HS256, "\u{1b}[2J\nx"), SECRET), NOW).expect_err("there is no such key");
    assert_eq!(refused.to_string(), "there is no key for it; kid \"\\u{1b}[2J\\nx\"");
}

#[test]
fn keys_that_are_none_or_too_weak_are_told() {
    let pem = |kind| KeyPair::generate_for(kind).expect("a key").public_key_pem();
    let read = |algorithm, bytes: &[u8]| Key::read(algorithm, None, bytes).map(drop);
    let (p256, p384) = (pem(&PKCS_ECDSA_P256_SHA256), pem(&PKCS_ECDSA_P384_SHA384));
    assert_eq!(read(TokenAlgorithm::Hs256, &SECRET[1..]), Err(KeyError::ShortSecret(31)));
    assert_eq!(read(TokenAlgorithm::Hs256, &[&SECRET[1..], b"\r\n"].concat()), Err(KeyError::ShortSecret(31)));
    assert_eq!(read(TokenAlgorithm::Hs256, p256.as_bytes()), Err(KeyError::PemAsSecret));
    assert!(matches!(read(TokenAlgorithm::Rs256, p256.as_bytes()), Err(KeyError::OtherKind("RS256", _))));
    assert!(matches!(read(TokenAlgorithm::EdDsa, p256.as_bytes()), Err(KeyError::OtherKind("EdDSA", _))));
    assert!(matches!(read(TokenAlgorithm::Es256, p384.as_bytes()), Err(KeyError::OtherKind("ES256", _))));
    let private = KeyPair::generate_for(&PKCS_ED25519).expect("a key").serialize_pem();
    for bytes in [&b""[..], SECRET, private.as_bytes(), b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"] {
        assert_eq!(read(TokenAlgorithm::EdDsa, bytes), Err(KeyError::NoPublicKey));
    }
}
