//! A client for tidegate's native protocol, on `tungstenite`, `serde_json` and `rand`: copy this file, it is yours (MIT OR Apache-2.0).
//! It comes back by itself and goes on where it was.
use std::{collections::HashMap, ops::ControlFlow, thread::sleep, time::{Duration, Instant}};
use serde_json::{Value, from_str, json};
use tungstenite::{Error, Message, connect};

/// Data is the payload's JSON, or the bytes of a binary one. A gap cannot be had any more: what was made of its topic is to be made anew;
/// its end is not known where the count began anew. What the gateway refuses will not be better by asking again.
pub enum Item {
    Publication { topic: String, offset: u64, data: Vec<u8> },
    Gap { topic: String, from: u64, to: Option<u64> },
    Refused(String),
}
type Places = HashMap<String, (String, Option<u64>, bool, Option<u64>)>; // by topic: epoch, offset, whether it has `last`, what was said to be lost

/// Hands over all that comes from `url` (`ws://host:port/stream`), until `take` breaks; fails where the gateway refuses the connection.
pub fn follow(url: &str, streams: &[&str], mut take: impl FnMut(Item) -> ControlFlow<()>) -> Result<(), Error> {
    let (mut places, mut failures) = (Places::new(), 0);
    loop {
        let (mut opened, mut code) = (None, 0);
        let mut listen = || {
            let (mut socket, _) = connect(url)?;
            opened = Some(Instant::now());
            let asked: Vec<String> = streams.iter().map(|stream| resumed(stream, &mut places)).collect();
            socket.send(Message::text(json!({"method": "SUBSCRIBE", "params": asked}).to_string()))?;
            loop {
                let message = socket.read()?;
                if let Message::Close(Some(frame)) = &message { code = frame.code.into(); }
                if items(&message, &mut places).into_iter().any(|item| take(item).is_break()) { return Ok(()); }
            }
        };
        let ended = listen();
        if ended.is_ok() || matches!(&ended, Err(Error::Http(answer)) if answer.status().is_client_error()) { return ended; }
        // Full jitter: a random wait below a bound that doubles, so that clients dropped together do not return together.
        failures = if opened.is_some_and(|opened: Instant| opened.elapsed().as_secs() > 10) { 0 } else { failures + 1 };
        let wait_s = rand::random_range(0.0..(0.5 * f64::from(1 << failures.min(6))).min(30.0));
        sleep(Duration::from_secs_f64(match code {
            1012 => rand::random_range(5.0..30.0), // a restart, as the registry of close codes asks
            1013 => wait_s + 5.0,                  // overload, or we were too slow: never at once
            _ => wait_s,
        }));
    }
}
/// A stream as it is asked for now: after what came last. No topic is at 0:0, so the reply then only tells where it stands.
fn resumed(stream: &str, places: &mut Places) -> String {
    let (topic, options) = stream.split_at(stream.find(';').unwrap_or(stream.len()));
    if topic.contains(['*', '>']) || options.contains(";rate=") { return stream.into(); }
    let (epoch, offset, last, _) = places.entry(topic.into()).or_default();
    *last = options.split(';').any(|option| option == "last");
    match offset { Some(offset) => format!("{topic};since={epoch}:{offset}{options}"), None if *last => stream.into(), None => format!("{topic};since=0:0{options}") }
}
fn items(message: &Message, places: &mut Places) -> Vec<Item> {
    let Some((topic, offset, data)) = publication(message) else { return message.to_text().map_or(vec![], |text| heard(&from_str(text).unwrap_or_default(), places)) };
    places.entry(topic.clone()).and_modify(|place| place.1 = Some(offset));
    vec![Item::Publication { topic, offset, data }]
}
fn publication(message: &Message) -> Option<(String, u64, Vec<u8>)> {
    if let Message::Binary(bytes) = message { // layout 1, flags (1: a time follows), length of the topic, topic, offset, payload
        let (topic, rest) = bytes[4..].split_at(usize::from(u16::from_be_bytes([bytes[2], bytes[3]])));
        return Some((String::from_utf8(topic.into()).ok()?, u64::from_be_bytes(rest[..8].try_into().ok()?), rest[8 + 8 * usize::from(bytes[1] & 1)..].into()));
    } // A topic holds no quote, so the first `,"data":` is the publication's own.
    let (head, data) = message.to_text().ok()?.strip_prefix("{\"stream\":\"")?.strip_suffix('}')?.split_once(",\"data\":")?;
    let (topic, offset) = head.split_once("\",\"o\":")?;
    Some((topic.into(), offset.split(',').next()?.parse().ok()?, data.into()))
}
fn heard(value: &Value, places: &mut Places) -> Vec<Item> {
    let (text, number) = (|value: &Value, key: &str| value[key].as_str().unwrap_or_default().to_owned(), |value: &Value, key: &str| value[key].as_u64());
    if value["error"].is_object() { return vec![Item::Refused(text(&value["error"], "msg"))]; }
    if value["e"] == "gap" { return vec![Item::Gap { topic: text(value, "s"), from: number(value, "from").unwrap_or(1), to: number(value, "to") }]; }
    if value["e"] == "epoch" { places.entry(text(value, "s")).and_modify(|place| *place = (text(value, "epoch"), Some(0), place.2, None)); }
    value["result"].as_array().into_iter().flatten().filter(|entry| entry["recovered"] != true).filter_map(|entry| {
        let (topic, epoch, newest) = (text(entry, "stream"), text(entry, "epoch"), number(entry, "offset")?);
        let place = places.get_mut(&topic)?;
        let (to, seen) = ((place.0 == epoch).then(|| newest - u64::from(place.2)), place.1.or(place.3));
        *place = (epoch, Some(newest).filter(|_| !place.2), place.2, seen.map(|_| newest.saturating_sub(1))); // with `last` the newest is still to come
        Some(Item::Gap { topic, from: seen? + 1, to }).filter(|_| to.is_none_or(|to| seen < Some(to)))
    }).collect()
}
