//! Who may ask what: bearer keys and what each is good for.
//!
//! Pure: a head in, an answer out. Kept is only each key's SHA-256, and what is borne is compared with all of them in time that depends on neither.
//!
//! Free of keys are health and the files of the operator's page, which tell nothing of this gateway; the page asks whoever opens it for a key.
//!
//! Invariants: who is refused is told that, and not what was missing of it: no key, a wrong one, one that is not good for it. The log is told.

use std::sync::Arc;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, digest};
use axum::http::{HeaderMap, Method, StatusCode, header};
use serde_json::{Value, json};

use super::answer::Refused;
use crate::config::AdminKey;
use crate::dialect::ErrorCode;
use crate::hub::TopicName;
use crate::hub::topic::Pattern;

/// Fewest and most characters of a key.
const CHARACTERS: std::ops::RangeInclusive<usize> = 20..=512;
const SHA256_BYTES: usize = 32;

/// All keys of the port.
#[derive(Clone, Debug, Default)]
pub struct Keys(Vec<Arc<Key>>);

/// One of them.
#[derive(Debug)]
pub struct Key {
    name: String,
    sha256: [u8; SHA256_BYTES],
    publish: Vec<Pattern>,
    read: bool,
    change: bool,
}

/// What is wrong with the text of a key's file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyFault {
    /// Neither a key nor a hash.
    #[error(
        "holds no key; it must hold a line of 20 to 512 visible ASCII characters (as from `openssl rand -hex 32`), or `sha256:` and 64 \
         hexadecimal digits"
    )]
    Unusable,
}

/// What a request may do.
#[derive(Clone, Debug)]
pub(super) enum Grant {
    /// Everything: the port has no keys, and is this machine's only.
    All,
    /// What its key is good for.
    By(Arc<Key>),
}

/// What a request is about, as far as its method and path say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wish {
    /// Tells nothing that keys guard.
    Free,
    /// What a key is good for, its own bearer's question.
    Key,
    Read,
    /// On topics that only the handler knows.
    Publish,
    Change,
}

impl Key {
    /// With the text of its file.
    ///
    /// # Errors
    /// What is wrong with that.
    pub fn new(settings: &AdminKey, text: &str) -> Result<Key, KeyFault> {
        let pattern = |text: &String| Pattern::parse(text).expect("the configuration was validated");
        let sha256 = match text.trim_end().strip_prefix("sha256:") {
            Some(digits) => from_hexadecimal(digits.trim()).ok_or(KeyFault::Unusable)?,
            None => hashed(text.trim_end()).ok_or(KeyFault::Unusable)?,
        };
        Ok(Key {
            name: settings.name.clone(),
            sha256,
            publish: settings.publish.iter().map(pattern).collect(),
            read: settings.read,
            change: settings.change,
        })
    }

    fn allows(&self, wish: Wish) -> bool {
        match wish {
            Wish::Free | Wish::Key => true,
            Wish::Read => self.read,
            Wish::Publish => !self.publish.is_empty(),
            Wish::Change => self.change,
        }
    }
}

impl Keys {
    /// Of these; without any, whoever reaches the port may do everything.
    #[must_use]
    pub fn new(keys: Vec<Key>) -> Keys {
        Keys(keys.into_iter().map(Arc::new).collect())
    }

    /// What a request may do, or why it is refused: to its client, and to the log.
    pub(super) fn admit(&self, method: &Method, path: &str, headers: &HeaderMap) -> Result<Grant, (Refused, String)> {
        let wish = wish(method, path);
        if self.0.is_empty() || wish == Wish::Free {
            return Ok(Grant::All);
        }
        let unauthorized = |why: &str| (refused(StatusCode::UNAUTHORIZED), why.to_owned());
        let mut borne = headers.get_all(header::AUTHORIZATION).iter();
        let (Some(value), None) = (borne.next(), borne.next()) else { return Err(unauthorized("no key, or two")) };
        let secret = value.to_str().ok().and_then(bearer).ok_or_else(|| unauthorized("no bearer key"))?;
        let key = self.find(secret).ok_or_else(|| unauthorized("a key that is none of them"))?;
        match key.allows(wish) {
            true => Ok(Grant::By(key)),
            false => Err((refused(StatusCode::FORBIDDEN), format!("the key {:?} is not good for {method} {path:?}", key.name))),
        }
    }

    /// Each is compared, also behind one that fits.
    fn find(&self, secret: &str) -> Option<Arc<Key>> {
        let sha256 = hashed(secret)?;
        let mut found = None;
        for key in &self.0 {
            if verify_slices_are_equal(&key.sha256, &sha256).is_ok() {
                found = Some(key.clone());
            }
        }
        found
    }
}

impl Grant {
    /// As `GET /api/key` tells it: the name of the key and what that is good for.
    pub(super) fn told(&self) -> Value {
        match self {
            Grant::All => json!({"name": null, "publish": [">"], "read": true, "change": true}),
            Grant::By(key) => {
                let publish: Vec<&str> = key.publish.iter().map(Pattern::as_str).collect();
                json!({"name": key.name, "publish": publish, "read": key.read, "change": key.change})
            }
        }
    }

    /// Whether it holds for publishing on the topic; else what the client is told, and the log.
    pub(super) fn publishes(&self, topic: &TopicName) -> Result<(), (Refused, String)> {
        match self {
            Grant::All => Ok(()),
            Grant::By(key) if key.publish.iter().any(|pattern| pattern.matches(topic.as_str())) => Ok(()),
            Grant::By(key) => {
                let why = format!("the key {:?} is not good for publishing on {:?}", key.name, topic.as_str());
                Err((refused(StatusCode::FORBIDDEN), why))
            }
        }
    }
}

fn refused(status: StatusCode) -> Refused {
    let msg = match status {
        StatusCode::UNAUTHORIZED => "this needs `Authorization: Bearer` with a key of the admin port that is in force",
        _ => "the key is not good for this",
    };
    Refused { status, code: ErrorCode::NotAllowed, msg: msg.into() }
}

/// Paths that publish stand in the router; whatever else changes something is a change.
fn wish(method: &Method, path: &str) -> Wish {
    match *method {
        _ if path.starts_with("/health/") => Wish::Free,
        Method::GET | Method::HEAD if path == "/" || path.starts_with("/page/") => Wish::Free,
        Method::GET | Method::HEAD if path == "/api/key" => Wish::Key,
        Method::GET | Method::HEAD | Method::OPTIONS => Wish::Read,
        Method::POST if path == "/api/publish" => Wish::Publish,
        Method::POST if path.strip_prefix("/api/topics/").is_some_and(|topic| !topic.contains('/')) => Wish::Publish,
        _ => Wish::Change,
    }
}

/// RFC 6750 2.1; the scheme in any case (RFC 9110 11.1).
fn bearer(value: &str) -> Option<&str> {
    let (scheme, secret) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| secret.trim_start_matches(' '))
}

/// None where it is no key by its form; that is known without looking at any.
fn hashed(secret: &str) -> Option<[u8; SHA256_BYTES]> {
    let is_key = CHARACTERS.contains(&secret.len()) && secret.bytes().all(|byte| byte.is_ascii_graphic());
    is_key.then(|| digest(&SHA256, secret.as_bytes()).as_ref().try_into().expect("SHA-256 has 32 bytes"))
}

fn from_hexadecimal(digits: &str) -> Option<[u8; SHA256_BYTES]> {
    let mut bytes = [0; SHA256_BYTES];
    if digits.len() != 2 * SHA256_BYTES || !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    for (byte, at) in bytes.iter_mut().zip((0..).step_by(2)) {
        *byte = u8::from_str_radix(&digits[at..at + 2], 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FEED: &str = "feed-feed-feed-feed-feed";
    const WATCHER: &str = "watch-watch-watch-watch";

    fn key(name: &str, text: &str, publish: &[&str], read: bool) -> Key {
        let publish = publish.iter().map(|pattern| String::from(*pattern)).collect();
        let settings = AdminKey { name: name.into(), secret_file: "f".into(), publish, read, change: false };
        Key::new(&settings, text).expect("a key")
    }

    fn keys() -> Keys {
        Keys::new(vec![key("feed", &format!("{FEED}\n"), &["md.>"], false), key("watcher", WATCHER, &[], true)])
    }

    fn status(keys: &Keys, method: &Method, path: &str, authorization: &[&str]) -> u16 {
        let mut headers = HeaderMap::new();
        for value in authorization {
            headers.append(header::AUTHORIZATION, value.parse().expect("a value"));
        }
        keys.admit(method, path, &headers).map_or_else(|(refused, _)| refused.status.as_u16(), |_| 200)
    }

    #[test]
    fn each_key_is_good_for_what_it_is_for() {
        let (get, post) = (Method::GET, Method::POST);
        let (feed, watcher) = (format!("Bearer {FEED}"), format!("bearer  {WATCHER}"));
        for (method, path, authorization, expected) in [
            (&get, "/health/ready", &[][..], 200),
            (&get, "/health/live", &["Bearer x"], 200),
            (&get, "/metrics", &[], 401),
            (&post, "/api/publish", &[], 401),
            (&post, "/api/publish", &["Bearer"], 401),
            (&post, "/api/publish", &["Basic Zm9vOmJhcg=="], 401),
            (&post, "/api/publish", &["Bearer feed-feed-feed-feed-fee"], 401),
            (&post, "/api/publish", &[&feed, &feed], 401),
            (&post, "/api/publish", &[&feed], 200),
            (&post, "/api/topics/md.a", &[&feed], 200),
            (&get, "/api/topics", &[&feed], 403),
            (&get, "/metrics", &[&feed], 403),
            (&get, "/metrics", &[&watcher], 200),
            (&get, "/api/topics/md.a", &[&watcher], 200),
            (&post, "/api/publish", &[&watcher], 403),
            (&post, "/api/connections/1/disconnect", &[&watcher], 403),
            (&post, "/api/connections/1/disconnect", &[&feed], 403),
            (&get, "/nothing", &[], 401),
            (&get, "/", &[], 200),
            (&get, "/page/operator.js", &["Bearer x"], 200),
            (&post, "/", &[], 401),
            (&get, "//", &[], 401),
            (&get, "/page", &[], 401),
            (&get, "/api/history", &[], 401),
            (&get, "/api/key", &[], 401),
            (&get, "/api/key", &["Bearer feed-feed-feed-feed-fee"], 401),
            (&get, "/api/key", &[&feed], 200),
            (&post, "/api/key", &[&feed], 403),
        ] {
            assert_eq!(status(&keys(), method, path, authorization), expected, "{method} {path} {authorization:?}");
        }
        assert_eq!(status(&Keys::default(), &post, "/api/publish", &[]), 200, "without keys whoever reaches it may");
    }

    #[test]
    fn a_key_is_told_what_it_is_good_for() {
        let told = |key: usize| Grant::By(keys().0[key].clone()).told();
        assert_eq!(told(0), json!({"name": "feed", "publish": ["md.>"], "read": false, "change": false}));
        assert_eq!(told(1), json!({"name": "watcher", "publish": [], "read": true, "change": false}));
        assert_eq!(Grant::All.told(), json!({"name": null, "publish": [">"], "read": true, "change": true}));
    }

    #[test]
    fn topics_are_granted_by_pattern() {
        let granted = |topic: &str| {
            let topic = TopicName::parse(topic).expect("a topic");
            Grant::By(keys().0[0].clone()).publishes(&topic).map_err(|(refused, why)| (refused.msg, why))
        };
        assert_eq!(granted("md.trades"), Ok(()));
        let (told, logged) = granted("other").expect_err("not granted");
        assert!(!told.contains("other") && logged.contains("\"feed\"") && logged.contains("\"other\""), "{told} {logged}");
    }

    #[test]
    fn a_file_holds_a_key_or_its_hash() {
        let settings = AdminKey { name: "k".into(), secret_file: "f".into(), publish: Vec::new(), read: true, change: false };
        let made = |text: &str| Key::new(&settings, text).map(|key| key.sha256);
        // printf %s feed-feed-feed-feed-feed | sha256sum
        let hash = "sha256:a04d89de934874e52ad953c25180ecf1850971e4f106a519b8778fe0be1d8b87";
        assert_eq!(made(hash), made(FEED));
        assert_eq!(made(&format!("{}\r\n", hash.to_uppercase().replace("SHA256", "sha256"))), made(FEED));
        for text in
            ["", "short", "sha256:", &hash[..70], &format!("{hash}0"), "a key with spaces in its middle", &"x".repeat(513)]
        {
            assert_eq!(made(text), Err(KeyFault::Unusable), "{text:?}");
        }
    }
}
