//! Refusals: what a request that is not granted is answered, and what the log is told of it.
//!
//! Without: why something is refused; the door and others know that.

use std::borrow::Cow;

use super::{Phase, Session};
use crate::admission::request_id;
use crate::dialect::{ClientError, ErrorCode};
use crate::http::HeadError;
use crate::metrics::{CloseClass, RefusalReason};

/// Why a request is not granted, and how that is answered.
pub(super) struct Refusal {
    pub(super) status: u16,
    pub(super) reason: RefusalReason,
    pub(super) code: ErrorCode,
    pub(super) message: String,
    pub(super) headers: &'static [(&'static str, &'static str)],
    /// When the client may come again, in seconds.
    pub(super) retry_after_s: Option<u32>,
    /// What names the request, where there is one.
    pub(super) request_id: Option<String>,
    /// What the log is told in place of the message: more than the client may know, or less than the message repeats.
    pub(super) cause: Option<Cow<'static, str>>,
}

impl Refusal {
    pub(super) fn new(status: u16, reason: RefusalReason, message: impl Into<String>) -> Refusal {
        let code = match status {
            401 => ErrorCode::TokenInvalid,
            403 => ErrorCode::NotAllowed,
            429 => ErrorCode::TooManyRequests,
            503 => ErrorCode::Limit,
            _ => ErrorCode::BadRequest,
        };
        Refusal {
            status,
            reason,
            code,
            message: message.into(),
            headers: &[],
            retry_after_s: None,
            request_id: None,
            cause: None,
        }
    }

    /// With fields that the answer needs.
    pub(super) fn with_headers(self, headers: &'static [(&'static str, &'static str)]) -> Refusal {
        Refusal { headers, ..self }
    }

    /// With what the log is told in place of the message.
    pub(super) fn with_cause(self, cause: impl Into<Cow<'static, str>>) -> Refusal {
        Refusal { cause: Some(cause.into()), ..self }
    }

    /// With when the client may come again.
    pub(super) fn with_retry_after(self, retry_after_s: u32) -> Refusal {
        Refusal { retry_after_s: Some(retry_after_s), ..self }
    }
}

impl Session {
    /// Refuses what the shard was asked to admit; nothing where it has ended meanwhile.
    pub fn refuse_entering(&mut self, error: &ClientError, now_us: u64) {
        let (status, reason) = match error.code {
            ErrorCode::Limit => (503, RefusalReason::Full),
            ErrorCode::NotAllowed => (403, RefusalReason::Forbidden),
            _ => (400, RefusalReason::BadRequest),
        };
        let request_id = match &self.phase {
            Phase::Entering(entering) => Some(entering.request_id.clone()),
            _ => None,
        };
        let refusal = Refusal { code: error.code, request_id, ..Refusal::new(status, reason, error.message.clone()) };
        if !self.is_ending() {
            self.write_refusal(&refusal, now_us);
        }
    }

    /// Refuses with a status and a sentence, and ends; nothing where it has ended meanwhile.
    pub fn refuse(&mut self, status: u16, reason: RefusalReason, message: &str, now_us: u64) {
        if self.is_ending() {
            return;
        }
        self.write_refusal(&Refusal::new(status, reason, message), now_us);
    }

    pub(super) fn refuse_head(&mut self, error: &HeadError, now_us: u64) {
        let reason = if error.status() == 431 { RefusalReason::HeadTooLarge } else { RefusalReason::BadRequest };
        self.write_refusal(&Refusal::new(error.status(), reason, error.to_string()), now_us);
    }

    pub(super) fn write_refusal(&mut self, refusal: &Refusal, now_us: u64) {
        // What the shard had in hand was given up meanwhile, and that was told.
        if self.is_ending() {
            return;
        }
        let body = ClientError::new(refusal.code, refusal.message.as_str()).body();
        let mut headers = vec![("Content-Type", "application/json"), ("Cache-Control", "no-store")];
        headers.extend(refusal.headers);
        let retry_after = refusal.retry_after_s.map(|seconds| seconds.to_string());
        headers.extend(retry_after.as_deref().map(|seconds| ("Retry-After", seconds)));
        headers.extend(refusal.request_id.as_deref().map(|id| (request_id::FIELD, id)));
        self.respond(refusal.status, &headers, body.as_bytes(), false);
        self.tell_cause(refusal.cause.as_deref().unwrap_or(&refusal.message));
        refusal.request_id.iter().for_each(|id| self.tell_request_id(id.clone()));
        self.refusal = Some(refusal.reason);
        self.end(CloseClass::Normal, now_us);
    }
}
