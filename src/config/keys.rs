//! What a key of the configuration file is, and what it takes. The keys themselves are listed in `reference.rs`.

use std::ops::Range;

use toml::Spanned;
use toml::de::DeValue;

use super::forms::Outcome;
use super::reference::{KEYS, TABLES};

/// One table of the file.
pub(super) struct Table {
    /// As in brackets.
    pub(super) name: &'static str,
    /// Whether there can be several, in double brackets.
    pub(super) many: bool,
    /// What it is for.
    pub(super) meaning: &'static str,
}

/// One key.
pub(super) struct Key {
    /// The table that it belongs to.
    pub(super) table: &'static str,
    /// Its name.
    pub(super) name: &'static str,
    /// What it takes.
    pub(super) form: Form,
    /// Whether it must be there where its table is.
    pub(super) required: bool,
    /// What it means, why its default is what it is.
    pub(super) meaning: &'static str,
}

/// What a key takes.
#[derive(Clone, Copy)]
pub(super) enum Form {
    /// A whole number from the first to the second, of a unit.
    Whole(u64, u64, &'static str),
    /// The same, and a power of two.
    PowerOfTwo(u64, u64, &'static str),
    /// A positive number, or `"max"`.
    Speed,
    /// `true` or `false`.
    Flag,
    /// One of these words.
    OneOf(&'static [&'static str]),
    /// A text that a check lets pass, and what that asks for.
    Text(&'static str, fn(&str) -> Outcome),
    /// A list of such texts.
    Texts(&'static str, fn(&str) -> Outcome),
    /// A list of whole numbers from the first to the second, of a unit.
    Wholes(u64, u64, &'static str),
}

/// A value that its key does not take.
pub(super) struct Wrong {
    /// Where.
    pub(super) span: Range<usize>,
    /// Why, where that is not plain from what was expected.
    pub(super) reason: Option<String>,
}

impl Table {
    /// The line that begins the table.
    pub(super) fn heading(&self) -> String {
        if self.many { format!("[[{}]]", self.name) } else { format!("[{}]", self.name) }
    }
}

impl Form {
    /// What would be right, in words that follow "expected".
    pub(super) fn expected(&self) -> String {
        match self {
            Form::Whole(least, most, unit) => format!("a whole number from {least} to {most} ({unit})"),
            Form::PowerOfTwo(least, most, unit) => format!("a power of two from {least} to {most} ({unit})"),
            Form::Speed => "a number above 0 (1.0 is the recorded pace), or \"max\"".into(),
            Form::Flag => "true or false".into(),
            Form::OneOf(words) => words.iter().map(|word| format!("\"{word}\"")).collect::<Vec<_>>().join(" or "),
            Form::Text(what, _) => (*what).into(),
            Form::Texts(what, _) => format!("a list, each {what}"),
            Form::Wholes(least, most, unit) => format!("a list, each a whole number from {least} to {most} ({unit})"),
        }
    }

    /// Whether the value is one that the key takes.
    pub(super) fn check(&self, value: &Spanned<DeValue<'_>>) -> Result<(), Wrong> {
        let right = match (self, value.get_ref()) {
            (Form::Whole(least, most, _), DeValue::Integer(number)) => {
                u64::from_str_radix(number.as_str(), number.radix()).is_ok_and(|number| (*least..=*most).contains(&number))
            }
            (Form::PowerOfTwo(least, most, _), DeValue::Integer(number)) => u64::from_str_radix(number.as_str(), number.radix())
                .is_ok_and(|number| (*least..=*most).contains(&number) && number.is_power_of_two()),
            (Form::Speed, DeValue::String(text)) => text == "max",
            (Form::Speed, DeValue::Integer(number)) => number.as_str().parse::<f64>().is_ok_and(positive),
            (Form::Speed, DeValue::Float(number)) => number.as_str().parse::<f64>().is_ok_and(positive),
            (Form::Flag, DeValue::Boolean(_)) => true,
            (Form::OneOf(words), DeValue::String(text)) => words.contains(&text.as_ref()),
            (Form::Text(_, check), DeValue::String(text)) => return outcome(check(text), value),
            (Form::Texts(_, check), DeValue::Array(array)) => return array.iter().try_for_each(|one| element(*check, one)),
            (Form::Wholes(least, most, unit), DeValue::Array(array)) => {
                return array.iter().try_for_each(|one| Form::Whole(*least, *most, unit).check(one));
            }
            _ => false,
        };
        if right { Ok(()) } else { Err(Wrong { span: value.span(), reason: None }) }
    }
}

fn positive(number: f64) -> bool {
    number.is_finite() && number > 0.0
}

fn element(check: fn(&str) -> Outcome, value: &Spanned<DeValue<'_>>) -> Result<(), Wrong> {
    match value.get_ref().as_str() {
        Some(text) => outcome(check(text), value),
        None => Err(Wrong { span: value.span(), reason: None }),
    }
}

fn outcome(outcome: Outcome, value: &Spanned<DeValue<'_>>) -> Result<(), Wrong> {
    outcome.map_err(|reason| Wrong { span: value.span(), reason: Some(reason) })
}

/// The table of this name.
pub(super) fn table(name: &str) -> Option<&'static Table> {
    TABLES.iter().find(|table| table.name == name)
}

/// The key of this name in a table.
pub(super) fn key(table: &str, name: &str) -> Option<&'static Key> {
    of(table).find(|key| key.name == name)
}

/// Every key.
pub(super) fn all() -> impl Iterator<Item = &'static Key> {
    KEYS.into_iter().flatten()
}

/// The keys of a table, in the order in which they are printed.
pub(super) fn of(table: &str) -> impl Iterator<Item = &'static Key> {
    all().filter(move |key| key.table == table)
}
