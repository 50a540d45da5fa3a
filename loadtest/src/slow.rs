//! A share of the readers stalls, beside others that do not: the fast ones must have everything in order, and what becomes of the
//! slow ones is counted.
//!
//! Without: topics. Everyone hears the one publisher, at a fixed rate, so any server that fans out can be measured.
//!
//! A slow reader reads nothing for a stretch and then reads for another, over and over; once the measured time is over all read on,
//! to their end: caught up, or closed.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::sync::Arc;

use serde_json::json;
use tidegate::ws::MessageKind;

use crate::engine::Engine;
use crate::figures::Figures;
use crate::link::{Handler, Outgoing, Route, close_code};
use crate::options::{self, Options};
use crate::payload::{Payloads, SIZE_MIN, digits, number_of};
use crate::recorder::Recorder;
use crate::run::{self, Load, Next, OPENING_MAX, PATIENCE, Team};
use crate::url::Url;

/// Between two looks at whether all have come or all is over.
const LOOK_NS: u64 = 20_000_000;

/// Publications that are due and leave before the engine has its turn.
const PUBLICATIONS_PER_TURN: usize = 64;

/// What to run.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) options: Options,
    /// Where the publisher connects; every message it sends is to reach every subscriber [default: the URL with /publish for /ws]
    #[arg(long)]
    publish_url: Option<Url>,
    /// Subscribers, the slow ones among them
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..))]
    clients: u32,
    /// How many in a hundred are slow
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(0..=100))]
    slow_percent: u32,
    /// How long a slow one reads nothing, in seconds
    #[arg(long, default_value_t = 2.0, value_parser = options::positive)]
    stall: f64,
    /// How long it then reads, in seconds; 0: not before the end
    #[arg(long, default_value_t = 0.2)]
    read: f64,
    /// Publications a second, scheduled
    #[arg(long, default_value_t = 100.0, value_parser = options::positive)]
    rate: f64,
    /// Bytes of a payload
    #[arg(long, default_value_t = 1024, value_parser = clap::value_parser!(u32).range(i64::from(SIZE_MIN)..))]
    size: u32,
}

const EXAMPLES: &str = "\
Examples:
  A tenth of a thousand readers stalls two seconds at a time:
    tidegate-loadtest slow --url ws://127.0.0.1:8080/ws/demo.load --rate 500 --seconds 20 --server-pid $(pidof tidegate)
  Half of them never read again, and the server's memory is looked at:
    tidegate-loadtest slow --url ws://127.0.0.1:8080/ws/demo.load --slow-percent 50 --read 0 --rate 1000 --size 4096

Deliveries and latency are those of the fast ones, from the moment for which a publication was scheduled. A fast one that is
closed, or lacks anything, ends the run. Slow ones are counted by what became of them: closed with 1013 (too slow), reset, closed
otherwise, or whole.";

/// Runs it.
pub(crate) fn run(arguments: &Arguments) -> io::Result<Figures> {
    let options = &arguments.options;
    options.must_check()?;
    let plan = options.plan_alone(u64::from(arguments.clients) + 1, 16 * u64::from(arguments.size))?;
    let team = Team::new(&plan);
    let publish_url = arguments.publish_url.clone();
    let publish_url = publish_url.unwrap_or_else(|| options.url.with_target(options.url.target.replacen("/ws", "/publish", 1)));
    let subscribing = Arc::new(Route::new(options.url.clone(), options.offer())?);
    let publishing = Arc::new(Route::new(publish_url, options.offer())?);
    let (figures, loads) = run::run(&plan, &team, |_| Ok(Slow::new(arguments, &team, subscribing.clone(), publishing.clone())))?;
    let figures = options
        .describe("slow", figures)
        .with_parameter("clients", arguments.clients)
        .with_parameter("slow_percent", arguments.slow_percent)
        .with_parameter("stall_s", arguments.stall)
        .with_parameter("read_s", arguments.read)
        .with_parameter("rate", arguments.rate)
        .with_parameter("size", arguments.size);
    Ok(loads.iter().fold(figures, |figures, slow| slow.told_in(figures)))
}

/// All readers and the publisher.
struct Slow<'t> {
    arguments: &'t Arguments,
    team: &'t Team,
    recorder: Recorder,
    subscribing: Arc<Route>,
    publishing: Arc<Route>,
    payloads: Payloads,
    /// By connection; the first ones are slow.
    readers: Vec<Reader>,
    slow: usize,
    /// Slow readers by the moment at which they turn to the other stretch.
    turns: VecDeque<(u64, usize)>,
    publisher: Option<usize>,
    begun: usize,
    opened: usize,
    is_ready: bool,
    published: u64,
    is_draining: bool,
    heard_ns: u64,
    slow_deliveries: u64,
    ends: BTreeMap<&'static str, u64>,
    payload: Vec<u8>,
}

#[derive(Clone, Copy, Default)]
struct Reader {
    /// The number that must come next.
    expected: u64,
    is_stalled: bool,
    is_over: bool,
}

impl<'t> Slow<'t> {
    fn new(arguments: &'t Arguments, team: &'t Team, subscribing: Arc<Route>, publishing: Arc<Route>) -> Slow<'t> {
        let clients = arguments.clients as usize;
        Slow {
            arguments,
            team,
            recorder: team.recorder(),
            subscribing,
            publishing,
            payloads: Payloads::new(vec![arguments.size]),
            readers: vec![Reader::default(); clients],
            slow: clients * arguments.slow_percent as usize / 100,
            turns: VecDeque::new(),
            publisher: None,
            begun: 0,
            opened: 0,
            is_ready: false,
            published: 0,
            is_draining: false,
            heard_ns: 0,
            slow_deliveries: 0,
            ends: BTreeMap::new(),
            payload: Vec::new(),
        }
    }

    fn connect(&mut self, engine: &mut Engine, now_ns: u64) -> io::Result<Next> {
        while self.begun < self.readers.len() && engine.opening() < OPENING_MAX {
            engine.connect(&self.subscribing, self.begun)?;
            self.begun += 1;
        }
        if self.opened == self.readers.len() && self.begun == self.readers.len() {
            engine.connect(&self.publishing, self.begun)?;
            self.begun += 1;
        }
        if self.publisher.is_some() {
            self.is_ready = true;
            self.team.ready();
        }
        self.check_patience(now_ns, "clients that connect")?;
        Ok(Next::Until(now_ns + LOOK_NS))
    }

    fn check_patience(&self, now_ns: u64, of: &str) -> io::Result<()> {
        if now_ns > self.heard_ns + PATIENCE.as_nanos() as u64 {
            return Err(io::Error::other(format!("nothing came for {} s of {of}", PATIENCE.as_secs())));
        }
        Ok(())
    }

    /// Stalls and resumes whose moment has come; the next one.
    fn turn_readers(&mut self, engine: &mut Engine, now_ns: u64) -> u64 {
        let stretch_ns = |seconds: f64| (seconds * 1e9) as u64;
        while let Some((_, reader)) = self.turns.pop_front_if(|(turns_ns, _)| *turns_ns <= now_ns) {
            let Reader { is_stalled, is_over, .. } = &mut self.readers[reader];
            if *is_over {
                continue;
            }
            let lasts_ns = if *is_stalled {
                engine.resume(reader);
                stretch_ns(self.arguments.read)
            } else {
                engine.stall(reader);
                if self.arguments.read > 0.0 { stretch_ns(self.arguments.stall) } else { u64::MAX / 2 }
            };
            *is_stalled = !*is_stalled;
            let turns_ns = now_ns + lasts_ns;
            let place = self.turns.partition_point(|(other_ns, _)| *other_ns <= turns_ns);
            self.turns.insert(place, (turns_ns, reader));
        }
        self.turns.front().map_or(u64::MAX, |(turns_ns, _)| *turns_ns)
    }

    /// The publications that are due; when the next is.
    fn publish(&mut self, engine: &mut Engine, now_ns: u64) -> u64 {
        for _ in 0..PUBLICATIONS_PER_TURN {
            let due_ns = self.moment_ns(self.published);
            if due_ns > now_ns {
                return due_ns;
            }
            self.payloads.write(self.published, &mut self.payload);
            let payload = &self.payload;
            engine.say(self.publisher.expect("it is open before anything is measured"), |out| out.text(payload));
            self.published += 1;
        }
        now_ns
    }

    /// Nothing more is published, and all read: everyone is to come to an end, whole or closed.
    fn drain(&mut self, engine: &mut Engine, now_ns: u64) -> io::Result<Next> {
        if !self.is_draining {
            self.is_draining = true;
            self.heard_ns = now_ns;
            for (client, reader) in self.readers.iter_mut().enumerate().filter(|(_, reader)| reader.is_stalled && !reader.is_over)
            {
                reader.is_stalled = false;
                engine.resume(client);
            }
        }
        let lacks = |reader: &Reader| !reader.is_over && reader.expected < self.published;
        if !self.readers.iter().any(lacks) {
            return Ok(Next::Over);
        }
        if now_ns > self.heard_ns + PATIENCE.as_nanos() as u64 {
            let fast = self.readers[self.slow..].iter().filter(|reader| lacks(reader)).count();
            if fast > 0 {
                return Err(io::Error::other(format!("{fast} fast readers lack publications, and nothing more comes")));
            }
            return Ok(Next::Over);
        }
        Ok(Next::Until(now_ns + LOOK_NS))
    }

    /// For when a publication is scheduled.
    fn moment_ns(&self, number: u64) -> u64 {
        let (start_ns, ..) = self.team.bounds_ns();
        start_ns.saturating_add((number as f64 / self.arguments.rate * 1e9) as u64)
    }

    fn told_in(&self, mut figures: Figures) -> Figures {
        let slow = &self.readers[..self.slow];
        let whole = slow.iter().filter(|reader| !reader.is_over && reader.expected == self.published).count();
        let behind = slow.iter().filter(|reader| !reader.is_over && reader.expected < self.published).count();
        let ended = |how: &str| json!(self.ends.get(how).copied().unwrap_or(0));
        let extra = [
            ("publications", json!(self.published)),
            ("slow_readers", json!(self.slow)),
            ("slow_whole", json!(whole)),
            ("slow_behind_at_end", json!(behind)),
            ("slow_closed_1013", ended(TOO_SLOW)),
            ("slow_reset", ended(RESET)),
            ("slow_closed_otherwise", ended(OTHERWISE)),
            ("slow_deliveries", json!(self.slow_deliveries)),
        ];
        figures.extra.extend(extra.into_iter().map(|(name, value)| (name.to_owned(), value)));
        figures
    }
}

const TOO_SLOW: &str = "closed with 1013";
const RESET: &str = "reset";
const OTHERWISE: &str = "otherwise";

impl Load for Slow<'_> {
    fn act(&mut self, engine: &mut Engine, now_ns: u64) -> io::Result<Next> {
        if !self.is_ready {
            return self.connect(engine, now_ns);
        }
        let (start_ns, _, until_ns) = self.team.bounds_ns();
        if now_ns < start_ns {
            return Ok(Next::Until(start_ns));
        }
        if now_ns >= until_ns {
            return self.drain(engine, now_ns);
        }
        if self.turns.is_empty() && self.published == 0 {
            // They do not all stall at the same moment.
            let cycle_ns = (self.arguments.stall + self.arguments.read) * 1e9;
            let slow = self.slow;
            self.turns = (0..slow).map(|reader| (start_ns + (cycle_ns * reader as f64 / slow as f64) as u64, reader)).collect();
        }
        let turns_ns = self.turn_readers(engine, now_ns);
        let publishes_ns = self.publish(engine, now_ns);
        Ok(Next::Until(turns_ns.min(publishes_ns).min(until_ns)))
    }

    fn recorder(&mut self) -> &mut Recorder {
        &mut self.recorder
    }
}

impl Handler for Slow<'_> {
    fn opened(&mut self, out: &mut Outgoing<'_>, now_ns: u64) -> io::Result<()> {
        self.heard_ns = now_ns;
        if out.client == self.readers.len() {
            self.publisher = Some(out.client);
        } else {
            self.team.opened();
            self.opened += 1;
        }
        Ok(())
    }

    fn message(&mut self, out: &mut Outgoing<'_>, _: MessageKind, message: &[u8], now_ns: u64) -> io::Result<()> {
        self.heard_ns = now_ns;
        let scheduled_ns = self.readers.get(out.client).map_or(0, |reader| self.moment_ns(reader.expected));
        let Some(reader) = self.readers.get_mut(out.client) else { return Ok(()) };
        let expected = reader.expected;
        if !self.payloads.is(&digits(expected), self.payloads.size(expected), message) {
            let came = number_of(message).map_or(String::from("something else"), |number| format!("number {number}"));
            let which = if out.client < self.slow { "slow" } else { "fast" };
            let message = message[..message.len().min(200)].escape_ascii();
            return Err(io::Error::other(format!(
                "{which} reader {} was to get number {expected} whole, and got {came}: {message}",
                out.client
            )));
        }
        reader.expected += 1;
        if out.client < self.slow {
            self.slow_deliveries += 1;
        } else {
            self.recorder.delivery(scheduled_ns, now_ns, message.len());
        }
        Ok(())
    }

    fn ended(&mut self, client: usize, why: io::Error, now_ns: u64) -> io::Result<()> {
        self.heard_ns = now_ns;
        if !self.is_ready || client >= self.slow {
            let who = match client {
                _ if client == self.readers.len() => String::from("the publisher"),
                _ if client < self.slow => format!("reader {client}, a slow one"),
                _ => format!("reader {client}, a fast one"),
            };
            return Err(io::Error::new(why.kind(), format!("{who}: {why}")));
        }
        self.readers[client].is_over = true;
        let how = match close_code(&why) {
            Some(1013) => TOO_SLOW,
            None if why.kind() == io::ErrorKind::ConnectionReset => RESET,
            _ => OTHERWISE,
        };
        *self.ends.entry(how).or_default() += 1;
        Ok(())
    }
}
