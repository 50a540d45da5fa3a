//! What the configuration says of topics, by pattern, in the form that a topic's home and its hub need.
//!
//! Without: topics themselves.

use std::sync::Arc;

use crate::config;
use crate::dialect::pointer::Pointer;
use crate::hub::topic::Pattern;
use crate::hub::{Key, KeyError, NewPublication, PayloadKind, RingLimits, TopicName, TopicSettings};

/// What the configuration says of the topics of a pattern.
pub(super) struct Setting {
    pattern: Pattern,
    settings: Arc<TopicSettings>,
    key: Option<Pointer>,
    pub(super) topic: config::Topic,
}

impl Setting {
    pub(super) fn new(topic: &config::Topic) -> Setting {
        let ring = RingLimits { publications: topic.ring_publications, bytes: topic.ring_bytes, age_ms: topic.ring_age_ms };
        let settings = TopicSettings {
            ring,
            slow_lag_bytes: topic.slow_lag_bytes,
            slow_lag_ms: topic.slow_lag_ms,
            slow_default: topic.slow_default,
            keyed: topic.key.is_some(),
            keys_max: topic.keys_max,
        };
        let valid = "the configuration was validated";
        Setting {
            pattern: Pattern::parse(&topic.pattern).expect(valid),
            settings: Arc::new(settings),
            key: topic.key.as_deref().map(|pointer| Pointer::parse(pointer).expect(valid)),
            topic: topic.clone(),
        }
    }

    /// For the hub.
    pub(super) fn hub(&self) -> Arc<TopicSettings> {
        self.settings.clone()
    }

    pub(super) fn matches(&self, name: &TopicName) -> bool {
        self.pattern.matches(name.as_str())
    }

    /// Whether some topics that the pattern matches are of these.
    pub(super) fn overlaps(&self, pattern: &Pattern) -> bool {
        self.pattern.overlaps(pattern)
    }

    /// Whether all topics that the pattern matches are of these.
    pub(super) fn covers(&self, pattern: &Pattern) -> bool {
        self.pattern.covers(pattern)
    }

    /// The key of a publication: what the topic's pointer finds in it, whatever its publisher said; else what that said.
    pub(super) fn key(&self, new: &NewPublication) -> Result<Option<Key>, KeyError> {
        match (&self.key, new.payload.kind) {
            (Some(pointer), PayloadKind::Json) if !new.marks.removes => {
                let text = std::str::from_utf8(&new.payload.bytes).expect("JSON was judged to be UTF-8");
                pointer.find(text).map(key_of).transpose()
            }
            // Text and bytes have no members; a removal has no payload.
            (Some(_), _) if !new.marks.removes => Ok(None),
            _ => Ok(new.marks.key.clone()),
        }
    }
}

/// A string without its quotes, anything else as it stands.
fn key_of(value: &str) -> Result<Key, KeyError> {
    match serde_json::from_str::<String>(value) {
        Ok(text) => Key::parse(&text),
        Err(_) => Key::parse(value),
    }
}
