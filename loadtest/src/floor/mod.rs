//! The floor: what the kernel alone takes for a fan-out, so that figures can be told as multiples of it.
//!
//! Two servers that do nothing else ([`server`]) send the same bytes to the same receivers as any other server would have: one
//! with `send()`, one with the gateway's own ring. Each is a process of its own, and the fan-out scenario measures it as it
//! measures any server, so that nothing but the server differs.

mod plain;
mod ring;
mod server;
mod told;

use std::io::{self, BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};

use clap::Parser;
use rustix::thread::CpuSet;

use crate::fanout;
use crate::figures::Figures;
use crate::interrupt;

/// What to run.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// Subscribers
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..))]
    clients: u32,
    /// Bytes of a payload
    #[arg(long, default_value_t = 128, value_parser = clap::value_parser!(u32).range(32..=1 << 20))]
    size: u32,
    /// Messages of one send; so many are in flight
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1024))]
    messages: u32,
    /// Times that both ways are measured, in turn
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// How long each time, in seconds
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,
    /// The core of the servers
    #[arg(long, default_value_t = 0, value_parser = core)]
    server_core: usize,
    /// The core of the receivers
    #[arg(long, default_value_t = 1, value_parser = core)]
    generator_core: usize,
    /// Each run as a line of JSON, as `fanout --json` prints it, in place of a table
    #[arg(long)]
    json: bool,
    /// Only serve one way until ended, to be measured by another process; prints where it listens
    #[arg(long, value_name = "WAY", conflicts_with_all = ["rounds", "size", "seconds", "json", "server_core", "generator_core"])]
    serve: Option<Way>,
    /// Where to listen with --serve
    #[arg(long, default_value = "127.0.0.1:0", requires = "serve")]
    listen: SocketAddr,
    /// Ends with the process that started it
    #[arg(long, hide = true, requires = "serve")]
    follow: bool,
}

const EXAMPLES: &str = "\
Examples:
  What one frame to each of a thousand sockets takes, beside the row of `fanout --clients 1000`:
    tidegate-loadtest floor
  Sixteen messages a send, beside the row of `fanout --in-flight 16`:
    tidegate-loadtest floor --messages 16
  Into one's own interleaved rounds, as a server among others:
    taskset -c 0 tidegate-loadtest floor --serve uring
    taskset -c 1 tidegate-loadtest fanout --url ws://127.0.0.1:PORT/ws \\
        --publish-url ws://127.0.0.1:PORT/publish --label 'floor: io_uring' --server-pid PID \\
        --json

CPU is that of the serving process, kernel and soft interrupts included; on loopback that includes much of the \
receivers' own TCP work, as it does for every server.";

/// How the kernel is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Way {
    /// `send()` for each subscriber.
    Send,
    /// Sends of io_uring, 256 a call, on direct descriptors.
    Uring,
}

const WAYS: [Way; 2] = [Way::Send, Way::Uring];

impl Way {
    fn name(self) -> &'static str {
        if self == Way::Send { "send" } else { "uring" }
    }

    /// As figures are labelled; what begins with "floor" is drawn as one.
    fn label(self) -> &'static str {
        if self == Way::Send { "floor: send()" } else { "floor: io_uring" }
    }
}

/// Measures both ways; what is to be printed.
pub(crate) fn run(arguments: &Arguments) -> io::Result<String> {
    if let Some(way) = arguments.serve {
        return serve(way, arguments).map(|()| String::new());
    }
    let servers = WAYS.map(|way| Server::start(way, arguments));
    let [send, uring] = servers;
    let servers = [send?, uring?];
    pin(arguments.generator_core)?;
    let mut runs = Vec::new();
    for round in 0..arguments.rounds {
        eprintln!("round {} of {} ...", round + 1, arguments.rounds);
        for server in &servers {
            match server.measure(arguments) {
                Ok(run) => runs.push(run),
                Err(error) if interrupt::is_caught() && !runs.is_empty() => {
                    println!("{}", told(&runs, arguments));
                    return Err(error);
                }
                Err(error) => return Err(error),
            }
        }
    }
    Ok(told(&runs, arguments))
}

fn told(runs: &[Figures], arguments: &Arguments) -> String {
    if arguments.json { told::lines(runs) } else { told::table(runs, arguments) }
}

/// Serves until it is ended from outside.
fn serve(way: Way, arguments: &Arguments) -> io::Result<()> {
    if arguments.follow {
        rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?;
    }
    let say = |address: SocketAddr| println!("clients  ws://{address}");
    match way {
        Way::Send => {
            let plain = plain::Plain::listen(arguments.listen)?;
            say(plain.address()?);
            server::serve(plain, arguments.messages)
        }
        Way::Uring => {
            let ring = ring::Ring::listen(arguments.listen, arguments.clients + 64)?;
            say(ring.address());
            server::serve(ring, arguments.messages)
        }
    }
}

/// A process that serves one way; it ends when this is dropped.
struct Server {
    way: Way,
    child: Child,
    /// Host and port.
    authority: String,
}

impl Server {
    fn start(way: Way, arguments: &Arguments) -> io::Result<Server> {
        // What is started inherits the core.
        pin(arguments.server_core)?;
        let mut child = Command::new(std::env::current_exe()?)
            .args(["floor", "--follow", "--serve", way.name()])
            .args(["--clients", &arguments.clients.to_string(), "--messages", &arguments.messages.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut line = String::new();
        let stdout = child.stdout.take().expect("it is piped");
        let mut server = Server { way, child, authority: String::new() };
        BufReader::new(stdout).read_line(&mut line)?;
        let said = line.trim_end().strip_prefix("clients  ws://");
        let said =
            said.ok_or_else(|| io::Error::other(format!("the floor's server ({}) ended before it listened", way.name())))?;
        server.authority = said.to_owned();
        Ok(server)
    }

    /// One run of the fan-out scenario.
    fn measure(&self, arguments: &Arguments) -> io::Result<Figures> {
        let flags = [
            ("--url", format!("ws://{}/ws", self.authority)),
            ("--publish-url", format!("ws://{}/publish", self.authority)),
            ("--label", self.way.label().to_owned()),
            ("--clients", arguments.clients.to_string()),
            ("--size", arguments.size.to_string()),
            ("--in-flight", arguments.messages.to_string()),
            ("--seconds", arguments.seconds.to_string()),
            ("--server-pid", self.child.id().to_string()),
            ("--together", String::new()),
            // Standard error is this command's own.
            ("--json", String::new()),
        ];
        let words = flags.iter().flat_map(|(name, value)| [*name, value]).filter(|word| !word.is_empty());
        let fanout = Fanout::parse_from(std::iter::once("fanout").chain(words)).arguments;
        let figures = fanout::run(&fanout)?;
        figures.ended_early.clone().map_or(Ok(figures), |why| Err(io::Error::other(why)))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The fan-out's flags, as a person would give them.
#[derive(Parser)]
struct Fanout {
    #[command(flatten)]
    arguments: fanout::Arguments,
}

/// This process stays on one core from now on, and what it starts too.
fn pin(core: usize) -> io::Result<()> {
    let mut cores = CpuSet::new();
    cores.set(core);
    rustix::thread::sched_setaffinity(None, &cores).map_err(|error| {
        io::Error::new(error.kind(), format!("core {core} cannot be used ({error}); see --server-core and --generator-core"))
    })
}

fn core(text: &str) -> Result<usize, String> {
    let core = text.parse().map_err(|_| format!("{text:?} is no number of a core"))?;
    if core < CpuSet::MAX_CPU { Ok(core) } else { Err(format!("cores above {} cannot be chosen", CpuSet::MAX_CPU - 1)) }
}
