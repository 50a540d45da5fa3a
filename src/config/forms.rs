//! What texts in the configuration and on the command line must look like: addresses, hosts, origins, topics, templates.
//!
//! Each check says in a few words what is wrong, a sentence but for its capital and full stop.

use std::net::SocketAddr;

/// The outcome of a check: what is wrong, if anything.
pub type Outcome = Result<(), String>;

/// Any text but an empty one.
pub(super) fn filled(text: &str) -> Outcome {
    if text.is_empty() { Err("it is empty".into()) } else { Ok(()) }
}

/// Address and port.
///
/// # Errors
/// What is wrong with it, in a few words.
pub fn address(text: &str) -> Outcome {
    text.parse::<SocketAddr>().map(drop).map_err(|_| match text.rsplit_once(':') {
        None => "it has no port".to_owned(),
        Some((host, _)) if host.eq_ignore_ascii_case("localhost") => {
            "names are not looked up; write 127.0.0.1 or [::1]".to_owned()
        }
        Some(("", _)) => "it has no address; 127.0.0.1 is this machine only, 0.0.0.0 every network".to_owned(),
        Some(_) => "it is not an IP address with a port".to_owned(),
    })
}

/// Address and port, or a Unix socket.
///
/// # Errors
/// What is wrong with it, in a few words.
pub fn listener_address(text: &str) -> Outcome {
    text.parse::<super::Address>().map(drop)
}

/// The mode of a socket's file.
pub(super) fn socket_mode(text: &str) -> Outcome {
    text.parse::<super::SocketMode>().map(drop)
}

/// A host as in a `Host` header, without its port.
pub(super) fn host(text: &str) -> Outcome {
    filled(text)?;
    if text.contains("://") || text.contains('/') {
        return Err("a host has no scheme and no path".into());
    }
    let after_bracket = text.rsplit_once(']').map_or(text, |(_, rest)| rest);
    if after_bracket.contains(':') {
        return Err("the port is left out, it is never compared".into());
    }
    if text.chars().any(|c| c.is_whitespace() || c.is_control() || matches!(c, '*' | ',' | '@' | '?' | '#')) {
        return Err("it holds a character that no host has".into());
    }
    Ok(())
}

/// A network of addresses.
pub(super) fn network(text: &str) -> Outcome {
    text.parse::<super::Network>().map(drop)
}

/// What stands before every path.
pub(super) fn path_prefix(text: &str) -> Outcome {
    if text.is_empty() {
        return Ok(());
    }
    let levels = text.strip_prefix('/').ok_or("it does not begin with `/`")?;
    let is_plain = |level: &str| !level.is_empty() && level.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._~".contains(&b));
    if levels.split('/').all(is_plain) {
        return Ok(());
    }
    Err("between its slashes stand letters, digits and `-._~` only, and it does not end with a slash".into())
}

/// An origin as browsers send it (RFC 6454 6.2): `scheme://host[:port]`, lower case, nothing after it.
pub(super) fn origin(text: &str) -> Outcome {
    if text == "*" || text == "null" {
        return Err("every foreign page could connect; name the origins one by one".into());
    }
    let Some((scheme, rest)) = text.split_once("://") else {
        return Err("it has no scheme".into());
    };
    if scheme.is_empty() || !scheme.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"+-.".contains(&b)) {
        return Err("its scheme is not one in lower case".into());
    }
    if rest.contains('/') {
        return Err("an origin ends after host and port, without a slash".into());
    }
    if rest.chars().any(|c| c.is_ascii_uppercase()) {
        return Err("browsers send origins in lower case, and they are compared exactly".into());
    }
    match port_of(rest) {
        Some((host_only, port)) if port.parse::<u16>().is_ok_and(|port| port > 0) => host(host_only),
        Some(_) => Err("its port is not a number from 1 to 65535".into()),
        None => host(rest),
    }
}

/// Splits a port off; brackets keep the colons of an IPv6 address.
fn port_of(authority: &str) -> Option<(&str, &str)> {
    authority.rsplit_once(':').filter(|(_, port)| !port.contains(']'))
}

/// A topic's name or a pattern: `*` stands for one whole level, `>` last for one or more.
///
/// # Errors
/// What is wrong with it, in a few words.
pub fn pattern(text: &str) -> Outcome {
    let plain: String = text.chars().filter(|c| !matches!(c, '*' | '>')).collect();
    length(text)?;
    characters(&plain)?;
    let levels: Vec<&str> = text.split('.').collect();
    for (i, level) in levels.iter().enumerate() {
        match *level {
            "" => return Err(format!("level {} is empty", i + 1)),
            "*" => {}
            ">" if i + 1 == levels.len() => {}
            ">" => return Err("`>` stands for all the rest and can only be the last level".into()),
            _ if level.contains(['*', '>']) => return Err(format!("in level {} a `*` or `>` is not a whole level", i + 1)),
            _ => {}
        }
    }
    Ok(())
}

/// A URL of HTTP.
pub(super) fn http_url(text: &str) -> Outcome {
    super::HttpUrl::parse(text).map(drop)
}

/// The name of a field of a request.
pub(super) fn header_name(text: &str) -> Outcome {
    let is_name = !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b));
    if is_name { Ok(()) } else { Err("it is no name that a field can have".into()) }
}

/// The place of a set of keys: a path, or a URL of HTTP.
pub(super) fn key_set(text: &str) -> Outcome {
    if text.contains("://") { super::HttpUrl::parse(text).map(drop) } else { filled(text) }
}

/// A key's name in tokens, or a claim's: not empty, and short.
pub(super) fn token_word(text: &str) -> Outcome {
    match text.len() {
        0 => Err("it is empty".into()),
        1..=128 => Ok(()),
        len => Err(format!("it has {len} bytes, and 128 are the most")),
    }
}

/// What happens to a slow subscriber.
pub(super) fn slow(text: &str) -> Outcome {
    if matches!(text, "close" | "drop" | "conflate") { Ok(()) } else { Err("there is no such policy".into()) }
}

/// A topic's name.
///
/// # Errors
/// What is wrong with it, in a few words.
pub fn topic(text: &str) -> Outcome {
    pattern(text)?;
    if text.contains(['*', '>']) { Err("it is a pattern, and only names can be published to".into()) } else { Ok(()) }
}

fn length(text: &str) -> Outcome {
    match text.len() {
        0 => Err("it is empty".into()),
        1..=255 => Ok(()),
        len => Err(format!("it has {len} bytes, and a topic has at most 255")),
    }
}

fn characters(text: &str) -> Outcome {
    if text.starts_with('$') {
        return Err("names that begin with `$` are the gateway's own".into());
    }
    match text.chars().find(|c| c.is_control() || " ;/?#%&\"\\*>".contains(*c)) {
        Some(c) => Err(format!("it holds {c:?}, which no topic can")),
        None => Ok(()),
    }
}

/// Whether every topic that `narrow` matches is matched by `wide` too.
pub(super) fn covers(wide: &str, narrow: &str) -> bool {
    let mut narrow = narrow.split('.');
    for level in wide.split('.') {
        match (level, narrow.next()) {
            (_, None) => return false,
            (">", Some(_)) => return true,
            ("*", Some(other)) if other != ">" => {}
            (level, Some(other)) if level == other => {}
            _ => return false,
        }
    }
    narrow.next().is_none()
}

/// A JSON pointer (RFC 6901) to a part of a message: empty or beginning with `/`, `~` only as `~0` and `~1`.
///
/// # Errors
/// What is wrong with it, in a few words.
pub fn pointer(text: &str) -> Outcome {
    if !text.is_empty() && !text.starts_with('/') {
        return Err(format!("the JSON pointer {text:?} does not begin with `/`"));
    }
    if text.split('~').skip(1).any(|rest| !rest.starts_with(['0', '1'])) {
        return Err(format!("in the JSON pointer {text:?} a `~` is not followed by 0 or 1"));
    }
    Ok(())
}

/// `ws://` or `wss://`, host, and perhaps port, path and query.
pub(super) fn websocket_url(text: &str) -> Outcome {
    super::WebSocketUrl::parse(text).map(drop)
}

/// A topic with JSON pointers in braces: `{/stream}`, `cb.{/type}.{/product_id}`.
///
/// # Errors
/// What is wrong with it, in a few words.
pub fn template(text: &str) -> Outcome {
    let mut example = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('{') {
        let Some((inner, after)) = after.split_once('}') else {
            return Err("a `{` is not closed".into());
        };
        if inner.is_empty() {
            return Err("`{}` holds no JSON pointer".into());
        }
        pointer(inner)?;
        example.push_str(before);
        example.push('x');
        rest = after;
    }
    if rest.contains('}') {
        return Err("a `}` closes nothing".into());
    }
    example.push_str(rest);
    topic(&example)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `wrong` is a part of what the check must say; empty: it must pass.
    fn check(form: fn(&str) -> Outcome, cases: &[(&str, &str)]) {
        for (text, wrong) in cases {
            match form(text) {
                Ok(()) => assert_eq!(*wrong, "", "{text:?} passed"),
                Err(reason) => assert!(!wrong.is_empty() && reason.contains(wrong), "{text:?}: {reason}"),
            }
        }
    }

    #[test]
    fn addresses() {
        check(
            address,
            &[
                ("127.0.0.1:0", ""),
                ("[::1]:8080", ""),
                ("127.0.0.1", "no port"),
                ("localhost:8080", "names are not looked up"),
                (":8080", "no address"),
                ("1.2.3.4:99999", "not an IP address"),
            ],
        );
    }

    #[test]
    fn hosts_and_origins() {
        check(
            host,
            &[
                ("feed.example.com", ""),
                ("[::1]", ""),
                ("", "empty"),
                ("a:80", "port"),
                ("[::1]:80", "port"),
                ("http://a", "scheme"),
                ("a b", "character"),
                ("*", "character"),
            ],
        );
        check(
            origin,
            &[
                ("https://app.example.com", ""),
                ("http://localhost:3000", ""),
                ("http://[::1]:3000", ""),
                ("http://[::1]", ""),
                ("*", "every foreign page"),
                ("null", "every foreign page"),
                ("app.example.com", "scheme"),
                ("://a", "scheme"),
                ("https://a/", "slash"),
                ("https://A.b", "lower case"),
                ("https://a:0", "port"),
                ("https://", "empty"),
            ],
        );
    }

    #[test]
    fn patterns() {
        let long = "x".repeat(256);
        check(
            pattern,
            &[
                ("btcusdt@depth@0ms", ""),
                ("md.*.BTC-USD", ""),
                ("md.>", ""),
                (">", ""),
                ("*", ""),
                ("", "empty"),
                ("a..b", "level 2 is empty"),
                (".a", "level 1 is empty"),
                ("a.", "level 2 is empty"),
                ("a.>.b", "last level"),
                ("a.b*", "not a whole level"),
                ("a>", "not a whole level"),
                ("$sys", "own"),
                ("a b", "' '"),
                ("a/b", "'/'"),
                ("a\u{7f}", "holds"),
                (&long, "255"),
            ],
        );
        check(topic, &[("md.trades", ""), ("md.*", "only names")]);
    }

    #[test]
    fn templates() {
        check(
            template,
            &[
                ("{/stream}", ""),
                ("cb.{/type}.{/product_id}", ""),
                ("fixed", ""),
                ("{/a~1b}", ""),
                ("{/a~2}", "`~`"),
                ("{stream}", "begin with `/`"),
                ("{}", "no JSON pointer"),
                ("{/a", "not closed"),
                ("a}", "closes nothing"),
                ("a..{/b}", "level 2 is empty"),
                ("{/b}.*", "only names"),
            ],
        );
        check(pointer, &[("", ""), ("/", ""), ("/a/0", ""), ("a", "begin with `/`"), ("/~", "`~`")]);
    }

    #[test]
    fn a_wide_pattern_covers_a_narrow_one() {
        for (wide, narrow, covered) in [
            (">", "a", true),
            (">", "*.>", true),
            ("a.>", "a.b.c", true),
            ("a.>", "a", false),
            ("a.*", "a.b", true),
            ("a.*", "a.*", true),
            ("a.*", "a.>", false),
            ("a.*", "a.b.c", false),
            ("*", "a", true),
            ("a", "*", false),
            ("a.b", "a.b", true),
        ] {
            assert_eq!(covers(wide, narrow), covered, "{wide} over {narrow}");
        }
    }
}
