//! The text of a configuration file as a tree that knows where each value stands.
//!
//! [`Document::check`] holds the tree against the keys: what is not known, missing, of the wrong type or out of range is
//! found here, so that what serde reads afterwards fits.

use std::ops::Range;
use std::path::Path;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::error::{ConfigError, Fault, nearest};
use super::keys::{self, Table};
use super::reference::TABLES;

/// Longest part of a value that an error repeats, in characters.
const VALUE_CHARACTERS_MAX: usize = 60;

/// A parsed file.
pub(super) struct Document<'t> {
    file: &'t Path,
    text: &'t str,
    root: DeTable<'t>,
}

/// Names one key in one of the tables of its kind.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    /// The table's name.
    pub(super) table: &'static str,
    /// Which of them; 0 where there can be only one.
    pub(super) index: usize,
    /// The key.
    pub(super) key: &'static str,
}

impl<'t> Document<'t> {
    /// Reads TOML.
    pub(super) fn parse(text: &'t str, file: &'t Path) -> Result<Document<'t>, ConfigError> {
        match DeTable::parse(text) {
            Ok(root) => Ok(Document { file, text, root: root.into_inner() }),
            Err(error) => Err(syntax_error(text, file, &error)),
        }
    }

    /// Holds every table and key against those that exist.
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        for (name, value) in in_order(&self.root) {
            let table = keys::table(name.get_ref()).ok_or_else(|| self.unknown_table(name, value))?;
            let instances = instances(table, name.span(), value.get_ref()).ok_or_else(|| self.wrong_table(table, value))?;
            for (instance, span) in instances {
                self.check_table(table, instance, span)?;
            }
        }
        Ok(())
    }

    fn check_table(&self, table: &Table, instance: &DeTable<'_>, span: Range<usize>) -> Result<(), ConfigError> {
        for (name, value) in in_order(instance) {
            if let Some(below) = keys::table(&format!("{}.{}", table.name, name.get_ref())) {
                let instances = instances(below, name.span(), value.get_ref()).ok_or_else(|| self.wrong_table(below, value))?;
                for (instance, span) in instances {
                    self.check_table(below, instance, span)?;
                }
                continue;
            }
            let key = keys::key(table.name, name.get_ref()).ok_or_else(|| self.unknown_key(table, name))?;
            let path = format!("{}.{}", table.name, key.name);
            key.form.check(value).map_err(|wrong| {
                let hint = wrong.reason.map(|reason| sentence(&reason));
                self.at(wrong.span, path, Fault::Value, key.form.expected(), hint)
            })?;
        }
        for key in keys::of(table.name).filter(|key| key.required) {
            if !instance.contains_key(key.name) {
                let path = format!("{}.{}", table.name, key.name);
                let hint = Some(format!("Add `{} = ...` below {}.", key.name, table.heading()));
                return Err(self.at(span, path, Fault::Missing, key.form.expected(), hint));
            }
        }
        Ok(())
    }

    /// The error that a value at `place` is wrong beside something else; where the file does not set it, its table's place
    /// is told.
    pub(super) fn conflict(
        &self,
        place: Place,
        with: impl Into<Box<str>>,
        expected: impl Into<String>,
        hint: &str,
    ) -> ConfigError {
        let path = format!("{}.{}", place.table, place.key);
        let (span, value) = self.find(place);
        let mut error = self.at(span, path, Fault::Conflict(with.into()), expected.into(), Some(hint.into()));
        error.value = value.map(Into::into);
        error
    }

    /// The error that something must be in the file and is not.
    pub(super) fn missing(&self, name: &str, at: Option<Place>, expected: &str, hint: &str) -> ConfigError {
        let span = at.map_or(0..0, |place| self.find(place).0);
        self.at(span, name.into(), Fault::Missing, expected.into(), Some(hint.into()))
    }

    /// What serde found that [`Document::check`] did not: its own words, at its place.
    pub(super) fn unreadable(&self, error: &toml::de::Error) -> ConfigError {
        let span = error.span().unwrap_or(0..0);
        self.at(
            span,
            "this value".into(),
            Fault::Value,
            "what docs/configuration.md says".into(),
            Some(one_line(error.message())),
        )
    }

    /// True where the file sets this key.
    pub(super) fn has(&self, place: Place) -> bool {
        self.find(place).1.is_some()
    }

    /// Span and text of a key's value; without it the span of its table, or of the file's first byte. The index is that of the
    /// outermost table; below it there is one of each that a place may name.
    fn find(&self, place: Place) -> (Range<usize>, Option<String>) {
        let (mut found, mut span, mut path) = (&self.root, 0..0, String::new());
        for name in place.table.split('.') {
            path = if path.is_empty() { name.into() } else { format!("{path}.{name}") };
            let table = keys::table(&path).expect("places name tables that exist");
            let Some((name, value)) = found.get_key_value(name) else { return (span, None) };
            let instances = instances(table, name.span(), value.get_ref()).expect("the tables' kinds were checked before");
            let index = if table.many { place.index } else { 0 };
            (found, span) = instances.into_iter().nth(index).expect("places name tables that the file has");
        }
        match found.get(place.key) {
            Some(value) => (value.span(), Some(self.shown(value.span()))),
            None => (span, None),
        }
    }

    fn unknown_table(&self, name: &Spanned<impl AsRef<str>>, value: &Spanned<DeValue<'_>>) -> ConfigError {
        let written = name.get_ref().as_ref();
        let known: Vec<&str> = TABLES.iter().map(|table| table.name).collect();
        let hint = match keys::all().find(|key| key.name == written) {
            Some(key) if !value.get_ref().is_table() => Some(format!("It belongs below {}.", heading(key.table))),
            _ => {
                let below = known.iter().find(|name| name.rsplit_once('.').is_some_and(|(_, last)| last == written));
                let near = below.copied().or_else(|| nearest(written, known.iter().copied()));
                near.map(|near| format!("Did you mean {}?", heading(near)))
            }
        };
        let known = format!("one of the tables {}", known.join(", "));
        self.at(name.span(), printable(written), Fault::Unknown, known, hint)
    }

    fn unknown_key(&self, table: &Table, name: &Spanned<impl AsRef<str>>) -> ConfigError {
        let written = name.get_ref().as_ref();
        let known: Vec<&str> = keys::of(table.name).map(|key| key.name).collect();
        let path = format!("{}.{}", table.name, printable(written));
        let near = nearest(written, known.iter().copied());
        let elsewhere = match keys::table(written) {
            Some(table) => Some(format!("It is a table of its own; begin it with the line {}.", table.heading())),
            None => keys::all().find(|key| key.name == written).map(|key| format!("It belongs below {}.", heading(key.table))),
        };
        match (elsewhere, near) {
            (Some(hint), _) => self.at(name.span(), path, Fault::Unknown, format!("a key of {}", table.heading()), Some(hint)),
            (None, Some(near)) => {
                let hint = Some("`tidegate config` prints every key.".into());
                self.at(name.span(), path, Fault::Unknown, format!("{near}, the nearest key of {}", table.heading()), hint)
            }
            (None, None) => {
                let hint = Some("`tidegate config` prints every key with its meaning.".into());
                self.at(name.span(), path, Fault::Unknown, format!("one of {}", known.join(", ")), hint)
            }
        }
    }

    fn wrong_table(&self, table: &Table, value: &Spanned<DeValue<'_>>) -> ConfigError {
        let expected = format!("a table that begins with the line {}", table.heading());
        let hint =
            if table.many { "There can be several of them, hence the double brackets." } else { "There is only one of it." };
        self.at(value.span(), table.name.into(), Fault::Value, expected, Some(hint.into()))
    }

    fn at(&self, span: Range<usize>, key: String, fault: Fault, expected: String, hint: Option<String>) -> ConfigError {
        let (line, column) = line_and_column(self.text, span.start);
        let value = matches!(fault, Fault::Value).then(|| self.shown(span));
        ConfigError {
            file: self.file.into(),
            line,
            column,
            key: key.into(),
            value: value.map(Into::into),
            fault,
            expected: expected.into(),
            hint: hint.map(Into::into),
        }
    }

    /// A piece of the file, on one line and not too long.
    fn shown(&self, span: Range<usize>) -> String {
        let line = one_line(self.text.get(span).unwrap_or_default());
        match line.char_indices().nth(VALUE_CHARACTERS_MAX) {
            Some((cut, _)) => format!("{}...", &line[..cut]),
            None => line,
        }
    }
}

fn heading(table: &str) -> String {
    keys::table(table).expect("keys name tables that exist").heading()
}

/// The entries in the order of the file, so that the first fault is told first.
fn in_order<'a, 't>(table: &'a DeTable<'t>) -> Vec<(&'a Spanned<toml::de::DeString<'t>>, &'a Spanned<DeValue<'t>>)> {
    let mut entries: Vec<_> = table.iter().collect();
    entries.sort_by_key(|(name, _)| name.span().start);
    entries
}

/// The tables of one name, each with where it begins; `None` where the value is not written as a table of its kind.
fn instances<'a, 't>(table: &Table, name: Range<usize>, value: &'a DeValue<'t>) -> Option<Vec<(&'a DeTable<'t>, Range<usize>)>> {
    match value {
        DeValue::Array(array) if table.many => {
            array.iter().map(|element| element.get_ref().as_table().map(|instance| (instance, element.span()))).collect()
        }
        DeValue::Table(instance) if !table.many => Some(vec![(instance, name)]),
        _ => None,
    }
}

fn syntax_error(text: &str, file: &Path, error: &toml::de::Error) -> ConfigError {
    let (line, column) = line_and_column(text, error.span().map_or(0, |span| span.start));
    let message = one_line(error.message());
    let (reason, expected) = message.split_once(", expected ").unwrap_or((&message, "a line like `key = value`"));
    let written = one_line(text.lines().nth(line as usize - 1).unwrap_or_default());
    let written: String = written.chars().take(VALUE_CHARACTERS_MAX).collect();
    ConfigError {
        file: file.into(),
        line,
        column,
        key: "".into(),
        value: None,
        fault: Fault::Syntax(reason.into()),
        expected: expected.into(),
        hint: (!written.is_empty()).then(|| format!("The line is: {written}").into()),
    }
}

fn line_and_column(text: &str, at: usize) -> (u32, u32) {
    let before = text.get(..at).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    let counted = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
    (counted(line), counted(before[line_start..].chars().count() + 1))
}

/// A name from the file may hold anything, also what a terminal obeys.
fn printable(name: &str) -> String {
    name.chars().take(VALUE_CHARACTERS_MAX).flat_map(char::escape_debug).collect()
}

fn sentence(words: &str) -> String {
    let mut characters = words.chars();
    characters.next().map_or_else(String::new, |first| first.to_uppercase().chain(characters).chain(['.']).collect())
}

/// Text of the file on one line, and nothing in it that a terminal obeys.
fn one_line(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    line.chars().fold(String::with_capacity(line.len()), |mut shown, character| {
        if character.is_control() {
            shown.extend(character.escape_debug())
        } else {
            shown.push(character)
        }
        shown
    })
}
