//! Speaks to the edge: publishes tables, reads what it serves from, asks it to prove who answers, fetches counts.
//! One attempt each; the executor and the watcher decide what a failure means. The edge never calls the engine.
//! While an edge that was replaced finishes its requests, it is told and asked as well: a table counts as accepted when
//! nobody routes by an older one, and a request in flight counts wherever it is.

use crate::http::{AskError, ask_unix};
use drivers::paths::is_replaced_edge_socket;
use futures_util::future::join_all;
use http::{Method, StatusCode};
use manifest::edge::{Accepted, EdgeState, EdgeTable, Proof, ProofRequest, Refused, Withdrawal};
use meter::wire::SecondRecord;
use rollout::names::{Generation, Target};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::path::PathBuf;
use std::time::Duration;

/// A table must be on all workers and on disk within this time.
const PUBLISH_WITHIN: Duration = Duration::from_secs(5);
const STATE_WITHIN: Duration = Duration::from_secs(2);
/// A proof is one user's request.
const PROOF_WITHIN: Duration = Duration::from_secs(5);

/// The way to the edge of this environment.
#[derive(Debug, Clone)]
pub struct EdgeLink {
    socket: PathBuf,
}

/// What came of asking the edge.
#[derive(Debug, thiserror::Error)]
pub enum EdgeError {
    #[error("reach the edge: {0}")]
    Unreachable(#[from] AskError),
    #[error("use the edge: it answered {status}: {reason}")]
    Refused { status: u16, reason: String },
}

impl EdgeLink {
    pub fn new(socket: PathBuf) -> Self {
        Self { socket }
    }

    pub async fn publish(&self, table: &EdgeTable) -> Result<Accepted, EdgeError> {
        self.tell(Method::PUT, table).await
    }

    pub async fn withdraw(&self, target: &Target, generation: Generation) -> Result<Accepted, EdgeError> {
        let withdrawal = Withdrawal { target: target.clone(), generation };
        self.tell(Method::DELETE, &withdrawal).await
    }

    /// Returns what the edge serves from; of a target that a replaced edge serves from an older table, that one.
    pub async fn state(&self) -> Result<EdgeState, EdgeError> {
        let asked = self.elders().into_iter().map(|elder| async move {
            elder.ask::<EdgeState>(Method::GET, "/v1/state", None::<&()>, STATE_WITHIN).await
        });
        let elders = join_all(asked);
        let own = self.ask::<EdgeState>(Method::GET, "/v1/state", None::<&()>, STATE_WITHIN);
        let (own, elders) = tokio::join!(own, elders);
        let mut state = own?;
        // One that does not answer has ended, and has no requests any more; or its supervisor ends it soon.
        elders.into_iter().flatten().for_each(|elder| join(&mut state, elder));
        Ok(state)
    }

    pub async fn prove(&self, target: &Target) -> Result<Proof, EdgeError> {
        self.ask(Method::POST, "/v1/prove", Some(&ProofRequest { target: target.clone() }), PROOF_WITHIN)
            .await
    }

    /// Waits up to `wait` for records after the epoch and seq that are `known`; without, from the ring's start.
    pub async fn samples(
        &self,
        known: Option<(u64, u64)>,
        wait: Duration,
    ) -> Result<Vec<SecondRecord>, EdgeError> {
        let known = known.map(|(epoch, seq)| format!("epoch={epoch}&after={seq}&")).unwrap_or_default();
        let path = format!("/v1/samples?{known}wait_ms={}", wait.as_millis());
        self.ask(Method::GET, &path, None::<&()>, wait + STATE_WITHIN).await
    }

    /// Tells the edge, and those it replaced that still route requests; all must have taken it.
    async fn tell(&self, method: Method, change: &impl Serialize) -> Result<Accepted, EdgeError> {
        let elders = self.elders();
        let told = elders
            .iter()
            .map(|elder| elder.ask::<Accepted>(method.clone(), "/v1/table", Some(change), PUBLISH_WITHIN));
        let own = self.ask(method.clone(), "/v1/table", Some(change), PUBLISH_WITHIN);
        let (own, told) = tokio::join!(own, join_all(told));
        for answer in told {
            match answer {
                // It has ended meanwhile.
                Ok(_) | Err(EdgeError::Unreachable(AskError::Failed(_))) => {}
                Err(error) => return Err(error),
            }
        }
        own
    }

    /// Returns the ways to edges that were replaced and finish their requests.
    fn elders(&self) -> Vec<Self> {
        let folder = self.socket.parent().map(std::fs::read_dir);
        let Some(Ok(entries)) = folder else { return Vec::new() };
        let paths = entries.flatten().map(|entry| entry.path());
        paths.filter(|path| is_replaced_edge_socket(path)).map(Self::new).collect()
    }

    async fn ask<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<&impl Serialize>,
        within: Duration,
    ) -> Result<T, EdgeError> {
        let body =
            body.map(|body| serde_json::to_vec(body).expect("BUG: every message can be written as JSON"));
        let (status, answer) = ask_unix(&self.socket, method, path, body.unwrap_or_default(), within).await?;
        if status == StatusCode::OK {
            return serde_json::from_slice(&answer).map_err(|error| EdgeError::Refused {
                status: 200,
                reason: format!("unreadable answer: {error}"),
            });
        }
        let reason = serde_json::from_slice::<Refused>(&answer)
            .map(|refused| refused.reason)
            .unwrap_or_else(|_| String::from_utf8_lossy(&answer).chars().take(200).collect());
        Err(EdgeError::Refused { status: status.as_u16(), reason })
    }
}

/// Lays over what the edge says what one that it replaced still does.
fn join(state: &mut EdgeState, elder: EdgeState) {
    for old in elder.tables {
        let same = |table: &&mut EdgeTable| table.routes.target == old.routes.target;
        if let Some(table) = state.tables.iter_mut().find(same)
            && old.generation < table.generation
        {
            *table = old;
        }
    }
    state.in_flight.extend(elder.in_flight);
}

#[cfg(test)]
mod tests {
    use super::*;
    use manifest::edge::InFlight;
    use rollout::names::{ReplicaId, Revision};

    fn state(seq: u64, requests: u64) -> EdgeState {
        let target = Target::new("web", "local");
        let routes = serde_json::json!({ "target": target, "hosts": [], "paths": [] });
        let row = InFlight {
            target,
            revision: Revision(1),
            replica: ReplicaId::new("r".to_owned()),
            requests,
            long: 0,
        };
        let routes = serde_json::from_value(routes).unwrap_or_else(|error| panic!("{error}"));
        let table = EdgeTable { generation: Generation { epoch: 1, seq }, routes };
        EdgeState {
            epoch: seq,
            pid: 1,
            version: String::new(),
            listen: Vec::new(),
            tables: vec![table],
            in_flight: vec![row],
            tls: None,
            guard: Vec::new(),
        }
    }

    #[test]
    fn a_replaced_edge_that_routes_by_an_older_table_holds_the_generation_back_and_its_requests_count() {
        let mut both = state(5, 2);

        join(&mut both, state(4, 3));

        assert_eq!(both.tables[0].generation.seq, 4);
        assert_eq!(both.in_flight.iter().map(|row| row.requests).sum::<u64>(), 5);
        assert_eq!(both.epoch, 5);
        join(&mut both, state(9, 0));
        assert_eq!(both.tables[0].generation.seq, 4);
    }
}
