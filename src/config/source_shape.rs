//! The shape of `[[source]]` in the configuration file, and what its keys owe each other.

use std::path::PathBuf;

use serde::Deserialize;

use super::document::{Document, Place};
use super::error::ConfigError;
use super::{Replay, Sequence, SequenceRule, Source, Speed, Synthetic, Upstream, WebSocketUrl};

/// Which kind of feed it is.
#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum SourceKind {
    Synthetic,
    Replay,
    Upstream,
}

impl SourceKind {
    pub(super) const ALL: [SourceKind; 3] = [SourceKind::Synthetic, SourceKind::Replay, SourceKind::Upstream];

    pub(super) fn name(self) -> &'static str {
        match self {
            SourceKind::Synthetic => "synthetic",
            SourceKind::Replay => "replay",
            SourceKind::Upstream => "upstream",
        }
    }

    /// The keys that it takes.
    pub(super) fn keys(self) -> &'static [&'static str] {
        match self {
            SourceKind::Synthetic => &["prefix", "publications_per_second", "seed"],
            SourceKind::Replay => &["file", "topic", "payload", "speed", "loop"],
            SourceKind::Upstream => &[
                "urls",
                "ca",
                "subscribe",
                "topic",
                "payload",
                "key",
                "binary_topic",
                "sequence",
                "silent_timeout_ms",
                "connect_timeout_ms",
                "backoff_min_ms",
                "backoff_max_ms",
                "arbitration_wait_ms",
                "arbitration_bytes_max",
                "topics_max",
            ],
        }
    }
}

/// All kinds in one, since an enum that is told by a member loses the places of the others.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SourceShape {
    kind: SourceKind,
    prefix: Option<String>,
    publications_per_second: Option<u32>,
    seed: Option<u64>,
    file: Option<PathBuf>,
    topic: Option<String>,
    payload: Option<String>,
    speed: Option<toml::Value>,
    #[serde(rename = "loop")]
    repeat: Option<bool>,
    #[serde(default)]
    urls: Vec<String>,
    ca: Option<PathBuf>,
    #[serde(default)]
    subscribe: Vec<String>,
    key: Option<String>,
    binary_topic: Option<String>,
    silent_timeout_ms: Option<u32>,
    connect_timeout_ms: Option<u32>,
    backoff_min_ms: Option<u32>,
    backoff_max_ms: Option<u32>,
    arbitration_wait_ms: Option<u32>,
    arbitration_bytes_max: Option<u32>,
    topics_max: Option<u32>,
    #[serde(default)]
    sequence: Vec<SequenceShape>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SequenceShape {
    topics: Option<String>,
    number: String,
    previous: Option<String>,
    rule: SequenceRule,
    window: Option<u64>,
}

impl SourceShape {
    pub(super) fn into_source(self, document: &Document<'_>, index: usize) -> Result<Source, ConfigError> {
        let place = |key| Place { table: "source", index, key };
        let own = self.kind.keys();
        let others = SourceKind::ALL.into_iter().filter(|kind| *kind != self.kind).flat_map(SourceKind::keys);
        if let Some(key) = others.copied().find(|key| !own.contains(key) && document.has(place(key))) {
            let with = format!("in a source of kind \"{}\"", self.kind.name());
            let hint = "It belongs to another kind of source; remove it, or change `kind`.";
            return Err(document.conflict(place(key), with, "this key to be left out", hint));
        }
        Ok(match self.kind {
            SourceKind::Synthetic => Source::Synthetic(self.into_synthetic()),
            SourceKind::Replay => match self.file {
                Some(ref file) => Source::Replay(Replay { file: file.clone(), ..self.into_replay() }),
                None => {
                    let hint = "Add `file = \"recording.gz\"` below this [[source]].";
                    return Err(document.missing("source.file", Some(place("file")), "the path of a recording to replay", hint));
                }
            },
            SourceKind::Upstream => {
                let upstream = self.into_upstream();
                upstream_fits(&upstream, document, index)?;
                Source::Upstream(upstream)
            }
        })
    }

    fn into_synthetic(self) -> Synthetic {
        let default = Synthetic::default();
        Synthetic {
            prefix: self.prefix.unwrap_or(default.prefix),
            publications_per_second: self.publications_per_second.unwrap_or(default.publications_per_second),
            seed: self.seed.unwrap_or(default.seed),
        }
    }

    fn into_replay(self) -> Replay {
        let default = Replay::of(self.file.unwrap_or_default(), self.topic, self.payload);
        Replay {
            speed: self.speed.map_or(default.speed, |speed| speed_of(&speed)),
            repeat: self.repeat.unwrap_or(default.repeat),
            ..default
        }
    }

    fn into_upstream(self) -> Upstream {
        let default = Upstream::default();
        // What a topic of the operator's choice means for the payload is the same as in a replay.
        let Replay { topic, payload, .. } = Replay::of(PathBuf::new(), self.topic, self.payload);
        let url = |url: &String| WebSocketUrl::parse(url).expect("the document's check has let only URLs pass");
        Upstream {
            urls: self.urls.iter().map(url).collect(),
            ca: self.ca,
            subscribe: self.subscribe,
            topic,
            payload,
            key: self.key,
            binary_topic: self.binary_topic,
            sequences: self.sequence.into_iter().map(SequenceShape::into_sequence).collect(),
            silent_timeout_ms: self.silent_timeout_ms.unwrap_or(default.silent_timeout_ms),
            connect_timeout_ms: self.connect_timeout_ms.unwrap_or(default.connect_timeout_ms),
            backoff_min_ms: self.backoff_min_ms.unwrap_or(default.backoff_min_ms),
            backoff_max_ms: self.backoff_max_ms.unwrap_or(default.backoff_max_ms),
            arbitration_wait_ms: self.arbitration_wait_ms.unwrap_or(default.arbitration_wait_ms),
            arbitration_bytes_max: self.arbitration_bytes_max.unwrap_or(default.arbitration_bytes_max),
            topics_max: self.topics_max.unwrap_or(default.topics_max),
        }
    }
}

impl SequenceShape {
    fn into_sequence(self) -> Sequence {
        let default = Sequence::default();
        Sequence {
            topics: self.topics.unwrap_or(default.topics),
            number: self.number,
            previous: self.previous,
            rule: self.rule,
            window: self.window.unwrap_or(default.window),
        }
    }
}

/// What the keys of an upstream owe each other.
fn upstream_fits(upstream: &Upstream, document: &Document<'_>, index: usize) -> Result<(), ConfigError> {
    let place = |key| Place { table: "source", index, key };
    let expected = "a list of one to eight addresses";
    if upstream.urls.is_empty() {
        let hint = "Add `urls = [\"wss://feed.example.com/stream\"]` below this [[source]].";
        return Err(document.missing("source.urls", Some(place("urls")), expected, hint));
    }
    if upstream.urls.len() > Upstream::URLS_MAX {
        let hint = "Two that share nothing between them are what arbitration is for.";
        return Err(document.conflict(place("urls"), "and too long", expected, hint));
    }
    if upstream.backoff_min_ms > upstream.backoff_max_ms {
        let with = format!("({}) and above backoff_max_ms ({})", upstream.backoff_min_ms, upstream.backoff_max_ms);
        let hint = "Lower it, or raise backoff_max_ms.";
        return Err(document.conflict(place("backoff_min_ms"), with, "at most backoff_max_ms", hint));
    }
    for (at, sequence) in upstream.sequences.iter().enumerate() {
        let number = at + 1;
        let (with, hint) = match (sequence.rule, &sequence.previous) {
            (SequenceRule::Chain, None) => (
                format!("whose entry {number} has rule = \"chain\" and no `previous`"),
                "Add `previous = \"/data/pu\"`, the way to the number of the message before.",
            ),
            (SequenceRule::PlusOne | SequenceRule::Rising, Some(_)) => (
                format!("whose entry {number} has `previous` and another rule than \"chain\""),
                "Remove `previous`, or set rule = \"chain\".",
            ),
            _ => continue,
        };
        return Err(document.conflict(place("sequence"), with, "`previous` with rule = \"chain\" and only there", hint));
    }
    Ok(())
}

/// The document's check has let only numbers and "max" pass.
fn speed_of(value: &toml::Value) -> Speed {
    match value {
        toml::Value::Float(times) => Speed::Times(*times),
        #[expect(clippy::cast_precision_loss, reason = "nobody can tell 2^53 times from one more")]
        toml::Value::Integer(times) => Speed::Times(*times as f64),
        _ => Speed::Max,
    }
}
