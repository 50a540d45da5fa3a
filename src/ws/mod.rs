//! The WebSocket protocol (RFC 6455, and its extension RFC 7692) for both roles: bytes in, events out; values in, bytes out.
//!
//! Without: sockets, a clock, a thread or a runtime, randomness of its own, and an opinion on what messages mean.
//!
//! [`handshake`] turns an HTTP head into an upgrade or a refusal, [`opening`] is a client's from request to answer. [`connection`] pulls [`Event`]s out of received bytes,
//! in place. [`message`] puts the pieces of torn messages together for who wants them whole. [`frame`] and [`close`] write
//! what is sent. [`mask`] and [`utf8`] are the two loops that touch every byte, [`copy`] is the third. [`deflate`] is the one extension, RFC 7692.

pub mod close;
pub mod connection;
pub mod copy;
pub mod deflate;
pub mod error;
pub mod extensions;
pub mod frame;
pub mod handshake;
pub mod mask;
pub mod message;
pub mod opening;
pub mod utf8;

pub use close::{CloseCode, REASON_BYTES_MAX};
pub use connection::{Connection, Control, Event, Limits, MessageKind, Role};
pub use error::ProtocolError;
pub use frame::Opcode;
pub use message::{Assembler, Message};
