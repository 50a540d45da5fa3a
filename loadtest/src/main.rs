//! Load generator for WebSocket gateways: any server that sends on what a publisher connection gets can be measured.
//!
//! It shares the protocol core with the gateway (`tidegate::ws`) and nothing else: sockets, waiting and checking are its own,
//! on plain epoll, so that the gateway's ring is not measured with itself.

mod client;
mod fanout;
mod ping;
mod process;
mod report;
mod secure;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(version, about)]
struct Arguments {
    #[command(subcommand)]
    load: Load,
}

#[derive(Subcommand)]
enum Load {
    /// One publisher, many subscribers, a closed loop: a publication is done when every subscriber has it.
    Fanout(fanout::Arguments),
}

fn main() -> ExitCode {
    let Load::Fanout(arguments) = Arguments::parse().load;
    let json = arguments.json;
    match fanout::run(&arguments) {
        Ok(report) => {
            println!("{}", if json { report.to_json() } else { report.to_table() });
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(2)
        }
    }
}
