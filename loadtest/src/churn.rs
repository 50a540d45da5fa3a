//! Clients that change what they subscribe to, beside a stream of publications that is checked: replies come in order, nothing
//! comes before the reply to SUBSCRIBE or after the one to UNSUBSCRIBE, and in between nothing is missing.
//!
//! Without: other dialects than tidegate's, whose replies say from where on a subscription holds.
//!
//! Topics are named `churn.0`, `churn.1`, ... and published on in turn, so a publication's number tells its topic, and a topic's
//! next one is always as many numbers later as there are topics. After the measured time each topic is published on once more:
//! whoever holds it must get that too.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

use hdrhistogram::Histogram;
use serde_json::json;
use tidegate::ws::MessageKind;

use self::held::{Held, Reply};
use crate::arrivals::Arrivals;
use crate::engine::Engine;
use crate::figures::{Figures, Latency};
use crate::link::{Handler, Outgoing, Route};
use crate::options::{self, Options};
use crate::payload::{Payloads, SIZE_MIN};
use crate::recorder::{Recorder, histogram};
use crate::run::{self, Load, Next, PATIENCE, Team};
use crate::url::Url;

mod held;

/// Between two looks at whether all is said and done.
const LOOK_NS: u64 = 20_000_000;

/// What is due of one kind and is done before the engine has its turn.
const ACTS_PER_TURN: usize = 256;

/// What to run.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) options: Options,
    /// Where the publisher connects [default: the same server's /publish]
    #[arg(long)]
    publish_url: Option<Url>,
    /// Clients that change their subscriptions
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    clients: u32,
    /// Topics that there are
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(2..))]
    topics: u32,
    /// Topics that each client holds at a time
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    topics_per_subscriber: u32,
    /// Changes a second over all clients, scheduled: one topic is left and another subscribed to, which is two requests
    #[arg(long, default_value_t = 500.0, value_parser = options::positive)]
    rate: f64,
    /// Publications a second over all topics, scheduled
    #[arg(long, default_value_t = 1000.0, value_parser = options::positive)]
    publish_rate: f64,
    /// Bytes of a payload
    #[arg(long, default_value_t = 128, value_parser = clap::value_parser!(u32).range(i64::from(SIZE_MIN)..))]
    size: u32,
}

const EXAMPLES: &str = "\
Examples:
  A thousand clients that change one of their ten topics two thousand times a second together:
    tidegate-loadtest churn --url ws://127.0.0.1:8080/stream --clients 1000 \\
        --topics-per-subscriber 10 --rate 2000

A delivery is a reply, and latency is that of replies, from the moment for which the change was scheduled. \
Publications and their latency stand beside them. The gateway bounds requests by client (requests_per_second, 20 as it \
comes); a refused request ends the run, as does a publication too many, too few or out of order.";

/// Runs it.
pub(crate) fn run(arguments: &Arguments) -> io::Result<Figures> {
    let options = &arguments.options;
    if arguments.topics <= arguments.topics_per_subscriber {
        let Arguments { topics, topics_per_subscriber: held, .. } = arguments;
        return Err(io::Error::other(format!("--topics-per-subscriber {held} of --topics {topics} leaves nothing to change to")));
    }
    options.must_check()?;
    let plan = options.plan_alone(u64::from(arguments.clients) + 1, u64::from(arguments.size) + 128)?;
    let team = Team::new(&plan);
    let publish_url = arguments.publish_url.clone().unwrap_or_else(|| options.url.with_target("/publish"));
    let routes = [options.url.clone(), publish_url].map(|url| Route::new(url, options.offer()).map(Arc::new));
    let [subscribing, publishing] = routes;
    let (subscribing, publishing) = (subscribing?, publishing?);
    let arrivals = || Arrivals::new(subscribing.clone(), 0, arguments.clients as usize).with_publisher(publishing.clone());
    let make = |_| Ok(Churn::new(arguments, &team, arrivals()));
    let (figures, loads) = run::run(&plan, &team, make)?;
    let figures = options
        .describe("churn", figures)
        .with_parameter("clients", arguments.clients)
        .with_parameter("topics", arguments.topics)
        .with_parameter("topics_per_subscriber", arguments.topics_per_subscriber)
        .with_parameter("rate", arguments.rate)
        .with_parameter("publish_rate", arguments.publish_rate)
        .with_parameter("size", arguments.size);
    Ok(loads.iter().fold(figures, |figures, churn| churn.told_in(figures)))
}

/// All clients and the publisher.
struct Churn<'t> {
    arguments: &'t Arguments,
    team: &'t Team,
    recorder: Recorder,
    arrivals: Arrivals,
    payloads: Payloads,
    clients: Vec<Client>,
    is_ready: bool,
    /// Changes and publications so far.
    changes: u64,
    published: u64,
    /// The first number of the round after which nothing is changed or published.
    last_round: Option<u64>,
    delivered: u64,
    delivered_ns: Histogram<u64>,
    heard_ns: u64,
    payload: Vec<u8>,
}

struct Client {
    held: Held,
    /// When each request that is not answered was scheduled, the first of them none.
    asked_ns: VecDeque<Option<u64>>,
}

impl<'t> Churn<'t> {
    fn new(arguments: &'t Arguments, team: &'t Team, arrivals: Arrivals) -> Churn<'t> {
        let client = || Client { held: Held::new(arguments.topics), asked_ns: VecDeque::new() };
        Churn {
            arguments,
            team,
            recorder: team.recorder(),
            arrivals,
            payloads: Payloads::new(vec![arguments.size]),
            clients: (0..arguments.clients).map(|_| client()).collect(),
            is_ready: false,
            changes: 0,
            published: 0,
            last_round: None,
            delivered: 0,
            delivered_ns: histogram(),
            heard_ns: 0,
            payload: Vec::new(),
        }
    }

    fn connect(&mut self, engine: &mut Engine, now_ns: u64) -> io::Result<Next> {
        if self.arrivals.begin(engine, now_ns)? {
            self.is_ready = true;
            self.team.ready();
        }
        Ok(Next::Until(now_ns + LOOK_NS))
    }

    fn check_patience(&self, now_ns: u64, of: &str) -> io::Result<()> {
        if now_ns > self.heard_ns + PATIENCE.as_nanos() as u64 {
            return Err(io::Error::other(format!("nothing came for {} s of {of}", PATIENCE.as_secs())));
        }
        Ok(())
    }

    /// One client leaves a topic and takes another.
    fn change(&mut self, engine: &mut Engine, scheduled_ns: u64) {
        let index = (self.changes % self.clients.len() as u64) as usize;
        let client = &mut self.clients[index];
        let (left, taken) = client.held.change();
        client.asked_ns.extend([Some(scheduled_ns); 2]);
        engine.say(index, |out| {
            for (method, topic) in [("UNSUBSCRIBE", left), ("SUBSCRIBE", taken)] {
                let request = format!("{{\"method\":\"{method}\",\"params\":[\"churn.{topic}\"],\"id\":{topic}}}");
                out.text(request.as_bytes());
            }
        });
        self.changes += 1;
    }

    fn publish(&mut self, engine: &mut Engine) {
        let (number, topics) = (self.published, u64::from(self.arguments.topics));
        self.payloads.write(number, &mut self.payload);
        let mut message = format!("{{\"stream\":\"churn.{}\",\"data\":", number % topics).into_bytes();
        message.extend_from_slice(&self.payload);
        message.push(b'}');
        engine.say(self.arrivals.publisher(), |out| out.text(&message));
        self.published += 1;
    }

    /// What is due within the window; when the next is.
    fn act_inside(&mut self, engine: &mut Engine, now_ns: u64, start_ns: u64, until_ns: u64) -> Next {
        let moment_ns = |number: u64, rate: f64| start_ns + (number as f64 / rate * 1e9) as u64;
        let Arguments { rate, publish_rate, .. } = *self.arguments;
        for _ in 0..ACTS_PER_TURN {
            let due_ns = moment_ns(self.changes, rate);
            if due_ns > now_ns {
                break;
            }
            self.change(engine, due_ns);
        }
        for _ in 0..ACTS_PER_TURN {
            if moment_ns(self.published, publish_rate) > now_ns {
                break;
            }
            self.publish(engine);
        }
        Next::Until(moment_ns(self.changes, rate).min(moment_ns(self.published, publish_rate)).min(until_ns))
    }

    /// Changes have ended: one more round of publications behind the last replies, and everyone must have it.
    fn act_after(&mut self, engine: &mut Engine, now_ns: u64) -> io::Result<Next> {
        if self.clients.iter().all(|client| client.asked_ns.is_empty()) {
            match self.last_round {
                None => {
                    self.last_round = Some(self.published);
                    (0..self.arguments.topics).for_each(|_| self.publish(engine));
                }
                Some(first) if self.clients.iter().all(|client| client.held.all_have(first)) => return Ok(Next::Over),
                Some(_) => {}
            }
        }
        self.check_patience(now_ns, "what is still due after the changes: replies, or the last publications")?;
        Ok(Next::Until(now_ns + LOOK_NS))
    }

    /// For when a publication was scheduled; none for those of the warm-up and of the last round.
    fn scheduled_ns(&self, number: u64) -> Option<u64> {
        let (start_ns, from_ns, until_ns) = self.team.bounds_ns();
        let scheduled_ns = start_ns.saturating_add((number as f64 / self.arguments.publish_rate * 1e9) as u64);
        ((from_ns..until_ns).contains(&scheduled_ns) && self.last_round.is_none_or(|first| number < first))
            .then_some(scheduled_ns)
    }

    fn told_in(&self, mut figures: Figures) -> Figures {
        let latency = Latency::of(&self.delivered_ns);
        let extra = [
            ("changes", json!(self.changes)),
            ("publications", json!(self.published)),
            ("publications_delivered", json!(self.delivered)),
            ("publication_p50_us", json!(latency.p50)),
            ("publication_p99_us", json!(latency.p99)),
            ("publication_max_us", json!(latency.max)),
        ];
        figures.extra.extend(extra.into_iter().map(|(name, value)| (name.to_owned(), value)));
        figures
    }
}

impl Load for Churn<'_> {
    fn act(&mut self, engine: &mut Engine, now_ns: u64) -> io::Result<Next> {
        let (start_ns, _, until_ns) = self.team.bounds_ns();
        if !self.is_ready {
            return self.connect(engine, now_ns);
        }
        if now_ns < start_ns {
            return Ok(Next::Until(start_ns));
        }
        if now_ns < until_ns {
            return Ok(self.act_inside(engine, now_ns, start_ns, until_ns));
        }
        self.act_after(engine, now_ns)
    }

    fn recorder(&mut self) -> &mut Recorder {
        &mut self.recorder
    }
}

impl Handler for Churn<'_> {
    fn opened(&mut self, out: &mut Outgoing<'_>, now_ns: u64) -> io::Result<()> {
        self.heard_ns = now_ns;
        let Some(client) = self.clients.get_mut(out.client) else {
            self.arrivals.settle(out.client, now_ns);
            return Ok(());
        };
        self.team.opened();
        let first = out.client as u32 * self.arguments.topics_per_subscriber;
        for number in first..first + self.arguments.topics_per_subscriber {
            let topic = client.held.take(number % self.arguments.topics);
            client.asked_ns.push_back(None);
            out.text(format!("{{\"method\":\"SUBSCRIBE\",\"params\":[\"churn.{topic}\"],\"id\":{topic}}}").as_bytes());
        }
        Ok(())
    }

    fn message(&mut self, out: &mut Outgoing<'_>, _: MessageKind, message: &[u8], now_ns: u64) -> io::Result<()> {
        self.heard_ns = now_ns;
        let Some(client) = self.clients.get_mut(out.client) else { return Ok(()) };
        let wrong = |what: String| io::Error::other(format!("client {}: {what}", out.client));
        match client.held.take_in(message, &self.payloads).map_err(wrong)? {
            Reply::Publication(number) => {
                self.delivered += 1;
                if let Some(scheduled_ns) = self.scheduled_ns(number) {
                    self.delivered_ns.saturating_record(now_ns.saturating_sub(scheduled_ns));
                }
            }
            Reply::Done => {
                let asked_ns = client.asked_ns.pop_front().expect("replies are checked against what was asked");
                match asked_ns {
                    Some(scheduled_ns) => self.recorder.delivery(scheduled_ns, now_ns, 0),
                    None if client.asked_ns.is_empty() => self.arrivals.settle(out.client, now_ns),
                    None => {}
                }
            }
        }
        Ok(())
    }
}
