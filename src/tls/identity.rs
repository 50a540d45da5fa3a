//! A certificate with its key: read from PEM, held against each other and against the time, and the names that it is for.

use std::sync::Arc;

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

/// Why a certificate cannot be used. Displays as what is said of the file: "... and what to do".
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdentityError {
    /// No PEM section of that kind, in the certificate's file.
    #[error("holds no certificate; it must hold PEM, beginning with -----BEGIN CERTIFICATE-----, the server's own first")]
    NoCertificate,
    /// A certificate that cannot be read.
    #[error("holds a certificate that cannot be read ({0}); have it issued anew, in PEM")]
    Malformed(String),
    /// Its time is over.
    #[error("expired on {0}; renew it")]
    Expired(String),
    /// Its time has not begun.
    #[error("is not valid before {0}; look at this machine's clock, or use another certificate until then")]
    NotYetValid(String),
    /// No PEM section of that kind, in the key's file.
    #[error("holds no private key; it must hold PEM, beginning with -----BEGIN PRIVATE KEY----- (not encrypted)")]
    NoKey,
    /// A key that cannot be used.
    #[error("holds a private key that cannot be used ({0}); RSA from 2048 bits, ECDSA P-256 and P-384, and Ed25519 can")]
    UnusableKey(String),
    /// Certificate and key are not of one pair.
    #[error("is not the key of that certificate; name the two files that were made together")]
    OtherKey,
    /// Tickets need keys of their own.
    #[error("cannot be served, as the system gives no random numbers for session tickets")]
    NoRandomness,
}

impl IdentityError {
    /// Whether the key's file is at fault, not the certificate's.
    #[must_use]
    pub fn is_of_key(&self) -> bool {
        matches!(self, IdentityError::NoKey | IdentityError::UnusableKey(_) | IdentityError::OtherKey)
    }
}

/// A certificate chain with its key, valid at the moment of reading.
#[derive(Clone, Debug)]
pub struct Identity {
    pub(super) certified: Arc<CertifiedKey>,
    /// The names that the certificate is for, lower case; `*.` stands for one level.
    names: Vec<String>,
}

impl Identity {
    /// Reads a chain, the server's own certificate first, and its key, both PEM; `now_unix_s` is what its validity is held
    /// against, seconds since 1970.
    ///
    /// # Errors
    /// What is wrong with the certificate or the key.
    pub fn read(chain_pem: &[u8], key_pem: &[u8], now_unix_s: u64) -> Result<Identity, IdentityError> {
        let chain = certificates(chain_pem)?;
        let own = chain.first().ok_or(IdentityError::NoCertificate)?;
        let names = names_of(own, now_unix_s)?;
        let key = PrivateKeyDer::from_pem_slice(key_pem).map_err(|error| match error {
            pem::Error::NoItemsFound => IdentityError::NoKey,
            other => IdentityError::UnusableKey(other.to_string()),
        })?;
        let unusable = |error: rustls::Error| IdentityError::UnusableKey(error.to_string());
        let key = aws_lc_rs::sign::any_supported_type(&key).map_err(unusable)?;
        let certified = CertifiedKey::new(chain, key);
        certified.keys_match().map_err(|_| IdentityError::OtherKey)?;
        Ok(Identity { certified: Arc::new(certified), names })
    }

    /// The names that the certificate is for, lower case; `*.` stands for one level.
    #[must_use]
    pub fn names(&self) -> &[String] {
        &self.names
    }
}

/// All certificates of a PEM file.
pub(super) fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, IdentityError> {
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match certificates {
        Ok(certificates) if certificates.is_empty() => Err(IdentityError::NoCertificate),
        Ok(certificates) => Ok(certificates),
        Err(error) => Err(IdentityError::Malformed(error.to_string())),
    }
}

/// The DNS names of a certificate that is valid now.
fn names_of(certificate: &CertificateDer<'_>, now_unix_s: u64) -> Result<Vec<String>, IdentityError> {
    let malformed = |error: &dyn std::fmt::Display| IdentityError::Malformed(error.to_string());
    let (_, parsed) = X509Certificate::from_der(certificate).map_err(|error| malformed(&error))?;
    let now = now_unix_s.cast_signed();
    let validity = parsed.validity();
    if now > validity.not_after.timestamp() {
        return Err(IdentityError::Expired(validity.not_after.to_string()));
    }
    if now < validity.not_before.timestamp() {
        return Err(IdentityError::NotYetValid(validity.not_before.to_string()));
    }
    let alternative = parsed.subject_alternative_name().map_err(|error| malformed(&error))?;
    let names = alternative.iter().flat_map(|extension| &extension.value.general_names);
    Ok(names
        .filter_map(|name| match name {
            GeneralName::DNSName(name) => Some(name.to_ascii_lowercase()),
            _ => None,
        })
        .collect())
}
