//! The floor: what the kernel alone takes for a fan-out, so that figures can be told as multiples of it.
//!
//! Two servers that do nothing else ([`server`]) send the same bytes to the same receivers as any other server would have: one
//! with `send()`, one with the gateway's own ring. Their process is measured as any server's is.

mod plain;
mod ring;
mod server;

use std::io;
use std::net::SocketAddr;

/// What to run.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Only serve this way, for measuring by another process; prints where it listens
    #[arg(long)]
    serve: Option<WayName>,
    /// Where to listen with --serve
    #[arg(long, default_value = "127.0.0.1:0", requires = "serve")]
    listen: SocketAddr,
    /// Subscribers
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..))]
    clients: u32,
    /// Messages of one send
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1024))]
    messages: u32,
}

/// How the kernel is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum WayName {
    /// `send()` for each subscriber.
    Send,
    /// Sends of io_uring, 256 a call, on direct descriptors.
    Uring,
}

pub(crate) fn run(arguments: &Arguments) -> io::Result<()> {
    if let Some(way) = arguments.serve {
        serve(way, arguments)?;
    }
    Ok(())
}

/// Serves until it is ended from outside.
fn serve(way: WayName, arguments: &Arguments) -> io::Result<()> {
    let say = |address: SocketAddr| println!("clients  ws://{address}");
    match way {
        WayName::Send => {
            let plain = plain::Plain::listen(arguments.listen)?;
            say(plain.address()?);
            server::serve(plain, arguments.messages)
        }
        WayName::Uring => {
            let ring = ring::Ring::listen(arguments.listen, arguments.clients + 64)?;
            say(ring.address());
            server::serve(ring, arguments.messages)
        }
    }
}
