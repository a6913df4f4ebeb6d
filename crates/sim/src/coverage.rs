//! Counts what occurred in a search: every event, every outcome, every step of scripts must, or the search says nothing.

use crate::world::script::Kind;
use rollout::event::Outcome;
use std::collections::BTreeMap;
use std::fmt;

/// The events of a journal; `rollout`'s own test compares its list with this one's length.
pub const EVENTS: [&str; 37] = [
    "deployment_requested",
    "release_stored",
    "hook_ran",
    "migration_expanded",
    "candidate_launched",
    "candidate_ready",
    "check_ran",
    "candidate_verified",
    "mirror_passed",
    "traffic_shifted",
    "judge_calibrated",
    "evidence_added",
    "checks_answered",
    "finding_reported",
    "bake_extended",
    "paused",
    "resumed",
    "held",
    "hold_ended",
    "bake_passed",
    "verdict_reached",
    "return_started",
    "traffic_returned",
    "aborted",
    "step_promoted",
    "promoted",
    "deployment_finished",
    "drained",
    "candidate_removed",
    "revision_retired",
    "settings_changed",
    "maintenance_changed",
    "replica_lost",
    "replica_replaced",
    "scaled",
    "lease_taken",
    "clock_stepped",
];

#[derive(Debug, Clone, Default)]
pub struct Coverage {
    events: BTreeMap<&'static str, u64>,
    outcomes: BTreeMap<String, u64>,
    steps: BTreeMap<Kind, u64>,
    others: BTreeMap<&'static str, u64>,
}

impl Coverage {
    pub fn count(&mut self, what: &'static str) {
        *self.others.entry(what).or_default() += 1;
    }

    pub fn count_event(&mut self, kind: &'static str) {
        *self.events.entry(kind).or_default() += 1;
    }

    pub fn count_outcome(&mut self, outcome: Outcome) {
        *self.outcomes.entry(outcome.to_string()).or_default() += 1;
    }

    pub fn count_step(&mut self, kind: Kind) {
        *self.steps.entry(kind).or_default() += 1;
    }

    pub fn deployments(&self) -> u64 {
        self.outcomes.values().sum()
    }

    pub fn events(&self) -> u64 {
        self.events.values().sum()
    }

    pub fn add(&mut self, other: &Self) {
        fn merge<K: Ord + Clone>(into: &mut BTreeMap<K, u64>, from: &BTreeMap<K, u64>) {
            from.iter().for_each(|(key, count)| *into.entry(key.clone()).or_default() += count);
        }
        merge(&mut self.events, &other.events);
        merge(&mut self.outcomes, &other.outcomes);
        merge(&mut self.steps, &other.steps);
        merge(&mut self.others, &other.others);
    }

    /// Returns what should have occurred and did not.
    pub fn missing(&self) -> Vec<String> {
        let events = EVENTS
            .iter()
            .filter(|kind| !self.events.contains_key(**kind))
            .map(|kind| format!("event {kind}"));
        let outcomes =
            Outcome::ALL.iter().map(ToString::to_string).filter(|it| !self.outcomes.contains_key(it));
        let steps = Kind::ALL
            .iter()
            .filter(|kind| !self.steps.contains_key(kind))
            .map(|kind| format!("step {}", kind.word()));
        events.chain(outcomes.map(|it| format!("outcome {it}"))).chain(steps).collect()
    }
}

impl fmt::Display for Coverage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut table = |title: &str, rows: Vec<(String, u64)>| -> fmt::Result {
            writeln!(f, "{title}")?;
            for row in rows.chunks(3) {
                let cells: Vec<_> =
                    row.iter().map(|(name, count)| format!("{name:<32}{count:>11}")).collect();
                writeln!(f, "  {}", cells.join("   "))?;
            }
            Ok(())
        };
        table("events", self.events.iter().map(|(kind, count)| ((*kind).to_owned(), *count)).collect())?;
        table("outcomes", self.outcomes.iter().map(|(outcome, count)| (outcome.clone(), *count)).collect())?;
        table("steps", self.steps.iter().map(|(kind, count)| (kind.word().to_owned(), *count)).collect())?;
        table("also", self.others.iter().map(|(what, count)| ((*what).to_owned(), *count)).collect())
    }
}
