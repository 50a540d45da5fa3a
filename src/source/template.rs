//! Topic templates: which topic a message goes to.
//!
//! `{/stream}` is the value at a JSON pointer, what stands outside the braces is itself: `cb.{/type}.{/product_id}` makes
//! `cb.ticker.BTC-USD`. Without: anything but strings and numbers; a message whose value is another has no topic.

use crate::dialect::pointer::{Pointer, PointerError};
use crate::hub::topic::sanitize;
use crate::hub::{TopicName, TopicNameError};

/// A parsed template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    Value(Pointer),
}

/// Why a text is no template.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// Nothing there.
    #[error("the topic template is empty; write a topic with JSON pointers in braces, as in \"{{/stream}}\"")]
    Empty,
    /// A brace without its partner.
    #[error(
        "the topic template {template:?} has a {brace:?} without its partner at byte {at}; a pointer is written \"{{/name}}\""
    )]
    Brace {
        /// The template.
        template: String,
        /// `{` or `}`.
        brace: char,
        /// Where it stands, in bytes from 0.
        at: usize,
    },
    /// `{}`: a whole message is no name.
    #[error("the topic template {0:?} has an empty pointer; write the way to a string or a number, as in \"{{/stream}}\"")]
    EmptyPointer(String),
    /// What is between the braces is no pointer.
    #[error("in the topic template {template:?}: {error}")]
    Pointer {
        /// The template.
        template: String,
        /// What is wrong.
        error: PointerError,
    },
    /// The text outside the braces cannot be in a topic's name.
    #[error("the topic template {template:?} makes no topic's name, whatever the values; with \"x\" for each: {error}")]
    Text {
        /// The template.
        template: String,
        /// What is wrong.
        error: TopicNameError,
    },
}

impl Template {
    /// Reads a template.
    ///
    /// # Errors
    /// [`TemplateError`] says what is wrong and where.
    pub fn parse(template: &str) -> Result<Template, TemplateError> {
        if template.is_empty() {
            return Err(TemplateError::Empty);
        }
        let brace = |brace, at| TemplateError::Brace { template: template.to_owned(), brace, at };
        let mut parts = Vec::new();
        let mut at = 0;
        while at < template.len() {
            let rest = &template[at..];
            if let Some(inner) = rest.strip_prefix('{') {
                let len = inner.find(['{', '}']).filter(|&end| inner[end..].starts_with('}')).ok_or_else(|| brace('{', at))?;
                if len == 0 {
                    return Err(TemplateError::EmptyPointer(template.to_owned()));
                }
                let pointer = Pointer::parse(&inner[..len]);
                let pointer = pointer.map_err(|error| TemplateError::Pointer { template: template.to_owned(), error })?;
                parts.push(Part::Value(pointer));
                at += len + 2;
            } else {
                let len = rest.find(['{', '}']).unwrap_or(rest.len());
                if rest[len..].starts_with('}') {
                    return Err(brace('}', at + len));
                }
                parts.push(Part::Text(rest[..len].to_owned()));
                at += len;
            }
        }
        let example: String = parts.iter().map(|part| if let Part::Text(text) = part { text } else { "x" }).collect();
        TopicName::parse(&example).map_err(|error| TemplateError::Text { template: template.to_owned(), error })?;
        Ok(Template { parts })
    }

    /// The topic of `message`. `None` where a pointer finds nothing, finds something else than a string or a number, or
    /// the whole is no topic's name (too long, an empty level).
    #[must_use]
    pub fn topic(&self, message: &str) -> Option<TopicName> {
        let mut name = String::new();
        for part in &self.parts {
            match part {
                Part::Text(text) => name.push_str(text),
                Part::Value(pointer) => {
                    let value = pointer.find(message)?;
                    match value.as_bytes().first()? {
                        b'"' => name.push_str(&serde_json::from_str::<String>(value).ok()?),
                        b'-' | b'0'..=b'9' => name.push_str(value),
                        _ => return None,
                    }
                }
            }
        }
        // Protocol, "Topics": a source writes `-` for a character that a topic cannot hold.
        TopicName::parse(&sanitize(&name)).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(template: &str, message: &str, topic: Option<&str>) {
        let found = Template::parse(template).expect("a template").topic(message);
        assert_eq!(found.as_ref().map(TopicName::as_str), topic, "{template} of {message}");
    }

    #[test]
    fn a_topic_is_made_of_text_and_values() {
        check("{/stream}", r#"{"stream":"btcusdt@trade","data":{}}"#, Some("btcusdt@trade"));
        let ticker = r#"{"type":"ticker","product_id":"BTC-USD","sequence":7,"levels":[[1.50,2]]}"#;
        check("cb.{/type}.{/product_id}", ticker, Some("cb.ticker.BTC-USD"));
        check("cb.{/type}{/sequence}_{/levels/0/0}", ticker, Some("cb.ticker7_1.50"));
        check("all", ticker, Some("all"));
    }

    #[test]
    fn a_character_that_a_topic_cannot_hold_becomes_a_hyphen() {
        check("x.{/s}", r#"{"s":"BTC/USD"}"#, Some("x.BTC-USD"));
        check("{/s}", r#"{"s":"$TSLA"}"#, Some("-TSLA"));
        check("x.{/s}", r#"{"s":"$TSLA"}"#, Some("x.$TSLA"));
        check("x.{/s}", r#"{"s":"a b\t\"c\\*>é\u007f"}"#, Some("x.a-b--c---é-"));
    }

    #[test]
    fn a_message_without_a_value_has_no_topic() {
        for message in [
            r#"{"result":null}"#,
            r#"{"s":{}}"#,
            r#"{"s":null}"#,
            r#"{"s":true}"#,
            r#"{"s":["a"]}"#,
            r#"{"s":""}"#,
            r#"{"s":"a..b"}"#,
        ] {
            check("{/s}", message, None);
        }
    }

    #[test]
    fn wrong_templates_say_what_is_wrong_and_where() {
        let message = |template: &str| Template::parse(template).expect_err(template).to_string();
        let expected = r#"the topic template is empty; write a topic with JSON pointers in braces, as in "{/stream}""#;
        assert_eq!(message(""), expected);
        assert!(message("a{/b").contains("'{' without its partner at byte 1"), "{}", message("a{/b"));
        assert!(message("a{/b{/c}").contains("'{' without its partner at byte 1"));
        assert!(message("é}").contains("'}' without its partner at byte 2"));
        assert!(message("{}").contains("empty pointer"));
        assert!(message("{stream}").contains("must begin with \"/\""));
        assert!(message("a/{/b}").contains("makes no topic's name, whatever the values; with \"x\" for each: "));
        assert!(message("a/{/b}").contains("'/' (at byte 1)"), "{}", message("a/{/b}"));
        for template in ["{/a}..{/b}", "a.{/b}.", "$a.{/b}"] {
            assert!(message(template).contains("makes no topic's name"), "{}", message(template));
        }
    }
}
