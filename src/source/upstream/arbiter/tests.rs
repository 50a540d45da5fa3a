//! The arbiter against a naive judge, over interleavings of lines that lose, lag and die.

use std::collections::BTreeSet;

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::config::{Upstream, WebSocketUrl};
use crate::hub::PayloadKind;

const WAIT_MS: u32 = 100;

fn settings(lines: usize) -> Upstream {
    let url = WebSocketUrl::parse("ws://a").expect("a URL");
    Upstream { urls: vec![url; lines], arbitration_wait_ms: WAIT_MS, topics_max: 2, ..Upstream::default() }
}

fn arrived(value: Option<u64>, rule: SequenceRule, previous: Option<u64>) -> Arrived {
    let payload = Payload { bytes: Bytes::from(value.unwrap_or(0).to_string()), kind: PayloadKind::Json };
    Arrived {
        topic: TopicName::parse("t").expect("a topic"),
        content: Some(Content { payload, key: None }),
        number: value.map(|value| Number { value, previous, rule, window: 1000 }),
    }
}

/// A number that was published, and the gap before it; the inner none is a size that nobody knows.
type Published = (u64, Option<Option<u64>>);

/// A feed and what it has published.
struct Bench {
    arbiter: Arbiter,
    now: Duration,
    out: Vec<NewPublication>,
}

impl Bench {
    fn new(lines: usize) -> Bench {
        let mut bench = Bench { arbiter: Arbiter::new(&settings(lines), false), now: Duration::ZERO, out: Vec::new() };
        (0..lines).for_each(|line| bench.arbiter.connected(line));
        bench
    }

    fn take(&mut self, line: usize, arrived: Arrived) {
        self.arbiter.take(line, self.now, arrived, &mut self.out);
    }

    fn plus_one(&mut self, line: usize, values: impl IntoIterator<Item = u64>) {
        values.into_iter().for_each(|value| self.take(line, arrived(Some(value), SequenceRule::PlusOne, None)));
    }

    fn rising(&mut self, line: usize, values: impl IntoIterator<Item = u64>) {
        values.into_iter().for_each(|value| self.take(line, arrived(Some(value), SequenceRule::Rising, None)));
    }

    fn chain(&mut self, line: usize, links: impl IntoIterator<Item = (u64, u64)>) {
        links
            .into_iter()
            .for_each(|(previous, value)| self.take(line, arrived(Some(value), SequenceRule::Chain, Some(previous))));
    }

    fn reconnect(&mut self, line: usize) {
        self.arbiter.lost(line, self.now, &mut self.out);
        self.arbiter.connected(line);
    }

    fn pass(&mut self, ms: u32) {
        self.now += Duration::from_millis(ms.into());
        self.arbiter.expire(self.now, &mut self.out);
    }

    fn published(&self) -> Vec<Published> {
        let number = |publication: &NewPublication| {
            std::str::from_utf8(&publication.payload.bytes).expect("a number").parse().expect("a number")
        };
        self.out.iter().map(|publication| (number(publication), publication.marks.gap.map(|gap| gap.messages))).collect()
    }

    #[track_caller]
    fn check(&self, expected: &[Published]) {
        assert_eq!(self.published(), expected);
    }
}

#[test]
fn one_line_tells_the_size_of_its_holes() {
    let mut bench = Bench::new(1);
    bench.plus_one(0, [5, 6, 9, 9, 8, 10]);
    bench.reconnect(0);
    bench.plus_one(0, [10, 12]);
    bench.check(&[(5, None), (6, None), (9, Some(Some(2))), (10, None), (12, Some(Some(1)))]);
    assert_eq!(bench.arbiter.take_tally(), Tally { repeats: 3, gaps: 2, lost: 3, ..Tally::default() });
}

#[test]
fn a_chain_tells_a_hole_and_not_its_size() {
    let mut bench = Bench::new(1);
    bench.chain(0, [(1, 5), (5, 9), (12, 15), (15, 16)]);
    bench.check(&[(5, None), (9, None), (15, Some(None)), (16, None)]);
}

#[test]
fn where_topics_go_on_from_another_process_the_first_message_bears_a_gap_that_nobody_knows() {
    let mut bench = Bench::new(2);
    bench.arbiter = Arbiter::new(&settings(2), true);
    (0..2).for_each(|line| bench.arbiter.connected(line));
    bench.plus_one(0, [5, 6]);
    bench.plus_one(1, [5, 6, 7]);
    assert_eq!(bench.published(), [(5, Some(None)), (6, None), (7, None)]);
}

#[test]
fn rising_numbers_and_none_tell_a_gap_only_where_the_connection_was_lost() {
    let mut bench = Bench::new(1);
    bench.rising(0, [5, 9]);
    bench.reconnect(0);
    bench.rising(0, [9, 20]);
    bench.reconnect(0);
    bench.rising(0, [30, 31]);
    // The 9 that came again says that nothing is missing after it.
    bench.check(&[(5, None), (9, None), (20, None), (30, Some(None)), (31, None)]);
    let mut bench = Bench::new(1);
    let unnumbered = || arrived(None, SequenceRule::Rising, None);
    bench.take(0, unnumbered());
    bench.take(0, unnumbered());
    bench.reconnect(0);
    bench.take(0, unnumbered());
    bench.take(0, unnumbered());
    bench.check(&[(0, None), (0, None), (0, Some(None)), (0, None)]);
}

#[test]
fn a_fall_beyond_the_window_begins_anew_for_each_line() {
    let mut bench = Bench::new(2);
    bench.plus_one(0, [5000, 5001]);
    bench.plus_one(1, [5000]);
    bench.plus_one(0, [1, 2]);
    // The other line is still in the old run.
    bench.plus_one(1, [5001, 5002, 1, 2, 3]);
    bench.plus_one(0, [3, 4]);
    bench.check(&[(5000, None), (5001, None), (1, Some(None)), (2, None), (3, None), (4, None)]);
    assert_eq!(bench.arbiter.take_tally().restarts, 1);
}

#[test]
fn a_hole_waits_for_the_other_line_and_no_longer_than_it_may() {
    let mut bench = Bench::new(2);
    bench.plus_one(0, [1, 3, 4]);
    bench.plus_one(1, [1, 2]);
    bench.plus_one(0, [7]);
    bench.check(&[(1, None), (2, None), (3, None), (4, None)]);
    bench.pass(WAIT_MS - 1);
    assert_eq!(bench.published().len(), 4);
    bench.pass(1);
    bench.plus_one(1, [3, 4, 5, 8]);
    bench.check(&[(1, None), (2, None), (3, None), (4, None), (7, Some(Some(2))), (8, None)]);
}

#[test]
fn a_hole_that_both_lines_have_passed_is_told_at_once() {
    let mut bench = Bench::new(2);
    bench.plus_one(0, [1, 3]);
    bench.plus_one(1, [1]);
    bench.check(&[(1, None)]);
    bench.plus_one(1, [3]);
    bench.check(&[(1, None), (3, Some(Some(1)))]);
    bench.plus_one(0, [5]);
    bench.arbiter.lost(1, bench.now, &mut bench.out);
    bench.check(&[(1, None), (3, Some(Some(1))), (5, Some(Some(1)))]);
}

#[test]
fn a_message_that_comes_late_and_was_lacking_is_told() {
    let mut bench = Bench::new(2);
    bench.rising(0, [10, 30]);
    bench.rising(1, [10, 20, 30]);
    bench.rising(0, [40]);
    bench.check(&[(10, None), (30, None), (40, Some(Some(1)))]);
    assert_eq!(bench.arbiter.take_tally(), Tally { repeats: 2, late: 1, gaps: 1, lost: 1, ..Tally::default() });
}

#[test]
fn messages_without_a_number_come_from_one_line_at_a_time() {
    let mut bench = Bench::new(2);
    let unnumbered = || arrived(None, SequenceRule::Rising, None);
    for line in [0, 1, 1, 0] {
        bench.take(line, unnumbered());
    }
    bench.arbiter.lost(0, bench.now, &mut bench.out);
    bench.take(1, unnumbered());
    bench.check(&[(0, None), (0, None), (0, Some(None))]);
}

#[test]
fn what_cannot_be_published_is_lost_and_told() {
    let mut bench = Bench::new(1);
    bench.plus_one(0, [1]);
    bench.take(0, Arrived { content: None, ..arrived(Some(2), SequenceRule::PlusOne, None) });
    bench.plus_one(0, [3]);
    bench.check(&[(1, None), (3, Some(Some(1)))]);
    bench.rising(0, [4]);
    bench.arbiter.skipped(0);
    bench.rising(0, [5]);
    bench.check(&[(1, None), (3, Some(Some(1))), (4, None), (5, Some(None))]);
}

#[test]
fn what_is_held_and_known_is_bounded() {
    let mut bench = Bench::new(2);
    bench.arbiter.bytes_max = 3 * (HELD_OVERHEAD_BYTES + 2);
    bench.plus_one(0, [10, 12, 14, 16]);
    bench.check(&[(10, None)]);
    bench.plus_one(0, [18]);
    assert!(bench.arbiter.held_bytes <= bench.arbiter.bytes_max);
    bench.check(&[(10, None), (12, Some(Some(1)))]);
    for name in ["u", "v", "w"] {
        bench.take(
            0,
            Arrived { topic: TopicName::parse(name).expect("a topic"), ..arrived(Some(1), SequenceRule::PlusOne, None) },
        );
    }
    assert_eq!(bench.arbiter.take_tally().topics_refused, 2);
}

/// What happens next: a line brings its next message or loses it, dies or comes back, time passes.
#[derive(Clone, Copy, Debug)]
enum Step {
    Bring(usize),
    Lose(usize),
    /// As `Lose`, and its numbers do not say so.
    Skip(usize),
    Reconnect(usize),
    Pass(u32),
}

fn steps(loses: bool) -> impl Strategy<Value = Vec<Step>> {
    let line = || 0..2usize;
    let step = prop_oneof![
        12 => line().prop_map(Step::Bring),
        u32::from(loses) * 3 => line().prop_map(Step::Lose),
        u32::from(loses) => line().prop_map(Step::Reconnect),
        1 => (0..WAIT_MS).prop_map(Step::Pass),
    ];
    prop::collection::vec(step, 1..200)
}

/// Numbers of the feed: message `i` has `numbers(i)`, and each rule sees the same messages.
fn message(rule: SequenceRule, index: u64) -> Arrived {
    let value = |index: u64| if rule == SequenceRule::PlusOne { index } else { index * 3 };
    arrived(Some(value(index)), rule, (rule == SequenceRule::Chain).then(|| value(index.saturating_sub(1))))
}

/// Plays the steps; returns what was published by index in the feed, with the gaps, and what each line brought.
fn play(rule: SequenceRule, steps: &[Step]) -> (Vec<Published>, [BTreeSet<u64>; 2]) {
    let mut bench = Bench::new(2);
    let mut next = [1u64, 1];
    let mut brought = [BTreeSet::new(), BTreeSet::new()];
    for step in steps {
        match *step {
            Step::Bring(line) => {
                bench.take(line, message(rule, next[line]));
                brought[line].insert(next[line]);
                next[line] += 1;
            }
            Step::Lose(line) => {
                // A line that loses something without its end is one whose numbers must say so.
                if rule == SequenceRule::Rising {
                    bench.reconnect(line);
                }
                next[line] += 1;
            }
            Step::Skip(line) => next[line] += 1,
            Step::Reconnect(line) => {
                bench.reconnect(line);
                // A new connection begins with the newest.
                next[line] = next[0].max(next[1]);
            }
            Step::Pass(ms) => bench.pass(ms),
        }
    }
    bench.arbiter.lost(0, bench.now, &mut bench.out);
    bench.arbiter.lost(1, bench.now, &mut bench.out);
    let scale = if rule == SequenceRule::PlusOne { 1 } else { 3 };
    let published = bench.published().into_iter().map(|(value, gap)| (value / scale, gap)).collect();
    (published, brought)
}

/// The judge: it looks at the whole outcome and knows no state.
fn judge(rule: SequenceRule, published: &[Published]) -> Result<(), TestCaseError> {
    for pair in published.windows(2) {
        let ((before, _), (this, gap)) = (pair[0], pair[1]);
        prop_assert!(this > before, "in order, each once: {published:?}");
        let missing = this - before - 1;
        match (rule, gap) {
            (SequenceRule::PlusOne, gap) => prop_assert_eq!(gap.flatten().unwrap_or(0), missing, "told exactly: {:?}", published),
            (SequenceRule::Chain, gap) => prop_assert_eq!(gap.is_some(), missing > 0, "told: {:?}", published),
            // A late one is told with the publication that is next when it comes, which is further on.
            (SequenceRule::Rising, _) => {}
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn every_message_is_published_once_in_order_or_told(steps in steps(true)) {
        for rule in [SequenceRule::PlusOne, SequenceRule::Chain] {
            let (published, _) = play(rule, &steps);
            judge(rule, &published)?;
        }
    }

    /// Without time passing, all that either line brought is published, but what stands before the first.
    #[test]
    fn only_what_neither_line_brought_is_missing(steps in steps(true)) {
        let steps: Vec<Step> = steps.into_iter().filter(|step| matches!(step, Step::Bring(_) | Step::Lose(_))).collect();
        for rule in [SequenceRule::PlusOne, SequenceRule::Chain] {
            let (published, brought) = play(rule, &steps);
            let first = published.first().map_or(0, |(first, _)| *first);
            let all: Vec<u64> = brought[0].union(&brought[1]).copied().filter(|index| *index >= first).collect();
            let indices: Vec<u64> = published.iter().map(|(index, _)| *index).collect();
            prop_assert_eq!(indices, all);
        }
    }

    /// One line loses nothing; whatever the other does, nothing is told and nothing is missing.
    #[test]
    fn one_of_two_lines_may_die_without_a_gap(steps in steps(true)) {
        let whole = |step: &Step| !matches!(step, Step::Lose(0) | Step::Reconnect(0) | Step::Pass(_));
        let mut steps: Vec<Step> = steps.into_iter().filter(whole).collect();
        // The whole line was there first, and ends up with all of it.
        steps.insert(0, Step::Bring(0));
        steps.extend(std::iter::repeat_n(Step::Bring(0), 400));
        for rule in [SequenceRule::PlusOne, SequenceRule::Chain, SequenceRule::Rising] {
            let (published, brought) = play(rule, &steps);
            judge(rule, &published)?;
            prop_assert!(published.iter().all(|(_, gap)| gap.is_none()), "{:?}: {:?}", rule, published);
            let last = *brought[0].last().expect("it brought some");
            let within: Vec<u64> = published.iter().map(|(index, _)| *index).filter(|index| *index <= last).collect();
            prop_assert_eq!(within, (1..=last).collect::<Vec<u64>>());
        }
    }

    /// Rising numbers: whatever came after the first and was not published is told by some gap.
    #[test]
    fn what_rising_numbers_lack_is_told(steps in steps(true)) {
        let skips = |step| if let Step::Lose(line) = step { Step::Skip(line) } else { step };
        let mut steps: Vec<Step> = steps.into_iter().map(skips).collect();
        // In the end one line is ahead of all, so that what is owed then has a publication to be told with.
        steps.extend(std::iter::repeat_n(Step::Bring(0), 400));
        let (published, brought) = play(SequenceRule::Rising, &steps);
        judge(SequenceRule::Rising, &published)?;
        let indices: BTreeSet<u64> = published.iter().map(|(index, _)| *index).collect();
        let first = *indices.first().expect("something was published");
        for missing in brought[0].union(&brought[1]).filter(|index| **index > first && !indices.contains(index)) {
            let told = published.iter().any(|(index, gap)| index > missing && gap.is_some());
            prop_assert!(told, "{} is missing: {:?}", missing, published);
        }
    }
}
