//! Other settings while the broker runs: its own, those of journaled topics' home, and the shards'.

use super::Memory;
use crate::shard::mail::{Mail, Settings};

impl Memory {
    /// From now on.
    pub(super) fn go_by(&mut self, settings: &Settings) {
        self.limits = settings.config.limits.clone();
        self.rights.go_by(&settings.config.tokens);
        if let Some(journaled) = &mut self.journaled {
            journaled.go_by(&settings.config);
        }
        self.tell_shards(|| Mail::Settings(settings.clone()));
    }
}
