//! `tidegate publish`: each line of the input is one publication, untouched.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;

use clap::Args;
use serde::Deserialize;

use super::client::{Client, Lost, Sender};
use super::endpoint::{Endpoint, push_encoded};
use super::token::TokenArgs;
use super::{CommandError, print};
use crate::config::forms;
use crate::ws::{CloseCode, Message, Opcode, frame};

/// Frames of lines that came together are sent together, up to this many bytes.
const BATCH_BYTES: usize = 64 << 10;

/// What `tidegate publish` takes.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct PublishArgs {
    /// The topic
    #[arg(value_name = "TOPIC", value_parser = topic)]
    topic: String,
    /// File whose lines are published; - or nothing: standard input
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
    /// The gateway
    #[arg(long, value_name = "URL", default_value = Endpoint::DEFAULT, value_parser = Endpoint::parse)]
    url: Endpoint,
    /// With wss://: authorities (PEM) that are trusted besides this machine's own
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    #[command(flatten)]
    token: TokenArgs,
}

const EXAMPLES: &str = "\
Each line is one publication, without its line end: text where it is UTF-8, else binary. Empty lines are left out.
Ends once the gateway has acknowledged all of it (what has a journal is written by then), and says how many there were. If
the connection ends before, says how many were not acknowledged, and exits with 2.

Examples:
  echo '{\"price\":\"101.5\"}' | tidegate publish demo.mine
  tidegate publish demo.mine lines.ndjson --url ws://127.0.0.1:9000
  tidegate publish md.bbo --url wss://feed.example.com --token-file /run/secrets/feed.jwt";

fn topic(text: &str) -> Result<String, String> {
    forms::topic(text).map(|()| text.into())
}

/// Publishes all lines and waits until the gateway has taken them.
pub(super) fn run(args: &PublishArgs) -> Result<(), CommandError> {
    let input = open(args.file.as_deref())?;
    let mut path = "/publish/".to_owned();
    push_encoded(&mut path, &args.topic);
    path.push_str("?ack=1");
    let mut endpoint = args.url.clone();
    endpoint.authority.clone_from(&args.ca);
    endpoint.token = args.token.source();
    endpoint.warn_of_listeners();
    let client = Client::connect(&endpoint, &path, None).map_err(|error| CommandError::Client(error.to_string()))?;
    let count = publish(client, input)?;
    print(&format!("{} on {}\n", counted(count, "publication"), args.topic))
}

fn counted(count: u64, thing: &str) -> String {
    if count == 1 { format!("1 {thing}") } else { format!("{count} {thing}s") }
}

fn open(file: Option<&Path>) -> Result<Box<dyn Read + Send>, CommandError> {
    match file {
        Some(file) if file != Path::new("-") => {
            let unreadable = |source| CommandError::Unreadable { what: "the input", file: file.into(), source };
            Ok(Box::new(File::open(file).map_err(unreadable)?))
        }
        _ => Ok(Box::new(io::stdin())),
    }
}

/// How far the lines have come, for who sends them and who hears of them.
#[derive(Default)]
struct Progress {
    sent: u64,
    /// So many of them the gateway has acknowledged.
    taken: u64,
    /// The input's end, once it has come.
    end: Option<io::Result<()>>,
}

impl Progress {
    /// Once all is sent and acknowledged there is nothing left to wait for.
    fn close_if_done(&self, sender: &Sender) {
        if self.is_done() {
            // If the connection is lost, the other thread meets it too.
            let _ = sender.close();
        }
    }

    fn is_done(&self) -> bool {
        self.end.is_some() && self.taken >= self.sent
    }
}

/// What a gateway says to a publisher that asked for it.
#[derive(Deserialize)]
struct Ack {
    ack: u64,
}

/// One thread reads lines and sends them, this one answers pings and hears what was taken: a gateway that holds publishers
/// back must not keep the other direction from being read, and one that goes away must not leave us waiting for the next line.
pub(super) fn publish(mut client: Client, input: Box<dyn Read + Send>) -> Result<u64, CommandError> {
    let progress = Arc::new(Mutex::new(Progress::default()));
    thread::spawn({
        let (sender, progress) = (client.sender().clone(), Arc::clone(&progress));
        move || {
            let end = match send_lines(input, &sender, &progress) {
                Ok(()) => Ok(()),
                Err(SendError::Input(error)) => Err(error),
                Err(SendError::Connection) => return,
            };
            let mut progress = lock(&progress);
            progress.end = Some(end);
            progress.close_if_done(&sender);
        }
    });
    let sender = client.sender().clone();
    let lost = loop {
        let hear = |message: Message<'_>| {
            if let Ok(Ack { ack }) = serde_json::from_slice(&message.bytes) {
                let mut progress = lock(&progress);
                progress.taken = ack;
                progress.close_if_done(&sender);
            }
            ControlFlow::<()>::Continue(())
        };
        if let Err(lost) = client.receive(hear) {
            break lost;
        }
    };
    let mut progress = lock(&progress);
    if progress.is_done() {
        let lines = counted(progress.sent, "line");
        return match progress.end.take().expect("it is done") {
            Ok(()) => Ok(progress.sent),
            Err(error) => Err(CommandError::Client(format!(
                "the input cannot be read ({error}); what came before it was published: {lines}"
            ))),
        };
    }
    let Progress { sent, taken, .. } = *progress;
    let (lines, left) = (counted(sent, "line"), sent.saturating_sub(taken));
    let advice = match &lost {
        Lost::Closed(CloseCode::TOO_BIG, _) => "; a line is longer than publication_bytes_max allows",
        _ => "",
    };
    let known = match left {
        0 => "all acknowledged; the rest of the input is not sent".to_owned(),
        _ => format!("{taken} acknowledged, {left} not: those may be lost"),
    };
    Err(CommandError::Client(format!("{lost}; {lines} sent, {known}{advice}")))
}

fn lock(progress: &Mutex<Progress>) -> MutexGuard<'_, Progress> {
    progress.lock().expect("nobody panics with it")
}

enum SendError {
    Input(io::Error),
    /// The other thread meets it too, and knows more.
    Connection,
}

impl From<io::Error> for SendError {
    fn from(_: io::Error) -> SendError {
        SendError::Connection
    }
}

/// Sends each line as a frame, up to the end or to where the input breaks off.
fn send_lines(input: Box<dyn Read + Send>, sender: &Sender, progress: &Mutex<Progress>) -> Result<(), SendError> {
    let mut reader = BufReader::with_capacity(BATCH_BYTES, input);
    let (mut line, mut frames, mut count) = (Vec::new(), Vec::new(), 0);
    let outcome = loop {
        line.clear();
        match reader.read_until(b'\n', &mut line) {
            Ok(0) => break Ok(()),
            Ok(_) => {}
            Err(error) => break Err(SendError::Input(error)),
        }
        let line = without_line_end(&line);
        if !line.is_empty() {
            let opcode = if simdutf8::basic::from_utf8(line).is_ok() { Opcode::Text } else { Opcode::Binary };
            frame::write(&mut frames, opcode, line, Some(rand::random()));
            count += 1;
        }
        if frames.len() >= BATCH_BYTES || reader.buffer().is_empty() {
            lock(progress).sent += count;
            sender.send_frames(&frames)?;
            frames.clear();
            count = 0;
        }
    };
    lock(progress).sent += count;
    sender.send_frames(&frames)?;
    outcome
}

fn without_line_end(line: &[u8]) -> &[u8] {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    line.strip_suffix(b"\r").unwrap_or(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_ends_are_left_out() {
        for (line, payload) in [
            ("a\n", "a"),
            ("a\r\n", "a"),
            ("a", "a"),
            ("\n", ""),
            ("\r\n", ""),
            ("a\r", "a"),
            ("a\rb\n", "a\rb"),
            ("a\n\n", "a\n"),
        ] {
            assert_eq!(without_line_end(line.as_bytes()), payload.as_bytes(), "{line:?}");
        }
    }
}
