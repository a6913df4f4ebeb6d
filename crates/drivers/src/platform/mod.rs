//! Looks at and changes one service on one platform. The narrow waist: three methods, one closed set of changes.

pub mod fake;
pub mod process;

use rollout::change::{Change, Observed};
use rollout::names::{Generation, Target};
use std::future::Future;

/// Looks at and changes one service on one platform.
pub trait Platform: Send + Sync + 'static {
    /// Says what is there. Changes nothing.
    fn observe(&self, target: &Target) -> impl Future<Output = Result<Observed, PlatformError>> + Send;

    /// Makes one change. Doing it twice is the same as doing it once. Refuses a generation older than the
    /// newest it has seen for the target, so that a stale controller is harmless.
    fn apply(
        &self,
        target: &Target,
        change: &Change,
        at: Generation,
    ) -> impl Future<Output = Result<(), PlatformError>> + Send;

    /// Refuses from now on what is older than `at`, without changing anything: said by a controller that takes over,
    /// while the one before it may still be running. On return nothing older is under way.
    fn fence(
        &self,
        target: &Target,
        at: Generation,
    ) -> impl Future<Output = Result<(), PlatformError>> + Send;
}

/// Why a platform did not do it, and what that means for the caller.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlatformError {
    /// May go well another time.
    #[error("{what}: {why}")]
    Retry { what: String, why: String },
    /// Will not go well as asked; asking again is of no use.
    #[error("{what}: {why}")]
    Refused { what: String, why: String, next: String },
    /// Something newer has been changed already, by this engine or by one that took over: what was asked may not be
    /// wanted any more. Whoever still wants it asks again, as of now.
    #[error("{what}: it was changed as of {newest}")]
    Stale { what: String, newest: Generation },
    /// Nothing is known: the platform did not answer.
    #[error("{what}: {why}")]
    Unreachable { what: String, why: String },
}
