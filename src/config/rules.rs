//! What settings owe each other. What a single value must be like stands in `reference.rs`.

use super::document::{Document, Place};
use super::error::ConfigError;
use super::{Config, JournalFlush, JournalFull, Network, ProxyProtocol, PublishAllow, Slow, Topic, TopicKind};

/// Holds the settings against each other.
pub(super) fn check(document: &Document<'_>, config: &Config) -> Result<(), ConfigError> {
    addresses(document, config)?;
    client_certificates(document, config)?;
    proxies(document, config)?;
    admin_keys(document, config)?;
    publishing(document, config)?;
    slow_subscribers(document, config)?;
    journals(document, config)?;
    threads(document, config)
}

fn addresses(document: &Document<'_>, config: &Config) -> Result<(), ConfigError> {
    if config.listeners.is_empty() {
        let hint = "Add [[listener]] and below it `address = \"127.0.0.1:8080\"`.";
        return Err(document.missing("listener", None, "at least one [[listener]] where clients connect", hint));
    }
    let address = |index| Place { table: "listener", index, key: "address" };
    for (index, listener) in config.listeners.iter().enumerate() {
        if config.listeners[..index].iter().any(|earlier| earlier.address.excludes(&listener.address)) {
            let hint = "Give it another port or path, or remove it.";
            return Err(document.conflict(address(index), "like the address of an earlier listener", "each address once", hint));
        }
        if config.admin.enabled && listener.address.excludes(&config.admin.address.into()) {
            let place = Place { table: "admin", index: 0, key: "address" };
            let with = format!("({}) and a [[listener]] has the same address", config.admin.address);
            let hint = "Give the admin port a port of its own.";
            return Err(document.conflict(place, with, "an address that no listener has", hint));
        }
        if listener.address.path().is_some_and(|path| config.takeover.socket.as_deref() == Some(path)) {
            let hint = "Give the listener another path: at [takeover] socket one gateway asks another for its place.";
            return Err(document.conflict(address(index), "like takeover.socket", "a path of its own", hint));
        }
    }
    Ok(())
}

fn client_certificates(document: &Document<'_>, config: &Config) -> Result<(), ConfigError> {
    let tls = config.listeners.iter().enumerate().filter_map(|(index, listener)| Some((index, listener.tls.as_ref()?)));
    for (index, _) in tls.filter(|(_, tls)| tls.client_ca.is_none()) {
        let place = Place { table: "listener.tls", index, key: "client_certificates" };
        if document.has(place) {
            let hint = "Add `client_ca = \"ca.pem\"` beside it, the authorities whose certificates are taken, or remove it.";
            return Err(document.conflict(place, "without `client_ca`", "this key to be left out", hint));
        }
    }
    Ok(())
}

/// A PROXY header is believed only where somebody is trusted with it.
fn proxies(document: &Document<'_>, config: &Config) -> Result<(), ConfigError> {
    for (index, listener) in config.listeners.iter().enumerate() {
        if listener.proxy_protocol != ProxyProtocol::Off && listener.trusted_proxies.is_empty() {
            let place = Place { table: "listener", index, key: "trusted_proxies" };
            let hint = "Add for example `trusted_proxies = [\"10.0.0.0/8\"]` beside it, where the balancers are.";
            let expected = "the networks whose PROXY headers are believed";
            return Err(document.conflict(place, "or empty beside proxy_protocol", expected, hint));
        }
        let (is_unix, trusts) = (listener.address.path().is_some(), &listener.trusted_proxies);
        if !trusts.is_empty() && trusts.contains(&Network::Unix) != is_unix {
            let place = Place { table: "listener", index, key: "trusted_proxies" };
            let (with, expected, hint) = match is_unix {
                true => (
                    "without \"unix\" on a Unix socket",
                    "\"unix\" among them",
                    "Whoever connects there has no address: add \"unix\".",
                ),
                false => {
                    ("with \"unix\" on an IP address", "networks only", "Remove \"unix\": nobody comes by a Unix socket there.")
                }
            };
            return Err(document.conflict(place, with, expected, hint));
        }
    }
    Ok(())
}

/// Who reaches the admin port may publish.
fn admin_keys(document: &Document<'_>, config: &Config) -> Result<(), ConfigError> {
    let admin = &config.admin;
    if admin.enabled && !admin.address.ip().is_loopback() && admin.keys.is_empty() {
        let place = Place { table: "admin", index: 0, key: "address" };
        let hint = "Add an [[admin.key]], or without one listen on loopback, like \"127.0.0.1:8081\".";
        let with = "without an [[admin.key]], and whoever reaches it could publish";
        return Err(document.conflict(place, with, "a loopback address, or a key", hint));
    }
    for (index, key) in admin.keys.iter().enumerate() {
        if admin.keys[..index].iter().any(|earlier| earlier.name == key.name) {
            let place = Place { table: "admin.key", index, key: "name" };
            return Err(document.conflict(
                place,
                "like that of an earlier key",
                "each name once",
                "Give it another name, or remove it.",
            ));
        }
    }
    Ok(())
}

fn publishing(document: &Document<'_>, config: &Config) -> Result<(), ConfigError> {
    if config.publish.allow != PublishAllow::Nobody && config.publish.topics.is_empty() {
        let place = Place { table: "publish", index: 0, key: "topics" };
        let hint = "Add for example `topics = [\"md.>\"]` below [publish]; `[\">\"]` allows every topic.";
        let expected = "a list of the topics that clients may publish to";
        return Err(document.conflict(place, "or empty while `allow` lets clients publish", expected, hint));
    }
    let limit = config.limits.publication_bytes_max;
    if config.admin.enabled && config.admin.body_bytes_max < limit as usize {
        let place = Place { table: "admin", index: 0, key: "body_bytes_max" };
        let with = format!("({}) and cannot hold one publication of publication_bytes_max", config.admin.body_bytes_max);
        let hint = "Raise it, or lower limits.publication_bytes_max.";
        return Err(document.conflict(place, with, format!("at least {limit} (bytes)"), hint));
    }
    Ok(())
}

/// A book difference left out is a wrong book: only where each publication replaces the one before may some be.
fn slow_subscribers(document: &Document<'_>, config: &Config) -> Result<(), ConfigError> {
    for (index, topic) in config.topics.iter().enumerate() {
        let place = |key| Place { table: "topic", index, key };
        if !topic.slow_allowed.contains(&topic.slow_default) {
            let hint = "Add it to `slow_allowed`, or choose one that is there.";
            return Err(document.conflict(place("slow_allowed"), "without what slow_default says", "a list with it", hint));
        }
        if topic.kind == TopicKind::State {
            continue;
        }
        let with = "on a topic of kind \"log\", where every publication counts";
        let hint = "Only a topic of `kind = \"state\"` can be thinned out, as each publication there replaces the one before.";
        if topic.slow_allowed.contains(&Slow::Conflate) {
            let key = if topic.slow_default == Slow::Conflate { "slow_default" } else { "slow_allowed" };
            return Err(document.conflict(place(key), with, "close or drop", hint));
        }
        // The default list stands in every printed configuration and does nothing here.
        if document.has(place("rates_ms")) && topic.rates_ms != Topic::default().rates_ms {
            return Err(document.conflict(place("rates_ms"), with, "this key to be left out", hint));
        }
    }
    Ok(())
}

fn journals(document: &Document<'_>, config: &Config) -> Result<(), ConfigError> {
    let keys =
        ["journal_flush", "journal_every_ms", "journal_segment_bytes", "journal_keep_bytes", "journal_keep_s", "journal_full"];
    for (index, topic) in config.topics.iter().enumerate() {
        let place = |key| Place { table: "topic", index, key };
        let Some(journal) = topic.journal else {
            if let Some(key) = keys.into_iter().find(|key| document.has(place(key))) {
                let hint = "Add `journal = true` beside it, or remove it.";
                return Err(document.conflict(place(key), "without `journal = true`", "this key to be left out", hint));
            }
            continue;
        };
        if journal.flush == JournalFlush::Always && document.has(place("journal_every_ms")) {
            let hint = "Remove it, or set `journal_flush = \"every_ms\"`.";
            return Err(document.conflict(place("journal_every_ms"), "beside \"always\"", "this key to be left out", hint));
        }
        if journal.flush == JournalFlush::Always && journal.full == JournalFull::Continue {
            let hint = "What is acknowledged under \"always\" is on disk, so such a topic cannot be served without it: set `journal_flush = \
                        \"every_ms\"`, or \"refuse\" here.";
            return Err(document.conflict(place("journal_full"), "(continue) beside \"always\"", "refuse or forget", hint));
        }
        let least = u64::from(journal.segment_bytes) * 2;
        if journal.keep_bytes < least {
            let with = format!("({}) and less than twice journal_segment_bytes", journal.keep_bytes);
            let hint = "Raise it, or lower journal_segment_bytes: only whole segments are removed.";
            return Err(document.conflict(place("journal_keep_bytes"), with, format!("at least {least} (bytes)"), hint));
        }
    }
    Ok(())
}

fn threads(document: &Document<'_>, config: &Config) -> Result<(), ConfigError> {
    let shards = &config.shards;
    let sends_max = shards.ring_entries / 4;
    if shards.sends_per_turn > sends_max {
        let place = Place { table: "shards", index: 0, key: "sends_per_turn" };
        let with = format!("({}) and more than a quarter of ring_entries", shards.sends_per_turn);
        let hint = "A turn also submits receives, accepts and polls; raise shards.ring_entries or lower sends_per_turn.";
        return Err(document.conflict(place, with, format!("at most {sends_max} (sends)"), hint));
    }
    if config.listeners.len() > usize::from(shards.accepts_armed) {
        let place = Place { table: "shards", index: 0, key: "accepts_armed" };
        let with = format!("({}) and less than the number of listeners", shards.accepts_armed);
        let hint = "Each listener needs an accept armed; raise shards.accepts_armed.";
        return Err(document.conflict(place, with, format!("at least {} (accepts)", config.listeners.len()), hint));
    }
    let places_min = u64::from(config.limits.publish_credits) * 2;
    if u64::from(shards.mailbox_places) < places_min {
        let place = Place { table: "shards", index: 0, key: "mailbox_places" };
        let with = format!("({}) and less than twice limits.publish_credits", shards.mailbox_places);
        let hint = "Two publishing threads must find room; raise mailbox_places or lower limits.publish_credits.";
        return Err(document.conflict(place, with, format!("at least {places_min} (publications)"), hint));
    }
    Ok(())
}
