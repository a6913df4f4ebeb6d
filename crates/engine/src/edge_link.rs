//! Speaks to the edge: publishes tables, reads what it serves from, asks it to prove who answers, fetches counts.
//! One attempt each; the executor and the watcher decide what a failure means. The edge never calls the engine.

use crate::http::{AskError, ask_unix};
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
        self.ask(Method::PUT, "/v1/table", Some(table), PUBLISH_WITHIN).await
    }

    pub async fn withdraw(&self, target: &Target, generation: Generation) -> Result<Accepted, EdgeError> {
        let withdrawal = Withdrawal { target: target.clone(), generation };
        self.ask(Method::DELETE, "/v1/table", Some(&withdrawal), PUBLISH_WITHIN).await
    }

    pub async fn state(&self) -> Result<EdgeState, EdgeError> {
        self.ask(Method::GET, "/v1/state", None::<&()>, STATE_WITHIN).await
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
