//! Answers as JSON: positions, and errors as `{"error":{"code","msg"}}` with the protocol's codes.

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use crate::broker::PublishError;
use crate::dialect::ErrorCode;
use crate::hub::Position;

/// Seconds after which a publisher that got 503 may try again.
const RETRY_AFTER_S: &str = "1";

/// A request that is answered with an error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refused {
    pub(super) status: StatusCode,
    pub(super) code: ErrorCode,
    /// A sentence: what was wrong, where, and what to do.
    pub(super) msg: String,
}

impl Refused {
    /// 400.
    pub(super) fn bad_request(code: ErrorCode, msg: impl Into<String>) -> Refused {
        Refused { status: StatusCode::BAD_REQUEST, code, msg: msg.into() }
    }

    /// 413: one publication that is too large.
    pub(super) fn too_large(bytes: usize, bytes_max: u32) -> Refused {
        let msg = format!("the publication has {bytes} bytes, publication_bytes_max is {bytes_max}");
        Refused { status: StatusCode::PAYLOAD_TOO_LARGE, code: ErrorCode::Limit, msg }
    }

    /// As a member of an answer; `line` is where in the request it stands.
    pub(super) fn to_json(&self, line: Option<usize>) -> Value {
        let mut error = json!({"code": self.code as u8, "msg": self.msg});
        if let Some(line) = line {
            error["line"] = line.into();
        }
        json!({"error": error})
    }
}

impl From<PublishError> for Refused {
    fn from(error: PublishError) -> Refused {
        let (status, code) = match error {
            PublishError::Stopping | PublishError::Journal | PublishError::Gone => {
                (StatusCode::SERVICE_UNAVAILABLE, ErrorCode::Internal)
            }
            PublishError::Busy => (StatusCode::SERVICE_UNAVAILABLE, ErrorCode::TooManyRequests),
            PublishError::TopicsMax => (StatusCode::INSUFFICIENT_STORAGE, ErrorCode::Limit),
            PublishError::Key(_) => (StatusCode::BAD_REQUEST, ErrorCode::BadRequest),
        };
        Refused { status, code, msg: error.to_string() }
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let mut response = axum::Json(self.to_json(None)).into_response();
        *response.status_mut() = self.status;
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            response.headers_mut().insert(header::RETRY_AFTER, header::HeaderValue::from_static(RETRY_AFTER_S));
        }
        // RFC 9110 15.5.2: a server that answers 401 MUST send it.
        if self.status == StatusCode::UNAUTHORIZED {
            response
                .headers_mut()
                .insert(header::WWW_AUTHENTICATE, header::HeaderValue::from_static("Bearer realm=\"tidegate\""));
        }
        response
    }
}

/// A position as it is told to publishers.
pub(super) fn position(position: &Position) -> Value {
    json!({"epoch": position.epoch.as_str(), "offset": position.offset})
}

/// The answer to a request that is one publication.
pub(super) fn single(results: &[Result<Position, PublishError>]) -> Result<Response, Refused> {
    let [result] = results else { panic!("the broker gives one result for each publication, not {}", results.len()) };
    match result {
        Ok(published) => Ok(axum::Json(position(published)).into_response()),
        Err(error) => Err((*error).into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hub::Epoch;

    #[test]
    fn errors_of_the_broker_have_their_status() {
        for (error, status, retry) in
            [(PublishError::Stopping, 503, true), (PublishError::Busy, 503, true), (PublishError::TopicsMax, 507, false)]
        {
            let response = single(&[Err(error)]).expect_err("an error").into_response();
            assert_eq!(response.status().as_u16(), status);
            assert_eq!(response.headers().contains_key(header::RETRY_AFTER), retry);
        }
    }

    #[test]
    fn a_position_is_epoch_and_offset() {
        let published = Position { epoch: Epoch::from_number(36), offset: 7 };
        assert_eq!(position(&published).to_string(), r#"{"epoch":"10","offset":7}"#);
    }
}
