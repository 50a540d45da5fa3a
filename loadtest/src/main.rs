//! Load generator for WebSocket gateways: any server that sends on what a publisher connection gets can be measured.
//!
//! It shares the protocol core with the gateway (`tidegate::ws`) and nothing else: sockets, waiting and checking are its own,
//! on plain epoll, so that the gateway's ring is not measured with itself.

mod autobahn;
mod client;
mod fanout;
#[allow(dead_code, reason = "the scenarios move to it one by one")]
mod figures;
mod floor;
mod page;
mod ping;
mod process;
#[allow(dead_code, reason = "the scenarios move to it one by one")]
mod progress;
mod report;
mod secure;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

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
    /// One publisher, many subscribers, a closed loop: a publication is done when every subscriber has it.
    Fanout(fanout::Arguments),
    /// The bare kernel: what a fan-out takes at least.
    Floor(floor::Arguments),
    /// Puts saved runs side by side on one self-contained HTML page.
    Report(page::saved::Arguments),
}

fn main() -> ExitCode {
    let done = match Arguments::parse().task {
        Task::Autobahn(arguments) => autobahn::run(&arguments).map(|cases| format!("{cases} cases ran")),
        Task::Floor(arguments) => floor::run(&arguments).map(|()| String::new()),
        Task::Report(arguments) => page::saved::run(&arguments),
        Task::Fanout(arguments) => {
            fanout::run(&arguments).map(|report| if arguments.json { report.to_json() } else { report.to_table() })
        }
    };
    match done {
        Ok(said) => {
            println!("{said}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(2)
        }
    }
}
