//! Answers operators: the event that does what they ask, or why not. Changes nothing.

use super::state::{Deployment, Phase, State};
use crate::event::{DeploymentKind, Event, Outcome, Requested};
use crate::names::{DeploymentId, Label, Millis, Release, Revision, Weight};
use crate::plan::{RolloutSettings, Strategy, TargetSettings};
use crate::release::{Placed, ReleaseSpec};
use serde::{Deserialize, Serialize};

/// A release to be rolled out, its artefact stored and its identity computed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DeployIntent {
    pub key: String,
    pub release: Release,
    pub label: Option<Label>,
    pub spec: ReleaseSpec,
    pub settings: RolloutSettings,
    pub folder: String,
    pub supersede: bool,
}

/// What operators ask for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum OperatorCommand {
    Deploy(Box<DeployIntent>),
    Rollback {
        to: Option<String>,
        key: String,
    },
    Promote {
        now: bool,
    },
    Abort,
    Pause,
    Resume,
    Maintenance {
        hold: Option<Millis>,
    },
    Scale {
        replicas: Option<u32>,
    },
    Settings(TargetSettings),
    /// The environment begins with nothing of it running, or is about to end.
    EndUnfinished,
}

/// How a command is answered.
#[derive(Debug, Clone, PartialEq)]
pub enum Answer {
    /// This happens.
    Event(Box<Event>),
    /// It is under way, or has been answered, already.
    Known { deployment: DeploymentId, seq: u64, outcome: Option<Outcome> },
    /// There is nothing to do.
    Nothing,
    /// A deployment is being aborted for this one: ask again when it has ended.
    Supersede(Box<Event>),
    /// The deployment this one supersedes is still going back: ask again when it has ended.
    Wait,
}

/// Why a command is not carried out, and what to do instead.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what}: {why}")]
pub struct Refusal {
    pub what: String,
    pub why: String,
    pub next: String,
}

impl Refusal {
    fn new(what: &str, why: impl Into<String>, next: &str) -> Self {
        Self { what: what.to_owned(), why: why.into(), next: next.to_owned() }
    }
}

/// How long maintenance may keep requests waiting.
const HOLD_MAX: Millis = Millis::seconds(3600);

impl State {
    /// Answers an operator. The same command twice is answered the same way or refused; it never acts twice.
    pub fn command(&self, command: &OperatorCommand) -> Result<Answer, Refusal> {
        match command {
            OperatorCommand::Deploy(intent) => self.deploy(intent),
            OperatorCommand::Rollback { to, key } => self.rollback(to.as_deref(), key),
            OperatorCommand::Promote { now } => self.operate_promote(*now),
            OperatorCommand::Abort => self.abort(),
            OperatorCommand::Pause => self.pause(),
            OperatorCommand::Resume => self.resume(),
            OperatorCommand::Maintenance { hold } => self.maintain(*hold),
            OperatorCommand::Scale { replicas } => self.scale(*replicas),
            OperatorCommand::Settings(settings) => Ok(if self.settings == *settings {
                Answer::Nothing
            } else {
                event(Event::SettingsChanged { settings: settings.clone() })
            }),
            OperatorCommand::EndUnfinished => Ok(self.end_unfinished()),
        }
    }

    fn deploy(&self, intent: &DeployIntent) -> Result<Answer, Refusal> {
        if let Some(known) = self.keys.iter().find(|known| known.key == intent.key) {
            return Ok(Answer::Known {
                deployment: known.deployment.clone(),
                seq: known.seq,
                outcome: known.outcome,
            });
        }
        let Some(running) = &self.deployment else {
            return Ok(event(self.requested_deploy(intent)));
        };
        let returning = matches!(running.phase, Phase::Returning { .. });
        if running.candidate.release == intent.release && !returning {
            let seq =
                self.keys.iter().find(|known| known.deployment == running.id).map_or(0, |known| known.seq);
            return Ok(Answer::Known { deployment: running.id.clone(), seq, outcome: None });
        }
        match (intent.supersede, &running.phase) {
            (true, Phase::Promoting | Phase::Returning { .. }) => Ok(Answer::Wait),
            (true, _) => Ok(Answer::Supersede(Box::new(Event::Aborted { superseded: true }))),
            (false, _) => Err(Refusal::new(
                &format!("deploy {}", self.target.service),
                format!(
                    "deployment {} of release {} is {}",
                    running.id,
                    running.candidate.release.short(),
                    running.phase.word()
                ),
                "wait for it (`medeclipse status --watch`), end it (`medeclipse abort`), or add --supersede",
            )),
        }
    }

    fn requested_deploy(&self, intent: &DeployIntent) -> Event {
        let candidate = match &self.stable {
            // The release that already serves is not placed again.
            Some(stable) if stable.release == intent.release => stable.clone(),
            _ => Placed {
                revision: Revision(self.revision_max.saturating_add(1)),
                release: intent.release.clone(),
                label: intent.label.clone(),
                spec: intent.spec.clone(),
            },
        };
        self.requested(
            DeploymentKind::Deploy,
            intent.key.clone(),
            candidate,
            intent.settings.clone(),
            &intent.folder,
            None,
        )
    }

    pub(super) fn requested(
        &self,
        of: DeploymentKind,
        key: String,
        candidate: Placed,
        settings: RolloutSettings,
        folder: &str,
        reason: Option<String>,
    ) -> Event {
        let deployment = DeploymentId::new(format!("d-{}", self.deployment_max.saturating_add(1)));
        Event::DeploymentRequested(Box::new(Requested {
            deployment,
            key,
            of,
            candidate,
            settings,
            folder: folder.to_owned(),
            reason,
        }))
    }

    /// Returns the settings of a deployment that goes back: one step, not watched.
    pub(super) fn settings_back(&self) -> RolloutSettings {
        let mut settings = self.stable_rollout.clone();
        settings.strategy = Strategy::BlueGreen;
        settings.steps = vec![Weight::FULL];
        settings.hold_back = Weight::NONE;
        settings.bake = Millis(0);
        settings.step_bake = Millis(0);
        settings.bake_max = None;
        settings.deadline = settings.deadline_enough();
        settings
    }

    fn rollback(&self, to: Option<&str>, key: &str) -> Result<Answer, Refusal> {
        if let Some(known) = self.keys.iter().find(|known| known.key == key) {
            return Ok(Answer::Known {
                deployment: known.deployment.clone(),
                seq: known.seq,
                outcome: known.outcome,
            });
        }
        if let Some(running) = &self.deployment {
            return self.rollback_instead(running, to);
        }
        let placed = self.placed_to_return_to(to)?;
        let runs = self.hot.iter().map(|hot| &hot.placed).chain(&self.stable);
        let candidate = if runs.into_iter().any(|runs| runs.revision == placed.revision) {
            placed.clone()
        } else {
            Placed { revision: Revision(self.revision_max.saturating_add(1)), ..placed.clone() }
        };
        Ok(event(self.requested(
            DeploymentKind::Rollback,
            key.to_owned(),
            candidate,
            self.settings_back(),
            &self.stable_folder,
            Some("an operator rolled back".to_owned()),
        )))
    }

    /// A rollback while something runs takes that back; a second one only follows the first.
    fn rollback_instead(&self, running: &Deployment, to: Option<&str>) -> Result<Answer, Refusal> {
        let goes_back = running.of != DeploymentKind::Deploy;
        let ends_at = if goes_back { Some(&running.candidate) } else { self.stable.as_ref() };
        if to.is_some_and(|to| ends_at.is_none_or(|placed| !is_named(placed, to))) {
            return Err(Refusal::new(
                &format!("roll back {} to another release", self.target.service),
                format!("deployment {} is {}", running.id, running.phase.word()),
                "end it with `medeclipse abort`, then roll back",
            ));
        }
        if goes_back {
            return Ok(Answer::Known { deployment: running.id.clone(), seq: self.seq, outcome: None });
        }
        self.abort()
    }

    /// Returns what a rollback would place: the release named, or the last that proved itself.
    pub fn placed_to_return_to(&self, to: Option<&str>) -> Result<&Placed, Refusal> {
        let what = format!("roll back {}", self.target.service);
        let Some(to) = to else {
            return self.rollback_target().ok_or_else(|| {
                Refusal::new(&what, "no earlier release has been promoted", "deploy a release that works")
            });
        };
        let hot = self.hot.iter().map(|hot| &hot.placed);
        let mut known = self.stable.iter().chain(hot).chain(self.proven.iter().rev());
        known.find(|placed| is_named(placed, to)).ok_or_else(|| {
            Refusal::new(
                &what,
                format!("no promoted release kept here is named `{to}`"),
                "see `medeclipse history` for releases and labels",
            )
        })
    }

    fn operate_promote(&self, now: bool) -> Result<Answer, Refusal> {
        let what = format!("promote {}", self.target.service);
        match self.deployment.as_ref().map(|deployment| &deployment.phase) {
            Some(Phase::Baking { .. } | Phase::Mirroring) => Ok(event(Event::StepPromoted { now })),
            Some(Phase::Promoting) => Ok(Answer::Nothing),
            Some(phase) => Err(Refusal::new(
                &what,
                format!("the deployment is {}, and only a bake or mirroring can be ended", phase.word()),
                "watch it with `medeclipse status --watch`",
            )),
            None => Err(self.nothing_runs(&what)),
        }
    }

    fn abort(&self) -> Result<Answer, Refusal> {
        let what = format!("abort {}", self.target.service);
        match self.deployment.as_ref().map(|deployment| (&deployment.id, &deployment.phase)) {
            Some((id, Phase::Returning { .. })) => {
                Ok(Answer::Known { deployment: id.clone(), seq: self.seq, outcome: None })
            }
            Some(_) => Ok(event(Event::Aborted { superseded: false })),
            None => Err(self.nothing_runs(&what)),
        }
    }

    fn pause(&self) -> Result<Answer, Refusal> {
        let what = format!("pause {}", self.target.service);
        match &self.deployment {
            Some(running) if running.paused => Ok(Answer::Nothing),
            Some(running) if matches!(running.phase, Phase::Returning { .. } | Phase::Promoting) => {
                Err(Refusal::new(&what, format!("the deployment is {}", running.phase.word()), "let it end"))
            }
            Some(_) => Ok(event(Event::Paused)),
            None => Err(self.nothing_runs(&what)),
        }
    }

    fn resume(&self) -> Result<Answer, Refusal> {
        match &self.deployment {
            Some(running) if running.paused => Ok(event(Event::Resumed)),
            Some(_) => Ok(Answer::Nothing),
            None => Err(self.nothing_runs(&format!("resume {}", self.target.service))),
        }
    }

    fn maintain(&self, hold: Option<Millis>) -> Result<Answer, Refusal> {
        if hold.is_some_and(|hold| hold > HOLD_MAX) {
            return Err(Refusal::new(
                &format!("begin maintenance of {}", self.target.service),
                format!("requests may wait at most {HOLD_MAX}"),
                "use a shorter --hold; --hold 0s answers 503 at once",
            ));
        }
        let same = self.maintenance.as_ref().map(|maintenance| maintenance.hold) == hold;
        Ok(if same && hold.is_none() { Answer::Nothing } else { event(Event::MaintenanceChanged { hold }) })
    }

    fn scale(&self, replicas: Option<u32>) -> Result<Answer, Refusal> {
        // The range of ports and the machine were chosen for the manifest's maximum.
        let max = self.settings.replicas.max;
        if let Some(wanted) = replicas
            && !(1..=max).contains(&wanted)
        {
            return Err(Refusal::new(
                &format!("scale {} to {wanted}", self.target.service),
                format!("the manifest says that it has 1 to {max} replica(s)"),
                "choose a number in that range, or raise `replicas.max` and deploy; to stop serving use `medeclipse maintenance on`",
            ));
        }
        Ok(if self.replicas_by_hand == replicas {
            Answer::Nothing
        } else {
            event(Event::Scaled { replicas })
        })
    }

    fn end_unfinished(&self) -> Answer {
        match &self.deployment {
            Some(running) if !matches!(running.phase, Phase::Returning { .. }) => {
                event(Event::ReturnStarted { why: crate::event::ReturnReason::EnvironmentStopped })
            }
            Some(_) => Answer::Nothing,
            None => match &self.hot {
                Some(hot) => event(Event::RevisionRetired { revision: hot.placed.revision }),
                None => Answer::Nothing,
            },
        }
    }

    fn nothing_runs(&self, what: &str) -> Refusal {
        Refusal::new(
            what,
            "no deployment is running",
            "see `medeclipse status`, or start one with `medeclipse deploy`",
        )
    }
}

/// Tells whether people mean this release: by its label or by how its digest begins.
fn is_named(placed: &Placed, name: &str) -> bool {
    let labelled = placed.label.as_ref().is_some_and(|label| label.as_str() == name);
    labelled || (!name.is_empty() && placed.release.as_str().starts_with(name))
}

fn event(event: Event) -> Answer {
    Answer::Event(Box::new(event))
}
