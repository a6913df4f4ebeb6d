//! Asks the revision that traffic would go back to whether it is well, when the candidate fails and nobody is beside it.
//! Waits for no probe's turn: the verdict falls within the second. Decides nothing; see `rollout::judge::Guard`.

use crate::http::ask_tcp;
use futures_util::future::join_all;
use rollout::judge::Record;
use rollout::machine::{State, World};
use rollout::release::Protocol;
use std::net::SocketAddr;
use std::time::Duration;

/// Of stable's requests in a second; from here on they are the better witness.
const BESIDE_MIN: u64 = 20;
/// One replica that is well is enough; more than a few need not be asked.
const REPLICAS_MAX: usize = 4;
/// An answer is in time for its second, before the next one closes.
const ANSWER_WITHIN: Duration = Duration::from_millis(700);

/// Whom to ask, and what.
#[derive(Debug, PartialEq, Eq)]
pub struct Witness {
    replicas: Vec<SocketAddr>,
    path: String,
    protocol: Protocol,
    within: Duration,
}

impl Witness {
    /// Returns whom to ask about a record; None where it says enough by itself, or there is nobody to ask.
    pub fn of(record: &Record, state: &State, world: &World) -> Option<Self> {
        if record.missing || record.candidate_errors == 0 || record.stable_requests >= BESIDE_MIN {
            return None;
        }
        let placed = match &state.deployment {
            Some(_) => state.stable.as_ref(),
            None => state.hot.as_ref().map(|hot| &hot.placed),
        }?;
        let path = placed.spec.health.ready.clone()?;
        let running = world.presence(placed.revision).running();
        let replicas: Vec<_> = running.map(|(_, replica)| replica.address).take(REPLICAS_MAX).collect();
        let within = Duration::from_millis(placed.spec.health.timeout.0).min(ANSWER_WITHIN);
        (!replicas.is_empty()).then_some(Self {
            replicas,
            path,
            protocol: placed.spec.health.protocol,
            within,
        })
    }

    /// Tells whether none of the replicas is ready in this moment.
    pub async fn is_unwell(&self) -> bool {
        let asked =
            self.replicas.iter().map(|address| ask_tcp(*address, self.protocol, &self.path, self.within));
        let is_well =
            |answer: &Result<http::StatusCode, _>| answer.as_ref().is_ok_and(|status| status.as_u16() < 400);
        !join_all(asked).await.iter().any(is_well)
    }
}
