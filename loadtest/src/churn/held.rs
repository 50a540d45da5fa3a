//! What one client holds, and what it may therefore hear: the judge of a churn.
//!
//! Without: connections and time.

use std::collections::VecDeque;

use crate::payload::{Payloads, digits, number_of};

/// One client's topics.
pub(super) struct Held {
    /// By topic.
    topics: Vec<Option<Subscription>>,
    /// Held topics that are not being left, the longest held first.
    order: VecDeque<u32>,
    /// Requests that are not answered, in their order.
    asked: VecDeque<Asked>,
    /// Where the next topic is looked for.
    next: u32,
}

#[derive(Clone, Copy, Default)]
struct Subscription {
    /// The reply to SUBSCRIBE came.
    is_live: bool,
    /// The newest publication: its number and its offset.
    newest: Option<(u64, u64)>,
}

#[derive(Clone, Copy)]
struct Asked {
    topic: u32,
    takes: bool,
}

/// What a message was.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Reply {
    /// The answer to the oldest request.
    Done,
    /// A publication with this number.
    Publication(u64),
}

impl Held {
    /// Nothing of so many topics.
    pub(super) fn new(topics: u32) -> Held {
        Held { topics: vec![None; topics as usize], order: VecDeque::new(), asked: VecDeque::new(), next: 0 }
    }

    /// A topic is asked for.
    pub(super) fn take(&mut self, topic: u32) -> u32 {
        self.topics[topic as usize] = Some(Subscription::default());
        self.order.push_back(topic);
        self.asked.push_back(Asked { topic, takes: true });
        self.next = topic;
        topic
    }

    /// Leaves the topic that is held longest for one that is not held; which.
    pub(super) fn change(&mut self) -> (u32, u32) {
        let left = self.order.pop_front().expect("a client holds a topic");
        self.asked.push_back(Asked { topic: left, takes: false });
        let count = self.topics.len() as u32;
        // A topic that is being left is still held.
        let free = (1..=count).map(|step| (self.next + step) % count).find(|topic| self.topics[*topic as usize].is_none());
        let taken = free.unwrap_or(left);
        if taken == left {
            // All others are held or being left: the same again, which the server must keep apart by order.
            self.order.push_back(left);
            self.asked.push_back(Asked { topic: left, takes: true });
            return (left, left);
        }
        (left, self.take(taken))
    }

    /// Judges a message.
    pub(super) fn take_in(&mut self, message: &[u8], payloads: &Payloads) -> Result<Reply, String> {
        if let Some(rest) = message.strip_prefix(b"{\"stream\":\"churn.") {
            return self.publication(rest, payloads).map(Reply::Publication).map_err(|what| told(&what, message));
        }
        let Some(Asked { topic, takes }) = self.asked.pop_front() else {
            return Err(told("a message that answers nothing", message));
        };
        if *message != *format!("{{\"result\":null,\"id\":{topic}}}").as_bytes() {
            let request = if takes { "SUBSCRIBE" } else { "UNSUBSCRIBE" };
            return Err(told(&format!("not the reply to {request} of churn.{topic}"), message));
        }
        let is_asked_again = self.asked.iter().any(|asked| asked.topic == topic && asked.takes);
        let held = &mut self.topics[topic as usize];
        *held =
            if takes { Some(Subscription { is_live: true, newest: None }) } else { is_asked_again.then(Subscription::default) };
        Ok(Reply::Done)
    }

    /// Every topic that is held has its publication of the round that begins with this number.
    pub(super) fn all_have(&self, round: u64) -> bool {
        let count = self.topics.len() as u64;
        let due = |topic: usize| round + (topic as u64 + count - round % count) % count;
        let mut held = self.topics.iter().enumerate().filter_map(|(topic, held)| Some((topic, (*held)?)));
        held.all(|(topic, held)| held.newest.is_some_and(|(number, _)| number >= due(topic)))
    }

    /// `0","o":12,"data":{...}}`: held, the next one, and whole.
    fn publication(&mut self, rest: &[u8], payloads: &Payloads) -> Result<u64, String> {
        let (topic, rest) = number_before(rest, b"\",\"o\":").ok_or("a publication without an offset")?;
        let (offset, rest) = number_before(rest, b",\"data\":").ok_or("a publication without data")?;
        let payload = rest.strip_suffix(b"}").ok_or("a publication without an end")?;
        let number = number_of(payload).ok_or("a payload without a number")?;
        let count = self.topics.len() as u64;
        let held = self.topics.get_mut(topic as usize).and_then(Option::as_mut).filter(|held| held.is_live);
        let held = held.ok_or_else(|| format!("churn.{topic} is not held"))?;
        if number % count != topic {
            return Err(format!("publication {number} is not of churn.{topic}"));
        }
        if let Some((last, last_offset)) =
            held.newest.filter(|newest| *newest != (number.wrapping_sub(count), offset.wrapping_sub(1)))
        {
            return Err(format!("publication {number} at offset {offset} came behind {last} at offset {last_offset}"));
        }
        if !payloads.is(&digits(number), payloads.size(number), payload) {
            return Err(format!("publication {number} is not as it was published"));
        }
        held.newest = Some((number, offset));
        Ok(number)
    }
}

fn told(what: &str, message: &[u8]) -> String {
    format!("{what}: {}", message[..message.len().min(200)].escape_ascii())
}

/// The number that stands before some bytes, and what stands behind them.
fn number_before<'m>(text: &'m [u8], behind: &[u8]) -> Option<(u64, &'m [u8])> {
    let digits = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let number = std::str::from_utf8(&text[..digits]).ok()?.parse().ok()?;
    Some((number, text[digits..].strip_prefix(behind)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::payload::SIZE_MIN;

    const TOPICS: u32 = 3;

    fn payloads() -> Payloads {
        Payloads::new(vec![SIZE_MIN])
    }

    fn publication(number: u64, offset: u64) -> Vec<u8> {
        let mut payload = Vec::new();
        payloads().write(number, &mut payload);
        let payload = String::from_utf8(payload).expect("JSON is text");
        format!("{{\"stream\":\"churn.{}\",\"o\":{offset},\"data\":{payload}}}", number % u64::from(TOPICS)).into_bytes()
    }

    fn reply(topic: u32) -> Vec<u8> {
        format!("{{\"result\":null,\"id\":{topic}}}").into_bytes()
    }

    /// One that holds churn.0 and has had its number 3.
    fn holding() -> Held {
        let mut held = Held::new(TOPICS);
        held.take(0);
        assert_eq!(held.take_in(&reply(0), &payloads()), Ok(Reply::Done));
        assert_eq!(held.take_in(&publication(3, 7), &payloads()), Ok(Reply::Publication(3)));
        held
    }

    #[test]
    fn a_stream_without_holes_is_right() {
        let mut held = holding();
        assert_eq!(held.take_in(&publication(6, 8), &payloads()), Ok(Reply::Publication(6)));
        assert_eq!(held.change(), (0, 1));
        // What is under way when it asks still comes; after the reply nothing does.
        assert_eq!(held.take_in(&publication(9, 9), &payloads()), Ok(Reply::Publication(9)));
        assert_eq!(held.take_in(&reply(0), &payloads()), Ok(Reply::Done));
        assert!(held.take_in(&publication(12, 10), &payloads()).unwrap_err().contains("not held"));
    }

    #[test]
    fn whatever_is_wrong_is_found() {
        let wrong = |message: &[u8], expected: &str| {
            let error = holding().take_in(message, &payloads()).expect_err(expected);
            assert!(error.contains(expected), "{error}");
        };
        wrong(&publication(9, 8), "came behind 3");
        wrong(&publication(6, 9), "came behind 3");
        wrong(&publication(3, 7), "came behind 3");
        wrong(&publication(4, 1), "churn.1 is not held");
        wrong(
            &publication(6, 8).iter().map(|byte| if *byte == b'x' { b'y' } else { *byte }).collect::<Vec<_>>(),
            "not as it was",
        );
        wrong(&reply(0), "answers nothing");
        wrong(b"{\"stream\":\"churn.0\",\"data\":1}", "without an offset");
        let mut early = Held::new(TOPICS);
        early.take(0);
        assert!(early.take_in(&publication(3, 7), &payloads()).unwrap_err().contains("not held"), "before the reply");
        let refusal = b"{\"error\":{\"code\":8,\"msg\":\"more requests than allowed\"},\"id\":0}";
        let mut asking = Held::new(TOPICS);
        asking.take(0);
        assert!(asking.take_in(refusal, &payloads()).unwrap_err().contains("more requests than allowed"));
    }

    #[test]
    fn the_last_round_must_reach_everyone() {
        let mut held = holding();
        assert!(held.all_have(1) && held.all_have(3), "number 3 is churn.0's of both rounds");
        assert!(!held.all_have(4), "there it is 6");
        held.take_in(&publication(6, 8), &payloads()).expect("it is the next one");
        assert!(held.all_have(4));
    }

    #[test]
    fn a_client_that_holds_nearly_all_takes_the_same_again() {
        let mut held = Held::new(2);
        held.take(0);
        held.take_in(&reply(0), &payloads()).expect("the reply");
        assert_eq!(held.change(), (0, 1));
        assert_eq!(held.change(), (1, 1), "0 is still being left");
        for topic in [0, 1, 1] {
            held.take_in(&reply(topic), &payloads()).expect("replies come in order");
        }
        assert!(held.topics[0].is_none() && held.topics[1].is_some_and(|held| !held.is_live));
        held.take_in(&reply(1), &payloads()).expect("the last reply");
        assert!(held.topics[1].is_some_and(|held| held.is_live));
    }
}
