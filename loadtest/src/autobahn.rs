//! The client role before Autobahn's fuzzing server: every case on a connection of its own, every message sent back.
//!
//! Without: a judgement. The server judges, and writes its report when it is asked at the end. What goes wrong in a case is
//! the case's own affair, so only the connections around the cases can fail.

use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use tidegate::ws::deflate::{Compressor, Offer};
use tidegate::ws::{Assembler, CloseCode, Connection, Event, Limits, Message, MessageKind, Opcode, Role, frame};

use crate::client::{Opened, open};
use crate::keys::Keys;
use crate::url::Url;

/// The suite's largest message, its smallest fragments of 4 MiB, and whatever ratio DEFLATE can have.
const LIMITS: Limits = Limits { message_bytes_max: 16 << 20, fragments_max: 1 << 16, inflate_ratio_max: 1032 };

/// All that the cases of groups 12 and 13 ask a client to accept.
const OFFER: Offer = Offer {
    server_no_context_takeover: false,
    client_no_context_takeover: true,
    server_max_window_bits: None,
    client_max_window_bits: Some(15),
};

/// How long the server may say nothing. Its own time-outs are a tenth of this.
const PATIENCE: Duration = Duration::from_secs(100);

/// The name in the server's report.
const AGENT: &str = "tidegate";

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// The fuzzing server, like ws://127.0.0.1:9001.
    #[arg(long)]
    url: Url,
    /// Cases at once.
    #[arg(long, default_value_t = 1)]
    parallel: u32,
}

/// Runs all cases; how many there were.
pub(crate) fn run(arguments: &Arguments) -> io::Result<u32> {
    let mut keys = Keys::new();
    let mut said = None;
    connect(arguments, "/getCaseCount", &mut keys)?.run(&mut keys, |bytes| {
        said = Some(String::from_utf8_lossy(bytes).into_owned());
        false
    })?;
    let cases = said.as_deref().and_then(|count| count.parse().ok());
    let cases = cases.ok_or_else(|| io::Error::other(format!("no number of cases, but {said:?}")))?;
    let next = AtomicU32::new(1);
    thread::scope(|scope| {
        let threads: Vec<_> = (0..arguments.parallel).map(|_| scope.spawn(|| run_cases(arguments, &next, cases))).collect();
        threads.into_iter().try_for_each(|thread| thread.join().expect("a thread that runs cases does not panic"))
    })?;
    connect(arguments, &format!("/updateReports?agent={AGENT}"), &mut keys)?.run(&mut keys, |_| false)?;
    Ok(cases)
}

/// Takes one case after the other, until none is left.
fn run_cases(arguments: &Arguments, next: &AtomicU32, cases: u32) -> io::Result<()> {
    let mut keys = Keys::new();
    loop {
        let case = next.fetch_add(1, Ordering::Relaxed);
        if case > cases {
            return Ok(());
        }
        let client = connect(arguments, &format!("/runCase?case={case}&agent={AGENT}"), &mut keys)?;
        client.run(&mut keys, |_| true).map_err(|error| io::Error::new(error.kind(), format!("case number {case}: {error}")))?;
    }
}

/// One connection, which blocks.
struct Peer {
    stream: TcpStream,
    early: Vec<u8>,
    connection: Connection,
    /// Of what we send, where that was agreed.
    compressor: Option<Compressor>,
}

fn connect(arguments: &Arguments, target: &str, keys: &mut Keys) -> io::Result<Peer> {
    let url = Url { target: target.to_owned(), ..arguments.url.clone() };
    let Opened { stream, early, deflate, .. } = open(&url, Some(OFFER), keys)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let connection = match &deflate {
        Some(agreed) => Connection::with_deflate(Role::Client, agreed),
        None => Connection::new(Role::Client),
    };
    let compressor = deflate.map(|agreed| Compressor::new(agreed.window_bits(Role::Client), agreed.takes_over(Role::Client)));
    Ok(Peer { stream, early, connection, compressor })
}

impl Peer {
    /// Reads to the connection's end and hands over each message; what is true for it is sent back. The server may end a
    /// connection in the middle of anything, which is part of some cases.
    fn run(mut self, keys: &mut Keys, message: impl FnMut(&[u8]) -> bool) -> io::Result<()> {
        match self.converse(keys, message) {
            Err(error) if matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe) => Ok(()),
            done => done,
        }
    }

    fn converse(&mut self, keys: &mut Keys, mut is_echoed: impl FnMut(&[u8]) -> bool) -> io::Result<()> {
        let mut assembler = Assembler::default();
        let mut buffer = vec![0; 256 << 10];
        let mut input = std::mem::take(&mut self.early);
        loop {
            let mut out = Vec::new();
            let mut rest = &mut input[..];
            let over = loop {
                match self.connection.next(&LIMITS, &mut rest) {
                    Ok(None) => break false,
                    Ok(Some(Event::Data { kind, bytes, first, last })) => {
                        if let Some(whole) = assembler.add(kind, bytes, first, last)
                            && is_echoed(&whole.bytes)
                        {
                            write(&mut out, &whole, self.compressor.as_mut(), keys.next());
                        }
                    }
                    Ok(Some(Event::Ping(payload))) => frame::write(&mut out, Opcode::Pong, &payload, Some(keys.next())),
                    Ok(Some(Event::Pong(_))) => {}
                    // RFC 6455 5.5.1: a close frame is answered with one that echoes its code.
                    Ok(Some(Event::Close(Some((code, _))))) => break close(&mut out, code, keys),
                    Ok(Some(Event::Close(None))) => {
                        frame::write(&mut out, Opcode::Close, &[], Some(keys.next()));
                        break true;
                    }
                    Err(error) => break close(&mut out, error.close_code(), keys),
                }
            };
            self.stream.write_all(&out)?;
            if over {
                // RFC 6455 7.1.1: the server closes the TCP connection first; what it sends until then has no meaning.
                while self.stream.read(&mut buffer)? > 0 {}
                return Ok(());
            }
            let length = self.stream.read(&mut buffer)?;
            if length == 0 {
                return Ok(());
            }
            input = buffer[..length].to_vec();
        }
    }
}

fn write(out: &mut Vec<u8>, message: &Message<'_>, compressor: Option<&mut Compressor>, key: [u8; 4]) {
    let opcode = if message.kind == MessageKind::Text { Opcode::Text } else { Opcode::Binary };
    match compressor {
        Some(compressor) => {
            let mut payload = Vec::new();
            compressor.compress(&message.bytes, &mut payload);
            frame::write_compressed(out, opcode, &payload, Some(key));
        }
        None => frame::write(out, opcode, &message.bytes, Some(key)),
    }
}

/// Writes a close frame. True: nothing comes after it.
fn close(out: &mut Vec<u8>, code: CloseCode, keys: &mut Keys) -> bool {
    frame::write_close(out, code, "", Some(keys.next()));
    true
}
