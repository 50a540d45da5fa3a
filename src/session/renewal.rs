//! AUTH: a live client shows another token. Its key judges it, then the operator's endpoint, where there is one.
//!
//! Without: what becomes of subscriptions that the new rights do not cover; the shard ends them.
//!
//! Invariants: a token that is refused, or of which nobody can say anything now, changes nothing. One that waits for the endpoint is judged once
//! more when the answer is there: it may have been revoked meanwhile.

use super::{Effect, Moment, Request, Rules, Session};
use crate::admission::{ClientAddress, Holder, Question, Verdict};
use crate::dialect::stream::RequestId;
use crate::dialect::{ClientError, ErrorCode};

/// A token of AUTH that the operator's endpoint is asked about.
#[derive(Debug)]
pub(super) struct Renewal {
    id: RequestId,
    token: Box<str>,
}

impl Session {
    /// AUTH.
    pub(super) fn authenticate(&mut self, id: RequestId, token: &str, rules: &Rules, moment: Moment) -> Option<Effect> {
        if rules.tokens.is_none() && rules.callout.is_none() {
            let sentence = "no tokens are taken here; see [tokens] and [callout] in the configuration";
            self.failed(&id, &ClientError::new(ErrorCode::NotAllowed, sentence), rules, moment.now_us);
            return None;
        }
        match self.judge(token, rules, moment) {
            Err(cause) => self.refuse_renewal(&id, cause, rules, moment),
            Ok(_) if rules.callout.is_some() => {
                let renewal = Renewal { id, token: token.into() };
                self.owed.get_or_insert_default().rights.get_or_insert_default().renewal = Some(Box::new(renewal));
                Some(Effect::Callout(Box::new(question(token))))
            }
            Ok(holder) => {
                self.show(holder, rules, moment);
                Some(Effect::Request { id, request: Request::Renewed })
            }
        }
    }

    /// The operator's endpoint was asked about a token of AUTH.
    pub(super) fn renew(&mut self, verdict: Verdict, rules: &Rules, moment: Moment) -> Option<Effect> {
        let Renewal { id, token } = *self.owed.as_mut()?.rights.as_mut()?.renewal.take()?;
        let granted = match verdict {
            Verdict::Granted(granted) => *granted,
            Verdict::Refused => return self.refuse_renewal(&id, "the callout refuses".into(), rules, moment),
            // With `when_down = "allow"`, too: what it has lasts until its own end, and may be more than anybody's.
            Verdict::Down => {
                let sentence = "what the token grants cannot be found out now; ask again later";
                self.failed(&id, &ClientError::new(ErrorCode::Limit, sentence), rules, moment.now_us);
                return None;
            }
        };
        match self.judge(&token, rules, moment) {
            Err(cause) => self.refuse_renewal(&id, cause, rules, moment),
            Ok(holder) => {
                self.show(holder, rules, moment);
                self.grant(granted, rules, moment);
                Some(Effect::Request { id, request: Request::Renewed })
            }
        }
    }

    /// Whose token it is; none where tokens have no keys here, and only the operator's endpoint judges them.
    fn judge(&mut self, token: &str, rules: &Rules, moment: Moment) -> Result<Option<Holder>, String> {
        let Some(tokens) = &rules.tokens else { return Ok(None) };
        tokens.holder(token, moment.unix_us / 1_000_000).map(Some).map_err(|refused| {
            self.want_key(&refused);
            refused.to_string()
        })
    }

    /// From now on it is whose token this is, and has nothing of the rights before.
    fn show(&mut self, holder: Option<Holder>, rules: &Rules, moment: Moment) {
        match holder {
            Some(holder) => self.hold(holder, rules, moment),
            None => self.hold_nothing(),
        }
    }

    fn refuse_renewal(&mut self, id: &RequestId, cause: String, rules: &Rules, moment: Moment) -> Option<Effect> {
        self.deny(format!("the token of AUTH: {cause}"));
        let error = ClientError::new(ErrorCode::TokenInvalid, "the token is not accepted");
        self.failed(id, &error, rules, moment.now_us);
        None
    }
}

/// What the operator's endpoint is asked: of a client that is open already nothing is known but its token. The shard knows the rest.
fn question(token: &str) -> Question {
    Question {
        address: ClientAddress::Unix,
        path: None,
        origin: None,
        headers: Vec::new(),
        token: Some(token.into()),
        request_id: Box::default(),
    }
}
