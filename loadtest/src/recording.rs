//! A recorded feed, read whole: when each message came, and its bytes.
//!
//! Lines are `<time> <message>` with the time in nanoseconds, or `<time>: <message>` with the time in seconds; a message is JSON.
//! Other lines are the recorder's log and are left out. Gzip or plain. Read by lines of its own, not by the gateway's.

use std::io::{self, Read};
use std::ops::Range;
use std::path::Path;

use flate2::read::MultiGzDecoder;

/// Times up to this are seconds, which are then those of the year 2286.
const SECONDS_MAX: u64 = 10_000_000_000;

#[derive(Clone, Debug)]
pub(crate) struct Recording {
    text: Vec<u8>,
    messages: Vec<Range<usize>>,
    /// When each came, from the first one on.
    offsets_ns: Vec<u64>,
}

impl Recording {
    /// # Errors
    /// A sentence that names the file.
    pub(crate) fn read(path: &Path) -> io::Result<Recording> {
        let explained = |error: io::Error| io::Error::new(error.kind(), format!("the recording {}: {error}", path.display()));
        let mut bytes = std::fs::read(path).map_err(explained)?;
        if bytes.starts_with(&[0x1f, 0x8b]) {
            let mut text = Vec::new();
            MultiGzDecoder::new(&bytes[..]).read_to_end(&mut text).map_err(explained)?;
            bytes = text;
        }
        let recording = Recording::of(bytes);
        if recording.messages.is_empty() {
            return Err(explained(io::Error::other("no line is a time and a JSON message")));
        }
        Ok(recording)
    }

    fn of(text: Vec<u8>) -> Recording {
        let (mut messages, mut times) = (Vec::new(), Vec::new());
        let mut start = 0;
        while start < text.len() {
            let end = text[start..].iter().position(|byte| *byte == b'\n').map_or(text.len(), |length| start + length);
            if let Some((time_ns, skipped)) = message_of(&text[start..end]) {
                times.push(time_ns);
                messages.push(start + skipped..end);
            }
            start = end + 1;
        }
        // A recorder's clock may have been set back; a schedule never goes back.
        let mut latest = times.first().copied().unwrap_or(0);
        let first = latest;
        let forward = |time: u64| {
            latest = latest.max(time);
            latest - first
        };
        let offsets_ns = times.into_iter().map(forward).collect();
        Recording { text, messages, offsets_ns }
    }

    pub(crate) fn len(&self) -> usize {
        self.messages.len()
    }

    pub(crate) fn message(&self, index: usize) -> &[u8] {
        &self.text[self.messages[index].clone()]
    }

    /// When a message came, from the first one on.
    pub(crate) fn offset_ns(&self, index: usize) -> u64 {
        self.offsets_ns[index]
    }

    /// From the first message to the last.
    pub(crate) fn duration_ns(&self) -> u64 {
        self.offsets_ns.last().copied().unwrap_or(0)
    }

    /// The sizes of all messages.
    pub(crate) fn sizes(&self) -> impl Iterator<Item = usize> {
        self.messages.iter().map(Range::len)
    }
}

/// When a line's message came and where in the line it begins; none for a line without.
fn message_of(line: &[u8]) -> Option<(u64, usize)> {
    let space = line.iter().position(|byte| *byte == b' ')?;
    if !matches!(line.get(space + 1), Some(b'{' | b'[')) {
        return None;
    }
    let word = std::str::from_utf8(&line[..space]).ok()?;
    let word = word.strip_suffix(':').unwrap_or(word);
    let time_ns = match word.parse::<u64>() {
        Ok(time) if time > SECONDS_MAX => Some(time),
        _ => seconds_ns(word),
    };
    Some((time_ns?, space + 1))
}

/// Seconds with or without a fraction, read as decimals: a float of today's seconds knows no single nanosecond.
fn seconds_ns(word: &str) -> Option<u64> {
    let (whole, fraction) = word.split_once('.').unwrap_or((word, ""));
    let whole = whole.parse::<u64>().ok().filter(|seconds| *seconds <= SECONDS_MAX)?;
    let nine: String = fraction.chars().chain(std::iter::repeat('0')).take(9).collect();
    Some(whole * 1_000_000_000 + nine.parse::<u64>().ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_are_read_and_a_log_is_left_out() {
        let text =
            "wss://x <-> 16.8\n1723161255030314667 {\"a\":1}\n1723161255030314000 [2]\n1723161256030314667 {\"b\":3}\n\nend\n";
        let recording = Recording::of(text.as_bytes().to_vec());
        let messages: Vec<_> = (0..recording.len()).map(|index| recording.message(index)).collect();
        assert_eq!(messages, [&b"{\"a\":1}"[..], b"[2]", b"{\"b\":3}"]);
        assert_eq!(recording.offsets_ns, [0, 0, 1_000_000_000], "a clock that was set back waits");
        let recording = Recording::of(b"1618677817.25: {\"a\":1}\n1618677817.5: {\"b\":2}".to_vec());
        assert_eq!((recording.len(), recording.duration_ns()), (2, 250_000_000));
        assert_eq!(recording.sizes().collect::<Vec<_>>(), [7, 7]);
    }
}
