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
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Pace {
    /// So many are under way: the next one leaves when one has reached everyone.
    InFlight(u64),
    /// So many a second, evenly.
    Rate(f64),
}

pub(crate) struct Publisher {
    course: Arc<Course>,
    payloads: Arc<Payloads>,
    dialect: Arc<dyn Dialect>,
    topics: Arc<Vec<String>>,
    pace: Pace,
    /// Workers with subscribers of each topic.
    workers: Vec<u32>,
    /// Number of the next publication.
    next: u64,
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
    ) -> Publisher {
        Publisher { course, payloads, dialect, topics, pace, workers, next: 0, payload: Vec::new() }
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
        match self.pace {
            Pace::InFlight(most) => {
                while now_ns < end_ns && self.in_flight() < most && self.course.is_free(self.next) {
                    self.send(engine, client, now_ns);
                }
                Ok(u64::MAX)
            }
            Pace::Rate(rate) => loop {
                let due_ns = start_ns + (self.next as f64 / rate * 1e9) as u64;
                if due_ns > now_ns || due_ns >= end_ns {
                    return Ok(if due_ns < end_ns { due_ns } else { u64::MAX });
                }
                if !self.course.is_free(self.next) {
                    let behind = self.course.places();
                    return Err(io::Error::other(format!("the server is {behind} publications behind a rate of {rate}/s")));
                }
                self.send(engine, client, due_ns);
            },
        }
    }

    fn send(&mut self, engine: &mut Engine, client: usize, scheduled_ns: u64) {
        let topic = self.course.topic(self.next) as usize;
        self.payloads.write(self.next, &mut self.payload);
        self.course.publish(self.next, scheduled_ns, self.workers[topic]);
        engine.say(client, |out| self.dialect.publish(&self.topics[topic], &self.payload, out));
        self.next += 1;
    }
}
