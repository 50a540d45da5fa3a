//! Topic names and patterns of them, checked once where they come in.
//!
//! Without: topics themselves, options of streams, percent-decoding.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

/// Longest name in bytes.
pub const TOPIC_BYTES_MAX: usize = 255;

/// A valid topic name; see docs/protocol.md. Cheap to clone, shared between threads.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TopicName(Arc<str>);

/// Which rule a text breaks that ought to be a topic's name or a pattern, and at which byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TopicNameError {
    /// A character that no topic holds: controls, spaces, and `; / ? # % & " \ * >`.
    #[error("a topic name cannot hold {character:?} (at byte {at})")]
    Character {
        /// Where, in bytes from the start.
        at: usize,
        /// Which.
        character: char,
    },
    /// `$` in front.
    #[error("a topic name cannot begin with '$' (at byte 0): those are the gateway's own")]
    Dollar,
    /// No byte at all.
    #[error("a topic name cannot be empty (at byte 0)")]
    Empty,
    /// Nothing before, between or after dots.
    #[error("a topic name cannot have an empty level (at byte {at}): levels stand between single dots")]
    EmptyLevel {
        /// Where the level ought to begin, in bytes from the start.
        at: usize,
    },
    /// A well-formed pattern where a name is wanted.
    #[error("a pattern stands for many topics (a wildcard at byte {at}): name one topic")]
    Pattern {
        /// Where the first wildcard stands, in bytes from the start.
        at: usize,
    },
    /// More than [`TOPIC_BYTES_MAX`] bytes.
    #[error("a topic name holds at most 255 bytes, this one has {bytes} (at byte 255)")]
    TooLong {
        /// How many it has.
        bytes: usize,
    },
}

impl TopicName {
    /// Checks and takes a name.
    ///
    /// # Errors
    /// See [`TopicNameError`]; a well-formed pattern is [`TopicNameError::Pattern`].
    pub fn parse(text: &str) -> Result<TopicName, TopicNameError> {
        match check(text)? {
            None => Ok(TopicName(text.into())),
            Some(at) => Err(TopicNameError::Pattern { at }),
        }
    }

    /// As text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// So that a map by name is asked with plain text. The derived `Hash` is that of the text, as `Borrow` demands.
impl Borrow<str> for TopicName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for TopicName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for TopicName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A topic name, or one with `*` for one whole level or `>` as the last level for one or more (NATS' rules). Cheap to clone,
/// shared between threads.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Pattern(Arc<str>);

/// So that a map by pattern is asked with plain text.
impl Borrow<str> for Pattern {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl Pattern {
    /// Checks and takes a pattern; a plain name is one too.
    ///
    /// # Errors
    /// As for a name; a wildcard that is not a level of its own is [`TopicNameError::Character`].
    pub fn parse(text: &str) -> Result<Pattern, TopicNameError> {
        check(text)?;
        Ok(Pattern(text.into()))
    }

    /// Whether the topic is one of these.
    #[must_use]
    pub fn matches(&self, name: &str) -> bool {
        let mut levels = name.split('.');
        for wanted in self.0.split('.') {
            match (wanted, levels.next()) {
                (">", Some(_)) => return true,
                ("*", Some(_)) => {}
                (wanted, Some(level)) if wanted == level => {}
                _ => return false,
            }
        }
        levels.next().is_none()
    }

    /// Whether some topic is one of these and of the other's.
    #[must_use]
    pub fn overlaps(&self, other: &Pattern) -> bool {
        let (mut ours, mut others) = (self.0.split('.'), other.0.split('.'));
        loop {
            match (ours.next(), others.next()) {
                (None, None) | (Some(">"), Some(_)) | (Some(_), Some(">")) => return true,
                (None, _) | (_, None) => return false,
                (Some(our), Some(other)) if our != "*" && other != "*" && our != other => return false,
                _ => {}
            }
        }
    }

    /// Whether all of the other's topics are of these.
    #[must_use]
    pub fn covers(&self, other: &Pattern) -> bool {
        let (mut ours, mut others) = (self.0.split('.'), other.0.split('.'));
        loop {
            match (ours.next(), others.next()) {
                (None, None) | (Some(">"), Some(_)) => return true,
                (Some("*"), Some(other)) if other != ">" => {}
                (Some(our), Some(other)) if our == other => {}
                _ => return false,
            }
        }
    }

    /// As text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What a stream names: one topic, or all that match a pattern.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Subject {
    /// One topic.
    Topic(TopicName),
    /// All that match.
    Pattern(Pattern),
}

impl Subject {
    /// Checks and takes a name or a pattern.
    ///
    /// # Errors
    /// See [`TopicNameError`].
    pub fn parse(text: &str) -> Result<Subject, TopicNameError> {
        Ok(match check(text)? {
            None => Subject::Topic(TopicName(text.into())),
            Some(_) => Subject::Pattern(Pattern(text.into())),
        })
    }

    /// As text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Subject::Topic(name) => name.as_str(),
            Subject::Pattern(pattern) => pattern.as_str(),
        }
    }
}

/// Writes `-` for each character that a topic cannot hold where it stands (`BTC/USD` becomes `BTC-USD`).
///
/// The result can still be empty, too long or have empty levels: [`TopicName::parse`] judges it.
#[must_use]
pub fn sanitize(text: &str) -> String {
    let keep = |(at, character): (usize, char)| {
        let wrong = is_foreign(character) || (at == 0 && character == '$');
        if wrong { '-' } else { character }
    };
    text.char_indices().map(keep).collect()
}

/// Whether the character stands in no topic name, wildcards included.
fn is_foreign(character: char) -> bool {
    character.is_control() || matches!(character, ' ' | ';' | '/' | '?' | '#' | '%' | '&' | '"' | '\\' | '*' | '>')
}

/// Checks a name or pattern from left to right; gives the byte of the first wildcard, if any.
fn check(text: &str) -> Result<Option<usize>, TopicNameError> {
    if text.is_empty() {
        return Err(TopicNameError::Empty);
    }
    if text.starts_with('$') {
        return Err(TopicNameError::Dollar);
    }
    if text.len() > TOPIC_BYTES_MAX {
        return Err(TopicNameError::TooLong { bytes: text.len() });
    }
    let mut wildcard = None;
    let mut begin = 0;
    for level in text.split('.') {
        let is_last = begin + level.len() == text.len();
        if level.is_empty() {
            return Err(TopicNameError::EmptyLevel { at: begin });
        }
        if level == "*" || (level == ">" && is_last) {
            wildcard = wildcard.or(Some(begin));
        } else if let Some((at, character)) = level.char_indices().find(|(_, character)| is_foreign(*character)) {
            return Err(TopicNameError::Character { at: begin + at, character });
        }
        begin += level.len() + 1;
    }
    Ok(wildcard)
}

#[cfg(test)]
mod tests {
    use super::TopicNameError as E;
    use super::*;

    fn check_names(cases: &[(&str, Result<(), TopicNameError>)]) {
        for (text, expected) in cases {
            assert_eq!(TopicName::parse(text).map(|name| assert_eq!(name.as_str(), *text)), *expected, "{text:?}");
        }
    }

    #[test]
    fn names_that_exchanges_use_pass() {
        check_names(&[
            ("a", Ok(())),
            ("md.trades.BTC-USD", Ok(())),
            ("btcusdt@depth@0ms", Ok(())),
            ("_:+=,-@!()[]{}|~^`<'", Ok(())),
            ("a$", Ok(())),
            ("a.$b", Ok(())),
            ("市場.価格", Ok(())),
        ]);
    }

    #[test]
    fn each_broken_rule_is_named_with_its_byte() {
        check_names(&[
            ("", Err(E::Empty)),
            ("$x", Err(E::Dollar)),
            (".a", Err(E::EmptyLevel { at: 0 })),
            ("a..b", Err(E::EmptyLevel { at: 2 })),
            ("a.", Err(E::EmptyLevel { at: 2 })),
            (".", Err(E::EmptyLevel { at: 0 })),
            ("é x", Err(E::Character { at: 2, character: ' ' })),
            ("a.b\u{7f}", Err(E::Character { at: 3, character: '\u{7f}' })),
            ("a\u{85}", Err(E::Character { at: 1, character: '\u{85}' })),
            ("a\n", Err(E::Character { at: 1, character: '\n' })),
            ("a*", Err(E::Character { at: 1, character: '*' })),
            ("a.*b", Err(E::Character { at: 2, character: '*' })),
            ("a.>.b", Err(E::Character { at: 2, character: '>' })),
            ("*.a;b", Err(E::Character { at: 3, character: ';' })),
            ("*", Err(E::Pattern { at: 0 })),
            ("a.*.b.*", Err(E::Pattern { at: 2 })),
            ("a.>", Err(E::Pattern { at: 2 })),
        ]);
        for character in r#"; / ? # % & " \ * >"#.chars().filter(|c| *c != ' ') {
            let error = TopicName::parse(&format!("a{character}b"));
            assert_eq!(error, Err(E::Character { at: 1, character }));
        }
    }

    #[test]
    fn names_hold_1_to_255_bytes() {
        assert!(TopicName::parse(&"x".repeat(255)).is_ok());
        assert_eq!(TopicName::parse(&"x".repeat(256)), Err(E::TooLong { bytes: 256 }));
        assert_eq!(TopicName::parse(&"é".repeat(128)), Err(E::TooLong { bytes: 256 }));
    }

    #[test]
    fn errors_are_sentences() {
        let said = |text: &str| TopicName::parse(text).expect_err("a bad name").to_string();
        assert_eq!(said("a/b"), "a topic name cannot hold '/' (at byte 1)");
        assert_eq!(said("a.*"), "a pattern stands for many topics (a wildcard at byte 2): name one topic");
    }

    #[test]
    fn patterns_match_by_levels() {
        let cases = [
            ("a.b", "a.b", true),
            ("a.b", "a.b.c", false),
            ("a.b", "a", false),
            ("a.*", "a.b", true),
            ("a.*", "a", false),
            ("a.*", "a.b.c", false),
            ("*.b", "a.b", true),
            ("*", "a", true),
            ("*", "a.b", false),
            (">", "a.b.c", true),
            ("a.>", "a", false),
            ("a.>", "a.b.c", true),
            ("a.*.>", "a.b", false),
            ("a.*.>", "a.b.c.d", true),
        ];
        for (pattern, name, expected) in cases {
            let pattern = Pattern::parse(pattern).expect("a pattern");
            assert_eq!(pattern.matches(name), expected, "{pattern:?} {name}");
        }
        assert_eq!(Pattern::parse("a.>.b"), Err(E::Character { at: 2, character: '>' }));
    }

    #[test]
    fn sanitized_text_is_a_name_but_for_its_length_and_levels() {
        for (text, expected) in [("BTC/USD", "BTC-USD"), ("$a $b", "-a-$b"), ("a*.>", "a-.-"), ("x\u{1}é", "x-é")] {
            let name = sanitize(text);
            assert_eq!(name, expected);
            assert!(TopicName::parse(&name).is_ok());
        }
    }
}
