use super::*;
use crate::http::{HeadReader, Progress};

/// The request of RFC 6455 1.3.
const GOOD: &str = "GET /chat HTTP/1.1\nHost: server.example.com\nUpgrade: websocket\nConnection: Upgrade\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\nOrigin: http://example.com\nSec-WebSocket-Protocol: chat, superchat\n\
    Sec-WebSocket-Version: 13\n\n";

fn read(head: &[u8]) -> HeadReader {
    let mut reader = HeadReader::new(8192, 64);
    assert_eq!(reader.feed(head), Ok(Progress::Complete { consumed: head.len() }), "{}", head.escape_ascii());
    reader
}

/// The good request with some lines changed, and the status that it gets: 101 or a refusal's.
fn check(changes: &[(&str, &str)], status: u16) -> Option<Refusal> {
    let mut head = GOOD.to_owned();
    for (from, to) in changes {
        assert!(head.contains(from), "{from}");
        head = head.replace(from, to);
    }
    let reader = read(head.replace('\n', "\r\n").as_bytes());
    let request = reader.request().expect("a head without fault in its HTTP");
    let refusal = check_request(&request).err();
    assert_eq!(refusal.map_or(101, |refusal| refusal.status), status, "{head}");
    refusal
}

#[test]
fn the_example_of_the_rfc_is_accepted() {
    let reader = read(GOOD.replace('\n', "\r\n").as_bytes());
    let request = reader.request().expect("a request");
    let upgrade = check_request(&request).expect("a handshake");
    assert_eq!(&upgrade.accept, b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    assert_eq!(upgrade.protocols().collect::<Vec<_>>(), ["chat", "superchat"]);

    let mut out = Vec::new();
    write_accept(&mut out, &upgrade.accept, Some("chat"), &[("X-Request-Id", "7")]);
    let expected = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
        Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nSec-WebSocket-Protocol: chat\r\nX-Request-Id: 7\r\n\r\n";
    assert_eq!(String::from_utf8_lossy(&out), expected);
}

#[test]
fn requests_that_are_accepted() {
    for changes in [
        &[][..],
        &[("Upgrade: websocket", "Upgrade: h2c\nUpgrade: WebSocket")],
        &[("Connection: Upgrade", "connection: keep-alive, UPGRADE")],
        &[("Sec-WebSocket-Protocol: chat, superchat\n", "")],
        &[("Sec-WebSocket-Protocol: chat, superchat", "Sec-WebSocket-Protocol: tidegate.v1, bearer.a-b_c.d")],
        &[("\n\n", "\nSec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\n\n")],
        // Bits behind the sixteenth byte.
        &[("dGhlIHNhbXBsZSBub25jZQ==", "dGhlIHNhbXBsZSBub25jZR==")],
    ] {
        check(changes, 101);
    }
}

#[test]
fn requests_that_are_refused() {
    let check = |changes: &[(&str, &str)], status, header: Option<&str>| {
        let refusal = check(changes, status).expect("a refusal");
        assert!(!refusal.sentence.is_empty());
        assert_eq!(refusal.headers.last().map(|(name, _)| *name), header, "{changes:?}");
    };
    check(&[("GET", "POST")], 405, Some("Allow"));
    check(&[("GET", "get")], 405, Some("Allow"));
    check(&[("HTTP/1.1", "HTTP/1.0")], 400, None);
    check(&[("\n\n", "\nContent-Length: 3\n\n")], 400, None);
    let version = Some("Sec-WebSocket-Version");
    check(&[("Upgrade: websocket\n", "")], 426, version);
    check(&[("Upgrade: websocket", "Upgrade: h2c")], 426, version);
    check(&[("Connection: Upgrade\n", "")], 426, version);
    check(&[("Connection: Upgrade", "Connection: keep-alive")], 426, version);
    check(&[("Sec-WebSocket-Version: 13\n", "")], 426, version);
    check(&[("Version: 13", "Version: 8")], 426, version);
    check(&[("Version: 13", "Version: 13, 8")], 426, version);
    check(&[("Version: 13", "Version: 13\nSec-WebSocket-Version: 13")], 426, version);
    check(&[("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\n", "")], 400, None);
    check(&[("Sec-WebSocket-Key", "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\nSec-WebSocket-Key")], 400, None);
    for key in ["", "dGhlIHNhbXBsZSBub25jZQ", "dGhlIHNhbXBsZSBub25jZQ=", "dGhlIHNhbXBsZSBub25jZXM=", "dGhlIHNhbXBsZSBub25jZ!=="] {
        check(&[("dGhlIHNhbXBsZSBub25jZQ==", key)], 400, None);
    }
    check(&[("chat, superchat", "chat, super chat")], 400, None);
    check(&[("chat, superchat", "\"chat\"")], 400, None);
    check(&[("\n\n", "\nSec-WebSocket-Extensions: permessage-deflate; =\n\n")], 400, None);
}

#[test]
fn both_sides_meet() {
    let protocols = ["v2", "v1"];
    let request = ClientRequest {
        host: "localhost:8080",
        target: "/ws?a=b",
        nonce: *b"the sample nonce",
        protocols: &protocols,
        deflate: Some(Offer { server_no_context_takeover: true, ..Offer::default() }),
        headers: &[("Authorization", "Bearer x")],
    };
    let mut sent = Vec::new();
    let expected = write_request(&mut sent, &request);
    let reader = read(&sent);
    let received = reader.request().expect("what the client writes is a request");
    assert_eq!((received.path(), received.query(), received.host()), ("/ws", Some("a=b"), Some("localhost:8080")));
    assert_eq!(received.header("authorization"), Some(&b"Bearer x"[..]));
    let upgrade = check_request(&received).expect("what the client writes is a handshake");
    assert_eq!(upgrade.accept, expected);
    assert_eq!(upgrade.protocols().collect::<Vec<_>>(), protocols);

    let agreed = upgrade.deflate(Terms::Own);
    assert!(agreed.is_some_and(|agreed| agreed.server_no_context_takeover));
    for (protocol, deflate) in [(None, None), (Some("v1"), None), (None, agreed)] {
        let mut answer = Vec::new();
        let extension = deflate.map(|agreed| agreed.to_string());
        let headers: Vec<_> = extension.iter().map(|text| ("Sec-WebSocket-Extensions", text.as_str())).collect();
        write_accept(&mut answer, &upgrade.accept, protocol, &headers);
        let reader = read(&answer);
        let response = reader.response().expect("what the server writes is a response");
        assert_eq!(check_response(&response, &expected, &request), Ok(Chosen { protocol, deflate }));
    }
}

#[test]
fn answers_that_open_no_websocket() {
    let good = "HTTP/1.1 101 Switching Protocols\nUpgrade: WebSocket\nConnection: upgrade\n\
        Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\n\n";
    let check = |from: &str, to: &str, expected| {
        assert!(good.contains(from), "{from}");
        let reader = read(good.replace(from, to).replace('\n', "\r\n").as_bytes());
        let response = reader.response().expect("a response");
        let protocols = ["a", "b"];
        let request =
            ClientRequest { host: "a", target: "/", nonce: [0; 16], protocols: &protocols, deflate: None, headers: &[] };
        let chosen = check_response(&response, b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=", &request);
        assert_eq!(chosen.map(|chosen| chosen.protocol), expected, "{from} {to}");
    };
    check("Upgrade", "Upgrade", Ok(None));
    check("\n\n", "\nSec-WebSocket-Protocol: b\n\n", Ok(Some("b")));
    check("101 Switching Protocols", "403 Forbidden", Err(ResponseError::Status(403)));
    check("101 Switching Protocols", "200 OK", Err(ResponseError::Status(200)));
    check("Upgrade: WebSocket\n", "", Err(ResponseError::UpgradeMissing));
    check("WebSocket\n", "h2c\n", Err(ResponseError::UpgradeMissing));
    check("Connection: upgrade\n", "", Err(ResponseError::ConnectionMissing));
    check("s3pP", "S3pP", Err(ResponseError::AcceptWrong));
    check("Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\n", "", Err(ResponseError::AcceptWrong));
    check("\n\n", "\nSec-WebSocket-Extensions: permessage-deflate\n\n", Err(AnswerError::Unexpected.into()));
    check("\n\n", "\nSec-WebSocket-Protocol: c\n\n", Err(ResponseError::ProtocolUnexpected));
    check("\n\n", "\nSec-WebSocket-Protocol: a\nSec-WebSocket-Protocol: b\n\n", Err(ResponseError::ProtocolUnexpected));
}
