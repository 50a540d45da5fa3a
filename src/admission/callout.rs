//! What the operator's endpoint is asked about a client, and what its answers mean.
//!
//! Without: the asking, and what becomes of the client.

use serde_json::{Map, Value, json};

use super::token::{limits, patterns};
use super::{ClientAddress, OwnLimits};
use crate::hub::Pattern;

/// What is asked about one client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// Where it comes from.
    pub address: ClientAddress,
    /// What it asks for, without the query; none: it is there already and shows another token (AUTH).
    pub path: Option<Box<str>>,
    /// The page that it is on.
    pub origin: Option<Box<str>>,
    /// The fields of its request that the configuration names, in lower case.
    pub headers: Vec<(Box<str>, Box<str>)>,
    /// As it was shown.
    pub token: Option<Box<str>>,
    /// What names the request; no part of the question itself.
    pub request_id: Box<str>,
}

impl Question {
    /// As it is sent.
    #[must_use]
    pub fn json(&self) -> String {
        let headers: Map<String, Value> = self.headers.iter().map(|(name, value)| (name.to_string(), json!(value))).collect();
        let question = json!({
            "address": self.address.to_string(), "path": self.path, "origin": self.origin, "headers": headers, "token": self.token,
        });
        question.to_string()
    }
}

/// What is said of a client. What is none stays as its token, or `[anonymous]`, has it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Granted {
    /// Who it is.
    pub subject: Option<Box<str>>,
    /// Until when, seconds since 1970.
    pub expires_unix_s: Option<u64>,
    /// What it may subscribe to.
    pub subscribe: Option<Box<[Pattern]>>,
    /// What it may publish to.
    pub publish: Option<Box<[Pattern]>>,
    /// Lower limits of its own.
    pub limits: OwnLimits,
}

/// What the question came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is let in, with these rights.
    Granted(Box<Granted>),
    /// It is not.
    Refused,
    /// Nobody knows.
    Down,
}

impl Verdict {
    /// Of an answer.
    ///
    /// # Errors
    /// What cannot be understood in it, as the end of a sentence.
    pub fn read(status: u16, body: &[u8]) -> Result<Verdict, String> {
        match status {
            200 => granted(body).map(|granted| Verdict::Granted(Box::new(granted))),
            204 => Ok(Verdict::Granted(Box::default())),
            401 | 403 => Ok(Verdict::Refused),
            other => Err(format!("it answers with status {other}; 200, 204, 401 and 403 are understood")),
        }
    }
}

fn granted(body: &[u8]) -> Result<Granted, String> {
    let members: Map<String, Value> = serde_json::from_slice(body).map_err(|_| "its answer is no JSON object".to_owned())?;
    let member = |name: &str| members.get(name).filter(|value| !value.is_null());
    let wrong = |name: &str| format!("`{name}` in its answer cannot be used");
    let subject = member("sub").map(|value| value.as_str().map(Box::from).ok_or_else(|| wrong("sub"))).transpose()?;
    let expires_unix_s = member("exp").map(|value| value.as_u64().ok_or_else(|| wrong("exp"))).transpose()?;
    let list = |name: &str| match member(name) {
        None => Ok(None),
        value => patterns(value).map(Some).ok_or_else(|| wrong(name)),
    };
    let (subscribe, publish) = (list("subscribe")?, list("publish")?);
    let limits = limits(member("limits")).ok_or_else(|| wrong("limits"))?;
    Ok(Granted { subject, expires_unix_s, subscribe, publish, limits })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_says_who_may_do_what() {
        let body = r#"{"sub":"a","exp":9,"subscribe":["md.>"],"publish":[],"limits":{"subscriptions_max":3},"more":1}"#;
        let Ok(Verdict::Granted(granted)) = Verdict::read(200, body.as_bytes()) else { panic!("it is understood") };
        assert_eq!(
            (granted.subject.as_deref(), granted.expires_unix_s, granted.limits.subscriptions_max),
            (Some("a"), Some(9), Some(3))
        );
        assert_eq!(granted.subscribe.map(|list| list[0].as_str().to_owned()).as_deref(), Some("md.>"));
        assert_eq!(granted.publish.map(|list| list.len()), Some(0), "an empty list takes away, an absent one does not");
        for (status, body) in [(200, "{}"), (204, "")] {
            assert_eq!(Verdict::read(status, body.as_bytes()), Ok(Verdict::Granted(Box::default())));
        }
        assert_eq!([Verdict::read(401, b""), Verdict::read(403, b"whatever")], [Ok(Verdict::Refused), Ok(Verdict::Refused)]);
    }

    #[test]
    fn what_is_not_understood_grants_nothing() {
        for (status, body, part) in [
            (200, "", "no JSON object"),
            (200, "[]", "no JSON object"),
            (200, "{\"subscribe\":[\"a..b\"]}", "`subscribe`"),
            (200, "{\"publish\":7}", "`publish`"),
            (200, "{\"exp\":\"x\"}", "`exp`"),
            (200, "{\"sub\":1}", "`sub`"),
            (200, "{\"limits\":1}", "`limits`"),
            (302, "", "status 302"),
            (500, "{}", "status 500"),
        ] {
            assert!(Verdict::read(status, body.as_bytes()).is_err_and(|error| error.contains(part)), "{status} {body}");
        }
    }

    #[test]
    fn a_question_is_json_whatever_clients_write() {
        let question = Question {
            address: ClientAddress::Ip("::1".parse().expect("an address")),
            path: Some("/ws/\"\u{7}".into()),
            origin: None,
            headers: vec![("cookie".into(), "a=\"b\"".into())],
            token: Some("t".into()),
            request_id: "id".into(),
        };
        let read: Value = serde_json::from_str(&question.json()).expect("it is JSON");
        let said =
            json!({"address": "::1", "path": "/ws/\"\u{7}", "origin": null, "headers": {"cookie": "a=\"b\""}, "token": "t"});
        assert_eq!(read, said);
    }
}
