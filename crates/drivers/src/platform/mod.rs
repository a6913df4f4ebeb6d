//! Looks at and changes one service on one platform. The narrow waist: two methods, one closed set of changes.

pub mod fake;
pub mod process;

use rollout::change::{Change, Observed};
use rollout::names::{Generation, Target};
use std::future::Future;

/// Looks at and changes one service on one platform.
pub trait Platform: Send + Sync + 'static {
    /// Says what is there. Changes nothing.
    fn observe(&self, target: &Target) -> impl Future<Output = Result<Observed, PlatformError>> + Send;

    /// Makes one change. Doing it twice is the same as doing it once. Does nothing at a generation older than the
    /// newest it has seen for the target, so that a stale controller is harmless: one of an older epoch is refused;
    /// within an epoch a later change has only overtaken this one, which may be asked for again.
    fn apply(
        &self,
        target: &Target,
        change: &Change,
        at: Generation,
    ) -> impl Future<Output = Result<(), PlatformError>> + Send;
}

/// Returns what a change is answered with that is older than the newest one.
pub(crate) fn stale(target: &Target, at: Generation, newest: Generation) -> PlatformError {
    let what = format!("change {target} as of {at}");
    if at.epoch == newest.epoch {
        return PlatformError::Retry { what, why: format!("it has been changed as of {newest} meanwhile") };
    }
    PlatformError::Refused {
        what,
        why: format!("a newer engine changed it as of {newest}"),
        next: "stop this engine: another one has taken over".to_owned(),
    }
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
    /// Nothing is known: the platform did not answer.
    #[error("{what}: {why}")]
    Unreachable { what: String, why: String },
}
