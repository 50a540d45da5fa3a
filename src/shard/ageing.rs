//! How a client leaves that has been here for long enough (`connection_age_max_s`): told first, closed a little later.
//!
//! Without: a deadline of its own; it is looked at whenever one of the client's comes up.

use super::clients::Leaving;
use super::core::Core;
use super::timer::TICK_US;
use crate::metrics::CloseClass;
use crate::reactor::ClientKey;
use crate::session::jitter;
use crate::ws::CloseCode;

/// It is told so long before it is closed; a tenth of the age, where that is less.
const NOTICE_US: u64 = 10_000_000;

impl Core {
    /// When it will have been here for long enough: a tenth earlier or later, so that those who came at once do not leave at once.
    pub(super) fn set_age(&mut self, key: ClientKey, number: u32) {
        let age_us = u64::from(self.age_max_s(key)) * 1_000_000;
        if age_us > 0 {
            let at_us = self.now.monotonic_us + age_us / 10 * 9 + jitter(number.into(), age_us / 5);
            self.clients.set_leaving(key.slot, Leaving::At(tick(at_us)));
        }
    }

    /// That of its listener, or of all.
    fn age_max_s(&self, key: ClientKey) -> u32 {
        let listener = self.clients.peek(key.slot).map(|client| usize::from(client.session.listener()));
        let own = listener.and_then(|listener| self.config.listeners.get(listener)?.connection_age_max_s);
        own.unwrap_or(self.config.limits.connection_age_max_s)
    }

    /// Tells a client that has been here for long enough, and closes it a little later. Looked at whenever one of its deadlines comes up,
    /// which is every idle time at the latest.
    pub(super) fn let_go(&mut self, key: ClientKey) {
        let now_us = self.now.monotonic_us;
        let (leaving, now) = (self.clients.leaving(key.slot), tick(now_us));
        let age_max_s = self.age_max_s(key);
        let Some(client) = self.clients.get(key).filter(|client| client.session.is_open()) else { return };
        match leaving {
            Leaving::At(at) if at <= now => {
                let notice_us = (u64::from(age_max_s) * 100_000).min(NOTICE_US);
                client.session.announce_shutdown(self.now.unix_us / 1000, notice_us / 1000);
                self.clients.set_leaving(key.slot, Leaving::Told(tick(now_us + notice_us)));
                self.file(key.slot, now_us + notice_us);
            }
            Leaving::Told(at) if at <= now => {
                let reason = "here for longer than connection_age_max_s; connect again";
                client.session.close(CloseCode::RESTART, reason, CloseClass::GoingAway, now_us);
            }
            Leaving::Never | Leaving::At(_) | Leaving::Told(_) => return,
        }
        self.settle(key);
    }
}

/// The tick of a moment.
pub(super) fn tick(moment_us: u64) -> u32 {
    // Six years of uptime.
    (moment_us / TICK_US) as u32
}
