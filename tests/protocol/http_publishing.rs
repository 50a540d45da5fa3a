//! The admin port: publishing by HTTP, topics, and who is refused.

use serde_json::{Value, json};

use crate::common::{Client, Gateway, PATIENCE, Response, http};
use crate::connecting::status_and_code;

/// The lines of an answer, each JSON.
fn lines(answer: &Response) -> Vec<Value> {
    answer.text().lines().map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("not JSON: {line}"))).collect()
}

#[test]
fn one_publication_is_answered_with_one_position() {
    let gateway = Gateway::publishing();
    let answer = gateway.post("/api/publish", "application/json", "{\"topic\":\"md.a\",\"data\":{}}");
    assert_eq!(answer.status, 200, "{answer:?}");
    let results = lines(&answer);
    assert_eq!(results.len(), 1);
    assert_eq!(results[0]["offset"], 1);
    let (epoch, offset) = gateway.publish("md.a", "1");
    assert_eq!((json!(epoch), offset), (results[0]["epoch"].clone(), 2));
}

#[test]
fn the_payload_is_the_bytes_of_data_as_they_stand_in_the_request() {
    let gateway = Gateway::publishing();
    let mut client = Client::connect(&gateway, "/ws/md.a");
    for data in ["{ \"p\" : 1.10,\t\"q\":[ ] }", "\"keeps \\u0022quotes\\/\"", "1E400", "-0", "null", "{\"a\":1,\"a\":2}"] {
        let body = format!(" {{ \"data\" : {data} , \"topic\" : \"md.a\" }}\n");
        let answer = gateway.post("/api/publish", "application/json", body);
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!(client.text(), data);
    }
}

#[test]
fn a_batch_is_one_request_as_an_array_or_as_lines_and_its_order_is_kept() {
    let gateway = Gateway::publishing();
    let mut client = Client::connect(&gateway, "/stream?streams=a/b");
    let items = ["{\"topic\":\"a\",\"data\":1}", "{\"topic\":\"b\",\"data\":2}", "{\"topic\":\"a\",\"data\":3}"];
    let batches = [
        ("application/json", format!("[{}]", items.join(",\n"))),
        ("application/x-ndjson", items.join("\n")),
        ("application/x-ndjson", format!("{}\n", items.join("\r\n"))),
    ];
    for (round, (content_type, body)) in (0u64..).zip(batches) {
        let answer = gateway.post("/api/publish", content_type, body);
        assert_eq!(answer.status, 200, "{answer:?}");
        let offsets: Vec<_> = lines(&answer).iter().map(|line| line["offset"].as_u64()).collect();
        assert_eq!(offsets, [Some(2 * round + 1), Some(round + 1), Some(2 * round + 2)]);
        let mut came: Vec<_> = (0..3).map(|_| client.text()).collect();
        came.retain(|message| message.contains("\"a\""));
        assert!(came[0].ends_with("\"data\":1}") && came[1].ends_with("\"data\":3}"), "{came:?}");
    }
}

#[test]
fn a_batch_that_could_be_read_is_200_with_an_error_on_the_line_at_fault() {
    let gateway = Gateway::publishing();
    let body = "{\"topic\":\"a\",\"data\":1}\n{\"topic\":\"a..b\",\"data\":2}\n{\"topic\":\"a.*\",\"data\":2}\n{\"topic\":\"a\"}\n[7]\n{\"topic\":\"a\",\"data\":3}\n";
    let answer = gateway.post("/api/publish", "application/x-ndjson", body);
    assert_eq!(answer.status, 200, "{answer:?}");
    let results = lines(&answer);
    assert_eq!((&results[0]["offset"], &results[5]["offset"]), (&json!(1), &json!(2)));
    for (line, code) in [(2, 3), (3, 3), (4, 1), (5, 1)] {
        let error = &results[line - 1]["error"];
        assert_eq!((&error["code"], &error["line"]), (&json!(code), &json!(line)), "{error}");
        assert!(error["msg"].as_str().is_some_and(|sentence| sentence.len() > 8), "{error}");
    }
}

#[test]
fn bad_json_is_400_with_line_and_column_and_nothing_of_it_is_published() {
    let gateway = Gateway::publishing();
    let mut client = Client::connect(&gateway, "/ws/a");
    let bodies = [
        ("application/json", "", None),
        ("application/json", "hello", Some(1)),
        ("application/json", "{\"topic\":\"a\",\n\"data\":}", Some(2)),
        ("application/json", "[{\"topic\":\"a\",\"data\":1},\n{\"topic\":\"a\"\n\"data\":2}]", Some(3)),
        ("application/x-ndjson", "{\"topic\":\"a\",\"data\":1}\n{\"topic\":\"a\",\"data\":}\n", Some(2)),
    ];
    for (content_type, body, line) in bodies {
        let answer = gateway.post("/api/publish", content_type, body);
        assert_eq!(status_and_code(body, &answer), (400, 1), "{body:?}");
        if let Some(line) = line {
            let text = answer.text();
            assert!(text.contains(&format!("line {line}")) && text.contains("column"), "{body:?}: {text}");
        }
    }
    client.assert_silent();
}

#[test]
fn a_body_posted_to_a_topic_is_its_payload() {
    let gateway = Gateway::publishing();
    let mut client = Client::connect(&gateway, "/ws/md.a");
    for (content_type, body) in
        [("application/json", "{ \"a\" : 1 }"), ("text/plain", "hello"), ("text/plain; charset=utf-8", "€")]
    {
        let answer = gateway.post("/api/topics/md.a", content_type, body);
        assert_eq!(answer.status, 200, "{answer:?}");
        assert!(lines(&answer)[0]["offset"].is_u64(), "{answer:?}");
        assert_eq!(client.text(), body);
    }
    let answer = gateway.post("/api/topics/md.a", "application/octet-stream", b"\xff\x00");
    assert_eq!((answer.status, lines(&answer)[0]["offset"].as_u64()), (200, Some(4)));
    assert_eq!(client.binary(), b"\xff\x00");
    assert_eq!(status_and_code("bad name", &gateway.post("/api/topics/a..b", "text/plain", "x")), (400, 3));
    assert_eq!(gateway.post("/api/topics/md.a", "text/plain", b"\xff").status, 400, "text that is not UTF-8");
}

#[test]
fn above_publication_bytes_max_is_413() {
    let gateway = Gateway::configured("[limits]\npublication_bytes_max = 1000\n");
    assert_eq!(gateway.post("/api/topics/md.a", "text/plain", "x".repeat(1000)).status, 200);
    assert_eq!(gateway.post("/api/topics/md.a", "text/plain", "x".repeat(1001)).status, 413);
    let answer =
        gateway.post("/api/publish", "application/json", format!("{{\"topic\":\"a\",\"data\":\"{}\"}}", "x".repeat(999)));
    assert_eq!(answer.status, 413, "{answer:?}");
}

#[test]
fn topics_are_listed_with_position_rate_and_subscribers() {
    let gateway = Gateway::publishing();
    let (epoch, _) = gateway.publish("md.b", "1");
    gateway.publish("md.a", "1");
    gateway.publish("md.a", "2");
    let mut clients: Vec<_> = (0..3).map(|_| Client::connect(&gateway, "/ws/md.a")).collect();
    clients.iter_mut().for_each(Client::assert_silent);
    let answer = gateway.get("/api/topics");
    assert_eq!(answer.status, 200);
    let body: Value = serde_json::from_slice(&answer.body).expect("topics are JSON");
    let listed = body.as_array().or_else(|| body["topics"].as_array()).unwrap_or_else(|| panic!("no list in {body}"));
    let of = |name: &str| {
        listed
            .iter()
            .find(|topic| [&topic["topic"], &topic["name"]].contains(&&json!(name)))
            .unwrap_or_else(|| panic!("{name} is not in {body}"))
    };
    assert_eq!((&of("md.a")["offset"], &of("md.a")["subscribers"]), (&json!(2), &json!(3)));
    assert_eq!((&of("md.b")["offset"], &of("md.b")["epoch"]), (&json!(1), &json!(epoch)));
    assert!(of("md.a")["rate"].is_number());
}

#[test]
fn a_changing_request_with_a_foreign_origin_or_fetch_site_is_403() {
    let gateway = Gateway::publishing();
    let mut client = Client::connect(&gateway, "/ws/a");
    let body = b"{\"topic\":\"a\",\"data\":1}";
    let own = format!("http://{}", gateway.admin);
    for header in
        [("Origin", "http://evil.example"), ("Origin", "null"), ("Sec-Fetch-Site", "cross-site"), ("Sec-Fetch-Site", "same-site")]
    {
        for path in ["/api/publish", "/api/topics/a"] {
            assert_eq!(http(gateway.admin, "POST", path, &[header], body).status, 403, "{header:?} {path}");
        }
    }
    client.assert_silent();
    for header in [("Origin", own.as_str()), ("Sec-Fetch-Site", "same-origin"), ("Sec-Fetch-Site", "none")] {
        assert_eq!(
            http(gateway.admin, "POST", "/api/publish", &[header, ("Content-Type", "application/json")], body).status,
            200,
            "{header:?}"
        );
    }
}

#[test]
fn metrics_count_what_happened() {
    let gateway = Gateway::publishing();
    let mut client = Client::connect(&gateway, "/ws/md.a");
    gateway.publish("md.a", "1");
    client.text();
    // A client may have its message a moment before the shard has counted it.
    let began = std::time::Instant::now();
    loop {
        let answer = gateway.get("/metrics");
        assert_eq!(answer.status, 200);
        let text = answer.text();
        let counts = |name: &&str| {
            let mut values = text.lines().filter(|line| !line.starts_with('#') && line.contains(name));
            values.any(|line| !line.ends_with(" 0"))
        };
        let Some(missing) = ["connections", "publications", "deliveries"].into_iter().find(|name| !counts(name)) else { return };
        assert!(began.elapsed() < PATIENCE, "{missing} is 0 or missing in\n{text}");
    }
}
