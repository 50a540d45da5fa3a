//! One HTTP request to a server of the operator's, over TCP or TLS, with a bound on time and on the answer's body.
//!
//! Without: redirects, cookies, connections that are kept. Each request has a connection of its own: they are few, and one that failed
//! leaves nothing behind.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::header;
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::admission::request_id;
use crate::config::HttpUrl;
use crate::http;
use crate::tls::{explained, server_name};

/// What is asked.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asking<'a> {
    /// Whom.
    pub(super) url: &'a HttpUrl,
    /// JSON to be sent; none: GET.
    pub(super) body: Option<&'a [u8]>,
    /// What names the request that it is asked for.
    pub(super) request_id: Option<&'a str>,
    /// For name, connection, TLS, request and answer together.
    pub(super) timeout: Duration,
    /// Longest body of an answer.
    pub(super) body_bytes_max: usize,
}

/// An answer, whatever its status.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) body: Bytes,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum AskError {
    #[error("it cannot be reached ({0})")]
    Unreachable(io::Error),
    #[error("it cannot be spoken to with TLS ({0})")]
    Tls(String),
    #[error("it did not answer within {0:?}")]
    TimedOut(Duration),
    #[error("its answer is longer than {0} bytes")]
    TooLong(usize),
    #[error("it does not speak HTTP as it should ({0})")]
    Http(String),
    #[error("it answers with HTTP status {0} ({reason})", reason = http::reason(*.0))]
    Status(u16),
}

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

/// Asks once.
///
/// # Errors
/// See [`AskError`]; a status other than 200 is none.
pub(super) async fn ask(asking: Asking<'_>, trust: &Arc<ClientConfig>) -> Result<Answer, AskError> {
    let answered = tokio::time::timeout(asking.timeout, exchange(asking, trust)).await;
    answered.unwrap_or(Err(AskError::TimedOut(asking.timeout)))
}

async fn exchange(asking: Asking<'_>, trust: &Arc<ClientConfig>) -> Result<Answer, AskError> {
    let broken = |error: hyper::Error| AskError::Http(error.to_string());
    let stream = connect(asking.url, trust).await?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
    // Ended where this is dropped, at the time-out, too.
    let driving = tokio::task::spawn(connection);
    let _ended = AbortOnDrop(driving.abort_handle());
    let mut request = Request::builder()
        .method(if asking.body.is_some() { Method::POST } else { Method::GET })
        .uri(asking.url.target())
        .header(header::HOST, asking.url.host())
        .header(header::ACCEPT, "application/json")
        .header(header::CONNECTION, "close");
    if asking.body.is_some() {
        request = request.header(header::CONTENT_TYPE, "application/json");
    }
    if let Some(id) = asking.request_id {
        request = request.header(request_id::FIELD, id);
    }
    let body = Full::new(Bytes::copy_from_slice(asking.body.unwrap_or_default()));
    let request = request.body(body).map_err(|error| AskError::Http(error.to_string()))?;
    let response = sender.send_request(request).await.map_err(broken)?;
    let status = response.status().as_u16();
    let body = Limited::new(response.into_body(), asking.body_bytes_max).collect().await.map_err(|error| {
        let is_long = error.downcast_ref::<LengthLimitError>().is_some();
        if is_long { AskError::TooLong(asking.body_bytes_max) } else { AskError::Http(error.to_string()) }
    })?;
    Ok(Answer { status, body: body.to_bytes() })
}

struct AbortOnDrop(tokio::task::AbortHandle);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn connect(url: &HttpUrl, trust: &Arc<ClientConfig>) -> Result<Box<dyn Stream>, AskError> {
    let socket = TcpStream::connect(url.address()).await.map_err(AskError::Unreachable)?;
    socket.set_nodelay(true).map_err(AskError::Unreachable)?;
    if !url.is_secure() {
        return Ok(Box::new(socket));
    }
    let name = server_name(url.name()).map_err(AskError::Tls)?;
    let refused = |error: io::Error| AskError::Tls(explained(&error, "name the authority that signed it (jwks_ca, callout.ca)"));
    Ok(Box::new(TlsConnector::from(Arc::clone(trust)).connect(name, socket).await.map_err(refused)?))
}
