//! What is published to whom and when, as all workers know it: topics, who subscribes to which, and for each publication that is
//! under way its moment and who still lacks it.
//!
//! Publications are numbered over all topics. The topics take turns, in an order that is shuffled once: so a topic's next
//! publication is always as many numbers later as there are topics, and who expects a number knows the topic with it. Subscriber
//! `c` holds the topics `c*k` to `c*k + k - 1`, counted around.
//!
//! Invariant: a place of the board is used again only when its publication has reached everyone.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// Topics, subscribers and the board.
pub(crate) struct Course {
    pub(crate) topics: u64,
    pub(crate) per_subscriber: u64,
    /// Topics in the order of their turns.
    order: Vec<u32>,
    board: Box<[Place]>,
    /// Publications that reached everyone.
    done: AtomicU64,
}

#[derive(Debug, Default)]
struct Place {
    /// The publication's number and one: 0 is none.
    number_and_one: AtomicU64,
    scheduled_ns: AtomicU64,
    /// Workers with subscribers that lack it.
    workers_missing: AtomicU32,
}

impl Course {
    /// `under_way_max` publications may be under way at once.
    pub(crate) fn new(topics: u64, per_subscriber: u64, under_way_max: usize) -> Course {
        assert!(per_subscriber <= topics, "a subscriber holds a topic once");
        let mut order: Vec<u32> = (0..topics as u32).collect();
        let mut dice = 0x9E37_79B9_7F4A_7C15_u64;
        for place in (1..order.len()).rev() {
            dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            order.swap(place, (dice >> 33) as usize % (place + 1));
        }
        let board = (0..under_way_max.next_power_of_two()).map(|_| Place::default()).collect();
        Course { topics, per_subscriber, order, board, done: AtomicU64::new(0) }
    }

    /// Publications that may be under way at once.
    pub(crate) fn places(&self) -> usize {
        self.board.len()
    }

    /// A publication's index among those under way.
    pub(crate) fn place(&self, number: u64) -> usize {
        number as usize & (self.board.len() - 1)
    }

    /// The topic of a publication.
    pub(crate) fn topic(&self, number: u64) -> u64 {
        self.order[(number % self.topics) as usize].into()
    }

    /// The topics of a subscriber, by number.
    pub(crate) fn topics_of(&self, subscriber: u64) -> impl Iterator<Item = u64> {
        (0..self.per_subscriber).map(move |index| (subscriber * self.per_subscriber + index) % self.topics)
    }

    /// Which of its subscriptions that topic is for this subscriber, if it holds it.
    pub(crate) fn subscription(&self, subscriber: u64, topic: u64) -> Option<u64> {
        let first = subscriber * self.per_subscriber % self.topics;
        let index = (topic + self.topics - first) % self.topics;
        (index < self.per_subscriber).then_some(index)
    }

    /// How many of these subscribers hold a topic.
    pub(crate) fn holders(&self, subscribers: &std::ops::Range<u64>, topic: u64) -> u32 {
        // All subscriptions, one subscriber after the other, count the topics around.
        let up_to = |end: u64| (end * self.per_subscriber + self.topics - 1 - topic) / self.topics;
        (up_to(subscribers.end) - up_to(subscribers.start)) as u32
    }

    /// The first publication of a topic.
    pub(crate) fn first_numbers(&self) -> Vec<u64> {
        let mut first = vec![0; self.order.len()];
        self.order.iter().enumerate().for_each(|(number, topic)| first[*topic as usize] = number as u64);
        first
    }

    /// Whether the place of a publication is free.
    pub(crate) fn is_free(&self, number: u64) -> bool {
        self.board[self.place(number)].workers_missing.load(Ordering::Acquire) == 0
    }

    /// A publication leaves, for subscribers of so many workers.
    pub(crate) fn publish(&self, number: u64, scheduled_ns: u64, workers: u32) {
        debug_assert!(self.is_free(number), "a place is used again when its publication is done");
        let place = &self.board[self.place(number)];
        place.scheduled_ns.store(scheduled_ns, Ordering::Relaxed);
        place.workers_missing.store(workers, Ordering::Relaxed);
        place.number_and_one.store(number + 1, Ordering::Release);
        if workers == 0 {
            self.done.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// For when a publication was scheduled, if it is under way.
    pub(crate) fn scheduled_ns(&self, number: u64) -> Option<u64> {
        let place = &self.board[self.place(number)];
        (place.number_and_one.load(Ordering::Acquire) == number + 1).then(|| place.scheduled_ns.load(Ordering::Relaxed))
    }

    /// All subscribers of one worker have it; true if all of all workers do.
    pub(crate) fn reached(&self, number: u64) -> bool {
        let is_last = self.board[self.place(number)].workers_missing.fetch_sub(1, Ordering::AcqRel) == 1;
        if is_last {
            self.done.fetch_add(1, Ordering::Release);
        }
        is_last
    }

    /// Publications that reached everyone.
    pub(crate) fn done(&self) -> u64 {
        self.done.load(Ordering::Acquire)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each count against a walk over all subscriptions.
    #[test]
    fn who_holds_what_is_what_a_walk_finds() {
        for (topics, per_subscriber, subscribers) in [(1, 1, 5), (7, 3, 10), (50, 50, 3), (5, 2, 1), (9, 4, 0)] {
            let course = Course::new(topics, per_subscriber, 4);
            for topic in 0..topics {
                for (from, until) in [(0, subscribers), (1.min(subscribers), subscribers), (0, subscribers / 2)] {
                    let holds = |subscriber: &u64| course.topics_of(*subscriber).any(|held| held == topic);
                    let walked = (from..until).filter(holds).count() as u32;
                    assert_eq!(course.holders(&(from..until), topic), walked, "{topics} {per_subscriber} {topic}");
                }
                for subscriber in 0..subscribers {
                    let index = course.topics_of(subscriber).position(|held| held == topic);
                    assert_eq!(course.subscription(subscriber, topic), index.map(|index| index as u64));
                }
            }
            let mut firsts = course.first_numbers();
            assert!(firsts.iter().enumerate().all(|(topic, first)| course.topic(*first) == topic as u64));
            firsts.sort_unstable();
            assert!(firsts.into_iter().eq(0..topics), "every topic has its turn");
        }
    }

    #[test]
    fn a_publication_is_done_when_every_worker_has_it() {
        let course = Course::new(1, 1, 2);
        assert_eq!(course.scheduled_ns(0), None);
        course.publish(0, 70, 2);
        assert!(course.scheduled_ns(0) == Some(70) && !course.is_free(0) && !course.is_free(2) && course.is_free(1));
        assert_eq!(course.scheduled_ns(2), None, "the place is another's");
        assert!(!course.reached(0) && course.done() == 0);
        assert!(course.reached(0) && course.done() == 1 && course.is_free(2));
        course.publish(1, 80, 0);
        assert!(course.is_free(3) && course.done() == 2);
    }
}
