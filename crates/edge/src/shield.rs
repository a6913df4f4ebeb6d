//! Says whether a request that failed on the candidate may be sent once more, to stable, and keeps the budget of such requests.
//! Refuses what may have changed something, what has a body, and what the budget does not cover. Sends nothing; see `forward`.

use crate::body::Upload;
use crate::exchange::{Exchanged, Order};
use crate::failure::{Column, Failure, Mapped};
use crate::headers::Upgrade;
use crate::limits;
use crate::route::{ArmRoutes, TargetRoutes};
use crate::split::Draw;
use http::Method;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// What a target may still send again, in hundredths of a request; over all workers and successive tables.
#[derive(Debug)]
pub(crate) struct Budget(AtomicU64);

impl Default for Budget {
    fn default() -> Self {
        Self(AtomicU64::new(limits::SHIELD_BURST * 100))
    }
}

impl Budget {
    /// Notes a request of the target.
    fn earn(&self) {
        let full = limits::SHIELD_BURST * 100;
        let earned = |cents: u64| (cents < full).then(|| (cents + limits::SHIELD_PERCENT).min(full));
        // Full already: nothing to note.
        let _ = self.0.fetch_update(Relaxed, Relaxed, earned);
    }

    /// Takes one request; false when there is none left.
    fn take(&self) -> bool {
        self.0.fetch_update(Relaxed, Relaxed, |cents| cents.checked_sub(100)).is_ok()
    }
}

/// How a first try failed, as it is counted.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Failed {
    pub(crate) status: u16,
    pub(crate) column: Column,
    pub(crate) class: Option<&'static str>,
}

/// The right of one request to a second try.
pub(crate) struct Shielded<'t> {
    target: &'t TargetRoutes,
    pub(crate) stable: &'t ArmRoutes,
    statuses: &'t [u16],
}

/// Returns what shields a request on its way to this arm; None for most, which go to stable or may not be repeated.
/// Whoever is on the allow list came to see the candidate, and sees what it does.
pub(crate) fn of<'t>(
    target: &'t TargetRoutes,
    arm: &ArmRoutes,
    draw: &Draw<'_>,
    method: &Method,
) -> Option<Shielded<'t>> {
    let shield = target.routes().shield.as_ref()?;
    let (stable, candidate) = (target.stable.as_ref()?, target.candidate.as_ref()?);
    target.lasting.shield.earn();
    let safe = method == Method::GET || method == Method::HEAD;
    let judged = arm.revision == candidate.revision && arm.revision != stable.revision && !draw.allowed;
    (safe && judged).then_some(Shielded { target, stable, statuses: &shield.statuses })
}

impl Shielded<'_> {
    /// Whether nothing of the request is gone once it was sent.
    pub(crate) fn covers(&self, order: &Order<'_>, body: &Upload) -> bool {
        body.is_empty() && order.upgrade == Upgrade::None
    }

    /// Returns how a first try failed; None when the user gets what came of it.
    pub(crate) fn failed(&self, first: &Result<Exchanged, Failure>) -> Option<Failed> {
        let failed = match first {
            Ok(exchanged) => self.answered(exchanged.response.status().as_u16()),
            Err(failure) => Self::broke(failure),
        };
        failed.filter(|_| self.target.lasting.shield.take())
    }

    fn broke(failure: &Failure) -> Option<Failed> {
        let shielded = match failure {
            Failure::Overloaded
            | Failure::NoReplica
            | Failure::Connect
            | Failure::Reset
            | Failure::BadAnswer
            | Failure::Timeout
            | Failure::Drained => true,
            Failure::BadRequest(_)
            | Failure::BadBody
            | Failure::UploadStalled
            | Failure::ClientGone
            | Failure::Guarded(_)
            | Failure::NoTable
            | Failure::UnknownHost
            | Failure::NothingStable(_)
            | Failure::Maintenance
            | Failure::QueueFull => false,
        };
        let Mapped { status, column, class, .. } = failure.map();
        shielded.then_some(Failed { status, column, class: Some(class) })
    }

    fn answered(&self, status: u16) -> Option<Failed> {
        let column = Column::of_status(status)?;
        self.statuses.contains(&status).then_some(Failed { status, column, class: None })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn o5_the_budget_covers_a_burst_and_then_a_share_of_the_requests() {
        let budget = Budget::default();

        let burst = (0..2 * limits::SHIELD_BURST).filter(|_| budget.take()).count() as u64;
        let share = (0..1_000).filter(|_| {
            budget.earn();
            budget.take()
        });

        assert_eq!(burst, limits::SHIELD_BURST);
        assert_eq!(share.count() as u64, 1_000 * limits::SHIELD_PERCENT / 100);
    }

    #[test]
    fn o5_a_full_budget_grows_no_further() {
        let budget = Budget::default();
        (0..1_000).for_each(|_| budget.earn());

        let taken = (0..2 * limits::SHIELD_BURST).filter(|_| budget.take()).count() as u64;

        assert_eq!(taken, limits::SHIELD_BURST);
    }
}
