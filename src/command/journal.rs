//! `tidegate journal`: says whether a journal's files are whole, and prints what they hold.

use std::borrow::Cow;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use clap::{Args, Subcommand};
use serde_json::json;

use super::{CommandError, say};
use crate::hub::{Key, PayloadKind, Publication, SourceGap, TopicName};
use crate::journal::JournalError;
use crate::journal::records::Ending;
use crate::journal::segment::{self, Segment};

/// What `tidegate journal` takes.
#[derive(Debug, Args)]
pub(super) struct JournalArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Reads files to their end and says what they hold and whether they are whole
    Verify(Files),
    /// Prints each publication as `<microseconds> {"stream":...,"o":...,"data":...}`, which a replay plays as it stands
    Dump(Files),
}

#[derive(Debug, Args)]
struct Files {
    /// Segments, or the directory of a topic's segments
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
}

/// Reads the files.
pub(super) fn run(args: &JournalArgs) -> Result<(), CommandError> {
    let mut output = BufWriter::new(io::stdout().lock());
    let (What::Verify(Files { files }) | What::Dump(Files { files })) = &args.what;
    let mut damaged = Vec::new();
    for path in files.iter().map(|path| segment::files(path)).collect::<Result<Vec<_>, _>>()?.concat() {
        let read = match args.what {
            What::Verify(_) => verify(&path, &mut output),
            What::Dump(_) => dump(&path, &mut output),
        };
        match read {
            Ok(()) => {}
            Err(ReadError::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
            Err(ReadError::Output(error)) => return Err(CommandError::Output(error)),
            Err(ReadError::Journal(error)) => damaged.push(error),
        }
    }
    match output.flush() {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => return Err(CommandError::Output(error)),
        _ => {}
    }
    // The last is the command's own error; all are told.
    let last = damaged.pop();
    damaged.iter().for_each(|error| say(&error.to_string()));
    last.map_or(Ok(()), |error| Err(error.into()))
}

enum ReadError {
    Journal(JournalError),
    Output(io::Error),
}

impl From<JournalError> for ReadError {
    fn from(error: JournalError) -> ReadError {
        ReadError::Journal(error)
    }
}

impl From<io::Error> for ReadError {
    fn from(error: io::Error) -> ReadError {
        ReadError::Output(error)
    }
}

fn verify(path: &Path, output: &mut impl Write) -> Result<(), ReadError> {
    let mut segment = Segment::open(path)?;
    let mut count = 0_u64;
    let read = loop {
        match segment.next_publication() {
            Ok(Some(_)) => count += 1,
            Ok(None) => break Ok(()),
            Err(error) => break Err(error),
        }
    };
    let ending = match (&read, segment.ending()) {
        (Err(_), _) => "damaged".into(),
        (Ok(()), Ending::Closed) => "closed in order".into(),
        (Ok(()), Ending::Open) => "whole, not closed".into(),
        (Ok(()), Ending::Cut { at }) => format!("whole up to byte {at}, where a record is cut off"),
    };
    let path = path.display();
    match segment.header() {
        Some(header) => writeln!(
            output,
            "{path}: {}, epoch {}, {count} publications from offset {}, {ending}",
            header.topic, header.epoch, header.first
        )?,
        None => writeln!(output, "{path}: it ends within its header, so nothing of it counts")?,
    }
    Ok(read?)
}

fn dump(path: &Path, output: &mut impl Write) -> Result<(), ReadError> {
    let mut segment = Segment::open(path)?;
    let Some(topic) = segment.header().map(|header| header.topic.clone()) else { return Ok(()) };
    while let Some(publication) = segment.next_publication()? {
        output.write_all(line(&topic, &publication).as_bytes())?;
        output.write_all(publication_text(&publication).as_bytes())?;
        output.write_all(b"}\n")?;
    }
    Ok(())
}

/// All of the line before the payload, which stands last.
fn line(topic: &TopicName, publication: &Publication) -> String {
    let Publication { offset, unix_us, marks, .. } = publication;
    let mut line = format!("{unix_us} {{\"stream\":{},\"o\":{offset},", json!(topic.as_str()));
    if let Some(key) = &marks.key {
        line.push_str(&format!("\"key\":{},", json!(Key::as_str(key))));
    }
    if marks.removes {
        line.push_str("\"remove\":true,");
    }
    if let Some(SourceGap { messages }) = marks.gap {
        line.push_str(&format!("\"sourceGap\":{},", json!(messages)));
    }
    line
}

fn publication_text(publication: &Publication) -> String {
    let bytes = &publication.payload.bytes;
    match publication.payload.kind {
        PayloadKind::Binary => format!("\"b64\":\"{}\"", BASE64.encode(bytes)),
        // A payload may have been published over several lines; as JSON it says the same on one.
        PayloadKind::Json => format!("\"data\":{}", one_line(&String::from_utf8_lossy(bytes))),
        PayloadKind::Text => format!("\"data\":{}", json!(String::from_utf8_lossy(bytes))),
    }
}

/// JSON without line ends: they stand between its parts only, never within a string.
fn one_line(json: &str) -> Cow<'_, str> {
    if json.contains(['\n', '\r']) { json.replace(['\n', '\r'], " ").into() } else { json.into() }
}
