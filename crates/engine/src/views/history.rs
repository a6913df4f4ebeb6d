//! Keeps one line per deployment: what was asked, by whom, and how it ended.

use crate::api::wire::DeploymentView;
use rollout::event::{DeploymentKind, Event, EventRecord};
use std::collections::VecDeque;

/// Deployments kept, newest first; older ones are in the journal.
const DEPLOYMENTS_MAX: usize = 1000;

/// The deployments of one target, newest first.
#[derive(Debug, Clone, Default)]
pub struct History {
    deployments: VecDeque<DeploymentView>,
}

impl History {
    /// Folds one record.
    pub fn add(&mut self, record: &EventRecord) {
        if let Event::DeploymentRequested(requested) = &record.event {
            self.deployments.push_front(DeploymentView {
                target: record.target.clone(),
                deployment: requested.deployment.clone(),
                kind: word(requested.of).to_owned(),
                release: requested.candidate.release.clone(),
                label: requested.candidate.label.clone(),
                revision: requested.candidate.revision,
                actor: record.actor.to_string(),
                requested_at: record.at,
                finished_at: None,
                outcome: None,
                reason: requested.reason.clone(),
                first_seq: record.seq,
                last_seq: record.seq,
            });
            self.deployments.truncate(DEPLOYMENTS_MAX);
            return;
        }
        let Some(id) = &record.deployment else { return };
        let Some(view) = self.deployments.iter_mut().find(|view| view.deployment == *id) else { return };
        view.last_seq = record.seq;
        if let Event::DeploymentFinished { outcome, reason, .. } = &record.event {
            view.outcome = Some(*outcome);
            view.reason = reason.clone();
            view.finished_at = Some(record.at);
        }
    }

    pub fn deployments(&self) -> impl Iterator<Item = &DeploymentView> {
        self.deployments.iter()
    }
}

fn word(kind: DeploymentKind) -> &'static str {
    match kind {
        DeploymentKind::Deploy => "deploy",
        DeploymentKind::Rollback => "rollback",
        DeploymentKind::Return => "return",
    }
}
