//! The counts of a topic, one after the other: which epoch a publication is of, and which offset it has there.
//!
//! Within the gateway a publication bears its *number*, which counts on through all epochs of its topic, so that rings, cursors and
//! replicas know no epochs at all. What a client is told is a [`Position`], made here where it is told. Of most topics there is one
//! epoch, and number and offset are the same.
//!
//! Without: when a count begins anew ([`Marks::begins`](super::Marks)), who was told.
//!
//! Invariant: an epoch begins with a publication, so but for a topic that was never published on the newest number is of the
//! present one.

use std::collections::VecDeque;

use super::publication::{Epoch, Position};

/// Past epochs that are remembered; of what is older it is only known that it is older.
const PAST_MAX: usize = 64;

/// A topic's epochs.
#[derive(Clone, Debug)]
pub struct Epochs {
    present: Epoch,
    /// Most topics have none.
    past: Option<Box<Past>>,
}

/// Those before.
#[derive(Clone, Debug)]
struct Past {
    /// Oldest first.
    begun: VecDeque<Begun>,
    /// The number before the present one's first publication.
    before: u64,
    /// The oldest that is known is not the first.
    is_cut: bool,
}

/// An epoch, and the number before its first publication.
#[derive(Clone, Copy, Debug)]
struct Begun {
    epoch: Epoch,
    before: u64,
}

impl Past {
    fn oldest(&self) -> Begun {
        *self.begun.front().expect("what is past was begun")
    }
}

impl Epochs {
    /// The first.
    #[must_use]
    pub fn new(epoch: Epoch) -> Epochs {
        Epochs { present: epoch, past: None }
    }

    /// All that are remembered, oldest first, each with the number before its first publication; and whether older ones are forgotten.
    #[must_use]
    pub fn begun(&self) -> (Vec<(Epoch, u64)>, bool) {
        let is_cut = self.past.as_ref().is_some_and(|past| past.is_cut);
        (self.all().map(|begun| (begun.epoch, begun.before)).collect(), is_cut)
    }

    /// What [`Epochs::begun`] gave; `None` where that is not in order, or too much.
    #[must_use]
    pub fn of(begun: &[(Epoch, u64)], is_cut: bool) -> Option<Epochs> {
        let ((present, before), past) = begun.split_last()?;
        let is_in_order = begun.is_sorted_by(|one, next| one.1 <= next.1) && past.len() <= PAST_MAX;
        if !is_in_order || past.is_empty() && *before > 0 {
            return None;
        }
        let begun = past.iter().map(|(epoch, before)| Begun { epoch: *epoch, before: *before }).collect();
        let past = Past { begun, before: *before, is_cut };
        Some(Epochs { present: *present, past: (!past.begun.is_empty()).then(|| Box::new(past)) })
    }

    /// The newest.
    #[must_use]
    pub fn present(&self) -> Epoch {
        self.present
    }

    fn before(&self) -> u64 {
        self.past.as_ref().map_or(0, |past| past.before)
    }

    /// The position of the publication of this number; of one that is older than all that is known, the one before that.
    #[must_use]
    pub fn at(&self, number: u64) -> Position {
        let Begun { epoch, before } = match &self.past {
            Some(past) if number <= past.before => {
                past.begun.iter().rev().find(|begun| begun.before < number).copied().unwrap_or_else(|| past.oldest())
            }
            _ => Begun { epoch: self.present, before: self.before() },
        };
        Position { epoch, offset: number.saturating_sub(before) }
    }

    /// The number of a position of the present epoch.
    #[must_use]
    pub fn number(&self, position: Position) -> Option<u64> {
        (position.epoch == self.present).then(|| self.before().saturating_add(position.offset))
    }

    /// A position of an epoch that the reader was told, whatever epoch the number is of.
    pub(super) fn told(&self, epoch: Epoch, number: u64) -> Position {
        let before = self.all().find(|begun| begun.epoch == epoch).map_or(0, |begun| begun.before);
        Position { epoch, offset: number.saturating_sub(before) }
    }

    /// The last number of an epoch, and the epoch behind it; none for the present one.
    pub(super) fn end(&self, epoch: Epoch) -> Option<(u64, Epoch)> {
        if epoch == self.present {
            return None;
        }
        let mut all = self.all();
        // Of one that is forgotten: all up to the oldest that is known.
        let next = if all.any(|begun| begun.epoch == epoch) { all.next() } else { self.all().next() };
        next.map(|next| (next.before, next.epoch))
    }

    /// The oldest number whose offset is known.
    pub(super) fn oldest(&self) -> u64 {
        self.past.as_ref().filter(|past| past.is_cut).map_or(0, |past| past.oldest().before + 1)
    }

    /// From behind this number on the count begins anew.
    pub(super) fn begin(&mut self, epoch: Epoch, before: u64) {
        let begun = Begun { epoch: std::mem::replace(&mut self.present, epoch), before: self.before() };
        let empty = || Box::new(Past { begun: VecDeque::new(), before, is_cut: false });
        let past = self.past.get_or_insert_with(empty);
        past.before = before;
        past.begun.push_back(begun);
        if past.begun.len() > PAST_MAX {
            past.begun.pop_front();
            past.is_cut = true;
        }
    }

    /// Of a topic that is thinned out: as its parent up to this number. Gives the epoch that begins by that.
    pub(super) fn follow(&mut self, parent: &Epochs, number: u64) -> Option<Epoch> {
        let epoch = parent.at(number).epoch;
        if epoch == self.present {
            return None;
        }
        let begun = parent.all().find(|begun| begun.epoch == epoch).expect("a position is of an epoch that is known");
        self.begin(begun.epoch, begun.before);
        Some(epoch)
    }

    fn all(&self) -> impl Iterator<Item = Begun> {
        let past = self.past.iter().flat_map(|past| &past.begun).copied();
        past.chain([Begun { epoch: self.present, before: self.before() }])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn epoch(number: u64) -> Epoch {
        Epoch::from_number(number)
    }

    #[test]
    fn a_number_is_of_the_epoch_that_it_came_in() {
        let mut epochs = Epochs::new(epoch(1));
        epochs.begin(epoch(2), 10);
        epochs.begin(epoch(3), 11);
        for (number, of, offset) in [(0, 1, 0), (1, 1, 1), (10, 1, 10), (11, 2, 1), (12, 3, 1), (20, 3, 9)] {
            assert_eq!(epochs.at(number), Position { epoch: epoch(of), offset }, "{number}");
        }
        assert_eq!(epochs.number(Position { epoch: epoch(3), offset: 4 }), Some(15));
        assert_eq!(epochs.number(Position { epoch: epoch(2), offset: 1 }), None);
        assert_eq!(epochs.end(epoch(1)), Some((10, epoch(2))));
        assert_eq!(epochs.end(epoch(2)), Some((11, epoch(3))));
        assert_eq!(epochs.end(epoch(3)), None);
        assert_eq!(epochs.told(epoch(3), 1), Position { epoch: epoch(3), offset: 0 });
    }

    #[test]
    fn a_topic_that_was_not_published_on_has_an_epoch_without_publications() {
        let mut epochs = Epochs::new(epoch(1));
        epochs.begin(epoch(2), 0);
        assert_eq!(epochs.at(0), Position { epoch: epoch(1), offset: 0 });
        assert_eq!(epochs.at(1), Position { epoch: epoch(2), offset: 1 });
    }

    #[test]
    fn they_go_to_another_process_as_they_are() {
        let mut epochs = Epochs::new(epoch(0));
        for number in 1..=PAST_MAX as u64 + 2 {
            let (begun, is_cut) = epochs.begun();
            let again = Epochs::of(&begun, is_cut).expect("they are in order");
            assert_eq!((again.begun(), again.oldest()), (epochs.begun(), epochs.oldest()));
            for at in 0..number * 10 {
                assert_eq!(again.at(at), epochs.at(at));
            }
            epochs.begin(epoch(number), number * 10);
        }
        assert!(Epochs::of(&[], false).is_none() && Epochs::of(&[(epoch(1), 3), (epoch(2), 2)], false).is_none());
    }

    #[test]
    fn so_many_are_remembered() {
        let mut epochs = Epochs::new(epoch(0));
        for number in 1..=PAST_MAX as u64 + 2 {
            assert_eq!(epochs.oldest() > 0, number > PAST_MAX as u64 + 1);
            epochs.begin(epoch(number), number * 10);
        }
        assert_eq!((epochs.oldest(), epochs.at(20)), (21, Position { epoch: epoch(2), offset: 0 }));
        assert_eq!(epochs.at(21), Position { epoch: epoch(2), offset: 1 });
        assert_eq!(epochs.end(epoch(0)), Some((20, epoch(2))));
    }
}
