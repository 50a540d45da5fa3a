//! Clients that only stay: what each costs the server and the kernel, and whether all are still alive in the end.
//!
//! Without: publications. Workers are as many as the machine's limit on descriptors asks for, since each has a table of its own;
//! source addresses change as ports run out.
//!
//! How it goes: a look at memory, all clients connect and subscribe, some seconds of rest, another look. Then each is pinged once,
//! spread over the measured time, and has to answer.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tidegate::ws::MessageKind;

use crate::arrivals::Arrivals;
use crate::engine::Engine;
use crate::figures::Figures;
use crate::link::{Handler, Outgoing, Route};
use crate::memory::Memory;
use crate::options::Options;
use crate::recorder::Recorder;
use crate::run::{self, Load, Next, OPENING_MAX, PATIENCE, Team};

/// Of the longest message that is to be expected: nobody publishes.
const MESSAGE_BYTES: u64 = 4096;

/// Most handshakes under way on all workers: what many threads begin at once on few cores outlasts a server's patience.
const OPENING_AT_ONCE: usize = 512;

/// So long before the pings memory is looked at.
const LOOK_NS: u64 = 50_000_000;

/// Who comes again comes that much late at most.
const RETRY_LOOK_NS: u64 = 100_000_000;

/// Topics of one SUBSCRIBE: requests are short.
const TOPICS_PER_REQUEST: u64 = 100;

/// What to run.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) options: Options,
    /// Clients that are held
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..))]
    clients: u32,
    /// Each subscribes to so many topics, in tidegate's dialect; 0: to none but what the URL says
    #[arg(long, default_value_t = 0)]
    topics_per_subscriber: u64,
    /// Of so many that there are, named load.0, load.1, ...
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u64).range(1..))]
    topics: u64,
    /// Rest before the look at memory, in seconds
    #[arg(long, default_value_t = 3.0)]
    settle: f64,
    /// A client whose handshake is refused, too late or broken comes again so often, half a second later each time
    #[arg(long, default_value_t = 5)]
    retries: u32,
}

const EXAMPLES: &str = "\
Examples:
  What an idle client costs, of ten thousand:
    tidegate-loadtest idle --url ws://127.0.0.1:8080/ws --clients 10000 \\
        --server-pid $(pidof tidegate)
  The same with fifty subscriptions each:
    tidegate-loadtest idle --url ws://127.0.0.1:8080/stream --clients 10000 \\
        --topics-per-subscriber 50 --topics 5000 --server-pid $(pidof tidegate)

Bytes are what came with the clients, divided by their number; the kernel's are of both ends of each connection where \
the server is on this machine. At most 512 handshakes are under way at once; how many had to be tried again is among \
the figures (retries). Latency is that of one ping to each client, a delivery is its answer.";

/// Holds clients.
pub(crate) fn run(arguments: &Arguments) -> io::Result<Figures> {
    let options = &arguments.options;
    if arguments.topics_per_subscriber > arguments.topics {
        let Arguments { topics, topics_per_subscriber: held, .. } = arguments;
        return Err(io::Error::other(format!("--topics-per-subscriber {held} is more than --topics {topics}")));
    }
    let mut plan = options.plan(arguments.clients.into(), MESSAGE_BYTES)?;
    plan.warm_up += Duration::try_from_secs_f64(arguments.settle).map_err(io::Error::other)?;
    let share = arguments.clients.div_ceil(plan.workers as u32);
    let before = Memory::look(options.server_pid)?;
    let team = Team::new(&plan);
    let route = Arc::new(Route::new(options.url.clone(), options.offer())?);
    let make = |worker: usize| {
        let first = worker as u32 * share;
        let held = share.min(arguments.clients.saturating_sub(first));
        Ok(Idle::new(arguments, &team, route.clone(), worker, first as usize, held as usize))
    };
    let (figures, loads) = run::run(&plan, &team, make)?;
    let mut figures = options
        .describe("idle", figures)
        .with_parameter("clients", arguments.clients)
        .with_parameter("topics_per_subscriber", arguments.topics_per_subscriber);
    let after = loads.iter().find_map(|load| load.memory);
    figures.extra.extend(after.into_iter().flat_map(|after| after.since(&before, arguments.clients.into())));
    let sum = |what: fn(&Idle<'_>) -> u64| loads.iter().map(what).sum::<u64>();
    let ended = sum(|load| load.ended);
    let alive = sum(|load| load.answered);
    let silent = sum(|load| load.pinged as u64).saturating_sub(alive + ended);
    let connected_s = loads.iter().map(|load| load.arrivals.settled_ns()).max().unwrap_or(0) as f64 / 1e9;
    let extra = [
        ("alive", json!(alive)),
        ("ended", json!(ended)),
        ("silent", json!(silent)),
        ("connected_s", json!(connected_s)),
        ("retries", json!(sum(|load| load.arrivals.retried().count))),
    ];
    figures.extra.extend(extra.into_iter().map(|(name, value)| (name.to_owned(), value)));
    let first_retry = loads.iter().find_map(|load| load.arrivals.retried().first.clone());
    figures.extra.extend(first_retry.map(|why| (String::from("first_retry"), json!(why))));
    let first_end = loads.into_iter().find_map(|load| load.first_end);
    figures.extra.extend(first_end.map(|why| (String::from("first_end"), json!(why))));
    Ok(figures)
}

/// One worker's clients.
struct Idle<'t> {
    arguments: &'t Arguments,
    team: &'t Team,
    recorder: Recorder,
    arrivals: Arrivals,
    worker: usize,
    /// The first one's number among all workers'.
    first: usize,
    held: usize,
    /// By client: replies to its subscriptions that have not come yet.
    missing: Vec<u16>,
    is_ready: bool,
    /// Worker 0's.
    memory: Option<Memory>,
    pinged: usize,
    answered: u64,
    ended: u64,
    first_end: Option<String>,
}

impl<'t> Idle<'t> {
    fn new(arguments: &'t Arguments, team: &'t Team, route: Arc<Route>, worker: usize, first: usize, held: usize) -> Idle<'t> {
        let opening_max = (OPENING_AT_ONCE / team.workers()).clamp(1, OPENING_MAX);
        Idle {
            arguments,
            team,
            recorder: team.recorder(),
            arrivals: Arrivals::new(route, first, held).patient(opening_max, arguments.retries),
            worker,
            first,
            held,
            missing: vec![0; held],
            is_ready: false,
            memory: None,
            pinged: 0,
            answered: 0,
            ended: 0,
            first_end: None,
        }
    }

    fn connect(&mut self, engine: &mut Engine, now_ns: u64) -> io::Result<Next> {
        if self.arrivals.begin(engine, now_ns)? {
            self.is_ready = true;
            self.team.ready();
        }
        Ok(Next::Until(now_ns + RETRY_LOOK_NS))
    }

    /// When a client is pinged: one after the other over the whole window.
    fn ping_ns(&self, client: usize) -> u64 {
        let (_, from_ns, until_ns) = self.team.bounds_ns();
        from_ns + ((until_ns - from_ns) as f64 * client as f64 / self.held as f64) as u64
    }

    fn ping(&mut self, engine: &mut Engine, now_ns: u64, until_ns: u64) -> Next {
        while self.pinged < self.held && self.ping_ns(self.pinged) <= now_ns {
            engine.say(self.arrivals.connection(self.pinged), |out| out.ping(b""));
            self.pinged += 1;
        }
        if self.pinged < self.held {
            return Next::Until(self.ping_ns(self.pinged));
        }
        let patience_ns = until_ns + PATIENCE.as_nanos() as u64;
        if self.answered + self.ended >= self.held as u64 && now_ns >= until_ns || now_ns >= patience_ns {
            return Next::Over;
        }
        Next::Until(if now_ns < until_ns { until_ns } else { patience_ns })
    }

    /// A client's topics, some in each request.
    fn subscribe(&self, client: usize, out: &mut Outgoing<'_>) -> u16 {
        let Arguments { topics_per_subscriber: count, topics, .. } = *self.arguments;
        let first = (self.first + client) as u64 * count;
        let mut requests = 0;
        for from in (0..count).step_by(TOPICS_PER_REQUEST as usize) {
            let numbers = from..count.min(from + TOPICS_PER_REQUEST);
            let names: Vec<String> = numbers.map(|number| format!("load.{}", (first + number) % topics)).collect();
            out.text(json!({ "method": "SUBSCRIBE", "params": names, "id": from }).to_string().as_bytes());
            requests += 1;
        }
        requests
    }
}

impl Load for Idle<'_> {
    fn act(&mut self, engine: &mut Engine, now_ns: u64) -> io::Result<Next> {
        if !self.is_ready {
            return self.connect(engine, now_ns);
        }
        let (_, from_ns, until_ns) = self.team.bounds_ns();
        if now_ns < from_ns {
            let look_ns = from_ns.saturating_sub(LOOK_NS);
            if now_ns < look_ns {
                return Ok(Next::Until(look_ns));
            }
            if self.worker == 0 && self.memory.is_none() && from_ns < u64::MAX {
                self.memory = Some(Memory::look(self.arguments.options.server_pid)?);
            }
            return Ok(Next::Until(from_ns));
        }
        Ok(self.ping(engine, now_ns, until_ns))
    }

    fn recorder(&mut self) -> &mut Recorder {
        &mut self.recorder
    }
}

impl Handler for Idle<'_> {
    fn opened(&mut self, out: &mut Outgoing<'_>, now_ns: u64) -> io::Result<()> {
        self.team.opened();
        let client = self.arrivals.client(out.client);
        self.missing[client] = self.subscribe(client, out);
        if self.missing[client] == 0 {
            self.arrivals.settle(client, now_ns);
        }
        Ok(())
    }

    fn message(&mut self, out: &mut Outgoing<'_>, _: MessageKind, message: &[u8], now_ns: u64) -> io::Result<()> {
        let client = self.arrivals.client(out.client);
        if self.missing[client] == 0 {
            return Ok(());
        }
        if message.starts_with(b"{\"error\"") {
            return Err(io::Error::other(format!("the server refused a subscription: {}", String::from_utf8_lossy(message))));
        }
        if message.starts_with(b"{\"result\"") {
            self.missing[client] -= 1;
            if self.missing[client] == 0 {
                self.arrivals.settle(client, now_ns);
            }
        }
        Ok(())
    }

    fn pong(&mut self, connection: usize, now_ns: u64) {
        self.answered += 1;
        self.recorder.delivery(self.ping_ns(self.arrivals.client(connection)), now_ns, 0);
    }

    fn ended(&mut self, connection: usize, why: io::Error, now_ns: u64) -> io::Result<()> {
        let number = self.first + self.arrivals.client(connection) + 1;
        let told = |why: &io::Error| format!("client {number} of {}: {why}", self.arguments.clients);
        if !self.is_ready {
            let done = self.arrivals.come_again(connection, why, now_ns);
            return done.map_err(|why| io::Error::new(why.kind(), told(&why)));
        }
        self.ended += 1;
        self.first_end.get_or_insert(told(&why));
        Ok(())
    }
}
