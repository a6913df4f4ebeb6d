//! Says what the engine and the edge tell each other, apart from counts. JSON over the edge's Unix socket.
//!
//! | request | answer |
//! |---|---|
//! | `PUT /v1/table` with [`EdgeTable`] | 200 [`Accepted`] once every worker serves from it; 409 [`Refused`] when older; 422 [`Refused`] when it would publish an empty route over a serving one |
//! | `DELETE /v1/table` with [`Withdrawal`] | 200 [`Accepted`], 409 [`Refused`] |
//! | `GET /v1/state` | 200 [`EdgeState`] |
//! | `GET /v1/samples?epoch=E&after=SEQ&wait_ms=N` | 200 list of `meter::wire::SecondRecord`, waiting up to N ms for the first |
//! | `POST /v1/prove` with [`ProofRequest`] | 200 [`Proof`] |

use rollout::guard::GuardMode;
use rollout::names::{Generation, Millis, Release, ReplicaId, Revision, Target};
use rollout::routes::RouteTable;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Everything the edge needs to know about one target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct EdgeTable {
    pub generation: Generation,
    pub routes: RouteTable,
}

/// The edge stops serving a target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Withdrawal {
    pub target: Target,
    pub generation: Generation,
}

/// All workers of the edge serve from this generation, and it is on disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Accepted {
    pub target: Target,
    pub generation: Generation,
}

/// The edge kept what it had.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refused {
    pub reason: String,
    /// What it serves from.
    pub accepted: Option<Generation>,
}

/// What the edge serves from, and what is in flight.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EdgeState {
    /// Differs for every life of the edge process.
    pub epoch: u64,
    pub pid: u32,
    /// Of the program it runs; empty where it is too old to say.
    #[serde(default)]
    pub version: String,
    pub listen: Vec<String>,
    pub tables: Vec<EdgeTable>,
    pub in_flight: Vec<InFlight>,
    /// None: no address has TLS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<TlsState>,
    /// The rules of every guard, and what is wrong with them.
    #[serde(default)]
    pub guard: Vec<GuardState>,
}

/// How one rule of a target's guard is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GuardState {
    pub target: Target,
    pub rule: String,
    pub mode: GuardMode,
    /// Why it cannot do its work; it lets everything pass meanwhile.
    pub trouble: Option<String>,
}

/// The certificates in use, and what became of handshakes since the edge started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TlsState {
    /// The addresses that have it.
    pub listen: Vec<String>,
    pub certificates: Vec<CertificateState>,
    pub handshakes: u64,
    /// Of these, resumed sessions.
    pub resumed: u64,
    /// Refused, broken off or too slow.
    pub failed: u64,
    /// Certificates got when a client asked for their name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_demand: Option<OnDemandState>,
}

/// What became of names that no service has in its `hosts`, since the edge started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct OnDemandState {
    /// Certificates held.
    pub certificates: u64,
    /// Names asked about.
    pub asked: u64,
    /// Of these, allowed.
    pub allowed: u64,
    /// Not asked about, or not ordered: too many others were.
    pub refused: u64,
    /// The last thing that went wrong, if nothing went right since.
    pub problem: Option<String>,
}

/// One certificate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CertificateState {
    /// Its file, `self-signed`, or `acme NAME`.
    pub source: String,
    pub names: Vec<String>,
    pub not_after: Option<Millis>,
    /// Why a newer one could not be taken up; the one before serves.
    pub problem: Option<String>,
}

/// Requests now in flight on one replica. A replica without any has no row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InFlight {
    pub target: Target,
    pub revision: Revision,
    pub replica: ReplicaId,
    /// Requests whose answer is not finished.
    pub requests: u64,
    /// Of these, WebSocket and SSE connections.
    pub long: u64,
}

/// Sends one request to the target's health path the way a user's request would go, and says who answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProofRequest {
    pub target: Target,
}

/// Who answered a request that went through the edge's own routing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Proof {
    pub release: Release,
    pub revision: Revision,
    pub replica: ReplicaId,
    pub status: u16,
    pub generation: Generation,
}
