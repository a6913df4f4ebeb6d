//! Decides which tables are accepted: generations only grow, a host and path belong to one target, and nothing that serves
//! is replaced by nothing. Touches no worker and no disk; `control` does.

use crate::claim::Registry;
use crate::guard;
use crate::route::{Lasting, Routes, TargetRoutes, claims};
use crate::store::Record;
use manifest::edge::{EdgeTable, Refused, Withdrawal};
use rollout::names::{Generation, Target};
use rollout::routes::{Arm, RouteTable};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The status and text of a refusal.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) status: u16,
    pub(crate) refused: Refused,
}

/// What the edge has accepted.
#[derive(Debug, Default)]
pub(crate) struct Tables {
    known: BTreeMap<Target, Known>,
    pub(crate) registry: Registry,
}

#[derive(Debug)]
struct Known {
    generation: Generation,
    /// None: withdrawn.
    routes: Option<Arc<TargetRoutes>>,
    lasting: Arc<Lasting>,
}

impl Tables {
    /// Takes up what was on disk. A table that conflicts with an earlier one stays out; it is named in the result.
    pub(crate) fn restore(records: Vec<Record>) -> (Self, Vec<String>) {
        let (mut tables, mut complaints) = (Self::default(), Vec::new());
        for record in records {
            match record.table {
                Some(table) => match tables.conflict(&table.routes) {
                    None => tables.put(table),
                    Some(conflict) => complaints.push(conflict),
                },
                None => tables.remember(record.target, record.generation, None),
            }
        }
        (tables, complaints)
    }

    /// Says why a table cannot be accepted.
    pub(crate) fn check(&self, table: &EdgeTable) -> Result<(), Refusal> {
        self.check_generation(&table.routes.target, table.generation)?;
        let current = self.known.get(&table.routes.target);
        let serving = current.and_then(|known| known.routes.as_ref()).is_some_and(|now| serves(now.routes()));
        let reason = if serving && !serves(&table.routes) {
            Some(format!(
                "replace the routes of {}: the new ones lead to no replica and those in use do; withdraw the table if that is meant",
                table.routes.target
            ))
        } else {
            self.conflict(&table.routes).or_else(|| guard::flaw(&table.routes))
        };
        match reason {
            Some(reason) => Err(self.refusal(422, reason, &table.routes.target)),
            None => Ok(()),
        }
    }

    /// Says why a withdrawal cannot be accepted.
    pub(crate) fn check_withdrawal(&self, withdrawal: &Withdrawal) -> Result<(), Refusal> {
        self.check_generation(&withdrawal.target, withdrawal.generation)
    }

    /// Takes up a table that was checked.
    pub(crate) fn put(&mut self, table: EdgeTable) {
        let (target, generation) = (table.routes.target.clone(), table.generation);
        self.remember(target, generation, Some(table));
    }

    /// Forgets the table of a withdrawal that was checked, but not its generation.
    pub(crate) fn withdraw(&mut self, withdrawal: &Withdrawal) {
        self.remember(withdrawal.target.clone(), withdrawal.generation, None);
    }

    fn remember(&mut self, target: Target, generation: Generation, table: Option<EdgeTable>) {
        let lasting = self.known.get(&target).map(|known| Arc::clone(&known.lasting)).unwrap_or_default();
        let routes =
            table.map(|table| Arc::new(TargetRoutes::new(table, &mut self.registry, Arc::clone(&lasting))));
        self.known.insert(target, Known { generation, routes, lasting });
    }

    /// Returns what workers serve from.
    pub(crate) fn routes(&self) -> Routes {
        Routes::new(self.targets().cloned().collect())
    }

    pub(crate) fn targets(&self) -> impl Iterator<Item = &Arc<TargetRoutes>> {
        self.known.values().filter_map(|known| known.routes.as_ref())
    }

    /// Returns what the edge serves this target from, or served it from last.
    pub(crate) fn generation(&self, target: &Target) -> Option<Generation> {
        self.known.get(target).map(|known| known.generation)
    }

    pub(crate) fn refusal(&self, status: u16, reason: String, target: &Target) -> Refusal {
        Refusal { status, refused: Refused { reason, accepted: self.generation(target) } }
    }

    fn check_generation(&self, target: &Target, offered: Generation) -> Result<(), Refusal> {
        match self.generation(target) {
            Some(accepted) if offered < accepted => {
                let reason = format!(
                    "accept generation {offered} of {target}: {accepted} came before it; another engine leads"
                );
                Err(self.refusal(409, reason, target))
            }
            _ => Ok(()),
        }
    }

    fn conflict(&self, table: &RouteTable) -> Option<String> {
        let wanted = claims(table);
        let others = self.targets().filter(|other| other.routes().target != table.target);
        let taken = others.flat_map(|other| {
            claims(other.routes()).into_iter().map(move |claim| (claim, &other.routes().target))
        });
        let (claim, owner) = taken.into_iter().find(|(claim, _)| wanted.contains(claim))?;
        let (host, path) = claim;
        let host = if host.is_empty() { "every host".to_owned() } else { format!("host {host}") };
        let path = if path.is_empty() { "/".to_owned() } else { path };
        Some(format!(
            "give {host} at {path} to {}: it belongs to {owner}; withdraw that or change `hosts` or `paths`",
            table.target
        ))
    }
}

/// Whether some share of the traffic finds a replica.
fn serves(table: &RouteTable) -> bool {
    let weight = table.candidate.as_ref().map_or(0, |candidate| candidate.weight.percent());
    let ready = |arm: &Arm| !arm.replicas.is_empty();
    let stable = weight < 100 && table.stable.as_ref().is_some_and(ready);
    stable || (weight > 0 && table.candidate.as_ref().is_some_and(|candidate| ready(&candidate.arm)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn table(service: &str, seq: u64, hosts: &[&str], replicas: usize, weight: Option<u8>) -> EdgeTable {
        let arm = |revision: u64, replicas: usize| {
            let endpoint = |n: usize| json!({ "replica": format!("r{n}"), "address": "127.0.0.1:1" });
            json!({ "revision": revision, "release": "ab", "replicas": (0..replicas).map(endpoint).collect::<Vec<_>>() })
        };
        let candidate = weight.map(|weight| json!({ "arm": arm(2, 0), "weight": weight }));
        let routes = json!({ "target": format!("{service}@local"), "hosts": hosts, "stable": arm(1, replicas), "candidate": candidate });
        serde_json::from_value(json!({ "generation": { "epoch": 1, "seq": seq }, "routes": routes })).unwrap()
    }

    fn tables() -> Tables {
        let mut tables = Tables::default();
        tables.put(table("web", 5, &["a.org"], 1, None));
        tables
    }

    fn status(result: Result<(), Refusal>) -> u16 {
        result.map_or_else(|refusal| refusal.status, |()| 200)
    }

    #[test]
    fn an_older_generation_is_refused_and_the_same_one_is_taken_again() {
        let tables = tables();

        assert_eq!(status(tables.check(&table("web", 4, &["a.org"], 1, None))), 409);
        assert_eq!(status(tables.check(&table("web", 5, &["a.org"], 1, None))), 200);
        assert_eq!(status(tables.check(&table("web", 6, &["a.org"], 1, None))), 200);
    }

    #[test]
    fn routes_to_nobody_never_replace_routes_to_somebody() {
        let tables = tables();

        assert_eq!(status(tables.check(&table("web", 6, &["a.org"], 0, None))), 422);
        assert_eq!(status(tables.check(&table("web", 6, &["a.org"], 1, Some(100)))), 422);
        assert_eq!(status(tables.check(&table("web", 6, &["a.org"], 1, Some(5)))), 200);
        assert_eq!(status(tables.check(&table("new", 1, &["b.org"], 0, None))), 200);
    }

    #[test]
    fn e06_a_host_belongs_to_one_target_until_it_is_withdrawn() {
        let mut tables = tables();
        let other = table("api", 1, &["A.org", "b.org"], 1, None);

        let refusal = tables.check(&other).unwrap_err();
        assert_eq!(refusal.status, 422);
        assert!(refusal.refused.reason.contains("web@local"), "{}", refusal.refused.reason);

        let generation = Generation { epoch: 1, seq: 6 };
        tables.withdraw(&Withdrawal { target: Target::new("web", "local"), generation });
        assert_eq!(status(tables.check(&other)), 200);
        assert_eq!(status(tables.check(&table("web", 5, &["c.org"], 1, None))), 409);
    }
}
