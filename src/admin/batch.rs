//! The body of a publish request: one publication, an array of them, or one a line (NDJSON).
//!
//! Pure: bytes to publications, results to an answer. A payload is the bytes of `data` as they stand in the request.
//! A body that is not JSON is refused as a whole, with line and column; one wrong publication in it is answered by itself
//! and the others are published.

use std::borrow::Cow;

use axum::body::Bytes;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::answer::{self, Refused};
use crate::broker::PublishError;
use crate::dialect::stream::payload_kind;
use crate::dialect::{ErrorCode, percent, quoted};
use crate::hub::{Key, Marks, NewPublication, Payload, PayloadKind, Position, TopicName};

/// A request's publications in their order, some of which may be wrong.
#[derive(Debug)]
pub(super) struct Batch {
    items: Vec<Item>,
}

/// One publication of a request.
#[derive(Debug)]
struct Item {
    /// Where in the body it begins, from 1.
    line: usize,
    publication: Result<NewPublication, Refused>,
}

/// The members of a publication; others are ignored.
#[derive(Deserialize)]
struct Members<'b> {
    #[serde(borrow)]
    topic: Cow<'b, str>,
    #[serde(borrow)]
    data: &'b RawValue,
    #[serde(borrow)]
    key: Option<Cow<'b, str>>,
}

impl Batch {
    /// Reads a body: an array if it begins with `[`, else objects one after the other, as a rule one a line.
    pub(super) fn read(body: &Bytes, publication_bytes_max: u32) -> Result<Batch, Refused> {
        let text = std::str::from_utf8(body).map_err(|error| not_utf8(body, error.valid_up_to()))?;
        let values: Vec<&RawValue> = if text.trim_ascii_start().starts_with('[') {
            serde_json::from_str(text)
        } else {
            serde_json::Deserializer::from_str(text).into_iter().collect()
        }
        .map_err(|error| not_json(&error))?;
        if values.is_empty() {
            let msg = "the body holds no publication; send {\"topic\":...,\"data\":...}, an array of such, or one a line";
            return Err(Refused::bad_request(ErrorCode::BadRequest, msg));
        }
        let single = values.len() == 1;
        let (mut line, mut counted) = (1, 0);
        let mut items = Vec::with_capacity(values.len());
        for value in values {
            let at = value.get().as_ptr() as usize - text.as_ptr() as usize;
            line += memchr::memchr_iter(b'\n', &body[counted..at]).count();
            counted = at;
            let publication = read_publication(body, value, publication_bytes_max);
            match publication {
                // A lone publication that is too large is the request's fault, as in any other request.
                Err(refused) if single && refused.status == StatusCode::PAYLOAD_TOO_LARGE => return Err(refused),
                publication => items.push(Item { line, publication }),
            }
        }
        Ok(Batch { items })
    }

    /// Has each publication on a topic that may not be published on answered with why. Where that is all of them, the request is.
    pub(super) fn hold_to(&mut self, may: impl Fn(&TopicName) -> Result<(), Refused>) -> Result<(), Refused> {
        let mut refusal = None;
        for item in &mut self.items {
            if let Ok(publication) = &item.publication
                && let Err(refused) = may(&publication.topic)
            {
                refusal = Some(refused.clone());
                item.publication = Err(refused);
            }
        }
        match refusal.filter(|_| self.items.iter().all(|item| item.publication.is_err())) {
            Some(refused) => Err(refused),
            None => Ok(()),
        }
    }

    /// Those that can be published, in order.
    pub(super) fn publications(&self) -> Vec<NewPublication> {
        self.items.iter().filter_map(|item| item.publication.as_ref().ok()).cloned().collect()
    }

    /// How many cannot be published.
    pub(super) fn errors(&self) -> usize {
        self.items.iter().filter(|item| item.publication.is_err()).count()
    }

    /// One line for each publication of the request. `results` are the broker's, one for each of
    /// [`publications`](Batch::publications). Where the gateway took nothing because it is stopping or busy: 503.
    pub(super) fn answer(&self, results: &[Result<Position, PublishError>]) -> Result<Response, Refused> {
        let passing = [PublishError::Stopping, PublishError::Busy, PublishError::Journal, PublishError::Gone];
        let unavailable = results.iter().find(|result| result.is_err_and(|error| passing.contains(&error)));
        if let Some(Err(error)) = unavailable
            && results.iter().all(Result::is_err)
        {
            return Err((*error).into());
        }
        Ok(([(header::CONTENT_TYPE, "application/x-ndjson")], self.lines(results)).into_response())
    }

    fn lines(&self, results: &[Result<Position, PublishError>]) -> String {
        let mut results = results.iter();
        let mut lines = String::new();
        for item in &self.items {
            let answer = match &item.publication {
                Err(refused) => refused.to_json(Some(item.line)),
                Ok(_) => match results.next().expect("the broker gives one result for each publication") {
                    Ok(position) => answer::position(position),
                    Err(error) => Refused::from(*error).to_json(Some(item.line)),
                },
            };
            lines.push_str(&answer.to_string());
            lines.push('\n');
        }
        assert!(results.next().is_none(), "the broker gives one result for each publication");
        lines
    }
}

fn read_publication(body: &Bytes, value: &RawValue, publication_bytes_max: u32) -> Result<NewPublication, Refused> {
    let form = "a publication is an object with \"topic\" and \"data\"";
    // An array of two would be read as the members in their order; only an object is meant.
    if !value.get().starts_with('{') {
        return Err(Refused::bad_request(ErrorCode::BadRequest, form));
    }
    let members: Members<'_> = serde_json::from_str(value.get()).map_err(|error| {
        // The place in its own object would be mistaken for one in the body.
        let reason = error.to_string();
        let reason = reason.split(" at line ").next().unwrap_or_default();
        Refused::bad_request(ErrorCode::BadRequest, format!("{form}: {reason}"))
    })?;
    let key = members.key.as_deref().map(read_key).transpose()?;
    let topic = read_topic(&members.topic)?;
    let data = members.data.get().as_bytes();
    if data.len() > publication_bytes_max as usize {
        return Err(Refused::too_large(data.len(), publication_bytes_max));
    }
    let payload = Payload { bytes: body.slice_ref(data), kind: PayloadKind::Json };
    Ok(NewPublication { marks: Marks { key, ..Marks::default() }, ..NewPublication::new(topic, payload) })
}

fn read_key(key: &str) -> Result<Key, Refused> {
    Key::parse(key).map_err(|error| Refused::bad_request(ErrorCode::BadRequest, format!("key {}: {error}", quoted(key))))
}

fn read_topic(name: &str) -> Result<TopicName, Refused> {
    TopicName::parse(name).map_err(|error| Refused::bad_request(ErrorCode::BadTopic, format!("{}: {error}", quoted(name))))
}

/// The publication that is a whole body: text (JSON or other), or bytes where the request says so.
pub(super) fn whole_body(
    topic: &str,
    query: Option<&str>,
    binary: bool,
    body: Bytes,
    publication_bytes_max: u32,
) -> Result<NewPublication, Refused> {
    let marks = read_marks(query.unwrap_or_default())?;
    if marks.removes && !body.is_empty() {
        let msg = "a removal has no payload: send an empty body, or publish without `remove`";
        return Err(Refused::bad_request(ErrorCode::BadRequest, msg));
    }
    let topic = read_topic(topic)?;
    if body.len() > publication_bytes_max as usize {
        return Err(Refused::too_large(body.len(), publication_bytes_max));
    }
    let kind = match std::str::from_utf8(&body) {
        _ if binary => PayloadKind::Binary,
        Ok(text) => payload_kind(text.as_bytes()),
        Err(error) => {
            let msg = format!(
                "the body is not UTF-8 at byte {}; send binary publications with Content-Type: application/octet-stream",
                error.valid_up_to()
            );
            return Err(Refused::bad_request(ErrorCode::BadRequest, msg));
        }
    };
    Ok(NewPublication { marks, ..NewPublication::new(topic, Payload { bytes: body, kind }) })
}

/// `key=K` and `remove=1` of a query; other members are ignored.
fn read_marks(query: &str) -> Result<Marks, Refused> {
    let wrong = |msg: String| Refused::bad_request(ErrorCode::BadRequest, msg);
    let mut marks = Marks::default();
    for (name, value) in query.split('&').map(|member| member.split_once('=').unwrap_or((member, ""))) {
        match name {
            "key" if marks.key.is_some() => return Err(wrong("`key` stands in the query twice".into())),
            "key" => {
                let key = percent::decode(value).map_err(|error| wrong(format!("key {}: {error}", quoted(value))))?;
                marks.key = Some(read_key(&key)?);
            }
            "remove" if value == "1" => marks.removes = true,
            "remove" => return Err(wrong(format!("`remove` takes 1, not {}", quoted(value)))),
            _ => {}
        }
    }
    if marks.removes && marks.key.is_none() {
        return Err(wrong("`remove` needs the key that it takes out: `?key=K&remove=1`".into()));
    }
    Ok(marks)
}

/// `serde_json` counts lines from 1 and columns in bytes, from 1.
fn not_json(error: &serde_json::Error) -> Refused {
    Refused::bad_request(ErrorCode::BadRequest, format!("the body is not JSON: {error}"))
}

fn not_utf8(body: &[u8], at: usize) -> Refused {
    let line = memchr::memchr_iter(b'\n', &body[..at]).count() + 1;
    let column = at - memchr::memrchr(b'\n', &body[..at]).map_or(0, |feed| feed + 1) + 1;
    Refused::bad_request(ErrorCode::BadRequest, format!("the body is not UTF-8 at line {line} column {column}"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::hub::Epoch;

    const BYTES_MAX: u32 = 32;

    fn read(body: &str) -> Result<Batch, Refused> {
        Batch::read(&Bytes::copy_from_slice(body.as_bytes()), BYTES_MAX)
    }

    #[track_caller]
    fn check(body: &str, expected: &[(&str, &str)]) {
        let publications = read(body).expect("a batch").publications();
        let found: Vec<(&str, &str)> = publications
            .iter()
            .map(|new| (new.topic.as_str(), std::str::from_utf8(&new.payload.bytes).expect("UTF-8")))
            .collect();
        assert_eq!(found, expected, "{body}");
        assert!(publications.iter().all(|new| new.payload.kind == PayloadKind::Json));
    }

    #[test]
    fn a_payload_is_the_bytes_of_data_as_they_stand() {
        check(r#"{"topic":"a","data": { "p" : 1.50,"\u0041":"é"} }"#, &[("a", r#"{ "p" : 1.50,"\u0041":"é"}"#)]);
        check(r#"{"data":"text","topic":"a","more":1}"#, &[("a", r#""text""#)]);
        check(r#"{"topic":"\u0061","data":null}"#, &[("a", "null")]);
    }

    #[test]
    fn objects_lines_and_arrays_keep_their_order() {
        let three = [("a", "1"), ("b", "2"), ("a", "3")];
        let [one, two, other] = three.map(|(topic, data)| format!("{{\"topic\":\"{topic}\",\"data\":{data}}}"));
        check(&format!("{one}\n{two}\n{other}"), &three);
        check(&format!("\r\n{one}\r\n\r\n{two} {other}\n"), &three);
        check(&format!(" [{one},\n{two} , {other}]\n"), &three);
        check(&format!("{one}{two}{other}"), &three);
        check("{\n\"topic\":\"a\",\n\"data\":1}", &[("a", "1")]);
    }

    #[test]
    fn a_body_that_is_not_json_is_told_with_line_and_column() {
        for (body, place) in [
            ("{\"topic\":\"a\",\"data\":1}\n{\"topic\":\"a\",\"data\":}", "line 2 column 21"),
            ("[{\"topic\":\"a\",\"data\":1}", "line 1 column 23"),
            ("[] x", "line 1 column 4"),
            ("{\"topic\":\"a\",\"data\":1},", "line 1 column 23"),
            ("hello", "line 1 column 1"),
        ] {
            let refused = read(body).expect_err(body);
            assert_eq!(refused.status, StatusCode::BAD_REQUEST);
            assert!(refused.msg.ends_with(place), "{body}: {}", refused.msg);
        }
        let refused = Batch::read(&Bytes::from_static(b"{\"topic\":\"a\",\n\"data\":\"\xff\"}"), BYTES_MAX).expect_err("bytes");
        assert_eq!(refused.msg, "the body is not UTF-8 at line 2 column 9");
    }

    #[test]
    fn an_empty_body_says_what_to_send() {
        for body in ["", " \n", "[]"] {
            let refused = read(body).expect_err(body);
            assert!(refused.msg.contains("holds no publication; send {\"topic\""), "{body}: {}", refused.msg);
        }
    }

    #[test]
    fn one_wrong_publication_is_answered_by_itself() {
        let body = format!(
            "{{\"topic\":\"a\",\"data\":1}}\n\n[\"a\",1]\n{{\"topic\":\"b\"}}\n{{\"topic\":1,\"data\":1}}\n\
             {{\"topic\":\"b\",\"data\":\"{}\"}}\n{{\"topic\":\"b\",\"data\":1,\"key\":\"\"}}\n{{\"topic\":\"b\",\"data\":2,\"key\":\"k\"}}",
            "x".repeat(31)
        );
        let batch = read(&body).expect("a batch");
        assert_eq!(batch.errors(), 5);
        let position = |offset| Position { epoch: Epoch::from_number(10), offset };
        let lines = batch.lines(&[Ok(position(7)), Err(PublishError::Busy)]);
        let lines: Vec<serde_json::Value> = lines.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
        assert_eq!(lines[0], json!({"epoch": "a", "offset": 7}));
        let errors: Vec<(u64, u64)> = lines[1..]
            .iter()
            .map(|line| (line["error"]["code"].as_u64().unwrap(), line["error"]["line"].as_u64().unwrap()))
            .collect();
        assert_eq!(errors, [(1, 3), (1, 4), (1, 5), (5, 6), (1, 7), (8, 8)]);
        let missing = lines[2]["error"]["msg"].as_str().unwrap();
        assert_eq!(missing, "a publication is an object with \"topic\" and \"data\": missing field `data`");
    }

    #[test]
    fn a_lone_publication_that_is_too_large_is_413() {
        let body = format!("{{\"topic\":\"a\",\"data\":\"{}\"}}", "x".repeat(31));
        let refused = read(&body).expect_err("too large");
        assert_eq!((refused.status, refused.code), (StatusCode::PAYLOAD_TOO_LARGE, ErrorCode::Limit));
        assert_eq!(refused.msg, "the publication has 33 bytes, publication_bytes_max is 32");
    }

    #[test]
    fn a_request_is_503_only_if_nothing_of_it_was_taken() {
        let batch = read("{\"topic\":\"a\",\"data\":1}\n{\"topic\":\"b\",\"data\":2}").expect("a batch");
        let position = Position { epoch: Epoch::from_number(10), offset: 1 };
        for (results, status) in [
            ([Ok(position), Err(PublishError::Stopping)], 200),
            ([Err(PublishError::Busy), Ok(position)], 200),
            ([Err(PublishError::TopicsMax), Err(PublishError::TopicsMax)], 200),
            ([Err(PublishError::Stopping), Err(PublishError::Stopping)], 503),
            ([Err(PublishError::TopicsMax), Err(PublishError::Busy)], 503),
        ] {
            let response = batch.answer(&results).unwrap_or_else(Refused::into_response);
            assert_eq!(response.status().as_u16(), status, "{results:?}");
        }
    }

    #[test]
    fn a_whole_body_is_json_text_or_bytes() {
        let whole = |body: &'static [u8], binary| whole_body("a.b", None, binary, Bytes::from_static(body), BYTES_MAX);
        for (body, binary, kind) in [
            (&b" {\"a\":1}\n"[..], false, PayloadKind::Json),
            (b"hello", false, PayloadKind::Text),
            (b"", false, PayloadKind::Text),
            (b"\xff\x00", true, PayloadKind::Binary),
            (b"{}", true, PayloadKind::Binary),
        ] {
            let publication = whole(body, binary).expect("a publication");
            assert_eq!((publication.payload.kind, &publication.payload.bytes[..]), (kind, body));
            assert_eq!(publication.topic.as_str(), "a.b");
        }
        let refused = whole(b"ab\xff", false).expect_err("not UTF-8");
        assert!(refused.msg.contains("not UTF-8 at byte 2; send binary publications with Content-Type"), "{}", refused.msg);
        assert_eq!(whole(&[b'x'; 33], true).expect_err("too large").status, StatusCode::PAYLOAD_TOO_LARGE);
    }

    #[test]
    fn a_query_names_the_key_and_takes_it_out() {
        let whole =
            |query, body: &'static str| whole_body("a", Some(query), false, Bytes::from_static(body.as_bytes()), BYTES_MAX);
        let key = |text| Some(Key::parse(text).expect("a key"));
        let marks = |query, body| whole(query, body).expect(query).marks;
        assert_eq!(marks("x=1&key=BTC%2FUSD", "1"), Marks { key: key("BTC/USD"), ..Marks::default() });
        assert_eq!(marks("remove=1&key=k", ""), Marks { key: key("k"), removes: true, ..Marks::default() });
        let long = format!("key={}", "x".repeat(256));
        let wrong = [("key=", "1"), ("key", "1"), (&long, "1"), ("key=a&key=b", "1"), ("key=%zz", "1"), ("remove=1", "")];
        for (query, body) in wrong.into_iter().chain([("key=a&remove=0", ""), ("key=a&remove=1", "1")]) {
            let refused = whole(query, body).expect_err(query);
            assert_eq!((refused.status, refused.code), (StatusCode::BAD_REQUEST, ErrorCode::BadRequest), "{query}");
        }
    }
}
