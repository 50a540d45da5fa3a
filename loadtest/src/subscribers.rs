//! The receiving end of a fan-out: one worker's subscribers. What comes is the next publication of its topic, to the byte, or the
//! run is over: a figure of a server that loses, repeats, reorders or alters is none.

use std::io;
use std::ops::Range;
use std::sync::Arc;

use crate::course::Course;
use crate::payload::{self, Digits, Payloads};
use crate::recorder::Recorder;

pub(crate) struct Subscribers {
    course: Arc<Course>,
    payloads: Arc<Payloads>,
    /// Their numbers over all workers.
    range: Range<u64>,
    /// The number that each subscription is to get next; a subscriber's lie together.
    next: Vec<u64>,
    /// What is under way, as far as this worker is concerned.
    under_way: Vec<UnderWay>,
    is_checking: bool,
    /// Deliveries that the course does not know of yet.
    unreported: u64,
}

/// A publication that is coming in.
#[derive(Clone, Copy, Debug, Default)]
struct UnderWay {
    number: u64,
    scheduled_ns: u64,
    digits: Digits,
    size: u32,
    /// Subscribers of this worker that lack it.
    missing: u32,
}

/// What a delivery came to.
pub(crate) enum Taken {
    /// Someone still lacks that publication.
    OnItsWay,
    /// It has reached everyone.
    Done,
}

impl Subscribers {
    pub(crate) fn new(course: Arc<Course>, payloads: Arc<Payloads>, range: Range<u64>, is_checking: bool) -> Subscribers {
        let first = course.first_numbers();
        let held = range.clone().flat_map(|subscriber| course.topics_of(subscriber));
        let next = held.map(|topic| first[topic as usize]).collect();
        let under_way = vec![UnderWay::default(); course.places()];
        Subscribers { course, payloads, range, next, under_way, is_checking, unreported: 0 }
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        (self.range.end - self.range.start) as usize
    }

    /// The topics of one, by number.
    pub(crate) fn topics_of(&self, index: usize) -> impl Iterator<Item = u64> {
        self.course.topics_of(self.range.start + index as u64)
    }

    /// The `index`-th of them got a payload; on which topic, where the server tells.
    pub(crate) fn take(
        &mut self,
        index: usize,
        topics: &[String],
        topic: Option<&[u8]>,
        payload: &[u8],
        now_ns: u64,
        recorder: &mut Recorder,
    ) -> io::Result<Taken> {
        let (number, subscription) = match self.course.per_subscriber {
            1 => (self.next[index], index),
            _ => self.look_up(index, payload)?,
        };
        if let Some(topic) = topic.filter(|topic| *topic != topics[self.course.topic(number) as usize].as_bytes()) {
            let (told, sent) = (topic.escape_ascii(), &topics[self.course.topic(number) as usize]);
            return Err(io::Error::other(format!("subscriber {index} got publication {number} of {sent} as one of {told}")));
        }
        let place = self.course.place(number);
        if self.under_way[place].missing == 0 || self.under_way[place].number != number {
            self.under_way[place] = self.begin(number).ok_or_else(|| self.wrong(index, number, payload))?;
        }
        let under_way = &mut self.under_way[place];
        if self.is_checking && !self.payloads.is(number, &under_way.digits, under_way.size as usize, payload) {
            return Err(self.wrong(index, number, payload));
        }
        recorder.delivery(under_way.scheduled_ns, now_ns, payload.len());
        self.next[subscription] += self.course.topics;
        under_way.missing -= 1;
        self.unreported += 1;
        if under_way.missing > 0 {
            return Ok(Taken::OnItsWay);
        }
        let scheduled_ns = under_way.scheduled_ns;
        // Before it is done: who is woken for that looks at the count, and would sleep on.
        self.report();
        if !self.course.reached(number) {
            return Ok(Taken::OnItsWay);
        }
        recorder.last_delivery(scheduled_ns, now_ns);
        Ok(Taken::Done)
    }

    /// Tells the course of the deliveries since it was last told; by many at once, since all workers share the count.
    pub(crate) fn report(&mut self) {
        self.course.delivered(std::mem::take(&mut self.unreported));
    }

    /// The number of a payload and whose it is, where a subscriber has several topics.
    fn look_up(&self, index: usize, payload: &[u8]) -> io::Result<(u64, usize)> {
        let strange = || io::Error::other(format!("subscriber {index} got what nobody sent: {}", shown(payload)));
        let number = payload::number_of(payload).ok_or_else(strange)?;
        let subscriber = self.range.start + index as u64;
        let held = self.course.subscription(subscriber, self.course.topic(number)).ok_or_else(|| {
            io::Error::other(format!(
                "subscriber {index} got publication {number}, whose topic it does not hold: {}",
                shown(payload)
            ))
        })?;
        let subscription = index * self.course.per_subscriber as usize + held as usize;
        if self.next[subscription] != number {
            return Err(self.wrong(index, self.next[subscription], payload));
        }
        Ok((number, subscription))
    }

    /// The first of this worker's subscribers got a publication. None: nobody published it.
    fn begin(&self, number: u64) -> Option<UnderWay> {
        let scheduled_ns = self.course.scheduled_ns(number)?;
        let missing = self.course.holders(&self.range, self.course.topic(number));
        let size = self.payloads.size(number) as u32;
        Some(UnderWay { number, scheduled_ns, digits: payload::digits(number), size, missing })
    }

    fn wrong(&self, index: usize, expected: u64, payload: &[u8]) -> io::Error {
        let what = match self.payloads.find(payload, expected) {
            Some(number) if number > expected => "later ones were lost or came too early",
            Some(number) if number < expected => "it came a second time or too late",
            _ => "its bytes are not those that were sent",
        };
        let sentence = format!("subscriber {index} was to get publication {expected}: {what}; it got {}", shown(payload));
        io::Error::other(sentence)
    }
}

/// A payload for a person, not too long.
fn shown(payload: &[u8]) -> String {
    let start = &payload[..payload.len().min(120)];
    let more = if start.len() < payload.len() { format!("... ({} bytes)", payload.len()) } else { String::new() };
    format!("{}{more}", start.escape_ascii())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recorder::Window;

    #[test]
    fn a_publication_that_is_done_is_counted_before_anyone_hears_of_it() {
        let course = Arc::new(Course::new(1, 1, 4));
        let payloads = Arc::new(Payloads::new(vec![SIZE]));
        let mut recorder = Recorder::new(Arc::new(Window::new(1)));
        // The second of two workers, with two of three subscribers.
        let mut subscribers = Subscribers::new(course.clone(), payloads.clone(), 1..3, true);
        course.publish(0, 10, 1);
        let mut payload = Vec::new();
        payloads.write(0, &mut payload);
        let topics = [String::from("a")];
        let mut take = |index| subscribers.take(index, &topics, None, &payload, 20, &mut recorder);
        assert!(matches!(take(0), Ok(Taken::OnItsWay)));
        assert!(matches!(take(1), Ok(Taken::Done)));
        assert_eq!((course.deliveries(), course.done()), (2, 1));
    }

    const SIZE: u32 = 64;
}
