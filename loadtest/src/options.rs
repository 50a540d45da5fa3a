//! The flags that all scenarios share.

use std::io;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use tidegate::reactor::uring::WakeAfter;
use tidegate::ws::deflate::Offer;

use crate::engine::Sizes;
use crate::figures::Figures;
use crate::process;
use crate::run::Plan;
use crate::source::sources;
use crate::url::Url;

/// Descriptors beside the connections: rings, files of /proc, the terminal.
const DESCRIPTORS_BESIDES: u64 = 64;

/// Receive buffers of a worker, all together: what comes goes through them in turn, so the fewer there are, the more of it is still in
/// the cache when it is looked at.
const RECEIVE_BYTES: u32 = 2 << 20;

/// But so many are needed where a receive takes a whole one: as many as a turn takes.
const RECEIVES_MIN: u32 = 64;

/// What is done with frames that come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Check {
    /// Order, sequence and every byte; what is wrong ends the run.
    All,
    /// They are counted.
    None,
}

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Options {
    /// Where clients connect, e.g. ws://127.0.0.1:8080/ws/demo.load; wss:// believes every certificate
    #[arg(long)]
    pub(crate) url: Url,
    /// How long to measure
    #[arg(long, default_value_t = 5.0)]
    pub(crate) seconds: f64,
    /// Seconds before that, which are not measured: connections settle, caches and buffers fill
    #[arg(long, default_value_t = 0.5)]
    pub(crate) warm_up: f64,
    /// What is checked of what comes
    #[arg(long, value_enum, default_value_t = Check::All)]
    pub(crate) check: Check,
    /// Offer permessage-deflate; what comes compressed is inflated and checked
    #[arg(long)]
    pub(crate) deflate: bool,
    /// Threads, each with a ring of its own; by default one, or as many as the limit on descriptors asks for
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) workers: Option<u16>,
    /// A worker sleeps until so many microseconds have passed or 64 packets are there, rather than to wake for each
    #[arg(long, default_value_t = 50)]
    pub(crate) gather_us: u32,
    /// The server's process, for its CPU time and memory
    #[arg(long)]
    pub(crate) server_pid: Option<u32>,
    /// What the run is called beside others
    #[arg(long)]
    pub(crate) label: Option<String>,
    /// One line of JSON in place of a table
    #[arg(long)]
    pub(crate) json: bool,
    /// Write a self-contained HTML page with plots too
    #[arg(long, value_name = "FILE")]
    pub(crate) report: Option<PathBuf>,
}

impl Options {
    /// How to run so many connections of messages of so many bytes, of which so many may come in one piece.
    pub(crate) fn plan(&self, connections: u64, message_bytes: u64) -> io::Result<Plan> {
        self.plan_with(connections, message_bytes, 1)
    }

    /// The same with at least so many workers, unless the user says how many.
    pub(crate) fn plan_with(&self, connections: u64, message_bytes: u64, workers_min: u64) -> io::Result<Plan> {
        let limit = process::raise_descriptor_limit().min(1 << 20);
        let each_max = limit.saturating_sub(DESCRIPTORS_BESIDES).max(1);
        let workers = self.workers.map_or(connections.div_ceil(each_max).max(workers_min), u64::from).max(1);
        let each = connections.div_ceil(workers);
        if each > each_max {
            let sentence = format!(
                "{connections} connections on {workers} workers are {each} each, and the limit on descriptors allows {each_max}: \
                 raise it with ulimit -n, or leave --workers to be chosen"
            );
            return Err(io::Error::other(sentence));
        }
        self.check_ports(connections)?;
        let receive_bytes = message_bytes.next_power_of_two().clamp(4 << 10, 64 << 10) as u32;
        let sizes = Sizes {
            connections_max: each as u32 + 1,
            receive_bytes,
            buffers: (RECEIVE_BYTES / receive_bytes).max(RECEIVES_MIN) as u16,
            wake_after: WakeAfter { completions: 64, within_us: self.gather_us },
            sources: sources(connections),
        };
        let seconds = |seconds: f64| Duration::try_from_secs_f64(seconds).map_err(|error| io::Error::other(error.to_string()));
        let (warm_up, measured) = (seconds(self.warm_up)?, seconds(self.seconds)?);
        if measured < Duration::from_millis(10) {
            return Err(io::Error::other("--seconds is too short to measure anything; at least 0.01"));
        }
        let (server_pid, is_for_programs) = (self.server_pid, self.json);
        Ok(Plan { workers: workers as usize, connections, sizes, warm_up, measured, server_pid, is_for_programs })
    }

    /// The same for a scenario whose connections are all on one worker.
    pub(crate) fn plan_alone(&self, connections: u64, message_bytes: u64) -> io::Result<Plan> {
        match self.workers {
            None | Some(1) => Options { workers: Some(1), ..self.clone() }.plan(connections, message_bytes),
            Some(workers) => Err(io::Error::other(format!("--workers {workers}: this scenario has one worker"))),
        }
    }

    /// One address has some 28,000 ports; only a server on loopback can be connected to from several.
    fn check_ports(&self, connections: u64) -> io::Result<()> {
        let address = self.url.address()?.ip();
        let has_several = matches!(address, IpAddr::V4(address) if address.is_loopback());
        let Some(ports) = local_ports().filter(|ports| connections > *ports && !has_several) else { return Ok(()) };
        Err(io::Error::other(format!(
            "{connections} connections to {address} need as many local ports and there are {ports}; widen \
             /proc/sys/net/ipv4/ip_local_port_range, or start several generators on several addresses"
        )))
    }

    /// permessage-deflate as it is offered.
    pub(crate) fn offer(&self) -> Option<Offer> {
        let offer = Offer {
            server_no_context_takeover: false,
            client_no_context_takeover: true,
            server_max_window_bits: None,
            client_max_window_bits: None,
        };
        self.deflate.then_some(offer)
    }

    /// For scenarios that are nothing but a check.
    pub(crate) fn must_check(&self) -> io::Result<()> {
        match self.check {
            Check::All => Ok(()),
            Check::None => Err(io::Error::other("--check none leaves nothing of this scenario, which is there to check")),
        }
    }

    /// Fills in what all scenarios know alike.
    pub(crate) fn describe(&self, scenario: &str, figures: Figures) -> Figures {
        Figures {
            scenario: scenario.to_owned(),
            label: self.label.clone().unwrap_or_else(|| scenario.to_owned()),
            url: self.url.to_string(),
            ..figures
        }
        .with_parameter("tls", self.url.secure)
        .with_parameter("deflate", self.deflate)
        .with_parameter("gather_us", self.gather_us)
        .with_parameter("check", if self.check == Check::All { "all" } else { "none" })
    }
}

/// A number above zero, for `value_parser`.
pub(crate) fn positive(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(number) if number > 0.0 && number <= 1e9 => Ok(number),
        _ => Err(String::from("a number above 0 and up to 1000000000 is needed")),
    }
}

/// How many local ports one address has.
fn local_ports() -> Option<u64> {
    let range = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").ok()?;
    let mut ends = range.split_whitespace().map_while(|word| word.parse::<u64>().ok());
    let (first, last) = (ends.next()?, ends.next()?);
    Some((last + 1).saturating_sub(first))
}
