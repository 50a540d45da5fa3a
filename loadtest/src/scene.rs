//! What a fan-out is, as all its workers know it: topics and who holds them, payloads and their schedule, and how the server is
//! spoken to.

use std::io;
use std::ops::Range;
use std::sync::Arc;

use crate::course::Course;
use crate::dialect::{Dialect, Part};
use crate::link::Route;
use crate::options::Options;
use crate::payload::Payloads;
use crate::publisher::{Pace, Publisher};
use crate::url::Url;

/// An open loop's server may be so far behind.
const BEHIND_S_MAX: f64 = 10.0;

/// What a scenario asks for.
pub(crate) struct Wanted {
    pub(crate) subscribers: u32,
    pub(crate) topics: u32,
    pub(crate) topics_per_subscriber: u32,
    pub(crate) payloads: Payloads,
    pub(crate) pace: Pace,
    pub(crate) dialect: Arc<dyn Dialect>,
    /// Where the publisher connects, if not where the dialect has it.
    pub(crate) publish_url: Option<Url>,
}

/// What all workers go by.
pub(crate) struct Scene {
    pub(crate) course: Arc<Course>,
    pub(crate) payloads: Arc<Payloads>,
    pub(crate) dialect: Arc<dyn Dialect>,
    pub(crate) topics: Arc<Vec<String>>,
    pub(crate) publisher: Arc<Route>,
    pub(crate) options: Options,
    subscribers: u64,
    workers: usize,
    pace: Pace,
}

impl Scene {
    pub(crate) fn new(wanted: Wanted, options: &Options, workers: usize) -> io::Result<Scene> {
        let Wanted { subscribers, topics, topics_per_subscriber, payloads, pace, dialect, publish_url } = wanted;
        let under_way_max = match &pace {
            // Who is served first is ahead of the average.
            Pace::InFlight(most) => 4 * *most as usize,
            Pace::Together(count) => *count as usize,
            Pace::Rate(rate) => ((rate * BEHIND_S_MAX) as usize).clamp(1 << 10, 1 << 20),
            Pace::Schedule(moments) => moments.len().clamp(1, 1 << 16),
        };
        let course = Course::new(topics.into(), topics_per_subscriber.into(), under_way_max);
        let topics: Vec<String> = (0..topics).map(|topic| format!("demo.load{topic}")).collect();
        let publish_url = match publish_url {
            Some(url) => url,
            None => dialect.url(&options.url, Part::Publisher(&topics))?,
        };
        Ok(Scene {
            course: Arc::new(course),
            payloads: Arc::new(payloads),
            dialect,
            topics: Arc::new(topics),
            publisher: Arc::new(Route::new(publish_url, None)?),
            options: options.clone(),
            subscribers: subscribers.into(),
            workers,
            pace,
        })
    }

    /// The subscribers of one worker.
    pub(crate) fn range(&self, worker: usize) -> Range<u64> {
        let end = |worker: usize| self.subscribers * worker as u64 / self.workers as u64;
        end(worker)..end(worker + 1)
    }

    pub(crate) fn topic_names(&self, topics: impl Iterator<Item = u64>) -> Vec<String> {
        topics.map(|topic| self.topics[topic as usize].clone()).collect()
    }

    /// Where a subscriber of these topics connects.
    pub(crate) fn subscriber_route(&self, topics: &[String]) -> io::Result<Route> {
        Route::new(self.dialect.url(&self.options.url, Part::Subscriber(topics))?, self.options.offer())
    }

    pub(crate) fn make_publisher(&self) -> Publisher {
        let workers_of = |topic| (0..self.workers).filter(|worker| self.course.holders(&self.range(*worker), topic) > 0).count();
        let workers = (0..self.course.topics).map(|topic| workers_of(topic) as u32).collect();
        let (payloads, dialect, topics) = (self.payloads.clone(), self.dialect.clone(), self.topics.clone());
        Publisher::new(self.course.clone(), payloads, dialect, topics, self.pace.clone(), workers, self.subscribers)
    }
}
