//! Making the ring: sizes, checked, and errors that name the limit.

use std::io;
use std::os::fd::AsRawFd;

use io_uring::IoUring;
use rustix::process::{Resource, getrlimit};

use crate::reactor::buffers::BUFFERS_MAX;

/// Sizes of a shard's ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UringSettings {
    /// Entries of the submission queue: a power of two, at most 4,096, at least the sends of one turn.
    pub entries: u16,
    /// Most clients of this shard at once. The shard stops accepting there; the table has room for `accepts_max` more.
    pub connections_max: u32,
    /// Most accepts armed at once ([`Op::Accept`](crate::reactor::Op::Accept)), at least one for each listener.
    pub accepts_max: u16,
    /// Receive buffers: a power of two, at most 32,768.
    pub receive_buffers: u16,
    /// Size of each.
    pub receive_buffer_bytes: u32,
    /// What [`Op::BoundSend`](crate::reactor::Op::BoundSend) leaves a client.
    pub bounded_send_bytes: u32,
    /// Clients are direct descriptors ([`Capabilities::direct`](crate::reactor::probe::Capabilities::direct)); else ordinary ones.
    pub direct: bool,
    /// Receives take of a buffer what came and no more
    /// ([`Capabilities::incremental`](crate::reactor::probe::Capabilities::incremental)); else each takes a whole one.
    pub incremental: bool,
}

/// Most entries of the submission queue, so that the completion queue stays within what the kernel makes.
const ENTRIES_MAX: u16 = 1 << 12;

/// Largest completion queue that the kernel makes.
const COMPLETIONS_MAX: u32 = 1 << 16;

/// Most descriptors in a ring's table.
const SLOTS_MAX: u32 = 1 << 20;

pub(super) fn check(settings: &UringSettings, listeners: usize) -> io::Result<()> {
    let UringSettings { entries, connections_max, accepts_max, receive_buffers, receive_buffer_bytes, .. } = *settings;
    let wrong = if !entries.is_power_of_two() || entries > ENTRIES_MAX {
        format!("ring entries {entries}: a power of two up to {ENTRIES_MAX} is needed")
    } else if !receive_buffers.is_power_of_two() || receive_buffers > BUFFERS_MAX {
        format!("{receive_buffers} receive buffers: a power of two up to {BUFFERS_MAX} is needed")
    } else if !(1..=1 << 30).contains(&receive_buffer_bytes) {
        format!("receive buffers of {receive_buffer_bytes} bytes: between 1 byte and 1 GiB is needed")
    } else if usize::from(accepts_max) < listeners {
        format!("at most {accepts_max} accepts for {listeners} listeners: at least one each is needed")
    } else if connections_max == 0 || connections_max > SLOTS_MAX - u32::from(accepts_max) {
        format!("{connections_max} clients in one ring: between 1 and {} are possible", SLOTS_MAX - u32::from(accepts_max))
    } else {
        return Ok(());
    };
    Err(io::Error::new(io::ErrorKind::InvalidInput, wrong))
}

/// A ring whose completion queue does not overflow: one call brings at most a completion for each entry handed over, one for
/// each buffer, and as many more as it waits for, which is at most twice the entries, over and over up to four times. (Where
/// receives share buffers there may be more than one for each, but a receive that takes all there is has one.)
pub(in crate::reactor) fn make_ring(settings: &UringSettings) -> io::Result<IoUring> {
    let completions = 9 * u32::from(settings.entries) + u32::from(settings.receive_buffers);
    let ring = IoUring::builder()
        .setup_single_issuer()
        .setup_defer_taskrun()
        .setup_submit_all()
        .setup_cqsize(completions.next_power_of_two().min(COMPLETIONS_MAX))
        .build(settings.entries.into())?;
    assert!(ring.params().is_feature_nodrop() && ring.params().is_feature_ext_arg(), "both are older than deferred task work");
    Ok(ring)
}

/// `IORING_REGISTER_FILE_ALLOC_RANGE` of `io_uring_register(2)`, from Linux 6.0; the crate keeps it to itself.
const REGISTER_FILE_ALLOC_RANGE: libc::c_uint = 25;

/// `struct io_uring_file_index_range`.
#[repr(C)]
struct FileIndexRange {
    offset: u32,
    len: u32,
    reserved: u64,
}

/// Has the kernel look for the next free slot of a table of so many from the first one on. Left alone it goes on from the slot that
/// was taken or freed last, and with clients that come and go from there through the whole table.
pub(super) fn choose_from_first(ring: &IoUring, slots: u32) -> io::Result<()> {
    let range = FileIndexRange { offset: 0, len: slots, reserved: 0 };
    let of = ring.as_raw_fd();
    // SAFETY: the kernel reads the range, which has the layout that it expects, during the call and not later.
    let result = unsafe { libc::syscall(libc::SYS_io_uring_register, of, REGISTER_FILE_ALLOC_RANGE, &raw const range, 0) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// The table of direct descriptors was refused.
pub(super) fn table_error(slots: u32, error: io::Error) -> io::Error {
    if error.raw_os_error() != Some(libc::EMFILE) {
        return explain("the ring's table of descriptors cannot be made", error);
    }
    let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    explain(
        &format!(
            "a ring's table of {slots} descriptors is above RLIMIT_NOFILE, which is {limit}: raise it (`ulimit -n`, \
             `LimitNOFILE=` of the service) or lower `connections_max`"
        ),
        error,
    )
}

/// The same error with what was tried before it.
pub(super) fn explain(what: &str, error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{what}: {error}"))
}
