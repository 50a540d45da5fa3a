//! TLS 1.2 and 1.3 as bytes in, bytes out: rustls' unbuffered connection, and nothing of ours kept for a client that has
//! nothing under way.
//!
//! [`Identity`] is a certificate with its key, [`Acceptor`] what a listener goes by, [`Tls`] one client's connection.
//! [`client_config`] is for the other side, where we are the client. Without: sockets, files (but those of the authorities
//! that a client believes), clocks of ours (rustls looks at the time for tickets and for clients' certificates).
//!
//! Invariants:
//! - what is opened is appended to the caller's buffer and what is sealed is written into the caller's; a [`Tls`] keeps a
//!   record (or a handshake message) that is not whole yet, and ciphertext that its client has not taken;
//! - tickets of a listener are good on all shards and after a reload, never on another listener, and never after its
//!   demands on clients' certificates changed: a resumption does not look at the certificate again.

mod acceptor;
mod connection;
mod identity;
#[cfg(test)]
pub(crate) mod tests;
mod trust;

pub use acceptor::{Acceptor, Acceptors, Authority};
pub use connection::{OpenError, SealError, Tls, sealed_bytes_max};
pub use identity::{Identity, IdentityError};
pub use trust::{client_config, explained, server_name};
