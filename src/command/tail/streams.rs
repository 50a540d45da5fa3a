//! The streams that `tail` follows, and how far it is in each, so that it goes on there when it connects again.
//!
//! A position needs the epoch, which only the reply to a subscription with an option tells. So a stream that bears none is
//! asked for since a position that no topic has: the reply tells where the topic stands, and what comes is live.
//!
//! Without: patterns' and rates' positions; what was published meanwhile is not asked for there.

use std::collections::HashMap;

use serde::Deserialize;

/// No topic's epoch is this one: epochs are times.
const NOWHERE: &str = "0:0";

/// All streams, in the order given.
pub(in crate::command) struct Streams {
    followed: Vec<Followed>,
    by_topic: HashMap<String, usize>,
}

/// One stream.
struct Followed {
    topic: String,
    /// As written, each behind its `;`, but for `since` where it is kept below.
    options: String,
    last: bool,
    /// Its positions mean something, and `since` can be asked for.
    resumes: bool,
    epoch: Option<String>,
    /// The newest publication that was printed, or the one before the first that is to come.
    offset: Option<u64>,
    /// Where it was when that was lost: up to here a loss was told, and the next one begins here.
    lost: Option<u64>,
}

#[derive(Deserialize)]
struct Reply {
    result: Option<Vec<Entry>>,
}

#[derive(Deserialize)]
struct Entry {
    stream: String,
    /// None: a pattern's.
    epoch: Option<String>,
    offset: Option<u64>,
    recovered: Option<bool>,
}

#[derive(Deserialize)]
struct NewEpoch {
    s: String,
    epoch: String,
}

impl Streams {
    /// Streams as a user writes them; `resume` where positions will come.
    pub(in crate::command) fn new(streams: &[String], resume: bool) -> Streams {
        let followed: Vec<Followed> = streams.iter().map(|stream| Followed::new(stream, resume)).collect();
        let by_topic = followed.iter().enumerate().map(|(number, stream)| (stream.topic.clone(), number)).collect();
        Streams { followed, by_topic }
    }

    /// As they are asked for now.
    pub(super) fn texts(&self) -> Vec<String> {
        self.followed.iter().map(Followed::text).collect()
    }

    /// Whether anything is not asked for again that is published while the connection is lost.
    pub(super) fn misses(&self) -> bool {
        self.followed.iter().any(|stream| !stream.resumes)
    }

    /// A publication was printed.
    pub(super) fn came(&mut self, topic: &str, offset: u64) {
        if let Some(&number) = self.by_topic.get(topic) {
            self.followed[number].offset = Some(offset);
        }
    }

    /// A reply, `{"result":...}`: gives what is to be said of it.
    pub(super) fn replied(&mut self, reply: &[u8]) -> Vec<String> {
        let Ok(Reply { result: Some(entries) }) = serde_json::from_slice(reply) else { return Vec::new() };
        entries.into_iter().filter_map(|entry| self.begins(entry)).collect()
    }

    fn begins(&mut self, entry: Entry) -> Option<String> {
        let stream = &mut self.followed[*self.by_topic.get(&entry.stream)?];
        let (Some(epoch), Some(newest)) = (entry.epoch, entry.offset) else { return None };
        if entry.recovered == Some(true) && stream.position().is_some() {
            return None;
        }
        let seen = stream.offset.or(stream.lost).zip(stream.epoch.replace(epoch.clone()));
        // With `last` the newest is still to come, of each key.
        let missed = |(offset, before): &(u64, String)| *before != epoch || offset + u64::from(stream.last) < newest;
        let note = seen.as_ref().filter(|seen| missed(seen)).map(|(offset, before)| {
            let (topic, last) = (&stream.topic, if stream.last { ", with the newest" } else { "" });
            format!(
                "{topic}: what came after {before}:{offset} is not all held any more (recovered:false); it goes on at {epoch}:{newest}{last}"
            )
        });
        stream.offset = (!stream.last).then_some(newest);
        stream.lost = seen.and(newest.checked_sub(1));
        note
    }

    /// An event, `{"e":...}`: a count may begin anew.
    pub(super) fn event(&mut self, event: &[u8]) {
        if event.starts_with(b"{\"e\":\"epoch\"")
            && let Ok(NewEpoch { s, epoch }) = serde_json::from_slice(event)
            && let Some(&number) = self.by_topic.get(&s)
        {
            self.followed[number].epoch = Some(epoch);
            self.followed[number].offset = Some(0);
        }
    }
}

impl Followed {
    fn new(stream: &str, resume: bool) -> Followed {
        let (topic, options) = stream.split_once(';').map_or((stream, None), |(topic, options)| (topic, Some(options)));
        let resumes = resume && !topic.contains(['*', '>']) && !stream.contains(";rate=");
        let mut followed = Followed {
            topic: topic.to_owned(),
            options: String::new(),
            last: false,
            resumes,
            epoch: None,
            offset: None,
            lost: None,
        };
        for option in options.iter().flat_map(|options| options.split(';')) {
            followed.last |= option == "last";
            match option.strip_prefix("since=").and_then(|position| position.split_once(':')) {
                Some((epoch, offset)) if resumes && offset.parse::<u64>().is_ok() => {
                    followed.epoch = Some(epoch.to_owned());
                    followed.offset = offset.parse().ok();
                }
                // What is wrong with it the gateway says.
                _ => followed.options.extend([";", option]),
            }
        }
        followed
    }

    fn position(&self) -> Option<String> {
        Some(format!("{}:{}", self.epoch.as_ref()?, self.offset?))
    }

    fn text(&self) -> String {
        let Followed { topic, options, .. } = self;
        let since = match self.position() {
            _ if !self.resumes || options.contains(";since=") => None,
            None if self.last => None,
            position => Some(position.unwrap_or_else(|| NOWHERE.to_owned())),
        };
        since.map_or_else(|| format!("{topic}{options}"), |since| format!("{topic};since={since}{options}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(streams: &[&str]) -> Streams {
        Streams::new(&streams.iter().map(ToString::to_string).collect::<Vec<_>>(), true)
    }

    #[test]
    fn a_stream_goes_on_where_it_was() {
        let mut streams = of(&["a", "b;last;ts=1", "c;since=e:7;last"]);
        assert_eq!(streams.texts(), ["a;since=0:0", "b;last;ts=1", "c;since=e:7;last"]);
        let reply = br#"{"result":[{"stream":"a","epoch":"e","offset":4,"recovered":false},
            {"stream":"b","epoch":"e","offset":9},{"stream":"c","epoch":"e","offset":9,"recovered":true}],"id":null}"#;
        assert_eq!(streams.replied(reply), [""; 0], "a position that was never one is no loss");
        assert_eq!(streams.texts(), ["a;since=e:4", "b;last;ts=1", "c;since=e:7;last"]);
        streams.came("b", 9);
        streams.came("c", 8);
        assert_eq!(streams.texts(), ["a;since=e:4", "b;since=e:9;last;ts=1", "c;since=e:8;last"]);
        assert!(!streams.misses());
    }

    #[test]
    fn what_is_not_held_any_more_is_said() {
        let mut streams = of(&["a;since=e:4", "b;since=e:4;last"]);
        let reply = br#"{"result":[{"stream":"a","epoch":"f","offset":2,"recovered":false},
            {"stream":"b","epoch":"f","offset":2,"recovered":false}],"id":1}"#;
        let said = "what came after e:4 is not all held any more (recovered:false); it goes on at f:2";
        assert_eq!(streams.replied(reply), [format!("a: {said}"), format!("b: {said}, with the newest")]);
        assert_eq!(streams.texts(), ["a;since=f:2", "b;last"]);
        // Cut again before the newest came: what follows it is lost too, once.
        let reply = br#"{"result":[{"stream":"b","epoch":"f","offset":9}],"id":1}"#;
        let said = "what came after f:1 is not all held any more (recovered:false); it goes on at f:9, with the newest";
        assert_eq!(streams.replied(reply), [format!("b: {said}")]);
        assert_eq!(streams.replied(reply), [""; 0]);
        streams.came("b", 9);
        assert_eq!(streams.texts(), ["a;since=f:2", "b;since=f:9;last"]);
        streams.event(br#"{"e":"epoch","s":"a","epoch":"g"}"#);
        assert_eq!(streams.texts()[0], "a;since=g:0");
    }

    #[test]
    fn patterns_rates_and_what_cannot_be_read_are_asked_for_as_they_stand() {
        let written = ["md.*;last", "a;rate=1s", "a;since=x", "b;nonsense;since=e:1:2"];
        let mut streams = of(&written);
        assert_eq!(streams.texts(), ["md.*;last", "a;rate=1s", "a;since=x", "b;nonsense;since=e:1:2"]);
        streams.came("md.x", 7);
        assert_eq!(streams.replied(br#"{"result":[{"stream":"md.*","topics":3}],"id":null}"#), [""; 0]);
        assert!(streams.misses());
        assert_eq!(Streams::new(&["a;last".to_owned()], false).texts(), ["a;last"]);
    }
}
