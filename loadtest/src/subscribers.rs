//! The receiving end of a fan-out: one worker's subscribers. What comes is the next publication of its topic, to the byte, or the
//! run is over: a figure of a server that loses, repeats, reorders or alters is none.

use std::io;
use std::ops::Range;
use std::sync::Arc;

use crate::course::Course;
use crate::known::Known;
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
    /// Of those that were checked.
    known: Known,
    is_checking: bool,
    /// Places of publications of which some came that are not counted yet.
    fresh: Vec<usize>,
}

/// A publication that is coming in.
#[derive(Clone, Copy, Debug, Default)]
struct UnderWay {
    number: u64,
    scheduled_ns: u64,
    digits: Digits,
    size: u32,
    /// Subscribers of this worker that lack it, or have got it since it was counted last:
    missing: u32,
    /// these.
    came: u32,
}

impl Subscribers {
    pub(crate) fn new(course: Arc<Course>, payloads: Arc<Payloads>, range: Range<u64>, is_checking: bool) -> Subscribers {
        let first = course.first_numbers();
        let held = range.clone().flat_map(|subscriber| course.topics_of(subscriber));
        let next = held.map(|topic| first[topic as usize]).collect();
        let under_way = vec![UnderWay::default(); course.places()];
        Subscribers { course, payloads, range, next, under_way, known: Known::new(), is_checking, fresh: Vec::new() }
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        (self.range.end - self.range.start) as usize
    }

    /// The topics of one, by number.
    pub(crate) fn topics_of(&self, index: usize) -> impl Iterator<Item = u64> {
        self.course.topics_of(self.range.start + index as u64)
    }

    /// The `index`-th of them got a payload; on which topic, where the server tells. Gives the publication's number.
    pub(crate) fn take(&mut self, index: usize, topics: &[String], topic: Option<&[u8]>, payload: &[u8]) -> io::Result<u64> {
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
        let under_way = &self.under_way[place];
        if self.is_checking && !self.payloads.is(number, &under_way.digits, under_way.size as usize, payload) {
            return Err(self.wrong(index, number, payload));
        }
        self.next[subscription] += self.course.topics;
        self.note(place);
        Ok(number)
    }

    /// The `index`-th of them got these bytes, at a border of frames: takes what is just what others got; gives how many bytes
    /// that is.
    pub(crate) fn take_known(&mut self, index: usize, is_deflating: bool, bytes: &[u8]) -> usize {
        if self.course.per_subscriber > 1 {
            return 0;
        }
        let mut taken = 0;
        while let Some(frame) = self.known.get(self.next[index], is_deflating)
            && bytes[taken..].starts_with(frame)
        {
            taken += frame.len();
            let place = self.course.place(self.next[index]);
            self.next[index] += self.course.topics;
            self.note(place);
        }
        taken
    }

    /// A publication came in a frame that `write` appends, and was right. Where a subscriber has several topics nobody knows which
    /// is the next that it gets, so nothing is remembered.
    pub(crate) fn remember(&mut self, number: u64, is_deflating: bool, write: impl FnOnce(&mut Vec<u8>)) {
        if self.course.per_subscriber == 1 {
            self.known.keep(number, is_deflating, write);
        }
    }

    fn note(&mut self, place: usize) {
        let under_way = &mut self.under_way[place];
        if under_way.came == 0 {
            self.fresh.push(place);
        }
        under_way.came += 1;
    }

    /// Counts what came since it was last asked, all at this moment; true if a publication has reached everyone with it. All at
    /// once, since what came together has the same latency, and since all workers share the course's count.
    pub(crate) fn settle(&mut self, now_ns: u64, recorder: &mut Recorder) -> bool {
        let mut deliveries = 0;
        for place in &self.fresh {
            let UnderWay { scheduled_ns, size, missing, came, .. } = &mut self.under_way[*place];
            recorder.deliveries(*scheduled_ns, now_ns, *size as usize, u64::from(*came));
            deliveries += u64::from(*came);
            *missing -= std::mem::take(came);
        }
        // Before any is done: who is woken for that looks at the count, and would sleep on.
        self.course.delivered(deliveries);
        let mut is_done = false;
        for place in self.fresh.drain(..) {
            let UnderWay { number, scheduled_ns, missing, .. } = self.under_way[place];
            if missing == 0 && self.course.reached(number) {
                recorder.last_delivery(scheduled_ns, now_ns);
                is_done = true;
            }
        }
        is_done
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
        Some(UnderWay { number, scheduled_ns, digits: payload::digits(number), size, missing, came: 0 })
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
        let mut take = |index| {
            subscribers.take(index, &topics, None, &payload).expect("it is the one");
            subscribers.settle(20, &mut recorder)
        };
        assert!(!take(0) && take(1));
        assert_eq!((course.deliveries(), course.done()), (2, 1));
    }

    /// The first one's frames are taken one by one, the second's are compared with them however they are torn, and stop at the
    /// first that is another: so both have taken the same.
    #[test]
    fn frames_that_are_known_count_as_those_that_were_looked_through() {
        let course = Arc::new(Course::new(1, 1, 8));
        let payloads = Arc::new(Payloads::new(vec![SIZE, 200]));
        let mut recorder = Recorder::new(Arc::new(Window::new(1)));
        let mut subscribers = Subscribers::new(course.clone(), payloads.clone(), 0..2, true);
        let (mut payload, mut stream, mut borders) = (Vec::new(), Vec::new(), vec![0]);
        for number in 0..5 {
            course.publish(number, 10, 1);
            payloads.write(number, &mut payload);
            assert_eq!(subscribers.take(0, &[], None, &payload).ok(), Some(number));
            let write = |out: &mut Vec<u8>| tidegate::ws::frame::write(out, tidegate::ws::Opcode::Text, &payload, None);
            write(&mut stream);
            borders.push(stream.len());
            if number < 4 {
                subscribers.remember(number, false, write);
            }
        }
        assert!(!subscribers.settle(20, &mut recorder));
        assert_eq!(subscribers.take_known(1, true, &stream), 0, "compressed, it would be another message");
        assert_eq!(subscribers.take_known(1, false, &stream[..borders[1] - 1]), 0, "a torn frame is not taken");
        assert_eq!(subscribers.take_known(1, false, &stream[..borders[2] + 1]), borders[2]);
        let mut altered = stream[borders[2]..].to_vec();
        altered[borders[4] - borders[2] - 1] ^= 1;
        assert_eq!(subscribers.take_known(1, false, &altered), borders[3] - borders[2]);
        assert_eq!(subscribers.take_known(1, false, &stream[borders[3]..]), borders[4] - borders[3], "the last is not known");
        assert!(subscribers.settle(30, &mut recorder));
        assert_eq!((course.deliveries(), course.done(), &subscribers.next[..]), (9, 4, &[5, 4][..]));
    }

    const SIZE: u32 = 64;
}
