//! Messages that come back: in a closed loop each client has a number of them under way and sends the next one when one came; in
//! an open loop they leave on a schedule, one client after the other, whatever the server does. Every byte that comes is compared
//! with what was sent, in order.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

use tidegate::ws::MessageKind;

use crate::engine::Engine;
use crate::figures::Figures;
use crate::link::{Handler, Outgoing, Route};
use crate::options::{self, Check, Options};
use crate::payload::{self, Payloads, SIZE_MIN};
use crate::recorder::Recorder;
use crate::run::{self, Load, Next, OPENING_MAX, PATIENCE, Team};

/// An open loop's server may be so far behind.
const BEHIND_NS_MAX: u64 = 10_000_000_000;

/// What to run.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) options: Options,
    /// Clients
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..))]
    clients: u32,
    /// Bytes of a message
    #[arg(long, default_value_t = 125, value_parser = clap::value_parser!(u32).range(i64::from(SIZE_MIN)..=16 << 20))]
    size: u32,
    /// Messages of each client that are under way
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=4096))]
    pipelined: u32,
    /// Messages a second of all clients together, on schedule, in place of a number under way
    #[arg(long, conflicts_with = "pipelined", value_parser = options::positive)]
    rate: Option<f64>,
}

const EXAMPLES: &str = "\
Examples:
  Sixty-four clients, one message each:
    tidegate-loadtest echo --url ws://127.0.0.1:8080/echo --server-pid $(pidof tidegate)
  Messages of 16 KiB, sixteen under way for each client:
    tidegate-loadtest echo --url ws://127.0.0.1:8080/echo --size 16384 --pipelined 16

  Fifty thousand messages a second over all clients, on schedule:
    tidegate-loadtest echo --url ws://127.0.0.1:8080/echo --rate 50000

Latency is that of a message there and back, on schedule from the moment for which it was scheduled. A closed loop fills \
both cores of a server and of its generator, since the kernel costs both sides alike: it tells the server's CPU, a rate \
tells latencies.";

/// Connects, warms up, measures.
pub(crate) fn run(arguments: &Arguments) -> io::Result<Figures> {
    let Arguments { options, clients, size, pipelined, rate } = arguments;
    let plan = options.plan((*clients).into(), u64::from(size + 16) * u64::from(*pipelined))?;
    let team = Team::new(&plan);
    let route = Arc::new(Route::new(options.url.clone(), options.offer())?);
    let clients_of = |worker: usize| {
        let end = |worker: usize| *clients as usize * worker / plan.workers;
        end(worker)..end(worker + 1)
    };
    let make = |worker| {
        let range = clients_of(worker);
        Ok(Echo {
            team: &team,
            route: route.clone(),
            payloads: Payloads::new(vec![*size]),
            first: range.start,
            clients: vec![Client::default(); range.len()],
            pace: match rate {
                None => Pace::UnderWay(*pipelined as usize),
                Some(rate) => Pace::every(rate * range.len() as f64 / f64::from(*clients), options.gather_us),
            },
            is_checking: options.check == Check::All,
            payload: Vec::new(),
            begun: 0,
            opened: 0,
            is_ready: false,
            sent: 0,
            recorder: team.recorder(),
            moved_ns: 0,
            end_ns: u64::MAX,
        })
    };
    let (figures, _) = run::run(&plan, &team, make)?;
    let figures = options.describe("echo", figures).with_dialect("echo").with_parameter("clients", *clients);
    let figures = figures.with_parameter("size", *size);
    Ok(match rate {
        None => figures.with_parameter("pipelined", *pipelined),
        Some(rate) => figures.with_parameter("rate", *rate),
    })
}

/// When messages leave.
#[derive(Clone, Copy, Debug)]
enum Pace {
    /// So many of each client are under way.
    UnderWay(usize),
    /// One every so many nanoseconds, of the clients in turn. What is due within `gather_ns` leaves together, since to wake for
    /// each would cost more than the message; the wait is in its latency.
    Every { interval_ns: f64, gather_ns: u64 },
}

impl Pace {
    fn every(rate: f64, gather_us: u32) -> Pace {
        Pace::Every { interval_ns: 1e9 / rate, gather_ns: u64::from(gather_us) * 1_000 }
    }
}

/// One worker's clients.
struct Echo<'a> {
    team: &'a Team,
    route: Arc<Route>,
    payloads: Payloads,
    /// Number of the first client over all workers.
    first: usize,
    clients: Vec<Client>,
    pace: Pace,
    is_checking: bool,
    payload: Vec<u8>,
    begun: usize,
    opened: usize,
    is_ready: bool,
    /// Messages that were sent.
    sent: u64,
    recorder: Recorder,
    /// When something came last.
    moved_ns: u64,
    /// After it nothing more is sent.
    end_ns: u64,
}

#[derive(Clone, Debug, Default)]
struct Client {
    /// Number of the next message to be sent.
    next: u64,
    /// When those under way were sent, or were to be.
    sent_ns: VecDeque<u64>,
}

impl Echo<'_> {
    fn open(&mut self, engine: &mut Engine, now_ns: u64) -> io::Result<Next> {
        while self.begun < self.clients.len() && engine.opening() < OPENING_MAX {
            engine.connect(&self.route, self.first + self.begun)?;
            self.begun += 1;
        }
        if self.opened < self.clients.len() && now_ns > self.moved_ns + PATIENCE.as_nanos() as u64 {
            let (opened, wanted, seconds) = (self.opened, self.clients.len(), PATIENCE.as_secs());
            return Err(io::Error::other(format!(
                "{opened} of {wanted} clients are connected, and for {seconds} s no other was"
            )));
        }
        Ok(Next::Until(now_ns + 1_000_000_000))
    }

    fn send(&mut self, out: &mut Outgoing<'_>, sent_ns: u64) {
        let client = &mut self.clients[out.client];
        self.payloads.write(client.next, &mut self.payload);
        client.next += 1;
        client.sent_ns.push_back(sent_ns);
        self.sent += 1;
        out.binary(&self.payload);
    }

    /// Sends what is due between the start and the end; says when to look again.
    fn send_due(&mut self, engine: &mut Engine, now_ns: u64, start_ns: u64, end_ns: u64) -> io::Result<u64> {
        let (interval_ns, gather_ns) = match self.pace {
            Pace::Every { interval_ns, gather_ns } => (interval_ns, gather_ns),
            Pace::UnderWay(count) => {
                if self.sent == 0 {
                    let all = 0..self.clients.len();
                    all.for_each(|client| engine.say(client, |out| (0..count).for_each(|_| self.send(out, now_ns))));
                }
                return Ok(u64::MAX);
            }
        };
        loop {
            let due_ns = start_ns + (self.sent as f64 * interval_ns) as u64;
            if due_ns >= end_ns || self.clients.is_empty() {
                return Ok(u64::MAX);
            }
            if due_ns > now_ns {
                return Ok(due_ns.max(now_ns + gather_ns));
            }
            let client = (self.sent % self.clients.len() as u64) as usize;
            if self.clients[client].sent_ns.front().is_some_and(|sent_ns| sent_ns + BEHIND_NS_MAX < now_ns) {
                let seconds = BEHIND_NS_MAX / 1_000_000_000;
                return Err(io::Error::other(format!(
                    "the server is {seconds} s behind what was scheduled: choose a lower --rate"
                )));
            }
            engine.say(client, |out| self.send(out, due_ns));
        }
    }

    fn wrong(&self, client: usize, expected: u64, message: &[u8]) -> io::Error {
        let got = match payload::number_of(message) {
            Some(number) if number != expected => format!("number {number}"),
            _ => format!("{} bytes that were not sent", message.len()),
        };
        io::Error::other(format!("client {client} was to get its message number {expected} back, and got {got}"))
    }
}

impl Load for Echo<'_> {
    fn act(&mut self, engine: &mut Engine, now_ns: u64) -> io::Result<Next> {
        let (start_ns, _, end_ns) = self.team.bounds_ns();
        self.end_ns = end_ns;
        if self.opened < self.clients.len() {
            return self.open(engine, now_ns);
        }
        if !std::mem::replace(&mut self.is_ready, true) {
            self.team.ready();
        }
        if now_ns < start_ns {
            self.moved_ns = now_ns;
            return Ok(Next::Until(start_ns.min(now_ns + 1_000_000_000)));
        }
        let next_ns = self.send_due(engine, now_ns, start_ns, end_ns)?;
        let is_idle = self.clients.iter().all(|client| client.sent_ns.is_empty());
        if now_ns >= end_ns && is_idle {
            return Ok(Next::Over);
        }
        if is_idle {
            self.moved_ns = now_ns;
        }
        if now_ns > self.moved_ns + PATIENCE.as_nanos() as u64 {
            return Err(io::Error::other(format!("nothing came back for {} s", PATIENCE.as_secs())));
        }
        let end_ns = if now_ns < end_ns { end_ns } else { u64::MAX };
        Ok(Next::Until(next_ns.min(end_ns).min(now_ns + 1_000_000_000)))
    }

    fn recorder(&mut self) -> &mut Recorder {
        &mut self.recorder
    }
}

impl Handler for Echo<'_> {
    fn opened(&mut self, _: &mut Outgoing<'_>, now_ns: u64) -> io::Result<()> {
        self.opened += 1;
        self.moved_ns = now_ns;
        self.team.opened();
        Ok(())
    }

    fn message(&mut self, out: &mut Outgoing<'_>, kind: MessageKind, message: &[u8], now_ns: u64) -> io::Result<()> {
        let client = &mut self.clients[out.client];
        let expected = client.next - client.sent_ns.len() as u64;
        let Some(sent_ns) = client.sent_ns.pop_front() else { return Err(self.wrong(out.client, expected, message)) };
        let is_right = kind == MessageKind::Binary
            && self.payloads.is(expected, &payload::digits(expected), self.payloads.size(expected), message);
        if self.is_checking && !is_right {
            return Err(self.wrong(out.client, expected, message));
        }
        self.moved_ns = now_ns;
        self.recorder.delivery(sent_ns, now_ns, message.len());
        if matches!(self.pace, Pace::UnderWay(_)) && now_ns < self.end_ns {
            self.send(out, now_ns);
        }
        Ok(())
    }
}
