//! Says what the world should be in this state: which replicas run, who gets which share, what runs once.
//! Effects are a function of the state, not a list of things to do; `change::changes` finds the moves.

use super::state::{AFTER_HOOK, BEFORE_HOOK, Deployment, EXPAND, Phase, State};
use super::world::World;
use crate::change::{Task, TaskId, TaskPlace};
use crate::names::{Millis, Revision, Weight};
use crate::plan::{Ask, RolloutSettings, When};
use crate::release::Placed;
use crate::routes::{Arm, Candidate, Draining, Endpoint, RouteTable};
use std::collections::BTreeMap;

/// What should be.
#[derive(Debug, Clone, PartialEq)]
pub struct Desired {
    /// Revisions that should run, and how many replicas of each.
    pub revisions: BTreeMap<Revision, Wanted>,
    /// Commands and questions that should have run.
    pub tasks: Vec<WantedTask>,
    /// Whether the edge should prove who answers.
    pub proof: bool,
}

/// Replicas of a revision.
#[derive(Debug, Clone, PartialEq)]
pub struct Wanted {
    pub placed: Placed,
    pub replicas: u32,
    /// How long a replica may take to end when it is stopped.
    pub grace: Millis,
}

/// Something that should run once.
#[derive(Debug, Clone, PartialEq)]
pub enum WantedTask {
    /// Run this command; it is told where the candidate listens.
    Run { task: Task, revision: Revision },
    /// GET this path of one replica of the candidate; 200–399 passes.
    Ask { id: TaskId, revision: Revision, path: String, deadline: Millis },
}

/// How long a hook may run.
const HOOK_DEADLINE: Millis = Millis::seconds(600);
/// How long a migration may run.
const EXPAND_DEADLINE: Millis = Millis::seconds(3600);
/// How long a replica may take to end after SIGTERM, once no request is left on it.
const GRACE: Millis = Millis::seconds(10);
/// How long a return waits for stable to have all its replicas before it makes do with one.
const RETURN_PATIENCE: Millis = Millis::seconds(5);

impl State {
    /// Returns what the world should be.
    pub fn desired(&self) -> Desired {
        let mut revisions = BTreeMap::new();
        let leaving = self.leaving.iter().filter(|leaving| !leaving.drained).map(|leaving| &leaving.placed);
        let hot = self.hot.iter().map(|hot| &hot.placed);
        for placed in leaving.chain(hot).chain(&self.stable) {
            revisions.insert(placed.revision, self.wanted(placed, self.replicas()));
        }
        if let Some(running) = &self.deployment
            && running.phase != Phase::Preparing
        {
            // What returns is kept as it is until its requests have ended, never topped up.
            let returning = matches!(running.phase, Phase::Returning { .. });
            let count = if returning { 0 } else { self.candidate_replicas(running) };
            revisions.entry(running.candidate.revision).or_insert(self.wanted(&running.candidate, count));
        }
        // A revision that leaves is kept as it is, never topped up.
        for leaving in &self.leaving {
            if let Some(wanted) = revisions.get_mut(&leaving.placed.revision) {
                wanted.replicas = 0;
            }
        }
        Desired { revisions, tasks: self.tasks(), proof: self.wants_proof() }
    }

    fn wanted(&self, placed: &Placed, replicas: u32) -> Wanted {
        Wanted { placed: placed.clone(), replicas, grace: GRACE }
    }

    /// Returns how many replicas of a revision should run; None: it is none of ours.
    pub fn wanted_replicas(&self, revision: Revision) -> Option<u32> {
        self.desired().revisions.get(&revision).map(|wanted| wanted.replicas)
    }

    fn candidate_replicas(&self, running: &Deployment) -> u32 {
        let full = self.replicas();
        let step = match running.phase {
            Phase::Shifting { step } | Phase::Baking { step } => step,
            Phase::Promoting => running.last_step(),
            Phase::Preparing | Phase::Launching | Phase::Verifying | Phase::Returning { .. } => 0,
        };
        let weight = running.settings.steps.get(step).copied().unwrap_or(Weight::FULL);
        if weight == Weight::FULL
            && !matches!(running.phase, Phase::Preparing | Phase::Launching | Phase::Verifying)
        {
            return full;
        }
        let needed = needed(full, weight);
        running.settings.candidate_replicas.unwrap_or(needed).clamp(1, full)
    }

    fn wants_proof(&self) -> bool {
        self.deployment.as_ref().is_some_and(|running| {
            matches!(running.phase, Phase::Promoting | Phase::Returning { returned: true, .. })
        })
    }

    fn tasks(&self) -> Vec<WantedTask> {
        let Some(running) = &self.deployment else { return Vec::new() };
        let hook = |name: &str, command: &[String]| {
            run(running, self.task(running, name, command.to_vec(), folder(running), HOOK_DEADLINE))
        };
        match &running.phase {
            Phase::Preparing => {
                let hook_done =
                    !running.has_before_hook() || running.done.contains(&running.task(BEFORE_HOOK));
                if running.has_before_hook() && !hook_done {
                    vec![hook(BEFORE_HOOK, &running.settings.hooks.before_deploy)]
                } else if running.has_expand() {
                    vec![run(running, self.expand(running))]
                } else {
                    Vec::new()
                }
            }
            Phase::Verifying => self.checks(running, When::Before),
            Phase::Baking { step } if *step == running.last_step() => self.checks(running, When::After),
            Phase::Promoting if running.has_after_hook() => {
                vec![hook(AFTER_HOOK, &running.settings.hooks.after_deploy)]
            }
            _ => Vec::new(),
        }
    }

    fn checks(&self, running: &Deployment, when: When) -> Vec<WantedTask> {
        let wanted = |check: &crate::plan::Check| match &check.ask {
            Ask::Command(command) => run(
                running,
                self.task(running, &check.name, command.clone(), folder(running), check.deadline),
            ),
            Ask::Url(path) => WantedTask::Ask {
                id: running.task(&check.name),
                revision: running.candidate.revision,
                path: path.clone(),
                deadline: check.deadline,
            },
        };
        running.checks(when).map(wanted).collect()
    }

    fn expand(&self, running: &Deployment) -> Task {
        let place = match &running.candidate.spec.artifact {
            Some(digest) => TaskPlace::Artifact(digest.clone()),
            None => folder(running),
        };
        let mut task =
            self.task(running, EXPAND, running.candidate.spec.expand.clone(), place, EXPAND_DEADLINE);
        task.env.extend(running.candidate.spec.env.clone());
        task
    }

    fn task(
        &self,
        running: &Deployment,
        name: &str,
        command: Vec<String>,
        place: TaskPlace,
        deadline: Millis,
    ) -> Task {
        let candidate = &running.candidate;
        let env = [
            ("MEDECLIPSE_SERVICE", self.target.service.to_string()),
            ("MEDECLIPSE_TARGET", self.target.to_string()),
            ("MEDECLIPSE_DEPLOYMENT", running.id.to_string()),
            ("MEDECLIPSE_RELEASE", candidate.release.to_string()),
            ("MEDECLIPSE_REVISION", candidate.revision.to_string()),
            ("MEDECLIPSE_LABEL", candidate.label.as_ref().map(ToString::to_string).unwrap_or_default()),
            ("MEDECLIPSE_HOOK", name.to_owned()),
        ];
        let env = env.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
        Task { id: running.task(name), command, place, env, deadline }
    }

    /// Returns the routes to publish now; None while nothing could be served, so that an empty route never is.
    ///
    /// A weight is raised only when enough replicas of the candidate are ready to carry it, and traffic goes back
    /// only to a stable revision that can carry it, or when there is nothing else.
    pub fn routes(&self, world: &World, now: Millis) -> Option<RouteTable> {
        let settings = self.rollout_settings();
        let stable = self.stable.as_ref().and_then(|placed| self.arm(placed, world));
        let candidate = self.candidate_arm(world, now);
        if stable.is_none() && (candidate.is_none() || self.stable.is_some()) {
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
            stable,
            candidate,
            sticky: settings.sticky.clone(),
            allow: settings.allow.clone(),
            maintenance: self.maintenance.clone(),
            connections: settings.connections.clone(),
        })
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
        })
    }

    fn candidate_arm(&self, world: &World, now: Millis) -> Option<Candidate> {
        let running = self.deployment.as_ref()?;
        let weight = self.weight_now(running, world, now)?;
        let arm = self.arm(&running.candidate, world)?;
        Some(Candidate { arm, weight })
    }

    /// Returns the share to publish: the step's, or the one published before while the step's cannot be carried.
    fn weight_now(&self, running: &Deployment, world: &World, now: Millis) -> Option<Weight> {
        let published = world
            .edge
            .as_ref()
            .and_then(|edge| edge.candidate)
            .filter(|(revision, _)| *revision == running.candidate.revision)
            .map(|(_, weight)| weight);
        let steps = &running.settings.steps;
        match &running.phase {
            Phase::Preparing | Phase::Launching | Phase::Verifying => None,
            Phase::Shifting { step } => {
                let weight = *steps.get(*step)?;
                let carries = world.ready(running.candidate.revision) >= self.needed_for(running, weight);
                if carries { Some(weight) } else { published }
            }
            Phase::Baking { step } => steps.get(*step).copied(),
            Phase::Promoting => Some(Weight::FULL),
            Phase::Returning { .. } if self.stable_carries(running, world, now) => None,
            Phase::Returning { .. } => published,
        }
    }

    fn needed_for(&self, running: &Deployment, weight: Weight) -> u32 {
        let full = self.replicas();
        if weight == Weight::FULL {
            return full;
        }
        running.settings.candidate_replicas.unwrap_or(needed(full, weight)).clamp(1, full)
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

/// Returns how many of `full` replicas a share needs, at least one.
fn needed(full: u32, weight: Weight) -> u32 {
    (full * u32::from(weight.percent())).div_ceil(100).max(1)
}

fn run(running: &Deployment, task: Task) -> WantedTask {
    WantedTask::Run { task, revision: running.candidate.revision }
}

fn folder(running: &Deployment) -> TaskPlace {
    TaskPlace::Folder(running.folder.clone())
}
