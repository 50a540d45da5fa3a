//! A set of public keys as a server of tokens publishes it (JWKS, RFC 7517).
//!
//! Without: where it comes from. What cannot be used is passed over (RFC 7517 5), so that a set may hold keys for others; shared secrets
//! have no place in what is published, and are never taken from it.

use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyAlgorithm, PublicKeyUse, RSAKeyParameters};
use jsonwebtoken::{Algorithm, DecodingKey};
use serde::Deserialize;
use serde_json::Value;

use super::Key;

/// RFC 7518 3.3: 2,048 bits, in base64 without padding.
const MODULUS_CHARACTERS_MIN: usize = 342;

/// What a set came to.
#[derive(Clone, Debug)]
pub struct KeySet {
    /// Keys that can be used, at least one.
    pub keys: Vec<Key>,
    /// Keys that were passed over.
    pub passed_over: usize,
}

/// Why a set cannot be used, as the end of a sentence that names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeySetError {
    /// Not an object with a list of keys.
    #[error("is no set of keys (JWKS): an object with a list `keys`")]
    Malformed,
    /// None of them is one of ours.
    #[error("holds no key for RS256, ES256 or EdDSA")]
    NoKeys,
    /// More than are tried.
    #[error("holds {0} keys, and tokens.jwks_keys_max is {1}")]
    TooMany(usize, usize),
}

#[derive(Deserialize)]
struct Shape {
    keys: Vec<Value>,
}

impl KeySet {
    /// Reads a set.
    ///
    /// # Errors
    /// See [`KeySetError`].
    pub fn read(json: &[u8], keys_max: usize) -> Result<KeySet, KeySetError> {
        let Shape { keys: all } = serde_json::from_slice(json).map_err(|_| KeySetError::Malformed)?;
        if all.len() > keys_max {
            return Err(KeySetError::TooMany(all.len(), keys_max));
        }
        let count = all.len();
        let keys: Vec<Key> = all.into_iter().filter_map(|key| usable(serde_json::from_value(key).ok()?)).collect();
        let passed_over = count - keys.len();
        if keys.is_empty() { Err(KeySetError::NoKeys) } else { Ok(KeySet { keys, passed_over }) }
    }
}

fn usable(key: Jwk) -> Option<Key> {
    if key.common.public_key_use.as_ref().is_some_and(|usage| *usage != PublicKeyUse::Signature) {
        return None;
    }
    let algorithm = match &key.algorithm {
        AlgorithmParameters::RSA(RSAKeyParameters { n, .. }) if n.len() >= MODULUS_CHARACTERS_MIN => Algorithm::RS256,
        AlgorithmParameters::EllipticCurve(curve) if curve.curve == EllipticCurve::P256 => Algorithm::ES256,
        AlgorithmParameters::OctetKeyPair(curve) if curve.curve == EllipticCurve::Ed25519 => Algorithm::EdDSA,
        _ => return None,
    };
    if key.common.key_algorithm.is_some_and(|named| named != KeyAlgorithm::from(algorithm)) {
        return None;
    }
    let decoding = DecodingKey::from_jwk(&key).ok()?;
    Some(Key { kid: key.common.key_id.map(Into::into), algorithm, decoding })
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ED25519};
    use serde_json::json;

    use super::*;

    fn read(keys: Value) -> Result<(Vec<Algorithm>, usize), KeySetError> {
        let set = KeySet::read(json!({"keys": keys, "more": 1}).to_string().as_bytes(), 4)?;
        Ok((set.keys.iter().map(|key| key.algorithm).collect(), set.passed_over))
    }

    /// As RFC 7517 A.1 and RFC 8037 A.2 write them.
    fn keys() -> [Value; 3] {
        let (es256, ed25519) = (KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256), KeyPair::generate_for(&PKCS_ED25519));
        let (es256, ed25519) = (es256.expect("a key"), ed25519.expect("a key"));
        let (x, y) = es256.public_key_raw()[1..].split_at(32);
        [
            json!({"kty": "EC", "crv": "P-256", "x": URL_SAFE_NO_PAD.encode(x), "y": URL_SAFE_NO_PAD.encode(y), "kid": "e"}),
            json!({"kty": "OKP", "crv": "Ed25519", "x": URL_SAFE_NO_PAD.encode(ed25519.public_key_raw()), "use": "sig"}),
            json!({"kty": "RSA", "n": URL_SAFE_NO_PAD.encode([0xff; 256]), "e": "AQAB", "alg": "RS256"}),
        ]
    }

    #[test]
    fn keys_of_our_algorithms_are_taken() {
        let all = [Algorithm::ES256, Algorithm::EdDSA, Algorithm::RS256];
        assert_eq!(read(json!(keys())), Ok((all.to_vec(), 0)));
        let named = KeySet::read(json!({"keys": [keys()[0]]}).to_string().as_bytes(), 1).expect("one key");
        assert_eq!(named.keys[0].kid.as_deref(), Some("e"));
    }

    #[test]
    fn others_are_passed_over() {
        let good = &keys()[0];
        let with = |name: &str, value: &str| {
            let mut key = good.clone();
            key[name] = json!(value);
            key
        };
        for other in [
            with("use", "enc"),
            with("alg", "ES384"),
            with("alg", "HS256"),
            with("alg", "RS256"),
            with("crv", "P-384"),
            with("kty", "new"),
            json!({"kty": "oct", "k": URL_SAFE_NO_PAD.encode([1; 64]), "alg": "HS256"}),
            json!({"kty": "RSA", "n": URL_SAFE_NO_PAD.encode([0xff; 128]), "e": "AQAB"}),
            json!({}),
            json!(7),
        ] {
            assert_eq!(read(json!([other, good])), Ok((vec![Algorithm::ES256], 1)), "{other}");
            assert_eq!(read(json!([other])), Err(KeySetError::NoKeys), "{other}");
        }
    }

    #[test]
    fn what_is_no_set_is_told() {
        for text in ["", "[]", "{}", "{\"keys\":{}}", "null", "<html>", &"[".repeat(100_000)] {
            assert_eq!(KeySet::read(text.as_bytes(), 4).map(drop), Err(KeySetError::Malformed));
        }
        assert_eq!(read(json!([1, 2, 3, 4, 5])), Err(KeySetError::TooMany(5, 4)));
    }
}
