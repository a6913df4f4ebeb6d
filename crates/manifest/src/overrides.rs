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
    let computed = rollout::deadline_enough(plan);
    plan.strategy = strategy;
    plan.steps = rollout::default_steps(strategy);
    plan.hold_back = RolloutSettings::hold_back_for(strategy);
    // A deadline nobody wrote follows the steps it was computed from.
    if plan.deadline == computed {
        plan.deadline = rollout::deadline_enough(plan);
    }
    let least = rollout::least_time(plan);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parse;

    fn service(rollout: &str) -> ServiceConfig {
        let text = format!("[service.web]\ncommand = [\"./web\"]\nenv = {{ A = \"1\" }}\n{rollout}");
        parse(&text, "medeclipse.toml", "local").unwrap().services.remove(0)
    }

    fn strategy(name: &str) -> Overrides {
        Overrides { strategy: Some(name.to_owned()), ..Overrides::default() }
    }

    fn told(errors: &[OverrideError]) -> Vec<String> {
        errors.iter().map(|error| format!("{error}; {}", error.next())).collect()
    }

    #[test]
    fn another_strategy_brings_its_steps_and_its_computed_deadline() {
        let mut service = service("");

        strategy("canary").apply(&mut service).unwrap();

        assert_eq!(service.rollout.steps.len(), 3);
        assert_eq!(service.rollout.deadline, service.rollout.deadline_enough());
    }

    #[test]
    fn another_strategy_brings_its_hold_back_and_keeps_the_judge() {
        let rest = "bake = \"1m\"\nbake_min = \"10s\"\nbake_max = \"5m\"\nunproven = \"hold\"";
        let judge = "[service.web.judge]\nfalse_rollback = 0.001\nfirst_look = \"1m\"\nlatency = \"off\"";
        let text = |strategy, hold_back| {
            format!("[service.web.rollout]\nstrategy = \"{strategy}\"\n{hold_back}{rest}\n{judge}\n")
        };
        for (from, to) in [("blue-green", "canary"), ("canary", "blue-green")] {
            let mut changed = service(&text(from, ""));

            strategy(to).apply(&mut changed).unwrap();

            assert_eq!(changed, service(&text(to, "")), "from {from} to {to}");
        }
        let mut written = service(&text("canary", "hold_back = \"20%\"\n"));
        strategy("blue-green").apply(&mut written).unwrap();
        assert_eq!(written.rollout.hold_back.percent(), 0);
    }

    #[test]
    fn the_same_strategy_keeps_a_hold_back_that_was_written() {
        let mut same = service("rollout = { strategy = \"canary\", hold_back = \"off\" }");

        strategy("canary").apply(&mut same).unwrap();

        assert_eq!(same.rollout.hold_back.percent(), 0);
    }

    #[test]
    fn the_same_strategy_changes_nothing() {
        let mut same = service("rollout = { strategy = \"canary\", steps = [50, 100] }");
        let before = same.clone();

        strategy("canary").apply(&mut same).unwrap();

        assert_eq!(same, before);
    }

    #[test]
    fn a_deadline_that_was_written_must_still_suffice() {
        let mut service = service("rollout = { bake = \"1m\", deadline = \"2m\" }");
        let before = service.clone();

        let errors = strategy("canary").apply(&mut service).unwrap_err();

        let expected = "roll out web as canary: its deadline is 2m, the bakes alone take 5m; \
                        raise `rollout.deadline` in the manifest, or remove it there";
        assert_eq!(told(&errors), [expected]);
        assert_eq!(service, before);
    }

    #[test]
    fn variables_are_added_and_the_later_one_wins() {
        let mut service = service("");
        let env = ["A=2", "B=x=y", "B=", "C=3"].map(str::to_owned).to_vec();

        Overrides { env, artifact: Some("other/".into()), ..Overrides::default() }
            .apply(&mut service)
            .unwrap();

        let env: Vec<_> = service.env.iter().map(|(name, value)| format!("{name}={value}")).collect();
        assert_eq!(env, ["A=2", "B=", "C=3"]);
        assert_eq!(service.artifact, Some(PathBuf::from("other/")));
    }

    #[test]
    fn wrong_options_are_told_together_without_their_values() {
        let mut service = service("");
        let before = service.clone();
        let env = ["A", "1A=secret", "PORT=80"].map(str::to_owned).to_vec();

        let wrong = Overrides { strategy: Some("rolling".to_owned()), env, artifact: Some("".into()) };
        let errors = wrong.apply(&mut service).unwrap_err();

        assert_eq!(
            told(&errors),
            [
                "use `--strategy rolling`: there is no such strategy; use `blue-green` or `canary`",
                "use `--env-var A`: the equals sign is missing; write `--env-var A=VALUE`",
                "use `--env-var 1A=…`; write `_1A`",
                "use `--env-var PORT=…`; remove it; write `${PORT}` in the command or in another variable's value",
                "use `--artifact` with an empty path; name a file or a folder",
            ]
        );
        assert_eq!(service, before);
    }
}
