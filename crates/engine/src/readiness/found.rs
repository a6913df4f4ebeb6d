//! Holds what was found out about each release one may go back to, and puts it into words.

use rollout::names::{Millis, Release};
use rollout::release::Placed;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What is known, by release.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Found(BTreeMap<String, Checked>);

/// What is known of one release.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Checked {
    /// When its artefact was last looked at.
    pub at: Millis,
    /// What is wrong with its artefact.
    pub artifact: Option<String>,
    /// The last time it was started in a spare slot.
    pub spare: Option<Spare>,
}

/// How a start in a spare slot went.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Spare {
    pub at: Millis,
    pub took: Millis,
    /// Why it did not become ready.
    pub failed: Option<String>,
}

impl Found {
    pub fn of(&self, release: &Release) -> Option<&Checked> {
        self.0.get(release.as_str())
    }

    pub(super) fn set(&mut self, release: &Release, checked: Checked) {
        self.0.insert(release.as_str().to_owned(), checked);
    }

    pub(super) fn tried(&mut self, release: &Release, spare: Spare) {
        self.0.entry(release.as_str().to_owned()).or_default().spare = Some(spare);
    }

    /// Tells whether it says more than that somebody looked again.
    pub(super) fn differs_from(&self, other: &Self) -> bool {
        let said = |found: &Self| -> Vec<_> {
            let each = found.0.iter();
            each.map(|(release, checked)| (release.clone(), checked.artifact.clone(), checked.spare.clone()))
                .collect()
        };
        said(self) != said(other)
    }

    /// Returns why a release that does not run could not be started again; None: nothing speaks against it.
    pub fn objection(&self, placed: &Placed) -> Option<String> {
        let checked = self.of(&placed.release)?;
        if let Some(why) = &checked.artifact {
            return Some(format!("its artefact cannot be used: {why}"));
        }
        let failed = checked.spare.as_ref()?.failed.as_ref()?;
        Some(format!("it did not become ready in a spare slot: {failed}"))
    }

    /// Says what is known of a release nothing speaks against.
    pub fn assurance(&self, placed: &Placed, now: Millis) -> String {
        let name = placed.release.short();
        match self.of(&placed.release).map(|checked| &checked.spare) {
            None => format!("release {name} is about to be checked"),
            Some(None) => {
                format!("release {name} is stored unchanged; it was not started in a spare slot yet")
            }
            Some(Some(spare)) => format!(
                "release {name} is stored unchanged, and was ready in a spare slot after {}, {} ago",
                spare.took,
                Millis(now.0.saturating_sub(spare.at.0) / 1000 * 1000)
            ),
        }
    }
}
