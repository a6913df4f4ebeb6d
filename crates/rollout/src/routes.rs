//! Says where the requests of one target go. Published whole, with a generation; never edited in place.
//! Knows no socket; `edge` reads it, `engine` makes it from the state and the replicas that are ready.

use crate::guard::{GuardSettings, HeaderSettings};
use crate::mirror::Copies;
use crate::names::{Label, Millis, Release, ReplicaId, Revision, Target, Weight};
use crate::pages::Pages;
use crate::release::Protocol;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;

/// The routes of one target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RouteTable {
    pub target: Target,
    /// Host names, lower case; `*.example.org` matches one label or more. Empty: every host.
    #[serde(default)]
    pub hosts: Vec<String>,
    /// Path prefixes on segment borders. Empty: every path.
    #[serde(default)]
    pub paths: Vec<String>,
    /// Whether the matched prefix is removed before the request goes on.
    #[serde(default)]
    pub strip_path: bool,
    /// Route templates for counting: `/api/appointments/{id}`. First match wins.
    #[serde(default)]
    pub templates: Vec<String>,
    /// The path of the ready probe; answered 200 by the edge during maintenance.
    #[serde(default)]
    pub health_path: Option<String>,
    /// Who serves. None: nothing has been promoted yet.
    #[serde(default)]
    pub stable: Option<Arm>,
    /// Who is being judged.
    #[serde(default)]
    pub candidate: Option<Candidate>,
    /// Which requests to stable are sent to the candidate too, whose answers nobody sees; None: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mirror: Option<Copies>,
    /// The release before stable, still running: asked only for files that nobody else has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub former: Option<Arm>,
    /// Whether a hashed file that the drawn release does not have is asked of the others.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub assets: bool,
    /// Revisions that take no new request and finish those they have.
    #[serde(default)]
    pub draining: Vec<Draining>,
    #[serde(default)]
    pub sticky: Option<Sticky>,
    #[serde(default)]
    pub allow: Option<Allow>,
    /// Tells users apart, so that one who fails again and again on an endpoint is counted once.
    #[serde(default)]
    pub user: Option<UserKey>,
    #[serde(default)]
    pub maintenance: Option<Maintenance>,
    #[serde(default)]
    pub connections: Connections,
    /// Which failed requests of the candidate are sent again to stable; None: none.
    #[serde(default)]
    pub shield: Option<Shield>,
    /// What is refused before a replica sees it.
    #[serde(default)]
    pub guard: Option<GuardSettings>,
    #[serde(default)]
    pub headers: Option<HeaderSettings>,
    /// What people see where there is no answer.
    #[serde(default, skip_serializing_if = "Pages::is_empty")]
    pub pages: Pages,
    /// Requests one replica carries at a time; those beyond are refused.
    #[serde(default = "crate::plan::in_flight")]
    pub in_flight: u32,
    /// Whether its requests are in the access log.
    #[serde(default = "crate::plan::yes")]
    pub access_log: bool,
}

/// A revision and its ready replicas.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Arm {
    pub revision: Revision,
    pub release: Release,
    #[serde(default)]
    pub label: Option<Label>,
    pub replicas: Vec<Endpoint>,
    /// What they speak.
    #[serde(default, skip_serializing_if = "Protocol::is_http1")]
    pub protocol: Protocol,
}

/// One ready replica.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct Endpoint {
    pub replica: ReplicaId,
    pub address: SocketAddr,
}

/// The arm under judgement and its share.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Candidate {
    pub arm: Arm,
    pub weight: Weight,
}

/// A revision on its way out: it takes no new request; those in flight after `until` are cancelled.
/// Both moments are wall clock, milliseconds since the Unix epoch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Draining {
    pub revision: Revision,
    pub since: Millis,
    pub until: Millis,
}

/// Keeps a client on one arm by a cookie.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Sticky {
    pub cookie: String,
}

/// Requests that always see the candidate and are never judged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Allow {
    /// Lower case.
    pub header: String,
    pub values: Vec<String>,
}

/// Where a request says whose it is. Never the address: behind a proxy that would hide a failing release.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum UserKey {
    /// Lower case.
    Header(String),
    Cookie(String),
}

/// Requests wait at the edge, at most `hold` from `since` on; then 503 with Retry-After.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Maintenance {
    pub hold: Millis,
    pub since: Millis,
}

/// Sends a GET or HEAD that failed on the candidate once more, to stable. Its first try counts against the candidate, its
/// second for nobody. No connection, a broken one and silence are failures; so are answers with one of these statuses.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Shield {
    pub statuses: Vec<u16>,
}

impl Default for Shield {
    /// What a release that is broken answers, or a proxy in it. 501 and 505 mean that stable would say the same.
    fn default() -> Self {
        Self { statuses: vec![500, 502, 503, 504] }
    }
}

/// What happens to long connections of a revision that drains.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Connections {
    pub websocket: Ending,
    pub sse: Ending,
    /// How long `keep` keeps.
    pub ceiling: Millis,
    /// Routes where that is different.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub routes: Vec<RouteConnections>,
}

/// What happens to the long connections of one route.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RouteConnections {
    /// One of the table's route templates.
    pub template: String,
    pub websocket: Ending,
    pub sse: Ending,
    pub ceiling: Millis,
}

/// The longest time over which connections that were kept are ended, so that their clients do not come back all at once.
const SPREAD_MAX: Millis = Millis::seconds(10);

/// Returns over which time connections end that were kept this long: a tenth of it, at most ten seconds.
pub fn spread_after(ceiling: Millis) -> Millis {
    Millis(ceiling.0 / 10).min(SPREAD_MAX)
}

impl Default for Connections {
    fn default() -> Self {
        Self {
            websocket: Ending::Keep,
            sse: Ending::Drain,
            ceiling: Millis::seconds(600),
            routes: Vec::new(),
        }
    }
}

impl Connections {
    fn of(&self, route: Option<&str>) -> Option<&RouteConnections> {
        let route = route?;
        self.routes.iter().find(|of| of.template == route)
    }

    /// Returns when WebSockets of a route end, and how long `keep` keeps them.
    pub fn websocket_of(&self, route: Option<&str>) -> (Ending, Millis) {
        self.of(route).map_or((self.websocket, self.ceiling), |of| (of.websocket, of.ceiling))
    }

    /// The same for event streams.
    pub fn sse_of(&self, route: Option<&str>) -> (Ending, Millis) {
        self.of(route).map_or((self.sse, self.ceiling), |of| (of.sse, of.ceiling))
    }

    /// Returns after which time the last connection has ended that may outlive the drain; None when none may.
    pub fn kept(&self) -> Option<Millis> {
        let own = (self.websocket, self.sse, self.ceiling);
        let all = self.routes.iter().map(|of| (of.websocket, of.sse, of.ceiling)).chain([own]);
        let keeps = all.filter(|(websocket, sse, _)| [websocket, sse].contains(&&Ending::Keep));
        keeps.map(|(_, _, ceiling)| ceiling.plus(spread_after(ceiling))).max()
    }
}

/// When a long connection of a draining revision ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Ending {
    /// At `since` + ceiling, within a tenth of that and at most ten seconds.
    Keep,
    /// During the drain, each at a moment of its own between `since` and `until`.
    Drain,
    /// At once, when the drain begins.
    Cut,
}

impl RouteTable {
    /// Returns the arms that take new requests, stable first.
    pub fn arms(&self) -> impl Iterator<Item = &Arm> {
        self.stable.iter().chain(self.candidate.iter().map(|candidate| &candidate.arm))
    }

    /// Returns every arm that requests may be sent to.
    pub fn alive(&self) -> impl Iterator<Item = &Arm> {
        self.arms().chain(&self.former)
    }
}
