//! Says what the world should be in this state: which replicas run, what runs once. Who gets which share: see `routing`.
//! Effects are a function of the state, not a list of things to do; `change::changes` finds the moves.

use super::state::{AFTER_HOOK, BEFORE_HOOK, Deployment, EXPAND, HOOK_DEADLINE, Phase, State};
use crate::change::{Task, TaskId, TaskPlace};
use crate::names::{Millis, Revision, Weight};
use crate::plan::{Ask, When};
use crate::release::Placed;
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

/// How long a migration may run.
const EXPAND_DEADLINE: Millis = Millis::seconds(3600);
/// How long a replica may take to end after SIGTERM, once no request is left on it.
const GRACE: Millis = Millis::seconds(10);

impl State {
    /// Returns what the world should be.
    pub fn desired(&self) -> Desired {
        Desired { revisions: self.wanted_revisions(), tasks: self.tasks(), proof: self.wants_proof() }
    }

    /// Returns the revisions that should run.
    pub fn wanted_revisions(&self) -> BTreeMap<Revision, Wanted> {
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
        revisions
    }

    fn wanted(&self, placed: &Placed, replicas: u32) -> Wanted {
        Wanted { placed: placed.clone(), replicas, grace: GRACE }
    }

    /// Returns how many replicas of a revision should run; None: it is none of ours.
    pub fn wanted_replicas(&self, revision: Revision) -> Option<u32> {
        self.wanted_revisions().get(&revision).map(|wanted| wanted.replicas)
    }

    fn candidate_replicas(&self, running: &Deployment) -> u32 {
        let step = match running.phase {
            Phase::Shifting { step } | Phase::Baking { step } => step,
            Phase::Promoting => return self.replicas(),
            // Until it gets requests, what the first step needs, or what was asked for.
            Phase::Preparing
            | Phase::Launching
            | Phase::Verifying
            | Phase::Mirroring
            | Phase::Returning { .. } => {
                let first = running.settings.steps.first().copied().unwrap_or(Weight::FULL);
                return self.replicas_before_full(running, first);
            }
        };
        self.needed_for(running, step)
    }

    /// Returns how many replicas of the candidate a step needs. The last needs all, with a hold-back too: the promotion
    /// that takes it away must find them ready.
    pub(super) fn needed_for(&self, running: &Deployment, step: usize) -> u32 {
        match running.settings.steps.get(step).copied().unwrap_or(Weight::FULL) {
            Weight::FULL => self.replicas(),
            weight => self.replicas_before_full(running, weight),
        }
    }

    fn replicas_before_full(&self, running: &Deployment, weight: Weight) -> u32 {
        let full = self.replicas();
        running.settings.candidate_replicas.unwrap_or(needed(full, weight)).clamp(1, full)
    }

    /// Tells whether the edge should prove who answers.
    pub fn wants_proof(&self) -> bool {
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
}

/// Returns how many of `full` replicas a share needs, at least one.
fn needed(full: u32, weight: Weight) -> u32 {
    let share = u64::from(full) * u64::from(weight.percent());
    share.div_ceil(100).clamp(1, u64::from(full.max(1))) as u32
}

fn run(running: &Deployment, task: Task) -> WantedTask {
    WantedTask::Run { task, revision: running.candidate.revision }
}

fn folder(running: &Deployment) -> TaskPlace {
    TaskPlace::Folder(running.folder.clone())
}
