//! Lays options of the command line over a service: `--strategy`, `--env-var`, `--artifact`.
//! Holds them to the rules of the manifest; whether a path exists is the caller's question.

use crate::sections::{rollout, text};
use crate::service::ServiceConfig;
use crate::units::{Refusal, duration_text};
use ::rollout::plan::{RolloutSettings, Strategy};
use std::path::PathBuf;

/// What the command line says about one service.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Overrides {
    /// `blue-green` or `canary`, as written.
    pub strategy: Option<String>,
    /// `KEY=VALUE`, as written; a later one wins.
    pub env: Vec<String>,
    pub artifact: Option<PathBuf>,
}

/// An option that cannot be followed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OverrideError {
    #[error("use `--strategy {0}`: there is no such strategy")]
    Strategy(String),
    #[error("use `--env-var {0}`: the equals sign is missing")]
    NoEquals(String),
    #[error("use `--env-var {written}`")]
    Variable {
        written: String,
        #[source]
        refusal: Refusal,
    },
    #[error("use `--artifact` with an empty path")]
    Artifact,
    #[error("roll out {service} as {strategy}: its deadline is {deadline}, the bakes alone take {least}")]
    Deadline { service: String, strategy: String, deadline: String, least: String },
}

impl OverrideError {
    /// Returns what to do next.
    pub fn next(&self) -> String {
        match self {
            Self::Strategy(_) => "use `blue-green` or `canary`".to_owned(),
            Self::NoEquals(written) => format!("write `--env-var {written}=VALUE`"),
            Self::Variable { refusal, .. } => refusal.help.clone(),
            Self::Artifact => "name a file or a folder".to_owned(),
            Self::Deadline { .. } => {
                "raise `rollout.deadline` in the manifest, or remove it there".to_owned()
            }
        }
    }
}

impl Overrides {
    /// Changes the service as the options say. On errors the service stays as it was; all of them are returned.
    pub fn apply(&self, service: &mut ServiceConfig) -> Result<(), Vec<OverrideError>> {
        let mut changed = service.clone();
        let mut errors = Vec::new();
        if let Some(strategy) = &self.strategy {
            errors.extend(apply_strategy(&mut changed, strategy).err());
        }
        for written in &self.env {
            match variable(written) {
                Ok((name, value)) => {
                    changed.env.insert(name, value);
                }
                Err(error) => errors.push(error),
            }
        }
        if let Some(path) = &self.artifact {
            if path.as_os_str().is_empty() {
                errors.push(OverrideError::Artifact);
            }
            changed.artifact = Some(path.clone());
        }
        if !errors.is_empty() {
            return Err(errors);
        }
        *service = changed;
        Ok(())
    }
}

fn apply_strategy(service: &mut ServiceConfig, written: &str) -> Result<(), OverrideError> {
    let strategy = match written {
        "blue-green" => Strategy::BlueGreen,
        "canary" => Strategy::Canary,
        _ => return Err(OverrideError::Strategy(written.to_owned())),
    };
    let plan = &mut service.rollout;
    if plan.strategy == strategy {
        return Ok(());
    }
    let computed = RolloutSettings::deadline_for(plan.steps.len(), plan.bake, plan.step_bake);
    plan.strategy = strategy;
    plan.steps = rollout::default_steps(strategy);
    // A deadline nobody wrote follows the steps it was computed from.
    if plan.deadline == computed {
        plan.deadline = RolloutSettings::deadline_for(plan.steps.len(), plan.bake, plan.step_bake);
    }
    let least = RolloutSettings::least_time(plan.steps.len(), plan.bake, plan.step_bake);
    if plan.deadline < least {
        return Err(OverrideError::Deadline {
            service: service.name.clone(),
            strategy: written.to_owned(),
            deadline: duration_text(plan.deadline),
            least: duration_text(least),
        });
    }
    Ok(())
}

/// Splits `KEY=VALUE` at the first equals sign and checks both.
fn variable(written: &str) -> Result<(String, String), OverrideError> {
    let (name, value) = written.split_once('=').ok_or_else(|| OverrideError::NoEquals(written.to_owned()))?;
    let refused = |refusal| OverrideError::Variable { written: format!("{name}=…"), refusal };
    let name = text::variable(name).map_err(refused)?;
    let value = text::without_nul(value).map_err(refused)?;
    Ok((name, value))
}
