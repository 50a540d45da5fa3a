//! Load generator for WebSocket gateways: any server that sends on what a publisher connection gets can be measured.
//!
//! It shares with the gateway the protocol core and the kernel's seam (`tidegate::ws`, `tidegate::http`, `tidegate::reactor`), since
//! a generator must be faster than what it measures, and nothing else: topics, order, schedules and checks are its own. What keeps
//! it honest is that every byte which comes is compared with what was sent, and that foreign clients and servers are driven beside
//! it (`tests/foreign`, Autobahn, the peers of `scripts/compare`).
//!
//! [`run`] says how a scenario is made: workers, each with an [`engine`] of [`link`]s and a load of its own. [`options`] are the
//! flags of all scenarios, [`figures`] what comes out.

mod arrivals;
mod audience;
mod autobahn;
mod churn;
mod client;
mod course;
mod dialect;
mod echo;
mod engine;
mod fanout;
mod figures;
mod floor;
mod idle;
mod inflated;
mod interrupt;
mod keys;
mod known;
mod link;
mod memory;
mod options;
mod page;
mod payload;
mod ping;
mod process;
mod progress;
mod publisher;
mod recorder;
mod recording;
mod replay;
mod run;
mod scene;
mod secure;
mod slow;
mod source;
mod storm;
mod subscribers;
mod table;
mod url;

use std::io;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use self::figures::Figures;
use self::options::Options;

#[derive(Parser)]
#[command(version, about)]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Runs all cases of Autobahn's fuzzing server against the library's client role; scripts/autobahn --client drives it.
    Autobahn(autobahn::Arguments),
    /// One publisher, many subscribers; a closed loop with a number of publications in flight, or a rate that is kept.
    Fanout(Box<fanout::Arguments>),
    /// A recorded feed to many subscribers, at its own pace or a multiple of it.
    Replay(Box<replay::Arguments>),
    /// Messages that come back; every one is compared with what was sent.
    Echo(Box<echo::Arguments>),
    /// The bare kernel: what a fan-out takes at least, with send() and with the gateway's ring.
    Floor(floor::Arguments),
    /// Clients that only stay: what each costs in memory, and whether all are alive in the end.
    Idle(Box<idle::Arguments>),
    /// Clients that subscribe and unsubscribe all the time, beside publications that are checked.
    Churn(Box<churn::Arguments>),
    /// A share of the readers stalls: what becomes of them, and of the others.
    Slow(Box<slow::Arguments>),
    /// Connects: so many a second, or waves of all clients at once.
    Storm(Box<storm::Arguments>),
    /// Puts saved runs side by side on one self-contained HTML page.
    Report(page::saved::Arguments),
}

fn main() -> ExitCode {
    let done = match Arguments::parse().task {
        Task::Autobahn(arguments) => autobahn::run(&arguments).map(|cases| println!("{cases} cases ran")),
        Task::Fanout(arguments) => show(fanout::run(&arguments), &arguments.options),
        Task::Replay(arguments) => show(replay::run(&arguments), &arguments.options),
        Task::Echo(arguments) => show(echo::run(&arguments), &arguments.options),
        Task::Idle(arguments) => show(idle::run(&arguments), &arguments.options),
        Task::Churn(arguments) => show(churn::run(&arguments), &arguments.options),
        Task::Slow(arguments) => show(slow::run(&arguments), &arguments.options),
        Task::Storm(arguments) => show(storm::run(&arguments), &arguments.options),
        Task::Floor(arguments) => floor::run(&arguments).map(|said| println!("{said}")),
        Task::Report(arguments) => page::saved::run(&arguments).map(|said| println!("{said}")),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(if interrupt::is_caught() { interrupt::EXIT_CODE } else { 2 })
        }
    }
}

/// Prints what was measured and writes its page; what ended the run before its time is an error after that.
fn show(figures: io::Result<Figures>, options: &Options) -> io::Result<()> {
    let figures = figures?;
    println!("{}", if options.json { figures.to_json() } else { table::of(&figures) });
    if let Some(out) = &options.report {
        page::saved::write(out, std::slice::from_ref(&figures), &figures.label, Some(&figures.url))?;
    }
    figures.ended_early.map_or(Ok(()), |why| Err(io::Error::other(why)))
}
