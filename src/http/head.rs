//! A parsed head: borrowed from the bytes it came in.

use super::HeadError;

/// The header fields of a head, in their order.
#[derive(Clone, Debug, PartialEq)]
pub struct Headers<'a>(Vec<httparse::Header<'a>>);

impl<'a> Headers<'a> {
    /// The first field of that name (any case), without the white space around its value.
    pub fn get(&self, name: &str) -> Option<&'a [u8]> {
        self.values(name).next()
    }

    /// All fields of that name (any case), in their order.
    pub fn values(&self, name: &str) -> impl Iterator<Item = &'a [u8]> {
        self.0.iter().filter(move |header| header.name.eq_ignore_ascii_case(name)).map(|header| header.value.trim_ascii())
    }

    /// The elements of a comma list that may stand in several fields (RFC 9110 5.6.1), empty ones left out. Linear in the
    /// fields' length; no quoted strings, since none of the lists read here has them.
    pub fn list(&self, name: &str) -> impl Iterator<Item = &'a [u8]> {
        self.values(name)
            .flat_map(|value| value.split(|byte| *byte == b','))
            .map(<[u8]>::trim_ascii)
            .filter(|element| !element.is_empty())
    }

    /// Whether the comma list of that name has this token, in any case.
    pub fn has_token(&self, name: &str, token: &str) -> bool {
        self.list(name).any(|element| element.eq_ignore_ascii_case(token.as_bytes()))
    }

    /// Every field: name as sent, value.
    pub fn iter(&self) -> impl Iterator<Item = (&'a str, &'a [u8])> {
        self.0.iter().map(|header| (header.name, header.value.trim_ascii()))
    }
}

/// The head of a request.
#[derive(Clone, Debug, PartialEq)]
pub struct Request<'a> {
    /// As sent; methods are case-sensitive.
    pub method: &'a str,
    /// The request target as sent: `/path?query`, an absolute URL, `host:port` or `*`.
    pub target: &'a str,
    /// 1 for HTTP/1.1, 0 for HTTP/1.0.
    pub minor_version: u8,
    /// The header fields.
    pub headers: Headers<'a>,
    body: bool,
}

impl<'a> Request<'a> {
    pub(super) fn parse(head: &'a [u8], headers_max: u16) -> Result<Self, HeadError> {
        let mut fields = vec![httparse::EMPTY_HEADER; usize::from(headers_max)];
        let mut parsed = httparse::Request::new(&mut fields);
        let status = parsed.parse(head).map_err(refusal)?;
        let (Some(method), Some(target), Some(minor_version)) = (parsed.method, parsed.path, parsed.version) else {
            return Err(HeadError::Bad("the request line is not whole"));
        };
        let count = parsed.headers.len();
        if status != httparse::Status::Complete(head.len()) {
            return Err(HeadError::Bad("the head does not end where its blank line is"));
        }
        fields.truncate(count);
        let headers = Headers(fields);
        check_target(method, target)?;
        check_host(&headers, minor_version)?;
        let body = announces_body(&headers)?;
        Ok(Self { method, target, minor_version, headers, body })
    }

    /// See [`Headers::get`].
    pub fn header(&self, name: &str) -> Option<&'a [u8]> {
        self.headers.get(name)
    }

    /// See [`Headers::values`].
    pub fn header_values(&self, name: &str) -> impl Iterator<Item = &'a [u8]> {
        self.headers.values(name)
    }

    /// See [`Headers::has_token`].
    pub fn has_token(&self, name: &str, token: &str) -> bool {
        self.headers.has_token(name, token)
    }

    /// The target's path, not decoded; begins with `/` unless the target is `*` or `host:port`.
    pub fn path(&self) -> &'a str {
        let (path, _) = split_query(self.split_target().1);
        if path.is_empty() { "/" } else { path }
    }

    /// What follows the `?` of the target, not decoded.
    pub fn query(&self) -> Option<&'a str> {
        split_query(self.split_target().1).1
    }

    /// Host and port that the client asked for. RFC 9112 3.2.2: an absolute target's host counts, not the `Host` field.
    pub fn host(&self) -> Option<&'a str> {
        let field = || self.header("host").and_then(|host| std::str::from_utf8(host).ok());
        self.split_target().0.or_else(field)
    }

    /// Whether the connection stays open after the response (RFC 9112 9.3).
    pub fn keep_alive(&self) -> bool {
        let close = self.has_token("connection", "close");
        !close && (self.minor_version >= 1 || self.has_token("connection", "keep-alive"))
    }

    /// Whether a body follows the head. Nothing here reads one: the caller refuses it, else its bytes would be taken for
    /// the next request or for frames.
    pub fn has_body(&self) -> bool {
        self.body
    }

    fn split_target(&self) -> (Option<&'a str>, &'a str) {
        split_target(self.target)
    }
}

/// The head of a response (client role).
#[derive(Clone, Debug, PartialEq)]
pub struct Response<'a> {
    /// The status code.
    pub status: u16,
    /// 1 for HTTP/1.1, 0 for HTTP/1.0.
    pub minor_version: u8,
    /// The header fields.
    pub headers: Headers<'a>,
}

impl<'a> Response<'a> {
    pub(super) fn parse(head: &'a [u8], headers_max: u16) -> Result<Self, HeadError> {
        let mut fields = vec![httparse::EMPTY_HEADER; usize::from(headers_max)];
        let mut parsed = httparse::Response::new(&mut fields);
        parsed.parse(head).map_err(refusal)?;
        let (Some(status), Some(minor_version)) = (parsed.code, parsed.version) else {
            return Err(HeadError::Bad("the status line is not whole"));
        };
        let count = parsed.headers.len();
        fields.truncate(count);
        Ok(Self { status, minor_version, headers: Headers(fields) })
    }

    /// See [`Headers::get`].
    pub fn header(&self, name: &str) -> Option<&'a [u8]> {
        self.headers.get(name)
    }

    /// See [`Headers::values`].
    pub fn header_values(&self, name: &str) -> impl Iterator<Item = &'a [u8]> {
        self.headers.values(name)
    }

    /// See [`Headers::has_token`].
    pub fn has_token(&self, name: &str, token: &str) -> bool {
        self.headers.has_token(name, token)
    }
}

fn refusal(error: httparse::Error) -> HeadError {
    match error {
        httparse::Error::HeaderName => HeadError::Bad("a header field's name has a character that names cannot have"),
        httparse::Error::HeaderValue => HeadError::Bad("a header field's value has a character that values cannot have"),
        httparse::Error::NewLine => HeadError::Bad("a line of the head ends wrongly"),
        httparse::Error::Status => HeadError::Bad("the status is not a number of three digits"),
        httparse::Error::Token => HeadError::Bad("the start line has a character that does not belong there"),
        httparse::Error::TooManyHeaders => HeadError::TooManyHeaders,
        httparse::Error::Version => HeadError::Bad("the version is not HTTP/1.1 or HTTP/1.0"),
    }
}

/// Authority of an absolute target, and path with query.
fn split_target(target: &str) -> (Option<&str>, &str) {
    let schemes = ["http://", "https://", "ws://", "wss://"];
    let scheme = schemes.iter().find(|scheme| has_prefix_ignoring_case(target, scheme));
    let Some(rest) = scheme.map(|scheme| &target[scheme.len()..]) else { return (None, target) };
    let authority_length = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(authority_length);
    (Some(authority), path)
}

/// RFC 9112 3.2: the forms that a target can have. 3: a recipient SHOULD answer 400 to an invalid request line.
fn check_target(method: &str, target: &str) -> Result<(), HeadError> {
    // RFC 6455 3: fragment identifiers MUST NOT be used; RFC 9112 3.2.1: a target has none.
    if target.contains('#') {
        return Err(HeadError::Bad("the request target has a #; write %23 where it is part of a name"));
    }
    match split_target(target).0 {
        // RFC 9110 4.2.1: an empty host MUST be rejected. 4.2.4: so should be a name of a user before it.
        Some("") => Err(HeadError::Bad("the request target has no host")),
        Some(authority) if !authority.bytes().all(is_host_byte) => {
            Err(HeadError::Bad("the request target's host has a character that host names cannot have"))
        }
        // Without slash are only `*`, of OPTIONS, and `host:port`, of CONNECT.
        None if !target.starts_with('/') && !matches!(method, "OPTIONS" | "CONNECT") => {
            Err(HeadError::Bad("the request target is neither a path nor a URL"))
        }
        _ => Ok(()),
    }
}

/// RFC 9112 3.2: a server MUST answer 400 to an HTTP/1.1 request without Host, with several, or with an invalid one.
fn check_host(headers: &Headers<'_>, minor_version: u8) -> Result<(), HeadError> {
    let mut hosts = headers.values("host");
    match (hosts.next(), hosts.next()) {
        (_, Some(_)) => Err(HeadError::Bad("more than one Host field")),
        (None, None) if minor_version >= 1 => Err(HeadError::Bad("the Host field is missing")),
        (Some(host), None) if !host.iter().all(|byte| is_host_byte(*byte)) => {
            Err(HeadError::Bad("the Host field has a character that host names cannot have"))
        }
        _ => Ok(()),
    }
}

/// RFC 3986 3.2.2 and 3.2.3: what can stand in a host with a port, `[`IPv6`]` included.
fn is_host_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~%!$&'()*+,;=:[]".contains(&byte)
}

fn announces_body(headers: &Headers<'_>) -> Result<bool, HeadError> {
    if headers.get("transfer-encoding").is_some() {
        return Ok(true);
    }
    let mut body = false;
    // RFC 9112 6.3: an invalid Content-Length is an unrecoverable error; a list of them is not taken either.
    for value in headers.values("content-length") {
        if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
            return Err(HeadError::Bad("Content-Length is not a number"));
        }
        body |= value.iter().any(|digit| *digit != b'0');
    }
    Ok(body)
}

fn split_query(target: &str) -> (&str, Option<&str>) {
    match target.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (target, None),
    }
}

fn has_prefix_ignoring_case(text: &str, prefix: &str) -> bool {
    text.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix))
}
