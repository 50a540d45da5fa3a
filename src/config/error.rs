//! What is wrong with a configuration file, for its operator: where it stands, what was expected, what to do.

use std::fmt;
use std::path::Path;

/// A configuration file that cannot be used. Displays as one sentence and a hint. Texts are boxed to keep results small.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// The file, as it was named.
    pub file: Box<Path>,
    /// Line, from 1.
    pub line: u32,
    /// Column in characters, from 1.
    pub column: u32,
    /// The key at fault with its table, `limits.connections_max`; empty where the text is not TOML.
    pub key: Box<str>,
    /// The value as it stands in the file, shortened.
    pub value: Option<Box<str>>,
    /// In what way it is wrong.
    pub fault: Fault,
    /// What would be right.
    pub expected: Box<str>,
    /// What to do about it.
    pub hint: Option<Box<str>>,
}

/// In what way a configuration is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The text is not TOML; what the TOML reader said.
    Syntax(Box<str>),
    /// No such key or table.
    Unknown,
    /// A key or table that must be there is not.
    Missing,
    /// The value is not one that the key takes.
    Value,
    /// The value is fine, but not beside another one.
    Conflict(Box<str>),
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, line {}, column {}: ", self.file.display(), self.line, self.column)?;
        let value = self.value.as_deref().unwrap_or("not set");
        match &self.fault {
            Fault::Syntax(reason) => write!(f, "this is not TOML ({reason})")?,
            Fault::Unknown => write!(f, "{} is not known", self.key)?,
            Fault::Missing => write!(f, "{} is missing", self.key)?,
            Fault::Value => write!(f, "{} is {value}", self.key)?,
            Fault::Conflict(with) => write!(f, "{} is {value} {with}", self.key)?,
        }
        write!(f, "; expected {}.", self.expected)?;
        match &self.hint {
            Some(hint) => write!(f, " {hint}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for ConfigError {}

/// The known name that a wrong one was most likely meant to be, if any is near.
pub(super) fn nearest<'k>(wrong: &str, known: impl IntoIterator<Item = &'k str>) -> Option<&'k str> {
    let near = (wrong.chars().count() / 3).max(2);
    known.into_iter().map(|name| (edits(wrong, name), name)).filter(|(edits, _)| *edits <= near).min().map(|(_, name)| name)
}

/// Levenshtein's distance, one row at a time.
fn edits(from: &str, to: &str) -> usize {
    let to: Vec<char> = to.chars().collect();
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (i, a) in from.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, b) in to.iter().enumerate() {
            let replaced = diagonal + usize::from(a != *b);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_suggested_and_a_far_one_is_not() {
        let known = ["connections_max", "message_bytes_max", "topics_max"];
        for (wrong, right) in [
            ("conections_max", Some("connections_max")),
            ("max_connections", None),
            ("topic_max", Some("topics_max")),
            ("messages_bytes_max", Some("message_bytes_max")),
            ("x", None),
        ] {
            assert_eq!(nearest(wrong, known), right, "{wrong}");
        }
    }

    #[test]
    fn edits_are_counted() {
        for (from, to, count) in [("", "", 0), ("", "abc", 3), ("abc", "", 3), ("kitten", "sitting", 3), ("ab", "ba", 2)] {
            assert_eq!(edits(from, to), count, "{from} {to}");
        }
    }
}
