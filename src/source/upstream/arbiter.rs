//! Which messages of a feed are published, in which order, and what is told of those that are lost.
//!
//! A feed comes over one line or over several that give the same. A numbered message is taken from whichever line is first,
//! once; behind a hole it is held while another line may still bring what is missing, and the hole is told as a gap where
//! none did in time. A message without a number cannot be told from its copy: those are taken from one line, the lead.
//!
//! Without: sockets and a clock (`now` is an argument, counted from any moment). What a line lacks is known by its numbers
//! alone where those are `plus_one` or a `chain`. Where they only rise, and where there are none, a line vouches for what it
//! brought within one *session*: between two messages of it nothing is missing, and across its end anything may be.
//!
//! Invariants: within a topic and run numbers rise and none is given twice; every hole that can be seen is told before the next
//! publication of its topic; at most `bytes_max` bytes are held, and `topics_max` topics known.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::time::Duration;

use crate::config::{self, SequenceRule};
use crate::hub::{Key, Marks, NewPublication, Payload, SourceGap, TopicName};

/// Numbers kept of what a topic was given, where they only rise: one that comes late and is not among them was lost.
const RECENT_MAX: usize = 1024;

/// What holding a message costs beside its payload.
const HELD_OVERHEAD_BYTES: usize = 256;

/// A message of a line.
#[derive(Clone, Debug)]
pub(super) struct Arrived {
    /// Where it goes.
    pub(super) topic: TopicName,
    /// What is published; none: it cannot be published, so it is lost.
    pub(super) content: Option<Content>,
    /// Its place in the feed, if it has one.
    pub(super) number: Option<Number>,
}

/// What is published.
#[derive(Clone, Debug)]
pub(super) struct Content {
    pub(super) payload: Payload,
    pub(super) key: Option<Key>,
}

/// A message's place in the feed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Number {
    pub(super) value: u64,
    /// The number before it, where the rule is a chain.
    pub(super) previous: Option<u64>,
    pub(super) rule: SequenceRule,
    /// A fall by more than this begins a new run.
    pub(super) window: u64,
}

/// What was counted since it was last taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    /// Messages left out because they were published already, by this line or another.
    pub(super) repeats: u64,
    /// Messages that came when a later one had been published, and had not been published themselves.
    pub(super) late: u64,
    /// Publications that bear a gap.
    pub(super) gaps: u64,
    /// Messages that those name as lost, where their number is known.
    pub(super) lost: u64,
    /// Times that a topic's numbers began anew.
    pub(super) restarts: u64,
    /// Messages refused because the feed has made all the topics that it may.
    pub(super) topics_refused: u64,
}

/// One feed's state.
#[derive(Debug)]
pub(super) struct Arbiter {
    lines: Box<[Line]>,
    /// The line from which messages without a number are taken.
    lead: Option<usize>,
    /// What was lost before the first message of a topic is unknown.
    goes_on: bool,
    tracks: Vec<Track>,
    places: HashMap<TopicName, usize>,
    topics_max: usize,
    /// When the first held message of a topic is given up waiting for; one entry for each topic that holds any.
    due: BTreeSet<(Duration, usize)>,
    held_bytes: usize,
    bytes_max: usize,
    wait: Duration,
    tally: Tally,
}

#[derive(Clone, Copy, Debug, Default)]
struct Line {
    connected: bool,
    /// Counts unbroken stretches, from 1.
    session: u64,
}

/// A topic.
#[derive(Debug)]
struct Track {
    name: TopicName,
    /// Counts new beginnings of its numbers.
    run: u64,
    /// The number given last in this run.
    last: Option<u64>,
    /// By line.
    seen: Box<[Seen]>,
    held: BTreeMap<u64, Held>,
    /// As it stands in [`Arbiter::due`].
    due: Option<Duration>,
    recent: VecDeque<u64>,
    /// To be told with the next publication.
    owed: Option<SourceGap>,
    /// Line and session of its last message without a number.
    led_by: Option<(usize, u64)>,
}

/// How far a line has come in a topic.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    /// Of the line; 0: it has brought nothing.
    session: u64,
    run: u64,
    last: u64,
}

/// A message behind a hole.
#[derive(Debug)]
struct Held {
    content: Option<Content>,
    number: Number,
    /// What the same line brought before it in the same session: nothing is missing between.
    before: Option<u64>,
    until: Duration,
}

impl Arbiter {
    /// `goes_on`: its topics go on from another process, and nobody knows what the feed brought between the two.
    pub(super) fn new(settings: &config::Upstream, goes_on: bool) -> Arbiter {
        Arbiter {
            lines: vec![Line::default(); settings.urls.len()].into(),
            lead: None,
            goes_on,
            tracks: Vec::new(),
            places: HashMap::new(),
            topics_max: settings.topics_max as usize,
            due: BTreeSet::new(),
            held_bytes: 0,
            bytes_max: settings.arbitration_bytes_max as usize,
            wait: Duration::from_millis(settings.arbitration_wait_ms.into()),
            tally: Tally::default(),
        }
    }

    /// What was counted since the last call.
    pub(super) fn take_tally(&mut self) -> Tally {
        std::mem::take(&mut self.tally)
    }

    /// Whether any line is open.
    pub(super) fn is_connected(&self) -> bool {
        self.lines.iter().any(|line| line.connected)
    }

    /// The topics that the feed has named, in the order in which it named them, from this one on.
    pub(super) fn topics(&self, from: usize) -> impl ExactSizeIterator<Item = &TopicName> {
        self.tracks[from..].iter().map(|track| &track.name)
    }

    /// A line is open: a session begins.
    pub(super) fn connected(&mut self, line: usize) {
        let this = &mut self.lines[line];
        *this = Line { connected: true, session: this.session + 1 };
        self.lead.get_or_insert(line);
    }

    /// Something of a line was left out, of whatever topic: another session begins.
    pub(super) fn skipped(&mut self, line: usize) {
        self.lines[line].session += 1;
    }

    /// A line is gone. What only it could have brought is not waited for.
    pub(super) fn lost(&mut self, line: usize, now: Duration, out: &mut Vec<NewPublication>) {
        self.lines[line].connected = false;
        if self.lead == Some(line) {
            self.lead = self.lines.iter().position(|line| line.connected);
        }
        let holding: Vec<usize> = self.due.iter().map(|&(_, at)| at).collect();
        holding.into_iter().for_each(|at| self.release(at, Some(now), out));
    }

    /// Takes a message; appends what is to be published now, in order.
    pub(super) fn take(&mut self, line: usize, now: Duration, arrived: Arrived, out: &mut Vec<NewPublication>) {
        let Some(at) = self.place(&arrived.topic) else {
            self.tally.topics_refused += 1;
            return;
        };
        match arrived.number {
            Some(number) => self.take_numbered((line, at), now, number, arrived.content, out),
            None if self.lead != Some(line) => self.tally.repeats += 1,
            None => {
                let leading = (line, self.lines[line].session);
                let track = &mut self.tracks[at];
                if track.led_by.replace(leading).is_some_and(|before| before != leading) {
                    track.owe(None);
                }
                track.publish(arrived.content, &mut self.tally, out);
            }
        }
    }

    /// When [`expire`](Arbiter::expire) has something to do.
    pub(super) fn due(&self) -> Option<Duration> {
        self.due.first().map(|&(until, _)| until)
    }

    /// Gives up waiting for what did not come in time.
    pub(super) fn expire(&mut self, now: Duration, out: &mut Vec<NewPublication>) {
        while let Some(&(until, at)) = self.due.first().filter(|(until, _)| *until <= now) {
            self.release(at, Some(now), out);
            debug_assert_ne!(self.due.first(), Some(&(until, at)), "what is due is released");
        }
    }

    fn place(&mut self, topic: &TopicName) -> Option<usize> {
        if let Some(&at) = self.places.get(topic) {
            return Some(at);
        }
        if self.tracks.len() == self.topics_max {
            return None;
        }
        self.places.insert(topic.clone(), self.tracks.len());
        let mut track = Track::new(topic.clone(), self.lines.len());
        if self.goes_on {
            track.owe(None);
        }
        self.tracks.push(track);
        Some(self.tracks.len() - 1)
    }

    fn take_numbered(
        &mut self,
        (line, at): (usize, usize),
        now: Duration,
        number: Number,
        content: Option<Content>,
        out: &mut Vec<NewPublication>,
    ) {
        let session = self.lines[line].session;
        let track = &mut self.tracks[at];
        let seen = track.seen[line];
        let before = (seen.session == session).then_some(seen.last);
        let fell = |from: u64| u64::from(number.value.saturating_add(number.window) < from);
        // A line is held against itself, as another may be far ahead of it.
        let run = match (before, track.last) {
            (Some(before), _) => seen.run + fell(before),
            (None, Some(last)) => track.run + fell(last),
            (None, None) => track.run,
        };
        let before = before.filter(|_| run == seen.run);
        track.seen[line] = Seen { session, run, last: before.map_or(number.value, |before| before.max(number.value)) };
        if run < track.run {
            self.tally.repeats += 1;
        } else if run > track.run {
            self.release(at, None, out);
            self.begin_run(at, run, number, content, out);
        } else {
            self.take_in_run(at, now, Held { content, number, before, until: now + self.wait }, out);
        }
    }

    /// The feed counts anew: nobody knows what is between.
    fn begin_run(&mut self, at: usize, run: u64, number: Number, content: Option<Content>, out: &mut Vec<NewPublication>) {
        self.tally.restarts += 1;
        let track = &mut self.tracks[at];
        (track.run, track.last) = (run, None);
        track.recent.clear();
        track.owe(None);
        track.give(number, content, &mut self.tally, out);
    }

    fn take_in_run(&mut self, at: usize, now: Duration, held: Held, out: &mut Vec<NewPublication>) {
        let track = &mut self.tracks[at];
        let value = held.number.value;
        match track.last {
            None => return track.give(held.number, held.content, &mut self.tally, out),
            Some(last) if value <= last => match track.was_given(&held.number) {
                true => self.tally.repeats += 1,
                false => {
                    self.tally.late += 1;
                    track.owe(Some(1));
                }
            },
            Some(_) if track.held.is_empty() && track.follows(&held) => {
                return track.give(held.number, held.content, &mut self.tally, out);
            }
            Some(_) => match track.held.get_mut(&value) {
                Some(known) => {
                    self.tally.repeats += 1;
                    // Two lines vouch for what is before it; the longer stretch holds.
                    known.before = known.before.into_iter().chain(held.before).min();
                }
                None => {
                    self.held_bytes += held.bytes();
                    track.held.insert(value, held);
                }
            },
        }
        // Also after a repeat: a line that has passed a hole will not fill it.
        self.release(at, Some(now), out);
    }

    /// Gives what follows, and what need not be waited for any more; without `now` everything.
    fn release(&mut self, at: usize, now: Option<Duration>, out: &mut Vec<NewPublication>) {
        let track = &mut self.tracks[at];
        while let Some((_, first)) = track.held.first_key_value() {
            let follows = track.follows(first);
            let waits = now.is_some_and(|now| now < first.until) && self.held_bytes <= self.bytes_max;
            if !follows && waits && track.can_be_filled(&first.number, &self.lines) {
                break;
            }
            let (_, held) = track.held.pop_first().expect("it was looked at above");
            self.held_bytes -= held.bytes();
            if !follows {
                track.owe(track.missing_before(&held.number));
            }
            track.give(held.number, held.content, &mut self.tally, out);
        }
        let due = track.held.first_key_value().map(|(_, held)| held.until);
        if due != track.due {
            if let Some(until) = track.due {
                self.due.remove(&(until, at));
            }
            if let Some(until) = due {
                self.due.insert((until, at));
            }
            track.due = due;
        }
    }
}

impl Held {
    fn bytes(&self) -> usize {
        HELD_OVERHEAD_BYTES + self.content.as_ref().map_or(0, |content| content.payload.bytes.len())
    }
}

impl Track {
    fn new(name: TopicName, lines: usize) -> Track {
        Track {
            name,
            run: 0,
            last: None,
            seen: vec![Seen::default(); lines].into(),
            held: BTreeMap::new(),
            due: None,
            recent: VecDeque::new(),
            owed: None,
            led_by: None,
        }
    }

    /// Whether nothing is missing between what was given last and this.
    fn follows(&self, held: &Held) -> bool {
        let Some(last) = self.last else { return true };
        match held.number.rule {
            SequenceRule::PlusOne => held.number.value == last.saturating_add(1),
            SequenceRule::Chain => held.number.previous == Some(last),
            SequenceRule::Rising => held.before.is_some_and(|before| before <= last),
        }
    }

    /// Whether a line may still bring what is missing before this: it is open and has not passed the hole.
    fn can_be_filled(&self, number: &Number, lines: &[Line]) -> bool {
        let last = self.last.unwrap_or(0);
        lines.iter().zip(&self.seen).any(|(line, seen)| {
            let current = seen.session == line.session && seen.run == self.run;
            line.connected
                && match number.rule {
                    SequenceRule::PlusOne => !current || seen.last < number.value - 1,
                    SequenceRule::Chain => !current || number.previous.is_some_and(|previous| seen.last < previous),
                    // Only who vouches for what follows the last one.
                    SequenceRule::Rising => current && seen.last <= last,
                }
        })
    }

    /// How many are missing; none: nobody knows.
    fn missing_before(&self, number: &Number) -> Option<u64> {
        match number.rule {
            SequenceRule::PlusOne => self.last.map(|last| number.value - last - 1),
            SequenceRule::Chain | SequenceRule::Rising => None,
        }
    }

    /// Whether a number that is not above the last was given, or told as missing.
    fn was_given(&self, number: &Number) -> bool {
        number.rule != SequenceRule::Rising
            || self.recent.front().is_none_or(|first| number.value < *first)
            || self.recent.binary_search(&number.value).is_ok()
    }

    /// Publishes the next of a run.
    fn give(&mut self, number: Number, content: Option<Content>, tally: &mut Tally, out: &mut Vec<NewPublication>) {
        self.last = Some(number.value);
        if number.rule == SequenceRule::Rising && self.seen.len() > 1 {
            if self.recent.len() == RECENT_MAX {
                self.recent.pop_front();
            }
            self.recent.push_back(number.value);
        }
        self.publish(content, tally, out);
    }

    fn publish(&mut self, content: Option<Content>, tally: &mut Tally, out: &mut Vec<NewPublication>) {
        let Some(Content { payload, key }) = content else { return self.owe(Some(1)) };
        let gap = self.owed.take();
        if let Some(SourceGap { messages }) = gap {
            tally.gaps += 1;
            tally.lost += messages.unwrap_or(0);
        }
        let marks = Marks { key, gap, ..Marks::default() };
        out.push(NewPublication { topic: self.name.clone(), payload, marks });
    }

    /// So many were lost; none: nobody knows how many.
    fn owe(&mut self, messages: Option<u64>) {
        let before = self.owed.map_or(Some(0), |gap| gap.messages);
        self.owed = Some(SourceGap { messages: before.zip(messages).map(|(before, more)| before.saturating_add(more)) });
    }
}

#[cfg(test)]
mod tests;
