//! The sizes of a shard's reactor, whichever of the kernel's it is.

use std::io;

use super::pieces::BUFFERS_MAX;

/// Sizes of a shard's reactor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReactorSizes {
    /// Operations that may be queued between two turns, and entries of a ring's submission queue: a power of two, at most
    /// 4,096, at least the sends of one turn.
    pub entries: u16,
    /// Most clients of this shard at once. The shard stops accepting there; the reactor has room for `accepts_max` more.
    pub connections_max: u32,
    /// Most accepts armed at once ([`Op::Accept`](super::Op::Accept)), at least one for each listener.
    pub accepts_max: u16,
    /// Receive buffers: a power of two, at most 32,768.
    pub receive_buffers: u16,
    /// Size of each.
    pub receive_buffer_bytes: u32,
    /// What [`Op::BoundSend`](super::Op::BoundSend) leaves a client.
    pub bounded_send_bytes: u32,
}

/// Most entries of a submission queue, so that the completion queue stays within what the kernel makes.
const ENTRIES_MAX: u16 = 1 << 12;

/// Most descriptors in a ring's table.
const SLOTS_MAX: u32 = 1 << 20;

impl ReactorSizes {
    /// Slots for clients: room for all accepts that are under way when the last place is taken.
    pub(super) fn slots(&self) -> u32 {
        self.connections_max + u32::from(self.accepts_max)
    }

    pub(super) fn check(&self, listeners: usize) -> io::Result<()> {
        let ReactorSizes { entries, connections_max, accepts_max, receive_buffers, receive_buffer_bytes, .. } = *self;
        let wrong = if !entries.is_power_of_two() || entries > ENTRIES_MAX {
            format!("ring entries {entries}: a power of two up to {ENTRIES_MAX} is needed")
        } else if !receive_buffers.is_power_of_two() || receive_buffers > BUFFERS_MAX {
            format!("{receive_buffers} receive buffers: a power of two up to {BUFFERS_MAX} is needed")
        } else if !(1..=1 << 30).contains(&receive_buffer_bytes) {
            format!("receive buffers of {receive_buffer_bytes} bytes: between 1 byte and 1 GiB is needed")
        } else if usize::from(accepts_max) < listeners {
            format!("at most {accepts_max} accepts for {listeners} listeners: at least one each is needed")
        } else if connections_max == 0 || connections_max > SLOTS_MAX - u32::from(accepts_max) {
            format!("{connections_max} clients in one reactor: between 1 and {} are possible", SLOTS_MAX - u32::from(accepts_max))
        } else {
            return Ok(());
        };
        Err(io::Error::new(io::ErrorKind::InvalidInput, wrong))
    }
}
