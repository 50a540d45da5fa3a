//! A share of the readers stalls, beside others that do not: the fast ones must have everything in order, and what becomes of the
//! slow ones is counted.
//!
//! Without: topics. Everyone hears the one publisher, at a fixed rate, so any server that fans out can be measured.
//!
//! A slow reader reads nothing for a stretch and then reads for another, over and over, or it reads so many bytes a second; once the
//! measured time is over all read on, to their end: caught up, or closed.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::sync::Arc;

use serde_json::json;
use tidegate::ws::MessageKind;

use self::reading::Reading;
use crate::arrivals::Arrivals;
use crate::engine::Engine;
use crate::figures::Figures;
use crate::link::{Handler, Outgoing, Route, close_code};
use crate::options::{self, Options};
use crate::payload::{Payloads, SIZE_MIN, digits, number_of};
use crate::recorder::Recorder;
use crate::run::{self, Load, Next, PATIENCE, Team};
use crate::url::Url;

mod reading;

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
    /// In place of stretches: how many bytes of payload a slow one reads a second
    #[arg(long, value_name = "BYTES_PER_S", value_parser = options::positive, conflicts_with_all = ["stall", "read"])]
    pace: Option<f64>,
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
    tidegate-loadtest slow --url ws://127.0.0.1:8080/ws/demo.load --rate 500 --seconds 20 \\
        --server-pid $(pidof tidegate)
  Half of them never read again, and the server's memory is looked at:
    tidegate-loadtest slow --url ws://127.0.0.1:8080/ws/demo.load --slow-percent 50 --read 0 \\
        --rate 1000 --size 4096
  A tenth reads 50 kB of 100 kB a second, without a pause:
    tidegate-loadtest slow --url ws://127.0.0.1:8080/ws/demo.load --pace 50000 --rate 100 \\
        --size 1000 --seconds 30

With --pace a slow reader has a small receive buffer (a fifth of a second of its pace), so that it reads a little at a \
time and the server sees that it is slow; slow_bytes_per_second says what one of them read on average. \
Deliveries and latency are those of the fast ones, from the moment for which a publication was scheduled. A fast one \
that is closed, or lacks anything, ends the run. Slow ones are counted by what became of them: closed with 1013 (too \
slow), reset, closed otherwise, or whole.";

/// Runs it.
pub(crate) fn run(arguments: &Arguments) -> io::Result<Figures> {
    let options = &arguments.options;
    options.must_check()?;
    let plan = options.plan_alone(u64::from(arguments.clients) + 1, 16 * u64::from(arguments.size))?;
    let team = Team::new(&plan);
    let publish_url = arguments.publish_url.clone();
    let publish_url = publish_url.unwrap_or_else(|| options.url.with_target(options.url.target.replacen("/ws", "/publish", 1)));
    let subscribing = Route::new(options.url.clone(), options.offer())?;
    let slow = (u64::from(arguments.clients) * u64::from(arguments.slow_percent) / 100) as usize;
    let receive_buffer_bytes = Reading::of(arguments).receive_buffer_bytes();
    let slowly = Arc::new(Route { receive_buffer_bytes, ..subscribing.clone() });
    let subscribing = Arc::new(subscribing);
    let publishing = Arc::new(Route::new(publish_url, options.offer())?);
    let arrivals = || {
        let all = Arrivals::new(subscribing.clone(), 0, arguments.clients as usize);
        all.with_first(slow, slowly.clone()).with_publisher(publishing.clone())
    };
    let (figures, loads) = run::run(&plan, &team, |_| Ok(Slow::new(arguments, &team, arrivals(), slow)))?;
    let figures = options
        .describe("slow", figures)
        .with_parameter("clients", arguments.clients)
        .with_parameter("slow_percent", arguments.slow_percent)
        .with_parameter("rate", arguments.rate)
        .with_parameter("size", arguments.size);
    let figures = match arguments.pace {
        Some(pace) => figures.with_parameter("pace", pace),
        None => figures.with_parameter("stall_s", arguments.stall).with_parameter("read_s", arguments.read),
    };
    Ok(loads.iter().fold(figures, |figures, slow| slow.told_in(figures)))
}

/// All readers and the publisher.
struct Slow<'t> {
    arguments: &'t Arguments,
    team: &'t Team,
    recorder: Recorder,
    arrivals: Arrivals,
    payloads: Payloads,
    /// By connection; the first ones are slow.
    readers: Vec<Reader>,
    slow: usize,
    reading: Reading,
    /// Slow readers by the moment at which they stall or read on.
    turns: VecDeque<(u64, usize)>,
    /// Slow readers that have read ahead of their pace, perhaps more than once.
    ahead: Vec<usize>,
    is_ready: bool,
    published: u64,
    is_draining: bool,
    heard_ns: u64,
    slow_deliveries: u64,
    /// Bytes that slow ones read before the end, and how long that took.
    slow_bytes: u64,
    lasted_ns: u64,
    ends: BTreeMap<&'static str, u64>,
    payload: Vec<u8>,
}

#[derive(Clone, Copy, Default)]
struct Reader {
    /// The number that must come next.
    expected: u64,
    is_stalled: bool,
    is_over: bool,
    /// When it may read on, at its pace.
    due_ns: u64,
}

impl<'t> Slow<'t> {
    fn new(arguments: &'t Arguments, team: &'t Team, arrivals: Arrivals, slow: usize) -> Slow<'t> {
        let clients = arguments.clients as usize;
        Slow {
            arguments,
            team,
            recorder: team.recorder(),
            arrivals,
            payloads: Payloads::new(vec![arguments.size]),
            readers: vec![Reader::default(); clients],
            slow,
            reading: Reading::of(arguments),
            turns: VecDeque::new(),
            ahead: Vec::new(),
            is_ready: false,
            published: 0,
            is_draining: false,
            heard_ns: 0,
            slow_deliveries: 0,
            slow_bytes: 0,
            lasted_ns: 0,
            ends: BTreeMap::new(),
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

    /// Stalls and resumes whose moment has come; the next one.
    fn turn_readers(&mut self, engine: &mut Engine, now_ns: u64) -> u64 {
        for reader in std::mem::take(&mut self.ahead) {
            let Reader { is_stalled, is_over, due_ns, .. } = &mut self.readers[reader];
            if *due_ns > now_ns && !*is_over && !std::mem::replace(is_stalled, true) {
                engine.stall(reader);
                let due_ns = *due_ns;
                self.turn_at(due_ns, reader);
            }
        }
        while let Some((_, reader)) = self.turns.pop_front_if(|(turns_ns, _)| *turns_ns <= now_ns) {
            let Reader { is_stalled, is_over, .. } = &mut self.readers[reader];
            if *is_over {
                continue;
            }
            let lasts_ns = if *is_stalled {
                engine.resume(reader);
                self.reading.reads_ns()
            } else {
                engine.stall(reader);
                Some(self.reading.stalls_ns())
            };
            *is_stalled = !*is_stalled;
            if let Some(lasts_ns) = lasts_ns {
                self.turn_at(now_ns + lasts_ns, reader);
            }
        }
        self.turns.front().map_or(u64::MAX, |(turns_ns, _)| *turns_ns)
    }

    fn turn_at(&mut self, turns_ns: u64, reader: usize) {
        let place = self.turns.partition_point(|(other_ns, _)| *other_ns <= turns_ns);
        self.turns.insert(place, (turns_ns, reader));
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
            engine.say(self.arrivals.publisher(), |out| out.text(payload));
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

    /// What a slow reader read on average before all read on.
    fn slow_bytes_per_second(&self) -> f64 {
        self.slow_bytes as f64 / self.slow.max(1) as f64 / (self.lasted_ns.max(1) as f64 / 1e9)
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
            ("slow_bytes_per_second", json!(self.slow_bytes_per_second().round())),
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
            let first_ns = |reader| self.reading.first_turn_ns(reader, self.slow).map(|turns_ns| (start_ns + turns_ns, reader));
            self.turns = (0..self.slow).filter_map(first_ns).collect();
        }
        self.lasted_ns = now_ns - start_ns;
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
        self.arrivals.settle(out.client, now_ns);
        self.team.opened();
        Ok(())
    }

    fn message(&mut self, out: &mut Outgoing<'_>, _: MessageKind, message: &[u8], now_ns: u64) -> io::Result<()> {
        self.heard_ns = now_ns;
        let scheduled_ns = self.readers.get(out.client).map_or(0, |reader| self.moment_ns(reader.expected));
        let Some(reader) = self.readers.get_mut(out.client) else { return Ok(()) };
        let expected = reader.expected;
        if !self.payloads.is(expected, &digits(expected), self.payloads.size(expected), message) {
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
            if !self.is_draining {
                self.slow_bytes += message.len() as u64;
                reader.due_ns = self.reading.due_ns(reader.due_ns, now_ns, message.len());
                self.ahead.extend((reader.due_ns > now_ns).then_some(out.client));
            }
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
