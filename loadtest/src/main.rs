//! Load generator for WebSocket gateways: any server that sends on what a publisher connection gets can be measured.
//!
//! It shares with the gateway the protocol core and the kernel's seam (`tidegate::ws`, `tidegate::http`, `tidegate::reactor`), since
//! a generator must be faster than what it measures, and nothing else: topics, order, schedules and checks are its own. What keeps
//! it honest is that every byte which comes is compared with what was sent, and that foreign clients and servers are driven beside
//! it (`tests/foreign`, Autobahn, the peers of `scripts/compare`).
//!
//! [`run`] says how a scenario is made: workers, each with an [`engine`] of [`link`]s and a load of its own. [`options`] are the
//! flags of all scenarios, [`figures`] what comes out.

mod autobahn;
mod client;
mod course;
#[expect(dead_code, reason = "the dialects that need all of it follow")]
mod dialect;
#[expect(dead_code, reason = "the scenarios that need all of it follow")]
mod engine;
mod fanout;
mod figures;
mod keys;
#[expect(dead_code, reason = "the scenarios that need all of it follow")]
mod link;
mod options;
mod payload;
mod ping;
mod process;
mod publisher;
mod recorder;
mod run;
mod secure;
mod subscribers;
mod table;
mod url;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use self::figures::Figures;

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
}

fn main() -> ExitCode {
    let done = match Arguments::parse().task {
        Task::Autobahn(arguments) => autobahn::run(&arguments).map(|cases| {
            println!("{cases} cases ran");
            None
        }),
        Task::Fanout(arguments) => fanout::run(&arguments).map(|figures| Some((figures, arguments.options.json))),
    };
    match done.map(|figures| figures.and_then(|(figures, is_json)| show(&figures, is_json))) {
        Ok(None) => ExitCode::SUCCESS,
        Ok(Some(trouble)) => fail(&trouble),
        Err(error) => fail(&error.to_string()),
    }
}

/// Prints what was measured; gives what ended the run before its time.
fn show(figures: &Figures, is_json: bool) -> Option<String> {
    println!("{}", if is_json { figures.to_json() } else { table::of(figures) });
    figures.ended_early.clone()
}

fn fail(sentence: &str) -> ExitCode {
    eprintln!("{sentence}");
    ExitCode::from(2)
}
