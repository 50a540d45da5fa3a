//! Who hears which topic: a queue per subscriber, a list of queues per topic.
//!
//! Without bounds: a reader that stalls is remembered whole. Nothing here is measured with readers that stall for long.

use std::collections::HashMap;
use std::sync::Mutex;

use tokio::sync::mpsc::UnboundedSender;

/// Where messages are published. A library that brings its own is measured with its own.
pub trait Audience<M> {
    /// From now on the queue gets what is published on the topics. Returns what `leave` is told.
    fn join(&self, topics: &[String], queue: UnboundedSender<M>) -> u64;
    fn leave(&self, subscriber: u64);
    fn publish(&self, topic: &str, message: M);
}

/// The plain way: locks that nobody else holds, as all runs on one thread.
pub struct Topics<M> {
    queues: Mutex<HashMap<String, Vec<UnboundedSender<M>>>>,
}

impl<M> Default for Topics<M> {
    fn default() -> Self {
        Self { queues: Mutex::default() }
    }
}

impl<M: Clone> Audience<M> for Topics<M> {
    fn join(&self, topics: &[String], queue: UnboundedSender<M>) -> u64 {
        let mut queues = self.queues.lock().unwrap();
        for topic in topics {
            queues.entry(topic.clone()).or_default().push(queue.clone());
        }
        0
    }

    /// Nothing to do: the queue's end is gone, and the next publication finds that out.
    fn leave(&self, _subscriber: u64) {}

    fn publish(&self, topic: &str, message: M) {
        if let Some(queues) = self.queues.lock().unwrap().get_mut(topic) {
            queues.retain(|queue| queue.send(message.clone()).is_ok());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::sync::mpsc;

    #[test]
    fn who_joined_hears_its_topics_until_it_goes() {
        let topics = Topics::default();
        let (sender, mut queue) = mpsc::unbounded_channel();
        topics.join(&["a".into(), "b".into()], sender);
        topics.publish("a", 1);
        topics.publish("c", 2);
        topics.publish("b", 3);
        assert_eq!((queue.try_recv(), queue.try_recv()), (Ok(1), Ok(3)));
        drop(queue);
        topics.publish("a", 4);
        assert!(topics.queues.lock().unwrap()["a"].is_empty());
    }
}
