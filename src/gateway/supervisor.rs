//! What systemd, or whoever stands in for it, hands to the gateway and is told by it: listening sockets (`LISTEN_FDS`), and how far it has
//! come (`NOTIFY_SOCKET`).
//!
//! Without either nothing here does anything.

use std::io;

use listenfd::ListenFd;
use sd_notify::NotifyState;

use super::StartError;
use super::listening::Inherited;

/// The sockets that it holds for the gateway.
///
/// # Errors
/// [`StartError::Activation`] where one of them is none that clients connect to.
pub(super) fn sockets(inherited: &mut Inherited) -> Result<(), StartError> {
    let mut handed = ListenFd::from_env();
    for number in 0..handed.len() {
        let refused = |error: io::Error| StartError::Activation { number, error };
        // What is of the one kind is not of the other, and stays there.
        if let Ok(listener) = handed.take_unix_listener(number) {
            listener.map_or(Ok(()), |listener| inherited.add(None, listener.into())).map_err(refused)?;
        } else if let Some(listener) = handed.take_tcp_listener(number).map_err(refused)? {
            inherited.add(None, listener.into()).map_err(refused)?;
        }
    }
    Ok(())
}

/// Clients are served, by this process, whichever was started by the supervisor.
pub(super) fn ready() {
    tell(&[NotifyState::MainPid(std::process::id()), NotifyState::Ready]);
}

/// The configuration is read again; [`ready`] follows.
pub(super) fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(moment) => tell(&[NotifyState::Reloading, moment]),
        Err(error) => tracing::debug!("the supervisor is not told of a reload: {error}"),
    }
}

/// No more clients are taken.
pub(super) fn stopping() {
    tell(&[NotifyState::Stopping]);
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!("the supervisor could not be told how far the gateway is: {error}");
    }
}
