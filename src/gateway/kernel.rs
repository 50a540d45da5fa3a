//! How the gateway asks the kernel: by io_uring where that is to be had, else by epoll.
//!
//! Without: the reactors. Invariant: a gateway that was started with epoll makes no ring, not for its files either.

use super::StartError;
use crate::config::ReactorChoice;
use crate::disk::Disk;
use crate::reactor::probe::{self, Capabilities, ProbeError};

/// How the kernel is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kernel {
    Uring(Capabilities),
    Epoll,
}

impl Kernel {
    /// Tries what is configured; says so where it falls back.
    pub(super) fn choose(choice: ReactorChoice) -> Result<Kernel, StartError> {
        Kernel::of(choice, probe::probe)
    }

    fn of(choice: ReactorChoice, probe: impl FnOnce() -> Result<Capabilities, ProbeError>) -> Result<Kernel, StartError> {
        if choice == ReactorChoice::Epoll {
            return Ok(Kernel::Epoll);
        }
        match probe() {
            Ok(capabilities) => Ok(Kernel::Uring(capabilities)),
            // Epoll needs as many descriptors, or more.
            Err(error @ ProbeError::TooFewDescriptors { .. }) => Err(error.into()),
            Err(error) if choice == ReactorChoice::IoUring => Err(StartError::Forbidden(error)),
            Err(error) => {
                tracing::warn!(
                    "serving by epoll, not by io_uring: {error}. Where epoll is meant, say `--reactor epoll` (`reactor = \"epoll\"` \
                     under [shards])"
                );
                Ok(Kernel::Epoll)
            }
        }
    }

    /// Whether the machine gives a descriptor for each of so many clients.
    pub(super) fn check_clients(self, connections_max: u32, shards: u16) -> Result<(), ProbeError> {
        match self {
            Kernel::Uring(capabilities) => capabilities.check_clients(connections_max, shards),
            Kernel::Epoll => probe::check_ordinary_clients(connections_max),
        }
    }

    /// Whether clients are in tables of the rings, where they are no descriptors of the process.
    pub(super) fn has_tables(self) -> bool {
        matches!(self, Kernel::Uring(Capabilities { direct: true, .. }))
    }

    /// How files are read and written.
    pub(super) fn disk(self) -> Disk {
        match self {
            Kernel::Uring(_) => Disk::Ring,
            Kernel::Epoll => Disk::Pool,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ABLE: Capabilities = Capabilities { kernel: (6, 18), direct: true, incremental: true, descriptors_max: 10_000 };

    #[test]
    fn epoll_is_chosen_where_it_is_asked_for_or_nothing_else_is_allowed() {
        let of =
            |choice, probed: Result<Capabilities, ProbeError>| Kernel::of(choice, || probed).map_err(|error| error.to_string());
        assert_eq!(of(ReactorChoice::Auto, Ok(ABLE)), Ok(Kernel::Uring(ABLE)));
        assert_eq!(of(ReactorChoice::IoUring, Ok(ABLE)), Ok(Kernel::Uring(ABLE)));
        assert_eq!(of(ReactorChoice::Auto, Err(ProbeError::Forbidden)), Ok(Kernel::Epoll));
        assert_eq!(Kernel::of(ReactorChoice::Epoll, || panic!("nobody asks for a ring")).ok(), Some(Kernel::Epoll));
        let refused = of(ReactorChoice::IoUring, Err(ProbeError::Disabled { value: 2 })).expect_err("it is not allowed");
        assert!(refused.contains("sysctl kernel.io_uring_disabled=0") && refused.contains("--reactor auto"), "{refused}");
        let too_few = ProbeError::TooFewDescriptors { needed: 9, limit: 8, a_shard: false };
        assert!(of(ReactorChoice::Auto, Err(too_few)).expect_err("epoll needs them too").contains("ulimit -n"));
    }
}
