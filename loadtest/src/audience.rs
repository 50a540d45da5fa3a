//! One worker's share of a fan-out: it opens its subscribers, and on the first worker the publisher, and takes what comes.
//!
//! Without: what is right, which [`Subscribers`] say, and when to publish, which the [`Publisher`] says.

use std::io;
use std::sync::Arc;

use tidegate::ws::MessageKind;

use crate::dialect::{Heard, Part};
use crate::engine::Engine;
use crate::link::{Handler, Outgoing, Route};
use crate::options::Check;
use crate::publisher::Publisher;
use crate::recorder::Recorder;
use crate::run::{Load, Next, OPENING_MAX, PATIENCE, Team};
use crate::scene::Scene;
use crate::subscribers::Subscribers;

/// One worker's share.
pub(crate) struct Audience<'a> {
    team: &'a Team,
    scene: &'a Scene,
    subscribers: Subscribers,
    first: u64,
    /// The same for all where there is one topic.
    route: Option<Arc<Route>>,
    /// On the first worker: publisher and, once it has begun to connect, its number.
    publisher: Option<(Publisher, Option<usize>)>,
    begun: usize,
    ready: usize,
    is_ready: bool,
    /// What a dialect keeps of torn messages, by connection.
    held: Vec<Vec<u8>>,
    /// The publication that the latest message was, where it was nothing else.
    latest: Option<u64>,
    recorder: Recorder,
    /// When something came last that was waited for.
    moved_ns: u64,
    /// The publisher is here.
    is_first: bool,
}

impl<'a> Audience<'a> {
    pub(crate) fn new(team: &'a Team, scene: &'a Scene, worker: usize) -> Audience<'a> {
        let range = scene.range(worker);
        let is_checking = scene.options.check == Check::All;
        let first = range.start;
        let subscribers = Subscribers::new(scene.course.clone(), scene.payloads.clone(), range, is_checking);
        let publisher = (worker == 0).then(|| (scene.make_publisher(), None));
        let count = subscribers.count() + usize::from(publisher.is_some());
        Audience {
            team,
            scene,
            subscribers,
            first,
            route: None,
            publisher,
            begun: 0,
            ready: 0,
            is_ready: false,
            held: vec![Vec::new(); count],
            latest: None,
            recorder: team.recorder(),
            moved_ns: 0,
            is_first: worker == 0,
        }
    }

    /// Begins connections, some at a time; the publisher's is the last.
    fn open(&mut self, engine: &mut Engine, now_ns: u64) -> io::Result<Next> {
        let count = self.subscribers.count();
        while self.begun < count && engine.opening() < OPENING_MAX {
            let nth = self.first as usize + self.begun;
            let route = self.route_of(self.begun)?;
            engine.connect(&route, nth)?;
            self.begun += 1;
        }
        if let Some((_, client @ None)) = &mut self.publisher
            && self.ready == count
        {
            *client = Some(engine.connect(&self.scene.publisher, 0)?);
            self.moved_ns = now_ns;
        }
        let wanted = self.held.len();
        if self.ready == wanted && !self.is_ready {
            self.is_ready = true;
            self.team.ready();
        }
        if !self.is_ready && now_ns > self.moved_ns + PATIENCE.as_nanos() as u64 {
            let (ready, seconds) = (self.ready, PATIENCE.as_secs());
            return Err(io::Error::other(format!("{ready} of {wanted} clients are connected, and for {seconds} s no other was")));
        }
        Ok(Next::Until(now_ns + 1_000_000_000))
    }

    fn route_of(&mut self, index: usize) -> io::Result<Arc<Route>> {
        if let Some(route) = &self.route {
            return Ok(route.clone());
        }
        let topics = self.scene.topic_names(self.subscribers.topics_of(index));
        let route = Arc::new(self.scene.subscriber_route(&topics)?);
        if self.scene.course.topics == self.scene.course.per_subscriber {
            self.route = Some(route.clone());
        }
        Ok(route)
    }

    fn became_ready(&mut self, now_ns: u64) {
        self.ready += 1;
        self.moved_ns = now_ns;
        self.team.opened();
    }
}

impl Load for Audience<'_> {
    fn act(&mut self, engine: &mut Engine, now_ns: u64) -> io::Result<Next> {
        // All of it came in the turn that ended just now.
        if self.subscribers.settle(self.moved_ns, &mut self.recorder) && !self.is_first {
            self.team.wake(0);
        }
        let (start_ns, _, end_ns) = self.team.bounds_ns();
        if !self.is_ready || now_ns < start_ns {
            let next = self.open(engine, now_ns)?;
            self.moved_ns = if self.is_ready { now_ns } else { self.moved_ns };
            return Ok(match next {
                Next::Until(until_ns) => Next::Until(until_ns.min(start_ns)),
                Next::Over => Next::Over,
            });
        }
        let patience_ns = PATIENCE.as_nanos() as u64;
        let Some((publisher, Some(client))) = &mut self.publisher else { return Ok(Next::Until(now_ns + patience_ns)) };
        let next_ns = publisher.publish(engine, *client, start_ns, end_ns)?;
        if (now_ns >= end_ns || publisher.is_through()) && publisher.in_flight() == 0 {
            self.team.finish();
            return Ok(Next::Over);
        }
        if publisher.in_flight() == 0 {
            self.moved_ns = now_ns;
        } else if now_ns > self.moved_ns + patience_ns {
            let (left, done, seconds) = (publisher.published(), self.scene.course.done(), PATIENCE.as_secs());
            return Err(io::Error::other(format!(
                "nothing came for {seconds} s: {left} publications left and {done} reached everyone"
            )));
        }
        let end_ns = if now_ns < end_ns { end_ns } else { u64::MAX };
        Ok(Next::Until(next_ns.min(end_ns).min(now_ns + patience_ns / 4)))
    }

    fn recorder(&mut self) -> &mut Recorder {
        &mut self.recorder
    }
}

impl Handler for Audience<'_> {
    fn opened(&mut self, out: &mut Outgoing<'_>, now_ns: u64) -> io::Result<()> {
        let is_ready = if out.client < self.subscribers.count() {
            let topics = self.scene.topic_names(self.subscribers.topics_of(out.client));
            self.scene.dialect.greet(Part::Subscriber(&topics), out)
        } else {
            self.scene.dialect.greet(Part::Publisher(&self.scene.topics), out)
        };
        if is_ready {
            self.became_ready(now_ns);
        }
        Ok(())
    }

    fn message(&mut self, out: &mut Outgoing<'_>, _: MessageKind, message: &[u8], now_ns: u64) -> io::Result<()> {
        let (client, waiting_bytes) = (out.client, out.waiting_bytes());
        let mut held = std::mem::take(&mut self.held[client]);
        let scene = self.scene;
        let was_between = scene.dialect.is_between(&held);
        let (mut latest, mut parts) = (None, 0);
        let done = scene.dialect.hear(message, &mut held, out, &mut |heard| {
            parts += 1;
            match heard {
                Heard::Publication { topic, payload } if client < self.subscribers.count() => {
                    self.moved_ns = now_ns;
                    latest = Some(self.subscribers.take(client, &scene.topics, topic, payload)?);
                }
                Heard::Publication { .. } => {}
                Heard::Ready => self.became_ready(now_ns),
            }
            Ok(())
        });
        let is_nothing_else =
            parts == 1 && was_between && scene.dialect.is_between(&held) && out.waiting_bytes() == waiting_bytes;
        self.latest = latest.filter(|_| is_nothing_else);
        self.held[client] = held;
        done
    }

    fn take_known(&mut self, client: usize, is_deflating: bool, bytes: &[u8], now_ns: u64) -> usize {
        if client >= self.subscribers.count() || !self.scene.dialect.is_between(&self.held[client]) {
            return 0;
        }
        let taken = self.subscribers.take_known(client, is_deflating, bytes);
        if taken > 0 {
            self.moved_ns = now_ns;
        }
        taken
    }

    fn remember(&mut self, is_deflating: bool, write: impl FnOnce(&mut Vec<u8>)) {
        if let Some(number) = self.latest.take() {
            self.subscribers.remember(number, is_deflating, write);
        }
    }
}
