//! What of a configuration that was read again can be in force at once, and what waits for a restart.
//!
//! Without: files, and how settings reach who goes by them. Invariant: what waits is, in what is in force, as it was at start; so the rules
//! between settings hold there, too, as each of them stands on one side.

use std::collections::{BTreeSet, HashMap};
use std::fmt;

use toml::Value;

use super::{Admin, Config, Limits, Listener, Topic};

/// What becomes of a configuration that was read again.
#[derive(Clone, Debug, PartialEq)]
pub struct Reload {
    /// To be in force from now on.
    pub config: Config,
    /// What is other in it than before.
    pub applied: Vec<Change>,
    /// What is other in the file and waits for a restart.
    pub waiting: Vec<Change>,
}

/// A setting that is another one. Displays as `limits.idle_ping_ms 25000 -> 1000`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Table and key; of a table that there are several of with what names it: `topic "md.>".ring_bytes`.
    pub key: String,
    /// What it was, as the file has it; none: not there.
    pub from: Option<String>,
    /// What it is.
    pub to: Option<String>,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let or_none = |value: &Option<String>| value.clone().unwrap_or_else(|| "none".into());
        write!(f, "{} {} -> {}", self.key, or_none(&self.from), or_none(&self.to))
    }
}

impl Reload {
    /// Of the configuration of the start, the one in force, and what was read now.
    #[must_use]
    pub fn new(started: &Config, present: &Config, read: &Config) -> Reload {
        let config = in_force(started, present, read.clone());
        Reload { applied: differences(present, &config), waiting: differences(&config, read), config }
    }
}

/// What was read, but for what is made at start: sockets, threads, rings, feeds, journals. All tables are named, so that nobody adds one without
/// saying on which side it stands.
fn in_force(started: &Config, present: &Config, read: Config) -> Config {
    let Config {
        demo: _,
        listeners,
        admin,
        topics,
        sources: _,
        journal: _,
        arrivals,
        drain,
        takeover: _,
        limits,
        shards: _,
        publish,
        tokens,
        anonymous,
        callout,
        echo,
        page,
        log,
    } = read;
    Config {
        demo: present.demo,
        listeners: same_sockets(&present.listeners, &listeners),
        admin: Admin {
            enabled: present.admin.enabled,
            address: present.admin.address,
            open_connections_max: present.admin.open_connections_max,
            // The port stays where it is: where others reach it, it is never without keys.
            keys: match admin.keys.is_empty() && !present.admin.address.ip().is_loopback() {
                true => present.admin.keys.clone(),
                false => admin.keys,
            },
            ..admin
        },
        topics: same_journals(&present.topics, topics),
        sources: present.sources.clone(),
        journal: present.journal.clone(),
        arrivals,
        drain,
        takeover: present.takeover.clone(),
        limits: Limits {
            // A shard's table of clients is as large as it was made.
            connections_max: limits.connections_max.min(started.limits.connections_max),
            accept_backlog: present.limits.accept_backlog,
            send_timeout_ms: present.limits.send_timeout_ms,
            send_unsent_bytes_max: present.limits.send_unsent_bytes_max,
            conflate_unsent_bytes: present.limits.conflate_unsent_bytes,
            publish_credits: present.limits.publish_credits,
            broker_requests_max: present.limits.broker_requests_max,
            // A frame that is made again must be the same bytes: somebody may be inside of it.
            deflate_bytes_min: present.limits.deflate_bytes_min,
            ..limits
        },
        shards: present.shards.clone(),
        publish,
        tokens,
        anonymous,
        callout,
        echo,
        page,
        log: super::Log { format: present.log.format, waiting_lines_max: present.log.waiting_lines_max, ..log },
    }
}

/// The listeners that there are, each with what was read for its address; those of port 0 in their order.
fn same_sockets(present: &[Listener], read: &[Listener]) -> Vec<Listener> {
    let nth = |number: usize| present[..number].iter().filter(|earlier| earlier.address == present[number].address).count();
    let read_for = |(number, listener): (usize, &Listener)| {
        let same = read.iter().filter(|other| other.address == listener.address).nth(nth(number));
        same.map_or_else(|| listener.clone(), |same| with_its_own(listener, same))
    };
    present.iter().enumerate().map(read_for).collect()
}

/// What was read for a listener, with what was made for it at start: its file's mode, and whether its clients are counted by themselves.
fn with_its_own(listener: &Listener, read: &Listener) -> Listener {
    let arrivals = listener.arrivals.clone().map(|before| read.arrivals.clone().unwrap_or(before));
    Listener { mode: listener.mode, arrivals, ..read.clone() }
}

/// The settings of topics that were read, with the journals that there are. Where other topics would have one, all stay as they were: who
/// gives a topic's offsets is decided at start.
fn same_journals(present: &[Topic], read: Vec<Topic>) -> Vec<Topic> {
    if journaled(present) != journaled(&read) {
        return present.to_vec();
    }
    // The same patterns stand before the last journaled one, in the same order.
    let journals = present.iter().map(|topic| topic.journal).chain(std::iter::repeat(None));
    read.into_iter().zip(journals).map(|(topic, journal)| Topic { journal, ..topic }).collect()
}

/// Patterns up to the last journaled one, and whether each is.
fn journaled(topics: &[Topic]) -> Vec<(&str, bool)> {
    let count = topics.iter().rposition(|topic| topic.journal.is_some()).map_or(0, |last| last + 1);
    topics[..count].iter().map(|topic| (topic.pattern.as_str(), topic.journal.is_some())).collect()
}

/// What differs, in the order of the names.
fn differences(one: &Config, other: &Config) -> Vec<Change> {
    let table = |config: &Config| Value::try_from(config).expect("settings are numbers, words and flags in tables");
    let mut found = Vec::new();
    compare("", Some(&table(one)), Some(&table(other)), &mut found);
    found
}

fn compare(key: &str, one: Option<&Value>, other: Option<&Value>, found: &mut Vec<Change>) {
    match (one, other) {
        _ if one == other => {}
        (Some(Value::Table(one)), Some(Value::Table(other))) => {
            let names: BTreeSet<&String> = one.keys().chain(other.keys()).collect();
            for name in names {
                let key = if key.is_empty() { name.clone() } else { format!("{key}.{name}") };
                compare(&key, one.get(name), other.get(name), found);
            }
        }
        (Some(Value::Array(one)), Some(Value::Array(other))) if one.iter().chain(other).any(Value::is_table) => {
            let (one, other) = (named(one), named(other));
            let find =
                |list: &[(String, Value)], name: &str| list.iter().find(|(own, _)| own == name).map(|(_, value)| value.clone());
            let added = other.iter().filter(|(name, _)| find(&one, name).is_none());
            for (name, _) in one.iter().chain(added) {
                compare(&format!("{key} {name}"), find(&one, name).as_ref(), find(&other, name).as_ref(), found);
            }
            let common = |list: &[(String, Value)], others: &[(String, Value)]| -> Vec<String> {
                list.iter().map(|(name, _)| name.clone()).filter(|name| find(others, name).is_some()).collect()
            };
            let (from, to) = (common(&one, &other), common(&other, &one));
            if from != to {
                found.push(Change { key: format!("the order of {key}"), from: Some(from.join(", ")), to: Some(to.join(", ")) });
            }
        }
        _ => found.push(Change {
            from: one.map(|value| shown(key, value)),
            to: other.map(|value| shown(key, value)),
            key: key.to_owned(),
        }),
    }
}

/// Each element by what its table is known by; a second one of that name with its number.
fn named(elements: &[Value]) -> Vec<(String, Value)> {
    let mut counts: HashMap<String, usize> = HashMap::new();
    let mut name = |element: &Value| {
        let name = ["name", "address", "pattern", "certificate", "file", "kind"].iter().find_map(|name| element.get(name));
        let name = name.map_or_else(String::new, ToString::to_string);
        let count = counts.entry(name.clone()).or_insert(0);
        *count += 1;
        if *count == 1 { name } else { format!("{name}#{count}") }
    };
    elements.iter().map(|element| (name(element), element.clone())).collect()
}

/// As the file has it, in so many characters at most. What feeds are asked for, and URLs, may hold passwords.
fn shown(key: &str, value: &Value) -> String {
    const CHARACTERS_MAX: usize = 80;
    if ["source", "callout", "tokens.jwks"].iter().any(|private| key.starts_with(private)) || value.is_table() {
        return "(not shown)".into();
    }
    let text = value.to_string();
    match text.char_indices().nth(CHARACTERS_MAX) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text,
    }
}

#[cfg(test)]
mod tests;
