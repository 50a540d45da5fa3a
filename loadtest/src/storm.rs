//! Connects: so many a second at scheduled moments, or waves in which all clients come at once. What is measured is the handshake,
//! from the moment for which a connect was scheduled to the server's answer; and, since one core cannot connect all of a wave at its
//! moment, from the connect itself too, beside the connects a second that were offered.
//!
//! Without: messages. A connection that is open stays so until its place is needed; then it is reset, since a port that waits in
//! TIME_WAIT is of no use to the next one. Several workers share connects and clients.
//!
//! Invariant: every connect that was scheduled is counted once, as open or as failed by name.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::sync::Arc;
use std::time::Duration;

use hdrhistogram::Histogram;
use serde_json::json;
use tidegate::ws::MessageKind;

use self::waves::{Then, Wave, Waves};
use crate::engine::Engine;
use crate::figures::{Figures, Latency};
use crate::link::{Handler, Outgoing, Route};
use crate::options::{self, Options};
use crate::recorder::{Recorder, histogram};
use crate::run::{self, Load, Next, Team};

mod waves;

/// Connects between two turns. Each brings two completions, and a turn takes 64: else answers would wait until all have come.
const CONNECTS_PER_TURN: usize = 32;

/// What failed is counted by its text; further texts count together.
const NAMES_MAX: usize = 32;

/// Time-outs need to be looked at no more often.
const LOOK_NS: u64 = 50_000_000;

/// About so many has an answer.
const HANDSHAKE_BYTES: u64 = 512;

/// No storm is longer.
const WAVES_MAX: Duration = Duration::from_secs(3600);

/// What to run.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) options: Options,
    /// Most connections that are open at once; beyond them the oldest is reset for each new one
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..))]
    clients: u32,
    /// Connects a second, at scheduled moments whether earlier ones are done or not
    #[arg(long, default_value_t = 1000.0, value_parser = options::positive, conflicts_with = "waves")]
    rate: f64,
    /// All clients come at the same moment, and when each has its answer all are reset and come again: so many times
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..), conflicts_with_all = ["seconds", "warm_up"])]
    waves: Option<u32>,
    /// A handshake that takes longer has failed, in seconds
    #[arg(long, default_value_t = 10.0, value_parser = options::positive)]
    timeout: f64,
}

const EXAMPLES: &str = "\
Examples:
  2,000 connects a second for ten seconds, at most 5,000 open:
    tidegate-loadtest storm --url ws://127.0.0.1:8080/ws --rate 2000 --clients 5000 --seconds 10
  18,000 clients that lost their server come back at once, three times:
    tidegate-loadtest storm --url ws://127.0.0.1:8080/ws --clients 18000 --waves 3 \\
        --server-pid $(pidof tidegate)

Latency is that of the handshake, from the scheduled moment to the server's 101; a delivery is a handshake that was \
done. A wave's moment is one for all its clients, and a worker takes some 30 us for each connect: what the server \
itself took is nearer to from_connect_us, which counts from each connect, and offered_per_second says how fast they \
came. What was refused or failed is counted by name and is no error of the run. Without --workers there are as many as \
half the cores that this process may use.";

/// Runs the storm.
pub(crate) fn run(arguments: &Arguments) -> io::Result<Figures> {
    let options = &arguments.options;
    let cores = std::thread::available_parallelism().map_or(1, usize::from) as u64;
    let workers_min = (cores / 2).clamp(1, arguments.clients.into());
    // A reset connection's place is free some turns later; who finds none waits, which counts as latency.
    let spare = 2 * CONNECTS_PER_TURN as u64 * workers_min.max(options.workers.unwrap_or(1).into());
    let places = u64::from(arguments.clients) + spare;
    let mut plan = options.plan_with(places, HANDSHAKE_BYTES, workers_min)?;
    if plan.workers > arguments.clients as usize {
        return Err(io::Error::other(format!("--workers {} is more than --clients {}", plan.workers, arguments.clients)));
    }
    if arguments.waves.is_some() {
        (plan.warm_up, plan.measured) = (Duration::ZERO, WAVES_MAX);
    }
    let team = Team::new(&plan);
    let waves = arguments.waves.map(|count| Waves::new(count, plan.workers));
    let route = Arc::new(Route::new(options.url.clone(), options.offer())?);
    let make = |worker| Ok(Storm::new(arguments, &team, waves.as_ref(), route.clone(), worker));
    let (figures, loads) = run::run(&plan, &team, make)?;
    let figures = options.describe("storm", figures).with_parameter("clients", arguments.clients);
    let mut figures = match arguments.waves {
        Some(waves) => figures.with_parameter("waves", waves),
        None => figures.with_parameter("rate", arguments.rate),
    };
    tell(&loads, &mut figures);
    figures.extra.extend(waves.map(|waves| (String::from("waves_ms"), json!(waves.lengths_ms()))));
    Ok(figures)
}

/// Who came to one worker and how that went.
struct Storm<'t> {
    team: &'t Team,
    recorder: Recorder,
    route: Arc<Route>,
    course: Course<'t>,
    worker: usize,
    /// Its share of the clients.
    clients: usize,
    timeout_ns: u64,
    is_ready: bool,
    /// By connection.
    attempts: Vec<Attempt>,
    /// Connections that are open, oldest first.
    open: VecDeque<usize>,
    /// Connections in the order in which they began; those in front may be decided.
    begun: VecDeque<usize>,
    open_most: usize,
    done: u64,
    failures: BTreeMap<String, u64>,
    /// Connections that the server ended after they were open.
    lost: u64,
    /// From each connect to its answer.
    from_connect_ns: Histogram<u64>,
    /// Waves that this worker has begun.
    waves_begun: usize,
    /// From the moments for which connects were scheduled to the last connect of each stretch, together.
    offering_ns: u64,
}

/// When connects are scheduled.
#[derive(Clone, Copy)]
enum Course<'t> {
    /// The next one's number, over all workers, and how many a second.
    Rate { number: u64, per_second: f64 },
    /// All of them, which wave of them this worker is in, and who is still to come.
    Waves { waves: &'t Waves, own: Option<Wave>, to_come: usize },
}

#[derive(Clone, Copy)]
struct Attempt {
    scheduled_ns: u64,
    begun_ns: u64,
    is_decided: bool,
}

impl<'t> Storm<'t> {
    fn new(arguments: &Arguments, team: &'t Team, waves: Option<&'t Waves>, route: Arc<Route>, worker: usize) -> Storm<'t> {
        let rate = Course::Rate { number: worker as u64, per_second: arguments.rate };
        let end = |worker: usize| arguments.clients as usize * worker / team.workers();
        Storm {
            team,
            recorder: team.recorder(),
            route,
            course: waves.map_or(rate, |waves| Course::Waves { waves, own: None, to_come: 0 }),
            worker,
            clients: end(worker + 1) - end(worker),
            timeout_ns: (arguments.timeout * 1e9) as u64,
            is_ready: false,
            attempts: Vec::new(),
            open: VecDeque::new(),
            begun: VecDeque::new(),
            open_most: 0,
            done: 0,
            failures: BTreeMap::new(),
            lost: 0,
            from_connect_ns: histogram(),
            waves_begun: 0,
            offering_ns: 0,
        }
    }

    /// Connects whose moment has come; the next moment, or none.
    fn at_a_rate(&mut self, engine: &mut Engine, now_ns: u64, mut number: u64, per_second: f64) -> io::Result<Next> {
        let (start_ns, _, until_ns) = self.team.bounds_ns();
        let moment_ns = |number: u64| start_ns + (number as f64 / per_second * 1e9) as u64;
        for _ in 0..CONNECTS_PER_TURN {
            if moment_ns(number) > now_ns || moment_ns(number) >= until_ns || !self.makes_room(engine) {
                break;
            }
            self.connect(engine, moment_ns(number))?;
            self.offering_ns = engine.now_ns() - start_ns;
            number += self.team.workers() as u64;
        }
        self.course = Course::Rate { number, per_second };
        Ok(match moment_ns(number) {
            next_ns if next_ns < until_ns => Next::Until(next_ns),
            _ if engine.opening() == 0 => Next::Over,
            _ => Next::Until(u64::MAX),
        })
    }

    /// This worker's share of the wave that is under way, or the rest before it.
    fn in_waves(
        &mut self,
        engine: &mut Engine,
        now_ns: u64,
        waves: &'t Waves,
        own: Option<Wave>,
        mut to_come: usize,
    ) -> io::Result<Next> {
        let Some(wave) = own else { return Ok(self.await_wave(engine, now_ns, waves)) };
        for _ in 0..to_come.min(CONNECTS_PER_TURN) {
            if !self.makes_room(engine) {
                break;
            }
            self.connect(engine, wave.scheduled_ns)?;
            to_come -= 1;
            if to_come == 0 {
                self.offering_ns += engine.now_ns() - wave.scheduled_ns;
            }
        }
        self.course = Course::Waves { waves, own, to_come };
        if to_come > 0 {
            return Ok(Next::Until(now_ns));
        }
        if engine.opening() > 0 {
            return Ok(Next::Until(u64::MAX));
        }
        self.course = Course::Waves { waves, own: None, to_come: 0 };
        match waves.through(wave.scheduled_ns, now_ns) {
            Then::Wait => {}
            Then::Tell => (0..self.team.workers()).for_each(|worker| self.team.wake(worker)),
            Then::Finish => {
                self.team.finish();
                return Ok(Next::Over);
            }
        }
        Ok(Next::Until(u64::MAX))
    }

    /// Between two waves: the clients of the last one leave once all workers are through with it, and the next one has its moment.
    fn await_wave(&mut self, engine: &mut Engine, now_ns: u64, waves: &'t Waves) -> Next {
        let (start_ns, ..) = self.team.bounds_ns();
        let mut next = waves.now();
        next.scheduled_ns = next.scheduled_ns.max(start_ns);
        if next.number < self.waves_begun {
            return Next::Until(u64::MAX);
        }
        self.open.drain(..).for_each(|client| engine.close(client, true));
        if now_ns < next.scheduled_ns {
            return Next::Until(next.scheduled_ns);
        }
        self.waves_begun += 1;
        self.course = Course::Waves { waves, own: Some(next), to_come: self.clients };
        Next::Until(now_ns)
    }

    /// Whether there is a place for one more connect, for which the oldest are reset that are open beyond what is allowed: many may
    /// have become so at once, and have taken every place.
    fn makes_room(&mut self, engine: &mut Engine) -> bool {
        while engine.connected() >= self.clients
            && let Some(oldest) = self.open.pop_front()
        {
            engine.close(oldest, true);
        }
        engine.has_place()
    }

    /// One connect that was scheduled for a moment.
    fn connect(&mut self, engine: &mut Engine, scheduled_ns: u64) -> io::Result<()> {
        let begun_ns = engine.now_ns();
        // Workers take the source addresses in turn.
        let client = engine.connect(&self.route, self.attempts.len() * self.team.workers() + self.worker)?;
        self.attempts.push(Attempt { scheduled_ns, begun_ns, is_decided: false });
        self.begun.push_back(client);
        Ok(())
    }

    /// Gives up on those that waited too long.
    fn give_up(&mut self, engine: &mut Engine, now_ns: u64) {
        while let Some(client) = self.begun.front().copied() {
            let Attempt { scheduled_ns, is_decided, .. } = self.attempts[client];
            if !is_decided && scheduled_ns + self.timeout_ns > now_ns {
                break;
            }
            self.begun.pop_front();
            if !is_decided {
                engine.close(client, true);
                self.fail(client, String::from("no answer in time"));
            }
        }
    }

    fn fail(&mut self, client: usize, why: String) {
        self.attempts[client].is_decided = true;
        let is_known = self.failures.contains_key(&why) || self.failures.len() < NAMES_MAX;
        *self.failures.entry(if is_known { why } else { String::from("other") }).or_default() += 1;
    }
}

/// What all workers saw.
fn tell(loads: &[Storm<'_>], figures: &mut Figures) {
    let sum = |what: fn(&Storm<'_>) -> usize| loads.iter().map(what).sum::<usize>();
    let mut failures: BTreeMap<&str, u64> = BTreeMap::new();
    let mut from_connect_ns = histogram();
    for storm in loads {
        storm.failures.iter().for_each(|(name, count)| *failures.entry(name).or_default() += count);
        from_connect_ns.add(&storm.from_connect_ns).expect("both have the same bounds");
    }
    let names: Vec<String> = failures.iter().map(|(name, count)| format!("{count} x {name}")).collect();
    let offering_s = loads.iter().map(|storm| storm.offering_ns).max().unwrap_or(0) as f64 / 1e9;
    let connects = sum(|storm| storm.attempts.len());
    let extra = [
        ("connects", json!(connects)),
        ("offered_per_second", json!((connects as f64 / offering_s.max(1e-9)).round())),
        ("from_connect_us", json!(Latency::of(&from_connect_ns))),
        ("handshakes", json!(sum(|storm| storm.done as usize))),
        ("failed", json!(failures.values().sum::<u64>())),
        ("failures", json!(names.join("; "))),
        ("ended_by_server", json!(sum(|storm| storm.lost as usize))),
        ("open_most", json!(sum(|storm| storm.open_most))),
    ];
    figures.extra.extend(extra.into_iter().map(|(name, value)| (name.to_owned(), value)));
}

impl Load for Storm<'_> {
    fn act(&mut self, engine: &mut Engine, now_ns: u64) -> io::Result<Next> {
        if !std::mem::replace(&mut self.is_ready, true) {
            self.team.ready();
        }
        let (start_ns, ..) = self.team.bounds_ns();
        if now_ns < start_ns {
            return Ok(Next::Until(start_ns));
        }
        self.give_up(engine, now_ns);
        let next = match self.course {
            Course::Rate { number, per_second } => self.at_a_rate(engine, now_ns, number, per_second)?,
            Course::Waves { waves, own, to_come } => self.in_waves(engine, now_ns, waves, own, to_come)?,
        };
        Ok(match next {
            Next::Until(until_ns) => Next::Until(until_ns.min(now_ns + LOOK_NS)),
            Next::Over => Next::Over,
        })
    }

    fn recorder(&mut self) -> &mut Recorder {
        &mut self.recorder
    }
}

impl Handler for Storm<'_> {
    fn opened(&mut self, out: &mut Outgoing<'_>, now_ns: u64) -> io::Result<()> {
        let attempt = &mut self.attempts[out.client];
        attempt.is_decided = true;
        self.recorder.delivery(attempt.scheduled_ns, now_ns, 0);
        self.from_connect_ns.saturating_record(now_ns.saturating_sub(attempt.begun_ns));
        self.done += 1;
        self.open.push_back(out.client);
        self.open_most = self.open_most.max(self.open.len());
        Ok(())
    }

    fn message(&mut self, _: &mut Outgoing<'_>, _: MessageKind, _: &[u8], _: u64) -> io::Result<()> {
        Ok(())
    }

    fn ended(&mut self, client: usize, why: io::Error, _: u64) -> io::Result<()> {
        if self.attempts[client].is_decided {
            self.lost += 1;
            self.open.retain(|other| *other != client);
        } else {
            self.fail(client, why.to_string());
        }
        Ok(())
    }
}
