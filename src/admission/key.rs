//! Keys that tokens are signed with, each with the one algorithm that it is used with.
//!
//! Without: files and where keys come from.

use std::sync::Arc;

use jsonwebtoken::{Algorithm, DecodingKey};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, SubjectPublicKeyInfoDer};
use x509_parser::oid_registry::{OID_EC_P256, OID_KEY_TYPE_EC_PUBLIC_KEY, OID_PKCS1_RSAENCRYPTION, OID_SIG_ED25519};
use x509_parser::prelude::{FromDer, X509Certificate};
use x509_parser::public_key::PublicKey;
use x509_parser::x509::SubjectPublicKeyInfo;

use crate::config::TokenAlgorithm;

/// RFC 7518 3.2: "A key of the same size as the hash output or larger MUST be used".
const SECRET_BYTES_MIN: usize = 32;
/// RFC 7518 3.3: "A key of size 2048 bits or larger MUST be used".
const RSA_BITS_MIN: usize = 2048;

/// Keys in force. Replaced as a whole.
pub type Keys = Arc<[Key]>;

/// A key that tokens may be signed with.
#[derive(Clone, Debug)]
pub struct Key {
    /// Its name in tokens.
    pub kid: Option<Box<str>>,
    /// What it is used with, whatever a token says.
    pub(super) algorithm: Algorithm,
    pub(super) decoding: DecodingKey,
}

/// Why a key cannot be used, as the end of a sentence that names it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// No PEM with a public key or a certificate.
    #[error("holds no public key in PEM; write one with: openssl pkey -in PRIVATE -pubout")]
    NoPublicKey,
    /// The key is of another kind than the algorithm's.
    #[error("holds a key that is none for {0}: it takes {1}")]
    OtherKind(&'static str, &'static str),
    /// RSA, and short.
    #[error("holds an RSA key of {0} bits, and 2048 are the least")]
    ShortRsa(usize),
    /// A secret that can be guessed.
    #[error("holds a secret of {0} bytes, and 32 are the least; make one with: openssl rand -base64 48")]
    ShortSecret(usize),
    /// PEM where a secret should be: with a public key as its secret everybody could sign.
    #[error("holds PEM, and HS256 takes the bytes of a shared secret; for a public key set algorithm to RS256, ES256 or EdDSA")]
    PemAsSecret,
}

impl Key {
    /// Reads what a key's file holds.
    ///
    /// # Errors
    /// See [`KeyError`].
    pub fn read(algorithm: TokenAlgorithm, kid: Option<&str>, bytes: &[u8]) -> Result<Key, KeyError> {
        let decoding = match algorithm {
            TokenAlgorithm::Hs256 => secret(bytes)?,
            _ => public_key(algorithm, bytes)?,
        };
        Ok(Key { kid: kid.map(Box::from), algorithm: json_name(algorithm), decoding })
    }
}

/// As the crate that checks signatures names it.
pub(super) fn json_name(algorithm: TokenAlgorithm) -> Algorithm {
    match algorithm {
        TokenAlgorithm::Hs256 => Algorithm::HS256,
        TokenAlgorithm::Rs256 => Algorithm::RS256,
        TokenAlgorithm::Es256 => Algorithm::ES256,
        TokenAlgorithm::EdDsa => Algorithm::EdDSA,
    }
}

fn secret(bytes: &[u8]) -> Result<DecodingKey, KeyError> {
    let secret = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    let secret = secret.strip_suffix(b"\r").unwrap_or(secret);
    if secret.starts_with(b"-----BEGIN") {
        return Err(KeyError::PemAsSecret);
    }
    if secret.len() < SECRET_BYTES_MIN {
        return Err(KeyError::ShortSecret(secret.len()));
    }
    Ok(DecodingKey::from_secret(secret))
}

fn public_key(algorithm: TokenAlgorithm, pem: &[u8]) -> Result<DecodingKey, KeyError> {
    if let Ok(info) = SubjectPublicKeyInfoDer::from_pem_slice(pem) {
        let (_, info) = SubjectPublicKeyInfo::from_der(&info).map_err(|_| KeyError::NoPublicKey)?;
        return of_info(algorithm, &info);
    }
    let certificate = CertificateDer::from_pem_slice(pem).map_err(|_| KeyError::NoPublicKey)?;
    let (_, certificate) = X509Certificate::from_der(&certificate).map_err(|_| KeyError::NoPublicKey)?;
    of_info(algorithm, certificate.public_key())
}

fn of_info(algorithm: TokenAlgorithm, info: &SubjectPublicKeyInfo<'_>) -> Result<DecodingKey, KeyError> {
    let (kind, key) = (&info.algorithm, &info.subject_public_key.data);
    let curve = || kind.parameters.as_ref().and_then(|parameters| parameters.as_oid().ok());
    match algorithm {
        TokenAlgorithm::Rs256 if kind.algorithm == OID_PKCS1_RSAENCRYPTION => match info.parsed() {
            Ok(PublicKey::RSA(rsa)) if rsa.key_size() >= RSA_BITS_MIN => Ok(DecodingKey::from_rsa_der(key)),
            Ok(PublicKey::RSA(rsa)) => Err(KeyError::ShortRsa(rsa.key_size())),
            _ => Err(KeyError::NoPublicKey),
        },
        TokenAlgorithm::Rs256 => Err(KeyError::OtherKind("RS256", "an RSA key")),
        TokenAlgorithm::Es256 if kind.algorithm == OID_KEY_TYPE_EC_PUBLIC_KEY && curve() == Some(OID_EC_P256) => {
            Ok(DecodingKey::from_ec_der(key))
        }
        TokenAlgorithm::Es256 => Err(KeyError::OtherKind("ES256", "a key on the curve P-256")),
        TokenAlgorithm::EdDsa if kind.algorithm == OID_SIG_ED25519 => Ok(DecodingKey::from_ed_der(key)),
        TokenAlgorithm::EdDsa => Err(KeyError::OtherKind("EdDSA", "an Ed25519 key")),
        TokenAlgorithm::Hs256 => unreachable!("a secret is no public key"),
    }
}
