//! What the tests of the real binary stand on: the binary itself, a foreign WebSocket client, and a naive client of raw
//! bytes. None of it shares code with the gateway.
#![allow(dead_code, unused_imports, reason = "each test binary uses its own share of this")]

mod client;
mod events;
pub(crate) mod figures;
mod gateway;
pub(crate) mod members;
mod raw;
mod recording;
mod secure;

pub(crate) use client::Client;
pub(crate) use events::Events;
pub(crate) use gateway::{Gateway, PUBLISHING, is_epoll, position_of};
pub(crate) use raw::{Frame, Raw, Response, frame, frame_with, http, parse_in_place};
pub(crate) use recording::{Recording, data_of, skipped};
pub(crate) use secure::{Authority, Secure, certificate_in};

use std::time::Duration;

/// How long a test waits for anything before it fails. Never reached where all is well.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);
