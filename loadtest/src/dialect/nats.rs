//! The NATS client protocol over WebSocket: the same lines as over TCP, in binary messages that need not end where a line does.

use std::io;

use super::{Dialect, Heard, Part};
use crate::link::Outgoing;
use crate::url::Url;

pub(super) struct Nats;

const CONNECT: &str = "CONNECT {\"verbose\":false,\"pedantic\":false,\"lang\":\"rust\",\"version\":\"0\",\"protocol\":1}\r\n";

impl Dialect for Nats {
    fn url(&self, url: &Url, _: Part<'_>) -> io::Result<Url> {
        Ok(url.clone())
    }

    fn greet(&self, part: Part<'_>, out: &mut Outgoing<'_>) -> bool {
        let mut lines = String::from(CONNECT);
        if let Part::Subscriber(topics) = part {
            topics.iter().enumerate().for_each(|(sid, topic)| lines += &format!("SUB {topic} {}\r\n", sid + 1));
        }
        // Answered when all before it is done.
        lines += "PING\r\n";
        out.binary(lines.as_bytes());
        false
    }

    fn publish(&self, topic: &str, _: bool, payload: &[u8], out: &mut Outgoing<'_>) {
        let head = format!("PUB {topic} {}\r\n", payload.len());
        out.binary(&[head.as_bytes(), payload, b"\r\n"].concat());
    }

    fn hear(
        &self,
        message: &[u8],
        held: &mut Vec<u8>,
        out: &mut Outgoing<'_>,
        each: &mut dyn FnMut(Heard<'_>) -> io::Result<()>,
    ) -> io::Result<()> {
        let mut is_asked = false;
        let rest = if held.is_empty() {
            take_lines(message, &mut is_asked, each)?.to_vec()
        } else {
            held.extend_from_slice(message);
            take_lines(held, &mut is_asked, each)?.to_vec()
        };
        *held = rest;
        if is_asked {
            out.binary(b"PONG\r\n");
        }
        Ok(())
    }
}

/// Takes what is whole; gives what is not. `is_asked`: the server pings.
fn take_lines<'m>(
    mut bytes: &'m [u8],
    is_asked: &mut bool,
    each: &mut dyn FnMut(Heard<'_>) -> io::Result<()>,
) -> io::Result<&'m [u8]> {
    while let Some(end) = bytes.windows(2).position(|pair| pair == b"\r\n") {
        let (line, rest) = (&bytes[..end], &bytes[end + 2..]);
        bytes = match line {
            [b'M', b'S', b'G', b' ', words @ ..] => {
                let strange = || io::Error::other(format!("a NATS message without its length: {}", line.escape_ascii()));
                let mut words = words.split(|byte| *byte == b' ');
                let topic = words.next();
                let length = words.next_back().and_then(|word| std::str::from_utf8(word).ok()?.parse::<usize>().ok());
                let length = length.ok_or_else(strange)?;
                let Some(payload) = rest.get(..length + 2) else { return Ok(bytes) };
                each(Heard::Publication { topic, payload: &payload[..length] })?;
                &rest[length + 2..]
            }
            b"PONG" => {
                each(Heard::Ready)?;
                rest
            }
            b"PING" => {
                *is_asked = true;
                rest
            }
            [b'-', b'E', b'R', b'R', ..] => {
                return Err(io::Error::other(format!("the NATS server refuses: {}", line.escape_ascii())));
            }
            // INFO and +OK.
            _ => rest,
        };
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// At every cut the same is heard, and nothing is left over.
    #[test]
    fn lines_are_heard_however_they_are_torn() {
        let stream = b"INFO {\"a\":1}\r\nPONG\r\nMSG demo.load 1 5\r\nab\r\nc\r\nPING\r\nMSG demo.load 2 reply 0\r\n\r\n+OK\r\n";
        for cut in 0..=stream.len() {
            let mut heard = Vec::new();
            let mut asked = false;
            let mut note = |part: Heard<'_>| {
                heard.push(match part {
                    Heard::Ready => String::from("ready"),
                    Heard::Publication { topic, payload } => {
                        format!("{}={}", topic.expect("it is told").escape_ascii(), payload.escape_ascii())
                    }
                });
                Ok(())
            };
            let rest = take_lines(&stream[..cut], &mut asked, &mut note).unwrap().to_vec();
            let joined = [&rest, &stream[cut..]].concat();
            assert_eq!(take_lines(&joined, &mut asked, &mut note).unwrap(), b"");
            assert_eq!(heard, ["ready", "demo.load=ab\\r\\nc", "demo.load="]);
            assert!(asked);
        }
    }

    #[test]
    fn a_refusal_is_told() {
        let refusal = take_lines(b"-ERR 'Permissions Violation'\r\n", &mut false, &mut |_| Ok(())).unwrap_err();
        assert!(refusal.to_string().contains("Permissions Violation"));
    }
}
