//! Feeds from other servers: a local exchange, served with a foreign library, that plays recordings with the exchanges' own
//! subscribe dialogue, against the real binary.

mod arbitration;
mod coinbase;
mod cuts;
mod documented;
pub(crate) mod exchange;
mod futures;
mod hostile;
mod stale;
