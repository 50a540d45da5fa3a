//! The client role before Autobahn's fuzzing server: every case on a connection of its own, every message sent back.
//!
//! Without: a judgement. The server judges, and writes its report when it is asked at the end. What goes wrong in a case is
//! the case's own affair, so only the connections around the cases can fail.

use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use tidegate::ws::{Assembler, CloseCode, Connection, Event, Limits, MessageKind, Opcode, Role, frame};

use crate::client::{Keys, Url, open};

/// The suite's largest message, and its smallest fragments of 4 MiB.
const LIMITS: Limits = Limits { message_bytes_max: 16 << 20, fragments_max: 1 << 16 };

/// How long the server may say nothing. Its own time-outs are a tenth of this.
const PATIENCE: Duration = Duration::from_secs(100);

/// The name in the server's report.
const AGENT: &str = "tidegate";

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// The fuzzing server, like ws://127.0.0.1:9001.
    #[arg(long)]
    url: Url,
}

/// Runs all cases; how many there were.
pub(crate) fn run(arguments: &Arguments) -> io::Result<u32> {
    let mut keys = Keys::new();
    let mut said = None;
    connect(arguments, "/getCaseCount", &mut keys)?.run(&mut keys, |_, bytes| {
        said = Some(String::from_utf8_lossy(bytes).into_owned());
        None
    })?;
    let cases = said.as_deref().and_then(|count| count.parse().ok());
    let cases = cases.ok_or_else(|| io::Error::other(format!("no number of cases, but {said:?}")))?;
    for case in 1..=cases {
        let echo = |kind, bytes: &[u8]| Some((kind, bytes.to_vec()));
        let client = connect(arguments, &format!("/runCase?case={case}&agent={AGENT}"), &mut keys)?;
        client.run(&mut keys, echo).map_err(|error| io::Error::new(error.kind(), format!("case number {case}: {error}")))?;
    }
    connect(arguments, &format!("/updateReports?agent={AGENT}"), &mut keys)?.run(&mut keys, |_, _| None)?;
    Ok(cases)
}

/// One connection, which blocks.
struct Peer {
    stream: TcpStream,
    early: Vec<u8>,
}

fn connect(arguments: &Arguments, target: &str, keys: &mut Keys) -> io::Result<Peer> {
    let url = Url { target: target.to_owned(), ..arguments.url.clone() };
    let (stream, early) = open(&url, keys)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    Ok(Peer { stream, early })
}

impl Peer {
    /// Reads to the connection's end and sends what `answer` gives for each message. The server may end a connection in the
    /// middle of anything, which is part of some cases.
    fn run(self, keys: &mut Keys, answer: impl FnMut(MessageKind, &[u8]) -> Option<(MessageKind, Vec<u8>)>) -> io::Result<()> {
        match self.converse(keys, answer) {
            Err(error) if matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe) => Ok(()),
            done => done,
        }
    }

    fn converse(
        mut self,
        keys: &mut Keys,
        mut answer: impl FnMut(MessageKind, &[u8]) -> Option<(MessageKind, Vec<u8>)>,
    ) -> io::Result<()> {
        let mut connection = Connection::new(Role::Client);
        let mut assembler = Assembler::default();
        let mut buffer = vec![0; 256 << 10];
        let mut input = self.early;
        loop {
            let mut out = Vec::new();
            let mut rest = &mut input[..];
            let over = loop {
                match connection.next(&LIMITS, &mut rest) {
                    Ok(None) => break false,
                    Ok(Some(Event::Data { kind, bytes, first, last })) => {
                        let message = assembler.add(kind, bytes, first, last);
                        if let Some((kind, bytes)) = message.and_then(|message| answer(kind, &message.bytes)) {
                            let opcode = if kind == MessageKind::Text { Opcode::Text } else { Opcode::Binary };
                            frame::write(&mut out, opcode, &bytes, Some(keys.next()));
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

/// Writes a close frame. True: nothing comes after it.
fn close(out: &mut Vec<u8>, code: CloseCode, keys: &mut Keys) -> bool {
    frame::write_close(out, code, "", Some(keys.next()));
    true
}
