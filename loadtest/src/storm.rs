//! Connects: so many a second at scheduled moments, or waves in which all clients come at once. What is measured is the handshake,
//! from the moment for which a connect was scheduled to the server's answer.
//!
//! Without: messages. A connection that is open stays so until its place is needed; then it is reset, since a port that waits in
//! TIME_WAIT is of no use to the next one.
//!
//! Invariant: every connect that was scheduled is counted once, as open or as failed by name.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tidegate::ws::MessageKind;

use crate::engine::Engine;
use crate::figures::Figures;
use crate::link::{Handler, Outgoing, Route};
use crate::options::{self, Options};
use crate::recorder::Recorder;
use crate::run::{self, Load, Next, Team};

/// Connects between two turns: answers must be looked at in between.
const CONNECTS_PER_TURN: usize = 64;

/// What failed is counted by its text; further texts count together.
const NAMES_MAX: usize = 32;

/// Time-outs need to be looked at no more often.
const LOOK_NS: u64 = 50_000_000;

/// About so many has an answer.
const HANDSHAKE_BYTES: u64 = 512;

/// No storm is longer.
const WAVES_MAX: Duration = Duration::from_secs(3600);

/// Between two waves, for the server to notice that the last one left.
const PAUSE_NS: u64 = 200_000_000;

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
done. What was refused or failed is counted by name and is no error of the run.";

/// Runs the storm.
pub(crate) fn run(arguments: &Arguments) -> io::Result<Figures> {
    let options = &arguments.options;
    // A reset connection's place is free some turns later; who finds none waits, which counts as latency.
    let places = u64::from(arguments.clients) + 2 * CONNECTS_PER_TURN as u64;
    let mut plan = options.plan_alone(places, HANDSHAKE_BYTES)?;
    if arguments.waves.is_some() {
        (plan.warm_up, plan.measured) = (Duration::ZERO, WAVES_MAX);
    }
    let team = Team::new(&plan);
    let route = Arc::new(Route::new(options.url.clone(), options.offer())?);
    let (figures, loads) = run::run(&plan, &team, |_| Ok(Storm::new(arguments, &team, route.clone())))?;
    let figures = options.describe("storm", figures).with_parameter("clients", arguments.clients);
    let figures = match arguments.waves {
        Some(waves) => figures.with_parameter("waves", waves),
        None => figures.with_parameter("rate", arguments.rate),
    };
    Ok(loads.into_iter().fold(figures, |figures, storm| storm.told_in(figures)))
}

/// Who came and how that went.
struct Storm<'t> {
    team: &'t Team,
    recorder: Recorder,
    route: Arc<Route>,
    course: Course,
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
}

/// When connects are scheduled.
enum Course {
    /// The next one's number, and how many a second.
    Rate {
        number: u64,
        per_second: f64,
    },
    Waves(Waves),
}

struct Waves {
    left: u32,
    scheduled_ns: u64,
    to_come: usize,
    /// The next wave's moment, between two.
    rests_until_ns: Option<u64>,
    /// How long each took.
    lengths_ms: Vec<f64>,
}

#[derive(Clone, Copy)]
struct Attempt {
    scheduled_ns: u64,
    is_decided: bool,
}

impl<'t> Storm<'t> {
    fn new(arguments: &Arguments, team: &'t Team, route: Arc<Route>) -> Storm<'t> {
        let waves =
            |count: u32| Waves { left: count, scheduled_ns: 0, to_come: 0, rests_until_ns: Some(0), lengths_ms: Vec::new() };
        let rate = Course::Rate { number: 0, per_second: arguments.rate };
        Storm {
            team,
            recorder: team.recorder(),
            route,
            course: arguments.waves.map_or(rate, |count| Course::Waves(waves(count))),
            clients: arguments.clients as usize,
            timeout_ns: (arguments.timeout * 1e9) as u64,
            is_ready: false,
            attempts: Vec::new(),
            open: VecDeque::new(),
            begun: VecDeque::new(),
            open_most: 0,
            done: 0,
            failures: BTreeMap::new(),
            lost: 0,
        }
    }

    /// Connects whose moment has come; the next moment, or none.
    fn at_a_rate(&mut self, engine: &mut Engine, now_ns: u64, mut number: u64, per_second: f64) -> io::Result<Next> {
        let (start_ns, _, until_ns) = self.team.bounds_ns();
        let moment_ns = |number: u64| start_ns + (number as f64 / per_second * 1e9) as u64;
        for _ in 0..CONNECTS_PER_TURN {
            if moment_ns(number) > now_ns || moment_ns(number) >= until_ns || !engine.has_place() {
                break;
            }
            self.connect(engine, moment_ns(number))?;
            number += 1;
        }
        self.course = Course::Rate { number, per_second };
        Ok(match moment_ns(number) {
            next_ns if next_ns < until_ns => Next::Until(next_ns),
            _ if engine.opening() == 0 => Next::Over,
            _ => Next::Until(u64::MAX),
        })
    }

    /// The wave that is under way, or the rest after it.
    fn in_waves(&mut self, engine: &mut Engine, now_ns: u64, waves: &mut Waves) -> io::Result<Next> {
        if let Some(rested_ns) = waves.rests_until_ns {
            if now_ns < rested_ns {
                return Ok(Next::Until(rested_ns));
            }
            waves.rests_until_ns = None;
            waves.scheduled_ns = now_ns;
            waves.to_come = self.clients;
        }
        for _ in 0..waves.to_come.min(CONNECTS_PER_TURN) {
            if !engine.has_place() {
                break;
            }
            self.connect(engine, waves.scheduled_ns)?;
            waves.to_come -= 1;
        }
        if waves.to_come > 0 {
            return Ok(Next::Until(now_ns));
        }
        if engine.opening() > 0 {
            return Ok(Next::Until(u64::MAX));
        }
        waves.lengths_ms.push((now_ns - waves.scheduled_ns) as f64 / 1e6);
        waves.left -= 1;
        if waves.left == 0 {
            self.team.finish();
            return Ok(Next::Over);
        }
        self.open.drain(..).for_each(|client| engine.close(client, true));
        waves.rests_until_ns = Some(now_ns + PAUSE_NS);
        Ok(Next::Until(now_ns))
    }

    /// One connect that was scheduled for a moment.
    fn connect(&mut self, engine: &mut Engine, scheduled_ns: u64) -> io::Result<()> {
        if engine.connected() >= self.clients
            && let Some(oldest) = self.open.pop_front()
        {
            engine.close(oldest, true);
        }
        let client = engine.connect(&self.route, self.attempts.len())?;
        self.attempts.push(Attempt { scheduled_ns, is_decided: false });
        self.begun.push_back(client);
        Ok(())
    }

    /// Gives up on those that waited too long.
    fn give_up(&mut self, engine: &mut Engine, now_ns: u64) {
        while let Some(client) = self.begun.front().copied() {
            let Attempt { scheduled_ns, is_decided } = self.attempts[client];
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

    fn told_in(self, mut figures: Figures) -> Figures {
        let names: Vec<String> = self.failures.iter().map(|(name, count)| format!("{count} x {name}")).collect();
        let extra = [
            ("connects", json!(self.attempts.len())),
            ("handshakes", json!(self.done)),
            ("failed", json!(self.failures.values().sum::<u64>())),
            ("failures", json!(names.join("; "))),
            ("ended_by_server", json!(self.lost)),
            ("open_most", json!(self.open_most)),
        ];
        figures.extra.extend(extra.into_iter().map(|(name, value)| (name.to_owned(), value)));
        if let Course::Waves(waves) = &self.course {
            figures.extra.insert(String::from("waves_ms"), json!(waves.lengths_ms));
        }
        figures
    }
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
        let next = match std::mem::replace(&mut self.course, Course::Rate { number: 0, per_second: 0.0 }) {
            Course::Rate { number, per_second } => self.at_a_rate(engine, now_ns, number, per_second)?,
            Course::Waves(mut waves) => {
                let next = self.in_waves(engine, now_ns, &mut waves);
                self.course = Course::Waves(waves);
                next?
            }
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
