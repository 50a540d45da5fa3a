//! Sessions on byte slices: a client's bytes in, what it is owed out; moments are arguments.

mod acks;
mod arrival;
mod door;
mod life;
mod rights;

use std::net::Ipv4Addr;

use super::{Arrival, Effect, Moment, Rules, Session};
use crate::admission::ClientAddress;
use crate::config::{Config, Echo, Page, Publish, PublishAllow};
use crate::ws::frame::{self, Opcode};

/// The unix time of every test, in milliseconds.
const UNIX_MS: u64 = 1_700_000_000_000;

/// Everything is on, publishing to `pub.>` only.
fn rules() -> Rules {
    let mut config = Config {
        echo: Echo { enabled: true },
        page: Page { enabled: true },
        publish: Publish { allow: PublishAllow::Loopback, topics: vec!["pub.>".into()] },
        ..Config::default()
    };
    config.listeners[0].hosts = vec!["Gateway.example".into()];
    config.listeners[0].origins = vec!["https://app.example".into()];
    Rules::new(&config)
}

/// A session, its rules and its clock.
struct Client {
    session: Session,
    rules: Rules,
    now_us: u64,
}

impl Client {
    fn new(rules: Rules) -> Client {
        Client::at(rules, ClientAddress::Ip(Ipv4Addr::LOCALHOST.into()))
    }

    /// From somewhere else.
    fn at(rules: Rules, address: ClientAddress) -> Client {
        Client { session: Session::new(&rules, Arrival { listener: 0, address, number: 7 }, 0), rules, now_us: 0 }
    }

    /// Its handshake is done.
    fn open(rules: Rules, path: &str) -> Client {
        let mut client = Client::new(rules);
        assert!(client.say(upgrade(path, "").as_bytes()).is_none());
        let head = String::from_utf8(client.take_owed()).expect("a head is ASCII");
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        client
    }

    fn moment(&self) -> Moment {
        Moment { now_us: self.now_us, unix_us: UNIX_MS * 1000, ready: true, full: false }
    }

    /// Gives it bytes, up to the first effect.
    fn say(&mut self, bytes: &[u8]) -> Option<Effect> {
        let mut bytes = bytes.to_vec();
        self.session.receive(&mut &mut bytes[..], &self.rules, self.moment())
    }

    fn frame(&mut self, opcode: Opcode, payload: &[u8]) -> Option<Effect> {
        self.say(&client_frame(opcode, payload))
    }

    fn text(&mut self, text: &str) -> Option<Effect> {
        self.frame(Opcode::Text, text.as_bytes())
    }

    /// All that it owes, as if it were sent.
    fn take_owed(&mut self) -> Vec<u8> {
        let mut all = Vec::new();
        while !self.session.owed().is_empty() {
            all.extend_from_slice(self.session.owed());
            self.session.owed_went(self.session.owed().len());
        }
        all
    }

    /// The frames that it owes, each by its first byte and its payload.
    #[track_caller]
    fn take_frames(&mut self) -> Vec<(u8, Vec<u8>)> {
        let owed = self.take_owed();
        let (mut rest, mut frames) = (&owed[..], Vec::new());
        while let [first, len, ..] = *rest {
            assert!(len < 127, "short frames are enough here");
            let (start, len) =
                if len < 126 { (2, usize::from(len)) } else { (4, usize::from(rest[2]) << 8 | usize::from(rest[3])) };
            frames.push((first, rest[start..start + len].to_vec()));
            rest = &rest[start + len..];
        }
        assert!(rest.is_empty(), "owed are whole frames");
        frames
    }

    /// The one text that it owes.
    #[track_caller]
    fn take_text(&mut self) -> String {
        let frames = self.take_frames();
        let [(0x81, text)] = &frames[..] else { panic!("one text is owed, not {frames:?}") };
        String::from_utf8(text.clone()).expect("text is UTF-8")
    }

    /// The code of the close frame that is the last that it owes.
    #[track_caller]
    fn take_close(&mut self) -> u16 {
        let frames = self.take_frames();
        let Some((0x88, body)) = frames.last() else { panic!("a close frame is owed, not {frames:?}") };
        assert!(self.session.is_ending());
        u16::from_be_bytes([body[0], body[1]])
    }
}

fn client_frame(opcode: Opcode, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    frame::write(&mut out, opcode, payload, Some([1, 2, 3, 4]));
    out
}

/// A handshake that is right, with more fields.
fn upgrade(path: &str, fields: &str) -> String {
    format!(
        "GET {path} HTTP/1.1\r\nHost: localhost:8080\r\nUpgrade: websocket\r\nConnection: keep-alive, Upgrade\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n{fields}\r\n"
    )
}
