//! What an event is about, in its 64 bits: kind (8 bits), generation (24), slot (32), from the top.

use rustix::event::epoll::EventData;

use crate::reactor::ClientKey;

/// What an epoll set watches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Watched {
    Client(ClientKey),
    /// By its index.
    Listener(u32),
    Waker,
}

const LISTENER: u64 = 1 << 56;
const WAKER: u64 = 2 << 56;

pub(super) fn client(client: ClientKey) -> EventData {
    EventData::new_u64(u64::from(client.generation) << 32 | u64::from(client.slot))
}

pub(super) fn listener(index: u32) -> EventData {
    EventData::new_u64(LISTENER | u64::from(index))
}

pub(super) fn waker() -> EventData {
    EventData::new_u64(WAKER)
}

pub(super) fn read(data: EventData) -> Watched {
    let (data, slot) = (data.u64(), data.u64() as u32);
    match data >> 56 << 56 {
        0 => Watched::Client(ClientKey { slot, generation: (data >> 32) as u32 }),
        LISTENER => Watched::Listener(slot),
        _ => Watched::Waker,
    }
}

#[test]
fn what_is_watched_survives_its_64_bits() {
    for (generation, slot) in [(0, 0), ((1 << 24) - 1, 0), (0, u32::MAX), (7, 9)] {
        let key = ClientKey { slot, generation };
        assert_eq!(read(client(key)), Watched::Client(key));
    }
    assert_eq!((read(listener(3)), read(waker())), (Watched::Listener(3), Watched::Waker));
}
