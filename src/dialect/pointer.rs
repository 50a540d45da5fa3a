//! JSON pointers (RFC 6901) that find a value and leave its bytes as they stand.
//!
//! Without: parsing into a tree and writing again. What is found is a slice of the message. A pointer is walked one level
//! at a time and what lies beside its way is skipped without recursion, so a deep message costs no stack.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

/// A parsed pointer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pointer {
    steps: Vec<String>,
}

/// Why a text is no pointer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PointerError {
    /// Neither empty nor begun with `/`.
    #[error("the JSON pointer {0:?} must begin with \"/\", as in \"/data\"")]
    Start(String),
    /// `~` without `0` or `1` behind it.
    #[error("in the JSON pointer {0:?} a \"~\" must be written \"~0\" (and a \"/\" within a name \"~1\")")]
    Escape(String),
}

impl Pointer {
    /// Reads a pointer; the empty one is the whole message.
    ///
    /// # Errors
    /// [`PointerError`] says what RFC 6901 wants.
    pub fn parse(text: &str) -> Result<Pointer, PointerError> {
        if text.is_empty() {
            return Ok(Pointer { steps: Vec::new() });
        }
        let rest = text.strip_prefix('/').ok_or_else(|| PointerError::Start(text.to_owned()))?;
        let steps = rest.split('/').map(unescape).collect::<Option<Vec<String>>>();
        Ok(Pointer { steps: steps.ok_or_else(|| PointerError::Escape(text.to_owned()))? })
    }

    /// The value in `message`, as it stands there without the space around it. `None` where there is none. Of a name that
    /// an object has twice the last counts, as in `JSON.parse`.
    #[must_use]
    pub fn find<'m>(&self, message: &'m str) -> Option<&'m str> {
        let mut value = message.trim_matches([' ', '\t', '\r', '\n']);
        for step in &self.steps {
            let mut json = serde_json::Deserializer::from_str(value);
            // Every error here is a value that the pointer does not lead through: a scalar, or no JSON at all.
            value = Step(step).deserialize(&mut json).ok()??.get();
        }
        Some(value)
    }
}

/// RFC 6901 4: "~1" is "/" and "~0" is "~"; "~" before anything else is an error.
fn unescape(step: &str) -> Option<String> {
    let mut pieces = step.split('~');
    let mut name = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        let (mark, rest) = match piece.as_bytes().first() {
            Some(b'0') => ('~', &piece[1..]),
            Some(b'1') => ('/', &piece[1..]),
            _ => return None,
        };
        name.push(mark);
        name.push_str(rest);
    }
    Some(name)
}

/// One step from a value into it.
struct Step<'s>(&'s str);

impl<'m> DeserializeSeed<'m> for Step<'_> {
    type Value = Option<&'m RawValue>;

    fn deserialize<D: Deserializer<'m>>(self, value: D) -> Result<Self::Value, D::Error> {
        value.deserialize_any(self)
    }
}

impl<'m> Visitor<'m> for Step<'_> {
    type Value = Option<&'m RawValue>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object or an array")
    }

    fn visit_map<A: MapAccess<'m>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut found = None;
        while let Some(matches) = map.next_key_seed(Is(self.0))? {
            if matches {
                found = Some(map.next_value()?);
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(found)
    }

    fn visit_seq<A: SeqAccess<'m>>(self, mut elements: A) -> Result<Self::Value, A::Error> {
        // RFC 6901 4: an index is digits without a leading zero; "-" is the element behind the last, which is never there.
        let index =
            if self.0 == "0" || self.0.starts_with(|c: char| matches!(c, '1'..='9')) { self.0.parse().ok() } else { None };
        let (mut found, mut position) = (None, 0usize);
        loop {
            if index == Some(position) {
                found = elements.next_element()?;
                if found.is_none() {
                    return Ok(None);
                }
            } else if elements.next_element::<IgnoredAny>()?.is_none() {
                return Ok(found);
            }
            position += 1;
        }
    }
}

/// Whether a key is the wanted one, told without keeping it.
struct Is<'s>(&'s str);

impl<'m> DeserializeSeed<'m> for Is<'_> {
    type Value = bool;

    fn deserialize<D: Deserializer<'m>>(self, key: D) -> Result<bool, D::Error> {
        key.deserialize_str(self)
    }
}

impl Visitor<'_> for Is<'_> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_str<E>(self, key: &str) -> Result<bool, E> {
        Ok(key == self.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    #[track_caller]
    fn check(pointer: &str, message: &str, found: Option<&str>) {
        assert_eq!(Pointer::parse(pointer).expect("a pointer").find(message), found, "{pointer} in {message}");
    }

    #[test]
    fn a_value_is_found_as_it_stands() {
        let message = r#" {"stream":"a","data": { "p" : [1, 2.50 ,{"x":"é\u00e9"}], "":3 }, "a/b":1,"m~n":2 } "#;
        check("/stream", message, Some("\"a\""));
        check("/data", message, Some(r#"{ "p" : [1, 2.50 ,{"x":"é\u00e9"}], "":3 }"#));
        check("/data/p/1", message, Some("2.50"));
        check("/data/p/2/x", message, Some(r#""é\u00e9""#));
        check("/data/", message, Some("3"));
        check("/a~1b", message, Some("1"));
        check("/m~0n", message, Some("2"));
        check("", message, Some(message.trim()));
    }

    #[test]
    fn what_is_not_there_is_none() {
        let message = r#"{"a":[1],"b":null,"c":"text"}"#;
        for pointer in ["/x", "/a/1", "/a/01", "/a/-", "/a/x", "/a/+0", "/c/d", "/b/0"] {
            check(pointer, message, None);
        }
        check("/b", message, Some("null"));
        check("/a", "not json", None);
    }

    #[test]
    fn an_escaped_name_matches_and_the_last_of_two_counts() {
        check("/a", r#"{"\u0061":1}"#, Some("1"));
        check("/a", r#"{"a":1,"a":2}"#, Some("2"));
    }

    #[test]
    fn a_deep_message_costs_no_stack() {
        let message = format!("{{\"a\":{}{},\"b\":1}}", "[".repeat(500_000), "]".repeat(500_000));
        check("/b", &message, Some("1"));
    }

    #[test]
    fn wrong_pointers_say_what_is_wrong() {
        assert_eq!(Pointer::parse("data"), Err(PointerError::Start("data".into())));
        assert_eq!(Pointer::parse("/a~2"), Err(PointerError::Escape("/a~2".into())));
        assert_eq!(Pointer::parse("/a~"), Err(PointerError::Escape("/a~".into())));
    }

    fn json() -> impl Strategy<Value = Value> {
        let scalar = prop_oneof![any::<i64>().prop_map(Value::from), "[a-z/~\"é]{0,4}".prop_map(Value::from)];
        scalar.prop_recursive(4, 32, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map("[ab/~0é]{0,2}", inner, 0..4)
                    .prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    proptest! {
        /// The twin is serde_json's own pointer on the parsed tree.
        #[test]
        fn finds_what_the_tree_finds(value in json(), steps in prop::collection::vec("[ab/~0-3é-]{0,2}", 0..4)) {
            let text: String = steps.iter().map(|step| format!("/{}", step.replace('~', "~0").replace('/', "~1"))).collect();
            let message = value.to_string();
            let found = Pointer::parse(&text).unwrap().find(&message);
            let found: Option<Value> = found.map(|slice| serde_json::from_str(slice).unwrap());
            prop_assert_eq!(found.as_ref(), value.pointer(&text));
        }
    }
}
