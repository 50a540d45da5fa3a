//! TLS for measuring: whatever certificate a server shows is believed. One connection is rustls' state machine over bytes.

use std::io;
use std::sync::{Arc, OnceLock};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ClientConnectionData, UnbufferedClientConnection};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::unbuffered::{ConnectionState, EncodeError, EncodeTlsData, UnbufferedStatus};
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, Error, SignatureScheme};

use crate::link::Trouble;

/// What sealing adds to a record at most (RFC 5246: header, explicit nonce, tag; RFC 8446: header, type, tag), room for an
/// answer to a key update, and the longest piece of one record.
const RECORD_EXTRA_BYTES_MAX: usize = 64;
const KEY_UPDATES_BYTES_MAX: usize = 128;
const RECORD_PLAIN_BYTES_MAX: usize = 1 << 14;

fn config() -> Arc<ClientConfig> {
    static CONFIG: OnceLock<Arc<ClientConfig>> = OnceLock::new();
    let config = CONFIG.get_or_init(|| {
        let config = ClientConfig::builder_with_provider(aws_lc_rs::default_provider().into())
            .with_safe_default_protocol_versions()
            .expect("the provider has cipher suites for both versions")
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Believing))
            .with_no_client_auth();
        config.into()
    });
    config.clone()
}

fn server_name(authority: &str) -> io::Result<ServerName<'static>> {
    let host = authority.rsplit_once(':').map_or(authority, |(host, _)| host).trim_matches(['[', ']']).to_owned();
    ServerName::try_from(host).map_err(io::Error::other)
}

/// A connection to `host:port` over a socket that blocks.
pub(crate) fn connection(authority: &str) -> io::Result<ClientConnection> {
    ClientConnection::new(config(), server_name(authority)?).map_err(io::Error::other)
}

/// A connection as bytes in, bytes out.
pub(crate) struct Tls {
    connection: UnbufferedClientConnection,
    /// Input that is no whole record or handshake message yet.
    torn: Vec<u8>,
    /// For the server.
    wire: Vec<u8>,
    /// What was opened last; kept for its memory.
    plain: Vec<u8>,
    /// The handshake is done.
    is_open: bool,
    /// The server said close_notify.
    is_ended: bool,
}

impl Tls {
    /// A connection to `host:port`, with its first message ready to be sent.
    pub(crate) fn new(authority: &str) -> io::Result<Tls> {
        let connection = UnbufferedClientConnection::new(config(), server_name(authority)?).map_err(io::Error::other)?;
        let (torn, wire, plain) = (Vec::new(), Vec::new(), Vec::new());
        let mut tls = Tls { connection, torn, wire, plain, is_open: false, is_ended: false };
        tls.process(&mut []).map_err(io::Error::other)?;
        Ok(tls)
    }

    /// Takes all of the input and hands over what it opens, in one piece.
    pub(crate) fn open(&mut self, input: &mut [u8], each: impl FnOnce(&mut [u8]) -> Result<(), Trouble>) -> Result<(), Trouble> {
        if self.torn.is_empty() {
            let taken = self.process(input).map_err(Trouble::lost)?;
            self.torn.extend_from_slice(&input[taken..]);
        } else {
            let mut torn = std::mem::take(&mut self.torn);
            torn.extend_from_slice(input);
            let taken = self.process(&mut torn).map_err(Trouble::lost)?;
            torn.drain(..taken);
            self.torn = torn;
        }
        let mut plain = std::mem::take(&mut self.plain);
        let done = if plain.is_empty() { Ok(()) } else { each(&mut plain) };
        plain.clear();
        self.plain = plain;
        done?;
        if self.is_ended { Err(Trouble::lost("the server ended TLS")) } else { Ok(()) }
    }

    /// Lets rustls take of the input what it can; gives how much that was.
    fn process(&mut self, input: &mut [u8]) -> Result<usize, Error> {
        let mut taken = 0;
        loop {
            let UnbufferedStatus { mut discard, state } = self.connection.process_tls_records(&mut input[taken..]);
            let mut is_blocked = false;
            match state? {
                ConnectionState::ReadTraffic(mut traffic) => {
                    while let Some(record) = traffic.next_record() {
                        let record = record?;
                        self.plain.extend_from_slice(record.payload);
                        discard += record.discard;
                    }
                }
                ConnectionState::EncodeTlsData(data) => encode(data, &mut self.wire),
                ConnectionState::TransmitTlsData(data) => data.done(),
                ConnectionState::PeerClosed => self.is_ended = true,
                ConnectionState::WriteTraffic(_) => (self.is_open, is_blocked) = (true, true),
                _ => is_blocked = true,
            }
            taken += discard;
            if is_blocked {
                return Ok(taken);
            }
        }
    }

    /// Whether there is something to send, be it that some plain bytes wait to be sealed.
    pub(crate) fn has_to_send(&self, has_plain: bool) -> bool {
        !self.wire.is_empty() || (self.is_open && has_plain)
    }

    /// Seals what can be sealed now.
    pub(crate) fn seal(&mut self, plain: &mut Vec<u8>) -> io::Result<()> {
        if plain.is_empty() || !self.is_open {
            return Ok(());
        }
        let start = self.wire.len();
        let records = plain.len() / RECORD_PLAIN_BYTES_MAX + 1;
        self.wire.resize(start + plain.len() + records * RECORD_EXTRA_BYTES_MAX + KEY_UPDATES_BYTES_MAX, 0);
        let sealed = match self.connection.process_tls_records(&mut self.torn).state {
            Ok(ConnectionState::WriteTraffic(mut traffic)) => traffic.encrypt(plain, &mut self.wire[start..]).ok(),
            _ => None,
        };
        let sealed = sealed.ok_or_else(|| io::Error::other("the TLS connection takes no more bytes"))?;
        self.wire.truncate(start + sealed);
        plain.clear();
        Ok(())
    }

    pub(crate) fn wire(&self) -> &[u8] {
        &self.wire
    }

    pub(crate) fn went(&mut self, bytes: usize) {
        self.wire.drain(..bytes);
    }
}

/// Appends a message of rustls' own.
fn encode(mut data: EncodeTlsData<'_, ClientConnectionData>, wire: &mut Vec<u8>) {
    let Err(EncodeError::InsufficientSize(size)) = data.encode(&mut []) else { return };
    let start = wire.len();
    wire.resize(start + size.required_size, 0);
    data.encode(&mut wire[start..]).expect("it has the room that it asked for");
}

#[derive(Debug)]
struct Believing;

impl ServerCertVerifier for Believing {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        aws_lc_rs::default_provider().signature_verification_algorithms.supported_schemes()
    }
}
