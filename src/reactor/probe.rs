//! What the kernel offers, tried once at start: a sentence with its remedy then, in place of an errno later.
//!
//! Without: the ring that serves clients; what is made here is thrown away.
#![allow(unsafe_code, reason = "one operation on a socket of its own")]

use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::os::fd::AsRawFd;

use io_uring::types::Fixed;
use io_uring::{IoUring, opcode};
use rustix::process::{Resource, getrlimit};

use super::buffers::Buffers;
use super::sizes::ReactorSizes;
use super::uring;

/// Oldest kernel with `IORING_SETUP_DEFER_TASKRUN`.
const KERNEL_MIN: (u32, u32) = (6, 1);

/// Oldest kernel on which a direct descriptor that was closed is let go at once. Before, one long-lived request (another
/// client's armed receive) kept every file that was removed after it began: no FIN, and sockets that pile up
/// (liburing issue 1192). `setsockopt` on direct descriptors is older (6.7).
const DIRECT_KERNEL_MIN: (u32, u32) = (6, 13);

/// What this machine gives beyond the least that is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// The kernel's major and minor version.
    pub kernel: (u32, u32),
    /// Clients may be direct descriptors ([`UringSettings::direct`](uring::UringSettings::direct)).
    pub direct: bool,
    /// Receives may share a buffer ([`UringSettings::incremental`](uring::UringSettings::incremental)): `IOU_PBUF_RING_INC`, Linux 6.12.
    pub incremental: bool,
    /// Descriptors that the process may have, the soft limit of `RLIMIT_NOFILE`.
    pub descriptors_max: u64,
}

impl Capabilities {
    /// Whether so many clients are possible over so many shards.
    ///
    /// # Errors
    /// [`ProbeError::TooFewDescriptors`].
    pub fn check_clients(&self, connections_max: u32, shards: u16) -> Result<(), ProbeError> {
        // A table is held to the limit for itself; ordinary descriptors all count together.
        let clients = if self.direct { connections_max.div_ceil(shards.max(1).into()) } else { connections_max };
        check_descriptors(clients, self.descriptors_max, self.direct)
    }
}

/// Whether so many clients of the process are possible without rings, as ordinary descriptors.
///
/// # Errors
/// [`ProbeError::TooFewDescriptors`].
pub fn check_ordinary_clients(connections_max: u32) -> Result<(), ProbeError> {
    check_descriptors(connections_max, descriptors_max(), false)
}

fn check_descriptors(clients: u32, descriptors_max: u64, a_shard: bool) -> Result<(), ProbeError> {
    let needed = u64::from(clients) + DESCRIPTORS_BESIDES;
    if needed > descriptors_max {
        return Err(ProbeError::TooFewDescriptors { needed, limit: descriptors_max, a_shard });
    }
    Ok(())
}

/// The soft limit of `RLIMIT_NOFILE`.
fn descriptors_max() -> u64 {
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// Rings, listeners, files, feeds and armed accepts.
const DESCRIPTORS_BESIDES: u64 = 256;

/// Why there is no io_uring to be had here, or too few descriptors, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProbeError {
    /// The kernel is older than 6.1, or refuses what that one has.
    #[error(
        "the kernel is {release}, but io_uring as it is needed here came with Linux {}.{}: upgrade the kernel",
        KERNEL_MIN.0, KERNEL_MIN.1
    )]
    KernelTooOld {
        /// `uname -r`.
        release: String,
    },
    /// The kernel was built without io_uring, or something in between (gVisor, a seccomp profile) plays that.
    #[error(
        "there is no io_uring to be seen here (Linux {release}): in a container a seccomp profile hides it, as Podman's does by default: \
         allow io_uring_setup, io_uring_enter and io_uring_register; or the kernel is not the host's (gVisor), or built without \
         CONFIG_IO_URING"
    )]
    NoUring {
        /// `uname -r`.
        release: String,
    },
    /// `kernel.io_uring_disabled`.
    #[error(
        "io_uring is switched off here (kernel.io_uring_disabled = {value}): set it to 0 with `sysctl kernel.io_uring_disabled=0`{}",
        if *value == 1 { ", or add this user to the group in kernel.io_uring_group" } else { "" }
    )]
    Disabled {
        /// 1: for the unprivileged; 2: for all.
        value: u8,
    },
    /// `EPERM` while the sysctl allows it.
    #[error(
        "io_uring is forbidden to this process, as a container's seccomp profile does by default: allow io_uring_setup, \
         io_uring_enter and io_uring_register (Docker: `--security-opt seccomp=PROFILE.json`, or `seccomp=unconfined` to try)"
    )]
    Forbidden,
    /// `ENOMEM`.
    #[error(
        "there is not enough lockable memory for a ring (RLIMIT_MEMLOCK is {limit_bytes} bytes): raise it (`ulimit -l`, \
         `LimitMEMLOCK=` of the service), or the container's memory limit"
    )]
    NoMemory {
        /// The soft limit.
        limit_bytes: u64,
    },
    /// `RLIMIT_NOFILE` is too low for the clients that are configured, or used up.
    #[error(
        "{needed} descriptors are needed{} but RLIMIT_NOFILE is {limit}: raise it (`ulimit -n`, `LimitNOFILE=` of the service) or \
         lower `connections_max`{}",
        if_direct(.a_shard, " by each shard"),
        if_direct(.a_shard, ", or spread the clients over more shards (`--shards`): the limit holds for each shard's table by itself")
    )]
    TooFewDescriptors {
        /// For clients and all else.
        needed: u64,
        /// The soft limit.
        limit: u64,
        /// They are direct descriptors: each shard's table is held to the limit by itself.
        a_shard: bool,
    },
    /// Anything else.
    #[error("a ring cannot be made: {0}")]
    Other(String),
}

/// Raises the soft limit of descriptors to the hard one, as a server should. Tells the limit that holds then.
///
/// # Errors
/// What the kernel says; the limit is as before.
pub fn raise_descriptors_max() -> io::Result<u64> {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    rustix::process::setrlimit(Resource::Nofile, limit)?;
    Ok(limit.current.unwrap_or(u64::MAX))
}

/// Makes a small ring with all that the reactor needs.
///
/// # Errors
/// What is missing and what to do about it.
pub fn probe() -> Result<Capabilities, ProbeError> {
    let release = read("/proc/sys/kernel/osrelease");
    let kernel = version(&release).ok_or_else(|| ProbeError::Other(format!("unknown kernel version {release:?}")))?;
    if kernel < KERNEL_MIN {
        return Err(ProbeError::KernelTooOld { release });
    }
    let refused = |error: io::Error| {
        let disabled = read("/proc/sys/kernel/io_uring_disabled").parse().unwrap_or(0);
        reason(error.raw_os_error(), error.to_string(), disabled, release.clone())
    };
    let sizes = ReactorSizes {
        entries: 8,
        connections_max: 1,
        accepts_max: 1,
        receive_buffers: 1,
        receive_buffer_bytes: 1,
        bounded_send_bytes: 1,
    };
    let ring = uring::make_ring(&sizes).map_err(refused)?;
    // Nothing is received into these.
    let incremental = Buffers::register(&ring, 1, 1, true).is_ok();
    if !incremental {
        Buffers::register(&ring, 1, 1, false).map_err(refused)?;
    }
    let direct = kernel >= DIRECT_KERNEL_MIN && sets_options_of_direct_descriptors(ring).map_err(refused)?;
    Ok(Capabilities { kernel, direct, incremental, descriptors_max: descriptors_max() })
}

fn if_direct<'t>(direct: &bool, text: &'t str) -> &'t str {
    if *direct { text } else { "" }
}

/// What an errno means here.
fn reason(errno: Option<i32>, text: String, disabled: u8, release: String) -> ProbeError {
    match errno {
        Some(libc::EPERM | libc::EACCES) if disabled > 0 => ProbeError::Disabled { value: disabled },
        Some(libc::EPERM | libc::EACCES) => ProbeError::Forbidden,
        Some(libc::ENOSYS) => ProbeError::NoUring { release },
        Some(libc::EINVAL) => ProbeError::KernelTooOld { release },
        Some(libc::ENOMEM) => ProbeError::NoMemory { limit_bytes: getrlimit(Resource::Memlock).current.unwrap_or(u64::MAX) },
        Some(libc::EMFILE) => {
            let limit = descriptors_max();
            ProbeError::TooFewDescriptors { needed: limit.saturating_add(1), limit, a_shard: false }
        }
        _ => ProbeError::Other(text),
    }
}

/// The reset of a client sets SO_LINGER on its direct descriptor.
fn sets_options_of_direct_descriptors(mut ring: IoUring) -> io::Result<bool> {
    let socket = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    ring.submitter().register_files(&[socket.as_raw_fd()])?;
    let value = libc::linger { l_onoff: 0, l_linger: 0 };
    let entry = opcode::SetSockOpt::new(
        Fixed(0),
        libc::SOL_SOCKET as u32,
        libc::SO_LINGER as u32,
        (&raw const value).cast(),
        size_of::<libc::linger>() as u32,
    );
    // SAFETY: `value` lives until the completion, which is waited for below.
    unsafe { ring.submission().push(&entry.build()) }.expect("the queue of a new ring is empty");
    ring.submit_and_wait(1)?;
    let done = ring.completion().next().expect("one was waited for");
    Ok(done.result() == 0)
}

/// Major and minor of `6.18.4-foo`.
fn version(release: &str) -> Option<(u32, u32)> {
    let mut parts = release.split(|character: char| !character.is_ascii_digit());
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

/// A line of /proc; empty if it is not there.
fn read(path: &str) -> String {
    std::fs::read_to_string(path).unwrap_or_default().trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_is_told() {
        let capabilities = probe().expect("tests need io_uring");
        assert!(capabilities.kernel >= KERNEL_MIN);
        assert_eq!(capabilities.direct, capabilities.kernel >= DIRECT_KERNEL_MIN);
        assert_eq!(capabilities.incremental, capabilities.kernel >= (6, 12));
        assert!(capabilities.descriptors_max > 0);
    }

    #[test]
    fn versions_are_read() {
        let check = |release, wanted| assert_eq!(version(release), wanted, "{release:?}");
        check("6.18.44-fc-v595", Some((6, 18)));
        check("6.1", Some((6, 1)));
        check("5.15.0-91-generic", Some((5, 15)));
        check("6.12-rc3", Some((6, 12)));
        check("", None);
        check("six", None);
    }

    #[test]
    fn every_refusal_has_a_remedy() {
        let check = |errno, disabled, wanted: &[&str]| {
            let text = reason(Some(errno), "text".into(), disabled, "6.1.0".into()).to_string();
            assert!(wanted.iter().all(|part| text.contains(part)), "{text}");
        };
        check(libc::EPERM, 0, &["seccomp", "io_uring_setup"]);
        check(libc::EPERM, 1, &["kernel.io_uring_disabled = 1", "sysctl", "io_uring_group"]);
        check(libc::EPERM, 2, &["kernel.io_uring_disabled = 2", "sysctl"]);
        check(libc::ENOSYS, 0, &["CONFIG_IO_URING", "gVisor", "Podman", "io_uring_setup"]);
        check(libc::EINVAL, 0, &["6.1.0", "came with Linux 6.1", "upgrade"]);
        check(libc::ENOMEM, 0, &["RLIMIT_MEMLOCK", "LimitMEMLOCK="]);
        check(libc::EMFILE, 0, &["RLIMIT_NOFILE", "ulimit -n"]);
        check(libc::EIO, 0, &["text"]);
    }

    #[test]
    fn clients_need_descriptors() {
        let capabilities = Capabilities { kernel: (6, 18), direct: true, incremental: true, descriptors_max: 10_000 };
        assert_eq!(capabilities.check_clients(18_000, 2), Ok(()));
        let error = capabilities.check_clients(20_000, 2).unwrap_err().to_string();
        assert!(error.contains("by each shard") && error.contains("`--shards`"), "{error}");
        let ordinary = Capabilities { direct: false, ..capabilities };
        let error = ordinary.check_clients(18_000, 2).unwrap_err();
        assert_eq!(error, ProbeError::TooFewDescriptors { needed: 18_256, limit: 10_000, a_shard: false });
        assert!(error.to_string().ends_with("lower `connections_max`"));
    }
}
