//! What a client may subscribe and publish to.
//!
//! Without: who it is, and why. Invariant: a pattern may be subscribed to only where one granted pattern covers it; several that do so
//! together are not looked for.

use crate::hub::{Pattern, Subject, TopicName};

/// Topics and patterns that a client may subscribe and publish to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Grants {
    /// May be subscribed to.
    pub subscribe: Box<[Pattern]>,
    /// May be published to.
    pub publish: Box<[Pattern]>,
}

impl Grants {
    /// Of texts.
    ///
    /// # Errors
    /// The first that is neither a topic nor a pattern.
    pub fn parse<'t>(texts: impl IntoIterator<Item = &'t str>) -> Result<Box<[Pattern]>, &'t str> {
        texts.into_iter().map(|text| Pattern::parse(text).map_err(|_| text)).collect()
    }

    /// Whether a topic, or all topics that a pattern matches now and ever, may be subscribed to.
    #[must_use]
    pub fn may_subscribe(&self, subject: &Subject) -> bool {
        self.subscribe.iter().any(|granted| match subject {
            Subject::Topic(name) => granted.matches(name.as_str()),
            Subject::Pattern(pattern) => granted.covers(pattern),
        })
    }

    /// Whether the topic may be published to.
    #[must_use]
    pub fn may_publish(&self, topic: &TopicName) -> bool {
        self.publish.iter().any(|granted| granted.matches(topic.as_str()))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn grants(subscribe: &[&str]) -> Grants {
        Grants { subscribe: Grants::parse(subscribe.iter().copied()).expect("patterns"), publish: Box::default() }
    }

    #[test]
    fn one_granted_pattern_must_cover_what_is_asked() {
        let subject = |text: &str| Subject::parse(text).expect("a subject");
        for (granted, asked, may) in [
            (&["md.>"][..], "md.a", true),
            (&["md.>"], "md", false),
            (&["md.>"], "md.*", true),
            (&["md.>"], "md.a.>", true),
            (&["md.>"], ">", false),
            (&["md.*"], "md.>", false),
            (&["md.*"], "md.a.b", false),
            (&["*"], ">", false),
            (&["*", "*.>"], ">", false),
            (&["md.a", "md.b"], "md.*", false),
            (&["md.a", "md.b"], "md.b", true),
            (&["md.a"], "md.ab", false),
            (&[], "md.a", false),
            (&[">"], ">", true),
        ] {
            assert_eq!(grants(granted).may_subscribe(&subject(asked)), may, "{asked} by {granted:?}");
        }
    }

    #[test]
    fn publishing_is_a_right_of_its_own() {
        let topic = TopicName::parse("md.a").expect("a topic");
        assert!(!grants(&[">"]).may_publish(&topic));
        let publisher = Grants { publish: Grants::parse(["md.*"]).expect("a pattern"), subscribe: Box::default() };
        assert!(publisher.may_publish(&topic) && !publisher.may_subscribe(&Subject::Topic(topic)));
    }

    /// Every name of up to four levels over two words.
    fn names() -> Vec<String> {
        let mut all: Vec<String> = vec!["a".into(), "b".into()];
        let mut longest = all.clone();
        for _ in 1..4 {
            longest = longest.iter().flat_map(|name| [format!("{name}.a"), format!("{name}.b")]).collect();
            all.extend(longest.iter().cloned());
        }
        all
    }

    fn pattern() -> impl Strategy<Value = Pattern> {
        let level = prop::sample::select(vec!["a", "b", "*"]);
        (prop::collection::vec(level, 0..3), any::<bool>()).prop_filter_map("not empty", |(mut levels, is_open)| {
            levels.extend(is_open.then_some(">"));
            Pattern::parse(&levels.join(".")).ok()
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]
        /// The twin asks about every name. Patterns have at most two levels before `>`, so that four tell them apart.
        #[test]
        fn a_pattern_covers_what_it_matches_wholly(wide in pattern(), narrow in pattern()) {
            let expected = names().iter().all(|name| !narrow.matches(name) || wide.matches(name));
            prop_assert_eq!(wide.covers(&narrow), expected, "{:?} over {:?}", wide, narrow);
        }
    }
}
