//! Waiting for events without polling for them.

use std::{
    io,
    os::fd::{BorrowedFd, OwnedFd},
};

use tokio::io::{
    Interest,
    unix::{AsyncFd, AsyncFdReadyGuard},
};

/// Tells when the ring buffer has events.
pub struct Ready {
    ring: AsyncFd<OwnedFd>,
}

impl Ready {
    /// For the ring buffer behind `ring`. Must be called inside a tokio runtime.
    pub(super) fn of(ring: BorrowedFd<'_>) -> io::Result<Self> {
        let ring = ring.try_clone_to_owned()?;
        // SAFETY: an `OwnedFd` is an open descriptor, always the same one, for as long as it lives.
        #[expect(unsafe_code, reason = "tokio asks for a proof, which stands above")]
        let registered = unsafe { AsyncFd::register_with_interest(ring, Interest::READABLE) };
        Ok(Self { ring: registered? })
    }

    /// Waits for events. Take them all, then clear the guard.
    ///
    /// # Errors
    /// When the runtime is shutting down.
    pub async fn wait(&self) -> io::Result<AsyncFdReadyGuard<'_, OwnedFd>> {
        self.ring.readable().await
    }
}
