//! `tidegate publish`: each line of the input is one publication, untouched.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;

use clap::Args;

use super::client::{Client, Lost, Sender};
use super::endpoint::{Endpoint, push_encoded};
use super::{CommandError, print};
use crate::config::forms;
use crate::ws::{CloseCode, Opcode, frame};

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
}

const EXAMPLES: &str = "\
Each line is one publication, without its line end: text where it is UTF-8, else binary. Empty lines are left out.
Ends when the gateway has taken all of it, and says how many there were.

Examples:
  echo '{\"price\":\"101.5\"}' | tidegate publish demo.mine
  tidegate publish demo.mine lines.ndjson --url ws://127.0.0.1:9000";

fn topic(text: &str) -> Result<String, String> {
    forms::topic(text).map(|()| text.into())
}

/// Publishes all lines and waits until the gateway has taken them.
pub(super) fn run(args: &PublishArgs) -> Result<(), CommandError> {
    let input = open(args.file.as_deref())?;
    let mut path = "/publish/".to_owned();
    push_encoded(&mut path, &args.topic);
    let mut endpoint = args.url.clone();
    endpoint.authority.clone_from(&args.ca);
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

/// One thread reads lines and sends them, this one answers pings and waits for the gateway's close: a gateway that holds
/// publishers back must not keep the other direction from being read, and one that goes away must not leave us waiting for
/// the next line.
pub(super) fn publish(mut client: Client, input: Box<dyn Read + Send>) -> Result<u64, CommandError> {
    let sent = Arc::new(AtomicU64::new(0));
    let (done, outcome) = mpsc::channel();
    thread::spawn({
        let (sender, sent) = (client.sender().clone(), Arc::clone(&sent));
        move || {
            let outcome = send_lines(input, &sender, &sent);
            // Told before the close frame leaves, so that it is known when the answer comes. If the connection is lost, nobody
            // listens any more, and the loss is what is told.
            let _ = done.send(outcome);
            let _ = sender.close();
        }
    });
    let lost = loop {
        match client.receive(|_| ControlFlow::<()>::Continue(())) {
            Ok(_) => {}
            Err(lost) => break lost,
        }
    };
    // RFC 6455 7.1.5: the close that answers ours bears our code. The gateway reads in order, so it has taken what came before.
    match (outcome.try_recv(), lost) {
        (Ok(Ok(())), Lost::Closed(CloseCode::NORMAL | CloseCode::NONE_RECEIVED, _)) => Ok(sent.load(Ordering::Acquire)),
        (Ok(Err(SendError::Input(error))), _) => {
            let lines = counted(sent.load(Ordering::Acquire), "line");
            Err(CommandError::Client(format!("the input cannot be read ({error}); what came before it was published: {lines}")))
        }
        (_, lost) => {
            let lines = counted(sent.load(Ordering::Acquire), "line");
            let advice = match &lost {
                Lost::Closed(CloseCode::TOO_BIG, _) => "a line is longer than publication_bytes_max allows",
                _ => "of which the gateway may not have taken the last",
            };
            Err(CommandError::Client(format!("{lost}; {lines} sent, {advice}")))
        }
    }
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
fn send_lines(input: Box<dyn Read + Send>, sender: &Sender, sent: &AtomicU64) -> Result<(), SendError> {
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
            sender.send_frames(&frames)?;
            sent.fetch_add(count, Ordering::Release);
            frames.clear();
            count = 0;
        }
    };
    sender.send_frames(&frames)?;
    sent.fetch_add(count, Ordering::Release);
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
