//! The publishing end of a fan-out: a closed loop that keeps a number of publications under way, or an open one that keeps to a
//! schedule whatever the server does.
//!
//! An open loop's latencies count from the scheduled moment: neither a late generator nor a server that stops reading can hide a
//! publication's wait (no coordinated omission).

use std::io;
use std::sync::Arc;

use crate::course::Course;
use crate::dialect::Dialect;
use crate::engine::Engine;
use crate::payload::Payloads;

/// When publications leave.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Pace {
    /// So many are under way, on the average of the subscribers: the next one leaves when they lack no more than one fewer. So 1
    /// is one at a time, to the last subscriber.
    InFlight(u64),
    /// So many leave together, when all before them have reached everyone.
    Together(u64),
    /// So many a second, evenly.
    Rate(f64),
    /// At these moments, nanoseconds from the start on; then no more.
    Schedule(Arc<Vec<u64>>),
}

pub(crate) struct Publisher {
    course: Arc<Course>,
    payloads: Arc<Payloads>,
    dialect: Arc<dyn Dialect>,
    topics: Arc<Vec<String>>,
    pace: Pace,
    /// Workers with subscribers of each topic.
    workers: Vec<u32>,
    /// Subscribers of each topic,
    holders: Vec<u32>,
    /// and how many that is on the average.
    holders_mean: u64,
    /// Number of the next publication.
    next: u64,
    /// Deliveries that those before it come to.
    owed: u64,
    payload: Vec<u8>,
}

impl Publisher {
    pub(crate) fn new(
        course: Arc<Course>,
        payloads: Arc<Payloads>,
        dialect: Arc<dyn Dialect>,
        topics: Arc<Vec<String>>,
        pace: Pace,
        workers: Vec<u32>,
        subscribers: u64,
    ) -> Publisher {
        let holders = (0..course.topics).map(|topic| course.holders(&(0..subscribers), topic)).collect();
        let holders_mean = subscribers * course.per_subscriber / course.topics;
        let (next, owed, payload) = (0, 0, Vec::new());
        Publisher { course, payloads, dialect, topics, pace, workers, holders, holders_mean, next, owed, payload }
    }

    /// Publications that left.
    pub(crate) fn published(&self) -> u64 {
        self.next
    }

    /// Publications that left and have not reached everyone.
    pub(crate) fn in_flight(&self) -> u64 {
        self.next - self.course.done()
    }

    /// Publishes on a connection what is due between the start of publishing and its end; says when the next is.
    pub(crate) fn publish(&mut self, engine: &mut Engine, client: usize, start_ns: u64, end_ns: u64) -> io::Result<u64> {
        let now_ns = engine.now_ns();
        if let Pace::InFlight(most) = self.pace {
            let (lacked_max, delivered) = ((most - 1) * self.holders_mean, self.course.deliveries());
            while now_ns < end_ns && self.owed - delivered <= lacked_max && self.course.is_free(self.next) {
                self.send(engine, client, now_ns);
            }
            return Ok(u64::MAX);
        }
        if let Pace::Together(count) = self.pace {
            if now_ns < end_ns && self.in_flight() == 0 {
                (0..count).for_each(|_| self.send(engine, client, now_ns));
            }
            return Ok(u64::MAX);
        }
        loop {
            match self.due_ns(start_ns).filter(|due_ns| *due_ns < end_ns) {
                None => return Ok(u64::MAX),
                Some(due_ns) if due_ns > now_ns => return Ok(due_ns),
                Some(_) if !self.course.is_free(self.next) => {
                    let behind = self.course.places();
                    return Err(io::Error::other(format!("the server is {behind} publications behind what was scheduled")));
                }
                Some(due_ns) => self.send(engine, client, due_ns),
            }
        }
    }

    /// When the next publication is due; none where there is no schedule, or no more of it.
    fn due_ns(&self, start_ns: u64) -> Option<u64> {
        match &self.pace {
            Pace::InFlight(_) | Pace::Together(_) => None,
            Pace::Rate(rate) => Some(start_ns + (self.next as f64 / rate * 1e9) as u64),
            Pace::Schedule(moments) => moments.get(self.next as usize).map(|moment_ns| start_ns + moment_ns),
        }
    }

    /// Whether the schedule has come to its end.
    pub(crate) fn is_through(&self) -> bool {
        matches!(&self.pace, Pace::Schedule(moments) if self.next as usize >= moments.len())
    }

    fn send(&mut self, engine: &mut Engine, client: usize, scheduled_ns: u64) {
        let topic = self.course.topic(self.next) as usize;
        self.payloads.write(self.next, &mut self.payload);
        self.course.publish(self.next, scheduled_ns, self.workers[topic]);
        engine.say(client, |out| self.dialect.publish(&self.topics[topic], self.topics.len() == 1, &self.payload, out));
        self.owed += u64::from(self.holders[topic]);
        self.next += 1;
    }
}
