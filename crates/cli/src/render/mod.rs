//! Says how things ended, for people and for programs. `text` and `explain` have the wording; the objects for programs are the
//! wire's own.

mod chart;
pub mod explain;
pub mod numbers;
pub mod plan;
pub mod simulate;
pub mod text;
mod watch;

use crate::context::Context;
use crate::exit::{self, Failure};
use crate::follow::Report;
use crate::{output, units};
use engine::api::wire::Accepted;
use rollout::event::{DeploymentKind, Outcome};
use rollout::names::{Label, Release};

/// Names a release for people: the beginning of its id, and its label.
pub fn release(release: &Release, label: Option<&Label>) -> String {
    match label {
        Some(label) => format!("{} ({label})", release.short()),
        None => release.short().to_owned(),
    }
}

/// Says that the engine has taken a request.
pub fn accepted(context: &Context, accepted: &Accepted, told: &str) {
    if context.json {
        return output::json(accepted);
    }
    if context.quiet {
        return;
    }
    let id = accepted.deployment.as_ref().map(|id| format!(" {id}")).unwrap_or_default();
    match accepted.outcome {
        Some(outcome) => output::line(&format!("{}:{id} {outcome}", accepted.target.service)),
        None => output::line(&format!("{}:{id} {told}", accepted.target.service)),
    }
}

/// Says how a followed `deploy` ended; returns its exit code.
pub fn deployed(context: &Context, report: &Report) -> u8 {
    let Some(outcome) = report.outcome else { return exit::BUG };
    let code = outcome.exit_code();
    if context.json {
        return code;
    }
    if code == exit::DONE {
        if !context.quiet {
            output::line(&text::success(report));
        }
        return code;
    }
    for line in text::failure_details(report) {
        output::aside(&line);
    }
    output::failure(&not_promoted(report, outcome), false);
    code
}

fn not_promoted(report: &Report, outcome: Outcome) -> Failure {
    let what = report.release.clone().unwrap_or_else(|| report.deployment.to_string());
    let service = &report.target.service;
    let error = format!("promote {what} of {service}: {outcome} after {}", units::spoken(report.elapsed));
    let mut failure = Failure::new(outcome.exit_code(), error);
    failure.cause = text::cause(report);
    let logs = report.revision.map(|revision| format!("`medeclipse logs {service} --revision {revision}`; "));
    failure.then(match outcome {
        Outcome::UnprovenReturn => {
            format!(
                "look now: `medeclipse status`, {}nobody has proven that users are served",
                logs.unwrap_or_default()
            )
        }
        Outcome::Superseded => {
            format!("`medeclipse history {service}` names the deployment that took its place")
        }
        _ => format!("{}repair it and deploy again; stable serves meanwhile", logs.unwrap_or_default()),
    })
}

/// Says how a `rollback` or an `abort` ended. A deployment that was ended is success; so is one that took the
/// release back.
pub fn went_back(context: &Context, report: &Report) -> Result<u8, Failure> {
    let Some(outcome) = report.outcome else { return Ok(exit::BUG) };
    let service = &report.target.service;
    let of = report.kind.unwrap_or(DeploymentKind::Deploy);
    let done = match (of, outcome) {
        (DeploymentKind::Deploy, Outcome::Aborted | Outcome::RolledBack | Outcome::Superseded) => true,
        (DeploymentKind::Rollback | DeploymentKind::Return, outcome) => outcome.exit_code() == exit::DONE,
        _ => false,
    };
    if done {
        if !context.json && !context.quiet {
            output::line(&text::went_back(report));
        }
        return Ok(exit::DONE);
    }
    if of == DeploymentKind::Deploy && outcome.exit_code() == exit::DONE {
        return Err(Failure::new(exit::REFUSED, format!("stop {} of {service}", report.deployment))
            .because("it was promoted before the request came")
            .then(format!("go back from it with `medeclipse rollback {service}`")));
    }
    Ok(deployed(context, report))
}
