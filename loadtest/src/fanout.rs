//! A closed loop: W publications are in flight, and the next one leaves when one of them has reached every subscriber.
//!
//! Each payload bears its number. A subscriber that gets another number than the next one ends the run: a figure of a
//! server that loses, repeats or reorders is none.

use std::io;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};

use crate::client::{Client, Keys, Url};
use crate::report::Report;
use crate::{ping, process};

/// Not counted: connections settle, caches and buffers fill.
const WARM_UP: Duration = Duration::from_millis(500);

/// Without a single delivery for so long, the server is taken for stuck.
const PATIENCE: Duration = Duration::from_secs(10);

/// Latencies above this count as this.
const LATENCY_NS_MAX: u64 = 60_000_000_000;

/// `{"n":"` and 16 digits come first in every payload.
const NUMBER: std::ops::Range<usize> = 6..22;
const SIZE_MIN: u32 = 32;

/// What to run.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Where subscribers connect, e.g. ws://127.0.0.1:8080/ws/demo.load; wss:// believes every certificate
    #[arg(long)]
    url: Url,
    /// Where the publisher connects; every message it sends is to reach every subscriber [default: the URL with /publish for /ws]
    #[arg(long)]
    publish_url: Option<Url>,
    /// Subscribers
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..))]
    clients: u32,
    /// Bytes of a payload
    #[arg(long, default_value_t = 128, value_parser = clap::value_parser!(u32).range(i64::from(SIZE_MIN)..))]
    size: u32,
    /// Publications in flight: 1 leaves a server nothing to coalesce, 16 does
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    in_flight: u32,
    /// How long to measure
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
    /// Another client connects here and pings during the run, one ping at a time; the server must allow 200 a second
    #[arg(long)]
    ping_url: Option<Url>,
    /// The server's process, for its CPU time
    #[arg(long)]
    server_pid: Option<u32>,
    /// One line of JSON in place of a table
    #[arg(long)]
    pub(crate) json: bool,
}

/// Connects, warms up, measures.
pub(crate) fn run(arguments: &Arguments) -> io::Result<Report> {
    let needed = u64::from(arguments.clients) + 32;
    let descriptors = process::raise_descriptor_limit();
    if descriptors < needed {
        return Err(io::Error::other(format!(
            "{needed} descriptors are needed and the limit is {descriptors}; raise it with ulimit -n"
        )));
    }
    let mut load = Fanout::connect(arguments)?;
    load.run_until(Instant::now() + WARM_UP)?;
    load.latencies_ns.reset();
    let mut measured = || {
        let before = Mark::now(arguments, load.deliveries)?;
        load.run_until(before.at + Duration::from_secs_f64(arguments.seconds))?;
        let after = Mark::now(arguments, load.deliveries)?;
        Ok(before.report(&after, arguments).with_latencies(&load.latencies_ns))
    };
    match &arguments.ping_url {
        None => measured(),
        Some(url) => {
            let (report, times_ns) = ping::beside(url, histogram()?, measured)?;
            Ok(report.with_pings(&times_ns))
        }
    }
}

fn histogram() -> io::Result<Histogram<u64>> {
    Histogram::new_with_bounds(1, LATENCY_NS_MAX, 3).map_err(io::Error::other)
}

/// Counters at a moment.
struct Mark {
    at: Instant,
    deliveries: u64,
    server: Option<Duration>,
    generator: Duration,
}

impl Mark {
    fn now(arguments: &Arguments, deliveries: u64) -> io::Result<Mark> {
        let server = arguments.server_pid.map(process::cpu_time).transpose()?;
        Ok(Mark { at: Instant::now(), deliveries, server, generator: process::cpu_time(std::process::id())? })
    }

    fn report(&self, after: &Mark, arguments: &Arguments) -> Report {
        let seconds = (after.at - self.at).as_secs_f64();
        let deliveries = (after.deliveries - self.deliveries) as f64;
        let server = self.server.zip(after.server).map(|(before, after)| (after - before).as_secs_f64());
        Report {
            clients: arguments.clients,
            size_bytes: arguments.size,
            in_flight: arguments.in_flight,
            seconds,
            publications: (after.deliveries - self.deliveries) / u64::from(arguments.clients),
            deliveries_per_second: deliveries / seconds,
            server_cpu_ns_per_delivery: server.map(|busy| busy * 1e9 / deliveries),
            server_cores: server.map(|busy| busy / seconds),
            generator_cores: (after.generator - self.generator).as_secs_f64() / seconds,
            latency_us_p50: 0.0,
            latency_us_p99: 0.0,
            latency_us_max: 0.0,
            ping_us_p50: None,
            ping_us_p99: None,
        }
    }
}

struct Fanout {
    poller: std::os::fd::OwnedFd,
    publisher: Client,
    subscribers: Vec<Subscriber>,
    keys: Keys,
    payload: Vec<u8>,
    /// Number of the next publication.
    next: u64,
    /// The publications in flight, by number modulo W.
    window: Vec<InFlight>,
    in_flight: usize,
    deliveries: u64,
    latencies_ns: Histogram<u64>,
}

struct Subscriber {
    client: Client,
    /// The number that comes next.
    expected: u64,
}

#[derive(Clone)]
struct InFlight {
    sent_at: Instant,
    /// Subscribers that do not have it yet.
    missing: u32,
}

impl Fanout {
    fn connect(arguments: &Arguments) -> io::Result<Fanout> {
        let publish_url = arguments.publish_url.clone().unwrap_or_else(|| Url {
            secure: arguments.url.secure,
            authority: arguments.url.authority.clone(),
            target: arguments.url.target.replacen("/ws", "/publish", 1),
        });
        let mut keys = Keys::new();
        let poller = epoll::create(CreateFlags::CLOEXEC)?;
        let mut subscribers = Vec::new();
        for index in 0..arguments.clients {
            let client = Client::connect(&arguments.url, &mut keys)?;
            epoll::add(&poller, &client.stream, EventData::new_u64(u64::from(index)), EventFlags::IN)?;
            subscribers.push(Subscriber { client, expected: 0 });
        }
        let publisher = Client::connect(&publish_url, &mut keys)?;
        epoll::add(&poller, &publisher.stream, EventData::new_u64(u64::from(arguments.clients)), EventFlags::IN)?;
        let idle = InFlight { sent_at: Instant::now(), missing: 0 };
        Ok(Fanout {
            poller,
            publisher,
            subscribers,
            keys,
            payload: payload(arguments.size),
            next: 0,
            window: vec![idle; arguments.in_flight as usize],
            in_flight: 0,
            deliveries: 0,
            latencies_ns: histogram()?,
        })
    }

    /// Publishes until `deadline`, then waits for what is in flight.
    fn run_until(&mut self, deadline: Instant) -> io::Result<()> {
        let mut ready = Vec::with_capacity(1024);
        let mut buffer = vec![0; 256 << 10];
        loop {
            let publishing = Instant::now() < deadline;
            if !publishing && self.in_flight == 0 {
                return Ok(());
            }
            if publishing {
                self.publish_up_to_window()?;
            }
            ready.clear();
            let patience = Timespec::try_from(PATIENCE).expect("some seconds fit");
            epoll::wait(&self.poller, rustix::buffer::spare_capacity(&mut ready), Some(&patience))?;
            if ready.is_empty() {
                let seconds = PATIENCE.as_secs();
                return Err(io::Error::other(format!(
                    "nothing came for {seconds} s: publication {} is lost or stuck",
                    self.oldest()
                )));
            }
            for event in &ready {
                self.receive(event.data.u64(), &mut buffer)?;
            }
        }
    }

    fn publish_up_to_window(&mut self) -> io::Result<()> {
        while self.in_flight < self.window.len() && self.slot(self.next).missing == 0 {
            let number = format!("{:016}", self.next);
            self.payload[NUMBER].copy_from_slice(number.as_bytes());
            self.publisher.send_text(&self.payload, &mut self.keys);
            let missing = u32::try_from(self.subscribers.len()).expect("there are at most u32::MAX clients");
            *self.slot(self.next) = InFlight { sent_at: Instant::now(), missing };
            self.next += 1;
            self.in_flight += 1;
        }
        // What the socket does not take now goes with the next round: deliveries come in meanwhile.
        self.publisher.flush().map(drop)
    }

    fn receive(&mut self, index: u64, buffer: &mut [u8]) -> io::Result<()> {
        let Some(subscriber) = self.subscribers.get_mut(usize::try_from(index).expect("it is an index")) else {
            return self.publisher.receive(buffer, &mut self.keys, |_| {});
        };
        let (expected, window, size) = (&mut subscriber.expected, &mut self.window, self.payload.len());
        let mut wrong = None;
        let mut now = None;
        let mut done = 0;
        subscriber.client.receive(buffer, &mut self.keys, |message| {
            let number = number_of(message);
            if number != Some(*expected) || message.len() != size {
                wrong.get_or_insert_with(|| {
                    format!("subscriber {index} was to get number {expected}, not {}", message.escape_ascii())
                });
                return;
            }
            let places = window.len() as u64;
            let place = &mut window[usize::try_from(*expected % places).expect("it is an index")];
            let now = *now.get_or_insert_with(Instant::now);
            self.latencies_ns.saturating_record((now - place.sent_at).as_nanos() as u64);
            place.missing -= 1;
            done += usize::from(place.missing == 0);
            *expected += 1;
            self.deliveries += 1;
        })?;
        self.in_flight -= done;
        wrong.map_or(Ok(()), |what| Err(io::Error::other(what)))
    }

    fn slot(&mut self, number: u64) -> &mut InFlight {
        let places = self.window.len() as u64;
        &mut self.window[usize::try_from(number % places).expect("it is an index")]
    }

    fn oldest(&self) -> u64 {
        self.subscribers.iter().map(|subscriber| subscriber.expected).min().unwrap_or(0)
    }
}

/// A JSON object of this many bytes with room for a number.
fn payload(size: u32) -> Vec<u8> {
    let (before, after) = ("{\"n\":\"0000000000000000\",\"x\":\"", "\"}");
    let filler = "x".repeat(size as usize - before.len() - after.len());
    format!("{before}{filler}{after}").into_bytes()
}

fn number_of(message: &[u8]) -> Option<u64> {
    let digits = message.get(NUMBER)?;
    digits.iter().try_fold(0u64, |number, digit| digit.is_ascii_digit().then(|| number * 10 + u64::from(digit - b'0')))
}
