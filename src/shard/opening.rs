//! TLS at the shard's entry: what clients send is opened here, and everything behind sees plain bytes.
//!
//! Input is opened in the reactor's buffer, into one scratch of the shard; also what is held back is plain. What the
//! handshake and alerts have to say is pending with the client and goes out like what it is owed.

use super::core::Core;
use crate::metrics::{CloseClass, RefusalReason};
use crate::reactor::ClientKey;
use crate::tls::OpenError;

/// The scratch keeps so much between two clients: more only comes with receive buffers that are larger.
const OPENED_BYTES_KEPT: usize = 64 << 10;

impl Core {
    /// A client of a TLS listener begins with its handshake.
    pub(super) fn begin_tls(&mut self, key: ClientKey, listener: u16) {
        let Some(acceptor) = self.acceptors.get(usize::from(listener)).and_then(Option::as_ref) else { return };
        match acceptor.accept() {
            Ok(tls) => {
                if let Some(client) = self.clients.get(key) {
                    client.tls = Some(Box::new(tls));
                }
            }
            Err(error) => {
                self.session_mut(key).tell_cause(&format!("no TLS connection can be made: {error}"));
                self.close(key, CloseClass::Internal, true);
            }
        }
    }

    /// Bytes of a client came.
    pub(super) fn received(&mut self, key: ClientKey, bytes: &mut [u8]) {
        self.metrics.bytes_in.add(bytes.len() as u64);
        let Some(client) = self.clients.get(key).filter(|client| !client.closing) else { return };
        let awaits_proxy = client.session.awaits_proxy();
        self.clients.count_received(key.slot, bytes.len() as u64);
        if awaits_proxy {
            return self.introduce(key, bytes);
        }
        self.open(key, bytes);
    }

    /// Bytes of the client itself.
    pub(super) fn open(&mut self, key: ClientKey, bytes: &mut [u8]) {
        let Some(client) = self.clients.get(key).filter(|client| !client.closing) else { return };
        let Some(tls) = &mut client.tls else { return self.take_input(key, bytes) };
        let mut plain = std::mem::take(&mut self.opened);
        let was_handshaking = tls.is_handshaking();
        let outcome = tls.open(bytes, &mut plain);
        let (is_handshaking, is_ended) = (tls.is_handshaking(), tls.is_ended());
        if was_handshaking && outcome.is_ok() && !is_handshaking {
            self.metrics.tls_handshakes.add(1);
        }
        if !plain.is_empty() {
            self.take_input(key, &mut plain);
        }
        if let Err(error) = &outcome {
            self.broke_tls(key, error, was_handshaking);
        }
        if is_ended && let Some(client) = self.clients.get(key) {
            // Its close_notify is the end of what it sends, as the end of a plain stream is.
            client.eof = true;
        }
        self.settle(key);
        plain.clear();
        plain.shrink_to(OPENED_BYTES_KEPT);
        self.opened = plain;
    }

    /// What came is not TLS, or not right: an alert is pending where there is one, and then the connection ends.
    fn broke_tls(&mut self, key: ClientKey, error: &OpenError, was_handshaking: bool) {
        let now_us = self.now.monotonic_us;
        let Some(client) = self.clients.get(key).filter(|client| !client.closing) else { return };
        if matches!(error, OpenError::PlainHttp) {
            // It understands plain bytes only, so it is answered in those.
            client.tls = None;
            let sentence = "plain HTTP was sent to a TLS port; use https:// or wss:// in place of http:// or ws://";
            client.session.refuse(400, RefusalReason::Tls, sentence, now_us);
            return;
        }
        client.session.tell_cause(&error.to_string());
        if was_handshaking {
            self.refused(key, RefusalReason::Tls);
        }
        let Some(client) = self.clients.get(key) else { return };
        // What is held back, or half taken, has nobody to be answered to.
        if let Some(pending) = client.pending.take() {
            self.held_bytes -= pending.held.len();
        }
        client.session.end(CloseClass::Protocol, now_us);
    }

    /// A deadline came up, perhaps an old one. True where it was that of the TLS handshake: nothing can be said to that
    /// client, so it is reset.
    pub(super) fn is_late_with_tls(&mut self, key: ClientKey) -> bool {
        let now_us = self.now.monotonic_us;
        let Some(client) = self.clients.get(key) else { return false };
        let is_handshaking = client.tls.as_ref().is_some_and(|tls| tls.is_handshaking()) && !client.session.is_ending();
        if !is_handshaking || client.session.deadline_us(&self.rules) > now_us {
            return false;
        }
        self.session_mut(key).tell_cause("the TLS handshake took longer than handshake_timeout_ms");
        self.refused(key, RefusalReason::Timeout);
        self.close(key, CloseClass::Timeout, true);
        true
    }
}
