//! `deploy --dry-run`: says what would be deployed. Changes nothing and needs no engine.

use super::deploy::Args;
use crate::context::Context;
use crate::exit::{self, Failure};
use crate::{output, render};
use engine::api::wire::Status;
use manifest::service::ServiceConfig;
use manifest::units::bucket_percent;
use rollout::mirror::Differing;
use rollout::names::{Millis, Weight};
use rollout::plan::{JudgeSettings, LatencySettings, Monitor, RolloutSettings, Unproven, When};
use rollout::routes::UserKey;

/// Shows each service as it would be deployed, beside what serves now.
pub async fn show(context: &Context, args: &Args, services: &[ServiceConfig]) -> Result<u8, Failure> {
    if context.json {
        output::json(&serde_json::json!({ "dry_run": true, "label": args.version, "services": services }));
        return Ok(exit::DONE);
    }
    let status: Option<Status> = context.client().get("/v1/status").await.ok();
    for service in services {
        let serves = status.as_ref().map(|status| serving(status, &service.name));
        for line in lines(args, service, serves) {
            output::line(&line);
        }
    }
    output::line("nothing was changed; leave out --dry-run to deploy");
    Ok(exit::DONE)
}

fn serving(status: &Status, name: &str) -> String {
    let stable = status.services.iter().find(|service| service.service == name);
    match stable.and_then(|service| service.stable.as_ref()) {
        Some(stable) => format!(
            "revision {}, release {}",
            stable.revision,
            render::release(&stable.release, stable.label.as_ref())
        ),
        None => "nothing yet".to_owned(),
    }
}

fn lines(args: &Args, service: &ServiceConfig, serves: Option<String>) -> Vec<String> {
    let rollout = &service.rollout;
    let mut lines = vec![format!("{}: would be deployed", service.name)];
    if let Some(label) = &args.version {
        lines.push(format!("  label     {label}"));
    }
    if let Some(artifact) = &service.artifact {
        lines.push(format!("  artefact  {}", artifact.display()));
    }
    lines.push(format!("  command   {}", service.command.join(" ")));
    lines.push(steps(rollout));
    lines.extend(judged(rollout));
    lines.push(format!("  replicas  {} to {}", service.target.replicas.min, service.target.replicas.max));
    lines.push(format!("  deadline  {}, then stable serves again", rollout.deadline));
    lines.push(match serves {
        Some(serves) => format!("  serves    {serves}"),
        None => "  serves    unknown: no engine answers; `medeclipse up --detach` first".to_owned(),
    });
    lines
}

/// Says what a deploy would do, whatever its release.
pub fn what(service: &ServiceConfig) -> Vec<String> {
    let rollout = &service.rollout;
    let mut lines = vec![format!("{}: what a deploy would do", service.name)];
    lines.extend(hook("before", &rollout.hooks.before_deploy));
    if !service.expand.is_empty() {
        lines.push(format!("  expand    {}", service.expand.join(" ")));
    }
    lines.extend(checks(rollout, When::Before));
    lines.push(steps(rollout));
    lines.extend(judged(rollout));
    lines.extend(checks(rollout, When::After));
    lines.push(replicas(service));
    lines.extend(hook("after", &rollout.hooks.after_deploy));
    lines.push(format!("  deadline  {}, then stable serves again", rollout.deadline));
    lines
}

fn steps(rollout: &RolloutSettings) -> String {
    let steps: Vec<String> = rollout.steps.iter().map(Weight::to_string).collect();
    let bakes = match rollout.steps.len() {
        0 | 1 => format!("watched {}", rollout.bake),
        _ => format!("watched {} each, the last {}", rollout.step_bake, rollout.bake),
    };
    format!("  steps     {}: {bakes}", steps.join(", "))
}

fn hook(when: &str, command: &[String]) -> Option<String> {
    (!command.is_empty()).then(|| format!("  hook      {when} the deployment: {}", command.join(" ")))
}

fn checks(rollout: &RolloutSettings, when: When) -> Option<String> {
    let names: Vec<String> = rollout
        .checks
        .iter()
        .filter(|check| check.when == when)
        .map(|check| format!("{} (within {})", check.name, check.deadline))
        .collect();
    let moment = match when {
        When::Before => "before any request",
        When::After => "before the promotion",
    };
    (!names.is_empty()).then(|| format!("  checks    {moment}: {}", names.join(", ")))
}

fn replicas(service: &ServiceConfig) -> String {
    let full = service.target.replicas;
    let early = match service.rollout.candidate_replicas {
        Some(replicas) => format!("; {replicas} of the candidate before full weight"),
        None if service.rollout.steps.len() > 1 => "; as many of the candidate as a step needs".to_owned(),
        None => String::new(),
    };
    format!("  replicas  {} to {}{early}", full.min, full.max)
}

/// Says what is compared with stable, and what the answer may change.
fn judged(rollout: &RolloutSettings) -> Vec<String> {
    let last = rollout.steps.len().saturating_sub(1);
    let judge = &rollout.judge;
    let mut lines = Vec::new();
    if rollout.hold_back != Weight::NONE {
        let share = rollout.hold_back;
        lines.push(format!("  hold-back {share} stay on stable during the last step, until the promotion"));
    }
    lines.push(format!(
        "  bakes     the last may end after {} when proven safe, after {} in doubt; then {}",
        rollout.bake_min_of(last),
        rollout.bake_max_of(last),
        unproven(rollout.unproven)
    ));
    lines.push(format!("  judge     {}, {}", harmless_errors(judge), harmless_latency(&judge.latency)));
    lines.push(format!(
        "  returns   at most {} of releases that are no worse than stable",
        percent(judge.false_rollback)
    ));
    if let Some(look) = judge.first_look {
        lines.push(format!("  look      1 % for {look} before the first step"));
    }
    if let Some(mirror) = &rollout.mirror {
        let after = match mirror.differing {
            Differing::Hold => "held",
            Differing::Report => "told",
        };
        lines.push(format!(
            "  mirror    {} of GET and HEAD are copied for {} before that; more than {} that differ are {after}",
            mirror.copies.share,
            mirror.during,
            percent(mirror.tolerated)
        ));
    }
    if let Some(user) = &judge.user {
        lines.push(format!("  users     told apart by the {}", user_key(user)));
    }
    if let Some(probes) = &judge.probes {
        lines.push(format!("  probes    {} every {}, where traffic is thin", probes.path, probes.every));
    }
    lines.extend(rollout.monitor.as_ref().map(monitored));
    lines
}

fn unproven(unproven: Unproven) -> &'static str {
    match unproven {
        Unproven::Promote => "promoted as unproven",
        Unproven::Hold => "held until the deadline",
        Unproven::Return => "returned as unproven",
    }
}

fn harmless_errors(judge: &JudgeSettings) -> String {
    format!(
        "errors may rise by {} and {} points",
        percent(judge.error_margin),
        number(judge.error_floor * 100.0)
    )
}

fn harmless_latency(latency: &LatencySettings) -> String {
    if latency.quantiles.is_empty() {
        return "latency is not judged".to_owned();
    }
    let quantiles: Vec<String> =
        latency.quantiles.iter().map(|quantile| format!("p{}", number(quantile * 100.0))).collect();
    let warm_up = match latency.warm_up {
        Millis(0) => String::new(),
        warm_up => format!(", after a warm-up of {warm_up}"),
    };
    format!("latency by {} % ({}){warm_up}", bucket_percent(latency.margin_buckets), quantiles.join(", "))
}

fn user_key(user: &UserKey) -> String {
    match user {
        UserKey::Header(name) => format!("header {name}"),
        UserKey::Cookie(name) => format!("cookie {name}"),
    }
}

fn monitored(monitor: &Monitor) -> String {
    let names: Vec<&str> = monitor.checks.iter().map(|check| check.name.as_str()).collect();
    let during = match monitor.during {
        Some(during) => format!(" for {during}"),
        None => String::new(),
    };
    let owner = if monitor.attribute { "" } else { ", wherever the fault lies" };
    let rule = match monitor.failing {
        1 => "one that fails takes the release back".to_owned(),
        failing => format!("{failing} failing at once take the release back"),
    };
    format!("  monitor   {} every {}{during}: {rule}{owner}", names.join(", "), monitor.every)
}

/// Returns a fraction of one in percent.
fn percent(fraction: f64) -> String {
    format!("{} %", number(fraction * 100.0))
}

/// Rounds away what binary fractions add: 0.07 times 100 is 7.
fn number(number: f64) -> f64 {
    (number * 1e6).round() / 1e6
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged_by(lines: &str) -> Vec<String> {
        let text = format!("[service.web]\ncommand = [\"./web\"]\n{lines}\n");
        let manifest = manifest::parse(&text, "medeclipse.toml", "local").unwrap();
        judged(&manifest.services[0].rollout)
    }

    #[test]
    fn a_blue_green_by_default_says_how_it_is_judged() {
        assert_eq!(
            judged_by(""),
            [
                "  bakes     the last may end after 2m when proven safe, after 30m in doubt; then promoted as unproven",
                "  judge     errors may rise by 20 % and 0.01 points, latency by 4.4 % (p50, p90, p99, p99.9)",
                "  returns   at most 1 % of releases that are no worse than stable",
            ]
        );
    }

    #[test]
    fn every_setting_of_the_judge_is_shown() {
        let shown = judged_by(
            "[service.web.rollout]\nstrategy = \"canary\"\nbake = \"1m\"\nunproven = \"return\"\n\
             monitor = { failing = 2, during = \"10m\", attribute = false, checks = [\
             { name = \"database\", url = \"/db\" }, { name = \"errors\", error_rate = \"5%\" }] }\nmirror = { during = \"30s\" }\n\
             [service.web.judge]\nfalse_rollback = 0.001\nfirst_look = \"5s\"\nuser = { header = \"X-User\" }\n\
             latency = { quantiles = [0.5, 0.95], margin = \"10%\", warm_up = \"30s\" }\nprobes = { path = \"/up\" }\n",
        );

        assert_eq!(
            shown,
            [
                "  hold-back 5 % stay on stable during the last step, until the promotion",
                "  bakes     the last may end after 1m when proven safe, after 3m in doubt; then returned as unproven",
                "  judge     errors may rise by 20 % and 0.01 points, \
                 latency by 9.1 % (p50, p95), after a warm-up of 30s",
                "  returns   at most 0.1 % of releases that are no worse than stable",
                "  look      1 % for 5s before the first step",
                "  mirror    10 % of GET and HEAD are copied for 30s before that; more than 1 % that differ are held",
                "  users     told apart by the header x-user",
                "  probes    /up every 5s, where traffic is thin",
                "  monitor   database, errors every 30s for 10m: 2 failing at once take the release back, wherever the fault lies",
            ]
        );
    }

    #[test]
    fn latency_that_is_off_and_checks_that_act_alone_say_so() {
        let shown = judged_by(
            "judge = { latency = \"off\" }\nrollout = { monitor = { checks = [{ name = \"a\", url = \"/\" }] } }",
        );

        assert!(shown[1].ends_with(", latency is not judged"), "{shown:?}");
        assert_eq!(shown[3], "  monitor   a every 30s: one that fails takes the release back");
    }
}
