//! A request's `id`: what the client wrote, kept so that its reply bears the same bytes.

use serde_json::value::RawValue;

use crate::dialect::json;

/// Which request a reply answers: null, an integer of 64 bits (signed or not) or a string of at most 36 bytes.
///
/// It is returned exactly as given: `-0` stays `-0`, and a string keeps its escapes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RequestId(Form);

#[derive(Clone, Debug, Default, PartialEq, Eq)]
enum Form {
    #[default]
    Null,
    /// JSON's integers have no leading zeros, so sign and magnitude are all there is to one.
    Integer { negative: bool, magnitude: u64 },
    /// The string with its quotes and escapes: at most 218 bytes, as no escape is longer than six bytes for one.
    String(Box<str>),
}

impl RequestId {
    /// No id: what is not asked by request (a subscription by URL) is answered with it.
    pub const NULL: RequestId = RequestId(Form::Null);

    const STRING_BYTES_MAX: usize = 36;

    /// Reads an id; `None` where it is something else.
    pub(super) fn read(value: &RawValue) -> Option<RequestId> {
        let text = value.get();
        match text.as_bytes()[0] {
            b'n' => Some(RequestId::NULL),
            b'"' => RequestId::read_string(text),
            _ => RequestId::read_integer(text),
        }
    }

    fn read_string(text: &str) -> Option<RequestId> {
        let bytes = if text.contains('\\') { serde_json::from_str::<String>(text).ok()?.len() } else { text.len() - 2 };
        (bytes <= RequestId::STRING_BYTES_MAX).then(|| RequestId(Form::String(text.into())))
    }

    fn read_integer(text: &str) -> Option<RequestId> {
        let negative = text.starts_with('-');
        // What is left is a JSON number, true, false, a list or an object: only digits parse.
        let magnitude: u64 = text[usize::from(negative)..].parse().ok()?;
        let fits = !negative || magnitude <= i64::MIN.unsigned_abs();
        fits.then_some(RequestId(Form::Integer { negative, magnitude }))
    }

    /// Appends the id as it was given.
    pub(super) fn push(&self, out: &mut Vec<u8>) {
        match &self.0 {
            Form::Null => out.extend_from_slice(b"null"),
            Form::Integer { negative, magnitude } => {
                if *negative {
                    out.push(b'-');
                }
                json::push_number(out, *magnitude);
            }
            Form::String(text) => out.extend_from_slice(text.as_bytes()),
        }
    }
}
