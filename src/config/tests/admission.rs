//! Tokens, their keys, and the callout.

use super::*;

#[test]
fn tokens_and_the_callout_are_read() {
    let text = r#"
        [tokens]
        issuer = "https://a.example"
        audiences = ["md"]
        jwks = "https://a.example/keys"
        jwks_least_s = 2
        [[tokens.key]]
        algorithm = "EdDSA"
        file = "t.pem"
        kid = "k"
        [[tokens.key]]
        algorithm = "HS256"
        file = "secret"
        [callout]
        url = "http://127.0.0.1:1/ask"
        when_down = "allow"
        headers = ["Cookie"]
    "#;
    let config = parse_text(&format!("{LISTENER}{text}")).expect("it is valid");
    let key = |algorithm, file: &str, kid: Option<&str>| TokenKey { algorithm, file: file.into(), kid: kid.map(Into::into) };
    let tokens = Tokens {
        issuer: Some("https://a.example".into()),
        audiences: vec!["md".into()],
        jwks: Some("https://a.example/keys".into()),
        jwks_least_s: 2,
        keys: vec![key(TokenAlgorithm::EdDsa, "t.pem", Some("k")), key(TokenAlgorithm::Hs256, "secret", None)],
        ..Tokens::default()
    };
    let callout = Callout {
        url: "http://127.0.0.1:1/ask".into(),
        when_down: WhenDown::Allow,
        headers: vec!["Cookie".into()],
        ..Callout::default()
    };
    assert!(config.asks_for_rights() && tokens.are_taken());
    assert!(matches!(tokens.key_set_place(), Some(KeySetPlace::Url(url)) if url.to_string() == "https://a.example"));
    assert_eq!((config.tokens, config.callout), (tokens, Some(callout)));
}

#[test]
fn keys_and_urls_are_checked_where_they_stand() {
    let key = "[[tokens.key]]\nfile = \"a\"\n";
    check_error(key, 1, 1, &["tokens.key.algorithm is missing", "\"HS256\" or", "below [[tokens.key]]"]);
    check_error(&format!("{key}algorithm = \"none\""), 3, 13, &["tokens.key.algorithm is \"none\""]);
    check_error("[tokens]\nskew_s = 61", 2, 10, &["tokens.skew_s is 61", "from 0 to 60 (seconds)"]);
    check_error("[tokens]\njwks = \"ftp://a\"", 2, 8, &["tokens.jwks is", "begins with http://"]);
    check_error("[anonymous]\nsubscribe = [\"a..b\"]", 2, 14, &["anonymous.subscribe is \"a..b\"", "Level 2 is empty"]);
    check_error("[callout]\ntimeout_ms = 10", 1, 2, &["callout.url is missing"]);
    check_error(
        "[callout]\nurl = \"http://a\"\nheaders = [\"a b\"]",
        3,
        12,
        &["callout.headers is", "no name that a field can have"],
    );
}
