//! The opening handshake (RFC 6455 4), both sides, over parsed HTTP heads.
//!
//! Without: who may enter. Origin, host, path and tokens are judged above; this says only whether the request is a correct
//! request for a WebSocket.

use base64::Engine;
use base64::alphabet;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD};
use sha1::{Digest, Sha1};

use super::deflate::{Agreement, AnswerError, Offer, Terms, negotiation};
use super::extensions::{self, Extension};
use crate::http::{self, Request, Response};

/// RFC 6455 1.3: what is hashed behind the key, so that only a WebSocket server can answer.
const ACCEPT_GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// 16 bytes in base64.
const KEY_BYTES: usize = 24;

/// Keys made by hand often have odd bits behind the sixteenth byte; RFC 6455 4.2.1 asks only that they decode to 16 bytes.
const LENIENT: GeneralPurpose =
    GeneralPurpose::new(&alphabet::STANDARD, GeneralPurposeConfig::new().with_decode_allow_trailing_bits(true));

/// The value of `Sec-WebSocket-Accept`.
pub type Accept = [u8; 28];

/// A correct request, ready to be accepted.
#[derive(Clone, Debug)]
pub struct Upgrade<'r> {
    /// The answer to the client's key.
    pub accept: Accept,
    request: &'r Request<'r>,
    extensions: Vec<Extension<'r>>,
}

impl<'r> Upgrade<'r> {
    /// The subprotocols that the client offers, in its order of preference.
    pub fn protocols(&self) -> impl Iterator<Item = &'r str> {
        offered_protocols(self.request).filter_map(|protocol| std::str::from_utf8(protocol).ok())
    }

    /// What permessage-deflate comes to on these terms; as text it is the answer's `Sec-WebSocket-Extensions`. `None`: it was
    /// not offered, or all offers are declined.
    pub fn deflate(&self, terms: Terms) -> Option<Agreement> {
        negotiation::choose(&self.extensions, terms)
    }
}

/// A request that is no correct WebSocket handshake, and what to answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// 400, 405 or 426.
    pub status: u16,
    /// For the client as it stands.
    pub sentence: &'static str,
    /// Fields that the answer needs.
    pub headers: &'static [(&'static str, &'static str)],
}

/// RFC 9110 15.5.22: a server MUST send Upgrade with 426; RFC 6455 4.2.2 asks for the version it speaks.
const UPGRADE_HEADERS: &[(&str, &str)] = &[("Upgrade", "websocket"), ("Sec-WebSocket-Version", "13")];

/// Checks a request as RFC 6455 4.2.1 lists it.
pub fn check_request<'r>(request: &'r Request<'r>) -> Result<Upgrade<'r>, Refusal> {
    let refuse = |status, sentence, headers| Err(Refusal { status, sentence, headers });
    if request.method != "GET" {
        return refuse(405, "a WebSocket begins with GET", &[("Allow", "GET")]);
    }
    if request.minor_version < 1 {
        return refuse(400, "a WebSocket needs HTTP/1.1", &[]);
    }
    if request.has_body() {
        return refuse(400, "a WebSocket handshake has no body", &[]);
    }
    if !request.has_token("upgrade", "websocket") {
        return refuse(426, "this address speaks WebSocket: connect with a WebSocket client", UPGRADE_HEADERS);
    }
    if !request.has_token("connection", "upgrade") {
        return refuse(426, "Connection: Upgrade is missing; a proxy on the way may have removed it", UPGRADE_HEADERS);
    }
    let mut versions = request.header_values("sec-websocket-version");
    if versions.next() != Some(b"13") || versions.next().is_some() {
        return refuse(426, "only version 13 of the WebSocket protocol is spoken here", UPGRADE_HEADERS);
    }
    let mut keys = request.header_values("sec-websocket-key");
    let (Some(key), None) = (keys.next(), keys.next()) else {
        return refuse(400, "Sec-WebSocket-Key must be there exactly once", &[]);
    };
    if !is_key(key) {
        return refuse(400, "Sec-WebSocket-Key is not 16 bytes in base64", &[]);
    }
    if !offered_protocols(request).all(http::is_token) {
        return refuse(400, "Sec-WebSocket-Protocol has a name that is no token", &[]);
    }
    // RFC 6455 9.1: a value that does not conform to the ABNF MUST fail the connection, whether or not we would answer it.
    let Ok(extensions) = extensions::parse(request.header_values("sec-websocket-extensions")) else {
        return refuse(400, "Sec-WebSocket-Extensions is not a list of extensions with their parameters", &[]);
    };
    Ok(Upgrade { accept: accept(key), request, extensions })
}

/// About what a 101 has without what it names.
const ACCEPT_BYTES: usize = 256;

/// Appends the 101. `protocol` is one that the client offered; `headers` come behind.
pub fn write_accept(out: &mut Vec<u8>, accept: &Accept, protocol: Option<&str>, headers: &[(&str, &str)]) {
    let fields = protocol.map_or(0, str::len) + headers.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>();
    out.reserve(ACCEPT_BYTES + fields);
    out.extend_from_slice(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n");
    out.extend_from_slice(b"Sec-WebSocket-Accept: ");
    out.extend_from_slice(accept);
    out.extend_from_slice(b"\r\n");
    for (name, value) in protocol.map(|name| ("Sec-WebSocket-Protocol", name)).iter().chain(headers) {
        http::write_header(out, name, value);
    }
    out.extend_from_slice(b"\r\n");
}

/// What a client asks for.
#[derive(Clone, Copy, Debug)]
pub struct ClientRequest<'a> {
    /// Host, with the port if it is not the scheme's own.
    pub host: &'a str,
    /// Path and query, beginning with `/`; ASCII without spaces, and without a fragment (`#`), which is refused.
    pub target: &'a str,
    /// 16 random bytes, fresh for each connection (RFC 6455 4.1).
    pub nonce: [u8; 16],
    /// Subprotocols offered, the best first.
    pub protocols: &'a [&'a str],
    /// permessage-deflate, if it is offered.
    pub deflate: Option<Offer>,
    /// More fields, e.g. `Authorization`.
    pub headers: &'a [(&'a str, &'a str)],
}

/// Appends the request; returns the only right answer to its key, for [`check_response`].
pub fn write_request(out: &mut Vec<u8>, request: &ClientRequest<'_>) -> Accept {
    assert!(
        request.target.starts_with('/') && request.target.bytes().all(|byte| byte.is_ascii_graphic()),
        "a target is a path of visible ASCII"
    );
    let mut key = [0; KEY_BYTES];
    STANDARD.encode_slice(request.nonce, &mut key).expect("16 bytes are 24 in base64");
    let key_text = std::str::from_utf8(&key).expect("base64 is ASCII");
    for part in ["GET ", request.target, " HTTP/1.1\r\n"] {
        out.extend_from_slice(part.as_bytes());
    }
    http::write_header(out, "Host", request.host);
    out.extend_from_slice(b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n");
    http::write_header(out, "Sec-WebSocket-Key", key_text);
    if !request.protocols.is_empty() {
        http::write_header(out, "Sec-WebSocket-Protocol", &request.protocols.join(", "));
    }
    if let Some(offer) = request.deflate {
        http::write_header(out, "Sec-WebSocket-Extensions", &offer.to_string());
    }
    for (name, value) in request.headers {
        http::write_header(out, name, value);
    }
    out.extend_from_slice(b"\r\n");
    accept(&key)
}

/// Why a server's answer opens no WebSocket (client role).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ResponseError {
    /// `Sec-WebSocket-Accept` is not the answer to our key.
    #[error("the server's Sec-WebSocket-Accept does not answer our key")]
    AcceptWrong,
    /// No `Connection: Upgrade`.
    #[error("the server's answer has no Connection: Upgrade")]
    ConnectionMissing,
    /// An extension that was not asked for, or not so.
    #[error(transparent)]
    Extension(#[from] AnswerError),
    /// A subprotocol that was not asked for, or several.
    #[error("the server chose a subprotocol that was not offered")]
    ProtocolUnexpected,
    /// Not 101: a refusal, a redirection.
    #[error("the server answered with HTTP status {0} instead of 101")]
    Status(u16),
    /// No `Upgrade: websocket`.
    #[error("the server's answer has no Upgrade: websocket")]
    UpgradeMissing,
}

/// What the server chose of what was offered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Chosen<'a> {
    /// The subprotocol.
    pub protocol: Option<&'a str>,
    /// What permessage-deflate comes to.
    pub deflate: Option<Agreement>,
}

/// Checks the answer to this request as RFC 6455 4.1 lists it; `expected` is what [`write_request`] returned.
pub fn check_response<'a>(
    response: &Response<'_>,
    expected: &Accept,
    request: &ClientRequest<'a>,
) -> Result<Chosen<'a>, ResponseError> {
    if response.status != 101 {
        return Err(ResponseError::Status(response.status));
    }
    if !response.header("upgrade").is_some_and(|value| value.eq_ignore_ascii_case(b"websocket")) {
        return Err(ResponseError::UpgradeMissing);
    }
    if !response.has_token("connection", "upgrade") {
        return Err(ResponseError::ConnectionMissing);
    }
    if response.header("sec-websocket-accept") != Some(expected) {
        return Err(ResponseError::AcceptWrong);
    }
    // RFC 6455 4.1: an extension that was not present in the client's handshake MUST fail the connection.
    let mut extensions = response.header_values("sec-websocket-extensions");
    let deflate = match request.deflate {
        Some(offer) => offer.check(extensions)?,
        None if extensions.next().is_some() => return Err(AnswerError::Unexpected.into()),
        None => None,
    };
    let mut chosen = response.header_values("sec-websocket-protocol");
    let protocol = match (chosen.next(), chosen.next()) {
        (None, _) => None,
        (Some(name), None) => {
            let offered = request.protocols.iter().find(|protocol| protocol.as_bytes() == name);
            Some(*offered.ok_or(ResponseError::ProtocolUnexpected)?)
        }
        _ => return Err(ResponseError::ProtocolUnexpected),
    };
    Ok(Chosen { protocol, deflate })
}

fn offered_protocols<'r>(request: &'r Request<'r>) -> impl Iterator<Item = &'r [u8]> {
    request.headers.list("sec-websocket-protocol")
}

fn is_key(key: &[u8]) -> bool {
    let mut nonce = [0; 18];
    key.len() == KEY_BYTES && LENIENT.decode_slice(key, &mut nonce) == Ok(16)
}

/// RFC 6455 4.2.2: the SHA-1 of the key as sent with the GUID behind it, in base64.
fn accept(key: &[u8]) -> Accept {
    let digest = Sha1::new().chain_update(key).chain_update(ACCEPT_GUID).finalize();
    let mut accept = [0; 28];
    STANDARD.encode_slice(digest, &mut accept).expect("20 bytes are 28 in base64");
    accept
}

#[cfg(test)]
mod tests;
