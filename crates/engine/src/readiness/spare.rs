//! Starts one replica of a release beside everything else, waits until it is ready, and stops it.
//! It belongs to a target of its own, so that no table, count or rule ever sees it; nothing routes to it.

use super::found::Spare;
use crate::http::ask_tcp;
use drivers::platform::{Platform, PlatformError};
use rollout::change::{Change, ObservedReplica, ReplicaState};
use rollout::machine::State;
use rollout::names::{Generation, Millis, Revision, Target};
use rollout::release::Placed;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

/// Between looks at a spare that starts.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// How long a spare may take to end after SIGTERM.
const GRACE: Millis = Millis::seconds(5);
/// How long its end is waited for, beyond its grace.
const GONE_WITHIN: Duration = Duration::from_secs(15);

/// Returns the target a spare belongs to: the service's name is what the program knows itself by.
pub(super) fn target_of(target: &Target) -> Target {
    Target::new(target.service.as_str(), format!("{}.spare", target.environment))
}

/// Starts the release and stops it again. None: something else came up, and nothing is known.
pub(super) async fn start<P: Platform>(
    platform: &P,
    target: &Target,
    placed: &Placed,
    at: Generation,
    state: &mut watch::Receiver<Arc<State>>,
) -> Option<Spare> {
    let spare = target_of(target);
    let began = Instant::now();
    let launch = Change::Launch { placed: placed.clone(), replicas: 1 };
    let outcome = match platform.apply(&spare, &launch, at).await {
        Ok(()) => tokio::select! {
            outcome = became_ready(platform, &spare, placed, began) => outcome,
            // A deployment needs the machine for itself.
            () = deploys(state) => None,
        },
        Err(PlatformError::Refused { why, .. }) => Some(Err(why)),
        Err(_) => None,
    };
    clear(platform, target, at).await;
    let took = Millis(u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX));
    outcome.map(|outcome| match outcome {
        Ok(took) => Spare { took, ..Spare::default() },
        Err(why) => Spare { took, failed: Some(why), ..Spare::default() },
    })
}

async fn became_ready<P: Platform>(
    platform: &P,
    spare: &Target,
    placed: &Placed,
    began: Instant,
) -> Option<Result<Millis, String>> {
    let health = &placed.spec.health;
    let until = began + Duration::from_millis(health.start.0);
    let mut last = "nothing listened on its port".to_owned();
    while Instant::now() < until {
        tokio::time::sleep(LOOK_EVERY).await;
        let Ok(observed) = platform.observe(spare).await else { continue };
        let Some(replica) = observed.replicas.first() else { continue };
        match &replica.state {
            ReplicaState::Exited(ended) => return Some(Err(format!("it ended: {ended}"))),
            ReplicaState::Starting => {}
            ReplicaState::Listening => match asked(replica, placed).await {
                Ok(()) => {
                    let took = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
                    return Some(Ok(Millis(took)));
                }
                Err(why) => last = why,
            },
        }
    }
    Some(Err(format!("{last} within {}", health.start)))
}

async fn asked(replica: &ObservedReplica, placed: &Placed) -> Result<(), String> {
    let health = &placed.spec.health;
    let Some(path) = &health.ready else { return Ok(()) };
    match ask_tcp(replica.address, health.protocol, path, Duration::from_millis(health.timeout.0)).await {
        Ok(status) if (200..400).contains(&status.as_u16()) => Ok(()),
        Ok(status) => Err(format!("{path} was answered {}", status.as_u16())),
        Err(error) => Err(format!("{path} was not answered: {error}")),
    }
}

/// Ends when a deployment runs.
async fn deploys(state: &mut watch::Receiver<Arc<State>>) {
    if state.wait_for(|state| state.deployment.is_some()).await.is_err() {
        // The target has ended; whoever waits beside this decides.
        std::future::pending::<()>().await;
    }
}

/// Stops and forgets every spare of a target, and waits until none is left, for a while.
pub(super) async fn clear<P: Platform>(platform: &P, target: &Target, at: Generation) {
    let spare = target_of(target);
    let until = Instant::now() + Duration::from_millis(GRACE.0) + GONE_WITHIN;
    while Instant::now() < until {
        let Ok(observed) = platform.observe(&spare).await else { return };
        let revisions: BTreeSet<Revision> =
            observed.replicas.iter().map(|replica| replica.revision).collect();
        if revisions.is_empty() {
            return;
        }
        for revision in revisions {
            if let Err(error) = platform.apply(&spare, &Change::Remove { revision, grace: GRACE }, at).await {
                crate::log(&format!("cannot stop a spare of {target}: {error}"));
            }
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}
