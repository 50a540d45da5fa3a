//! Tokens (JWT, RFC 7519): whether one is good at a moment, and what it says of its bearer.
//!
//! Without: a clock, and where tokens and keys come from. Nothing but the signature is looked at before that is found to be right.
//!
//! Invariants: a key is used with its own algorithm only, whatever a token says, so none is `none` and no public key is taken for a
//! secret; `kid` chooses among the keys that there are, and nothing else that a token's header names (`jku`, `jwk`, `x5u`) is looked at;
//! a limit from a token is never above the configured one.

use std::fmt;

use jsonwebtoken::Validation;
use serde_json::{Map, Value};

use super::key::Keys;
use super::{Grants, Revoked};
use crate::config;

/// Longest subject and id that are taken.
const NAME_BYTES_MAX: usize = 255;

/// What a token says of its bearer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Holder {
    /// Who it is (`sub`).
    pub subject: Option<Box<str>>,
    /// Which token it is (`jti`).
    pub id: Option<Box<str>>,
    /// Good until then (`exp`): seconds since 1970. None: for as long as the connection lasts.
    pub expires_unix_s: Option<u64>,
    /// What it may do.
    pub grants: Grants,
    /// Lower limits of its own.
    pub limits: OwnLimits,
}

/// Limits of one client, where they are below the configured ones.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OwnLimits {
    /// Subscriptions.
    pub subscriptions_max: Option<u32>,
    /// Requests a second.
    pub requests_per_second: Option<u32>,
    /// Requests at once.
    pub requests_burst: Option<u32>,
}

impl OwnLimits {
    /// The lower of each.
    #[must_use]
    pub fn and(self, other: OwnLimits) -> OwnLimits {
        let lower = |one: Option<u32>, other: Option<u32>| one.into_iter().chain(other).min();
        OwnLimits {
            subscriptions_max: lower(self.subscriptions_max, other.subscriptions_max),
            requests_per_second: lower(self.requests_per_second, other.requests_per_second),
            requests_burst: lower(self.requests_burst, other.requests_burst),
        }
    }
}

/// Why a token is not taken, for the log; clients are never told.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// Longer than is looked at.
    #[error("it has {0} bytes, token_bytes_max is {1}")]
    TooLong(usize, u32),
    /// Not three parts of base64, or a header that cannot be read; `none` and other algorithms that nobody knows are among these.
    #[error("it is no JWT, or signed in a way that is not known")]
    Malformed,
    /// It has extensions that must be understood (RFC 7515 4.1.11).
    #[error("its header has `crit`, and none of those extensions is known")]
    Critical,
    /// No key has its name and algorithm.
    #[error("there is no key for it")]
    NoKey,
    /// The signature is of another key, or of another text.
    #[error("its signature is wrong")]
    Signature,
    /// A claim is missing.
    #[error("the claim `{0}` is missing")]
    Missing(Box<str>),
    /// A claim is of another type, or cannot be used.
    #[error("the claim `{0}` cannot be used")]
    Claim(Box<str>),
    /// `exp` is over.
    #[error("it was good until {0} (exp)")]
    Expired(u64),
    /// `nbf` is still to come.
    #[error("it is good from {0} on (nbf)")]
    NotYet(u64),
    /// `iss` is another.
    #[error("its `iss` is not tokens.issuer")]
    Issuer,
    /// `aud` names others only.
    #[error("its `aud` is none of tokens.audiences")]
    Audience,
    /// It was revoked.
    #[error("it was revoked")]
    Revoked,
}

/// A token that is not taken, and what is known of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Why.
    pub fault: Fault,
    /// The key that it names, as it stands there.
    pub kid: Option<Box<str>>,
    /// Whom it names, where its signature is right.
    pub subject: Option<Box<str>>,
}

/// For the log: what clients wrote is cut and escaped.
impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.fault)?;
        for (name, text) in [("kid", &self.kid), ("sub", &self.subject)] {
            if let Some(text) = text {
                write!(f, "; {name} {}", escaped(text))?;
            }
        }
        Ok(())
    }
}

/// What somebody else wrote, as a log bears it: in quotes, cut to 64 characters, without any that a terminal obeys.
pub(super) fn escaped(text: &str) -> String {
    let cut: String = text.chars().take(64).collect();
    format!("{cut:?}")
}

/// What tokens are held against.
#[derive(Clone, Debug)]
pub struct Tokens {
    settings: config::Tokens,
    /// Keys in force.
    pub keys: Keys,
    /// Revocations in force.
    pub revoked: Revoked,
}

impl Tokens {
    /// Of valid settings, without revocations.
    #[must_use]
    pub fn new(settings: &config::Tokens, keys: Keys) -> Tokens {
        Tokens { settings: settings.clone(), keys, revoked: Revoked::default() }
    }

    /// By how much clocks may differ.
    #[must_use]
    pub fn skew_s(&self) -> u64 {
        self.settings.skew_s.into()
    }

    /// Most revocations in force at a time.
    #[must_use]
    pub fn revocations_max(&self) -> usize {
        self.settings.revocations_max as usize
    }

    /// Who bears this token, at this moment.
    ///
    /// # Errors
    /// Why it is not taken.
    pub fn holder(&self, token: &str, unix_s: u64) -> Result<Holder, Refused> {
        let bare = |fault| Refused { fault, kid: None, subject: None };
        if token.len() > self.settings.token_bytes_max as usize {
            return Err(bare(Fault::TooLong(token.len(), self.settings.token_bytes_max)));
        }
        let header = jsonwebtoken::decode_header(token).map_err(|_| bare(Fault::Malformed))?;
        let kid = header.kid.as_deref().map(Box::from);
        let refused = |fault, subject| Refused { fault, kid: kid.clone(), subject };
        if header.crit.is_some() {
            return Err(refused(Fault::Critical, None));
        }
        let claims = self.claims(token, &header).map_err(|fault| refused(fault, None))?;
        let claims = Claims { claims: &claims, settings: &self.settings };
        let subject = claims.name(&self.settings.subject_claim).map_err(|fault| refused(fault, None))?;
        self.judge(&claims, subject.clone(), unix_s).map_err(|fault| refused(fault, subject))
    }

    /// The claims of a token whose signature is right.
    fn claims(&self, token: &str, header: &jsonwebtoken::Header) -> Result<Map<String, Value>, Fault> {
        let is_named = |kid: Option<&str>| kid.is_none() || header.kid.is_none() || kid == header.kid.as_deref();
        let mut fitting = self.keys.iter().filter(|key| key.algorithm == header.alg && is_named(key.kid.as_deref())).peekable();
        if fitting.peek().is_none() {
            return Err(Fault::NoKey);
        }
        for key in fitting {
            // Times, issuer and audience are looked at by ourselves: the crate would ask the machine's clock.
            let mut signature_only = Validation::new(key.algorithm);
            (signature_only.validate_exp, signature_only.validate_aud) = (false, false);
            signature_only.required_spec_claims.clear();
            match jsonwebtoken::decode::<Map<String, Value>>(token, &key.decoding, &signature_only) {
                Ok(decoded) => return Ok(decoded.claims),
                // The signature was right, and what was signed are no claims.
                Err(error) if matches!(error.kind(), jsonwebtoken::errors::ErrorKind::Json(_)) => return Err(Fault::Malformed),
                Err(_) => {}
            }
        }
        Err(Fault::Signature)
    }

    fn judge(&self, claims: &Claims<'_>, subject: Option<Box<str>>, unix_s: u64) -> Result<Holder, Fault> {
        let expires_unix_s = claims.moment("exp")?.ok_or_else(|| Fault::Missing("exp".into()))?;
        // RFC 7519 4.1.4: "the expiration time on or after which the JWT MUST NOT be accepted"; a little leeway is allowed.
        if unix_s >= expires_unix_s.saturating_add(self.skew_s()) {
            return Err(Fault::Expired(expires_unix_s));
        }
        if let Some(from_unix_s) = claims.moment("nbf")?
            && unix_s.saturating_add(self.skew_s()) < from_unix_s
        {
            return Err(Fault::NotYet(from_unix_s));
        }
        claims.check_issuer()?;
        claims.check_audience()?;
        let id = claims.name("jti")?;
        if self.revoked.has(subject.as_deref(), id.as_deref(), unix_s) {
            return Err(Fault::Revoked);
        }
        let subscribe = claims.patterns(&self.settings.subscribe_claim)?;
        let publish = claims.patterns(&self.settings.publish_claim)?;
        let limits = claims.limits()?;
        Ok(Holder { subject, id, expires_unix_s: Some(expires_unix_s), grants: Grants { subscribe, publish }, limits })
    }
}

/// What a token says, once its signature is right.
struct Claims<'t> {
    claims: &'t Map<String, Value>,
    settings: &'t config::Tokens,
}

impl Claims<'_> {
    fn get(&self, name: &str) -> Option<&Value> {
        self.claims.get(name).filter(|value| !value.is_null())
    }

    /// RFC 7519 2: a NumericDate may have a fraction, which is left out.
    fn moment(&self, name: &str) -> Result<Option<u64>, Fault> {
        let Some(value) = self.get(name) else { return Ok(None) };
        let seconds = value.as_u64().or_else(|| value.as_f64().filter(|seconds| *seconds >= 0.0).map(|seconds| seconds as u64));
        seconds.map(Some).ok_or_else(|| Fault::Claim(name.into()))
    }

    fn name(&self, name: &str) -> Result<Option<Box<str>>, Fault> {
        let Some(value) = self.get(name) else { return Ok(None) };
        let text = value.as_str().filter(|text| text.len() <= NAME_BYTES_MAX);
        text.map(|text| Some(text.into())).ok_or_else(|| Fault::Claim(name.into()))
    }

    fn check_issuer(&self) -> Result<(), Fault> {
        match &self.settings.issuer {
            Some(issuer) if self.get("iss").and_then(Value::as_str) != Some(issuer) => Err(Fault::Issuer),
            _ => Ok(()),
        }
    }

    /// RFC 7519 4.1.3: one text, or a list of them.
    fn check_audience(&self) -> Result<(), Fault> {
        let audiences = &self.settings.audiences;
        let is_ours = |value: &Value| value.as_str().is_some_and(|text| audiences.iter().any(|ours| ours == text));
        let names_us = match self.get("aud") {
            Some(Value::Array(named)) => named.iter().any(is_ours),
            Some(one) => is_ours(one),
            None => false,
        };
        if audiences.is_empty() || names_us { Ok(()) } else { Err(Fault::Audience) }
    }

    fn patterns(&self, name: &str) -> Result<Box<[crate::hub::Pattern]>, Fault> {
        patterns(self.get(name)).ok_or_else(|| Fault::Claim(name.into()))
    }

    fn limits(&self) -> Result<OwnLimits, Fault> {
        let name = &self.settings.limits_claim;
        limits(self.get(name)).ok_or_else(|| Fault::Claim(name.as_str().into()))
    }
}

/// A list of topics and patterns, or one; nothing is none of them.
pub(super) fn patterns(value: Option<&Value>) -> Option<Box<[crate::hub::Pattern]>> {
    match value {
        None => Some(Box::default()),
        Some(Value::String(one)) => Grants::parse([one.as_str()]).ok(),
        Some(Value::Array(texts)) => {
            let texts: Option<Vec<&str>> = texts.iter().map(Value::as_str).collect();
            Grants::parse(texts?).ok()
        }
        Some(_) => None,
    }
}

/// Members that are not known are for somebody else.
pub(super) fn limits(value: Option<&Value>) -> Option<OwnLimits> {
    let Some(value) = value else { return Some(OwnLimits::default()) };
    let members = value.as_object()?;
    // None of zero: no request at all is no limit, but a token that grants nothing.
    let limit = |name: &str, least: u64| match members.get(name) {
        None | Some(Value::Null) => Some(None),
        Some(value) => {
            value.as_u64().filter(|number| *number >= least).map(|number| Some(u32::try_from(number).unwrap_or(u32::MAX)))
        }
    };
    Some(OwnLimits {
        subscriptions_max: limit("subscriptions_max", 0)?,
        requests_per_second: limit("requests_per_second", 1)?,
        requests_burst: limit("requests_burst", 1)?,
    })
}

#[cfg(test)]
mod tests;
