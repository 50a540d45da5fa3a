//! What two gateways say to each other while one takes the other's place: over a Unix socket, in messages with a length in front; sockets
//! and files go along as descriptors.
//!
//! Without: what is done about it (the gateway and its broker do that). Invariants: whoever is at the other end is of the same user, which
//! both look at before anything is said; no message is longer than [`MESSAGE_BYTES_MAX`]; the socket leads to whoever has the place, as it
//! is renamed over the one before.

mod handed;
mod line;
mod message;
mod socket;
#[cfg(test)]
mod tests;

pub use handed::{HandedFeed, Known, put_known, read_known};
pub use line::{Line, LineError, Parts, Pipe};
pub use message::{Fault, FeedHead, MESSAGE_BYTES_MAX, Message, Refusal, Side, TopicHead, VERSION, Word};
pub use socket::{Door, DoorError, connect};
