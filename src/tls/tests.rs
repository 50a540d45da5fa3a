//! A client of rustls' ordinary kind wired to a [`Tls`] through random cuts, and certificates made for it.

use std::io::{ErrorKind, Read, Write};
use std::sync::Arc;

use proptest::prelude::*;
use rcgen::{CertificateParams, CertifiedIssuer, IsCa, KeyPair, PKCS_ED25519, SerialNumber, date_time_ymd};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, Error, HandshakeKind, SignatureScheme, SupportedProtocolVersion,
    version,
};

use super::*;

/// 2026, within every certificate made here that is meant to be valid.
const NOW_UNIX_S: u64 = 1_780_000_000;
const HANDSHAKE_BYTES_MAX: u32 = 8192;

/// A certificate and its key as PEM. Ed25519 signatures and a set serial number: lengths are the same in every run.
pub(crate) fn certificate(names: &[&str], years: (i32, i32)) -> (String, String) {
    let key = KeyPair::generate_for(&PKCS_ED25519).expect("a key can be made");
    let names: Vec<String> = names.iter().map(ToString::to_string).collect();
    let mut params = CertificateParams::new(names).expect("these are names");
    params.serial_number = Some(SerialNumber::from(7u64));
    params.not_before = date_time_ymd(years.0, 1, 1);
    params.not_after = date_time_ymd(years.1, 1, 1);
    let certificate = params.self_signed(&key).expect("it can sign itself");
    (certificate.pem(), key.serialize_pem())
}

pub(crate) fn identity(names: &[&str]) -> Identity {
    let (certificate, key) = certificate(names, (2020, 2040));
    Identity::read(certificate.as_bytes(), key.as_bytes(), NOW_UNIX_S).expect("it is a right one")
}

pub(crate) fn acceptor(names: &[&str]) -> Acceptor {
    Acceptor::new(&[identity(names)], None, HANDSHAKE_BYTES_MAX, None).expect("a right acceptor")
}

/// A client that believes every certificate.
pub(crate) fn client_config(versions: &[&'static SupportedProtocolVersion]) -> ClientConfig {
    let mut config = ClientConfig::builder_with_provider(aws_lc_rs::default_provider().into())
        .with_protocol_versions(versions)
        .expect("the provider knows them")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Believing))
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    config
}

pub(crate) fn client(config: &Arc<ClientConfig>, name: &str) -> ClientConnection {
    let name = ServerName::try_from(name.to_owned()).expect("a name of the tests is one");
    ClientConnection::new(config.clone(), name).expect("a client can be made")
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

/// Both ends, and what came out at each.
struct Wire {
    tls: Tls,
    client: ClientConnection,
    at_server: Vec<u8>,
    at_client: Vec<u8>,
}

impl Wire {
    fn new(acceptor: &Acceptor, config: &Arc<ClientConfig>, name: &str) -> Wire {
        let tls = acceptor.accept().expect("a connection can be made");
        Wire { tls, client: client(config, name), at_server: Vec::new(), at_client: Vec::new() }
    }

    fn up(&mut self, cuts: &mut impl Iterator<Item = usize>) -> Result<bool, OpenError> {
        let mut bytes = Vec::new();
        while self.client.wants_write() {
            self.client.write_tls(&mut bytes).expect("a vector takes it");
        }
        let mut rest = &mut bytes[..];
        let moved = !rest.is_empty();
        while !rest.is_empty() {
            let (piece, behind) = rest.split_at_mut(cuts.next().expect("cuts never end").clamp(1, rest.len()));
            self.tls.open(piece, &mut self.at_server)?;
            rest = behind;
        }
        Ok(moved)
    }

    fn hear(&mut self, mut bytes: &[u8]) -> Result<(), Error> {
        while !bytes.is_empty() {
            self.client.read_tls(&mut bytes).expect("a slice gives it");
            self.client.process_new_packets()?;
            let mut plain = [0; 4096];
            loop {
                match self.client.reader().read(&mut plain) {
                    Ok(0) => break,
                    Ok(count) => self.at_client.extend_from_slice(&plain[..count]),
                    Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                    Err(error) => panic!("{error}"),
                }
            }
        }
        Ok(())
    }

    fn down(&mut self, cuts: &mut impl Iterator<Item = usize>) -> Result<bool, Error> {
        let moved = !self.tls.pending().is_empty();
        while !self.tls.pending().is_empty() {
            let count = cuts.next().expect("cuts never end").clamp(1, self.tls.pending().len());
            let piece = self.tls.pending()[..count].to_vec();
            self.tls.pending_went(count);
            self.hear(&piece)?;
        }
        Ok(moved)
    }

    /// Until neither has anything to say.
    fn settle(&mut self, cuts: &mut impl Iterator<Item = usize>) -> Result<(), OpenError> {
        loop {
            let up = self.up(cuts)?;
            let down = self.down(cuts).map_err(OpenError::Tls)?;
            if !up && !down {
                return Ok(());
            }
        }
    }

    fn sealed(&mut self, plain: &[u8]) -> Vec<u8> {
        let mut out = vec![0; sealed_bytes_max(plain.len())];
        let bytes = self.tls.seal(plain, &mut out).expect("it is open");
        out.truncate(bytes);
        out
    }
}

fn whole() -> impl Iterator<Item = usize> {
    std::iter::repeat(usize::MAX)
}

fn check_both_ways(version: &'static SupportedProtocolVersion, cuts: &[usize], up: &[Vec<u8>], down: &[Vec<u8>]) {
    let mut cuts = cuts.iter().copied().cycle();
    let mut wire = Wire::new(&acceptor(&["feed.example"]), &client_config(&[version]).into(), "feed.example");
    assert!(wire.tls.is_handshaking());
    wire.settle(&mut cuts).expect("they understand each other");
    assert!(wire.tls.is_open() && !wire.tls.is_handshaking());
    assert_eq!(wire.client.protocol_version(), Some(version.version));
    assert_eq!(wire.client.alpn_protocol(), Some(&b"http/1.1"[..]));
    for round in 0..up.len().max(down.len()) {
        if let Some(bytes) = up.get(round) {
            wire.client.writer().write_all(bytes).expect("it takes bytes");
        }
        if version.version == rustls::ProtocolVersion::TLSv1_3 && round % 3 == 1 {
            // RFC 8446 4.6.3: a key update may be asked for at any time; it is answered before the next record.
            wire.client.refresh_traffic_keys().expect("the handshake is done");
        }
        wire.settle(&mut cuts).expect("still");
        if let Some(bytes) = down.get(round) {
            let sealed = wire.sealed(bytes);
            assert!(sealed.len() <= sealed_bytes_max(bytes.len()));
            // A part went, the rest is kept and goes first.
            let part = cuts.next().expect("cuts never end").min(sealed.len());
            wire.hear(&sealed[..part]).expect("the client opens it");
            wire.tls.keep(&sealed[part..]);
            wire.settle(&mut cuts).expect("still");
        }
    }
    assert!(wire.at_server == up.concat(), "what the client sent came out");
    assert!(wire.at_client == down.concat(), "what was sealed came out");
    assert_eq!(wire.tls.kept_bytes(), 0, "an idle client holds nothing");
    wire.client.send_close_notify();
    wire.settle(&mut cuts).expect("still");
    assert!(wire.tls.is_ended() && wire.tls.is_open(), "who says nothing more may still hear");
    wire.tls.close();
    wire.tls.close();
    wire.down(&mut cuts).expect("close_notify is one");
    assert_eq!(wire.client.reader().read(&mut [0; 8]).expect("a clean end"), 0);
    assert!(!wire.tls.is_open());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn what_goes_in_comes_out_through_any_cuts(
        is_tls13: bool,
        cuts in prop::collection::vec(prop_oneof![1..8usize, 1..3000usize], 1..30),
        up in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..300), 0..6),
        down in prop::collection::vec(prop_oneof![
            prop::collection::vec(any::<u8>(), 1..300),
            prop::collection::vec(any::<u8>(), 15_000..18_000),
        ], 0..6),
    ) {
        check_both_ways(if is_tls13 { &version::TLS13 } else { &version::TLS12 }, &cuts, &up, &down);
    }
}

#[test]
fn a_key_update_in_two_pieces_may_have_something_sealed_between_them() {
    let mut wire = Wire::new(&acceptor(&["a"]), &client_config(&[&version::TLS13]).into(), "a.example");
    wire.settle(&mut whole()).expect("they understand each other");
    wire.client.refresh_traffic_keys().expect("the handshake is done");
    let mut bytes = Vec::new();
    wire.client.write_tls(&mut bytes).expect("a vector takes it");
    for at in 0..bytes.len() {
        wire.tls.open(&mut bytes[at..=at], &mut wire.at_server).expect("it is right so far");
        let sealed = wire.sealed(b"x");
        wire.hear(&sealed).expect("the client opens it");
    }
    assert_eq!(wire.at_client.len(), bytes.len());
    assert_eq!(wire.tls.kept_bytes(), 0);
}

#[test]
fn a_session_is_resumed_by_its_ticket_on_another_shard_and_after_a_reload_of_the_same_demands() {
    for version in [&version::TLS12, &version::TLS13] {
        let first = acceptor(&["a.example"]);
        let config = Arc::new(client_config(&[version]));
        let kind = |acceptor: &Acceptor| {
            let mut wire = Wire::new(acceptor, &config, "a.example");
            wire.settle(&mut whole()).expect("they understand each other");
            wire.client.handshake_kind()
        };
        assert_eq!(kind(&first), Some(HandshakeKind::Full));
        assert_eq!(kind(&first), Some(HandshakeKind::Resumed));
        let identities = [identity(&["a.example"])];
        let renewed = Acceptor::new(&identities, None, HANDSHAKE_BYTES_MAX, Some(&first)).expect("right");
        assert_eq!(kind(&renewed), Some(HandshakeKind::Resumed));
        // A ticket from before would pass over the demand for a certificate.
        let demanding = Acceptor::new(&identities, Some(authority(true).0), HANDSHAKE_BYTES_MAX, Some(&renewed)).expect("right");
        let mut wire = Wire::new(&demanding, &config, "a.example");
        assert!(wire.settle(&mut whole()).is_err(), "who shows no certificate is refused, ticket or not");
    }
}

/// An authority, and a client's chain and key that it signed.
fn authority(required: bool) -> (Authority, CertificateDer<'static>, PrivateKeyDer<'static>) {
    let mut params = CertificateParams::new(Vec::new()).expect("no names");
    params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let key = KeyPair::generate_for(&PKCS_ED25519).expect("a key can be made");
    let issuer = CertifiedIssuer::self_signed(params, key).expect("it can sign itself");
    let key = KeyPair::generate_for(&PKCS_ED25519).expect("a key can be made");
    let client = CertificateParams::new(vec!["client".to_owned()]).expect("a name").signed_by(&key, &issuer).expect("signed");
    let key = PrivateKeyDer::from_pem_slice(key.serialize_pem().as_bytes()).expect("a key");
    (Authority { pem: issuer.pem().into_bytes(), required }, client.der().clone(), key)
}

#[test]
fn clients_show_certificates_of_the_authority_where_that_is_demanded() {
    let identities = [identity(&["a.example"])];
    for required in [true, false] {
        let (authority, certificate, key) = authority(required);
        let acceptor = Acceptor::new(&identities, Some(authority), HANDSHAKE_BYTES_MAX, None).expect("right");
        let outcome = |config: ClientConfig| Wire::new(&acceptor, &config.into(), "a.example").settle(&mut whole());
        let showing = |certificate: CertificateDer<'static>, key: PrivateKeyDer<'static>| {
            ClientConfig::builder_with_provider(aws_lc_rs::default_provider().into())
                .with_safe_default_protocol_versions()
                .expect("the provider knows them")
                .dangerous()
                .with_custom_certificate_verifier(Arc::new(Believing))
                .with_client_auth_cert(vec![certificate], key)
                .expect("they fit")
        };
        assert!(outcome(showing(certificate, key)).is_ok());
        assert_eq!(outcome(client_config(&[&version::TLS13])).is_ok(), !required);
        let (_, foreign, key) = self::authority(true);
        assert!(outcome(showing(foreign, key)).is_err(), "a certificate of another authority");
    }
}

#[test]
fn the_certificate_is_the_one_that_bears_the_name() {
    let identities = [identity(&["first.example"]), identity(&["*.b.example", "c.example"]), identity(&["x.b.example"])];
    let acceptor = Acceptor::new(&identities, None, HANDSHAKE_BYTES_MAX, None).expect("right");
    let config = Arc::new(client_config(&[&version::TLS13]));
    for (name, place) in [
        ("first.example", 0),
        ("unknown.example", 0),
        ("127.0.0.1", 0),
        ("c.example", 1),
        ("a.b.example", 1),
        ("A.B.example", 1),
        ("x.b.example", 2),
        ("b.example", 0),
        ("a.a.b.example", 0),
    ] {
        let mut wire = Wire::new(&acceptor, &config, name);
        wire.settle(&mut whole()).expect("they understand each other");
        let shown = &wire.client.peer_certificates().expect("a server shows one")[0];
        let place_shown = identities.iter().position(|identity| identity.certified.cert[0] == *shown);
        assert_eq!(place_shown, Some(place), "{name}");
    }
}

#[test]
fn what_is_no_tls_is_told_apart_and_never_kept_beyond_its_bound() {
    let acceptor = acceptor(&["a"]);
    let open = |bytes: &[u8]| {
        let mut tls = acceptor.accept().expect("a connection can be made");
        let outcome = tls.open(&mut bytes.to_vec(), &mut Vec::new());
        assert!(tls.kept_bytes() <= HANDSHAKE_BYTES_MAX as usize * 2);
        (outcome, tls)
    };
    assert!(matches!(open(b"GET / HTTP/1.1\r\n").0, Err(OpenError::PlainHttp)));
    let (outcome, tls) = open(&[0x80, 0x2e, 1, 0, 2]);
    assert!(matches!(outcome, Err(OpenError::Tls(_))));
    // RFC 8446 6: an alert is a record of type 21; level 2 is fatal.
    assert_eq!((tls.pending()[0], tls.pending()[5]), (21, 2));
    // A handshake message of 65,000 bytes, in records that are each right.
    let mut flood = vec![22, 3, 1, 0x20, 0, 1, 0, 0xfd, 0xe8];
    flood.extend([0; 0x2000 - 4]);
    flood.extend([22, 3, 1, 0x20, 0]);
    flood.extend([0; 0x2000]);
    assert!(matches!(open(&flood).0, Err(OpenError::TooLong(8192))));
}

#[test]
fn a_broken_record_ends_the_connection_with_an_alert_and_nothing_is_sealed_after_it() {
    let mut wire = Wire::new(&acceptor(&["a"]), &client_config(&[&version::TLS13]).into(), "a.example");
    wire.settle(&mut whole()).expect("they understand each other");
    wire.client.writer().write_all(b"hello").expect("it takes bytes");
    let mut bytes = Vec::new();
    wire.client.write_tls(&mut bytes).expect("a vector takes it");
    *bytes.last_mut().expect("a record") ^= 1;
    assert!(matches!(wire.tls.open(&mut bytes, &mut wire.at_server), Err(OpenError::Tls(Error::DecryptError))));
    assert!(wire.at_server.is_empty() && !wire.tls.pending().is_empty());
    assert_eq!(wire.tls.seal(b"x", &mut [0; 999]), Err(SealError));
    assert!(matches!(wire.down(&mut whole()), Err(Error::AlertReceived(_))), "the peer is told");
}

#[test]
fn each_fault_of_a_certificate_is_told_by_itself() {
    let (right, key) = certificate(&["a"], (2020, 2040));
    let (_, other_key) = certificate(&["a"], (2020, 2040));
    let read = |chain: &str, key: &str| Identity::read(chain.as_bytes(), key.as_bytes(), NOW_UNIX_S).expect_err("it is wrong");
    let broken = right.replace("MII", "AAA").replace("MIH", "AAA");
    for (chain, key, told, of_key) in [
        ("", key.as_str(), "holds no certificate", false),
        (key.as_str(), key.as_str(), "holds no certificate", false),
        (broken.as_str(), key.as_str(), "cannot be read", false),
        (certificate(&["a"], (2020, 2021)).0.as_str(), key.as_str(), "expired on", false),
        (certificate(&["a"], (2039, 2040)).0.as_str(), key.as_str(), "is not valid before", false),
        (right.as_str(), right.as_str(), "holds no private key", true),
        (right.as_str(), "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "cannot be used", true),
        (right.as_str(), other_key.as_str(), "is not the key of that certificate", true),
    ] {
        let error = read(chain, key);
        assert!(error.to_string().contains(told), "{error}");
        assert_eq!(error.is_of_key(), of_key, "{error}");
    }
    assert_eq!(Identity::read(right.as_bytes(), key.as_bytes(), NOW_UNIX_S).expect("right").names(), ["a"]);
}
