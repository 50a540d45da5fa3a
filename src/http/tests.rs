use proptest::prelude::*;

use super::*;

const LIMIT: u32 = 512;

/// Feeds the input in pieces: the reader with its head, and how many bytes of the input the head took.
fn feed<'b>(pieces: impl IntoIterator<Item = &'b [u8]>) -> Result<(HeadReader, Option<usize>), HeadError> {
    let mut reader = HeadReader::new(LIMIT, 8);
    let mut before = 0;
    for piece in pieces {
        match reader.feed(piece)? {
            Progress::Partial => before += piece.len(),
            Progress::Complete { consumed } => return Ok((reader, Some(before + consumed))),
        }
    }
    Ok((reader, None))
}

/// Reads a request, whole and at every cut; the view must be the same each time.
fn check(input: &[u8], view: impl Fn(&Request<'_>) -> String, expected: Result<&str, HeadError>) {
    let read = |pieces: &[&[u8]]| {
        let (reader, _) = feed(pieces.iter().copied())?;
        reader.request().map(|request| view(&request))
    };
    let expected = expected.map(str::to_owned);
    assert_eq!(read(&[input]), expected, "{}", input.escape_ascii());
    assert_eq!(read(&input.chunks(1).collect::<Vec<_>>()), expected, "{}, byte by byte", input.escape_ascii());
    for cut in 0..=input.len() {
        let (before, behind) = input.split_at(cut);
        assert_eq!(read(&[before, behind]), expected, "{}, cut at {cut}", input.escape_ascii());
    }
}

fn bad(what: &'static str) -> Result<&'static str, HeadError> {
    Err(HeadError::Bad(what))
}

#[test]
fn request_lines() {
    let check = |input: &str, expected| {
        let view = |r: &Request<'_>| format!("{} {} {:?} {:?} 1.{}", r.method, r.path(), r.query(), r.host(), r.minor_version);
        check(input.as_bytes(), view, expected);
    };
    check("GET / HTTP/1.1\r\nHost: a\r\n\r\n", Ok("GET / None Some(\"a\") 1.1"));
    check("GET /ws?a=1?b HTTP/1.1\r\nHost: a:80\r\n\r\n", Ok("GET /ws Some(\"a=1?b\") Some(\"a:80\") 1.1"));
    check("GET /ws? HTTP/1.0\r\n\r\n", Ok("GET /ws Some(\"\") None 1.0"));
    // RFC 9112 3.2.2: the target's host counts.
    check("GET HTTP://b:1/p?q HTTP/1.1\r\nHost: a\r\n\r\n", Ok("GET /p Some(\"q\") Some(\"b:1\") 1.1"));
    check("GET ws://b HTTP/1.1\r\nHost: a\r\n\r\n", Ok("GET / None Some(\"b\") 1.1"));
    check("GET http://b?q HTTP/1.1\r\nHost: a\r\n\r\n", Ok("GET / Some(\"q\") Some(\"b\") 1.1"));
    check("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", Ok("OPTIONS * None Some(\"a\") 1.1"));
    check("GET / HTTP/1.1\r\nHost:\r\n\r\n", Ok("GET / None Some(\"\") 1.1"));
    check("\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", Ok("GET / None Some(\"a\") 1.1"));
}

#[test]
fn heads_that_are_refused() {
    fn check(input: &str, expected: Result<&str, HeadError>) {
        super::tests::check(input.as_bytes(), |r| r.target.to_owned(), expected);
    }
    check("GET / HTTP/1.1\r\n\r\n", bad("the Host field is missing"));
    check("GET / HTTP/1.1\r\nHost: a\r\nhost: a\r\n\r\n", bad("more than one Host field"));
    check("GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", bad("the Host field has a character that host names cannot have"));
    check("GET / HTTP/2.0\r\nHost: a\r\n\r\n", bad("the version is not HTTP/1.1 or HTTP/1.0"));
    check("GET /\r\n\r\n", bad("the start line has a character that does not belong there"));
    check("GET ws HTTP/1.1\r\nHost: a\r\n\r\n", bad("the request target is neither a path nor a URL"));
    check("GET * HTTP/1.1\r\nHost: a\r\n\r\n", bad("the request target is neither a path nor a URL"));
    check("GET http:///ws HTTP/1.1\r\nHost: a\r\n\r\n", bad("the request target has no host"));
    let user = "GET http://u@a/ HTTP/1.1\r\nHost: a\r\n\r\n";
    check(user, bad("the request target's host has a character that host names cannot have"));
    let part = "GET /ws#part HTTP/1.1\r\nHost: a\r\n\r\n";
    check(part, bad("the request target has a #; write %23 where it is part of a name"));
    check("GET / HTTP/1.1\nHost: a\n\n", bad("a line of the head ends without CR"));
    check("\x16\x03\x01\x02", bad("this is not HTTP (for TLS, use a port that speaks it)"));
    check("GET / HTTP/1.1\r\nHost: a\r\nA b: c\r\n\r\n", bad("a header field's name has a character that names cannot have"));
    check("GET / HTTP/1.1\r\nHost: a\r\nA: \x01\r\n\r\n", bad("a header field's value has a character that values cannot have"));
    check("GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1x\r\n\r\n", bad("Content-Length is not a number"));
    let field = |count: usize| format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "A: b\r\n".repeat(count - 1));
    check(&field(8), Ok("/"));
    check(&field(9), Err(HeadError::TooManyHeaders));
    let long = |length: usize| {
        let head = |path: &str| format!("GET /{path} HTTP/1.1\r\nHost: a\r\n\r\n");
        head(&"p".repeat(length - head("").len()))
    };
    check(&long(LIMIT as usize), Ok(&format!("/{}", "p".repeat(LIMIT as usize - 27))));
    check(&long(LIMIT as usize + 1), Err(HeadError::TooLong));
    check(&"\r\n".repeat(LIMIT as usize), Err(HeadError::TooLong));
}

#[test]
fn each_refusal_has_its_status() {
    let all = [HeadError::Bad("x"), HeadError::TooLong, HeadError::TooManyHeaders];
    assert_eq!(all.map(HeadError::status), [400, 431, 431]);
}

#[test]
fn header_fields() {
    let input = b"GET / HTTP/1.1\r\nHost: a\r\nX:  one \r\nx:two\r\nUpgrade: a, WebSocket\r\nupgrade:,b ,, c\r\n\r\n";
    let check = |expected: &str, view: fn(&Request<'_>) -> String| check(input, view, Ok(expected));
    check("one", |r| String::from_utf8_lossy(r.header("X").unwrap_or_default()).into_owned());
    check("None", |r| format!("{:?}", r.header("Y")));
    check("one two", |r| r.header_values("x").map(<[u8]>::escape_ascii).map(|v| v.to_string()).collect::<Vec<_>>().join(" "));
    check("a|WebSocket|b|c", |r| {
        r.headers.list("UPGRADE").map(<[u8]>::escape_ascii).map(|v| v.to_string()).collect::<Vec<_>>().join("|")
    });
    check("true true false false", |r| {
        let has = |token| r.has_token("Upgrade", token);
        format!("{} {} {} {}", has("websocket"), has("C"), has("web"), has(""))
    });
}

#[test]
fn bodies_and_connections() {
    let check = |fields: &str, version: u8, expected| {
        let input = format!("GET / HTTP/1.{version}\r\nHost: a\r\n{fields}\r\n");
        check(input.as_bytes(), |r| format!("{} {}", r.has_body(), r.keep_alive()), Ok(expected));
    };
    check("", 1, "false true");
    check("", 0, "false false");
    check("Connection: x, Close\r\n", 1, "false false");
    check("Connection: Keep-Alive\r\n", 0, "false true");
    check("Content-Length: 0\r\n", 1, "false true");
    check("Content-Length: 000\r\n", 1, "false true");
    check("Content-Length: 5\r\n", 1, "true true");
    check("Content-Length: 99999999999999999999999999\r\n", 1, "true true");
    check("Content-Length: 0\r\nContent-Length: 5\r\n", 1, "true true");
    check("Transfer-Encoding: chunked\r\n", 1, "true true");
}

#[test]
fn an_idle_reader_holds_no_memory() {
    let mut reader = HeadReader::new(LIMIT, 8);
    assert_eq!(reader.bytes.capacity(), 0);
    reader.feed(b"GET / HTTP/1.0\r\n\r\nrest").expect("a whole head");
    assert!(!reader.is_empty());
    reader.clear();
    assert!(reader.is_empty());
    assert_eq!(reader.bytes.capacity(), 0);
    assert_eq!(reader.feed(b"GET /2 HTTP/1.0\r\n\r\n"), Ok(Progress::Complete { consumed: 19 }));
    assert_eq!(reader.feed(b"GET /3"), Ok(Progress::Complete { consumed: 0 }), "the next head waits for clear()");
    assert_eq!(reader.request().expect("a request").target, "/2");
}

#[test]
fn responses_are_written_and_read() {
    let check = |status, headers: &[_], body: &str, keep_alive, expected: &str| {
        let mut out = Vec::new();
        write_response(&mut out, status, headers, body.as_bytes(), keep_alive);
        assert_eq!(String::from_utf8_lossy(&out), expected);
        let (reader, consumed) = feed([&out[..]]).expect("what is written is a head");
        assert_eq!(consumed, Some(out.len() - body.len()));
        let response = reader.response().expect("what is written is a response");
        assert_eq!(response.status, status);
        for (name, value) in headers {
            assert_eq!(response.header(name), Some(value.as_bytes()));
        }
    };
    check(200, &[("A", "b")], "hi", true, "HTTP/1.1 200 OK\r\nA: b\r\nContent-Length: 2\r\nConnection: keep-alive\r\n\r\nhi");
    check(204, &[], "", true, "HTTP/1.1 204 No Content\r\nConnection: keep-alive\r\n\r\n");
    check(503, &[], "", false, "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    check(101, &[("Upgrade", "x")], "", true, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n");
}

#[test]
fn every_status_in_use_has_a_reason() {
    for status in [101, 200, 204, 400, 401, 403, 404, 405, 408, 413, 421, 426, 429, 431, 500, 503] {
        assert!(!reason(status).is_empty(), "{status}");
    }
}

#[test]
#[should_panic(expected = "a line end in a header would be another header")]
fn a_header_cannot_smuggle_another() {
    write_response(&mut Vec::new(), 200, &[("A", "b\r\nSet-Cookie: c")], b"", true);
}

proptest! {
    #[test]
    fn bytes_behind_the_head_stay_with_the_caller(
        path in "[a-z]{0,30}",
        behind in prop::collection::vec(any::<u8>(), 0..900),
        piece in 1_usize..80,
    ) {
        let head = format!("GET /{path} HTTP/1.1\r\nHost: a\r\n\r\n");
        let input = [head.as_bytes(), &behind].concat();
        let (reader, consumed) = feed(input.chunks(piece)).expect("a good head");
        prop_assert_eq!(consumed, Some(head.len()));
        let request = reader.request().expect("a good head");
        prop_assert_eq!(request.path(), format!("/{path}"));
    }

    #[test]
    fn any_bytes_at_any_cuts_give_the_same_answer(
        mut input in prop::collection::vec(any::<u8>(), 0..200),
        start in prop::sample::select(vec!["", "GET / HTTP/1.1\r\nHost: a\r\n", "GET / HTTP/1.0\r\n\r\n", "\r\n\r\n"]),
        piece in 1_usize..60,
    ) {
        let mut bytes = start.as_bytes().to_vec();
        bytes.append(&mut input);
        bytes.extend_from_slice(b"\r\n\r\n");
        let read = |size: usize| {
            feed(bytes.chunks(size)).and_then(|(reader, consumed)| match consumed {
                Some(_) => reader.request().map(|request| format!("{request:?} {consumed:?}")),
                None => Ok("partial".to_owned()),
            })
        };
        prop_assert_eq!(read(piece), read(bytes.len()));
    }
}
