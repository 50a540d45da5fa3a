//! TLS from the client's side: certificates made for a test, and a client of rustls' own kind.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, date_time_ymd};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use tempfile::TempDir;

use super::{Frame, Gateway, PATIENCE, parse_in_place};

/// An authority and the files of certificates that it signed.
pub(crate) struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    directory: TempDir,
}

impl Authority {
    pub(crate) fn new() -> Authority {
        let mut params = CertificateParams::new(Vec::new()).expect("no names are right");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "an authority of the tests");
        let issuer = CertifiedIssuer::self_signed(params, key()).expect("it can sign itself");
        let directory = TempDir::new().expect("a temporary directory can be made");
        let authority = Authority { issuer, directory };
        authority.write("ca.pem", &authority.issuer.pem());
        authority
    }

    /// The path of a file beside the others.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).expect("a temporary file can be written");
    }

    /// Makes `<name>.pem` and `<name>.key`, for these hosts, valid from the first of January to the first of January.
    pub(crate) fn sign(&self, name: &str, hosts: &[&str], years: (i32, i32)) {
        let hosts: Vec<String> = hosts.iter().map(ToString::to_string).collect();
        let mut params = CertificateParams::new(hosts).expect("these are names");
        params.distinguished_name.push(DnType::CommonName, name);
        params.not_before = date_time_ymd(years.0, 1, 1);
        params.not_after = date_time_ymd(years.1, 1, 1);
        let key = key();
        let certificate = params.signed_by(&key, &self.issuer).expect("it can be signed");
        self.write(&format!("{name}.pem"), &certificate.pem());
        self.write(&format!("{name}.key"), &key.serialize_pem());
    }

    /// One that is valid, for localhost.
    pub(crate) fn sign_valid(&self, name: &str) {
        self.sign(name, &["localhost", "127.0.0.1"], (2020, 4000));
    }

    /// A listener that shows `<name>.pem`; more keys of its `[listener.tls]` may follow.
    pub(crate) fn listener(&self, name: &str) -> String {
        format!("\n[[listener]]\naddress = \"127.0.0.1:0\"\n[listener.tls]\n{}", self.keys(name))
    }

    /// The keys that name `<name>.pem` and its key.
    pub(crate) fn keys(&self, name: &str) -> String {
        let path = |ending| self.path(&format!("{name}.{ending}")).display().to_string();
        format!("certificate = {:?}\nkey = {:?}\n", path("pem"), path("key"))
    }

    /// A client that believes this authority.
    pub(crate) fn client_config(&self) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(self.issuer.der().clone()).expect("it is an authority");
        let config = ClientConfig::builder_with_provider(aws_lc_rs::default_provider().into())
            .with_safe_default_protocol_versions()
            .expect("the provider knows them")
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.into()
    }
}

/// ECDSA on P-256, which every client knows.
fn key() -> KeyPair {
    KeyPair::generate().expect("a key can be made")
}

/// The certificate in a file.
pub(crate) fn certificate_in(file: &Path) -> CertificateDer<'static> {
    CertificateDer::from_pem_file(file).expect("it holds one")
}

/// One connection.
pub(crate) struct Secure {
    pub(crate) stream: StreamOwned<ClientConnection, TcpStream>,
    input: Vec<u8>,
}

impl Secure {
    /// Connects; the handshake begins with the first byte that is sent.
    pub(crate) fn open(address: SocketAddr, config: &Arc<ClientConfig>) -> Secure {
        Secure::of(TcpStream::connect(address).expect("the gateway listens"), config)
    }

    /// On a connection that is there.
    pub(crate) fn of(socket: TcpStream, config: &Arc<ClientConfig>) -> Secure {
        socket.set_read_timeout(Some(PATIENCE)).expect("a socket takes a time-out");
        socket.set_nodelay(true).expect("a socket takes TCP_NODELAY");
        let name = ServerName::try_from("localhost").expect("it is a name");
        let client = ClientConnection::new(config.clone(), name).expect("it can be made");
        Secure { stream: StreamOwned::new(client, socket), input: Vec::new() }
    }

    /// An open WebSocket.
    pub(crate) fn upgraded(gateway: &Gateway, config: &Arc<ClientConfig>, path: &str) -> Secure {
        let mut secure = Secure::open(gateway.secure(), config);
        let head = secure.ask(path, "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n");
        assert!(head.starts_with("HTTP/1.1 101 "), "{path}: {head}");
        secure
    }

    /// Sends a request and reads the head of its answer.
    pub(crate) fn ask(&mut self, path: &str, headers: &str) -> String {
        self.send(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n").as_bytes());
        self.answer()
    }

    /// The head of the answer that comes next.
    pub(crate) fn answer(&mut self) -> String {
        loop {
            if let Some(at) = self.input.windows(4).position(|window| window == b"\r\n\r\n") {
                return String::from_utf8(self.input.drain(..at + 4).collect()).expect("a head is text");
            }
            assert!(self.fill(), "closed instead of an answer");
        }
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).and_then(|()| self.stream.flush()).expect("the connection is open");
    }

    /// The next frame; none after close_notify. An end without one is an error.
    pub(crate) fn frame(&mut self) -> Option<Frame> {
        loop {
            if let Some((first, payload)) = parse_in_place(&self.input) {
                let frame = Frame { first, payload: self.input[payload.clone()].to_vec() };
                self.input.drain(..payload.end);
                return Some(frame);
            }
            if !self.fill() {
                assert!(self.input.is_empty(), "closed in the middle of a frame");
                return None;
            }
        }
    }

    /// The certificate that the gateway showed.
    pub(crate) fn shown(&self) -> CertificateDer<'static> {
        self.stream.conn.peer_certificates().expect("a server shows one")[0].clone().into_owned()
    }

    fn fill(&mut self) -> bool {
        let mut bytes = [0; 65536];
        let count = self.stream.read(&mut bytes).expect("bytes or a clean end come in time");
        self.input.extend_from_slice(&bytes[..count]);
        count > 0
    }
}
