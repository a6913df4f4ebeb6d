//! Says who should get which share of the requests now. Never publishes an empty route.
//! Moves no traffic to a side that cannot carry it; which replicas run at all is `desired`'s.

use super::decide::RETURN_PATIENCE;
use super::state::{Deployment, Phase, State};
use super::world::World;
use crate::mirror::Copies;
use crate::names::{Millis, Weight};
use crate::plan::RolloutSettings;
use crate::release::Placed;
use crate::routes::{Arm, Candidate, Draining, Endpoint, RouteTable};

/// What the candidate should get.
enum Share {
    Nothing,
    Of(Weight),
    /// As much as now, and what the edge gives it now is not known.
    Unknown,
}

impl State {
    /// Returns the routes to publish now; None while nothing could be served, so that an empty route never is.
    ///
    /// A weight is raised only when enough replicas of the candidate are ready to carry it, and traffic goes back
    /// only to a stable revision that can carry it, or when there is nothing else.
    pub fn routes(&self, world: &World, now: Millis) -> Option<RouteTable> {
        let settings = self.rollout_settings();
        let stable = self.stable.as_ref().and_then(|placed| self.arm(placed, world));
        let candidate = match self.share(world, now) {
            Share::Of(weight) => self.candidate_arm(weight, world),
            Share::Nothing => None,
            Share::Unknown => return None,
        };
        let full = candidate.as_ref().is_some_and(|candidate| candidate.weight == Weight::FULL);
        // Without stable only full weight is a route: any other share would send the rest nowhere.
        if stable.is_none() && !full {
            return None;
        }
        Some(RouteTable {
            target: self.target.clone(),
            hosts: self.settings.hosts.clone(),
            paths: self.settings.paths.clone(),
            strip_path: self.settings.strip_path,
            templates: self.settings.templates.clone(),
            health_path: self.health_path(),
            draining: self.draining(candidate.is_some()),
            former: self.former(settings, stable.as_ref(), candidate.as_ref(), world),
            assets: settings.assets,
            mirror: self.copies().filter(|_| candidate.is_some()),
            stable,
            candidate,
            sticky: settings.sticky.clone(),
            allow: settings.allow.clone(),
            user: settings.judge.user.clone(),
            maintenance: self.maintenance.clone(),
            connections: settings.connections.clone(),
            shield: settings.shield.clone(),
            guard: self.settings.guard.clone(),
            headers: self.settings.headers.clone(),
            pages: self.settings.pages.clone(),
            in_flight: self.settings.in_flight,
            access_log: self.settings.access_log,
        })
    }

    fn copies(&self) -> Option<Copies> {
        let running = self.deployment.as_ref().filter(|running| running.phase == Phase::Mirroring)?;
        running.settings.mirror.as_ref().map(|mirror| mirror.copies.clone())
    }

    fn rollout_settings(&self) -> &RolloutSettings {
        self.deployment.as_ref().map_or(&self.stable_rollout, |running| &running.settings)
    }

    fn health_path(&self) -> Option<String> {
        let candidate = self.deployment.as_ref().map(|running| &running.candidate);
        self.stable.as_ref().or(candidate).and_then(|placed| placed.spec.health.ready.clone())
    }

    /// Returns the arm of a revision, at most as many replicas as wanted; None when none is ready.
    fn arm(&self, placed: &Placed, world: &World) -> Option<Arm> {
        let wanted = match self.wanted_replicas(placed.revision) {
            None | Some(0) => usize::MAX,
            Some(wanted) => wanted as usize,
        };
        let mut ready: Vec<_> = world.presence(placed.revision).ready().collect();
        ready.sort_by_key(|(id, replica)| (replica.launched_at, (*id).clone()));
        let replicas: Vec<_> = ready
            .into_iter()
            .take(wanted)
            .map(|(id, replica)| Endpoint { replica: id.clone(), address: replica.address })
            .collect();
        (!replicas.is_empty()).then(|| Arm {
            revision: placed.revision,
            release: placed.release.clone(),
            label: placed.label.clone(),
            replicas,
            protocol: placed.spec.health.protocol,
        })
    }

    /// Returns the release before stable, whose pages users may still have open.
    fn former(
        &self,
        settings: &RolloutSettings,
        stable: Option<&Arm>,
        candidate: Option<&Candidate>,
        world: &World,
    ) -> Option<Arm> {
        let hot = self.hot.as_ref().filter(|_| settings.assets)?;
        let mut others = stable.into_iter().chain(candidate.map(|candidate| &candidate.arm));
        let is_other = others.any(|arm| arm.revision == hot.placed.revision);
        if is_other { None } else { self.arm(&hot.placed, world) }
    }

    fn candidate_arm(&self, weight: Weight, world: &World) -> Option<Candidate> {
        let running = self.deployment.as_ref()?;
        let arm = self.arm(&running.candidate, world)?;
        Some(Candidate { arm, weight })
    }

    /// Returns the share to publish: the step's, or the one published before while the step's cannot be carried.
    fn share(&self, world: &World, now: Millis) -> Share {
        let Some(running) = &self.deployment else { return Share::Nothing };
        let settings = &running.settings;
        match &running.phase {
            Phase::Preparing | Phase::Launching | Phase::Verifying => Share::Nothing,
            Phase::Mirroring => Share::Of(Weight::NONE),
            Phase::Shifting { step } => match settings.weight_of(*step) {
                weight if self.may_shift(running, *step, world) => Share::Of(weight),
                _ => published(running, world),
            },
            Phase::Baking { step } => Share::Of(settings.weight_of(*step)),
            Phase::Promoting => Share::Of(Weight::FULL),
            Phase::Returning { .. } if self.stable_carries(running, world, now) => Share::Nothing,
            Phase::Returning { .. } => published(running, world),
        }
    }

    /// A weight is raised while nothing stands still, and when it can be carried.
    fn may_shift(&self, running: &Deployment, step: usize, world: &World) -> bool {
        let carries = world.ready(running.candidate.revision) >= self.needed_for(running, step);
        carries && !running.stands_still()
    }

    fn stable_carries(&self, running: &Deployment, world: &World, now: Millis) -> bool {
        let Some(stable) = &self.stable else { return false };
        let ready = world.ready(stable.revision);
        let nothing_else = world.ready(running.candidate.revision) == 0;
        let waited = running.phase_clock.elapsed(now) >= RETURN_PATIENCE;
        ready >= self.replicas() || (ready > 0 && (nothing_else || waited))
    }

    fn draining(&self, candidate_serves: bool) -> Vec<Draining> {
        let leaving = self.leaving.iter().filter(|leaving| !leaving.drained);
        let mut draining: Vec<_> = leaving
            .map(|leaving| Draining {
                revision: leaving.placed.revision,
                since: leaving.since,
                until: leaving.until,
            })
            .collect();
        if let Some(running) = &self.deployment
            && let Phase::Returning { .. } = running.phase
            && !candidate_serves
        {
            let until = running.since.plus(running.settings.drain);
            draining.push(Draining { revision: running.candidate.revision, since: running.since, until });
        }
        draining
    }
}

fn published(running: &Deployment, world: &World) -> Share {
    let Some(edge) = &world.edge else { return Share::Unknown };
    match edge.candidate {
        Some((revision, weight)) if revision == running.candidate.revision => Share::Of(weight),
        _ => Share::Nothing,
    }
}
