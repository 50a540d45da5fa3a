//! What a TLS listener goes by: its certificates by name, its demands on clients, its tickets.

use std::collections::HashMap;
use std::sync::Arc;

use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::server::{
    ClientHello, NoServerSessionStorage, ProducesTickets, ResolvesServerCert, UnbufferedServerConnection, VerifierBuilderError,
    WebPkiClientVerifier,
};
use rustls::sign::CertifiedKey;
use rustls::{Error, RootCertStore, ServerConfig};

use super::connection::Tls;
use super::identity::{Identity, IdentityError, certificates};

/// The acceptors of all listeners, by their index; none where a listener is plain. One for all shards.
pub type Acceptors = Arc<[Option<Acceptor>]>;

/// The protocol that is spoken inside; WebSocket begins as HTTP/1.1.
const ALPN: &[u8] = b"http/1.1";

/// Whose certificates clients show.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authority {
    /// The authorities' own certificates, PEM.
    pub pem: Vec<u8>,
    /// Whoever shows none is refused; else it is let in, and only a wrong one is refused.
    pub required: bool,
}

/// Makes the connections of one listener.
#[derive(Clone, Debug)]
pub struct Acceptor {
    config: Arc<ServerConfig>,
    authority: Option<Authority>,
    handshake_bytes_max: usize,
}

impl Acceptor {
    /// Of at least one identity, the first for clients that name no host or one that is unknown. Its tickets are those of
    /// `earlier`, the same listener's acceptor before a reload, unless other demands on clients would be passed over with
    /// them. A client may make a connection keep `handshake_bytes_max` before its handshake is done.
    ///
    /// # Errors
    /// Where the authority's certificates cannot be used, or the system gives no randomness for tickets.
    pub fn new(
        identities: &[Identity],
        authority: Option<Authority>,
        handshake_bytes_max: u32,
        earlier: Option<&Acceptor>,
    ) -> Result<Acceptor, IdentityError> {
        Acceptor::with_provider(aws_lc_rs::default_provider().into(), identities, authority, handshake_bytes_max, earlier)
    }

    /// As [`Acceptor::new`], with the cryptography of the caller's choice.
    pub(super) fn with_provider(
        provider: Arc<CryptoProvider>,
        identities: &[Identity],
        authority: Option<Authority>,
        handshake_bytes_max: u32,
        earlier: Option<&Acceptor>,
    ) -> Result<Acceptor, IdentityError> {
        let builder = ServerConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
            .expect("the provider has cipher suites for both versions");
        let builder = match &authority {
            None => builder.with_no_client_auth(),
            Some(authority) => {
                let verifier = WebPkiClientVerifier::builder_with_provider(roots(authority)?, provider);
                let verifier = if authority.required { verifier } else { verifier.allow_unauthenticated() };
                let malformed = |error: VerifierBuilderError| IdentityError::Malformed(error.to_string());
                builder.with_client_cert_verifier(verifier.build().map_err(malformed)?)
            }
        };
        let mut config = builder.with_cert_resolver(Arc::new(ByName::new(identities)));
        config.alpn_protocols = vec![ALPN.to_vec()];
        // Tickets hold the session on the client's side: nothing is kept here for clients that are gone.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        let earlier = earlier.filter(|earlier| earlier.authority == authority);
        config.ticketer = match earlier {
            Some(earlier) => earlier.config.ticketer.clone(),
            None => ticketer()?,
        };
        Ok(Acceptor { config: Arc::new(config), authority, handshake_bytes_max: handshake_bytes_max as usize })
    }

    /// A connection of a client that was just accepted.
    ///
    /// # Errors
    /// Where the system gives no randomness.
    pub fn accept(&self) -> Result<Tls, Error> {
        Ok(Tls::new(UnbufferedServerConnection::new(self.config.clone())?, self.handshake_bytes_max))
    }
}

fn ticketer() -> Result<Arc<dyn ProducesTickets>, IdentityError> {
    aws_lc_rs::Ticketer::new().map_err(|_| IdentityError::NoRandomness)
}

fn roots(authority: &Authority) -> Result<Arc<RootCertStore>, IdentityError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(&authority.pem)? {
        roots.add(certificate).map_err(|error| IdentityError::Malformed(error.to_string()))?;
    }
    Ok(Arc::new(roots))
}

/// Certificates by the name that a client asks for.
#[derive(Debug)]
struct ByName {
    first: Arc<CertifiedKey>,
    by_name: HashMap<String, Arc<CertifiedKey>>,
}

impl ByName {
    fn new(identities: &[Identity]) -> ByName {
        let mut by_name = HashMap::new();
        for identity in identities {
            for name in identity.names() {
                // A name that two certificates have goes to the one that was configured first.
                by_name.entry(name.clone()).or_insert_with(|| identity.certified.clone());
            }
        }
        let first = identities.first().expect("a listener has a certificate");
        ByName { first: first.certified.clone(), by_name }
    }

    /// The certificate for a name: one that bears it, one whose wildcard covers it, else the first.
    fn find(&self, name: &str) -> &Arc<CertifiedKey> {
        let name = name.to_ascii_lowercase();
        // RFC 6125 6.4.3: the wildcard is the left-most label, and stands for exactly one.
        let covering = || self.by_name.get(&format!("*.{}", name.split_once('.')?.1));
        self.by_name.get(&name).or_else(covering).unwrap_or(&self.first)
    }
}

impl ResolvesServerCert for ByName {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(hello.server_name().map_or(&self.first, |name| self.find(name)).clone())
    }
}
