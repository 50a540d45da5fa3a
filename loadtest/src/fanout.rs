//! One publisher, many subscribers. A closed loop has a number of publications under way, and the next one leaves when one of
//! them has reached every subscriber; an open loop keeps to a rate.

use std::io;
use std::ops::Range;
use std::sync::Arc;

use tidegate::ws::MessageKind;

use crate::course::Course;
use crate::dialect::{self, Dialect, Heard};
use crate::engine::Engine;
use crate::figures::Figures;
use crate::link::{Handler, Outgoing, Route};
use crate::options::{Check, Options};
use crate::payload::{Payloads, SIZE_MIN};
use crate::publisher::{Pace, Publisher};
use crate::recorder::{Recorder, histogram};
use crate::run::{self, Load, Next, OPENING_MAX, PATIENCE, Team};
use crate::subscribers::{Subscribers, Taken};
use crate::url::Url;
use crate::{figures, ping};

/// An open loop's server may be so far behind.
const BEHIND_S_MAX: f64 = 10.0;

/// What to run.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) options: Options,
    /// Where the publisher connects; every message it sends is to reach every subscriber [default: as the dialect has it, for auto the URL with /publish for /ws]
    #[arg(long)]
    publish_url: Option<Url>,
    /// How the server is spoken to
    #[arg(long, value_enum, default_value_t = dialect::Name::Auto)]
    dialect: dialect::Name,
    /// Subscribers
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..))]
    clients: u32,
    /// Topics; they take turns
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    topics: u32,
    /// Topics that each subscriber holds
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    topics_per_subscriber: u32,
    /// Bytes of a payload
    #[arg(long, default_value_t = 128, value_parser = clap::value_parser!(u32).range(i64::from(SIZE_MIN)..=16 << 20))]
    size: u32,
    /// Publications in flight: 1 leaves a server nothing to coalesce, 16 does
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1 << 20))]
    in_flight: u32,
    /// Publications a second, on schedule, in place of a number in flight
    #[arg(long, conflicts_with = "in_flight")]
    rate: Option<f64>,
    /// Another client connects here and pings during the run, one ping at a time; the server must allow 200 a second
    #[arg(long)]
    ping_url: Option<Url>,
}

/// Connects, warms up, measures.
pub(crate) fn run(arguments: &Arguments) -> io::Result<Figures> {
    let options = &arguments.options;
    if arguments.topics_per_subscriber > arguments.topics {
        let (held, topics) = (arguments.topics_per_subscriber, arguments.topics);
        return Err(io::Error::other(format!("--topics-per-subscriber {held} is more than --topics {topics}")));
    }
    if arguments.rate.is_some_and(|rate| !(rate > 0.0 && rate <= 1e6)) {
        return Err(io::Error::other("--rate is a number of publications a second, above 0 and up to 1000000"));
    }
    let in_flight = u64::from(arguments.in_flight);
    let together = if arguments.rate.is_some() { 16 } else { in_flight };
    let plan = options.plan(u64::from(arguments.clients) + 1, together * u64::from(arguments.size + 16))?;
    let team = Team::new(&plan);
    let scene = Scene::new(arguments, plan.workers)?;
    let measure = || run::run(&plan, &team, |worker| Fanout::new(&team, &scene, worker));
    let (measured, pings) = match &arguments.ping_url {
        None => (measure()?, None),
        Some(url) => {
            let (measured, times_ns) = ping::beside(url, histogram(), measure)?;
            (measured, Some(figures::Latency::of(&times_ns)))
        }
    };
    let (figures, _) = measured;
    let publications = scene.course.done();
    let mut figures = options
        .describe("fanout", figures)
        .with_parameter("clients", arguments.clients)
        .with_parameter("topics", arguments.topics)
        .with_parameter("topics_per_subscriber", arguments.topics_per_subscriber)
        .with_parameter("size", arguments.size);
    figures = match arguments.rate {
        None => figures.with_parameter("in_flight", arguments.in_flight),
        Some(rate) => figures.with_parameter("rate", rate),
    };
    figures.dialect = arguments.dialect.text().to_owned();
    figures.extra.insert(String::from("publications"), publications.into());
    if let Some(pings) = pings {
        figures.extra.insert(String::from("ping_us"), serde_json::to_value(&pings).expect("numbers are JSON"));
    }
    Ok(figures)
}

/// What all workers go by.
struct Scene {
    course: Arc<Course>,
    payloads: Arc<Payloads>,
    dialect: Arc<dyn Dialect>,
    topics: Arc<Vec<String>>,
    url: Url,
    publisher: Arc<Route>,
    subscribers: u64,
    workers: usize,
    pace: Pace,
    options: Options,
}

impl Scene {
    fn new(arguments: &Arguments, workers: usize) -> io::Result<Scene> {
        let options = arguments.options.clone();
        let pace = arguments.rate.map_or(Pace::InFlight(arguments.in_flight.into()), Pace::Rate);
        let under_way_max = match pace {
            Pace::InFlight(most) => most as usize,
            Pace::Rate(rate) => ((rate * BEHIND_S_MAX) as usize).clamp(1 << 10, 1 << 20),
        };
        let course = Course::new(arguments.topics.into(), arguments.topics_per_subscriber.into(), under_way_max);
        let topics: Vec<String> = (0..arguments.topics).map(|topic| format!("demo.load{topic}")).collect();
        let dialect: Arc<dyn Dialect> = arguments.dialect.dialect().into();
        let publish_url = arguments.publish_url.clone().unwrap_or_else(|| dialect.publisher(&options.url, &topics));
        Ok(Scene {
            course: Arc::new(course),
            payloads: Arc::new(Payloads::new(vec![arguments.size])),
            dialect,
            topics: Arc::new(topics),
            url: options.url.clone(),
            publisher: Arc::new(Route::new(publish_url, None)?),
            subscribers: arguments.clients.into(),
            workers,
            pace,
            options,
        })
    }

    /// The subscribers of one worker.
    fn range(&self, worker: usize) -> Range<u64> {
        let end = |worker: usize| self.subscribers * worker as u64 / self.workers as u64;
        end(worker)..end(worker + 1)
    }

    fn topic_names(&self, topics: impl Iterator<Item = u64>) -> Vec<String> {
        topics.map(|topic| self.topics[topic as usize].clone()).collect()
    }

    fn make_publisher(&self) -> Publisher {
        let workers_of = |topic| (0..self.workers).filter(|worker| self.course.holders(&self.range(*worker), topic) > 0).count();
        let workers = (0..self.course.topics).map(|topic| workers_of(topic) as u32).collect();
        Publisher::new(self.course.clone(), self.payloads.clone(), self.dialect.clone(), self.topics.clone(), self.pace, workers)
    }
}

/// One worker's share.
struct Fanout<'a> {
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
    recorder: Recorder,
    /// When something came last that was waited for.
    moved_ns: u64,
    is_worker_awake: bool,
}

impl<'a> Fanout<'a> {
    fn new(team: &'a Team, scene: &'a Scene, worker: usize) -> io::Result<Fanout<'a>> {
        let range = scene.range(worker);
        let is_checking = scene.options.check == Check::All;
        let first = range.start;
        let subscribers = Subscribers::new(scene.course.clone(), scene.payloads.clone(), range, is_checking);
        let publisher = (worker == 0).then(|| (scene.make_publisher(), None));
        let count = subscribers.count() + usize::from(publisher.is_some());
        Ok(Fanout {
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
            recorder: team.recorder(),
            moved_ns: 0,
            is_worker_awake: worker == 0,
        })
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
        let url = self.scene.dialect.subscriber(&self.scene.url, &topics);
        let route = Arc::new(Route::new(url, self.scene.options.offer())?);
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

impl Load for Fanout<'_> {
    fn act(&mut self, engine: &mut Engine, now_ns: u64) -> io::Result<Next> {
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
        if now_ns >= end_ns && publisher.in_flight() == 0 {
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

impl Handler for Fanout<'_> {
    fn opened(&mut self, out: &mut Outgoing<'_>, now_ns: u64) -> io::Result<()> {
        let is_subscriber = out.client < self.subscribers.count();
        let topics = if is_subscriber { self.scene.topic_names(self.subscribers.topics_of(out.client)) } else { Vec::new() };
        if self.scene.dialect.greet(&topics, out) {
            self.became_ready(now_ns);
        }
        Ok(())
    }

    fn message(&mut self, out: &mut Outgoing<'_>, _: MessageKind, message: &[u8], now_ns: u64) -> io::Result<()> {
        let client = out.client;
        let mut held = std::mem::take(&mut self.held[client]);
        let scene = self.scene;
        let done = scene.dialect.hear(message, &mut held, &mut |heard| match heard {
            Heard::Publication { payload, .. } if client < self.subscribers.count() => {
                self.moved_ns = now_ns;
                let taken = self.subscribers.take(client, payload, now_ns, &mut self.recorder)?;
                if matches!(taken, Taken::Done) && !self.is_worker_awake {
                    self.team.wake(0);
                }
                Ok(())
            }
            Heard::Publication { .. } => Ok(()),
            Heard::Ready => {
                self.became_ready(now_ns);
                Ok(())
            }
        });
        self.held[client] = held;
        done
    }
}
