//! Settings of who may do what: keys that tokens are signed with, and what clients without a token may do.

use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::HttpUrl;

/// How tokens are judged. Without a key nobody needs one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Tokens {
    /// What `iss` must say; none: it is not looked at.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub issuer: Option<String>,
    /// Of these `aud` must name one; empty: it is not looked at.
    pub audiences: Vec<String>,
    /// By how much the clock that a token was made by may differ from ours.
    pub skew_s: u32,
    /// Longest token that is looked at.
    pub token_bytes_max: u32,
    /// The claim that says who the client is.
    pub subject_claim: String,
    /// The claim with the topics and patterns that may be subscribed to.
    pub subscribe_claim: String,
    /// The claim with those that may be published to.
    pub publish_claim: String,
    /// The claim with lower limits.
    pub limits_claim: String,
    /// Most revocations in force at a time.
    pub revocations_max: u32,
    /// How long a revocation is in force that does not say until when.
    pub revocation_s: u32,
    /// Where a set of keys (JWKS) is published: a path or a URL.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jwks: Option<String>,
    /// Authorities that are trusted besides the machine's own where the set is asked for, PEM.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jwks_ca: Option<PathBuf>,
    /// How often the set is read.
    pub jwks_refresh_s: u32,
    /// Least time between two reads.
    pub jwks_least_s: u32,
    /// For name, connection, TLS, request and answer together.
    pub jwks_timeout_ms: u32,
    /// Longest set.
    pub jwks_bytes_max: u32,
    /// Most keys of the set.
    pub jwks_keys_max: u32,
    /// Keys that tokens may be signed with.
    #[serde(rename = "key", skip_serializing_if = "Vec::is_empty")]
    pub keys: Vec<TokenKey>,
}

/// One key that tokens may be signed with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenKey {
    /// The one algorithm that it is used with, whatever a token says.
    pub algorithm: TokenAlgorithm,
    /// Its file: a public key as PEM, or the shared secret's bytes.
    pub file: PathBuf,
    /// Its name in tokens.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kid: Option<String>,
}

/// How a token is signed (RFC 7518 3.1, RFC 8037 3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum TokenAlgorithm {
    /// HMAC with SHA-256: who checks could sign, too.
    #[serde(rename = "HS256")]
    Hs256,
    /// RSA, PKCS #1 v1.5, SHA-256.
    #[serde(rename = "RS256")]
    Rs256,
    /// ECDSA on P-256, SHA-256.
    #[serde(rename = "ES256")]
    Es256,
    /// Ed25519.
    #[serde(rename = "EdDSA")]
    EdDsa,
}

/// What clients without a token may do; without this table everything that is open to all where no token is asked for, else nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Anonymous {
    /// Topics and patterns that they may subscribe to.
    pub subscribe: Vec<String>,
    /// Topics and patterns that they may publish to.
    pub publish: Vec<String>,
}

impl Tokens {
    /// Whether tokens are taken at all; then who has none may do only what `[anonymous]` says.
    #[must_use]
    pub fn are_taken(&self) -> bool {
        !self.keys.is_empty() || self.jwks.is_some()
    }

    /// Where the set of keys is, if there is one.
    #[must_use]
    pub fn key_set_place(&self) -> Option<KeySetPlace> {
        let place = self.jwks.as_ref()?;
        Some(HttpUrl::parse(place).map_or_else(|_| KeySetPlace::File(place.into()), KeySetPlace::Url))
    }
}

/// An endpoint of the operator's that is asked about each client at connect.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Callout {
    /// Where it is.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub url: String,
    /// Authorities that are trusted besides the machine's own, PEM.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca: Option<PathBuf>,
    /// Fields of the client's request that it is told.
    pub headers: Vec<String>,
    /// For name, connection, TLS, request and answer together.
    pub timeout_ms: u32,
    /// Questions at a time.
    pub concurrency_max: u32,
    /// Questions that wait for their turn.
    pub waiting_max: u32,
    /// How long an answer holds for the same question; 0: for one client only.
    pub cache_s: u32,
    /// Most answers that are kept.
    pub cache_entries_max: u32,
    /// What becomes of clients where it does not answer.
    pub when_down: WhenDown,
}

/// What becomes of clients where the callout does not answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WhenDown {
    /// 503.
    Refuse,
    /// They have the rights of their token, or of whoever has none.
    Allow,
}

impl super::Config {
    /// Whether rights are asked for, by tokens or of the callout: then who has none may do only what `[anonymous]` says.
    #[must_use]
    pub fn asks_for_rights(&self) -> bool {
        self.tokens.are_taken() || self.callout.is_some()
    }
}

/// Where a set of keys is published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeySetPlace {
    /// In a file.
    File(PathBuf),
    /// At a server.
    Url(HttpUrl),
}

impl fmt::Display for KeySetPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            KeySetPlace::File(file) => file.display().fmt(f),
            KeySetPlace::Url(url) => url.fmt(f),
        }
    }
}
