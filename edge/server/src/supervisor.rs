//! What a supervisor is told (systemd's `sd_notify`): that the server stands, reads its settings
//! again, stops, and that its workers go on.
//!
//! Without a supervisor, which is where `NOTIFY_SOCKET` is not set, each of these does nothing. A
//! message that cannot be sent changes nothing for clients: it is logged once and left.

use std::sync::Once;

use sd_notify::NotifyState;

/// Clients are served.
pub fn ready() {
    tell(&[NotifyState::Ready, NotifyState::Status("serving")]);
}

/// Settings and keys are read again; [`ready`] follows.
pub fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(error) => tracing::debug!(%error, "no time for the supervisor"),
    }
}

/// The server leaves in order.
pub fn stopping() {
    tell(&[NotifyState::Stopping, NotifyState::Status("clients are told to leave")]);
}

/// No worker is stuck.
pub fn alive() {
    tell(&[NotifyState::Watchdog]);
}

fn tell(states: &[NotifyState<'_>]) {
    static COMPLAINED: Once = Once::new();
    if let Err(error) = sd_notify::notify(states) {
        COMPLAINED.call_once(|| tracing::warn!(%error, "the supervisor cannot be told"));
    }
}
