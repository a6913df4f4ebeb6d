//! Describes what runs: an artefact with its configuration. Immutable; its identity is the hash of this description.
//! Does not hash (that needs a library this crate may not have); see `engine::deploy`.

use crate::names::{Label, Millis, Release, Revision};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What a release is. Labels are outside: two names for the same thing are one release.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ReleaseSpec {
    /// SHA-256 over the artefact's content, lower-case hex. None: the command needs no artefact.
    pub artifact: Option<String>,
    /// Program and arguments; `${PORT}` and `${HOST}` are replaced when a replica starts.
    pub command: Vec<String>,
    pub env: BTreeMap<String, String>,
    pub resources: Option<Resources>,
    pub health: Health,
    /// Run once before any traffic; empty: nothing to do.
    #[serde(default)]
    pub expand: Vec<String>,
}

/// Limits of one replica.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Resources {
    /// ECS units: 1024 is one core.
    pub cpu: Option<u64>,
    pub memory_bytes: Option<u64>,
}

/// What a replica speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    #[default]
    Http1,
    /// HTTP/2 without TLS, known before the first byte (RFC 9113, 3.3).
    H2c,
    /// HTTP/2 without TLS; asked for its health as gRPC does.
    Grpc,
}

impl Protocol {
    // By reference because serde asks that way.
    pub fn is_http1(&self) -> bool {
        *self == Self::Http1
    }
}

/// How a replica is asked whether it is well.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Health {
    /// Path asked to learn whether the process still works. None: a listening socket is enough.
    pub live: Option<String>,
    /// Path asked to learn whether it may get requests. None: a listening socket is enough.
    pub ready: Option<String>,
    pub interval: Millis,
    pub timeout: Millis,
    /// How long a replica may take until it is first ready.
    pub start: Millis,
    /// What it is asked in, which is what it speaks with users too.
    #[serde(default, skip_serializing_if = "Protocol::is_http1")]
    pub protocol: Protocol,
}

impl Default for Health {
    fn default() -> Self {
        Self {
            live: None,
            ready: None,
            interval: Millis::seconds(1),
            timeout: Millis(500),
            start: Millis::seconds(60),
            protocol: Protocol::Http1,
        }
    }
}

/// A release placed on a target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Placed {
    pub revision: Revision,
    pub release: Release,
    pub label: Option<Label>,
    pub spec: ReleaseSpec,
}
