//! The native dialect: streams by URL or by JSON request, payloads untouched (docs/protocol.md).
//!
//! Bytes come in by [`request`] (a subscriber's message), [`publication`] (a publisher's) and [`target()`] (a URL); they go
//! out by [`StreamEncoder`] (publications), [`reply`] and [`event`]; [`sse`] is the same for clients without WebSocket.

mod encoder;
pub mod event;
mod options;
mod publication;
pub mod reply;
mod request;
mod request_id;
pub mod sse;
mod target;

pub use encoder::{Compressions, StreamEncoder};
pub use options::{Lasting, Stream, StreamOptions};
pub use publication::{Published, PublisherMessage, publication};
pub use request::{Command, Failure, Property, Request, request};
pub use request_id::RequestId;
pub use target::{Target, TargetError, target};

pub use super::json::payload_kind;
