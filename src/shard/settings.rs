//! What the configuration says of topics, by pattern, in the form that a topic's home and its hub need.
//!
//! Without: topics themselves. Other settings come while the gateway runs ([`Topics::go_by`]); each topic takes its own when it is next
//! published on, so that a reload costs no walk over all topics.

use std::sync::Arc;

use super::topics::Topics;
use crate::config::{self, Config};
use crate::dialect::pointer::Pointer;
use crate::hub::topic::Pattern;
use crate::hub::{Key, KeyError, NewPublication, PayloadKind, RingLimits, TopicId, TopicName, TopicSettings};

/// Other settings came since it was last looked up.
pub(super) const CLASS_UNKNOWN: u16 = u16::MAX;

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

impl Topics {
    /// Bounds and settings of a configuration hold from now on. A topic that is there goes by its own from the next publication on; what
    /// was already measured of publications under way is no longer told, as it is numbered by the earlier settings.
    pub(crate) fn go_by(&mut self, config: &Config, shards: u16) {
        let config::Limits { torn_bytes_max, pattern_rows_max, topics_max, patterns_max, .. } = config.limits;
        self.settings = config.topics.iter().chain([&config::Topic::default()]).map(Setting::new).collect();
        self.classes.fill(CLASS_UNKNOWN);
        self.told.clear();
        self.hub.bound_torn_bytes(torn_bytes_max as usize);
        self.hub.bound_pattern_rows(pattern_rows_max);
        // Homes are dealt out by a hash: an eighth more than the even share leaves the whole bound reachable.
        self.topics_max = (topics_max as usize).div_ceil(usize::from(shards)) * 9 / 8 + 1;
        self.watching.patterns_max = patterns_max as usize;
    }

    /// Which of the settings are the topic's own, looked up anew where others came.
    pub(super) fn class_of(&mut self, topic: TopicId) -> u16 {
        let known = self.classes[topic.index()];
        if known != CLASS_UNKNOWN {
            return known;
        }
        let class = self.class(self.hub.name(topic));
        self.hub.set_settings(topic, &self.settings[class].hub());
        self.classes[topic.index()] = class as u16;
        class as u16
    }

    /// Which of the settings hold for topics of this name: the first whose pattern matches.
    pub(super) fn class(&self, name: &TopicName) -> usize {
        let matching = self.settings.iter().position(|setting| setting.matches(name));
        matching.expect("the last pattern matches every topic")
    }

    /// What the configuration says of topics of this name.
    pub(super) fn setting(&self, name: &TopicName) -> &Setting {
        &self.settings[self.class(name)]
    }

    /// What the configuration may say of a topic that the pattern matches.
    pub(super) fn settings_of_pattern(&self, pattern: &Pattern) -> impl Iterator<Item = &Setting> {
        let covering = self.settings.iter().position(|setting| setting.covers(pattern));
        let count = covering.map_or(self.settings.len(), |place| place + 1);
        self.settings[..count].iter().filter(|setting| setting.overlaps(pattern))
    }
}

/// A string without its quotes, anything else as it stands.
fn key_of(value: &str) -> Result<Key, KeyError> {
    match serde_json::from_str::<String>(value) {
        Ok(text) => Key::parse(&text),
        Err(_) => Key::parse(value),
    }
}
