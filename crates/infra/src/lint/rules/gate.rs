//! What a pipeline does after something failed: it does not deploy, and it does not say that all went well.

use super::migration::{deploy_action, deploys};
use super::{Out, Rule};
use crate::finding::Severity;
use crate::lint::doc::{At, Node};
use crate::lint::facts::pipeline::{Job, Step};

pub const RULES: &[Rule] = &[
    Rule {
        id: "gate/deploys-after-failure",
        severity: Severity::Critical,
        says: "A job that deploys runs only when what it waits for succeeded.",
        why: "`always()` and `!cancelled()` take the place of `success()`: what failed its tests is deployed.",
        instead: "no `if`, or `success() && …`",
        check: deploys_after_failure,
    },
    Rule {
        id: "gate/says-success-always",
        severity: Severity::High,
        says: "A notification that always runs does not always say the same.",
        why: "It reports a success also when nothing was deployed: nobody looks again.",
        instead: "the result: `${{ needs.JOB.result }}`, or two steps, `if: success()` and `if: failure()`",
        check: says_success_always,
    },
];

fn condition(node: &Node) -> Option<(String, At)> {
    let found = node.get("if")?;
    Some((found.scalar()?, found.at))
}

/// Whether a condition lets something run after a failure, whatever the result.
fn runs_always(text: &str) -> bool {
    let asks = ["result", "success()", "conclusion", "outcome", "failure()", "job.status"];
    (text.contains("always()") || text.contains("!cancelled()") || text.contains("! cancelled()"))
        && !asks.iter().any(|word| text.contains(word))
}

fn deploys_after_failure(out: &mut Out<'_>) {
    for workflow in out.graph.workflows.iter().filter(|workflow| !workflow.is_action) {
        for job in &workflow.jobs {
            let deploying = job.steps.iter().position(|step| deploys(step).is_some() || deploy_action(step));
            // A job with an environment, or called so, deploys by means that are not known here.
            let named = job.node.get("environment").is_some() && job.id.to_lowercase().contains("deploy");
            let Some(first) = deploying.or(named.then_some(0)) else { continue };
            if job.steps.is_empty() {
                continue;
            }
            if let Some((_, at)) = condition(&job.node).filter(|(text, _)| runs_always(text))
                && let Some((needed, place)) = job.needs.first()
            {
                out.say(at, format!("`{}` deploys also when `{needed}` has failed", job.id))
                    .against(*place, format!("it waits for `{needed}`"));
            }
            let step = &job.steps[first];
            if let Some((_, at)) = condition(&step.node).filter(|(text, _)| runs_always(text))
                && first > 0
            {
                out.say(at, format!("`{}` runs also when a step before it has failed", step.label()))
                    .against(job.steps[first - 1].at, "the step before it");
            }
        }
    }
}

/// Words that claim a success.
const CLAIMS: &[&str] = &[
    "success",
    "succeeded",
    "deployed",
    "is live",
    "released",
    "completed",
    ":white_check_mark:",
    "\u{2705}",
    ":rocket:",
];

fn says_success_always(out: &mut Out<'_>) {
    for workflow in out.graph.workflows.iter().filter(|workflow| !workflow.is_action) {
        for job in &workflow.jobs {
            for step in &job.steps {
                tells(out, job, step);
            }
        }
    }
}

/// A step that always runs, by its own condition or its job's, and claims a success in a fixed text.
fn tells(out: &mut Out<'_>, job: &Job, step: &Step) {
    let own = condition(&step.node);
    let by_job = condition(&job.node).filter(|_| own.is_none() && !job.needs.is_empty());
    let Some((_, place)) = own.or(by_job).filter(|(text, _)| runs_always(text)) else { return };
    let mut claim: Option<At> = None;
    let mut asks = false;
    step.node.walk(&mut |node| {
        let Some(text) = node.text() else { return };
        let lower = text.to_lowercase();
        asks |= ["result", "job.status", "outcome", "conclusion", "success()", "failure()"]
            .iter()
            .any(|word| lower.contains(word));
        let sent = lower.contains("hook")
            || lower.contains("curl")
            || lower.contains("text")
            || lower.contains("message")
            || lower.contains("slack");
        if CLAIMS.iter().any(|word| lower.contains(word)) && (sent || step.uses.is_some()) {
            claim.get_or_insert(node.at);
        }
    });
    if let Some(at) = claim.filter(|_| !asks && notifies(step)) {
        out.say(at, format!("`{}` says so however `{}` ends", step.label(), job.id))
            .against(place, "it always runs");
    }
}

/// Whether a step sends a message to people.
fn notifies(step: &Step) -> bool {
    let action = step.action().to_lowercase();
    ["slack", "teams", "discord", "notify", "mail", "telegram"].iter().any(|word| action.contains(word))
        || step.own.iter().any(|command| {
            command.is(&["curl"]) || command.is(&["wget"]) || command.says(&["sns", "publish"])
        })
}
