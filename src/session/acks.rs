//! What a publisher with `?ack=1` hears: how many of its messages were taken, from its first one on without a hole.
//!
//! Messages of one connection go to several homes and are taken out of order, so the numbers of those on their way are kept;
//! the count is what stands before the oldest of them. It is told as soon as nothing is on its way, else once a second, and
//! never while the last one is still owed: a client that does not read it is told the newest once it does.
//!
//! Without: clocks, homes, positions.
//!
//! Invariants: what was refused is never counted, nor anything behind it; the count never falls; numbers on their way are
//! bounded by the credits of the shard, and one more that waits for its credit.

use std::collections::VecDeque;

use super::{Phase, Session};
use crate::dialect::stream::reply;
use crate::metrics::CloseClass;

/// Longest time that a count which has changed is not told.
const TOLD_WITHIN_US: u64 = 1_000_000;

/// One publisher's messages: which are on their way, and how many of them it was told are taken.
#[derive(Debug, Default)]
pub(super) struct Acks {
    /// Messages that came; of one that was refused, those before it.
    came: u64,
    /// Numbers of those on their way, ascending.
    under_way: VecDeque<u64>,
    told: u64,
    told_us: u64,
}

impl Acks {
    /// The number of the message that came now, which is on its way from here on.
    fn number(&mut self) -> u64 {
        self.came += 1;
        self.under_way.push_back(self.came);
        self.came
    }

    fn taken(&mut self, number: u64) {
        // Whatever stands behind a refused one is not looked for any more.
        if let Ok(place) = self.under_way.binary_search(&number) {
            self.under_way.remove(place);
        }
    }

    /// It and all behind it will never be counted.
    fn refused(&mut self, number: u64) {
        self.came = self.came.min(number - 1);
        let before = self.under_way.partition_point(|&under_way| under_way < number);
        self.under_way.truncate(before);
    }

    /// All messages up to this one are taken.
    fn count(&self) -> u64 {
        self.under_way.front().map_or(self.came, |oldest| oldest - 1)
    }
}

/// A publisher's connection that is to be closed once it is known what became of its messages on their way.
#[derive(Debug)]
pub(super) struct Closing {
    /// The close frame.
    frame: Vec<u8>,
    class: CloseClass,
}

impl Session {
    /// This publisher's messages are counted from now on.
    pub(super) fn begin_acks(&mut self) {
        self.owed.get_or_insert_default().acks = Some(Box::default());
    }

    fn acks(&mut self) -> Option<&mut Acks> {
        self.owed.as_mut()?.acks.as_deref_mut()
    }

    /// The number of a publisher's message that goes on its way; none where they are not counted.
    pub(super) fn number_message(&mut self) -> Option<u64> {
        self.acks().map(Acks::number)
    }

    /// A counted message has its position.
    pub fn taken(&mut self, number: u64, now_us: u64) {
        if let Some(acks) = self.acks() {
            acks.taken(number);
            self.conclude_if_quiet(now_us);
        }
    }

    /// A counted message will not be published. The connection is to be closed, if it is not already.
    pub fn refused(&mut self, number: u64, now_us: u64) {
        if let Some(acks) = self.acks() {
            acks.refused(number);
            self.conclude_if_quiet(now_us);
        }
    }

    /// Whether its close frame waits for what becomes of its messages; none that has no credit yet is to be published.
    #[must_use]
    pub fn is_closing(&self) -> bool {
        matches!(self.phase, Phase::Closing(_))
    }

    /// A close frame ends the session: at once, or once it is known what became of a publisher's messages on their way.
    pub(super) fn end_with(&mut self, frame: Vec<u8>, class: CloseClass, now_us: u64) {
        let is_quiet = self.acks().is_none_or(|acks| acks.under_way.is_empty());
        self.phase = Phase::Closing(Box::new(Closing { frame, class }));
        self.began_us = now_us;
        if is_quiet {
            self.conclude(now_us);
        }
    }

    fn conclude_if_quiet(&mut self, now_us: u64) {
        if self.acks().is_none_or(|acks| acks.under_way.is_empty()) {
            self.conclude(now_us);
        }
    }

    /// Says the close frame that waits, if one does, behind the count as it is now.
    pub fn conclude(&mut self, now_us: u64) {
        let Phase::Closing(closing) = &mut self.phase else { return };
        let (frame, class) = (std::mem::take(&mut closing.frame), closing.class);
        self.owe_count(now_us);
        self.owe().extend_from_slice(&frame);
        self.end(class, now_us);
    }

    /// Owes the count to a publisher that is told of it, where it is time for that. For whoever moved the session.
    pub fn acknowledge(&mut self, now_us: u64) {
        let is_due = |acks: &Acks| acks.under_way.is_empty() || acks.told_us + TOLD_WITHIN_US <= now_us;
        if self.untold().is_some_and(is_due) {
            self.owe_count(now_us);
        }
    }

    /// When the count is to be told at the latest.
    pub(super) fn count_due_us(&self) -> Option<u64> {
        self.untold().map(|acks| acks.told_us + TOLD_WITHIN_US)
    }

    /// A count that has changed and may be told: not while something is owed still. Once that went the session is asked again.
    fn untold(&self) -> Option<&Acks> {
        let owed = self.owed.as_deref().filter(|owed| owed.bytes.is_empty())?;
        owed.acks.as_deref().filter(|acks| acks.count() > acks.told)
    }

    fn owe_count(&mut self, now_us: u64) {
        let Some(acks) = self.acks() else { return };
        let count = acks.count();
        if count == acks.told {
            return;
        }
        (acks.told, acks.told_us) = (count, now_us);
        if acks.under_way.is_empty() {
            // An idle client holds no buffer.
            acks.under_way = VecDeque::new();
        }
        self.reply(|out| reply::taken(out, count));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The naive twin: what became of each message.
    #[derive(Clone, Copy, PartialEq, Eq)]
    enum Fate {
        UnderWay,
        Taken,
        Refused,
    }

    proptest! {
        #[test]
        fn the_count_is_the_longest_prefix_that_is_taken(steps in prop::collection::vec((0u8..20, any::<prop::sample::Index>()), 1..300)) {
            let (mut acks, mut twin, mut before) = (Acks::default(), Vec::new(), 0);
            for (choice, which) in steps {
                let under_way: Vec<usize> = (0..twin.len()).filter(|&at| twin[at] == Fate::UnderWay).collect();
                match choice {
                    // Nothing comes behind one that was refused.
                    0..=9 if !twin.contains(&Fate::Refused) => {
                        twin.push(Fate::UnderWay);
                        prop_assert_eq!(acks.number(), twin.len() as u64);
                    }
                    10..=18 if !under_way.is_empty() => {
                        let at = *which.get(&under_way);
                        twin[at] = Fate::Taken;
                        acks.taken(at as u64 + 1);
                    }
                    19 if !under_way.is_empty() => {
                        let at = *which.get(&under_way);
                        twin[at] = Fate::Refused;
                        acks.refused(at as u64 + 1);
                    }
                    _ => continue,
                }
                let taken = twin.iter().take_while(|fate| **fate == Fate::Taken).count();
                prop_assert_eq!(acks.count(), taken as u64);
                let refused = twin.iter().position(|fate| *fate == Fate::Refused).unwrap_or(twin.len());
                prop_assert_eq!(acks.under_way.is_empty(), !twin[..refused].contains(&Fate::UnderWay));
                prop_assert!(acks.count() >= before);
                before = acks.count();
            }
        }
    }
}
