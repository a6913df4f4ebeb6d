//! Checks a service that did not come out of a manifest: whoever speaks to the engine need not have read one.
//! The bounds are those of `sections`, where leaving them would break the engine or reach outside of its folder.

use crate::sections::text::{self, Text};
use crate::service::ServiceConfig;
use rollout::names::{Millis, Weight};

const DAY: Millis = Millis::seconds(86_400);
/// Ten of the manifest and a first look.
const STEPS_MAX: usize = 11;
const REPLICAS_MAX: u32 = 64;
/// Of any list, and of the variables.
const ENTRIES_MAX: usize = 1_024;

impl ServiceConfig {
    /// Returns why no manifest could say this.
    pub fn check(&self) -> Result<(), String> {
        one_of(&text::NAME, "name", [&self.name])?;
        one_of(&text::HOST, "hosts", &self.target.hosts)?;
        one_of(&text::PREFIX, "paths", &self.target.paths)?;
        one_of(&text::TEMPLATE, "routes", &self.target.templates)?;
        one_of(&text::VARIABLE, "env", self.env.keys())?;
        self.check_commands()?;
        self.check_numbers()?;
        self.check_times()
    }

    fn check_commands(&self) -> Result<(), String> {
        if self.command.first().is_none_or(String::is_empty) {
            return Err("`command` names no program".to_owned());
        }
        let hooks = &self.rollout.hooks;
        let words = self.command.iter().chain(&self.expand).chain(self.env.values());
        let words = words.chain(&hooks.before_deploy).chain(&hooks.after_deploy);
        match words.clone().count() > ENTRIES_MAX || words.clone().any(|word| word.contains('\0')) {
            true => {
                Err(format!("a word of a command contains a zero byte, or there are more than {ENTRIES_MAX}"))
            }
            false => Ok(()),
        }
    }

    fn check_numbers(&self) -> Result<(), String> {
        let replicas = self.target.replicas;
        if !(1..=REPLICAS_MAX).contains(&replicas.min)
            || !(replicas.min..=REPLICAS_MAX).contains(&replicas.max)
        {
            return Err(format!("`replicas` are not 1 to {REPLICAS_MAX}, the most no less than the least"));
        }
        if self.rollout.candidate_replicas.is_some_and(|wanted| !(1..=REPLICAS_MAX).contains(&wanted)) {
            return Err(format!("`candidate_replicas` is not 1 to {REPLICAS_MAX}"));
        }
        let steps = &self.rollout.steps;
        let rising = steps.windows(2).all(|pair| pair[0] < pair[1]);
        let from_to =
            steps.first().is_some_and(|first| *first > Weight::NONE) && steps.last() == Some(&Weight::FULL);
        if !rising || !from_to || steps.len() > STEPS_MAX {
            return Err(format!("`steps` are not at most {STEPS_MAX} rising weights, the last one 100"));
        }
        let judge = &self.rollout.judge;
        let quantiles = &judge.latency.quantiles;
        let shares = [judge.error_margin / 10.0, judge.error_floor, judge.false_rollback];
        if shares.iter().chain(quantiles).any(|share| !(0.0..=1.0).contains(share)) || quantiles.len() > 4 {
            return Err("a share of `judge` is none, or it has more than four quantiles".to_owned());
        }
        let monitor = self.rollout.monitor.as_ref().map_or(0, |monitor| monitor.checks.len());
        match self.rollout.checks.len().max(monitor) > ENTRIES_MAX {
            true => Err(format!("it has more than {ENTRIES_MAX} checks")),
            false => Ok(()),
        }
    }

    fn check_times(&self) -> Result<(), String> {
        let (health, rollout) = (&self.health, &self.rollout);
        let days = |days: u64| Millis(DAY.0 * days);
        let bounds = [
            ("health.interval", health.interval, Millis(100), Millis::seconds(300)),
            ("health.timeout", health.timeout, Millis(10), Millis::seconds(60)),
            ("health.start", health.start, Millis::seconds(1), Millis::seconds(3600)),
            ("rollout.bake", rollout.bake, Millis(0), days(7)),
            ("rollout.step_bake", rollout.step_bake, Millis(0), days(7)),
            ("rollout.bake_max", rollout.bake_max.unwrap_or_default(), Millis(0), days(21)),
            ("rollout.drain", rollout.drain, Millis(0), Millis::seconds(3600)),
            ("rollout.deadline", rollout.deadline, Millis::seconds(1), days(90)),
            ("rollout.keep_hot", rollout.keep_hot, Millis(0), days(7)),
        ];
        match bounds.iter().find(|(_, time, least, most)| time < least || time > most) {
            Some((key, time, least, most)) => {
                Err(format!("`{key}` is {time}, and {least} to {most} are possible"))
            }
            None => Ok(()),
        }
    }
}

/// Each text is of this kind, in its one spelling.
fn one_of<'t>(kind: &Text, key: &str, texts: impl IntoIterator<Item = &'t String>) -> Result<(), String> {
    let mut texts = texts.into_iter().enumerate();
    let wrong = texts.find(|(index, text)| *index >= ENTRIES_MAX || (kind.read)(text).as_ref() != Ok(text));
    match wrong {
        Some((_, text)) => Err(format!("`{text:.60}` of `{key}` is not {}", kind.noun)),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use crate::parse;

    #[test]
    fn what_a_manifest_says_is_taken_on_and_what_none_can_say_is_not() {
        let manifest = parse(include_str!("../tests/complete.toml"), "medeclipse.toml", "local").unwrap();
        let service = manifest.services[0].clone();
        assert_eq!(service.check(), Ok(()));

        for name in ["../../etc/x", "a/b", "", "Web", "a\0"] {
            let mut other = service.clone();
            other.name = name.to_owned();
            assert!(other.check().is_err(), "{name:?}");
        }
        let mut other = service.clone();
        other.rollout.steps.clear();
        assert!(other.check().is_err());
        let mut other = service.clone();
        other.target.replicas.max = u32::MAX;
        assert!(other.check().is_err());
        let mut other = service;
        other.health.interval = rollout::names::Millis(0);
        assert!(other.check().unwrap_err().contains("health.interval"));
    }
}
