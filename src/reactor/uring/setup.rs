//! Making the ring, and errors that name the limit.

use std::io;
use std::os::fd::AsRawFd;

use io_uring::IoUring;
use rustix::process::{Resource, getrlimit};

use crate::reactor::sizes::ReactorSizes;

/// A shard's ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UringSettings {
    /// How large it is.
    pub sizes: ReactorSizes,
    /// Clients are direct descriptors ([`Capabilities::direct`](crate::reactor::probe::Capabilities::direct)); else ordinary ones.
    pub direct: bool,
    /// Receives take of a buffer what came and no more
    /// ([`Capabilities::incremental`](crate::reactor::probe::Capabilities::incremental)); else each takes a whole one.
    pub incremental: bool,
}

/// Largest completion queue that the kernel makes.
const COMPLETIONS_MAX: u32 = 1 << 16;

/// A ring whose completion queue does not overflow: one call brings at most a completion for each entry handed over, one for
/// each buffer, and as many more as it waits for, which is at most twice the entries, over and over up to four times. (Where
/// receives share buffers there may be more than one for each, but a receive that takes all there is has one.)
pub(in crate::reactor) fn make_ring(sizes: &ReactorSizes) -> io::Result<IoUring> {
    let completions = 9 * u32::from(sizes.entries) + u32::from(sizes.receive_buffers);
    let ring = IoUring::builder()
        .setup_single_issuer()
        .setup_defer_taskrun()
        .setup_submit_all()
        .setup_cqsize(completions.next_power_of_two().min(COMPLETIONS_MAX))
        .build(sizes.entries.into())?;
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
