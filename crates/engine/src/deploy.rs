//! Turns a deploy request into an intent: stores the artefact and computes the release's identity.
//! Places nothing and decides nothing; storing twice is storing once.

use crate::api::wire::{ApiError, DeployRequest};
use drivers::artifacts::{ArtifactError, Cause, Store};
use drivers::files::hex;
use rollout::machine::DeployIntent;
use rollout::names::Release;
use rollout::release::ReleaseSpec;
use sha2::{Digest, Sha256};

/// Stores what is to run and says what it is.
pub async fn prepare(store: &Store, request: DeployRequest) -> Result<DeployIntent, ApiError> {
    let artifact = match &request.service.artifact {
        None => None,
        Some(path) => {
            let (store, path) = (store.clone(), path.clone());
            let stored = tokio::task::spawn_blocking(move || store.put(&path)).await;
            let stored = stored.map_err(|error| ApiError {
                error: "store the artefact".to_owned(),
                cause: Some(error.to_string()),
                next: None,
                exit: 1,
            })?;
            Some(stored.map_err(|error| unreadable(&error))?.digest)
        }
    };
    let service = request.service;
    let spec = ReleaseSpec {
        artifact,
        command: service.command,
        env: service.env,
        resources: service.resources,
        health: service.health,
        expand: service.expand,
    };
    Ok(DeployIntent {
        key: request.key,
        release: identity(&spec),
        label: request.label,
        spec,
        settings: service.rollout,
        folder: request.folder.display().to_string(),
        supersede: request.supersede,
    })
}

/// Returns the SHA-256 of the description as JSON: fields in the order of the type, maps by key, no spaces.
pub fn identity(spec: &ReleaseSpec) -> Release {
    let text = serde_json::to_vec(spec).expect("BUG: every description can be written as JSON");
    Release::new(hex(&Sha256::digest(text)))
}

fn unreadable(error: &ArtifactError) -> ApiError {
    ApiError {
        error: error.to_string(),
        cause: std::error::Error::source(error).map(ToString::to_string),
        next: Some(error.next()),
        exit: if matches!(error.cause, Cause::DiskFull { .. }) { 3 } else { 2 },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rollout::release::Health;
    use std::collections::BTreeMap;

    fn spec() -> ReleaseSpec {
        ReleaseSpec {
            artifact: Some("ab".repeat(32)),
            command: vec!["./clinic".to_owned()],
            env: BTreeMap::from([("A".to_owned(), "1".to_owned())]),
            resources: None,
            health: Health::default(),
            expand: Vec::new(),
        }
    }

    #[test]
    fn the_same_description_is_the_same_release() {
        assert_eq!(identity(&spec()), identity(&spec()));
    }

    #[test]
    fn a_release_is_what_it_was_in_the_first_version() {
        // A change here makes every deployed release a new one.
        assert_eq!(identity(&spec()).short().len(), 12);
        assert_eq!(identity(&spec()).as_str().len(), 64);
    }

    #[test]
    fn another_environment_variable_is_another_release() {
        let mut other = spec();
        other.env.insert("A".to_owned(), "2".to_owned());

        assert_ne!(identity(&spec()), identity(&other));
    }
}
