//! Who is let in no more before their token ends: revocations by subject, by token, or by both.
//!
//! Without: live clients, which the shards close. Invariant: at most so many as are allowed; those that are over make room first.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

/// What is revoked: the tokens of a subject, one token by its `jti`, or the one of the subject.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revocation {
    /// Whose; none: anybody's.
    pub subject: Option<Box<str>>,
    /// Which of them; none: all.
    pub id: Option<Box<str>>,
    /// From then on it is over: seconds since 1970.
    pub until_unix_s: u64,
}

impl Revocation {
    /// Whether it is of this client.
    #[must_use]
    pub fn is_of(&self, subject: Option<&str>, id: Option<&str>) -> bool {
        let fits = |revoked: &Option<Box<str>>, own: Option<&str>| revoked.is_none() || revoked.as_deref() == own;
        fits(&self.subject, subject) && fits(&self.id, id)
    }
}

/// There are as many revocations as may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RevocationsMax;

/// Subject and id.
type Name = (Option<Box<str>>, Option<Box<str>>);

/// Revocations in force.
#[derive(Clone, Debug, Default)]
pub struct Revoked {
    until_unix_s: HashMap<Name, u64>,
}

impl Revoked {
    /// Adds one, or moves the end of one that there is.
    ///
    /// # Errors
    /// [`RevocationsMax`]: nothing is changed.
    pub fn add(&mut self, revocation: &Revocation, revocations_max: usize, unix_s: u64) -> Result<(), RevocationsMax> {
        let name = (revocation.subject.clone(), revocation.id.clone());
        if self.until_unix_s.len() >= revocations_max && !self.until_unix_s.contains_key(&name) {
            self.until_unix_s.retain(|_, until_unix_s| *until_unix_s > unix_s);
            if self.until_unix_s.len() >= revocations_max {
                return Err(RevocationsMax);
            }
        }
        self.until_unix_s.insert(name, revocation.until_unix_s);
        Ok(())
    }

    /// All of them, in no order; some may be over.
    #[must_use]
    pub fn all(&self) -> Vec<Revocation> {
        let one = |((subject, id), until_unix_s): (&Name, &u64)| Revocation {
            subject: subject.clone(),
            id: id.clone(),
            until_unix_s: *until_unix_s,
        };
        self.until_unix_s.iter().map(one).collect()
    }

    /// Whether a token of this subject and id is revoked.
    #[must_use]
    pub fn has(&self, subject: Option<&str>, id: Option<&str>, unix_s: u64) -> bool {
        if self.until_unix_s.is_empty() {
            return false;
        }
        let (subject, id) = (subject.map(Box::from), id.map(Box::from));
        let names = [(subject.clone(), None), (None, id.clone()), (subject, id)];
        let is_in_force = |name: &Name| self.until_unix_s.get(name).is_some_and(|until_unix_s| *until_unix_s > unix_s);
        names.iter().any(is_in_force)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn revocation(subject: Option<&str>, id: Option<&str>, until_unix_s: u64) -> Revocation {
        Revocation { subject: subject.map(Box::from), id: id.map(Box::from), until_unix_s }
    }

    #[test]
    fn a_subject_a_token_or_both() {
        for (subject, id) in [(Some("a"), None), (None, Some("1")), (Some("a"), Some("1"))] {
            let one = revocation(subject, id, 10);
            let mut revoked = Revoked::default();
            revoked.add(&one, 1, 0).expect("there is room");
            for (own_subject, own_id) in [
                (Some("a"), Some("1")),
                (Some("a"), Some("2")),
                (Some("b"), Some("1")),
                (Some("a"), None),
                (None, Some("1")),
                (None, None),
            ] {
                let expected = (subject.is_none() || subject == own_subject) && (id.is_none() || id == own_id);
                assert_eq!(one.is_of(own_subject, own_id), expected, "{subject:?} {id:?} of {own_subject:?} {own_id:?}");
                assert_eq!(revoked.has(own_subject, own_id, 9), expected, "{subject:?} {id:?} of {own_subject:?} {own_id:?}");
                assert!(!revoked.has(own_subject, own_id, 10), "it is over");
            }
        }
    }

    #[test]
    fn those_that_are_over_make_room() {
        let mut revoked = Revoked::default();
        assert_eq!(revoked.add(&revocation(Some("a"), None, 10), 2, 0), Ok(()));
        assert_eq!(revoked.add(&revocation(Some("b"), None, 20), 2, 0), Ok(()));
        assert_eq!(revoked.add(&revocation(Some("c"), None, 20), 2, 0), Err(RevocationsMax));
        assert_eq!(revoked.add(&revocation(Some("b"), None, 30), 2, 0), Ok(()), "one that is there moves");
        assert_eq!(revoked.add(&revocation(Some("c"), None, 20), 2, 10), Ok(()));
        assert!(revoked.has(Some("b"), None, 25) && !revoked.has(Some("a"), None, 5));
    }
}
