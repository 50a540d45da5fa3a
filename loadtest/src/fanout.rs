//! One publisher, many subscribers. A closed loop has a number of publications under way, and the next one leaves when one of
//! them has reached every subscriber; an open loop keeps to a rate.

use std::io;
use std::path::PathBuf;

use crate::audience::Audience;
use crate::dialect;
use crate::figures::{Figures, Latency};
use crate::options::{self, Options};
use crate::payload::{Payloads, SIZE_MIN};
use crate::ping;
use crate::publisher::Pace;
use crate::recorder::histogram;
use crate::recording::Recording;
use crate::run::{self, Team};
use crate::scene::{Scene, Wanted};
use crate::url::Url;

/// Sizes that are drawn from a range are so many.
const SIZES_DRAWN: u32 = 1024;

/// What to run.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) options: Options,
    /// Where the publisher connects; every message it sends is to reach every subscriber [default: as the dialect has it, for auto the URL with /publish for /ws]
    #[arg(long)]
    publish_url: Option<Url>,
    /// How the server is spoken to
    #[arg(long, value_enum, default_value_t = dialect::Name::Auto)]
    dialect: dialect::Name,
    /// Subscribers
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..))]
    clients: u32,
    /// Topics; they take turns
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    topics: u32,
    /// Topics that each subscriber holds
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    topics_per_subscriber: u32,
    /// Bytes of a payload
    #[arg(long, default_value_t = 128, value_parser = clap::value_parser!(u32).range(i64::from(SIZE_MIN)..=16 << 20))]
    size: u32,
    /// Payloads of several sizes, drawn evenly, e.g. 200..2000
    #[arg(long, value_parser = sizes, conflicts_with = "size")]
    sizes: Option<(u32, u32)>,
    /// Payloads of the sizes of a recorded feed's messages
    #[arg(long, value_name = "FILE", conflicts_with_all = ["size", "sizes"])]
    sizes_from: Option<PathBuf>,
    /// Publications in flight, on the average of the subscribers: 1 leaves a server nothing to coalesce, 16 does
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1 << 20))]
    in_flight: u32,
    /// Those in flight leave together, when all before them have reached everyone
    #[arg(long, conflicts_with = "rate")]
    together: bool,
    /// Publications a second, on schedule, in place of a number in flight
    #[arg(long, conflicts_with = "in_flight", value_parser = options::positive)]
    rate: Option<f64>,
    /// Another client connects here and pings during the run, one ping at a time; the server must allow 200 a second
    #[arg(long)]
    ping_url: Option<Url>,
}

const EXAMPLES: &str = "\
Examples:
  One publication at a time to a thousand subscribers of the gateway in demo mode:
    tidegate-loadtest fanout --url ws://127.0.0.1:8080/ws/demo.load \\
        --server-pid $(pidof tidegate)
  Sixteen in flight, so that a server may coalesce, with a page of plots:
    tidegate-loadtest fanout --url ws://127.0.0.1:8080/ws/demo.load --in-flight 16 \\
        --report fanout.html
  Fifty of 5,000 topics for each of a thousand clients, 20,000 publications a second, on schedule:
    tidegate-loadtest fanout --dialect tidegate --url ws://127.0.0.1:8080 --topics 5000 \\
        --topics-per-subscriber 50 --rate 20000
  One client's ping while 10,000 subscribers are served ten times a second:
    tidegate-loadtest fanout --url ws://127.0.0.1:8080/ws/demo.load --clients 10000 --rate 10 \\
        --ping-url ws://127.0.0.1:8080/ws

What comes is checked byte by byte, and latency counts from the moment for which a publication was scheduled. A row \
whose generator was busier than 0.8 of a core is void. docs/loadtest.md has the method.";

/// `200..2000`
fn sizes(text: &str) -> Result<(u32, u32), String> {
    let ends = text.split_once("..").and_then(|(least, most)| Some((least.parse().ok()?, most.parse().ok()?)));
    match ends {
        Some((least, most)) if (SIZE_MIN..=16 << 20).contains(&most) && (SIZE_MIN..=most).contains(&least) => Ok((least, most)),
        _ => Err(format!("two numbers of bytes from {SIZE_MIN} up are needed, like 200..2000")),
    }
}

/// Connects, warms up, measures.
pub(crate) fn run(arguments: &Arguments) -> io::Result<Figures> {
    let options = &arguments.options;
    if arguments.topics_per_subscriber > arguments.topics {
        let (held, topics) = (arguments.topics_per_subscriber, arguments.topics);
        return Err(io::Error::other(format!("--topics-per-subscriber {held} is more than --topics {topics}")));
    }
    let payloads = payloads(arguments)?;
    let together = if arguments.rate.is_some() { 16 } else { u64::from(arguments.in_flight) };
    let plan = options.plan(u64::from(arguments.clients) + 1, together * (payloads.size_max() as u64 + 16))?;
    let team = Team::new(&plan);
    let wanted = Wanted {
        subscribers: arguments.clients,
        topics: arguments.topics,
        topics_per_subscriber: arguments.topics_per_subscriber,
        payloads,
        pace: match (arguments.rate, u64::from(arguments.in_flight)) {
            (Some(rate), _) => Pace::Rate(rate),
            (None, count) if arguments.together => Pace::Together(count),
            (None, count) => Pace::InFlight(count),
        },
        dialect: arguments.dialect.dialect(),
        publish_url: arguments.publish_url.clone(),
    };
    let scene = Scene::new(wanted, options, plan.workers)?;
    let measure = || run::run(&plan, &team, |worker| Ok(Audience::new(&team, &scene, worker)));
    let (measured, pings) = match &arguments.ping_url {
        None => (measure()?, None),
        Some(url) => {
            let (measured, times_ns) = ping::beside(url, histogram(), measure)?;
            (measured, Some(Latency::of(&times_ns)))
        }
    };
    let mut figures = describe(arguments, measured.0);
    figures.extra.insert(String::from("publications"), scene.course.done().into());
    if let Some(pings) = pings {
        figures.extra.insert(String::from("ping_us"), serde_json::to_value(&pings).expect("numbers are JSON"));
    }
    Ok(figures)
}

fn payloads(arguments: &Arguments) -> io::Result<Payloads> {
    let sizes = match (&arguments.sizes_from, arguments.sizes) {
        (Some(file), _) => Recording::read(file)?.sizes().map(|size| (size as u32).max(SIZE_MIN)).collect(),
        (None, Some((least, most))) => (0..SIZES_DRAWN).map(|place| least + (most - least) * place / (SIZES_DRAWN - 1)).collect(),
        (None, None) => vec![arguments.size],
    };
    Ok(Payloads::new(sizes))
}

fn describe(arguments: &Arguments, figures: Figures) -> Figures {
    let figures = arguments
        .options
        .describe("fanout", figures)
        .with_dialect(arguments.dialect.text())
        .with_parameter("clients", arguments.clients)
        .with_parameter("topics", arguments.topics)
        .with_parameter("topics_per_subscriber", arguments.topics_per_subscriber);
    let figures = match (&arguments.sizes_from, arguments.sizes) {
        (Some(file), _) => figures.with_parameter("sizes_from", file.to_string_lossy().into_owned()),
        (None, Some((least, most))) => figures.with_parameter("sizes", format!("{least}..{most}")),
        (None, None) => figures.with_parameter("size", arguments.size),
    };
    match arguments.rate {
        None => figures.with_parameter("in_flight", arguments.in_flight),
        Some(rate) => figures.with_parameter("rate", rate),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_a_range_that_a_payload_can_have() {
        assert_eq!(sizes("200..2000"), Ok((200, 2000)));
        for wrong in ["200", "200..", "..2000", "2000..200", "1..200", "a..b", "200..99999999"] {
            assert!(sizes(wrong).unwrap_err().contains("200..2000"), "{wrong}");
        }
    }
}
