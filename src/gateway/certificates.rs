//! The files of TLS listeners, read at start and at each reload.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::config::{Address, CertificateFiles, ClientCertificates, Config, ListenerTls};
use crate::tls::{Acceptor, Acceptors, Authority, Identity, IdentityError};

/// Why a listener cannot speak TLS: which file, what is wrong with it, what to do.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// A file that cannot be read.
    #[error("{what} {} of the listener {address} cannot be read ({error}); check its path and its permissions", file.display())]
    Unreadable {
        /// What the file is.
        what: &'static str,
        /// Which.
        file: PathBuf,
        /// Whose.
        address: Address,
        /// Why.
        error: io::Error,
    },
    /// A file that was read and cannot be used.
    #[error("{what} {} of the listener {address} {error}", file.display())]
    Unusable {
        /// What the file is.
        what: &'static str,
        /// Which.
        file: PathBuf,
        /// Whose.
        address: Address,
        /// Why.
        error: IdentityError,
    },
}

/// What the files came to.
pub(crate) struct Loaded {
    /// By listener.
    pub(crate) acceptors: Acceptors,
    /// What is risky, one sentence each.
    pub(crate) warnings: Vec<String>,
}

const CERTIFICATE: &str = "the certificate";
const KEY: &str = "the private key";
const AUTHORITY: &str = "the authority of clients' certificates";

/// Reads the files of all TLS listeners. Tickets go on from `earlier`.
///
/// # Errors
/// The first file that cannot be used.
pub(crate) fn load(config: &Config, earlier: Option<&Acceptors>) -> Result<Loaded, CertificateError> {
    let mut warnings = Vec::new();
    let mut acceptors = Vec::with_capacity(config.listeners.len());
    for (index, listener) in config.listeners.iter().enumerate() {
        let Some(tls) = &listener.tls else {
            acceptors.push(None);
            continue;
        };
        let earlier = earlier.and_then(|earlier| earlier[index].as_ref());
        let mut files = Files { address: listener.address.clone(), warnings: &mut warnings };
        acceptors.push(Some(files.acceptor(tls, config.limits.tls_handshake_bytes_max, earlier)?));
    }
    Ok(Loaded { acceptors: acceptors.into(), warnings })
}

/// The files of one listener.
struct Files<'a> {
    address: Address,
    warnings: &'a mut Vec<String>,
}

impl Files<'_> {
    fn acceptor(
        &mut self,
        tls: &ListenerTls,
        handshake_bytes_max: u32,
        earlier: Option<&Acceptor>,
    ) -> Result<Acceptor, CertificateError> {
        let all = std::iter::once(&tls.certificate).chain(&tls.sni);
        let identities: Vec<Identity> = all.map(|files| self.identity(files)).collect::<Result<_, _>>()?;
        let authority = match &tls.client_ca {
            None => None,
            Some(file) => Some(Authority {
                pem: self.read(AUTHORITY, file)?,
                required: tls.client_certificates == ClientCertificates::Required,
            }),
        };
        let file = tls.client_ca.as_ref().unwrap_or(&tls.certificate.certificate);
        Acceptor::new(&identities, authority, handshake_bytes_max, earlier).map_err(|error| self.unusable(AUTHORITY, file, error))
    }

    fn identity(&mut self, files: &CertificateFiles) -> Result<Identity, CertificateError> {
        let CertificateFiles { certificate, key } = files;
        let chain_pem = self.read(CERTIFICATE, certificate)?;
        let key_pem = self.read(KEY, key)?;
        let now_unix_s = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let identity = Identity::read(&chain_pem, &key_pem, now_unix_s).map_err(|error| match error.is_of_key() {
            true => self.unusable(KEY, key, error),
            false => self.unusable(CERTIFICATE, certificate, error),
        })?;
        warn_of_readers("The private key", key, self.warnings);
        Ok(identity)
    }

    fn read(&self, what: &'static str, file: &Path) -> Result<Vec<u8>, CertificateError> {
        let unreadable = |error| CertificateError::Unreadable { what, file: file.into(), address: self.address.clone(), error };
        fs::read(file).map_err(unreadable)
    }

    fn unusable(&self, what: &'static str, file: &Path, error: IdentityError) -> CertificateError {
        CertificateError::Unusable { what, file: file.into(), address: self.address.clone(), error }
    }
}

/// A secret is its owner's, and perhaps a group's.
pub(super) fn warn_of_readers(what: &str, file: &Path, warnings: &mut Vec<String>) {
    const OTHERS: u32 = 0o007;
    if fs::metadata(file).is_ok_and(|metadata| metadata.permissions().mode() & OTHERS != 0) {
        warnings
            .push(format!("{what} {0} can be read by every user of this machine; see to it with: chmod o= {0}", file.display()));
    }
}
