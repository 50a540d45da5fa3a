//! A peer's TLS: rustls' own client over the simulated bytes.
//!
//! rustls draws from the machine's randomness, so ciphertext differs from run to run. Its lengths do not (an Ed25519
//! certificate with a set serial number, no resumption), and nothing in the simulator depends on more than those.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::sync::{Arc, OnceLock};

use rustls::client::Resumption;
use rustls::{ClientConfig, ClientConnection, version};

use super::dice::Dice;
use crate::tls::{Acceptor, tests};

/// The listener that speaks TLS; the one before it does not.
pub(super) const LISTENER: u16 = 1;

/// What that listener goes by.
pub(super) fn acceptor() -> Acceptor {
    static ACCEPTOR: OnceLock<Acceptor> = OnceLock::new();
    ACCEPTOR.get_or_init(|| tests::acceptor(&["feed.example"])).clone()
}

fn config(is_tls12: bool) -> Arc<ClientConfig> {
    static CONFIGS: OnceLock<[Arc<ClientConfig>; 2]> = OnceLock::new();
    let configs = CONFIGS.get_or_init(|| {
        [&version::TLS13, &version::TLS12].map(|version| {
            let mut config = tests::client_config(&[version]);
            config.resumption = Resumption::disabled();
            config.into()
        })
    });
    configs[usize::from(is_tls12)].clone()
}

/// One peer's connection.
pub(super) struct Secure {
    client: ClientConnection,
    /// Sealed and not yet sent.
    wire: VecDeque<u8>,
    /// The gateway said close_notify.
    pub(super) ended: bool,
}

impl Secure {
    /// Of a random version.
    pub(super) fn new(dice: &mut Dice) -> Secure {
        let mut client = tests::client(&config(dice.once_in(3)), "feed.example");
        client.set_buffer_limit(None);
        Secure { client, wire: VecDeque::new(), ended: false }
    }

    /// Seals what is to be said, and gives the next bytes for the wire.
    pub(super) fn say(&mut self, plain: &mut VecDeque<u8>, bytes_max: usize) -> Vec<u8> {
        self.client.writer().write_all(plain.make_contiguous()).expect("its buffer is unlimited");
        plain.clear();
        self.seal();
        let count = self.wire.len().min(bytes_max);
        self.wire.drain(..count).collect()
    }

    fn seal(&mut self) {
        while self.client.wants_write() {
            self.client.write_tls(&mut self.wire).expect("a queue takes it");
        }
    }

    /// Opens what came.
    pub(super) fn hear(&mut self, mut bytes: &[u8]) -> Vec<u8> {
        let mut plain = Vec::new();
        while !bytes.is_empty() {
            self.client.read_tls(&mut bytes).expect("a slice gives it");
            let state = self.client.process_new_packets().expect("the gateway speaks TLS");
            self.ended |= state.peer_has_closed();
            match self.client.reader().read_to_end(&mut plain) {
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => panic!("{error}"),
            }
            if self.ended {
                assert!(bytes.is_empty(), "nothing comes behind close_notify");
            }
        }
        plain
    }

    /// The end of what it says, where nothing is under way; in the middle of a record there is none.
    pub(super) fn close_notify(&mut self) -> Vec<u8> {
        if !self.is_all_said() {
            return Vec::new();
        }
        self.client.send_close_notify();
        self.seal();
        self.wire.drain(..).collect()
    }

    /// Whether all that was to be said is on the wire.
    pub(super) fn is_all_said(&self) -> bool {
        self.wire.is_empty() && !self.client.is_handshaking() && !self.client.wants_write()
    }

    /// Whether the handshake is done.
    pub(super) fn is_open(&self) -> bool {
        !self.client.is_handshaking()
    }
}
